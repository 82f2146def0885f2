package dashboard

import (
	"context"
	"slices"
	"sync"
	"time"

	"vitalseal/internal/hub/access"
	"vitalseal/internal/measurement/vitals"
)

// A page that is opened while a sensor is silent, or speaks without a value, says since when, as a
// page does that was open before. What the last seconds do not hold is looked up here.

const (
	// latestSpan is where the newest numerics are looked for first; they come every second.
	latestSpan = 20 * time.Second
	// lookBack is how far back a cuff measurement, or a silent sensor's last word without a value, is
	// looked for.
	lookBack = vitals.SpotNoDataAfter
	// aheadSpan is how far a gateway's clock may be ahead of ours.
	aheadSpan = vitals.MaxAhead
	// maxLatest bounds the bundles that are read for one patient's newest numerics.
	maxLatest = 240
	// pulseBack is how far back the last heart rate or saturation of a patient is looked for.
	pulseBack = 7 * 24 * time.Hour
	// wordsAtOnce is how long a stretch of a silent sensor's time is read at once, and
	// maxWordsAtOnce bounds the bundles: a cuff beside it speaks each second.
	wordsAtOnce    = 15 * time.Minute
	maxWordsAtOnce = 4000
	// lastFor is how long a look-up serves other answers: a wall asks each second.
	lastFor = 5 * time.Second
	// oldFor is that of one that found nothing within lookBack: it reads seven days.
	oldFor = time.Minute
	// maxLast bounds the look-ups that are remembered.
	maxLast = 4096
)

// latest is the current numeric of each kind, of the one sensor that counts for it.
func (h *Handler) latest(ctx context.Context, g access.Grant, id string) (readings, error) {
	now := h.cfg.Now()
	c, err := h.hear(ctx, g, id, now)
	if err != nil {
		return nil, err
	}
	out := readingsOf(c, c.Current(now), now)
	out.settle(now)
	return out, h.tellSince(ctx, g, id, out, now)
}

// hear has a chooser hear what a patient's sensors said: in the last seconds; where a kind is
// measured rarely, in the last minute that had any; where a sensor has fallen silent, its last
// words; and what waits for the chart because its time is not sure.
func (h *Handler) hear(ctx context.Context, g access.Grant, id string, now time.Time) (*vitals.Chooser, error) {
	c := &vitals.Chooser{}
	said, err := h.cfg.Store.Said(ctx, g, id, now.Add(-latestSpan), now.Add(aheadSpan), maxLatest)
	if err != nil {
		return nil, err
	}
	take := func(said []vitals.Said) {
		for _, s := range said {
			c.Hear(s)
		}
	}
	_, left, err := h.cfg.Store.Beside(ctx, g, id, now, now.Add(aheadSpan))
	if err != nil {
		return nil, err
	}
	c.Left(left)
	if err := h.hearRivals(ctx, g, id, now, take); err != nil { // first: what is older is heard before what is newer
		return nil, err
	}
	take(said)
	for _, k := range []vitals.Kind{vitals.HeartRate, vitals.SpO2} {
		if said := slices.ContainsFunc(said, func(s vitals.Said) bool { return says(s.Bundle, k) }); said {
			h.last.forget(lastKey{id, k, false})
			continue
		}
		words, err := h.silentWords(ctx, g, id, k, now)
		if err != nil {
			return nil, err
		}
		take(words)
	}
	if err := h.hearCuffs(ctx, g, id, now, take); err != nil {
		return nil, err
	}
	unsure, err := h.cfg.Store.Unsure(ctx, g, id)
	if err != nil {
		return nil, err
	}
	for _, s := range unsure {
		c.Hear(s)
	}
	return c, nil
}

// hearCuffs has a chooser hear what cuffs measured, and tried, in the last hours: a cuff's last word
// counts for long, beside what another one said just now.
func (h *Handler) hearCuffs(ctx context.Context, g access.Grant, id string, now time.Time, take func([]vitals.Said)) error {
	points, err := h.cfg.Store.Trends(ctx, g, id, vitals.Systolic, now.Add(-lookBack), now.Add(aheadSpan), time.Minute)
	if err != nil {
		return err
	}
	// The newest minute with values, and the newest with one that was measured: a legacy device may have spoken since.
	var minutes []time.Time
	newest, measured := -1, -1
	for i, p := range points {
		if p.Count > 0 {
			newest = i
		}
		if !p.Asserted {
			measured = i
		}
	}
	for _, i := range slices.Compact([]int{newest, measured}) {
		if i >= 0 {
			minutes = append(minutes, points[i].At)
		}
	}
	failed, err := h.cfg.Store.Attempts(ctx, g, id, now.Add(-lookBack), now.Add(aheadSpan), time.Minute)
	if err != nil {
		return err
	}
	if n := len(failed); n > 0 { // the newest is the one that is told
		minutes = append(minutes, failed[n-1].At)
	}
	for _, at := range minutes {
		said, err := h.cfg.Store.Said(ctx, g, id, at, at.Add(time.Minute), maxLatest)
		if err != nil {
			return err
		}
		take(said)
	}
	return nil
}

// says tells whether a bundle has a word of a kind.
func says(b vitals.Bundle, k vitals.Kind) bool {
	return slices.ContainsFunc(b.Numerics, func(n vitals.Numeric) bool { return n.Kind == k })
}

// perSecond are the kinds that are measured every second and shown with the time of the last value.
var perSecond = []vitals.Kind{vitals.HeartRate, vitals.SpO2, vitals.PerfusionIndex}

// lastKey is what was looked up of a patient: the last words of a kind, or its last value.
type lastKey struct {
	patient string
	kind    vitals.Kind
	value   bool
}

type lastFound struct {
	asked   time.Time
	old     bool          // there was nothing within lookBack
	changes uint64        // of the directory, before it was asked
	words   []vitals.Said // in the order of time
	value   time.Time     // zero: none
}

// lastWords remembers what was looked up lately. Each caller has a grant for the patient. The zero
// value is ready.
type lastWords struct {
	mu sync.Mutex // guards by
	by map[lastKey]lastFound
}

// find is what look finds, or found lately while nothing has changed in the directory.
func (l *lastWords) find(key lastKey, now time.Time, changes uint64, look func() (lastFound, error)) (lastFound, error) {
	l.mu.Lock()
	had, ok := l.by[key]
	l.mu.Unlock()
	holds := lastFor
	if had.old {
		holds = oldFor
	}
	if ok && had.changes == changes && now.Sub(had.asked).Abs() < holds {
		return had, nil
	}
	got, err := look()
	if err != nil {
		return got, err
	}
	got.asked, got.changes = now, changes
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.by == nil || len(l.by) >= maxLast {
		l.by = map[lastKey]lastFound{}
	}
	l.by[key] = got
	return got, nil
}

// forget is for a kind that has a value again, or a sensor that speaks again: the next time it has
// none begins later.
func (l *lastWords) forget(key lastKey) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.by, key)
}

// newestMinute is the newest minute that has a value of a kind, within pulseBack.
func (h *Handler) newestMinute(ctx context.Context, g access.Grant, id string, k vitals.Kind, now time.Time) (time.Time, bool, error) {
	newest := func(from, to time.Time, step time.Duration) (time.Time, bool, error) {
		points, err := h.cfg.Store.Trends(ctx, g, id, k, from, to, step)
		for _, p := range slices.Backward(points) {
			if p.Count > 0 {
				return p.At, true, err
			}
		}
		return time.Time{}, false, err
	}
	at, ok, err := newest(now.Add(-lookBack), now.Add(aheadSpan), time.Minute)
	if ok || err != nil {
		return at, ok, err
	}
	hour, ok, err := newest(now.Add(-pulseBack), now.Add(-lookBack), time.Hour)
	if !ok || err != nil {
		return hour, ok, err
	}
	return newest(hour, hour.Add(time.Hour), time.Minute)
}

// silentWords are the last words of sensors of which the last seconds have none of a kind: the
// newest minute that has values of it, and what was said after that without one.
func (h *Handler) silentWords(ctx context.Context, g access.Grant, id string, k vitals.Kind, now time.Time) ([]vitals.Said, error) {
	got, err := h.last.find(lastKey{id, k, false}, now, h.cfg.Store.Changes(), func() (lastFound, error) {
		from := now.Add(-lookBack)
		var all []vitals.Said
		minute, ok, err := h.newestMinute(ctx, g, id, k, now)
		if err != nil {
			return lastFound{}, err
		}
		if ok {
			if all, err = h.cfg.Store.Said(ctx, g, id, minute, minute.Add(time.Minute), maxLatest); err != nil {
				return lastFound{}, err
			}
			if after := minute.Add(time.Minute); after.After(from) {
				from = after
			}
		}
		for to := now.Add(-latestSpan); to.After(from); to = to.Add(-wordsAtOnce) {
			begin := to.Add(-wordsAtOnce)
			if begin.Before(from) {
				begin = from
			}
			words, err := h.cfg.Store.Said(ctx, g, id, begin, to, maxWordsAtOnce)
			if err != nil {
				return lastFound{}, err
			}
			if newest := newestOf(words, k); len(newest) > 0 {
				return lastFound{words: append(all, newest...)}, nil
			}
		}
		return lastFound{words: all, old: minute.Before(now.Add(-lookBack))}, nil
	})
	return got.words, err
}

// newestOf are the newest words of a kind of each sensor, in the order of time.
func newestOf(said []vitals.Said, k vitals.Kind) (out []vitals.Said) {
	has := map[string]bool{}
	for _, s := range slices.Backward(said) {
		if !has[s.Sensor] && says(s.Bundle, k) {
			has[s.Sensor] = true
			out = append(out, s)
		}
	}
	slices.Reverse(out)
	return out
}

// tellSince sets of each kind that is measured every second, and has no value now, when the last one
// was.
func (h *Handler) tellSince(ctx context.Context, g access.Grant, id string, r readings, now time.Time) error {
	for _, k := range perSecond {
		one, ok := r[k.String()]
		key := lastKey{id, k, true}
		if !ok || one.Value != nil {
			h.last.forget(key)
			continue
		}
		if one.Quality == vitals.Unknown.String() {
			continue // At is when the last value was
		}
		got, err := h.last.find(key, now, h.cfg.Store.Changes(), func() (lastFound, error) {
			minute, ok, err := h.newestMinute(ctx, g, id, k, now)
			if err != nil || !ok {
				return lastFound{old: true}, err
			}
			said, err := h.cfg.Store.Said(ctx, g, id, minute, minute.Add(time.Minute), maxLatest)
			if err != nil {
				return lastFound{}, err
			}
			for _, s := range slices.Backward(said) {
				if slices.ContainsFunc(s.Numerics, func(n vitals.Numeric) bool { return n.Kind == k && n.Quality.HasValue() }) {
					return lastFound{value: s.At.UTC()}, nil
				}
			}
			return lastFound{}, nil
		})
		if err != nil {
			return err
		}
		if !got.value.IsZero() && got.value.Before(one.At) {
			one.Since = &got.value
			r[k.String()] = one
		}
	}
	return nil
}
