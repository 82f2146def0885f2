package gateway_test

import (
	"context"
	"math"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"periph.io/x/conn/v3/i2c"

	"vitalseal/internal/measurement/vitals"
	"vitalseal/internal/patient/gateway"
	"vitalseal/internal/patient/sensor"
	"vitalseal/internal/patient/sensor/bench"
	"vitalseal/internal/way/overlay"
)

// stalling are buses of which the next read of samples comes back as much later as told: what a
// frozen process, a paused machine or a stalled bus is to an oximeter, which measures on meanwhile.
type stalling struct {
	sensor.Buses
	next atomic.Int64 // ns
}

type stallingI2C struct {
	i2c.BusCloser
	next *atomic.Int64
}

func (s *stalling) I2C(name string) (i2c.BusCloser, error) {
	b, err := s.Buses.I2C(name)
	return stallingI2C{b, &s.next}, err
}

func (s stallingI2C) Tx(addr uint16, w, r []byte) error {
	err := s.BusCloser.Tx(addr, w, r)
	if len(w) == 1 && w[0] == 0x05 { // FIFO_DATA
		time.Sleep(time.Duration(s.next.Swap(0)))
	}
	return err
}

// TestNothingOldAfterAStall: after a stall the chip still holds 160 ms from its beginning. No number
// that rests on them, and no sample of them, gets a time after the stall: another patient may lie in
// the bed by then.
func TestNothingOldAfterAStall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(time.Hour)
		began := time.Now()
		w := newWard(t, bench.Profile{Seed: 5, Start: began, HeartRate: 77, SpO2: 96, CuffEvery: bench.Off})
		net := overlay.NewLoopback(w.authority)
		hub, err := net.Endpoint(spiffe(overlay.KindHub, "hub"))
		must(t, err)
		w.serve(t, hub)
		chips, err := newBench(w.profile)
		must(t, err)
		buses := &stalling{Buses: chips}
		stop := background(t, func(ctx context.Context) error {
			return gateway.Run(ctx, w.config(), gateway.Deps{Buses: buses, Network: net, Log: quiet})
		})
		time.Sleep(30 * time.Second)
		type stall struct{ from, to time.Time }
		var stalls []stall
		for _, lasting := range []time.Duration{2 * time.Second, 40 * time.Second} {
			from := time.Now()
			buses.next.Store(int64(lasting))
			time.Sleep(lasting + 20*time.Second)
			stalls = append(stalls, stall{from, from.Add(lasting)})
		}
		stop()

		at, hearts := seconds(w.store.arrivals(oximeter, vitals.Numerics), vitals.HeartRate)
		for _, s := range stalls {
			soon, later := 0, 0
			for i, h := range hearts {
				after := at[i].Sub(s.to)
				switch {
				case after < 0 || after > 15*time.Second:
				case after < 2*time.Second:
					soon++
					if h.Quality.HasValue() {
						t.Errorf("heart rate %.1f %v, %v after a stall of %v", h.Value, h.Quality, after, s.to.Sub(s.from))
					}
				case h.Quality.HasValue():
					later++
				}
			}
			if soon == 0 || later < 5 {
				t.Errorf("%d numbers in the 2 s after a stall, %d values in the 13 s after that", soon, later)
			}
		}
		samples, gaps := 0, uint32(0)
		for _, c := range w.store.arrivals(oximeter, vitals.PPG) {
			samples, gaps = samples+len(c.Infrared), gaps+c.Gap
			for _, s := range stalls {
				if c.Start.Before(s.to) && c.End().After(s.from.Add(500*time.Millisecond)) {
					t.Errorf("a pulse wave from %v to %v of a stall of %v", c.Start.Sub(s.from), c.End().Sub(s.from), s.to.Sub(s.from))
				}
			}
		}
		if total, want := float64(samples)+float64(gaps), time.Since(began).Seconds()*100; math.Abs(total-want) > 120 {
			t.Errorf("%d samples and %d missing, %.0f in all expected", samples, gaps, want)
		}
	})
}
