package thingspeak

import (
	"context"
	"errors"
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"vitalseal/internal/hub/access"
	"vitalseal/internal/hub/channel"
	"vitalseal/internal/view/thingspeak/wire"
)

// maxAhead is how far a sender's clock may be ahead of ours.
const maxAhead = wire.MaxAhead

// update takes one entry for the channel that the write key belongs to. ThingSpeak answers with the entry's id as text,
// or 0 for a refusal; update.json and update.xml with the entry, or with an error object. With a talkback_key the answer is the
// next command of that queue instead.
func (f *face) update(q *request) error {
	var err error
	if q.ext == "csv" || q.ext == "txt" {
		return errNotFound
	}
	if q.p, err = wire.WriteParameters(q.w, q.r, wire.MaxBodyBytes); err != nil {
		return err
	}
	channelID, grant, err := f.writer(q, 0)
	if err != nil {
		return err
	}
	e, err := parseEntry(q.p, f.Now())
	if err != nil {
		return err
	}
	var talkBack int64
	var talk access.Grant
	if q.p["talkback_key"] != "" { // decided before anything is stored
		if talkBack, talk, err = f.talkBackOf(q, q.p["talkback_key"]); err != nil {
			return err
		}
	}
	c, err := f.Store.Channel(q.r.Context(), channelID)
	if err != nil {
		return err
	}
	if e, err = f.accept(q.r.Context(), grant, channelID, e); err != nil {
		return err
	}
	tellUnnamed(q.w, c, e)
	if talkBack != 0 {
		return f.next(q, talkBack, talk)
	}
	if q.ext == "" {
		write(q.w, http.StatusOK, mediaText, strconv.AppendInt(nil, e.ID, 10))
		return nil
	}
	return f.send(q, wire.Ask{}, wire.Feed{Shape: wire.WrittenShape(channelID), Entries: []channel.Entry{e}}.Encode(q.ext))
}

// accept takes in one entry that has been decided, however it came, and tells who listens.
func (f *face) accept(ctx context.Context, g access.Grant, channelID int64, e channel.Entry) (channel.Entry, error) {
	if !f.pace.take(channelID, false, f.Limits.UpdateEvery, f.Now()) {
		return e, errTooOften
	}
	if err := f.Access.SpendWrites(g, 1); err != nil {
		f.pace.undo(channelID, false)
		return e, err
	}
	e, err := f.submit(ctx, g, channelID, e)
	if err != nil {
		f.pace.undo(channelID, false)
		return e, f.full(g, err)
	}
	f.broker.updated(channelID, e, time.Time{})
	return e, nil
}

// full counts what the store's quota refused, for administrators to see.
func (f *face) full(g access.Grant, err error) error {
	if errors.Is(err, channel.ErrQuota) {
		f.Access.NoteRefused("entries and bytes stored by a person", g.Holder())
	}
	return err
}

// submit hands one entry on. One with a time of its own has to have it alone, as ThingSpeak wants it.
func (f *face) submit(ctx context.Context, g access.Grant, channelID int64, e channel.Entry) (channel.Entry, error) {
	if e.Created.IsZero() || f.SubmitAll == nil {
		return f.Submit(ctx, g, channelID, e)
	}
	list, err := f.SubmitAll(ctx, g, channelID, []channel.Entry{e})
	if err != nil {
		return e, err
	}
	return list[0], nil
}

// writer has the write decided before the values are looked at: a client that tries with a key is in the audit log. channel 0 is
// the key's own.
func (f *face) writer(q *request, channelID int64) (int64, access.Grant, error) {
	key := q.p["write_api_key"]
	if found := wire.KeyOf(q.r, q.p); key == "" || wire.HeaderKey(q.r) != "" {
		key = found
	}
	subject, k, err := f.SignIn.AuthenticateKey(q.r.Context(), key, f.Workstation(q.r))
	if err != nil {
		return 0, access.Grant{}, err
	}
	if channelID == 0 {
		channelID = k.Channel
	}
	grant, err := f.Access.Decide(q.r.Context(), subject, access.WriteChannel, access.OnChannel(channelID))
	return channelID, grant, err
}

// parseEntry reads field1..8 (or 1..8), status, place and created_at. A field or a status must be there. Without created_at
// the entry has no time yet: it gets the one at which it is stored.
func parseEntry(p wire.Parameters, now time.Time) (channel.Entry, error) {
	e := channel.Entry{}
	total := 0
	take := func(name, v string) error {
		total += len(v)
		switch {
		case len(v) > wire.MaxFieldBytes, total > wire.MaxMessage:
			return wire.ErrTooLarge
		case !utf8.ValidString(v):
			return wire.Bad(name + " is not UTF-8.")
		}
		return nil
	}
	given := false
	for i := range e.Fields {
		name := wire.FieldNames[i]
		v, ok := p[name]
		if !ok {
			v, ok = p[strconv.Itoa(i+1)]
		}
		if !ok {
			continue
		}
		if err := take(name, v); err != nil {
			return e, err
		}
		e.Fields[i], given = &v, true
	}
	for _, t := range []struct {
		to    *string
		names []string
		limit float64 // of a number; 0 for any text
	}{
		{&e.Status, []string{"status"}, 0},
		{&e.Latitude, []string{"latitude", "lat"}, 90},
		{&e.Longitude, []string{"longitude", "long"}, 180},
		{&e.Elevation, []string{"elevation"}, 1e7},
	} {
		*t.to = p.First(t.names...)
		if t.limit == 0 { // a text in another encoding costs the numbers nothing
			*t.to = strings.ToValidUTF8(*t.to, "\uFFFD")
		}
		if err := take(t.names[0], *t.to); err != nil {
			return e, err
		}
		if err := inRange(t.names[0], *t.to, t.limit); err != nil {
			return e, err
		}
	}
	if s := p["created_at"]; s != "" {
		loc, err := p.Location()
		if err != nil {
			return e, err
		}
		if e.Created, err = wire.ParseTime("created_at", s, loc); err != nil {
			return e, err
		}
		if e.Created.After(now.Add(maxAhead)) {
			return e, wire.Bad("created_at is in the future.")
		}
	}
	if !given && e.Status == "" {
		return e, wire.Bad("No field1 to field8 and no status: nothing to store.")
	}
	return e, nil
}

// inRange checks a number that is given; limit 0 is for any text.
func inRange(name, s string, limit float64) error {
	if limit == 0 || s == "" {
		return nil
	}
	if v, err := strconv.ParseFloat(s, 64); err != nil || math.IsNaN(v) || math.Abs(v) > limit {
		return wire.Bad(name + " is not a number in its range.")
	}
	return nil
}

// tellUnnamed says which values of a write are stored and yet in no feed.
func tellUnnamed(w http.ResponseWriter, c channel.Channel, entries ...channel.Entry) {
	if fields := wire.UnnamedFields(c, entries...); len(fields) > 0 {
		told(w, "the channel has no "+strings.Join(fields, ", ")+": stored, but in no feed until the channel's settings name it")
	}
}
