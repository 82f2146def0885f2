package gateway_test

import (
	"context"
	"errors"
	"math"
	"testing"
	"testing/synctest"
	"time"

	"vitalseal/internal/measurement/vitals"
	"vitalseal/internal/patient/gateway"
	"vitalseal/internal/patient/sensor/bench"
	"vitalseal/internal/way/overlay"
	"vitalseal/internal/way/seal"
)

// values are the numbers of one kind in a sensor's bundles, with their times.
func values(chunks []vitals.Chunk, k vitals.Kind) (at []time.Time, v []float64) {
	for _, c := range chunks {
		for _, b := range c.Bundles {
			for _, n := range b.Numerics {
				if n.Kind == k && n.Quality.HasValue() {
					at, v = append(at, b.At), append(v, n.Value)
				}
			}
		}
	}
	return at, v
}

func eventCodes(chunks []vitals.Chunk) map[string]int {
	n := map[string]int{}
	for _, c := range chunks {
		for _, e := range c.Events {
			n[e.Code]++
		}
	}
	return n
}

// TestMeasures runs a gateway on simulated chips for two and a half minutes of simulated time: numbers are close to the
// truth, a cuff measurement comes out, a chip that is unplugged is reported and comes back, an outage loses nothing.
func TestMeasures(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		// The bubble's clock stands at 2000-01-01; a little later, so that times are plausible.
		time.Sleep(time.Hour)
		began := time.Now()
		w := newWard(t, bench.Profile{Seed: 77, Start: began, HeartRate: 81, SpO2: 95, Systolic: 128, Diastolic: 82, CuffFirst: 10 * time.Second, CuffEvery: 10 * time.Minute})
		net := overlay.NewLoopback(w.authority)
		hub, err := net.Endpoint(spiffe(overlay.KindHub, "hub"))
		must(t, err)
		w.serve(t, hub)
		b, err := newBench(w.profile)
		must(t, err)
		cfg := w.config()
		cfg.EpochLifetime = 40 * time.Second
		ready := make(chan struct{})
		stop := background(t, func(ctx context.Context) error {
			return gateway.Run(ctx, cfg, gateway.Deps{Buses: b, Network: net, Log: quiet, Ready: func() error { close(ready); return nil }})
		})
		<-ready
		time.Sleep(40 * time.Second)
		net.SetDown(true)
		time.Sleep(60 * time.Second)
		net.SetDown(false)
		time.Sleep(10 * time.Second)
		b.MAX30100(i2cBus).SetPresent(false)
		b.MCP3008(spiBus).SetPresent(false)
		time.Sleep(10 * time.Second)
		b.MAX30100(i2cBus).SetPresent(true)
		b.MCP3008(spiBus).SetPresent(true)
		time.Sleep(30 * time.Second)
		stop()

		w.account(t)
		st, err := readStatus(w.data)
		must(t, err)
		if st.OutboxRecords != 0 || len(st.Streams) == 0 {
			t.Errorf("status %+v: want streams and an empty outbox", st)
		}
		for _, s := range st.Streams {
			if s.Acked != s.Produced || s.Lost+s.Dropped+s.Rejected+s.Pending != 0 {
				t.Errorf("status %+v: want all acked", s)
			}
		}

		epochs := map[seal.Epoch]bool{}
		for _, a := range w.store.chunks {
			if a.Chunk.Signal == vitals.PPG {
				epochs[a.Header.Epoch] = true
			}
		}
		if len(epochs) != 4 {
			t.Errorf("%d epochs of the pulse wave in 150 s, each of 40 s; want 4", len(epochs))
		}

		patient := b.Patient("bed-1")
		numerics := w.store.arrivals(oximeter, vitals.Numerics)
		for _, c := range []struct {
			kind  vitals.Kind
			truth func(bench.Truth) float64
			off   float64
		}{
			{vitals.HeartRate, func(t bench.Truth) float64 { return float64(t.HeartRate) }, 2},
			{vitals.SpO2, func(t bench.Truth) float64 { return float64(t.SpO2) }, 2},
		} {
			at, v := values(numerics, c.kind)
			if len(v) < 90 {
				t.Errorf("%s: %d values, want at least 90", c.kind, len(v))
				continue
			}
			sum := 0.0
			for i := range v {
				sum += math.Abs(v[i] - c.truth(patient.Truth(at[i].Add(-4*time.Second))))
			}
			if mean := sum / float64(len(v)); mean > c.off {
				t.Errorf("%s: mean absolute error %.2f, allowed is %g", c.kind, mean, c.off)
			} else {
				t.Logf("%s: %d values, mean absolute error %.2f", c.kind, len(v), mean)
			}
		}
		if n := len(numerics); n < 148 || n > 154 {
			t.Errorf("%d bundles of the oximeter in 150 s", n)
		}
		if _, v := values(numerics, vitals.DieTemperature); len(v) < 2 {
			t.Errorf("%d die temperatures, want at least 2", len(v))
		}
		at, sys := values(w.store.arrivals(cuff, vitals.Numerics), vitals.Systolic)
		if len(sys) != 1 {
			t.Errorf("%d blood pressures, want 1", len(sys))
		} else if truth := patient.Truth(at[0]); math.Abs(sys[0]-float64(truth.Systolic)) > 12 {
			t.Errorf("systolic %.0f, truth %.0f", sys[0], float64(truth.Systolic))
		}
		checkWaveforms(t, w, patient)

		for name, codes := range map[string]map[string]int{oximeter: {"started": 1, "device_fault": 1, "device_ok": 1},
			adc: {"device_fault": 1}, cuff: {"started": 1, "device_fault": 1, "device_ok": 1}} {
			got := eventCodes(w.store.arrivals(name, vitals.Events))
			for code, n := range codes {
				if got[code] != n {
					t.Errorf("%s: events %v, want %s %d times", name, got, code, n)
				}
			}
		}
	})
}

// checkWaveforms compares the pulse wave's length with its time, and the pressure wave with the cuff's truth.
func checkWaveforms(t *testing.T, w *ward, patient *bench.Patient) {
	t.Helper()
	samples := 0
	for _, c := range w.store.arrivals(oximeter, vitals.PPG) {
		samples += len(c.Infrared)
		if math.Abs(float64(c.Rate)-100) > 1 {
			t.Errorf("rate %v, want 100 Hz within 1", c.Rate)
			break
		}
	}
	if samples < 13_300 || samples > 14_200 {
		t.Errorf("%d samples in about 140 s at 100 Hz", samples)
	}
	pressure := w.store.arrivals(cuff, vitals.Pressure)
	if len(pressure) < 100 {
		t.Fatalf("%d pressure chunks, want those of a whole deflation", len(pressure))
	}
	worst := 0.0
	for _, c := range pressure {
		sum, want := 0.0, 0.0
		for i, p := range c.PressurePa {
			sum += float64(vitals.KPa(float64(p) / 1000).MMHg())
			want += float64(patient.Pressure(c.Start.Add(time.Duration(i) * 10 * time.Millisecond)))
		}
		worst = max(worst, math.Abs(sum-want)/float64(len(c.PressurePa)))
	}
	if worst > 3 {
		t.Errorf("pressure is off by up to %.1f mmHg over a quarter of a second", worst)
	}
}

func TestNotEnrolled(t *testing.T) {
	w := newWard(t, bench.Profile{})
	for _, tc := range []struct {
		name   string
		change func(*gateway.Config)
	}{
		{"no gateway identity", func(c *gateway.Config) { c.Data = t.TempDir() }},
		{"sensor without an identity", func(c *gateway.Config) { c.Sensors[0].ID = "other" }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := w.config()
			tc.change(&c)
			b, err := newBench(w.profile)
			must(t, err)
			err = gateway.Run(t.Context(), c, gateway.Deps{Buses: b, Network: overlay.NewLoopback(w.authority), Log: quiet})
			if !errors.Is(err, gateway.ErrNotEnrolled) {
				t.Errorf("error %v, want ErrNotEnrolled", err)
			}
		})
	}
}
