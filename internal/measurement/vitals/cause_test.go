package vitals_test

import (
	"testing"
	"time"

	"vitalseal/internal/measurement/vitals"
)

// TestCause: each cause of an attempt without a value survives its way over the wire, with a reason
// that a hub of before the causes takes for a failed attempt; what a gateway of before says is not
// taken for one cause where it has several.
func TestCause(t *testing.T) {
	at := time.Date(2026, 11, 30, 17, 0, 0, 0, time.UTC)
	seen := map[string]bool{}
	for c := vitals.CauseMovement; c <= vitals.CauseSamplesLost; c++ {
		n := c.Numerics()
		if len(n) != 3 || !vitals.Failed(n[0]) || n[0].Quality != c.Quality() || c.String() == "" || seen[c.String()] {
			t.Fatalf("%d: %q says %+v", c, c, n)
		}
		seen[c.String()] = true
		b, err := vitals.Encode(vitals.Chunk{Signal: vitals.Numerics, Start: at, Bundles: []vitals.Bundle{{At: at, Numerics: n}}})
		if err != nil {
			t.Fatal(err)
		}
		got, err := vitals.Decode(b)
		if err != nil {
			t.Fatal(err)
		}
		if told := vitals.CauseOf(got.Bundles[0].Numerics); told != c {
			t.Errorf("%s came as %s", c, told)
		}
		chooser := vitals.Chooser{}
		chooser.Hear(vitals.Said{Sensor: "cuff", Bundle: got.Bundles[0]})
		if a, ok := chooser.Attempt(at.Add(time.Minute)); !ok || a.Cause != c || a.Why != c.Quality() {
			t.Errorf("%s: the attempt is %+v", c, a)
		}
	}
	before := func(q vitals.Quality) []vitals.Numeric {
		return []vitals.Numeric{vitals.Absent(vitals.Systolic, q), vitals.Absent(vitals.Diastolic, q), vitals.Absent(vitals.MeanArterial, q)}
	}
	for _, q := range []vitals.Quality{vitals.OutOfRange, vitals.DeviceFault, vitals.Unknown, vitals.Good} {
		if c := vitals.CauseOf(before(q)); c != vitals.CauseUnknown {
			t.Errorf("%s three times is %s", q, c)
		}
	}
	if c := vitals.CauseOf(before(vitals.Motion)); c != vitals.CauseMovement {
		t.Errorf("motion three times is %q", c)
	}
	if c := vitals.Cause(200); c.String() != "" || c.Quality() != vitals.Unknown || c.Numerics() != nil {
		t.Error("a cause that there is not")
	}
}
