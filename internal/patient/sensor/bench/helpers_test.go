package bench_test

import (
	"strings"
	"testing"
	"time"

	"vitalseal/internal/measurement/vitals"
	"vitalseal/internal/patient/sensor"
	"vitalseal/internal/patient/sensor/bench"
)

func contains(err error, part string) bool { return err != nil && strings.Contains(err.Error(), part) }

// drive reads a chip through the driver for a while.
func drive(t testing.TB, c *bench.MAX30100, clock *bench.ManualClock, rate vitals.Hertz, lasting time.Duration) (all []sensor.Optical) {
	t.Helper()
	d, err := sensor.NewMAX30100(c.Bus("probe"), sensor.MAX30100Config{Rate: rate, Now: clock.Now, Sleep: clock.Advance})
	if err != nil {
		t.Fatal(err)
	}
	dst := make([]sensor.Optical, 16)
	for end := clock.Now().Add(lasting); clock.Now().Before(end); {
		clock.Advance(50 * time.Millisecond)
		n, lost, err := d.Read(dst)
		if err != nil || lost != 0 {
			t.Fatal(lost, err)
		}
		all = append(all, dst[:n]...)
	}
	return all
}
