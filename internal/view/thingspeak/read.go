package thingspeak

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"time"

	"vitalseal/internal/hub/access"
	"vitalseal/internal/hub/channel"
	"vitalseal/internal/measurement/vitals"
	"vitalseal/internal/view/thingspeak/wire"
)

// reading is a read that has been decided.
type reading struct {
	wire.Ask
	channel channel.Channel
	grant   access.Grant
	subject access.Subject
	field   int // 0: all
}

// open reads the request's parameters, authenticates its key and has the read decided.
func (f *face) open(q *request) (rd reading, err error) {
	id, err := number(q.path["id"])
	if err != nil {
		return rd, err
	}
	if rd.field, err = q.field(); err != nil {
		return rd, err
	}
	if q.p, err = wire.QueryOf(q.r); err != nil {
		return rd, err
	}
	if rd.Ask, err = wire.ParseAsk(q.p, f.Now()); err != nil {
		return rd, err
	}
	if rd.channel, rd.grant, rd.subject, err = f.decideRead(q, id); err != nil {
		return rd, err
	}
	switch {
	case rd.channel.Patient == "":
		shared(q.w.Header())
	case rd.Callback != "":
		return rd, wire.Bad("callback is not for a patient's channel: no other site's page may read it.")
	}
	return rd, nil
}

// decideRead has a read of a channel decided: in the name of the key's owner, or for no person if the channel is
// public and the key is not for it. Without a valid key nothing is said about whether a private channel exists, and with one
// no more than that it may not be read.
func (f *face) decideRead(q *request, id int64) (c channel.Channel, g access.Grant, subject access.Subject, err error) {
	ctx := q.r.Context()
	ref, err := f.Store.ChannelRef(ctx, id)
	if err != nil && !isNotFound(err) {
		return c, g, subject, fmt.Errorf("%w: %w", access.ErrUndecided, err)
	}
	subject, key, err := access.Subject{}, access.APIKey{}, error(access.ErrNoSession)
	if text := wire.KeyOf(q.r, q.p); text != "" || !ref.Public {
		subject, key, err = f.SignIn.AuthenticateKey(ctx, text, f.Workstation(q.r))
	}
	if ref.Public && ref.Patient == "" && (err != nil || key.Write || key.Channel != id && !key.Account()) {
		subject, err = access.Subject{Workstation: f.Workstation(q.r), Anonymous: true}, nil
	}
	if err != nil {
		return c, g, subject, err
	}
	if g, err = f.Access.Decide(ctx, subject, access.ViewChannel, access.OnChannel(id)); err != nil {
		if key.Write { // the key's holder may know which kind it is
			told(q.w, "this is a write key, which cannot read: a read key of the channel or an account key is wanted")
		}
		return c, g, subject, err
	}
	if c, err = f.Store.Channel(ctx, id); err != nil {
		return c, g, subject, err
	}
	if c.Patient != "" { // its values are the patient's: the store wants a grant for those
		g, err = f.Access.Decide(ctx, subject, access.ViewPatient, access.OnPatient(c.Patient))
	}
	return c, g, subject, err
}

// list are the entries that a reading asks for, summed up and adjusted.
func (f *face) list(q *request, rd *reading) ([]channel.Entry, error) {
	most := rd.Results
	if rd.Bucket != "" { // results counts buckets then
		if most = MaxResults; rd.channel.Patient != "" {
			most = maxBundles
		}
	}
	var list []channel.Entry
	var err error
	if rd.Low != 0 || rd.High != 0 {
		list, err = f.listByID(q, rd, most)
	} else {
		list, err = f.entries(q.r.Context(), rd.grant, rd.channel, rd.From, rd.To, most, nil)
	}
	if err != nil {
		return nil, err
	}
	if rd.Bucket == "" {
		rd.Adjust(list)
		return list, nil
	}
	mark := "" // a free channel's status is a text of its users, which says nothing about a bucket
	if rd.channel.Patient != "" {
		mark = NotConfirmed
	}
	list = rd.Summed(list, mark)
	if rd.Given {
		list = list[max(0, len(list)-rd.Results):]
	}
	return list, nil
}

// listByID are the entries between two ids, and within the span if one was given.
func (f *face) listByID(q *request, rd *reading, most int) ([]channel.Entry, error) {
	high := rd.High
	if high == 0 {
		high = 1<<63 - 1
	}
	timed := slices.ContainsFunc([]string{"days", "minutes", "start", "end"}, func(name string) bool { return q.p[name] != "" })
	if !rd.Given && rd.Bucket == "" {
		most = MaxResults
	}
	limit := most
	if timed {
		limit = MaxResults
	}
	list, err := f.between(q.r.Context(), rd.grant, rd.channel, rd.Low, high, limit)
	if timed {
		list = slices.DeleteFunc(list, func(e channel.Entry) bool { return e.Created.Before(rd.From) || !e.Created.Before(rd.To) })
	}
	return list[max(0, len(list)-most):], err
}

// feeds answers with a channel's entries, or one field of them.
func (f *face) feeds(q *request) error {
	rd, err := f.open(q)
	if err != nil {
		return err
	}
	list, err := f.list(q, &rd)
	if err != nil {
		return err
	}
	return f.answerFeed(q, rd, list, shapeOf(rd, list))
}

// shapeOf is what an answer shows of its entries. Whose a patient's values are belongs to them: a status that says NotConfirmed is
// shown whether it was asked for or not.
func shapeOf(rd reading, list []channel.Entry) wire.Shape {
	s := wire.ShapeOf(rd.channel, rd.Ask, rd.field)
	s.Status = s.Status || marked(rd, list)
	return s
}

// marked reports whether a value of a patient's entries may be another patient's.
func marked(rd reading, list []channel.Entry) bool {
	return rd.channel.Patient != "" && slices.ContainsFunc(list, func(e channel.Entry) bool { return e.Status == NotConfirmed })
}

func (f *face) answerFeed(q *request, rd reading, list []channel.Entry, form wire.Shape) error {
	c := rd.channel
	last := c.LastEntryID
	if c.Patient != "" && q.ext != "csv" {
		newest := list
		if !rd.Newest || len(list) == 0 || form.NoID || rd.High != 0 { // one entry is a short look; usually the list has it already
			var err error
			if newest, err = f.newest(q, &rd, nil); err != nil {
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
	return f.send(q, rd.Ask, wire.Feed{Shape: form, Channel: &c, Last: last, Entries: list}.Encode(q.ext))
}

func (f *face) newest(q *request, rd *reading, keep func(channel.Entry) bool) ([]channel.Entry, error) {
	return f.entries(q.r.Context(), rd.grant, rd.channel, time.Unix(0, 0), f.Now().Add(maxAhead), 1, keep)
}

// send writes an encoded answer, with what the client wants around it: callback around JSON, prepend and append around text.
func (f *face) send(q *request, a wire.Ask, b []byte) error {
	media := mediaJSON // text is JSON as well, unless it is one value
	switch q.ext {
	case "xml":
		media = mediaXML
	case "csv":
		media = mediaCSV
	case "txt", "":
		if a.Prepend != "" || a.Append != "" {
			media = mediaText
			b = slices.Concat([]byte(a.Prepend), b, []byte(a.Append))
		}
	}
	if a.Callback != "" && media == mediaJSON && q.ext != "txt" {
		media = mediaScript
		b = slices.Concat([]byte("/**/"+a.Callback+"("), b, []byte(")")) // the comment: so that it can be nothing else than a script
	}
	write(q.w, http.StatusOK, media, b)
	return nil
}

// value answers with one value alone, as text clients want it.
func (f *face) value(q *request, a wire.Ask, v string) error {
	write(q.w, http.StatusOK, mediaText, []byte(a.Prepend+v+a.Append))
	return nil
}

// plainText reports whether the client asked for no format with a structure.
func (q *request) plainText() bool { return q.ext == "" || q.ext == "txt" }

// last answers with the newest entry alone. Of one field of a free channel, as ThingSpeak has it, the newest that is not null: its
// created_at says how old that is. Of a patient's it is what the sensor said last, a number only while that may still be the present.
// As text, a field is its value alone, and all of an entry is JSON.
func (f *face) last(q *request) error {
	rd, err := f.open(q)
	if err != nil {
		return err
	}
	if rd.channel.Patient != "" && rd.field != 0 {
		return f.lastOfPatient(q, rd)
	}
	e, err := f.lastEntry(q, &rd)
	if err != nil {
		return err
	}
	if rd.channel.Patient != "" {
		all := false
		if e, all = settle(e, f.Now()); !all {
			f.tellAge(q.w, e.Created)
		}
	}
	return f.one(q, rd, e)
}

// lastEntry is the newest entry, or the newest where the field that the path names has a value.
func (f *face) lastEntry(q *request, rd *reading) (e channel.Entry, err error) {
	var keep func(channel.Entry) bool
	if rd.field != 0 {
		keep = func(e channel.Entry) bool { return e.Fields[rd.field-1] != nil }
	}
	list, err := f.newest(q, rd, keep)
	if err == nil && len(list) == 0 {
		err = errNotFound
	}
	if err != nil {
		return e, err
	}
	return list[0], nil
}

func (f *face) one(q *request, rd reading, e channel.Entry) error {
	list := []channel.Entry{e}
	rd.Adjust(list)
	if v := list[0].Fields[max(0, rd.field-1)]; rd.field != 0 && q.plainText() {
		if v != nil && marked(rd, list) {
			told(q.w, bareNotConfirmed)
			return errNotFound
		}
		if v == nil {
			return errNotFound
		}
		return f.value(q, rd.Ask, *v)
	}
	rd.Bucket = "" // an entry as such has its id
	return f.send(q, rd.Ask, wire.Feed{Shape: shapeOf(rd, list), Entries: list}.Encode(q.ext))
}

// entry answers with the entry of an id.
func (f *face) entry(q *request) error {
	id, err := number(q.path["entry"])
	if err != nil {
		return err
	}
	rd, err := f.open(q)
	if err != nil {
		return err
	}
	e, err := f.entryAt(q.r.Context(), rd.grant, rd.channel, id)
	if err != nil {
		return err
	}
	return f.one(q, rd, e)
}

// age answers with how many seconds ago the newest entry was made; of a field, the newest that is not null.
func (f *face) age(q *request) error {
	rd, err := f.open(q)
	if err != nil {
		return err
	}
	e, err := f.lastEntry(q, &rd)
	if err != nil {
		return err
	}
	seconds := strconv.FormatInt(int64(max(0, f.Now().Sub(e.Created))/time.Second), 10)
	switch q.ext {
	case "", "txt":
		return f.value(q, rd.Ask, seconds)
	case "xml":
		return f.send(q, rd.Ask, []byte(wire.XMLHead+"<feed>\n  <last-data-age>"+seconds+"</last-data-age>\n  <last-data-age-units>s</last-data-age-units>\n</feed>\n"))
	case "csv":
		return f.send(q, rd.Ask, []byte("last_data_age,last_data_age_units\n"+seconds+",s\n"))
	}
	return f.send(q, rd.Ask, []byte(`{"last_data_age":"`+seconds+`","last_data_age_units":"s"}`))
}

// statuses answers with the entries that have a status, and nothing else of them.
func (f *face) statuses(q *request) error {
	rd, err := f.open(q)
	if err != nil {
		return err
	}
	rd.Bucket = ""
	list, err := f.entries(q.r.Context(), rd.grant, rd.channel, rd.From, rd.To, rd.Results, hasStatus)
	if err != nil {
		return err
	}
	return f.answerFeed(q, rd, list, wire.Shape{Status: true, Location: rd.Location, Metadata: rd.Metadata, Loc: rd.Loc})
}

func hasStatus(e channel.Entry) bool { return e.Status != "" }

// lastStatus answers with the newest status. A patient's is the newest entry's: as text it has no time, and one of an hour ago
// would stand for now.
func (f *face) lastStatus(q *request) error {
	rd, err := f.open(q)
	if err != nil {
		return err
	}
	keep := hasStatus
	if rd.channel.Patient != "" {
		keep = nil
	}
	list, err := f.newest(q, &rd, keep)
	if err != nil {
		return err
	}
	if len(list) == 0 || !hasStatus(list[0]) {
		return errNotFound
	}
	if q.plainText() {
		return f.value(q, rd.Ask, list[0].Status)
	}
	return f.send(q, rd.Ask, wire.Feed{Shape: wire.Shape{Status: true, Location: rd.Location, Loc: rd.Loc}, Entries: list}.Encode(q.ext))
}

// lastOf answers with the newest bucket: of an hour, unless the parameter of that name says another length.
func (f *face) lastOf(way string) func(*request) error {
	return func(q *request) error {
		rd, err := f.open(q)
		if err != nil {
			return err
		}
		length := q.p[way]
		if length == "" {
			length = "60"
		}
		rd.SetBucket(way, length)
		list, err := f.list(q, &rd)
		if err != nil {
			return err
		}
		if len(list) == 0 {
			return errNotFound
		}
		e := list[len(list)-1]
		if v := e.Fields[max(0, rd.field-1)]; rd.field != 0 && q.plainText() {
			if end := rd.Next(e.Created); rd.channel.Patient != "" && f.Now().Sub(end) > vitals.NoDataAfter {
				f.tellAge(q.w, end) // without its time the figure of a past hour would stand for this one
				return errNotFound
			}
			if v != nil && marked(rd, list[len(list)-1:]) {
				told(q.w, bareNotConfirmed)
				return errNotFound
			}
			if v == nil {
				return errNotFound
			}
			return f.value(q, rd.Ask, *v)
		}
		return f.send(q, rd.Ask, wire.Feed{Shape: shapeOf(rd, list[len(list)-1:]), Entries: []channel.Entry{e}}.Encode(q.ext))
	}
}
