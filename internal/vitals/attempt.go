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

// Standing is the value of a kind that stands now: for what is measured every second the word of
// its source, which may have no value. For what a cuff measures, where the source's newest word has
// no value, it is the newest value of any cuff, at its own time; its numbers are of one
// measurement.
func (c *Chooser) Standing(k Kind, now time.Time) (Reading, bool) {
	r, ok := c.Reading(k, now)
	if !k.Spot() {
		return r, ok
	}
	if lead, _ := c.Reading(Systolic, now); lead.Quality.HasValue() {
		return r, ok
	}
	best := ""
	for id, s := range c.sources {
		at := s.spots[Systolic].value.at
		if at.IsZero() || at.After(now.Add(MaxAhead)) {
			continue
		}
		if o := c.sources[best]; best == "" || at.After(o.spots[Systolic].value.at) || at.Equal(o.spots[Systolic].value.at) && id < best {
			best = id
		}
	}
	if best == "" {
		return r, ok
	}
	s := c.sources[best]
	if v := s.spots[k].value; v.at.Equal(s.spots[Systolic].value.at) {
		return Reading{Sensor: best, At: v.at, Numeric: v.Numeric, Asserted: s.asserts, TimeNotSure: v.unsure, NotConfirmed: v.asked}, true
	}
	return r, ok
}

// Attempt is the newest attempt of a cuff that gave no value, and false where a value was measured
// since or there was none.
func (c *Chooser) Attempt(now time.Time) (a Attempt, ok bool) {
	var newest time.Time // value
	for id, s := range c.sources {
		x := s.spots[Systolic]
		if x.value.at.After(newest) && !x.value.at.After(now.Add(MaxAhead)) {
			newest = x.value.at
		}
		if at := x.failed.at; at.IsZero() || at.After(now.Add(MaxAhead)) || at.Before(a.At) || at.Equal(a.At) && id > a.Sensor {
			continue
		}
		a = Attempt{Sensor: id, At: x.failed.at, Why: x.failed.Quality, Cause: x.failed.cause, TimeNotSure: x.failed.unsure, NotConfirmed: x.failed.asked}
	}
	return a, !a.At.IsZero() && a.At.After(newest)
}
