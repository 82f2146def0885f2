package wire

import (
	"math"
	"slices"
	"strconv"
	"time"

	"vitalseal/internal/hub/channel"
)

// Value is a field's as a number, if it is one and the request wants it.
func (a *Ask) Value(s *string) (v float64, ok bool) {
	if s == nil {
		return 0, false
	}
	v, err := strconv.ParseFloat(*s, 64)
	if err != nil || math.IsNaN(v) || math.IsInf(v, 0) {
		return 0, false
	}
	return v, (a.least == nil || v >= *a.least) && (a.most == nil || v <= *a.most)
}

// figure is how a computed number is written.
func (a *Ask) figure(v float64) *string {
	s := strconv.FormatFloat(v, 'f', a.digits, 64) // -1 is as many digits as it takes
	if a.digits >= 0 && v == 0 {
		s = strconv.FormatFloat(0, 'f', a.digits, 64) // not -0
	}
	return &s
}

// Adjust applies min, max and round: what is outside, or no number where bounds are given, is null.
func (a *Ask) Adjust(list []channel.Entry) {
	bounded := a.least != nil || a.most != nil
	if !bounded && a.digits < 0 {
		return
	}
	for i := range list {
		fields := &list[i].Fields
		for j := range fields {
			v, ok := a.Value(fields[j])
			switch {
			case !ok && bounded:
				fields[j] = nil
			case ok && a.digits >= 0:
				fields[j] = a.figure(v)
			}
		}
	}
}

// floor is the beginning of the bucket that t is in. Up to an hour, buckets follow one another
// evenly; longer ones begin at midnight of the zone that was asked for, so that on the day of a
// change to summer time one is an hour shorter.
func (a *Ask) floor(t time.Time) time.Time {
	t = t.In(a.Loc)
	if a.minutes <= 60 {
		_, offset := t.Zone()
		step := int64(a.minutes) * 60
		local := t.Unix() + int64(offset)
		return time.Unix(local-((local%step)+step)%step-int64(offset), 0).In(a.Loc)
	}
	whole := (t.Hour()*60 + t.Minute()) / a.minutes * a.minutes
	return time.Date(t.Year(), t.Month(), t.Day(), 0, whole, 0, 0, a.Loc)
}

// Next is the bucket after the one that begins at t.
func (a *Ask) Next(t time.Time) time.Time {
	if a.minutes <= 60 {
		return t.Add(time.Duration(a.minutes) * time.Minute)
	}
	t = t.In(a.Loc)
	return time.Date(t.Year(), t.Month(), t.Day(), 0, t.Hour()*60+t.Minute()+a.minutes, 0, 0, a.Loc)
}

// Summed makes buckets of entries, which are ascending: one for each from the first entry's to the
// last one's, the newest mostResults of them; without entries in it, with nulls. A bucket has no
// id. The status is mark where an entry of the bucket has that status, and empty elsewhere; an
// empty mark is none.
func (a *Ask) Summed(list []channel.Entry, mark string) []channel.Entry {
	var out []channel.Entry
	var values [8][]float64
	flush := func() {
		for i := range values {
			if len(values[i]) > 0 {
				out[len(out)-1].Fields[i] = a.figure(a.sum(values[i]))
				values[i] = values[i][:0]
			}
		}
	}
	if len(list) > 0 { // what would be cut off again is not made first
		most := time.Duration(MaxResults) * time.Duration(a.minutes) * time.Minute
		oldest := list[len(list)-1].Created.Add(-most)
		i, _ := slices.BinarySearchFunc(list, oldest, func(e channel.Entry, t time.Time) int { return e.Created.Compare(t) })
		list = list[i:]
	}
	for _, e := range list {
		at := a.floor(e.Created)
		if len(out) == 0 {
			out = append(out, channel.Entry{Created: at})
		}
		for out[len(out)-1].Created.Before(at) {
			flush()
			next := a.Next(out[len(out)-1].Created)
			if next.After(at) || !next.After(out[len(out)-1].Created) { // beside the grid, where the zone itself has changed
				next = at
			}
			out = append(out, channel.Entry{Created: next})
		}
		if e.Status == mark {
			out[len(out)-1].Status = mark
		}
		for i, s := range e.Fields {
			if v, ok := a.Value(s); ok {
				values[i] = append(values[i], v)
			}
		}
	}
	if len(out) > 0 {
		flush()
	}
	return out[max(0, len(out)-MaxResults):]
}

// sum makes one number of a bucket's, in the order that they came.
func (a *Ask) sum(v []float64) float64 {
	total := 0.0
	for _, x := range v {
		total += x
	}
	switch a.Bucket {
	case "timescale": // the first of each bucket
		return v[0]
	case "sum":
		return total
	case "median":
		v = slices.Sorted(slices.Values(v))
		if n := len(v); n%2 == 0 {
			return v[n/2-1] + (v[n/2]-v[n/2-1])/2
		}
		return v[len(v)/2]
	}
	return total / float64(len(v))
}
