package thingspeak

import (
	"context"
	"slices"
	"strconv"
	"time"

	"vitalseal/internal/hub/access"
	"vitalseal/internal/hub/archive"
	"vitalseal/internal/hub/channel"
	"vitalseal/internal/measurement/vitals"
)

const (
	// bundlesPerSecond is how many bundles a patient's sensors usually deliver in a second: an oximeter's and a cuff's.
	// More only take another look.
	bundlesPerSecond = 2
	// contextBundles are read beyond that, so that the source of the first entry is known.
	contextBundles = bundlesPerSecond * int(vitals.ChooseContext/time.Second)
	// minBundles is read at least at once, maxBundles at most in all for one answer.
	minBundles, maxBundles = 16, archive.MaxNumerics
)

// entries are a channel's in [from, to) of which keep says yes (nil: all), ascending, the newest most.
func (f *face) entries(ctx context.Context, g access.Grant, c channel.Channel, from, to time.Time, most int, keep func(channel.Entry) bool) ([]channel.Entry, error) {
	if keep == nil {
		keep = func(channel.Entry) bool { return true }
	}
	if most == 0 {
		return nil, nil
	}
	if c.Patient != "" {
		return f.derived(ctx, g, c.Patient, from, to, most, keep)
	}
	// The store cannot look into sealed entries either; what was not found among so many is as good as absent.
	limit := min(most, MaxResults)
	list, err := f.Store.Entries(ctx, g, c.ID, from, to, limit)
	if err != nil {
		return nil, err
	}
	if kept := slices.DeleteFunc(slices.Clone(list), func(e channel.Entry) bool { return !keep(e) }); len(kept) == len(list) || len(list) < limit {
		return kept, nil
	}
	if list, err = f.Store.Entries(ctx, g, c.ID, from, to, MaxResults); err != nil {
		return nil, err
	}
	list = slices.DeleteFunc(list, func(e channel.Entry) bool { return !keep(e) })
	return list[max(0, len(list)-most):], nil
}

// derived makes entries of a patient's numerics. It reads backwards, page by page, since how many bundles are in an
// entry is not known before, and somewhat further than is wanted: which of several sensors counts rests on what was said before.
func (f *face) derived(ctx context.Context, g access.Grant, patient string, from, to time.Time, most int, keep func(channel.Entry) bool) ([]channel.Entry, error) {
	if soon := f.Now().Add(vitals.MaxAhead); to.After(soon) { // a time to come is not the newest
		to = soon
	}
	var list []channel.Entry
	var said []vitals.Said
	end := to
	before, left, err := f.Store.Beside(ctx, g, patient, from, end)
	if err != nil {
		return nil, err
	}
	for size, read := max(most*bundlesPerSecond+1, minBundles)+contextBundles, 0; read < maxBundles; size *= 4 {
		size = min(size, maxBundles-read)
		page, err := f.Store.Said(ctx, g, patient, before, to, size)
		if err != nil {
			return nil, err
		}
		read += len(page)
		whole := page
		if len(page) == size { // the oldest second may go on before this page: it is left to the next one
			cut := page[0].At.Truncate(time.Second).Add(time.Second)
			whole = slices.DeleteFunc(slices.Clone(page), func(b vitals.Said) bool { return b.At.Before(cut) })
			if to.After(cut) {
				to = cut
			}
		}
		said = slices.Concat(whole, said)
		list = slices.DeleteFunc(merge(said, left), func(e channel.Entry) bool { return e.Created.Before(from.Truncate(time.Second)) || !keep(e) })
		if len(page) < size {
			break
		}
		if len(list) < most {
			continue
		}
		since, _, err := f.Store.Beside(ctx, g, patient, said[0].At, end) // of what was read, which may be much less
		if err != nil {
			return nil, err
		}
		if !early(list[len(list)-most], said, said[0].At.Sub(since)) {
			break
		}
	}
	return list[max(0, len(list)-most):], nil
}

// early tells whether an entry is so near to the beginning of what was read that its source, or who disagreed with it before, may not
// be known.
func early(e channel.Entry, said []vitals.Said, context time.Duration) bool {
	return e.Created.Sub(said[0].At) < context
}

// NotConfirmed is the status of a patient's entry with a number of a sensor that was silent for long, while no person has confirmed that
// it is still on this patient.
const NotConfirmed = "patient not confirmed"

// bareNotConfirmed is the reason in place of a number that would stand alone, without the status.
const bareNotConfirmed = "the sensor was silent for long, and no person has confirmed that it is still on this patient"

// merge makes one entry of each second in which a patient's sensors said anything about the channel's fields, a value
// or its absence. What has no value is null: a hole is a hole. said is ascending; of several sensors the source of the kind counts
// (vitals.Choose, which left is for), and of two of its values in one second the later. The id is the second itself, so the same
// second has the same id whatever is asked.
func merge(said []vitals.Said, left map[string][]time.Time) []channel.Entry {
	var list []channel.Entry
	for _, b := range vitals.Choose(said, left) {
		at := b.At.UTC().Truncate(time.Second)
		for _, n := range b.Numerics {
			i := fieldOf(n.Kind)
			if i == 0 {
				continue
			}
			if len(list) == 0 || list[len(list)-1].ID != at.Unix() {
				list = append(list, channel.Entry{ID: at.Unix(), Created: at})
			}
			// ThingSpeak has no place for "questionable": only what meets its accuracy is a number here. Whose it is has one: the status.
			switch {
			case n.Quality == vitals.Questionable: // also a value of the same second that another sensor now disputes
				list[len(list)-1].Fields[i-1] = nil
			case n.Quality == vitals.Good:
				list[len(list)-1].Fields[i-1] = shown(n)
				if b.NotConfirmed {
					list[len(list)-1].Status = NotConfirmed
				}
			}
		}
	}
	return list
}

// shown is a value as this face writes it.
func shown(n vitals.Numeric) *string {
	s := strconv.FormatFloat(n.Value, 'f', decimals(n.Kind), 64)
	return &s
}

// decimals is as many as the sensors are worth.
func decimals(k vitals.Kind) int {
	if k == vitals.CuffPressure {
		return 2
	}
	return 1
}

// entryAt is one entry by its id.
func (f *face) entryAt(ctx context.Context, g access.Grant, c channel.Channel, id int64) (channel.Entry, error) {
	list, err := f.between(ctx, g, c, id, id, 1)
	if err == nil && len(list) == 0 {
		err = errNotFound
	}
	if err != nil {
		return channel.Entry{}, err
	}
	return list[0], nil
}

// between are the newest most entries with ids in [low, high], ascending. A patient's ids are seconds, so they are a span of time.
func (f *face) between(ctx context.Context, g access.Grant, c channel.Channel, low, high int64, most int) ([]channel.Entry, error) {
	if most == 0 {
		return nil, nil
	}
	if c.Patient == "" {
		return f.Store.EntriesByID(ctx, g, c.ID, low, high, min(most, MaxResults), true)
	}
	from, to := time.Unix(max(low, 0), 0), f.Now().Add(maxAhead)
	if end := time.Unix(min(high, 1<<40)+1, 0); end.Before(to) {
		to = end
	}
	if !from.Before(to) {
		return nil, nil
	}
	return f.derived(ctx, g, c.Patient, from, to, most, func(channel.Entry) bool { return true })
}
