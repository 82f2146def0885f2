package chart_test

import (
	"bytes"
	"encoding/xml"
	"errors"
	"image"
	"image/color"
	"image/png"
	"io"
	"math"
	"strings"
	"testing"

	"vitalseal/internal/lab/accuracy/chart"
)

func sample() chart.Chart {
	var x, y, z []float64
	for i := range 5000 {
		x, y = append(x, float64(i)/10), append(y, 70+10*math.Sin(float64(i)/200))
		z = append(z, math.NaN())
	}
	for i := 2000; i < 3000; i++ {
		y[i] = math.NaN()
	}
	z[100] = 75
	return chart.Chart{Title: `<a & "b">`, Subtitle: []string{"one", "two"}, Panels: []chart.Panel{
		{Title: "Heart rate, bpm", Least: 20, Spans: []chart.Span{{From: 200, To: 300, Word: "motion"}},
			Series: []chart.Series{{Name: "measured", X: x, Y: y}, {Name: "reference", X: x, Y: z, Look: chart.Dots}}},
		{Title: "Nothing", Tall: true, Levels: []chart.Level{{Value: 3, Word: "three"}}},
	}}
}

func TestSVGIsWellFormed(t *testing.T) {
	var b bytes.Buffer
	if err := sample().Write(&b, "svg"); err != nil {
		t.Fatal(err)
	}
	d := xml.NewDecoder(&b)
	lines, text := 0, ""
	for {
		tok, err := d.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		switch e := tok.(type) {
		case xml.StartElement:
			for _, a := range e.Attr {
				if strings.Contains(a.Value, "NaN") || strings.Contains(a.Value, "Inf") {
					t.Errorf("<%s %s=%.60q>", e.Name.Local, a.Name.Local, a.Value)
				}
				if a.Name.Local == "points" && strings.Count(a.Value, " ") > 200 {
					lines++
				}
			}
		case xml.CharData:
			text += string(e)
		}
	}
	if lines != 2 {
		t.Errorf("%d long lines, want 2: the hole must show as a hole", lines)
	}
	for _, want := range []string{`<a & "b">`, "two", "Heart rate, bpm", "motion", "three", "reference", "8:00"} {
		if !strings.Contains(text, want) {
			t.Errorf("no text %q", want)
		}
	}
}

func TestPNGShowsTheLine(t *testing.T) {
	var b bytes.Buffer
	if err := sample().Write(&b, "png"); err != nil {
		t.Fatal(err)
	}
	m, err := png.Decode(&b)
	if err != nil {
		t.Fatal(err)
	}
	blue, shaded := 0, 0
	for y := range m.Bounds().Dy() {
		for x := range m.Bounds().Dx() {
			switch c := color.NRGBAModel.Convert(m.At(x, y)).(color.NRGBA); c {
			case color.NRGBA{0x0b, 0x6e, 0x99, 0xff}:
				blue++
			case color.NRGBA{0xf3, 0xe4, 0xd3, 0xff}:
				shaded++
			}
		}
	}
	if m.Bounds().Size() != (image.Point{X: 2400, Y: 1276}) || blue < 3000 || shaded < 50000 {
		t.Errorf("%v, %d blue, %d shaded", m.Bounds().Size(), blue, shaded)
	}
}

func TestOddCharts(t *testing.T) {
	nan, inf := math.NaN(), math.Inf(1)
	for name, c := range map[string]chart.Chart{
		"empty":        {},
		"empty panel":  {Panels: []chart.Panel{{}}},
		"one point":    {Panels: []chart.Panel{{Series: []chart.Series{{X: []float64{5}, Y: []float64{7}}}}}},
		"all equal":    {Panels: []chart.Panel{{Series: []chart.Series{{X: []float64{1, 2, 3}, Y: []float64{7, 7, 7}}}}}},
		"not numbers":  {Panels: []chart.Panel{{Series: []chart.Series{{X: []float64{nan, 1, 2}, Y: []float64{1, nan, inf}}}}}},
		"uneven":       {Panels: []chart.Panel{{Series: []chart.Series{{X: []float64{1, 2, 3}, Y: []float64{7}}}}}},
		"large values": {Panels: []chart.Panel{{Series: []chart.Series{{X: []float64{0, 1e5}, Y: []float64{-1e12, 1e12}}}}}},
	} {
		for _, format := range []string{"svg", "png"} {
			if err := c.Write(io.Discard, format); err != nil {
				t.Errorf("%s, %s: %v", name, format, err)
			}
		}
	}
	if err := sample().Write(io.Discard, "pdf"); err == nil {
		t.Error("a PDF was written")
	}
}
