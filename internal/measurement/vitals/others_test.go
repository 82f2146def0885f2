package vitals_test

import (
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"vitalseal/internal/measurement/vitals"
)

// TestOthers: of two oximeters that speak at once the second is named beside the source, with its
// value; a legacy device beside an oximeter, and what is stale, are not.
func TestOthers(t *testing.T) {
	for name, x := range map[string]struct {
		said []vitals.Said
		want map[string]float64
	}{
		"two oximeters":          {[]vitals.Said{spo2(firstOxi, -time.Second, 91, vitals.Good), spo2(secondOxi, 0, 97, vitals.Good)}, map[string]float64{secondOxi: 97}},
		"one alone":              {[]vitals.Said{spo2(firstOxi, 0, 91, vitals.Good)}, nil},
		"the other stale":        {[]vitals.Said{spo2(firstOxi, 0, 91, vitals.Good), spo2(secondOxi, -6*time.Second, 97, vitals.Good)}, nil},
		"both stale":             {[]vitals.Said{spo2(firstOxi, -7*time.Second, 91, vitals.Good), spo2(secondOxi, -6*time.Second, 97, vitals.Good)}, map[string]float64{firstOxi: 91}},
		"both stale that agreed": {[]vitals.Said{spo2(firstOxi, -7*time.Second, 96, vitals.Good), spo2(secondOxi, -6*time.Second, 97, vitals.Good)}, nil},
		"probe off":              {[]vitals.Said{spo2(firstOxi, 0, 91, vitals.Good), spo2(secondOxi, 0, 0, vitals.ProbeOff)}, map[string]float64{secondOxi: 0}},
		"from the future":        {[]vitals.Said{spo2(firstOxi, 0, 91, vitals.Good), spo2(secondOxi, time.Minute, 97, vitals.Good)}, nil},
		"a legacy device":        {[]vitals.Said{spo2(firstOxi, 0, 91, vitals.Good), spo2(legacyID, 0, 40, vitals.Asserted)}, nil},
		"two of these":           {[]vitals.Said{spo2(secondOxi, 0, 91, vitals.Asserted), spo2(legacyID, 0, 60, vitals.Asserted)}, map[string]float64{secondOxi: 91}},
	} {
		var got map[string]float64
		for _, o := range heard(x.said...).Others(vitals.SpO2, chooseNow) {
			if got == nil {
				got = map[string]float64{}
			}
			got[o.Sensor] = o.Value
		}
		if d := cmp.Diff(x.want, got); d != "" {
			t.Error(name, d)
		}
	}
}

// TestDisagree: at the bound two values agree, beyond it they do not; a word without a value
// disagrees with none.
func TestDisagree(t *testing.T) {
	for _, x := range []struct {
		kind     vitals.Kind
		a, b     float64
		disagree bool
	}{
		{vitals.SpO2, 97, 93, false}, {vitals.SpO2, 97, 92, true}, {vitals.SpO2, 92, 97, true},
		{vitals.HeartRate, 45, 50, false}, {vitals.HeartRate, 45, 51, true},
		{vitals.HeartRate, 120, 132, false}, {vitals.HeartRate, 133, 120, true},
		{vitals.PerfusionIndex, 1, 9, false},
	} {
		a, b := vitals.Reading{Numeric: vitals.Checked(x.kind, x.a, vitals.Good)}, vitals.Reading{Numeric: vitals.Checked(x.kind, x.b, vitals.Questionable)}
		if got := vitals.Disagree(a, b); got != x.disagree {
			t.Errorf("%v %v and %v: %v", x.kind, x.a, x.b, got)
		}
		b.Numeric = vitals.Absent(x.kind, vitals.Motion)
		if vitals.Disagree(a, b) || vitals.Disagree(b, a) {
			t.Errorf("%v: a word without a value disagrees", x.kind)
		}
	}
}

// TestLastCuffStands: after a swap of cuffs the new one's measurement stands at once, whatever its
// id, and not only when the old one's is an hour old.
func TestLastCuffStands(t *testing.T) {
	bp := func(sensor string, at time.Duration, sys float64) vitals.Said {
		return vitals.Said{Sensor: sensor, Bundle: vitals.Bundle{At: chooseNow.Add(at), Numerics: []vitals.Numeric{vitals.Checked(vitals.Systolic, sys, vitals.Good)}}}
	}
	for _, x := range []struct{ old, now string }{{firstOxi, secondOxi}, {secondOxi, firstOxi}} {
		c := heard(bp(x.old, -30*time.Minute, 120), bp(x.now, 0, 85))
		if r, _ := c.Reading(vitals.Systolic, chooseNow); r.Sensor != x.now || r.Value != 85 {
			t.Errorf("%s after %s: %+v", x.now, x.old, r)
		}
		if o := c.Others(vitals.Systolic, chooseNow); len(o) != 1 || o[0].Sensor != x.old || o[0].Value != 120 || o[0].Silent || vitals.Disagree(o[0].Reading, o[0].Reading) {
			t.Errorf("the other cuff is not named beside it: %+v", o)
		}
		if o := c.Others(vitals.Systolic, chooseNow.Add(31*time.Minute)); len(o) != 0 {
			t.Errorf("a cuff that measured more than an hour ago is named: %+v", o)
		}
	}
}

// TestDoubtOutlivesSilence: two sensors that disagree, of which one falls silent: the other does
// not stand alone as good, whichever of them it is, until the silent one leaves the bed, or for
// DoubtFor; two that agreed leave no doubt, and one that agrees again takes it away.
func TestDoubtOutlivesSilence(t *testing.T) {
	const second = time.Second
	for name, x := range map[string]struct {
		said   []vitals.Said
		silent map[string]float64
	}{
		"the second falls silent":   {[]vitals.Said{spo2(firstOxi, -60*second, 97, vitals.Good), spo2(secondOxi, -60*second, 84, vitals.Good), spo2(firstOxi, 0, 97, vitals.Good)}, map[string]float64{secondOxi: 84}},
		"the first falls silent":    {[]vitals.Said{spo2(firstOxi, -60*second, 97, vitals.Good), spo2(secondOxi, -60*second, 84, vitals.Good), spo2(secondOxi, 0, 84, vitals.Good)}, map[string]float64{firstOxi: 97}},
		"the other comes to agree":  {[]vitals.Said{spo2(firstOxi, -60*second, 97, vitals.Good), spo2(secondOxi, -60*second, 84, vitals.Good), spo2(firstOxi, 0, 85, vitals.Good)}, map[string]float64{secondOxi: 84}},
		"they agreed":               {[]vitals.Said{spo2(firstOxi, -60*second, 97, vitals.Good), spo2(secondOxi, -60*second, 96, vitals.Good), spo2(firstOxi, 0, 97, vitals.Good)}, nil},
		"they agreed in the end":    {append(crossing(11), spo2(firstOxi, 0, 97, vitals.Good)), nil},
		"they agreed for a moment":  {append(crossing(10), spo2(firstOxi, 0, 97, vitals.Good)), map[string]float64{secondOxi: 96}},
		"they agreed once":          {append(crossing(1), spo2(firstOxi, 0, 97, vitals.Good)), map[string]float64{secondOxi: 96}},
		"agreed before and after":   {append(append(crossing(6), spo2(firstOxi, -20*second, 97, vitals.Good), spo2(secondOxi, -20*second, 96, vitals.Good)), spo2(firstOxi, 0, 97, vitals.Good)), map[string]float64{secondOxi: 96}},
		"a probe that came off":     {[]vitals.Said{spo2(firstOxi, -60*second, 97, vitals.Good), spo2(secondOxi, -60*second, 84, vitals.Good), spo2(secondOxi, -59*second, 0, vitals.ProbeOff), spo2(firstOxi, 0, 97, vitals.Good)}, map[string]float64{secondOxi: 84}},
		"longer than doubt lasts":   {[]vitals.Said{spo2(firstOxi, -vitals.DoubtFor-second, 97, vitals.Good), spo2(secondOxi, -vitals.DoubtFor-second, 84, vitals.Good), spo2(firstOxi, 0, 97, vitals.Good)}, nil},
		"a legacy device":           {[]vitals.Said{spo2(firstOxi, -60*second, 97, vitals.Good), spo2(legacyID, -60*second, 40, vitals.Asserted), spo2(firstOxi, 0, 97, vitals.Good)}, nil},
		"they never spoke together": {[]vitals.Said{spo2(secondOxi, -60*second, 84, vitals.Good), spo2(firstOxi, 0, 97, vitals.Good)}, nil},
	} {
		c := heard(x.said...)
		var got map[string]float64
		for _, o := range c.Others(vitals.SpO2, chooseNow) {
			if got == nil {
				got = map[string]float64{}
			}
			got[o.Sensor] = o.Value
			if !o.Silent {
				t.Errorf("%s: stands as a word of now: %+v", name, o)
			}
		}
		if d := cmp.Diff(x.silent, got); d != "" {
			t.Error(name, d)
		}
		if c.Disputed(vitals.SpO2, chooseNow) != (len(x.silent) > 0) {
			t.Errorf("%s: a face that has a place for one number would show another one than the dashboard", name)
		}
		c.OnlyAt([]string{firstOxi, secondOxi}, chooseNow)
		if len(c.Others(vitals.SpO2, chooseNow)) != len(x.silent) {
			t.Errorf("%s: a look at the bed ended the doubt", name)
		}
		c.OnlyAt(nil, chooseNow) // who speaks stays, whatever the directory says
		if r, _ := c.Reading(vitals.SpO2, chooseNow); len(c.Others(vitals.SpO2, chooseNow)) != 0 || r.At != chooseNow {
			t.Errorf("%s: the doubt outlives the silent sensor's leaving: %+v", name, r)
		}
	}
}

// TestReturnEndsNoNewDoubt: a sensor that disagreed, fell silent, left the bed and was put there
// again casts no doubt, until it says something that disagrees.
func TestReturnEndsNoNewDoubt(t *testing.T) {
	const second = time.Second
	left := map[string][]time.Time{secondOxi: {chooseNow.Add(-30 * second)}}
	said := []vitals.Said{spo2(firstOxi, -60*second, 97, vitals.Good), spo2(secondOxi, -60*second, 84, vitals.Good), spo2(firstOxi, -28*second, 97, vitals.Good)}
	for name, x := range map[string]struct {
		then     []vitals.Said
		disputed bool
	}{
		"it says nothing":                             {nil, false},
		"it said something before it left":            {[]vitals.Said{spo2(secondOxi, -31*second, 84, vitals.Good)}, false},
		"it disagrees, and both fall silent":          {[]vitals.Said{spo2(secondOxi, -25*second, 84, vitals.Good)}, true},
		"it disagrees with what was said before that": {[]vitals.Said{spo2(firstOxi, -27*second, 97, vitals.Good), spo2(secondOxi, -24*second, 84, vitals.Good)}, true},
	} {
		c := heard(append(slices.Clone(said), x.then...)...)
		c.Left(left)
		c.Hear(spo2(firstOxi, 0, 97, vitals.Good))
		if c.Disputed(vitals.SpO2, chooseNow) != x.disputed {
			t.Errorf("%s: disputed: %v", name, !x.disputed)
		}
	}
}

// crossing are two sensors that disagree until a minute ago, and whose values then lie near for so
// many seconds before the second falls silent.
func crossing(near int) (said []vitals.Said) {
	for i := -20; i < near; i++ {
		at, value := time.Duration(i-60)*time.Second, 84.0
		if i >= 0 {
			value = 96
		}
		said = append(said, spo2(firstOxi, at, 97, vitals.Good), spo2(secondOxi, at, value, vitals.Good))
	}
	return said
}

// TestOneCrossingEndsNoDoubt: two oximeters disagree in heart rate and SpO2 for 39 s, and the last
// value of the one whose probe comes off lies near the other's: the doubt stands, in what is shown
// and in what is written down. It does while both speak, too, until they have agreed for 10 s.
func TestOneCrossingEndsNoDoubt(t *testing.T) {
	word := func(sensor string, ago int, rate, saturation float64) vitals.Said {
		return vitals.Said{Sensor: sensor, Bundle: vitals.Bundle{At: chooseNow.Add(-time.Duration(ago) * time.Second), Numerics: []vitals.Numeric{
			vitals.Checked(vitals.HeartRate, rate, vitals.Good), vitals.Checked(vitals.SpO2, saturation, vitals.Good)}}}
	}
	for name, x := range map[string]struct {
		near, silent int // seconds ago
		disputed     bool
	}{
		"crosses, then silent":   {21, 20, true},
		"near while both speak":  {9, -1, true},
		"agrees for ten seconds": {10, -1, false},
	} {
		var said []vitals.Said
		for ago := 60; ago >= 0; ago-- {
			said = append(said, word(firstOxi, ago, 80, 97))
			switch {
			case ago > x.near:
				said = append(said, word(secondOxi, ago, 110, 84))
			case ago > x.silent:
				said = append(said, word(secondOxi, ago, 82, 95))
			}
		}
		c := heard(said...)
		written := vitals.Choose(said, nil)
		for i, k := range []vitals.Kind{vitals.HeartRate, vitals.SpO2} {
			if c.Disputed(k, chooseNow) != x.disputed {
				t.Errorf("%s: %v is disputed: %v", name, k, !x.disputed)
			}
			if last := written[len(written)-1]; last.At != chooseNow || (last.Numerics[i].Quality == vitals.Questionable) != x.disputed {
				t.Errorf("%s: written down: %+v", name, last)
			}
		}
	}
}

// TestRecordKeepsTheDoubt: what is written down of two sensors that disagreed, of which one fell
// silent, is questionable for DoubtFor, and good once the silent one was taken off the bed.
func TestRecordKeepsTheDoubt(t *testing.T) {
	off := chooseNow.Add(time.Minute)
	for name, x := range map[string]struct {
		left  map[string][]time.Time
		until time.Duration
	}{
		"it stays":                    {nil, vitals.DoubtFor},
		"it is taken off":             {map[string][]time.Time{secondOxi: {off}}, off.Sub(chooseNow) - time.Second},
		"it is taken off twice":       {map[string][]time.Time{secondOxi: {off, off.Add(time.Minute)}}, off.Sub(chooseNow) - time.Second},
		"it had left before it spoke": {map[string][]time.Time{secondOxi: {chooseNow.Add(-time.Second)}}, vitals.DoubtFor},
		"the one that stays had left": {map[string][]time.Time{firstOxi: {off}}, off.Sub(chooseNow) - time.Second},
	} {
		said := []vitals.Said{spo2(secondOxi, 0, 84, vitals.Good)}
		for at := time.Duration(0); at < 6*time.Minute; at += time.Second {
			said = append(said, spo2(firstOxi, at, 97, vitals.Good))
		}
		last := time.Duration(-1)
		for _, s := range vitals.Choose(said, x.left) {
			if q := s.Numerics[0].Quality; q == vitals.Questionable {
				last = s.At.Sub(chooseNow)
			} else if s.At.Sub(chooseNow) <= x.until {
				t.Errorf("%s: %v after %v", name, q, s.At.Sub(chooseNow))
			}
		}
		if last != x.until {
			t.Errorf("%s: in doubt for %v, want %v", name, last, x.until)
		}
	}
}

// TestDoubtOutlivesAProbe: of two that disagree one's probe comes off. Whose finger it was on the
// hub cannot know: the other's value does not stand alone, and no record has it as good.
func TestDoubtOutlivesAProbe(t *testing.T) {
	const second = time.Second
	for name, off := range map[string]string{"the source's": firstOxi, "the other's": secondOxi} {
		said := []vitals.Said{spo2(firstOxi, -30*second, 97, vitals.Good), spo2(secondOxi, -30*second, 84, vitals.Good)}
		last, on := 97.0, secondOxi
		if off == secondOxi {
			last, on = 84, firstOxi
		}
		for at := -29 * second; at <= 0; at += second {
			said = append(said, spo2(off, at, 0, vitals.ProbeOff), spo2(on, at, 181-last, vitals.Good))
		}
		c := heard(said...)
		if r, _ := c.Reading(vitals.SpO2, chooseNow); r.Sensor != on {
			t.Errorf("%s: the source is %s", name, r.Sensor)
		}
		o := c.Others(vitals.SpO2, chooseNow)
		if len(o) != 1 || o[0].Sensor != off || o[0].Value != last || !o[0].Silent || !o[0].Apart || o[0].Why != vitals.ProbeOff || o[0].At != chooseNow.Add(-30*second) {
			t.Errorf("%s: %+v", name, o)
		}
		if !c.Disputed(vitals.SpO2, chooseNow) {
			t.Errorf("%s: the value that is left is not disputed", name)
		}
		if later := chooseNow.Add(vitals.DoubtFor + second); c.Disputed(vitals.SpO2, later) {
			t.Errorf("%s: disputed for ever", name)
		}
	}
}

// TestOneNumberApart: where two sensors' heart rates lie too far apart, their SpO2 are of two
// people too, however near; the perfusion index, which differs between fingers, is not judged.
func TestOneNumberApart(t *testing.T) {
	both := func(sensor string, rate, saturation float64) vitals.Said {
		return vitals.Said{Sensor: sensor, Bundle: vitals.Bundle{At: chooseNow, Numerics: []vitals.Numeric{vitals.Checked(vitals.HeartRate, rate, vitals.Good),
			vitals.Checked(vitals.SpO2, saturation, vitals.Good), vitals.Checked(vitals.PerfusionIndex, rate/50, vitals.Good)}}}
	}
	for name, x := range map[string]struct {
		rate  float64
		apart bool
	}{"rates apart": {85, true}, "rates near": {58, false}} {
		c := heard(both(firstOxi, 56, 96), both(secondOxi, x.rate, 94))
		for _, k := range []vitals.Kind{vitals.HeartRate, vitals.SpO2} {
			if o := c.Others(k, chooseNow); len(o) != 1 || o[0].Apart != x.apart || o[0].Silent || c.Disputed(k, chooseNow) != x.apart {
				t.Errorf("%s: %v: %+v", name, k, o)
			}
		}
		if o := c.Others(vitals.PerfusionIndex, chooseNow); len(o) != 1 || o[0].Apart {
			t.Errorf("%s: perfusion index: %+v", name, o)
		}
	}
	// Two fingers of one patient may differ in SpO2: one heart rate is one.
	c := heard(both(firstOxi, 56, 97), both(secondOxi, 57, 84))
	if !c.Disputed(vitals.SpO2, chooseNow) || c.Disputed(vitals.HeartRate, chooseNow) {
		t.Error("SpO2 apart, rates near: the rate is disputed, or the SpO2 is not")
	}
}

// TestOldRival: a rival that was heard just now and whose own time is old, as from a backlog, is no
// word of now beside a fresh one.
func TestOldRival(t *testing.T) {
	late := func(value float64) vitals.Said {
		s := spo2(secondOxi, -14*time.Second, value, vitals.Good)
		s.Heard = chooseNow
		return s
	}
	if o := heard(spo2(firstOxi, 0, 97, vitals.Good), late(84)).Others(vitals.SpO2, chooseNow); len(o) != 1 || !o[0].Silent || o[0].Value != 84 {
		t.Errorf("one that disagrees: %+v", o)
	}
	if o := heard(spo2(firstOxi, 0, 97, vitals.Good), late(96)).Others(vitals.SpO2, chooseNow); len(o) != 0 {
		t.Errorf("one that agrees: %+v", o)
	}
}
