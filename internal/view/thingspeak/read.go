package thingspeak

import (
	"net/http"
	"slices"
	"strconv"
	"time"

	"vitalseal/internal/access"
	"vitalseal/internal/store"
)

// span is what a read asks for: the newest results entries in [from, to).
type span struct {
	from, to time.Time
	results  int
	newest   bool // nothing can be newer than to
}

// later are parameters that would change the values or form of the answer and that we do not know yet. To ignore one
// would answer another question than was asked.
var later = [...]string{"timescale", "sum", "average", "median", "min", "max", "round", "offset", "callback", "start_entry_id", "end_entry_id"}

// parseSpan reads results, days, minutes, start and end. Without any of them: the last 24 hours, at most 100. start and
// end are inclusive and meant to the second.
func parseSpan(p parameters, now time.Time) (span, error) {
	s := span{results: DefaultResults, newest: true}
	for _, name := range later {
		if v := p[name]; v != "" && (name != "offset" || v != "0") {
			return s, &badRequest{name + " is not supported here."}
		}
	}
	if err := p.utc(); err != nil {
		return s, err
	}
	// An entry is a whole second: a span that began within one would show half of it.
	second := now.UTC().Truncate(time.Second)
	s.to = second.Add(maxAhead) // a sensor's clock may be ahead
	anchor, bounded := second, false
	if v := p["end"]; v != "" {
		end, err := parseTime("end", v)
		if err != nil {
			return s, err
		}
		s.to, anchor, s.newest, s.results = end.Add(time.Second), end, false, MaxResults
	}
	s.from = anchor.Add(-24 * time.Hour)
	days, given, err := p.number("days", 36_500)
	if err != nil {
		return s, err
	}
	if given {
		s.from, bounded = anchor.AddDate(0, 0, -days), true
	}
	minutes, given, err := p.number("minutes", 1440)
	if err != nil {
		return s, err
	}
	if given {
		s.from, bounded = anchor.Add(-time.Duration(minutes)*time.Minute), true
	}
	if v := p["start"]; v != "" {
		if s.from, err = parseTime("start", v); err != nil {
			return s, err
		}
		bounded = true
	}
	if bounded { // a span alone asks for all that is in it
		s.results = MaxResults
	}
	results, given, err := p.number("results", MaxResults)
	if err != nil {
		return s, err
	}
	if given {
		if s.results = results; !bounded {
			s.from = time.Unix(0, 0) // the newest, however old
		}
	}
	if !s.from.Before(s.to) {
		return s, &badRequest{"start is after end."}
	}
	return s, nil
}

// open authenticates the key and has the read decided. Without a valid key nothing is said about whether the channel
// exists, and with one no more than that it may not be read.
func (f *face) open(r *http.Request, p parameters, channel string) (store.Channel, access.Grant, error) {
	subject, _, err := f.Access.AuthenticateKey(r.Context(), keyOf(r, p), f.Workstation(r))
	if err != nil {
		return store.Channel{}, access.Grant{}, err
	}
	id, err := strconv.ParseInt(channel, 10, 64)
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

// feeds answers with a channel's entries, or one field of them (0 for all).
func (f *face) feeds(w http.ResponseWriter, r *http.Request, channel string, field int) error {
	p, err := queryOf(r)
	if err != nil {
		return err
	}
	s, err := parseSpan(p, f.Now())
	if err != nil {
		return err
	}
	c, grant, err := f.open(r, p, channel)
	if err != nil {
		return err
	}
	if c.Patient == "" {
		shared(w.Header())
	}
	list, err := f.entries(r.Context(), grant, c, s.from, s.to, s.results, nil)
	if err != nil {
		return err
	}
	last := c.LastEntryID
	if c.Patient != "" {
		newest := list
		if !s.newest || len(list) == 0 { // one entry is a short look; usually the list has it already
			if newest, err = f.newest(r, grant, c, nil); err != nil {
				return err
			}
		}
		if len(newest) > 0 {
			last = newest[len(newest)-1].ID
		}
	}
	for _, e := range list { // written since the channel was read
		last = max(last, e.ID)
	}
	form := shapeOf(c, p, field)
	b := make([]byte, 0, 512+len(list)*(64+32*len(form.fields)))
	b = append(appendChannel(append(b, `{"channel":`...), c, form, last), `,"feeds":[`...)
	for i, e := range list {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendEntry(b, e, form)
	}
	write(w, http.StatusOK, mediaJSON, append(b, "]}"...))
	return nil
}

func (f *face) newest(r *http.Request, g access.Grant, c store.Channel, keep func(store.Entry) bool) ([]store.Entry, error) {
	return f.entries(r.Context(), g, c, time.Unix(0, 0), f.Now().Add(maxAhead), 1, keep)
}

// last answers with the newest entry alone. Of one field, as ThingSpeak has it, the newest that is not null: its
// created_at says how old that is.
func (f *face) last(w http.ResponseWriter, r *http.Request, channel string, field int) error {
	p, err := queryOf(r)
	if err != nil {
		return err
	}
	if _, err := parseSpan(p, f.Now()); err != nil {
		return err
	}
	c, grant, err := f.open(r, p, channel)
	if err != nil {
		return err
	}
	if c.Patient == "" {
		shared(w.Header())
	}
	var keep func(store.Entry) bool
	if field != 0 {
		keep = func(e store.Entry) bool { return e.Fields[field-1] != nil }
	}
	list, err := f.newest(r, grant, c, keep)
	if err != nil {
		return err
	}
	if len(list) == 0 {
		return errNotFound
	}
	write(w, http.StatusOK, mediaJSON, appendEntry(nil, list[0], shapeOf(c, p, field)))
	return nil
}

// fieldNumber is the field that a path names: 1 to 8.
func fieldNumber(s string) (int, error) {
	i := slices.Index([]string{"1", "2", "3", "4", "5", "6", "7", "8"}, s)
	if i < 0 {
		return 0, errNotFound
	}
	return i + 1, nil
}
