package thingspeak

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"vitalseal/internal/hub/access"
	"vitalseal/internal/hub/channel"
	"vitalseal/internal/measurement/vitals"
)

// The channel of a patient answers "the last value" by the rule of all faces (vitals.FreshnessOf): what a sensor said last counts, be
// it the absence of a value; a number stands alone only as long as it is fresh, with its time beside it while it is stale, and not
// at all after that. A time to come is not the newest. Channels of anything else keep what ThingSpeak does.

// kindOf is the kind that a field of a patient's channel shows, from field 1; 0 for none.
func kindOf(field int) vitals.Kind {
	for k := vitals.Kind(1); k <= vitals.MaxKind; k++ {
		if fieldOf(k) == field {
			return k
		}
	}
	return 0
}

// said is what a patient's sensors said of one kind at one time.
type said struct {
	at      time.Time
	numeric vitals.Numeric
	asked   bool   // no person has confirmed that it is of this patient
	dispute string // how another sensor of the patient disagrees, or did before it fell silent; empty: none does
}

// shown reports whether it is a value that this face gives out as a number: ThingSpeak has no place for "questionable", nor for two
// sensors that disagree.
func (s said) shown() bool { return s.numeric.Quality == vitals.Good && s.dispute == "" }

// why says why there is no value.
func (s said) why() string {
	if s.dispute != "" && s.numeric.Quality == vitals.Good {
		return s.dispute
	}
	return s.numeric.Quality.String()
}

// lastSaid is the newest that was said of a field's kind, value or absence; ok is false if nothing was. It reads backwards, as derived
// does.
func (f *face) lastSaid(ctx context.Context, g access.Grant, patient string, field int) (newest said, ok bool, err error) {
	now := f.Now()
	kind, to := kindOf(field), now.Add(vitals.MaxAhead)
	// Of several sensors that speak now one is the source of the field, unless one disagreed with it lately.
	since, left, err := f.Store.Beside(ctx, g, patient, now, to)
	if err != nil {
		return said{}, false, err
	}
	near, err := f.Store.Said(ctx, g, patient, since, to, maxBundles)
	if err != nil {
		return said{}, false, err
	}
	// What a legacy device asserts is not the last word here. It hides neither what a sensor measured nor the doubt about that.
	var all, choose vitals.Chooser
	for _, s := range near {
		all.Hear(s)
	}
	for _, s := range near {
		if !all.Asserts(s.Sensor) {
			choose.Hear(s)
		}
	}
	choose.Left(left)
	if r, ok := choose.Reading(kind, now); ok {
		return said{at: r.At.UTC(), numeric: r.Numeric, asked: r.NotConfirmed, dispute: disputeOf(&choose, kind, now)}, true, nil
	}
	// Before that no other sensor disagreed for longer than a doubt lasts, or there was none.
	for size, read := minBundles, 0; read < maxBundles; size *= 4 {
		size = min(size, maxBundles-read)
		page, err := f.Store.Said(ctx, g, patient, time.Unix(0, 0), to, size)
		if err != nil {
			return said{}, false, err
		}
		read += len(page)
		for i := len(page) - 1; i >= 0; i-- {
			for _, n := range page[i].Numerics {
				if n.Kind == kind && n.Quality != vitals.Asserted {
					return said{at: page[i].At.UTC(), numeric: n, asked: page[i].NotConfirmed}, true, nil
				}
			}
		}
		if len(page) < size {
			break
		}
		to = page[0].At
	}
	return said{}, false, nil
}

// disputeOf says how another sensor disagrees with the source of a kind (vitals.Chooser.Disputed); empty if none does.
func disputeOf(c *vitals.Chooser, k vitals.Kind, now time.Time) string {
	if !c.Disputed(k, now) {
		return ""
	}
	why := "two sensors of the patient disagree"
	for _, o := range c.Others(k, now) {
		if o.Apart && !o.Silent {
			return why
		}
		if o.Apart {
			why = "another sensor of the patient disagreed, and has given no value since " + o.At.UTC().Format(time.TimeOnly) + " UTC"
		}
	}
	return why
}

// lastOfPatient answers with the newest of one field of a patient's channel.
func (f *face) lastOfPatient(q *request, rd reading) error {
	newest, ok, err := f.lastSaid(q.r.Context(), rd.grant, rd.channel.Patient, rd.field)
	if err == nil && !ok {
		err = errNotFound
	}
	if err != nil {
		return err
	}
	at := newest.at.Truncate(time.Second)
	e := channel.Entry{ID: at.Unix(), Created: at}
	fresh := vitals.FreshnessOf(newest.numeric.Kind, newest.at, f.Now())
	switch {
	case !newest.shown():
		told(q.w, "there is no value: "+newest.why())
	case newest.asked && q.plainText(): // a bare number has no place for the mark
		told(q.w, bareNotConfirmed)
	case fresh == vitals.NoData, fresh == vitals.Stale && q.plainText():
		f.tellAge(q.w, newest.at)
	default:
		if fresh == vitals.Stale {
			f.tellAge(q.w, newest.at)
		}
		if newest.asked {
			e.Status = NotConfirmed
			told(q.w, NotConfirmed)
		}
		e.Fields[rd.field-1] = shown(newest.numeric)
	}
	return f.one(q, rd, e)
}

// tellAge says how old a value is, to who looks for the reason why there is none.
func (f *face) tellAge(w http.ResponseWriter, at time.Time) {
	told(w, fmt.Sprintf("the newest value is %d s old", int64(f.Now().Sub(at)/time.Second)))
}

// reasonHeader holds the reason of an answer for people who look for it; clients of ThingSpeak know no such header.
const reasonHeader = "X-Vitalseal-Error"

func told(w http.ResponseWriter, why string) { w.Header().Set(reasonHeader, why) }

// settle takes the values out of a patient's newest entry that are too old to say anything about now. It reports whether all that is
// left is fresh.
func settle(e channel.Entry, now time.Time) (channel.Entry, bool) {
	fresh := true
	for i := range e.Fields {
		if e.Fields[i] == nil {
			continue
		}
		switch vitals.FreshnessOf(kindOf(i+1), e.Created, now) {
		case vitals.NoData, vitals.ToCome:
			e.Fields[i], fresh = nil, false
		case vitals.Stale:
			fresh = false
		case vitals.Fresh:
		}
	}
	return e, fresh
}
