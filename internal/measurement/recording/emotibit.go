package recording

import (
	"io"
	"math"
	"strings"
)

// EmotibitRate is the rate of red, infrared and green (25 Hz nominal, as measured by its makers).
const EmotibitRate = 24.95

const (
	usualEmotibitInfrared = 186000
	usualEmotibitRed      = 158000
)

// Emotibit is a recording of red and infrared with SpO2 readings of another oximeter, typed in as they came.
type Emotibit struct {
	Infrared, Red []float64
	Notes         []Typed
}

// Typed is a reading after so many samples.
type Typed struct {
	Samples int
	Oxygen  float64
}

// ReadEmotibit reads packets `ms,packet,count,TAG,version,reliability,value,...`: PI is infrared, PR red, UN a typed note
// `clock,SPO2`. What else there is, is left out, as are notes that hold no SpO2.
func ReadEmotibit(name string, r io.Reader) (Emotibit, error) {
	t := NewText(name, r)
	var e Emotibit
	for {
		line, ok := t.Next()
		if !ok {
			break
		}
		f := strings.Split(line, ",")
		if len(f) < 4 || !IsNumber(f[0]) {
			if strings.TrimSpace(line) == "" {
				continue
			}
			return e, t.Bad(0, "not a packet: milliseconds, number, count, tag, version, reliability, values")
		}
		if len(f) < 7 {
			continue
		}
		switch f[3] {
		case "PI", "PR":
			for c := 6; c < len(f); c++ {
				v, err := t.Number(f, c)
				if err != nil {
					return e, err
				}
				if f[3] == "PI" {
					e.Infrared = append(e.Infrared, v)
				} else {
					e.Red = append(e.Red, v)
				}
			}
			if err := t.Room(len(e.Infrared) + len(e.Red)); err != nil {
				return e, err
			}
		case "UN":
			if v := readings(strings.TrimSpace(f[len(f)-1]), 40, 100); v > 0 {
				e.Notes = append(e.Notes, Typed{len(e.Infrared), v})
			}
		}
	}
	if err := t.End(); err != nil {
		return e, err
	}
	n := min(len(e.Infrared), len(e.Red))
	if n < 50 {
		t.Line = max(1, t.Line)
		return e, t.Bad(0, "%d samples of PI and PR are too few", n)
	}
	e.Infrared, e.Red = e.Infrared[:n], e.Red[:n]
	if len(e.Notes) == 0 {
		return e, t.Bad(0, "no note (UN) with an SpO2")
	}
	return e, nil
}

// Second is the index of what the display showed when the reading was typed: the last full second's; -1 before the first.
func (n Typed) Second() int { return int(math.Floor(float64(n.Samples)/EmotibitRate)) - 1 }

// Wave is the recording as a meter takes it.
func (e Emotibit) Wave() Wave {
	return Wave{Rate: EmotibitRate, A: absolute(e.Infrared, usualEmotibitInfrared), B: absolute(e.Red, usualEmotibitRed)}
}
