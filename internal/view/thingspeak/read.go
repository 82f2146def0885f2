package thingspeak

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"vitalseal/internal/access"
	"vitalseal/internal/store"
	"vitalseal/internal/vitals"
)

// bundlesPerSecond is how many bundles a patient's sensors may deliver in one second: two of each model, generously.
const bundlesPerSecond = 6

// query is what a read asks for.
type query struct {
	from, to time.Time
	results  int
	field    int // 0 for all
}

// parseQuery reads results, days, minutes, start and end. Without any of them: the last 24 hours, at most 100.
func parseQuery(r *http.Request, now time.Time) (query, error) {
	v := r.URL.Query()
	q := query{from: now.Add(-24 * time.Hour), to: now, results: DefaultResults}
	number := func(name string, most int) (int, bool, error) {
		s := v.Get(name)
		if s == "" {
			return 0, false, nil
		}
		n, err := strconv.Atoi(s)
		if err != nil || n < 0 {
			return 0, false, &badRequest{fmt.Sprintf("%s: %.20q is not a whole number.", name, s)}
		}
		return min(n, most), true, nil
	}
	// A span alone asks for all that is in it.
	days, given, err := number("days", 366)
	if err != nil {
		return q, err
	}
	if given {
		q.from, q.results = now.AddDate(0, 0, -days), MaxResults
	}
	minutes, given, err := number("minutes", 1440)
	if err != nil {
		return q, err
	}
	if given {
		q.from, q.results = now.Add(-time.Duration(minutes)*time.Minute), MaxResults
	}
	for name, at := range map[string]*time.Time{"start": &q.from, "end": &q.to} {
		if s := v.Get(name); s != "" {
			if *at, err = parseTime(s); err != nil {
				return q, err
			}
			q.results = MaxResults
		}
	}
	results, given, err := number("results", MaxResults)
	if err != nil {
		return q, err
	}
	if given {
		if q.results = results; v.Get("days") == "" && v.Get("minutes") == "" && v.Get("start") == "" {
			q.from = now.AddDate(-1, 0, 0) // the newest, however old
		}
	}
	if q.from.After(q.to) {
		return q, &badRequest{"start is after end."}
	}
	return q, nil
}

// open authenticates the key, finds the channel and has the read decided. Without a valid key nothing is said about
// whether the channel exists.
func (f *face) open(r *http.Request) (store.Channel, access.Grant, error) {
	k := key(r)
	if k == "" {
		return store.Channel{}, access.Grant{}, errBadKey
	}
	subject, _, err := f.Access.AuthenticateKey(r.Context(), k, f.Workstation(r))
	if err != nil {
		return store.Channel{}, access.Grant{}, err
	}
	id, err := strconv.ParseInt(r.PathValue("id"), 10, 64)
	if err != nil || id <= 0 {
		return store.Channel{}, access.Grant{}, errNotFound
	}
	grant, err := f.Access.Decide(r.Context(), subject, access.ViewChannel, access.OnChannel(id))
	if err != nil {
		return store.Channel{}, access.Grant{}, err
	}
	c, err := f.Store.Channel(r.Context(), id)
	if err != nil {
		return store.Channel{}, access.Grant{}, err
	}
	if c.Patient != "" { // its values are the patient's: the store wants a grant for those
		grant, err = f.Access.Decide(r.Context(), subject, access.ViewPatient, access.OnPatient(c.Patient))
	}
	return c, grant, err
}

// entries are a channel's, ascending, at most q.results, the newest of those in the span.
func (f *face) entries(ctx context.Context, g access.Grant, c store.Channel, q query) ([]store.Entry, error) {
	if q.results == 0 {
		return nil, nil
	}
	if c.Patient == "" {
		return f.Store.Entries(ctx, g, c.ID, q.from, q.to, q.results)
	}
	bundles, err := f.Store.Numerics(ctx, g, c.Patient, q.from, q.to, q.results*bundlesPerSecond)
	if err != nil {
		return nil, err
	}
	list := merge(c, bundles)
	if q.field != 0 {
		list = slices.DeleteFunc(list, func(e store.Entry) bool { return e.Fields[q.field-1] == nil })
	}
	return list[max(0, len(list)-q.results):], nil
}

// merge makes one entry a second of what a patient's sensors said in it. What has no value stays null: a hole is a hole.
func merge(c store.Channel, bundles []vitals.Bundle) []store.Entry {
	var list []store.Entry
	for _, b := range bundles {
		at := b.At.UTC().Truncate(time.Second)
		id := at.Unix() - c.Created.Unix() + 1
		if id < 1 {
			continue // before the channel was made
		}
		if len(list) == 0 || list[len(list)-1].ID != id {
			list = append(list, store.Entry{ID: id, Created: at})
		}
		e := &list[len(list)-1]
		for _, n := range b.Numerics {
			// ThingSpeak has no place for "questionable": only what meets its accuracy is a number here.
			if i := fieldOf(n.Kind); i != 0 && n.Quality == vitals.Good {
				s := strconv.FormatFloat(n.Value, 'f', decimals(n.Kind), 64)
				e.Fields[i-1] = &s
			}
		}
	}
	return slices.DeleteFunc(list, func(e store.Entry) bool { return e.Fields == [8]*string{} })
}

// decimals is as many as the sensors are worth.
func decimals(k vitals.Kind) int {
	if k == vitals.CuffPressure {
		return 2
	}
	return 1
}

func (f *face) feeds(w http.ResponseWriter, r *http.Request) { f.answer(w, r, 0) }

func (f *face) field(w http.ResponseWriter, r *http.Request) {
	name, ok := strings.CutSuffix(r.PathValue("field"), ".json")
	n, err := strconv.Atoi(name)
	if !ok || err != nil || n < 1 || n > 8 {
		f.fail(w, errNotFound)
		return
	}
	f.answer(w, r, n)
}

func (f *face) answer(w http.ResponseWriter, r *http.Request, field int) {
	q, err := parseQuery(r, f.Now())
	if err != nil {
		f.fail(w, err)
		return
	}
	q.field = field
	c, grant, err := f.open(r)
	if err != nil {
		f.fail(w, err)
		return
	}
	list, err := f.entries(r.Context(), grant, c, q)
	if err != nil {
		f.fail(w, err)
		return
	}
	wanted := wantedFields(field)
	feeds := make([]map[string]any, 0, len(list))
	for _, e := range list {
		feeds = append(feeds, f.feedJSON(c, e, wanted))
	}
	last, err := f.entries(r.Context(), grant, c, query{from: f.Now().AddDate(-1, 0, 0), to: f.Now(), results: 1})
	if err != nil {
		f.fail(w, err)
		return
	}
	writeJSON(w, http.StatusOK, map[string]any{"channel": channelJSON(c, last, wanted), "feeds": feeds})
}

// last answers with the newest entry alone, for the channel or for one field.
func (f *face) last(w http.ResponseWriter, r *http.Request) {
	q := query{from: f.Now().AddDate(-1, 0, 0), to: f.Now(), results: 1}
	if name := r.PathValue("field"); name != "" {
		n, err := strconv.Atoi(name)
		if err != nil || n < 1 || n > 8 {
			f.fail(w, errNotFound)
			return
		}
		q.field = n
	}
	c, grant, err := f.open(r)
	if err != nil {
		f.fail(w, err)
		return
	}
	if q.field != 0 {
		q.results = DefaultResults // the newest entry may not have this field
	}
	list, err := f.entries(r.Context(), grant, c, q)
	if err != nil {
		f.fail(w, err)
		return
	}
	if len(list) == 0 {
		f.fail(w, errNotFound)
		return
	}
	writeJSON(w, http.StatusOK, f.feedJSON(c, list[len(list)-1], wantedFields(q.field)))
}

func wantedFields(field int) []int {
	if field != 0 {
		return []int{field}
	}
	return []int{1, 2, 3, 4, 5, 6, 7, 8}
}

// channelJSON describes the channel as ThingSpeak does; fields without a name are left out.
func channelJSON(c store.Channel, last []store.Entry, wanted []int) map[string]any {
	m := map[string]any{"id": c.ID, "name": c.Name, "description": c.Description,
		"created_at": timestamp(c.Created), "updated_at": timestamp(c.Created), "last_entry_id": nil}
	if len(last) > 0 {
		m["last_entry_id"], m["updated_at"] = last[len(last)-1].ID, timestamp(last[len(last)-1].Created)
	}
	for _, i := range wanted {
		if name := fieldName(c, i); name != "" {
			m["field"+strconv.Itoa(i)] = name
		}
	}
	return m
}

func fieldName(c store.Channel, i int) string {
	if c.Patient != "" {
		return PatientFields()[i-1]
	}
	return c.Fields[i-1]
}

// feedJSON is one entry of a read: the channel's named fields, values as JSON strings, absent ones null.
func (f *face) feedJSON(c store.Channel, e store.Entry, wanted []int) map[string]any {
	m := map[string]any{"created_at": timestamp(e.Created), "entry_id": e.ID}
	for _, i := range wanted {
		if fieldName(c, i) != "" || e.Fields[i-1] != nil {
			m["field"+strconv.Itoa(i)] = e.Fields[i-1]
		}
	}
	return m
}

// entryJSON is the answer to a write: every field, absent ones null.
func (f *face) entryJSON(e store.Entry, channel *int64) map[string]any {
	m := map[string]any{"created_at": timestamp(e.Created), "entry_id": e.ID, "status": nil,
		"latitude": nil, "longitude": nil, "elevation": nil}
	if channel != nil {
		m["channel_id"] = *channel
	}
	if e.Status != "" {
		m["status"] = e.Status
	}
	for i, v := range e.Fields {
		m["field"+strconv.Itoa(i+1)] = v
	}
	return m
}
