package thingspeak

import (
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"vitalseal/internal/access"
	"vitalseal/internal/store"
)

// maxAhead is how far a sender's clock may be ahead of ours.
const maxAhead = 5 * time.Minute

// update takes one entry for the channel that the write key belongs to. ThingSpeak answers with the entry's id as text,
// or 0 for a refusal; update.json answers with the entry, or with an error object.
func (f *face) update(w http.ResponseWriter, r *http.Request) {
	channel, e, err := f.takeUpdate(w, r)
	switch {
	case strings.HasSuffix(r.URL.Path, ".json") && err != nil:
		f.fail(w, err)
	case strings.HasSuffix(r.URL.Path, ".json"):
		write(w, http.StatusOK, mediaJSON, appendWritten(nil, channel, e))
	case err != nil:
		f.failText(w, err)
	default:
		write(w, http.StatusOK, mediaText, strconv.AppendInt(nil, e.ID, 10))
	}
}

// takeUpdate has the write decided before it looks at the values: whoever tries with a key is in the audit log.
func (f *face) takeUpdate(w http.ResponseWriter, r *http.Request) (channel int64, e store.Entry, err error) {
	p, err := writeParameters(w, r)
	if err != nil {
		return 0, e, err
	}
	subject, key, err := f.Access.AuthenticateKey(r.Context(), keyOf(r, p), f.Workstation(r))
	if err != nil {
		return 0, e, err
	}
	grant, err := f.Access.Decide(r.Context(), subject, access.WriteChannel, access.OnChannel(key.Channel))
	if err != nil {
		return 0, e, err
	}
	if e, err = parseEntry(p, f.Now()); err != nil {
		return 0, e, err
	}
	e, err = f.Submit(r.Context(), grant, key.Channel, e)
	return key.Channel, e, err
}

// parseEntry reads field1..8 (or 1..8), status, place and created_at. A field or a status must be there.
func parseEntry(p parameters, now time.Time) (store.Entry, error) {
	e := store.Entry{Created: now.UTC().Truncate(time.Second)}
	total := 0
	take := func(name, v string) error {
		total += len(v)
		switch {
		case len(v) > maxFieldBytes, total > maxMessage:
			return errTooLarge
		case !utf8.ValidString(v):
			return &badRequest{name + " is not UTF-8."}
		}
		return nil
	}
	given := false
	for i := range e.Fields {
		name := "field" + strconv.Itoa(i+1)
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
		*t.to = p.first(t.names...)
		if err := take(t.names[0], *t.to); err != nil {
			return e, err
		}
		if t.limit == 0 || *t.to == "" {
			continue
		}
		if v, err := strconv.ParseFloat(*t.to, 64); err != nil || math.IsNaN(v) || math.Abs(v) > t.limit {
			return e, &badRequest{t.names[0] + " is not a number in its range."}
		}
	}
	if s := p["created_at"]; s != "" {
		t, err := parseTime("created_at", s)
		if err != nil {
			return e, err
		}
		if err := p.utc(); err != nil {
			return e, err
		}
		if t.After(now.Add(maxAhead)) {
			return e, &badRequest{"created_at is in the future."}
		}
		e.Created = t
	}
	if !given && e.Status == "" {
		return e, &badRequest{"No field1 to field8 and no status: nothing to store."}
	}
	return e, nil
}
