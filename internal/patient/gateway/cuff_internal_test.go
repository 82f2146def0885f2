package gateway

import (
	"bytes"
	"log/slog"
	"math"
	"strings"
	"testing"
	"time"

	"vitalseal/internal/measurement/vitals"
	"vitalseal/internal/patient/sensor"
	"vitalseal/internal/patient/signal"
	"vitalseal/internal/way/outbox"
)

// TestCuffAttemptWithoutValue: an attempt that gives no value is said to the hub once, with its
// reason and its cause, and logged once, without a number: one that a movement spoilt, one whose
// sensor failed while the cuff was inflated, and one of which the gateway lost samples.
func TestCuffAttemptWithoutValue(t *testing.T) {
	for name, x := range map[string]struct {
		shake float64 // mmHg
		fails bool    // the sensor, while the cuff deflates
		stops bool    // the gateway, while the cuff deflates
		want  vitals.Quality
		why   string
		cause vitals.Cause
	}{
		"shaken":        {12, false, false, vitals.Motion, "movement", vitals.CauseMovement},
		"sensor failed": {0, true, false, vitals.DeviceFault, "the sensor failed", vitals.CauseSensorFailed},
		"samples lost":  {0, false, true, vitals.DeviceFault, "samples were lost", vitals.CauseSamplesLost},
		"good":          {0, false, false, vitals.Good, "", vitals.CauseUnknown},
	} {
		t.Run(name, func(t *testing.T) {
			w, _, _ := loneWriter(t, outbox.Options{})
			w.in = make(chan taken, 1<<14)
			var said bytes.Buffer
			c := newCuff(Sensor{ID: "cuff"}, nil, w, slog.New(slog.NewTextHandler(&said, nil)))
			now := time.Date(2026, 11, 30, 14, 0, 0, 0, time.UTC)
			p := deflated(x.shake)
			for i, v := range p {
				if x.fails && i == len(p)/2 {
					for range 50 { // a fault is read again and again
						c.failed(now, sensor.ErrNotConnected)
						now = now.Add(cuffPeriod)
					}
				}
				if x.stops && i == len(p)/2 {
					now = now.Add(20 * time.Second)
				}
				k := v.KPa()
				c.sample(now, k)
				c.last, c.lastAt = k, now
				now = now.Add(cuffPeriod)
			}
			close(w.in)
			var got []vitals.Numeric
			cause := vitals.CauseUnknown
			for x := range w.in {
				for _, b := range x.Bundles {
					for _, n := range b.Numerics {
						if n.Kind == vitals.Systolic {
							got, cause = append(got, n), vitals.CauseOf(b.Numerics)
						}
					}
				}
			}
			if len(got) != 1 || got[0].Quality != x.want || cause != x.cause {
				t.Errorf("%v because of %q, want one word of quality %v because of %q", got, cause, x.want, x.cause)
			}
			warned := strings.Count(said.String(), "gave no value")
			if x.want.HasValue() && warned != 0 || !x.want.HasValue() && (warned != 1 || !strings.Contains(said.String(), x.why)) {
				t.Errorf("logged %d times:\n%s", warned, said.String())
			}
		})
	}
}

// deflated is a measurement of 125/80 by a cuff at its rate, with a movement of so many mmHg.
func deflated(shake float64) (p []vitals.MMHg) {
	ratios := signal.PeopleRatios()
	at := 0.0
	add := func(base float64) {
		mean := 95.0
		width := (125 - float64(ratios.SystolicAbove) - mean) / 0.592
		if base < mean {
			width = (mean - 80) / math.Sqrt(-math.Log(ratios.Diastolic))
		}
		x := (base - mean) / width
		moved := shake * math.Sin(2*math.Pi*(1.1*at+2*math.Sin(0.9*at))) * math.Pow(math.Sin(1.7*at), 8)
		p = append(p, vitals.MMHg(base+1.25*math.Exp(-x*x)*math.Cos(2*math.Pi*1.2*at)+moved))
		at += 0.01
	}
	for base := 0.0; base < 180; base += 0.3 {
		add(base)
	}
	for range 50 {
		add(180)
	}
	for base := 180.0; base > 40; base -= 0.03 {
		add(base)
	}
	for base := 40.0; base > 0.2; base *= 0.97 {
		p = append(p, vitals.MMHg(base))
	}
	return append(p, make([]vitals.MMHg, 500)...)
}
