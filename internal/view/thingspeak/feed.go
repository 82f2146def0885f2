package thingspeak

import (
	"context"
	"encoding/json"
	"slices"
	"strconv"
	"time"

	"vitalseal/internal/access"
	"vitalseal/internal/store"
	"vitalseal/internal/vitals"
)

const (
	// bundlesPerSecond is how many bundles a patient's sensors usually deliver in a second: an oximeter's and a cuff's.
	// More only take another look.
	bundlesPerSecond = 2
	// minBundles is read at least at once, maxBundles at most in all for one answer.
	minBundles, maxBundles = 16, store.MaxNumerics
)

// entries are a channel's in [from, to) of which keep says yes (nil: all), ascending, the newest most.
func (f *face) entries(ctx context.Context, g access.Grant, c store.Channel, from, to time.Time, most int, keep func(store.Entry) bool) ([]store.Entry, error) {
	if keep == nil {
		keep = func(store.Entry) bool { return true }
	}
	if most == 0 {
		return nil, nil
	}
	if c.Patient != "" {
		return f.derived(ctx, g, c.Patient, from, to, most, keep)
	}
	// The store cannot look into sealed entries either; what was not found among so many is as good as absent.
	limit := most
	list, err := f.Store.Entries(ctx, g, c.ID, from, to, limit)
	if err != nil {
		return nil, err
	}
	if kept := slices.DeleteFunc(slices.Clone(list), func(e store.Entry) bool { return !keep(e) }); len(kept) == len(list) || len(list) < limit {
		return kept, nil
	}
	if list, err = f.Store.Entries(ctx, g, c.ID, from, to, MaxResults); err != nil {
		return nil, err
	}
	list = slices.DeleteFunc(list, func(e store.Entry) bool { return !keep(e) })
	return list[max(0, len(list)-most):], nil
}

// derived makes entries of a patient's numerics. It reads backwards, page by page, since how many bundles are in an
// entry is not known before.
func (f *face) derived(ctx context.Context, g access.Grant, patient string, from, to time.Time, most int, keep func(store.Entry) bool) ([]store.Entry, error) {
	var list []store.Entry
	for size, read := max(most*bundlesPerSecond+1, minBundles), 0; read < maxBundles; size *= 4 {
		size = min(size, maxBundles-read)
		page, err := f.Store.Numerics(ctx, g, patient, from, to, size)
		if err != nil {
			return nil, err
		}
		read += len(page)
		whole := page
		if len(page) == size { // the oldest second may go on before this page: it is left to the next one
			cut := page[0].At.Truncate(time.Second).Add(time.Second)
			whole = slices.DeleteFunc(slices.Clone(page), func(b vitals.Bundle) bool { return b.At.Before(cut) })
			if to.After(cut) {
				to = cut
			}
		}
		part := slices.DeleteFunc(merge(whole), func(e store.Entry) bool { return !keep(e) })
		list = slices.Concat(part, list)
		if len(list) >= most || len(page) < size {
			break
		}
	}
	return list[max(0, len(list)-most):], nil
}

// merge makes one entry of each second in which a patient's sensors said anything about the channel's fields, a value
// or its absence. What has no value is null: a hole is a hole. bundles are ascending; of two values of a kind in one
// second the later counts. The id is the second itself, so the same second has the same id whatever is asked.
func merge(bundles []vitals.Bundle) []store.Entry {
	var list []store.Entry
	for _, b := range bundles {
		at := b.At.UTC().Truncate(time.Second)
		for _, n := range b.Numerics {
			i := fieldOf(n.Kind)
			if i == 0 {
				continue
			}
			if len(list) == 0 || list[len(list)-1].ID != at.Unix() {
				list = append(list, store.Entry{ID: at.Unix(), Created: at})
			}
			// ThingSpeak has no place for "questionable": only what meets its accuracy is a number here.
			if n.Quality == vitals.Good {
				s := strconv.FormatFloat(n.Value, 'f', decimals(n.Kind), 64)
				list[len(list)-1].Fields[i-1] = &s
			}
		}
	}
	return list
}

// decimals is as many as the sensors are worth.
func decimals(k vitals.Kind) int {
	if k == vitals.CuffPressure {
		return 2
	}
	return 1
}

func fieldName(c store.Channel, i int) string {
	if c.Patient != "" {
		return PatientFields()[i-1]
	}
	return c.Fields[i-1]
}

// shape is what of an entry a read shows.
type shape struct {
	fields           []int // from 1; ascending
	status, location bool
}

// shapeOf shows one field, or for 0 those that the channel has a name for.
func shapeOf(c store.Channel, p parameters, field int) shape {
	s := shape{status: p["status"] == "true", location: p["location"] == "true"}
	for i := 1; i <= 8; i++ {
		if i == field || field == 0 && fieldName(c, i) != "" {
			s.fields = append(s.fields, i)
		}
	}
	return s
}

// appendChannel describes the channel as ThingSpeak does. Our channels have no place.
func appendChannel(b []byte, c store.Channel, s shape, last int64) []byte {
	b = appendText(strconv.AppendInt(append(b, `{"id":`...), c.ID, 10), "name", &c.Name)
	b = appendText(b, "description", &c.Description)
	b = appendText(appendText(b, "latitude", nil), "longitude", nil)
	for _, i := range s.fields {
		if name := fieldName(c, i); name != "" {
			b = appendText(b, "field"+strconv.Itoa(i), &name)
		}
	}
	created := timestamp(c.Created)
	b = append(appendText(appendText(b, "created_at", &created), "updated_at", &created), `,"last_entry_id":`...)
	if last == 0 {
		return append(b, "null}"...)
	}
	return append(strconv.AppendInt(b, last, 10), '}')
}

// appendEntry is an entry of a read: values are texts, absent ones null.
func appendEntry(b []byte, e store.Entry, s shape) []byte {
	b = append(append(append(b, `{"created_at":"`...), timestamp(e.Created)...), `","entry_id":`...)
	b = strconv.AppendInt(b, e.ID, 10)
	for _, i := range s.fields {
		b = appendText(b, "field"+strconv.Itoa(i), e.Fields[i-1])
	}
	if s.location {
		b = appendPlace(b, e)
	}
	if s.status {
		b = appendText(b, "status", given(e.Status))
	}
	return append(b, '}')
}

// appendWritten is the answer to a write: all of the entry, absent values null.
func appendWritten(b []byte, channel int64, e store.Entry) []byte {
	b = strconv.AppendInt(append(b, `{"channel_id":`...), channel, 10)
	created := timestamp(e.Created)
	b = append(appendText(b, "created_at", &created), `,"entry_id":`...)
	b = strconv.AppendInt(b, e.ID, 10)
	for i, v := range e.Fields {
		b = appendText(b, "field"+strconv.Itoa(i+1), v)
	}
	return append(appendText(appendPlace(b, e), "status", given(e.Status)), '}')
}

func appendPlace(b []byte, e store.Entry) []byte {
	b = appendText(b, "latitude", given(e.Latitude))
	b = appendText(b, "longitude", given(e.Longitude))
	return appendText(b, "elevation", given(e.Elevation))
}

func given(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

func appendText(b []byte, name string, v *string) []byte {
	b = append(append(append(b, ',', '"'), name...), '"', ':')
	if v == nil {
		return append(b, "null"...)
	}
	quoted, err := json.Marshal(*v)
	if err != nil { // a string always can
		return append(b, "null"...)
	}
	return append(b, quoted...)
}

// timestamp is ThingSpeak's: UTC, no fraction.
func timestamp(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05Z") }
