package gateway_test

import (
	"context"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"vitalseal/internal/measurement/vitals"
	"vitalseal/internal/patient/gateway"
	"vitalseal/internal/patient/sensor/bench"
	"vitalseal/internal/way/overlay"
)

// seconds are the qualities of one kind, one a second, in the order of time.
func seconds(chunks []vitals.Chunk, k vitals.Kind) (at []time.Time, n []vitals.Numeric) {
	for _, c := range chunks {
		for _, b := range c.Bundles {
			for _, v := range b.Numerics {
				if v.Kind == k {
					at, n = append(at, b.At), append(n, v)
				}
			}
		}
	}
	return at, n
}

// TestHardships lets everything happen to one oximeter that happens to real ones: a finger too bright for the default
// currents, light from outside, no finger in that light, a supply that fails, a bus with a bad contact. Values must come
// back soon, be right, and be absent while there is no finger; what was lost must be said.
func TestHardships(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(time.Hour)
		began := time.Now()
		w := newWard(t, bench.Profile{Seed: 91, Start: began, HeartRate: 77, HeartRateDrift: bench.Off, SpO2: 94, Transmission: 2.2, CuffEvery: bench.Off,
			ProbeOff: bench.Windows{First: 60 * time.Second, Lasting: 20 * time.Second}})
		net := overlay.NewLoopback(w.authority)
		hub, err := net.Endpoint(spiffe(overlay.KindHub, "hub"))
		must(t, err)
		w.serve(t, hub)
		b, err := newBench(w.profile)
		must(t, err)
		// A calibration file with the simulation's own curve, so that the truth is the same.
		curve := filepath.Join(t.TempDir(), "curve.json")
		must(t, os.WriteFile(curve, []byte(`{"version":1,"name":"of-this-ward","sensor_model":"max30100","constant_percent":94.845,
			"linear_percent":30.354,"quadratic_percent":-45.060,"lowest_ratio":0.4,"highest_ratio":1,"points":9,"leave_one_out_arms_percent":2}`), 0o600))
		cfg := w.config()
		for i, s := range cfg.Sensors {
			if s.Chip == gateway.ChipMAX30100 {
				cfg.Sensors[i].SpO2CalibrationFile, cfg.Sensors[i].SpO2Calibration = curve, ""
			}
		}
		stop := background(t, func(ctx context.Context) error {
			return gateway.Run(ctx, cfg, gateway.Deps{Buses: b, Network: net, Log: quiet})
		})
		chip := b.MAX30100(i2cBus)
		time.Sleep(40 * time.Second)
		chip.BrownOut()
		time.Sleep(10 * time.Second)
		chip.FailBus(2, 3)
		time.Sleep(5 * time.Second) // 55 s
		chip.SetAmbient(0.15)       // the lamp goes on with the finger in the probe, which leaves at 60 s
		time.Sleep(25 * time.Second)
		chip.SetAmbient(0.0015)
		time.Sleep(40 * time.Second)
		stop()

		numerics, events := w.store.arrivals(oximeter, vitals.Numerics), w.store.arrivals(oximeter, vitals.Events)
		at, hearts := seconds(numerics, vitals.HeartRate)
		within := func(from, to int, f func(vitals.Numeric) bool) (n int) {
			for i, h := range hearts {
				if s := at[i].Sub(began).Seconds(); s > float64(from) && s <= float64(to) && f(h) {
					n++
				}
			}
			return n
		}
		right := func(h vitals.Numeric) bool { return h.Quality.HasValue() && math.Abs(h.Value-77) < 4 }
		wrong := func(h vitals.Numeric) bool { return h.Quality.HasValue() && math.Abs(h.Value-77) >= 4 }
		for _, c := range []struct {
			name     string
			from, to int
			least    int
		}{
			{"after the currents were chosen", 10, 40, 28},
			{"after the brown-out", 48, 50, 2},
			{"while the bus has a bad contact", 50, 55, 4},
			{"after the finger is back", 95, 119, 22},
		} {
			if n := within(c.from, c.to, right); n < c.least {
				t.Errorf("%s: right in %d of %d s, want %d", c.name, n, c.to-c.from, c.least)
			}
		}
		if n := within(0, 200, wrong); n > 0 {
			t.Errorf("%d wrong heart rates", n)
		}
		if n := within(63, 80, func(h vitals.Numeric) bool { return h.Quality.HasValue() }); n > 0 {
			t.Errorf("a heart rate in %d s without finger", n)
		}
		if n := within(66, 80, func(h vitals.Numeric) bool { return h.Quality == vitals.ProbeOff }); n < 10 {
			t.Errorf("probe off said in %d of 14 s", n)
		}
		sat, oxygens := seconds(numerics, vitals.SpO2)
		for i, o := range oxygens {
			if o.Quality.HasValue() && math.Abs(o.Value-94) > 3.5 {
				t.Errorf("SpO2 %.1f at %v, want 94", o.Value, sat[i].Sub(began))
			}
		}
		codes := eventCodes(events)
		if codes["led_current"] < 2 || codes["device_fault"] != 1 || codes["device_ok"] != 1 || codes["gap"] < 2 || codes["probe_off"] != 1 {
			t.Errorf("events %v", codes)
		}
		for _, c := range events {
			for _, e := range c.Events {
				t.Logf("%8v %s %s", e.At.Sub(began).Round(10*time.Millisecond), e.Code, e.Detail)
				if e.Code == "device_fault" && !strings.HasPrefix(e.Detail, "brown_out") {
					t.Errorf("fault %q, want a brown-out", e.Detail)
				}
			}
		}
		st, err := readStatus(w.data)
		must(t, err)
		for _, s := range st.Sensors {
			if s.Device != "working" || s.Sensor == oximeter && (s.Faults != 1 || s.Calibration != "of-this-ward") {
				t.Errorf("status %+v, want working, the oximeter after one fault", s)
			}
		}
		if e := events[0].Events[0]; e.Code != "started" || !strings.HasSuffix(e.Detail, "SpO2 by of-this-ward") {
			t.Errorf("first event %+v does not name the curve", e)
		}
		for _, name := range []string{"absent.json", "light_test.go"} {
			cfg.Sensors[0].SpO2CalibrationFile = name
			if err := gateway.Run(context.Background(), cfg, gateway.Deps{Buses: b, Network: net, Log: quiet}); err == nil || !strings.Contains(err.Error(), name) {
				t.Errorf("calibration file %s: %v", name, err)
			}
		}
		// Samples and gaps together cover the time.
		samples, gaps := 0, uint32(0)
		for _, c := range w.store.arrivals(oximeter, vitals.PPG) {
			samples, gaps = samples+len(c.Infrared), gaps+c.Gap
		}
		if total := float64(samples) + float64(gaps); math.Abs(total-12000) > 120 {
			t.Errorf("%d samples and %d missing, 12000 in all expected", samples, gaps)
		}
	})
}
