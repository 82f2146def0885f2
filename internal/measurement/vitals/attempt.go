package vitals

import "time"

// A cuff measures now and then, and an attempt may give no value: the patient moved, the cuff
// leaked, no pulse was felt. Then the last value still stands, at its own time, and the attempt
// stands beside it: a reader must see that the value is not the newest thing that happened.

// Failed tells whether a numeric says that a cuff tried and gave no value. What a device says that
// has no such kind, or has not begun to measure, is no attempt.
func Failed(n Numeric) bool {
	if n.Kind != Systolic {
		return false
	}
	switch n.Quality {
	case ProbeOff, Motion, LowPerfusion, Saturated, OutOfRange, DeviceFault:
		return true
	}
	return false
}

// Attempt is a cuff's last try, where it gave no value.
type Attempt struct {
	Sensor string // SPIFFE id
	At     time.Time
	Why    Quality
	Cause  Cause
	// TimeNotSure and NotConfirmed are those of what was said.
	TimeNotSure, NotConfirmed bool
}

// spot is what a source's newest words of a kind that is measured now and then were: the newest
// with a value, and of Systolic the newest without.
type spot struct{ value, failed said }

// said is a word with its marks.
type said struct {
	Numeric
	at            time.Time
	unsure, asked bool
	cause         Cause // of a failed attempt
}

// hear takes in a word, in whatever order words come.
func (x *spot) hear(n Numeric, s Said) {
	to := &x.value
	switch {
	case Failed(n):
		to = &x.failed
	case !n.Quality.HasValue():
		return
	}
	if to.at.IsZero() || s.At.After(to.at) {
		*to = said{Numeric: n, at: s.At, unsure: s.TimeNotSure, asked: s.NotConfirmed}
		if to == &x.failed {
			to.cause = CauseOf(s.Numerics)
		}
	}
}

// PairWithin is how far apart the times of a systolic and a diastolic pressure may be that are of
// one measurement: a cuff gives one time to both, a device that sends one field a message does not.
// A measurement takes longer than this.
const PairWithin = 30 * time.Second

// Standing is the value of a kind that stands now: for what is measured every second the word of
// its source, which may have no value. For what a cuff measures, where the source's newest word has
// no value, it is the newest value of any cuff that measures and was heard within SpotStaleAfter,
// then of any device, at its own time. Its numbers are of one measurement: a diastolic or mean
// pressure of another time than the systolic one does not stand.
func (c *Chooser) Standing(k Kind, now time.Time) (Reading, bool) {
	r, ok := c.Reading(k, now)
	if !k.Spot() {
		return r, ok
	}
	if lead, _ := c.Reading(Systolic, now); lead.Quality.HasValue() {
		if k != Systolic && r.At.Sub(lead.At).Abs() > PairWithin {
			return Reading{}, false
		}
		return r, ok
	}
	best := ""
	for id, s := range c.sources {
		at := s.spots[Systolic].value.at
		if at.IsZero() || at.After(now.Add(MaxAhead)) {
			continue
		}
		o := c.sources[best]
		if best == "" || s.measured(now) && !o.measured(now) {
			best = id
			continue
		}
		if o.measured(now) && !s.measured(now) {
			continue
		}
		if was := o.spots[Systolic].value.at; at.After(was) || at.Equal(was) && id < best {
			best = id
		}
	}
	if best == "" {
		return r, ok
	}
	s := c.sources[best]
	if v := s.spots[k].value; !v.at.IsZero() && v.at.Sub(s.spots[Systolic].value.at).Abs() <= PairWithin {
		return Reading{Sensor: best, At: v.at, Numeric: v.Numeric, Asserted: s.asserts, TimeNotSure: v.unsure, NotConfirmed: v.asked}, true
	}
	return r, ok
}

// measured reports whether it is a cuff that measures, with a value within SpotStaleAfter: no other
// device's word takes the place of that.
func (s *source) measured(now time.Time) bool {
	return !s.asserts && now.Sub(s.spots[Systolic].value.at) <= SpotStaleAfter
}

// Attempt is the newest attempt of a cuff that gave no value, and false where a value was measured
// since or there was none. What a legacy device asserts since is no measurement.
func (c *Chooser) Attempt(now time.Time) (a Attempt, ok bool) {
	var newest time.Time // value
	for id, s := range c.sources {
		x := s.spots[Systolic]
		if !s.asserts && x.value.at.After(newest) && !x.value.at.After(now.Add(MaxAhead)) {
			newest = x.value.at
		}
		if at := x.failed.at; at.IsZero() || at.After(now.Add(MaxAhead)) || at.Before(a.At) || at.Equal(a.At) && id > a.Sensor {
			continue
		}
		a = Attempt{Sensor: id, At: x.failed.at, Why: x.failed.Quality, Cause: x.failed.cause, TimeNotSure: x.failed.unsure, NotConfirmed: x.failed.asked}
	}
	return a, !a.At.IsZero() && a.At.After(newest)
}
