// Package chart draws a few quantities over one time axis, one panel below the other, as SVG or PNG.
//
// It exists because the charts of `vitalseal replay` need little and should look calm: a plotting library brings megabytes of
// fonts and a dozen modules for it. It hides scales, ticks and pixels; it guarantees that a NaN is a gap in a line and never a
// point, that both formats show the same picture, and that the size of a picture is bounded however long the recording
// is. It does not do anything else than lines, dots and stretches over time.
package chart

import (
	"fmt"
	"image/color"
	"io"
	"math"
	"strconv"
)

// Chart is a picture. The zero Chart is an empty one.
type Chart struct {
	Title string
	// Subtitle is lines below the title.
	Subtitle []string
	Panels   []Panel
}

// Panel is one quantity, or several of one unit, over time.
type Panel struct {
	// Title names the quantity with its unit: "Heart rate, bpm".
	Title  string
	Series []Series
	// Spans are stretches of time to be marked, such as those without a value.
	Spans []Span
	// Levels are lines across, each with a word.
	Levels []Level
	// Least is the smallest range of the value axis, so that noise is not blown up.
	Least float64
	// Tall makes the panel half as tall again.
	Tall bool
}

// Series is values over time in seconds. X must not fall; NaN in Y is a gap. Equal lengths.
type Series struct {
	Name string
	X, Y []float64
	Look Look
}

// Look is how a series is drawn.
type Look uint8

// The looks.
const (
	Measured  Look = iota // a strong line
	Reference             // a quieter line behind it
	Dots                  // reference values that come now and then
	Trace                 // a thin line: a waveform
	TraceToo              // another waveform
)

// Span is a stretch of time with a word for it.
type Span struct {
	From, To float64
	Word     string
}

// Level is a value with a word for it.
type Level struct {
	Value     float64
	Word      string
	Reference bool
	// Below puts the word under the line.
	Below bool
}

// The picture's measures in points.
const (
	width       = 1200.0
	left        = 74.0
	right       = 28.0
	head        = 56.0
	lineHeight  = 18.0
	foot        = 46.0
	panelHeight = 168.0
	panelGap    = 40.0
)

var (
	ink       = color.NRGBA{0x1c, 0x24, 0x30, 0xff}
	quiet     = color.NRGBA{0x66, 0x70, 0x80, 0xff}
	grid      = color.NRGBA{0xe6, 0xe9, 0xee, 0xff}
	paper     = color.NRGBA{0xff, 0xff, 0xff, 0xff}
	field     = color.NRGBA{0xfa, 0xfb, 0xfc, 0xff}
	shade     = color.NRGBA{0xf3, 0xe4, 0xd3, 0xff}
	measured  = color.NRGBA{0x0b, 0x6e, 0x99, 0xff}
	reference = color.NRGBA{0xe0, 0x7a, 0x1f, 0xff}
	trace     = color.NRGBA{0x7a, 0x5a, 0xa6, 0xff}
	traceToo  = color.NRGBA{0xc0, 0x39, 0x4b, 0xff}
)

type point struct{ x, y float64 }

type anchor uint8

const (
	atStart anchor = iota
	atMiddle
	atEnd
)

// canvas is what both formats can do.
type canvas interface {
	rectangle(x, y, w, h float64, c color.NRGBA)
	line(p []point, w float64, c color.NRGBA)
	dot(x, y, r float64, c color.NRGBA)
	text(x, y float64, s string, size float64, bold bool, c color.NRGBA, a anchor)
	textWidth(s string, size float64, bold bool) float64
}

func (c Chart) height() float64 {
	h := c.head() + foot
	for _, p := range c.Panels {
		h += p.height() + panelGap
	}
	return h
}

func (c Chart) head() float64 { return head + lineHeight*float64(len(c.Subtitle)) }

func (p Panel) height() float64 {
	if p.Tall {
		return 1.5 * panelHeight
	}
	return panelHeight
}

// span is the range of all times.
func (c Chart) span() (from, to float64) {
	from, to = math.Inf(1), math.Inf(-1)
	for _, p := range c.Panels {
		for _, s := range p.Series {
			for _, x := range s.X {
				if !math.IsNaN(x) {
					from, to = min(from, x), max(to, x)
				}
			}
		}
	}
	if !(to > from) {
		return 0, 1
	}
	return from, to
}

func (c Chart) draw(v canvas) {
	v.rectangle(0, 0, width, c.height(), paper)
	v.text(left, 34, c.Title, 20, true, ink, atStart)
	for i, s := range c.Subtitle {
		v.text(left, head+lineHeight*float64(i), s, 12.5, false, quiet, atStart)
	}
	from, to := c.span()
	y := c.head() + panelGap/2
	for i, p := range c.Panels {
		p.draw(v, y, from, to, i == len(c.Panels)-1)
		y += p.height() + panelGap
	}
}

// limits are the ends of a panel's value axis, at round numbers, and the step between its lines.
func (p Panel) limits() (low, high, step float64) {
	low, high = math.Inf(1), math.Inf(-1)
	for _, s := range p.Series {
		for _, y := range s.Y {
			if !math.IsNaN(y) && !math.IsInf(y, 0) {
				low, high = min(low, y), max(high, y)
			}
		}
	}
	for _, l := range p.Levels {
		low, high = min(low, l.Value), max(high, l.Value)
	}
	if !(high >= low) {
		low, high = 0, 1
	}
	if least := max(p.Least, 1e-9); high-low < least {
		middle := (high + low) / 2
		low, high = middle-least/2, middle+least/2
	}
	step = round((high - low) / 4)
	return math.Floor(low/step+0.03) * step, math.Ceil(high/step-0.03) * step, step
}

// round is the nearest step of 1, 2 or 5 times a power of ten that is not smaller.
func round(v float64) float64 {
	p := math.Pow(10, math.Floor(math.Log10(v)))
	for _, k := range []float64{1, 2, 5, 10} {
		if k*p >= v*0.999 {
			return k * p
		}
	}
	return 10 * p
}

// timeStep is a step that people read time in.
func timeStep(seconds float64) float64 {
	for _, s := range []float64{0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 21600, 43200} {
		if seconds/s <= 10 {
			return s
		}
	}
	return 86400
}

func clock(s, step float64) string {
	if step < 1 {
		return strconv.FormatFloat(s, 'f', 1, 64)
	}
	t := int(math.Round(s))
	if t >= 3600 {
		return fmt.Sprintf("%d:%02d:%02d", t/3600, t/60%60, t%60)
	}
	return fmt.Sprintf("%d:%02d", t/60, t%60)
}

func (p Panel) draw(v canvas, top, from, to float64, last bool) {
	bottom := top + p.height()
	low, high, step := p.limits()
	px := func(x float64) float64 { return left + (x-from)/(to-from)*(width-left-right) }
	py := func(y float64) float64 { return bottom - (y-low)/(high-low)*(bottom-top) }
	v.rectangle(left, top, width-left-right, bottom-top, field)
	for _, s := range p.Spans {
		a, b := max(px(s.From), left), min(px(s.To), width-right)
		if b <= a {
			continue
		}
		v.rectangle(a, top, b-a, bottom-top, shade)
	}
	for y := low; y <= high+step/2; y += step {
		v.line([]point{{left, py(y)}, {width - right, py(y)}}, 1, grid)
		v.text(left-8, py(y)+4, trimmed(y, step), 11.5, false, quiet, atEnd)
	}
	ts := timeStep(to - from)
	for x := math.Ceil(from/ts) * ts; x <= to+1e-9; x += ts {
		v.line([]point{{px(x), top}, {px(x), bottom}}, 1, grid)
		if last {
			v.text(px(x), bottom+18, clock(x, ts), 11.5, false, quiet, atMiddle)
		}
	}
	if last {
		unit := "minutes:seconds"
		if ts < 1 {
			unit = "seconds"
		}
		v.text(width-right, bottom+36, unit, 11.5, false, quiet, atEnd)
	}
	for _, s := range p.Spans { // over the grid, and only where there is room
		a, b := max(px(s.From), left), min(px(s.To), width-right)
		if w := v.textWidth(s.Word, 10.5, false); w < b-a-6 {
			v.rectangle((a+b-w)/2-3, bottom-18, w+6, 15, shade)
			v.text((a+b)/2, bottom-7, s.Word, 10.5, false, quiet, atMiddle)
		}
	}
	v.text(left, top-9, p.Title, 13, true, ink, atStart)
	p.legend(v, top-9)
	for _, l := range p.Levels {
		c := measured
		if l.Reference {
			c = reference
		}
		v.line([]point{{left, py(l.Value)}, {width - right, py(l.Value)}}, 1.4, c)
		x := width - right - 6
		a := atEnd
		if l.Reference { // so that two words at one height do not meet
			x, a = left+6, atStart
		}
		y := py(l.Value) - 5
		if l.Below {
			y = py(l.Value) + 14
		}
		v.text(x, y, l.Word, 11.5, true, c, a)
	}
	// The measured line is on top of everything.
	for _, front := range []bool{false, true} {
		for _, s := range p.Series {
			if (s.Look == Measured) == front {
				s.draw(v, px, py)
			}
		}
	}
}

func trimmed(y, step float64) string {
	digits := 0
	if step < 1 {
		digits = int(math.Ceil(-math.Log10(step) - 1e-9))
	}
	if math.Abs(y) < step/1e6 {
		y = 0
	}
	return strconv.FormatFloat(y, 'f', digits, 64)
}

// legend stands at the right above the panel.
func (p Panel) legend(v canvas, y float64) {
	x := width - right
	for i := len(p.Series) - 1; i >= 0; i-- {
		s := p.Series[i]
		if s.Name == "" {
			continue
		}
		v.text(x, y, s.Name, 11.5, false, quiet, atEnd)
		x -= v.textWidth(s.Name, 11.5, false) + 8
		c, w := s.Look.ink()
		if s.Look == Dots {
			v.dot(x-8, y-4, 3.2, c)
		} else {
			v.line([]point{{x - 18, y - 4}, {x, y - 4}}, max(w, 2), c)
		}
		x -= 34
	}
}

func (l Look) ink() (color.NRGBA, float64) {
	switch l {
	case Measured:
		return measured, 2.2
	case Trace:
		return trace, 1.1
	case TraceToo:
		return traceToo, 1.1
	}
	return reference, 2.2
}

func (s Series) draw(v canvas, px, py func(float64) float64) {
	c, w := s.Look.ink()
	var run []point
	flush := func() {
		switch {
		case len(run) == 1 && s.Look != Dots:
			v.dot(run[0].x, run[0].y, w, c)
		case len(run) > 1:
			v.line(run, w, c)
		}
		run = run[:0]
	}
	for i := range min(len(s.X), len(s.Y)) {
		if math.IsNaN(s.Y[i]) || math.IsInf(s.Y[i], 0) || math.IsNaN(s.X[i]) {
			flush()
			continue
		}
		p := point{px(s.X[i]), py(s.Y[i])}
		if s.Look == Dots {
			v.dot(p.x, p.y, 3.2, c)
			continue
		}
		run = thin(run, p)
	}
	flush()
}

// thin adds a point to a line, unless so many already share its column of pixels that their lowest and highest say it all.
func thin(run []point, p point) []point {
	n := len(run)
	const column = 0.5
	if n >= 3 && p.x-run[n-3].x < column {
		lowest, highest := &run[n-2], &run[n-1]
		if lowest.y > highest.y {
			lowest, highest = highest, lowest
		}
		switch {
		case p.y < lowest.y:
			lowest.y = p.y
		case p.y > highest.y:
			highest.y = p.y
		}
		return run
	}
	return append(run, p)
}

// Write writes the chart in the format that a file's name ends in: png or svg.
func (c Chart) Write(w io.Writer, format string) error {
	switch format {
	case "png":
		return c.png(w)
	case "svg":
		return c.svg(w)
	}
	return fmt.Errorf("chart: no format %q, allowed are png and svg", format)
}
