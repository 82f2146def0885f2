package vitals

import (
	"cmp"
	"slices"
	"time"
)

// Several sensors may measure the same kind at one patient: two oximeters, or an oximeter and a
// legacy device. One of them is the source of the kind, so that a number does not jump between two
// devices; the other speaks in its place only when the source is stale. Every face that shows a
// current value asks a Chooser (or Choose, for a stretch of time) and nothing else:
//
//   - a current value, from the store: Store.Said of the last seconds, Hear each, then
//     Current(now);
//   - live: Hear what arrives, then Source(kind, now) == sensor, or drop the value;
//   - a stretch of time, such as a channel's entries: Choose, which keeps of each bundle what its
//     source said.
//
// The rule: a source that measures stands before one that only asserts (Asserted); then one that
// had a value lately before one that has none; then one that is confirmed to be on this patient
// before one that is not; then one whose time is sure before one whose time is not; then, of cuffs,
// the one that measured last, and else the first by id. A source counts while it is fresh
// (StaleAfter, a cuff SpotStaleAfter). A measuring source that says why it has no value (probe off)
// is fresh: an asserted number does not hide that the probe is off. What others measure beside the
// source, Others says.

// Said is a bundle and who said it.
type Said struct {
	Sensor string // SPIFFE id
	// Heard is when the hub heard it, for a bundle that has just arrived. Zero: its own time is
	// what its age is counted from.
	Heard time.Time
	// TimeNotSure says that the gateway's clock is off: the bundle's time is corrected as far as it
	// can be.
	TimeNotSure bool
	// NotConfirmed says that the sensor had been silent for long, and that no person has confirmed
	// that it is on this patient.
	NotConfirmed bool
	Bundle
}

// Reading is the current word of a kind's source.
type Reading struct {
	Sensor string // SPIFFE id
	At     time.Time
	Numeric
	// Asserted says that the sensor is a legacy device: nothing here has measured what it says,
	// absence of a value included.
	Asserted bool
	// TimeNotSure and NotConfirmed are those of what was said.
	TimeNotSure, NotConfirmed bool
}

const (
	// holdFor is how long a source that speaks, but has no value, stands before another one that
	// measures.
	holdFor = 15 * time.Second
	// ChooseContext is how much before a stretch of time Choose should hear, to know the source at
	// its beginning.
	ChooseContext = holdFor
	// maxSources bounds the sensors that a Chooser remembers; the one that was silent longest goes
	// first.
	maxSources = 64
)

// staleAfter is how old the last word of a source may be before another one takes its place: as
// long as its value is Fresh.
func staleAfter(k Kind) time.Duration {
	if k.Spot() {
		return SpotStaleAfter
	}
	return StaleAfter
}

// Lead is the kind by which the source is chosen: the three numbers of one cuff measurement have
// one source.
func Lead(k Kind) Kind {
	if k == Diastolic || k == MeanArterial {
		return Systolic
	}
	return k
}

// Chooser knows one patient's sensors and their last words. The zero value is ready. It is not safe
// for concurrent use.
type Chooser struct {
	sources map[string]*source
	left    map[string][]time.Time // when sensors left the bed
}

type source struct {
	asserts  bool // it is a legacy device
	measures bool // it has shown that it measures
	last     time.Time
	words    [MaxKind + 1]word
	spots    [MaxKind + 1]spot // of the kinds that are measured now and then
}

// word is the newest that a source said of a kind.
type word struct {
	Numeric
	at     time.Time // its own time
	unsure bool      // that time is not sure
	asked  bool      // whether it is of this patient is not confirmed
	alive  time.Time // when the source last spoke as one that works; zero: not
	value  time.Time // when it last had a value; zero: never
	had    said      // the newest with a value
	// apart are the sensors whose values lay too far from this one's, and have not been near for
	// agreeFor since.
	apart map[string]apartness
}

// Hear takes in what a sensor said. Of one sensor the newest counts, in whatever order it comes.
func (c *Chooser) Hear(s Said) {
	at := s.At
	if !s.Heard.IsZero() {
		at = s.Heard
	}
	from := c.sources[s.Sensor]
	if from == nil {
		if c.sources == nil {
			c.sources = map[string]*source{}
		}
		if len(c.sources) >= maxSources {
			c.forget()
		}
		from = &source{}
		c.sources[s.Sensor] = from
	}
	if at.After(from.last) {
		from.last = at
	}
	for _, n := range s.Numerics {
		if !n.Kind.Valid() {
			continue
		}
		switch n.Quality {
		case Asserted:
			from.asserts = true
		case Good, Questionable, ProbeOff, Motion, LowPerfusion, Saturated, Settling:
			from.measures = true // a legacy device has no way to say these
		}
		if n.Kind.Spot() {
			from.spots[n.Kind].hear(n, s)
		}
		w := &from.words[n.Kind]
		if !w.at.IsZero() && !s.At.After(w.at) {
			continue
		}
		w.Numeric, w.at, w.unsure, w.asked = n, s.At, s.TimeNotSure, s.NotConfirmed
		switch {
		case n.Quality.HasValue():
			w.alive, w.value, w.had = at, at, said{Numeric: n, at: s.At, unsure: s.TimeNotSure, asked: s.NotConfirmed}
		case n.Quality != Unknown && n.Quality != Unavailable && n.Quality != DeviceFault:
			w.alive = at
		}
		c.compare(s.Sensor, n.Kind)
	}
}

// forget drops the source that was silent longest.
func (c *Chooser) forget() {
	oldest := ""
	for id, s := range c.sources {
		if oldest == "" || s.last.Before(c.sources[oldest].last) || s.last.Equal(c.sources[oldest].last) && id < oldest {
			oldest = id
		}
	}
	delete(c.sources, oldest)
	for _, s := range c.sources {
		for k := range s.words {
			delete(s.words[k].apart, oldest)
		}
	}
}

// recent tells whether t is at most d ago, and not in the future.
func recent(t, now time.Time, d time.Duration) bool {
	return !t.IsZero() && now.Sub(t) <= d && now.Sub(t) >= -MaxAhead
}

// rank says how good a source of a kind is now; 0 for one that is stale.
//
//defence:one-source of several sensors the one that measures counts
func (s *source) rank(k Kind, now time.Time) int {
	w := &s.words[k]
	hold := holdFor
	if k == Systolic {
		hold = SpotStaleAfter
	}
	switch {
	case !recent(w.alive, now, staleAfter(k)):
		return 0
	case s.asserts && recent(w.value, now, hold):
		return 2
	case s.asserts || !s.measures: // no value, and nothing shows that it measures
		return 1
	case recent(w.value, now, hold):
		return 4
	}
	return 3
}

// Source is the sensor whose word counts for a kind now; empty if none ever spoke of it. While all
// are stale it is the one that spoke last.
func (c *Chooser) Source(k Kind, now time.Time) string {
	if !k.Valid() {
		return ""
	}
	k = Lead(k)
	best, rank := "", -1
	for id, s := range c.sources {
		w := &s.words[k]
		if w.at.IsZero() || w.at.After(now.Add(MaxAhead)) {
			continue
		}
		r := s.rank(k, now)
		better := r > rank
		if r == rank {
			o := &c.sources[best].words[k]
			switch {
			case r == 0 && !w.at.Equal(o.at):
				better = w.at.After(o.at)
			case r > 0 && w.asked != o.asked:
				better = o.asked
			case r > 0 && w.unsure != o.unsure:
				better = o.unsure
			case r > 0 && k.Spot() && !w.value.Equal(o.value):
				better = w.value.After(o.value) // what another cuff has just measured does not wait for an hour
			default:
				better = id < best
			}
		}
		if better {
			best, rank = id, r
		}
	}
	return best
}

// Reading is the word of a kind's source now, and false if there is none.
func (c *Chooser) Reading(k Kind, now time.Time) (Reading, bool) {
	id := c.Source(k, now)
	if id == "" {
		return Reading{}, false
	}
	r := c.sources[id].reading(id, k)
	return r, !r.At.IsZero()
}

// reading is the word of a sensor; its time is zero if it never spoke of that kind.
func (s *source) reading(id string, k Kind) Reading {
	w := s.words[k]
	return Reading{Sensor: id, At: w.at, Numeric: w.Numeric, Asserted: s.asserts, TimeNotSure: w.unsure, NotConfirmed: w.asked}
}

// Current is the word of the source of each kind that has one, by kind.
func (c *Chooser) Current(now time.Time) (all []Reading) {
	for k := Kind(1); k <= MaxKind; k++ {
		if r, ok := c.Reading(k, now); ok {
			all = append(all, r)
		}
	}
	return all
}

// Asserts tells whether a sensor has shown itself to be a legacy device.
func (c *Chooser) Asserts(sensor string) bool {
	s := c.sources[sensor]
	return s != nil && s.asserts
}

// Choose keeps of each bundle what its sensor said as the source at that time, ascending by time,
// and leaves out the bundles of which nothing remains. A value that another sensor disputes at that
// time (Disputed) is questionable at best: where two sensors at one patient disagree, one of them
// is wrong or another patient's, and a reader of one number cannot know which. left is when sensors
// were taken off the bed, also those that were put there again: what they said before casts no
// doubt from then on (Left). Begin ChooseContext before the time that is wanted, or DoubtFor where
// several sensors stood at the bed (archive.Beside says which), and cut that off afterwards: a
// verdict rests on what was said before.
func Choose(said []Said, left map[string][]time.Time) []Said {
	said = slices.Clone(said)
	slices.SortStableFunc(said, func(a, b Said) int {
		return cmp.Or(a.At.Compare(b.At), cmp.Compare(a.Sensor, b.Sensor))
	})
	var c Chooser
	c.Left(left)
	var kept []Said
	for i := 0; i < len(said); {
		// What was said at one time is heard before any of it is judged.
		n := i
		for ; n < len(said) && said[n].At.Equal(said[i].At); n++ {
			c.Hear(said[n])
		}
		for ; i < n; i++ {
			s := said[i]
			s.Numerics = nil
			for _, x := range said[i].Numerics {
				if x.Kind.Valid() && c.Source(x.Kind, s.At) == s.Sensor {
					if x.Quality == Good && c.Disputed(x.Kind, s.At) {
						x.Quality = Questionable
					}
					s.Numerics = append(s.Numerics, x)
				}
			}
			if len(s.Numerics) > 0 {
				kept = append(kept, s)
			}
		}
	}
	return kept
}
