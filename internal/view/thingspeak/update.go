package thingspeak

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"vitalseal/internal/access"
	"vitalseal/internal/store"
)

// update takes one entry for the channel that the write key belongs to. ThingSpeak answers with the entry's id as text,
// or 0 for a refusal; update.json answers with the entry, or with an error object.
func (f *face) update(w http.ResponseWriter, r *http.Request) {
	asJSON := strings.HasSuffix(r.URL.Path, ".json")
	e, err := f.takeUpdate(w, r)
	switch {
	case err == nil && asJSON:
		writeJSON(w, http.StatusOK, f.entryJSON(e, nil))
	case err == nil:
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		_, _ = fmt.Fprint(w, e.ID)
	case asJSON:
		f.fail(w, err)
	default:
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		status := http.StatusBadRequest
		if !refusal(err) {
			status = http.StatusInternalServerError
			f.Log.Error("thingspeak update failed", "err", err)
		}
		w.WriteHeader(status)
		_, _ = io.WriteString(w, "0")
	}
}

// refusal tells the client's mistakes from ours.
func refusal(err error) bool {
	var bad *badRequest
	var maxBytes *http.MaxBytesError
	return errors.As(err, &bad) || errors.As(err, &maxBytes) || errors.Is(err, errBadKey) || errors.Is(err, errTooLarge) ||
		errors.Is(err, errMethod) || errors.Is(err, access.ErrNoSession) || errors.Is(err, access.ErrDenied) || errors.Is(err, access.ErrNotFound)
}

func (f *face) takeUpdate(w http.ResponseWriter, r *http.Request) (store.Entry, error) {
	if r.Method != http.MethodGet && r.Method != http.MethodPost {
		return store.Entry{}, errMethod
	}
	r.Body = http.MaxBytesReader(w, r.Body, maxBodyBytes)
	values, err := parameters(r)
	if err != nil {
		return store.Entry{}, err
	}
	k := key(r)
	if k == "" {
		k = values["api_key"]
	}
	if k == "" {
		return store.Entry{}, errBadKey
	}
	subject, apiKey, err := f.Access.AuthenticateKey(r.Context(), k, f.Workstation(r))
	if err != nil {
		return store.Entry{}, err
	}
	grant, err := f.Access.Decide(r.Context(), subject, access.WriteChannel, access.OnChannel(apiKey.Channel))
	if err != nil {
		return store.Entry{}, err
	}
	e, err := parseEntry(values, f.Now())
	if err != nil {
		return store.Entry{}, err
	}
	return f.Submit(r.Context(), grant, apiKey.Channel, e)
}

// parameters flattens query, form or JSON body into name -> value. JSON numbers keep their spelling.
func parameters(r *http.Request) (map[string]string, error) {
	values := map[string]string{}
	if kind, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type")); kind == "application/json" && r.Method == http.MethodPost {
		d := json.NewDecoder(r.Body)
		d.UseNumber()
		var body map[string]any
		if err := d.Decode(&body); err != nil {
			var maxBytes *http.MaxBytesError
			if errors.As(err, &maxBytes) {
				return nil, err
			}
			return nil, &badRequest{"The body is not a JSON object."}
		}
		for name, v := range body {
			switch v := v.(type) {
			case string:
				values[name] = v
			case json.Number:
				values[name] = v.String()
			case bool:
				values[name] = strconv.FormatBool(v)
			case nil:
			default:
				return nil, &badRequest{fmt.Sprintf("%.40q is neither text nor number.", name)}
			}
		}
	}
	if err := r.ParseForm(); err != nil {
		var maxBytes *http.MaxBytesError
		if errors.As(err, &maxBytes) {
			return nil, err
		}
		return nil, &badRequest{"The parameters are not well-formed."}
	}
	for name := range r.Form {
		if _, ok := values[name]; !ok {
			values[name] = r.Form.Get(name)
		}
	}
	return values, nil
}

// parseEntry reads field1..8 (or 1..8), status and created_at. At least one field or a status must be there.
func parseEntry(values map[string]string, now time.Time) (store.Entry, error) {
	e := store.Entry{Created: now.UTC().Truncate(time.Second)}
	given := false
	for i := range e.Fields {
		v, ok := values[fmt.Sprintf("field%d", i+1)]
		if !ok {
			v, ok = values[strconv.Itoa(i+1)]
		}
		if !ok {
			continue
		}
		if len(v) > maxFieldBytes {
			return e, fmt.Errorf("%w: field%d has %d bytes, at most %d", errTooLarge, i+1, len(v), maxFieldBytes)
		}
		if !utf8.ValidString(v) {
			return e, &badRequest{fmt.Sprintf("field%d is not UTF-8.", i+1)}
		}
		e.Fields[i], given = &v, true
	}
	if s, ok := values["status"]; ok {
		if len(s) > maxFieldBytes {
			return e, fmt.Errorf("%w: status has %d bytes, at most %d", errTooLarge, len(s), maxFieldBytes)
		}
		if !utf8.ValidString(s) {
			return e, &badRequest{"status is not UTF-8."}
		}
		e.Status, given = s, true
	}
	if s := values["created_at"]; s != "" {
		t, err := parseTime(s)
		if err != nil {
			return e, err
		}
		if t.After(now.Add(5 * time.Minute)) {
			return e, &badRequest{"created_at is in the future."}
		}
		e.Created = t
	}
	if !given {
		return e, &badRequest{"No field1 to field8 and no status: nothing to store."}
	}
	return e, nil
}

// parseTime accepts ThingSpeak's two spellings and RFC 3339; a time without a zone is UTC.
func parseTime(s string) (time.Time, error) {
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02 15:04:05", "2006-01-02T15:04:05", "2006-01-02"} {
		if t, err := time.Parse(layout, s); err == nil {
			return t.UTC(), nil
		}
	}
	return time.Time{}, &badRequest{fmt.Sprintf("%.40q is not a time such as 2026-01-31T08:15:00Z.", s)}
}
