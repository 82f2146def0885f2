package thingspeak

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"time"

	"vitalseal/internal/hub/channel"
	"vitalseal/internal/shared/form"
	"vitalseal/internal/view/thingspeak/wire"
)

// maxBulkBytes bounds the body of a bulk update. It is what the hub takes for any request, and about 14,400 short messages.
const maxBulkBytes = 1 << 20

// bulk takes in many entries at once, all or none: as JSON, each with a created_at or a delta_t, or as ThingSpeak's CSV.
func (f *face) bulk(q *request) error {
	id, err := number(q.path["id"])
	if err != nil {
		return err
	}
	var updates []json.RawMessage
	switch q.ext {
	case "json":
		updates, err = f.bulkBody(q)
	case "csv":
		q.p, err = wire.WriteParameters(q.w, q.r, maxBulkBytes)
	default:
		return errNotFound
	}
	if err != nil {
		return err
	}
	channelID, grant, err := f.writer(q, id)
	if err != nil {
		return err
	}
	now := f.Now()
	var entries []channel.Entry
	if q.ext == "csv" {
		entries, err = parseBulkCSV(q.p, f.Limits.BulkMessages, now)
	} else {
		entries, err = parseBulk(updates, f.Limits.BulkMessages, now)
	}
	if err != nil {
		return err
	}
	if f.SubmitAll == nil {
		return errNotFound
	}
	shared(q.w.Header()) // decided: a free channel
	if !f.pace.take(channelID, true, f.Limits.BulkEvery, now) {
		return errTooOften
	}
	if err := f.Access.SpendWrites(grant, len(entries)); err != nil {
		f.pace.undo(channelID, true)
		return err
	}
	c, err := f.Store.Channel(q.r.Context(), channelID)
	if err != nil {
		f.pace.undo(channelID, true)
		return err
	}
	if _, err := f.SubmitAll(q.r.Context(), grant, channelID, entries); err != nil {
		f.pace.undo(channelID, true)
		return f.full(grant, err)
	}
	tellUnnamed(q.w, c, entries...)
	write(q.w, http.StatusAccepted, mediaJSON, []byte(`{"success":true}`))
	return nil
}

// bulkBody reads {"write_api_key": ..., "updates": [...]}; the messages stay as they are until the write has been decided.
func (f *face) bulkBody(q *request) ([]json.RawMessage, error) {
	var err error
	if q.p, err = wire.QueryOf(q.r); err != nil {
		return nil, err
	}
	if kind, _, err := mime.ParseMediaType(q.r.Header.Get("Content-Type")); q.r.Header.Get("Content-Type") != "" && (err != nil || kind != "application/json") {
		return nil, wire.Bad("The body must be application/json.")
	}
	b, err := wire.ReadBody(q.w, q.r, maxBulkBytes)
	if err != nil {
		return nil, err
	}
	var in struct {
		Key     string            `json:"write_api_key"`
		Updates []json.RawMessage `json:"updates"`
	}
	if twice := form.Twice(b); twice != "" {
		return nil, wire.Bad("The body is not clear: " + twice + ".")
	}
	d := json.NewDecoder(strings.NewReader(string(b)))
	if err := d.Decode(&in); err != nil {
		return nil, wire.Bad("The body is not a JSON object with write_api_key and updates.")
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, wire.Bad("The body has something after its JSON object.")
	}
	if in.Key != "" {
		q.p["write_api_key"] = in.Key
	}
	return in.Updates, nil
}

// times gives each entry its time: the one that it has, or, where messages say how many seconds after the one before they were
// taken, counted back from now, when the last one is sent.
type times struct {
	now      time.Time
	deltas   []time.Duration
	absolute int
}

func parseBulk(updates []json.RawMessage, most int, now time.Time) ([]channel.Entry, error) {
	if err := countBulk(len(updates), most); err != nil {
		return nil, err
	}
	entries, at := make([]channel.Entry, len(updates)), times{now: now}
	for i, u := range updates {
		p, err := wire.ParseJSON(u)
		if err == nil {
			entries[i], err = at.entry(p)
		}
		if err != nil {
			return nil, numbered(i, err)
		}
	}
	return entries, at.settle(entries)
}

// csvColumns are the places of a message of bulk_update.csv after its time.
var csvColumns = []string{"field1", "field2", "field3", "field4", "field5", "field6", "field7", "field8", "latitude", "longitude", "elevation", "status"}

func parseBulkCSV(p wire.Parameters, most int, now time.Time) ([]channel.Entry, error) {
	name := ""
	switch p["time_format"] {
	case "absolute":
		name = "created_at"
	case "relative":
		name = "delta_t"
	default:
		return nil, wire.Bad("time_format is neither absolute nor relative.")
	}
	text := strings.TrimSuffix(strings.TrimSpace(p["updates"]), "|")
	if text == "" {
		return nil, countBulk(0, most)
	}
	if err := countBulk(strings.Count(text, "|")+1, most); err != nil {
		return nil, err
	}
	messages := strings.Split(text, "|")
	entries, at := make([]channel.Entry, len(messages)), times{now: now}
	for i, m := range messages {
		values := strings.Split(m, ",")
		if len(values) > 1+len(csvColumns) {
			return nil, numbered(i, wire.Bad("more than 13 columns: time, field1 to field8, latitude, longitude, elevation, status."))
		}
		one := wire.Parameters{name: strings.TrimSpace(values[0]), "timezone": p["timezone"]}
		for j, v := range values[1:] {
			if v = form.Value(v); v != "" {
				one[csvColumns[j]] = v
			}
		}
		var err error
		if entries[i], err = at.entry(one); err != nil {
			return nil, numbered(i, err)
		}
	}
	return entries, at.settle(entries)
}

func countBulk(n, most int) error {
	switch {
	case n == 0:
		return wire.Bad("updates is empty or missing.")
	case n > most:
		return wire.Bad(fmt.Sprintf("updates has more than %d messages.", most))
	}
	return nil
}

// numbered says which message a mistake is in.
func numbered(i int, err error) error {
	if bad := (*wire.BadRequest)(nil); errors.As(err, &bad) {
		return wire.Bad(fmt.Sprintf("updates: message %d: %s", i+1, bad.Message))
	}
	return err
}

func (t *times) entry(p wire.Parameters) (channel.Entry, error) {
	delta, relative := p["delta_t"]
	switch {
	case relative && p["created_at"] != "", !relative && p["created_at"] == "":
		return channel.Entry{}, wire.Bad("it needs either created_at or delta_t.")
	case !relative:
		t.absolute++
		return parseEntry(p, t.now)
	}
	seconds, err := strconv.ParseFloat(delta, 64)
	if err != nil || !(seconds >= 0 && seconds <= 1e9) || math.Trunc(seconds) != seconds || seconds == 0 && len(t.deltas) > 0 {
		return channel.Entry{}, wire.Bad("delta_t is not a number of whole seconds, from 1 after the first message.")
	}
	t.deltas = append(t.deltas, time.Duration(seconds)*time.Second)
	return parseEntry(p, t.now)
}

// settle fills in the times of relative messages.
func (t *times) settle(entries []channel.Entry) error {
	if t.absolute > 0 && len(t.deltas) > 0 {
		return wire.Bad("updates has both created_at and delta_t.")
	}
	at := t.now.UTC().Truncate(time.Second)
	for i := len(t.deltas) - 1; i >= 0; i-- {
		if at.Year() < 1970 {
			return wire.Bad("delta_t leads to before 1970.")
		}
		entries[i].Created = at
		at = at.Add(-t.deltas[i])
	}
	seen := make(map[time.Time]bool, len(entries))
	for i, e := range entries {
		if seen[e.Created] {
			return numbered(i, wire.Bad("another message has the same time, which is unique in a channel."))
		}
		seen[e.Created] = true
	}
	return nil
}
