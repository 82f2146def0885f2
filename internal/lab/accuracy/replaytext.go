package accuracy

import (
	"bytes"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"text/tabwriter"
	"time"

	"vitalseal/internal/lab/accuracy/chart"
	"vitalseal/internal/measurement/recording"
	"vitalseal/internal/measurement/vitals"
)

// MarshalJSON is one object: file, form, calibration, summary and seconds, each of which has the values, their qualities and the
// references.
func (t *Trace) MarshalJSON() ([]byte, error) {
	var o object
	o.text("file", t.File)
	o.text("form", t.Form)
	if t.Calibration != "" {
		o.text("calibration", t.Calibration)
	}
	if t.referenceNote != "" {
		o.text("reference", t.referenceNote)
	}
	if t.note != "" {
		o.text("note", t.note)
	}
	var summary object
	summary.figures(t.Summary())
	if t.Form == "cuff" {
		summary.text("quality", t.Pressure.Quality.String())
		summary.text("reason", t.Pressure.Reason)
	}
	o.raw("summary", summary.end())
	var list bytes.Buffer
	list.WriteByte('[')
	for i, m := range t.Moments {
		if i > 0 {
			list.WriteByte(',')
		}
		var s object
		s.figures([]Figure{{"at_seconds", m.At.Seconds()}})
		if t.Form == "cuff" {
			s.figures([]Figure{{"pressure_mmhg", m.Pressure}})
			list.Write(s.end())
			continue
		}
		for _, v := range []struct {
			n         vitals.Numeric
			reference float64
		}{{m.HeartRate, m.ReferenceHeartRate}, {m.SpO2, m.ReferenceSpO2}, {m.RespiratoryRate, m.ReferenceRR}} {
			name := v.n.Kind.String()
			s.figures([]Figure{{name, value(v.n)}})
			s.text(name+"_quality", v.n.Quality.String())
			s.figures([]Figure{{"reference_" + name, v.reference}})
		}
		s.figures([]Figure{{"perfusion_index_percent", value(m.Perfusion)}})
		list.Write(s.end())
	}
	list.WriteByte(']')
	o.raw("seconds", list.Bytes())
	return o.end(), nil
}

// WriteText prints the replay second by second, then the summary.
func (t *Trace) WriteText(w io.Writer) error {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	if t.Form == "cuff" {
		fmt.Fprintln(tw, "TIME\tCUFF mmHg\t")
		for _, m := range t.Moments {
			fmt.Fprintf(tw, "%s\t%s\t\n", minutes(m.At), decimal(math.Round(10*m.Pressure)/10))
		}
	} else {
		fmt.Fprintln(tw, "TIME\tHEART bpm\tREFERENCE\tSpO2 %\tREFERENCE\tBREATHS /min\tREFERENCE\tPERFUSION %\t")
		for _, m := range t.Moments {
			fmt.Fprintf(tw, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t\n", minutes(m.At), shown(m.HeartRate), decimal(tenth(m.ReferenceHeartRate)),
				shown(m.SpO2), decimal(tenth(m.ReferenceSpO2)), shown(m.RespiratoryRate), decimal(tenth(m.ReferenceRR)), shown(m.Perfusion))
		}
	}
	if err := tw.Flush(); err != nil {
		return err
	}
	fmt.Fprintf(w, "\n%s\n", t.File)
	tw = tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, f := range t.Summary() {
		fmt.Fprintf(tw, "  %s\t%s\n", f.Name, decimal(f.Value))
	}
	if t.Form == "cuff" {
		fmt.Fprintf(tw, "  quality\t%s\n", t.Pressure.Quality)
	}
	if t.Pressure.Reason != "" {
		fmt.Fprintf(tw, "  reason\t%s\n", t.Pressure.Reason)
	}
	if t.Calibration != "" {
		fmt.Fprintf(tw, "  calibration\t%s\n", t.Calibration)
	}
	for _, note := range []string{t.referenceNote, t.note} {
		if note != "" {
			fmt.Fprintf(tw, "  %s\n", note)
		}
	}
	return tw.Flush()
}

func minutes(d time.Duration) string {
	s := int(d.Seconds())
	return fmt.Sprintf("%d:%02d", s/60, s%60)
}

func tenth(v float64) float64 { return math.Round(10*v) / 10 }

// shown is a value, or the reason why there is none.
func shown(n vitals.Numeric) string {
	if !n.Quality.HasValue() {
		return n.Quality.String()
	}
	s := strconv.FormatFloat(n.Value, 'f', 1, 64)
	if n.Quality.Uncertain() {
		s += "?"
	}
	return s
}

// Plot writes a picture of the replay: png or svg.
func (t *Trace) Plot(w io.Writer, format string) error {
	c := chart.Chart{Title: t.title(), Subtitle: t.subtitle()}
	if t.Form == "cuff" {
		c.Panels = t.cuffPanels()
	} else {
		c.Panels = t.lightPanels()
	}
	return c.Write(w, format)
}

func (t *Trace) subtitle() []string {
	var lines []string
	if t.Form == "cuff" {
		lines = append(lines, "through the simulated bridge and 10-bit converter, 1,000 conversions a second averaged to 100 Hz")
		if t.Pressure.Reason != "" {
			lines = append(lines, t.Pressure.Quality.String()+": "+t.Pressure.Reason)
		}
	} else {
		line := "through the simulated MAX30100 and its driver at 100 Hz"
		if slices.ContainsFunc(t.Moments, func(m Moment) bool { return m.SpO2.Quality.HasValue() }) {
			line += "; SpO2 curve " + t.Calibration
		}
		lines = append(lines, line)
	}
	if t.referenceNote != "" {
		lines = append(lines, t.referenceNote)
	}
	return lines
}

func (t *Trace) lightPanels() []chart.Panel {
	panels := []chart.Panel{t.valuePanel("Heart rate, bpm", 20, func(m Moment) (vitals.Numeric, float64) { return m.HeartRate, m.ReferenceHeartRate })}
	for _, p := range []struct {
		title string
		least float64
		of    func(m Moment) (vitals.Numeric, float64)
	}{
		{"SpO2, %", 8, func(m Moment) (vitals.Numeric, float64) { return m.SpO2, m.ReferenceSpO2 }},
		{"Respiratory rate, breaths a minute", 10, func(m Moment) (vitals.Numeric, float64) { return m.RespiratoryRate, m.ReferenceRR }},
	} {
		for _, m := range t.Moments {
			if n, reference := p.of(m); n.Quality.HasValue() || !math.IsNaN(reference) { // a panel without anything says nothing
				panels = append(panels, t.valuePanel(p.title, p.least, p.of))
				break
			}
		}
	}
	wave := chart.Series{Name: "infrared light", X: t.Wave.Times, Y: make([]float64, len(t.Wave.Values)), Look: chart.Trace}
	for i, v := range t.Wave.Values {
		wave.Y[i] = 100 * v / recording.FullScale
	}
	return append(panels, chart.Panel{Title: "Light at the chip, % of full scale", Series: []chart.Series{wave}, Least: 0.2})
}

// valuePanel is one value over time beside its reference, with the stretches that have no value and why.
func (t *Trace) valuePanel(title string, least float64, of func(m Moment) (vitals.Numeric, float64)) chart.Panel {
	p := chart.Panel{Title: title, Least: least}
	shown := chart.Series{Name: "measured", Look: chart.Measured}
	truth := chart.Series{Name: "reference", Look: chart.Reference}
	references, sparse := 0, 0
	for i, m := range t.Moments {
		n, reference := of(m)
		at := m.At.Seconds()
		shown.X, shown.Y = append(shown.X, at), append(shown.Y, value(n))
		truth.X, truth.Y = append(truth.X, at), append(truth.Y, reference)
		if !math.IsNaN(reference) {
			references++
			if i > 0 && math.IsNaN(truth.Y[i-1]) {
				sparse++
			}
		}
		if !n.Quality.HasValue() {
			word := words(n.Quality)
			if k := len(p.Spans) - 1; k >= 0 && p.Spans[k].Word == word && p.Spans[k].To >= at-1 {
				p.Spans[k].To = at
			} else {
				p.Spans = append(p.Spans, chart.Span{From: at - 1, To: at, Word: word})
			}
		}
	}
	p.Series = append(p.Series, shown)
	if references > 0 {
		if 3*sparse > references { // they come one by one
			truth.Look = chart.Dots
		}
		p.Series = append(p.Series, truth)
	}
	return p
}

// words is a quality as a person says it.
func words(q vitals.Quality) string {
	switch q {
	case vitals.ProbeOff:
		return "no finger"
	case vitals.LowPerfusion:
		return "weak pulse"
	case vitals.OutOfRange:
		return "not plausible"
	case vitals.Unavailable:
		return "not available"
	case vitals.DeviceFault:
		return "device fault"
	}
	return q.String()
}

// cuffPanels show the pressure, and the heart's oscillations on it.
func (t *Trace) cuffPanels() []chart.Panel {
	pressure := chart.Series{Name: "cuff", X: t.Wave.Times, Y: t.Wave.Values, Look: chart.Trace}
	p := chart.Panel{Title: "Cuff pressure, mmHg", Series: []chart.Series{pressure}, Tall: true}
	for _, r := range []struct {
		name  string
		value float64
	}{{"systolic", t.ReferenceSystolic}, {"diastolic", t.ReferenceDiastolic}} {
		if !math.IsNaN(r.value) {
			p.Levels = append(p.Levels, chart.Level{Value: r.value, Word: fmt.Sprintf("reference %s %.0f", r.name, r.value), Reference: true, Below: r.name == "diastolic"})
		}
	}
	if t.Pressure.Quality.HasValue() {
		p.Levels = append(p.Levels, chart.Level{Value: float64(t.Pressure.Systolic), Word: fmt.Sprintf("systolic %.0f", float64(t.Pressure.Systolic))},
			chart.Level{Value: float64(t.Pressure.Diastolic), Word: fmt.Sprintf("diastolic %.0f", float64(t.Pressure.Diastolic)), Below: true},
			chart.Level{Value: float64(t.Pressure.Mean), Word: fmt.Sprintf("mean %.0f", float64(t.Pressure.Mean))})
	}
	// What is left without the slow part; where the pressure itself moves fast (pumping, the valve) nothing can be seen.
	level := movingMean(movingMean(t.Wave.Values, 120), 120)
	fine := movingMean(t.Wave.Values, 5)
	wave := chart.Series{Name: "oscillation", X: t.Wave.Times, Y: make([]float64, len(fine)), Look: chart.TraceToo}
	for i := range fine {
		wave.Y[i] = fine[i] - level[i]
		if math.Abs(level[min(i+100, len(level)-1)]-level[max(i-100, 0)]) > 20 || level[i] < 20 || t.Wave.Times[i] < t.begins+1.5 {
			wave.Y[i] = math.NaN()
		}
	}
	return []chart.Panel{p, {Title: "Oscillations in the cuff, mmHg", Series: []chart.Series{wave}, Least: 1}}
}
