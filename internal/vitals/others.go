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

// Others are the current words of those that measure a kind beside its source now, by id of the
// sensor; empty while the source is stale. Beside a source that measures, what a legacy device
// asserts is none of them: it neither stands for the kind nor casts doubt on what was measured.
// Cuffs have none: each of their values is of a time of its own, which is shown with it.
func (c *Chooser) Others(k Kind, now time.Time) (all []Reading) {
	of := c.Source(k, now)
	if of == "" || k.Spot() {
		return nil
	}
	first := c.sources[of].rank(k, now)
	for id, s := range c.sources {
		r, w := s.rank(k, now), s.words[k]
		if id == of || first == 0 || r == 0 || measuring(r) != measuring(first) || w.at.IsZero() || w.at.After(now.Add(MaxAhead)) {
			continue
		}
		all = append(all, s.reading(id, k))
	}
	slices.SortFunc(all, func(a, b Reading) int { return cmp.Compare(a.Sensor, b.Sensor) })
	return all
}

// measuring tells whether a rank is that of a source that measures.
func measuring(rank int) bool { return rank >= 3 }

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

// Disputed tells whether another sensor that measures a kind now disagrees with its source.
func (c *Chooser) Disputed(k Kind, now time.Time) bool {
	r, ok := c.Reading(k, now)
	return ok && slices.ContainsFunc(c.Others(k, now), func(o Reading) bool { return Disagree(r, o) })
}
