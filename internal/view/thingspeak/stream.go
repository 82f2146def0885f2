package thingspeak

import (
	"net/http"
	"slices"
	"time"

	"vitalseal/internal/hub/channel"
	"vitalseal/internal/view/thingspeak/wire"
)

// streamPage is how many entries are read at a time, streamSpan how much of a patient's time.
const (
	streamPage = 2000
	streamSpan = 30 * time.Minute
)

// stream answers with all of a channel as CSV, page by page, oldest first: of a free channel everything unless a span or ids are
// given, of a patient's the last 24 hours unless a span is. The grant is renewed on the way; when the policies no longer allow
// it, the answer is broken off, so that it cannot be taken for whole.
func (f *face) stream(q *request) error {
	if q.ext == "" {
		q.ext = "csv"
	}
	if q.ext != "csv" {
		return errNotFound
	}
	rd, err := f.open(q)
	if err != nil {
		return err
	}
	form := wire.ShapeOf(rd.channel, rd.Ask, 0)
	form.NoID = false
	form.Status = form.Status || rd.channel.Patient != "" // the head is written before it is known whether one is NotConfirmed
	q.w.Header().Set("Content-Type", mediaCSV)
	out := http.NewResponseController(q.w)
	head := true
	send := func(list []channel.Entry) error {
		rd.Adjust(list)
		_ = out.SetWriteDeadline(time.Now().Add(time.Minute)) // a reader who stops reading must not hold a page for ever
		_, err := q.w.Write(wire.Feed{Shape: form, Entries: list}.CSV(head))
		head = false
		if err == nil {
			_ = out.Flush()
		}
		return err
	}
	if rd.channel.Patient != "" {
		err = f.streamPatient(q, &rd, send)
	} else {
		err = f.streamFree(q, &rd, send)
	}
	if err != nil && !head {
		if q.r.Context().Err() == nil {
			f.Log.Warn("thingspeak stream broken off", "err", err)
		}
		panic(http.ErrAbortHandler) // the one way to say after the head that the body is not whole
	}
	return err
}

// renew keeps a reading's grant alive.
func (f *face) renew(q *request, rd *reading) error {
	if time.Until(rd.grant.Expires()) > 30*time.Second {
		return nil
	}
	g, err := f.Access.Renew(q.r.Context(), rd.subject, rd.grant)
	if err == nil {
		rd.grant = g
	}
	return err
}

func (f *face) streamFree(q *request, rd *reading, send func([]channel.Entry) error) error {
	timed := slices.ContainsFunc([]string{"results", "days", "minutes", "start", "end"}, func(name string) bool { return q.p[name] != "" })
	low, high := max(rd.Low, 1), rd.High
	if high == 0 {
		high = 1<<63 - 1
	}
	for first := true; ; first = false {
		if err := f.renew(q, rd); err != nil {
			return err
		}
		list, err := f.Store.EntriesByID(q.r.Context(), rd.grant, rd.channel.ID, low, high, streamPage, false)
		if err != nil {
			return err
		}
		n := len(list)
		if n > 0 {
			low = list[n-1].ID + 1
		}
		if timed {
			list = slices.DeleteFunc(list, func(e channel.Entry) bool { return e.Created.Before(rd.From) || !e.Created.Before(rd.To) })
		}
		if len(list) > 0 || first {
			if err := send(list); err != nil {
				return err
			}
		}
		if n < streamPage {
			return nil
		}
	}
}

func (f *face) streamPatient(q *request, rd *reading, send func([]channel.Entry) error) error {
	from := rd.From
	if from.Before(f.Now().Add(-366 * 24 * time.Hour)) { // no store keeps more; every step costs a look
		from = f.Now().Add(-366 * 24 * time.Hour).Truncate(time.Second)
	}
	for first := true; from.Before(rd.To); first = false {
		if err := f.renew(q, rd); err != nil {
			return err
		}
		to := from.Add(streamSpan)
		if to.After(rd.To) {
			to = rd.To
		}
		list, err := f.entries(q.r.Context(), rd.grant, rd.channel, from, to, MaxResults, nil)
		if err != nil {
			return err
		}
		if len(list) > 0 || first {
			if err := send(list); err != nil {
				return err
			}
		}
		from = to
	}
	return nil
}
