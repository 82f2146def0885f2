package vitals

import (
	"cmp"
	"math"
	"slices"
	"time"
)

// Two sensors may measure one kind at one patient at the same time, as in the middle of a swap. One
// of them is the source; a face names the others beside it and, where their values differ too much,
// shows both: which of them is right, the hub cannot know.

// DoubtFor is how long a sensor that disagreed is still named after it fell silent: that it no
// longer speaks, or has no value any more, says nothing about which of the two was right.
const DoubtFor = 5 * time.Minute

// agreeFor is how long two sensors that disagreed must agree, both with values, until the doubt is
// over: the value of a probe that comes off crosses the other's for a moment.
const agreeFor = 10 * time.Second

// apartness is how two sensors that disagreed stand.
type apartness struct {
	mine, theirs time.Time // of the two words, when they last disagreed
	agreed, last time.Time // since when they have agreed, and when last; zero: they did not since
}

// earlier is the earlier of two times.
func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

// stands tells whether what was noted of a beside b casts doubt: neither for longer than DoubtFor,
// nor once one of the two has left the bed since what it said, be it there again or not.
func (c *Chooser) stands(a, b string, apart apartness, now time.Time) bool {
	if apart.mine.IsZero() || now.Sub(earlier(apart.mine, apart.theirs)) > DoubtFor {
		return false
	}
	left := func(sensor string, since time.Time) bool {
		return slices.ContainsFunc(c.left[sensor], func(at time.Time) bool { return !at.Before(since) && !at.After(now) })
	}
	return !left(a, apart.mine) && !left(b, apart.theirs)
}

// Other is what a sensor says of a kind beside its source.
type Other struct {
	Reading
	// Apart says that its value lies too far from the source's, or did when both last had one; of
	// SpO2 also that the heart rates of the same two sensors do: where these are of two people, the
	// two SpO2 are too, however near they lie.
	Apart bool
	// Silent says that it is no word of now: what the sensor last said of a value, before it fell
	// silent, had none any more (Why), or by its own time too long ago, was Apart.
	Silent bool
	// Why is why a Silent one that still speaks has no value now; else Unknown.
	Why Quality
}

// Others are the current words of those that measure a kind beside its source now, by id of the
// sensor, and for DoubtFor the last values of those that disagreed with another sensor when they
// fell silent or had none any more; of a stale source the latter alone. Beside a source that
// measures, what a legacy device asserts is none of them: it neither stands for the kind nor casts
// doubt on what was measured. Of cuffs they are all that measured within SpotStaleAfter; each of
// their values is of a time of its own, and they never disagree.
func (c *Chooser) Others(k Kind, now time.Time) (all []Other) {
	of := c.Source(k, now)
	if of == "" {
		return nil
	}
	source := c.sources[of]
	stale := source.rank(Lead(k), now) == 0
	its := source.reading(of, k)
	for id, s := range c.sources {
		w := &s.words[k]
		if id == of || w.at.IsZero() || w.at.After(now.Add(MaxAhead)) || s.proper() != source.proper() {
			continue
		}
		one := Other{Reading: s.reading(id, k)}
		one.Apart = Disagree(one.Reading, its) || c.disputes(k, id, of, now)
		speaks := s.rank(Lead(k), now) != 0
		current := speaks && now.Sub(w.at) <= staleAfter(k)
		switch {
		case current && !stale && (w.Quality.HasValue() || !c.disputed(k, id, now)):
		case (c.disputed(k, id, now) || speaks && one.Apart) && !w.had.at.IsZero() && now.Sub(w.had.at) <= DoubtFor:
			if current && !w.Quality.HasValue() {
				one.Why = w.Quality
			}
			one.At, one.Numeric, one.TimeNotSure, one.NotConfirmed = w.had.at, w.had.Numeric, w.had.unsure, w.had.asked
			one.Silent, one.Apart = true, true
		case !current || stale:
			continue
		}
		all = append(all, one)
	}
	slices.SortFunc(all, func(a, b Other) int { return cmp.Compare(a.Sensor, b.Sensor) })
	return all
}

// contested are the kinds in which two sensors must agree for a kind to be beyond doubt: two heart
// rates far apart are of two hearts, or one sensor is not to be trusted at all. Two SpO2 apart
// beside one heart rate may be two fingers of one patient: they leave the rate alone.
func contested(k Kind) []Kind {
	if _, bounded := MostApart(k, 0); !bounded {
		return nil
	}
	if k == SpO2 {
		return []Kind{SpO2, HeartRate}
	}
	return []Kind{k}
}

// disputed tells whether a sensor's values of the contested kinds were too far from another's, and
// not near for agreeFor since.
func (c *Chooser) disputed(k Kind, of string, now time.Time) bool {
	return slices.ContainsFunc(contested(k), func(k Kind) bool {
		for id, a := range c.sources[of].words[k].apart {
			if c.stands(of, id, a, now) {
				return true
			}
		}
		return false
	})
}

// disputes is disputed between two sensors.
func (c *Chooser) disputes(k Kind, a, b string, now time.Time) bool {
	return slices.ContainsFunc(contested(k), func(k Kind) bool { return c.stands(a, b, c.sources[a].words[k].apart[b], now) })
}

// OnlyAt forgets the doubt that silent sensors cast that are not among these: a sensor that was
// taken off the bed casts none on the one that stays. It is false while one that is not among them
// spoke a moment ago, which the directory may not know yet: ask again.
func (c *Chooser) OnlyAt(sensors []string, now time.Time) (settled bool) {
	settled = true
	for id := range c.sources {
		if !slices.Contains(sensors, id) {
			settled = c.leave(id, now) && settled
		}
	}
	return settled
}

// Left takes in when sensors left the patient's bed, also those that are there again: each time
// ends the doubt that they cast before. It replaces what was taken in before.
func (c *Chooser) Left(times map[string][]time.Time) { c.left = times }

// leave forgets the doubt of one sensor, which was taken off the bed.
func (c *Chooser) leave(sensor string, now time.Time) (settled bool) {
	s := c.sources[sensor]
	if s == nil {
		return true
	}
	if recent(s.last, now, StaleAfter) {
		return false
	}
	for k := range s.words {
		s.words[k].apart = nil
	}
	for _, o := range c.sources {
		for k := range o.words {
			delete(o.words[k].apart, sensor)
		}
	}
	return true
}

// proper tells whether a source measures, and does not assert.
func (s *source) proper() bool { return s.measures && !s.asserts }

// compare remembers of a new word whether it disagrees with what the others said at about that
// time.
func (c *Chooser) compare(sensor string, k Kind) {
	if _, bounded := MostApart(k, 0); !bounded {
		return
	}
	mine := c.sources[sensor]
	w := &mine.words[k]
	for id, s := range c.sources {
		o := &s.words[k]
		if id == sensor || s.proper() != mine.proper() || !w.Quality.HasValue() || !o.Quality.HasValue() || w.at.Sub(o.at).Abs() > staleAfter(k) {
			continue
		}
		at := earlier(w.at, o.at)
		a, was := w.apart[id]
		switch {
		case Disagree(mine.reading(sensor, k), s.reading(id, k)):
			a = apartness{mine: w.at, theirs: o.at}
		case !was:
			continue
		case a.agreed.IsZero() || at.Sub(a.last) > staleAfter(k):
			a.agreed, a.last = at, at
		case at.Sub(a.agreed) >= agreeFor:
			delete(w.apart, id)
			delete(o.apart, sensor)
			continue
		default:
			a.last = at
		}
		w.stand(id, a)
		a.mine, a.theirs = a.theirs, a.mine
		o.stand(sensor, a)
	}
}

// stand notes how far another sensor's value lay.
func (w *word) stand(from string, a apartness) {
	if w.apart == nil {
		w.apart = map[string]apartness{}
	}
	w.apart[from] = a
}

// MostApart is how far two sensors' values of a kind at one patient may lie apart before they
// disagree, in the kind's unit; v is the smaller of the two. It is the error that the standard of
// the device allows one of them (wording from memory, to be checked before it is quoted):
//
//   - SpO2: 4 points, the A_rms of ISO 80601-2-61 over 70-100 %;
//   - heart rate: 10 % or 5 beats a minute, the greater, of IEC 60601-2-27.
//
// Two sensors that both keep to it can still differ by more now and then: they are then shown side
// by side, which withholds nothing. It is false for a kind without such a bound (the perfusion
// index differs from finger to finger): its values never disagree.
func MostApart(k Kind, v float64) (most float64, ok bool) {
	switch k {
	case SpO2:
		return 4, true
	case HeartRate:
		return max(5, v/10), true
	}
	return 0, false
}

// Disagree tells whether two words of one kind both have values, and these lie further apart than
// MostApart allows.
func Disagree(a, b Reading) bool {
	if a.Kind != b.Kind || !a.Quality.HasValue() || !b.Quality.HasValue() {
		return false
	}
	most, ok := MostApart(a.Kind, min(a.Value, b.Value))
	return ok && math.Abs(a.Value-b.Value) > most
}

// Disputed tells whether another sensor that measures a kind disagrees with its source, in what it
// rests on, or did before it fell silent or had no value any more: whether one of Others is Apart.
// A face that has no place for two values shows none then.
func (c *Chooser) Disputed(k Kind, now time.Time) bool {
	return slices.ContainsFunc(c.Others(k, now), func(o Other) bool { return o.Apart })
}
