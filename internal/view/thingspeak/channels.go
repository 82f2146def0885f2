package thingspeak

import (
	"errors"
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"vitalseal/internal/hub/access"
	"vitalseal/internal/hub/channel"
	"vitalseal/internal/view/thingspeak/wire"
)

const perPage = 15

// channelObject is a channel as ThingSpeak describes it to those who list or manage it. Keys are shown once, when they are made.
type channelObject struct {
	ID          int64       `json:"id"`
	Name        string      `json:"name"`
	Description string      `json:"description"`
	Latitude    *string     `json:"latitude"`
	Longitude   *string     `json:"longitude"`
	Field1      string      `json:"field1,omitempty"`
	Field2      string      `json:"field2,omitempty"`
	Field3      string      `json:"field3,omitempty"`
	Field4      string      `json:"field4,omitempty"`
	Field5      string      `json:"field5,omitempty"`
	Field6      string      `json:"field6,omitempty"`
	Field7      string      `json:"field7,omitempty"`
	Field8      string      `json:"field8,omitempty"`
	Created     string      `json:"created_at"`
	Updated     string      `json:"updated_at"`
	Elevation   *string     `json:"elevation"`
	Last        *int64      `json:"last_entry_id"`
	Public      bool        `json:"public_flag"`
	URL         *string     `json:"url"`
	Ranking     int         `json:"ranking"`
	Metadata    string      `json:"metadata"`
	License     int         `json:"license_id"`
	GitHub      *string     `json:"github_url"`
	Username    string      `json:"username,omitempty"`
	Tags        []tag       `json:"tags"`
	Keys        []keyObject `json:"api_keys"`
}

type tag struct {
	ID   int    `json:"id"`
	Name string `json:"name"`
}

type keyObject struct {
	Key   string `json:"api_key"`
	Write bool   `json:"write_flag"`
}

func describe(c channel.Channel) channelObject {
	form := wire.WrittenShape(0)
	o := channelObject{ID: c.ID, Name: c.Name, Description: c.Description, Latitude: wire.OrNull(c.Latitude), Longitude: wire.OrNull(c.Longitude),
		Created: form.Stamp(c.Created), Updated: form.Stamp(c.Updated), Elevation: wire.OrNull(c.Elevation), Public: c.Public, URL: wire.OrNull(c.URL),
		Metadata: c.Metadata, Tags: []tag{}, Keys: []keyObject{}}
	for i, to := range []*string{&o.Field1, &o.Field2, &o.Field3, &o.Field4, &o.Field5, &o.Field6, &o.Field7, &o.Field8} {
		*to = wire.FieldName(c, i+1)
	}
	if c.LastEntryID != 0 {
		o.Last = &c.LastEntryID
	}
	for i, name := range tagsOf(c) {
		o.Tags = append(o.Tags, tag{i + 1, name})
	}
	return o
}

func tagsOf(c channel.Channel) (all []string) {
	for s := range strings.SplitSeq(c.Tags, ",") {
		if s = strings.TrimSpace(s); s != "" {
			all = append(all, s)
		}
	}
	return all
}

// ownChannels lists what the owner of an account key made; administrators' list has what the hospital's own tools made as well.
func (f *face) ownChannels(q *request) error {
	var err error
	if q.p, err = wire.QueryOf(q.r); err != nil {
		return err
	}
	s, err := f.account(q)
	if err != nil {
		return err
	}
	if _, err := f.Access.Decide(q.r.Context(), s, access.ListChannels, access.OnSystem()); err != nil {
		return err
	}
	all, err := f.Store.ChannelsOf(q.r.Context(), s.Person.ID)
	if err != nil {
		return err
	}
	if s.Person.Role == access.RoleAdmin {
		more, err := f.Store.ChannelsOf(q.r.Context(), "")
		if err != nil {
			return err
		}
		all = append(all, more...)
	}
	out := []channelObject{}
	for _, c := range all {
		out = append(out, describe(c))
	}
	return object(q, http.StatusOK, out)
}

// settings reads a channel's settings over c's; what is not given stays.
func settings(p wire.Parameters, c channel.Channel) (channel.Channel, error) {
	for name, to := range map[string]*string{"name": &c.Name, "description": &c.Description, "latitude": &c.Latitude, "longitude": &c.Longitude,
		"elevation": &c.Elevation, "metadata": &c.Metadata, "url": &c.URL, "tags": &c.Tags} {
		if v, ok := p[name]; ok {
			*to = v
		}
	}
	for i, name := range wire.FieldNames {
		if v, ok := p[name]; ok {
			c.Fields[i] = v
		}
	}
	switch p["public_flag"] {
	case "":
	case "true", "1":
		c.Public = true
	case "false", "0":
		c.Public = false
	default:
		return c, wire.Bad("public_flag is neither true nor false.")
	}
	return c, errors.Join(inRange("latitude", c.Latitude, 90), inRange("longitude", c.Longitude, 180), inRange("elevation", c.Elevation, 1e7))
}

// createChannel makes a free channel of the account's owner and its first two keys, which are shown here and never again.
func (f *face) createChannel(q *request) error {
	ctx := q.r.Context()
	var err error
	if q.p, err = wire.WriteParameters(q.w, q.r, wire.MaxBodyBytes); err != nil {
		return err
	}
	s, err := f.account(q)
	if err != nil {
		return err
	}
	g, err := f.Access.Decide(ctx, s, access.CreateChannel, access.OnSystem())
	if err != nil {
		return err
	}
	c, err := settings(q.p, channel.Channel{Owner: s.Person.ID})
	if err != nil {
		return err
	}
	if c.Name == "" {
		c.Name = "Channel"
	}
	if c, err = f.Store.CreateChannel(ctx, c); err != nil {
		return err
	}
	if err := f.Access.Record(ctx, g, access.OnChannel(c.ID), publicly("created", c)); err != nil {
		return err
	}
	manage, err := f.Access.DecideFor(ctx, s, access.ManageChannel, access.OnChannel(c.ID), "first keys")
	if err != nil {
		return err
	}
	out := describe(c)
	for _, mayWrite := range []bool{true, false} {
		key, err := f.SignIn.IssueKey(ctx, manage, access.APIKey{Channel: c.ID, Write: mayWrite})
		if err != nil {
			return err
		}
		out.Keys = append(out.Keys, keyObject{key, mayWrite})
	}
	return object(q, http.StatusOK, out)
}

func publicly(what string, c channel.Channel) string {
	if c.Public {
		return what + ", public"
	}
	return what
}

// viewChannel describes one channel to a reader.
func (f *face) viewChannel(q *request) error {
	id, err := number(q.path["id"])
	if err != nil {
		return err
	}
	if q.p, err = wire.QueryOf(q.r); err != nil {
		return err
	}
	c, _, _, err := f.decideRead(q, id)
	if err != nil {
		return err
	}
	if c.Patient == "" {
		shared(q.w.Header())
	}
	return object(q, http.StatusOK, describe(c))
}

// managed has the management of a channel decided, by the account key of the request.
func (f *face) managed(q *request, purpose string) (c channel.Channel, g access.Grant, err error) {
	id, err := number(q.path["id"])
	if err != nil {
		return c, g, err
	}
	if q.p, err = wire.WriteParameters(q.w, q.r, wire.MaxBodyBytes); err != nil {
		return c, g, err
	}
	s, err := f.account(q)
	if err != nil {
		return c, g, err
	}
	if g, err = f.Access.DecideFor(q.r.Context(), s, access.ManageChannel, access.OnChannel(id), purpose); err != nil {
		return c, g, err
	}
	shared(q.w.Header())
	c, err = f.Store.Channel(q.r.Context(), id)
	return c, g, err
}

func (f *face) changeChannel(q *request) error {
	c, g, err := f.managed(q, "settings")
	if err != nil {
		return err
	}
	was := c.Public
	if c, err = settings(q.p, c); err != nil {
		return err
	}
	if c.Public && !was { // first the trace of it, then the thing
		if err := f.Access.Record(q.r.Context(), g, access.OnChannel(c.ID), "made public"); err != nil {
			return err
		}
	}
	if c, err = f.Store.ChangeChannel(q.r.Context(), g, c); err != nil {
		return err
	}
	return object(q, http.StatusOK, describe(c))
}

func (f *face) deleteChannel(q *request) error {
	c, g, err := f.managed(q, "delete")
	if err != nil {
		return err
	}
	if err := f.Store.DeleteChannel(q.r.Context(), g, c.ID); err != nil {
		return err
	}
	return object(q, http.StatusOK, describe(c))
}

func (f *face) clearChannel(q *request) error {
	c, g, err := f.managed(q, "clear")
	if err != nil {
		return err
	}
	if err := f.Store.ClearChannel(q.r.Context(), g, c.ID); err != nil {
		return err
	}
	write(q.w, http.StatusOK, mediaJSON, []byte("[]"))
	return nil
}

// createKey makes another key of a channel.
func (f *face) createKey(q *request) error {
	c, g, err := f.managed(q, "keys")
	if err != nil {
		return err
	}
	mayWrite := q.p["write_flag"] == "true"
	key, err := f.SignIn.IssueKey(q.r.Context(), g, access.APIKey{Channel: c.ID, Write: mayWrite})
	if err != nil {
		return err
	}
	return object(q, http.StatusOK, keyObject{key, mayWrite})
}

// publicChannels lists those that every user may read, all or one person's. It needs no key.
func (f *face) publicChannels(q *request) error {
	if q.ext != "json" && q.ext != "" {
		return errNotFound
	}
	var err error
	if q.p, err = wire.QueryOf(q.r); err != nil {
		return err
	}
	page, _, err := q.p.Number("page", 1_000_000)
	if err != nil {
		return err
	}
	page = max(page, 1)
	near, err := parseNear(q.p)
	if err != nil {
		return err
	}
	anybody := access.Subject{Workstation: f.Workstation(q.r), Anonymous: true}
	if _, err := f.Access.Decide(q.r.Context(), anybody, access.ListChannels, access.OnSystem()); err != nil {
		return err
	}
	all, err := f.Store.PublicChannels(q.r.Context())
	if err != nil {
		return err
	}
	user := q.path["name"]
	if user == "" {
		user = q.p["username"]
	}
	logins := map[string]string{}
	found := []channelObject{}
	for _, c := range all {
		login, err := f.login(q, logins, c.Owner)
		if err != nil {
			return err
		}
		if user != "" && login != user || !near.has(c) ||
			q.p["tag"] != "" && !slices.ContainsFunc(tagsOf(c), func(s string) bool { return strings.EqualFold(s, q.p["tag"]) }) {
			continue
		}
		o := describe(c)
		o.Username = login
		found = append(found, o)
	}
	type pagination struct {
		Page  int `json:"current_page"`
		Per   int `json:"per_page"`
		Total int `json:"total_entries"`
	}
	from := min((page-1)*perPage, len(found))
	return object(q, http.StatusOK, struct {
		Pagination pagination      `json:"pagination"`
		Channels   []channelObject `json:"channels"`
	}{pagination{page, perPage, len(found)}, found[from:min(from+perPage, len(found))]})
}

// login is the name that a person signs in with, as ThingSpeak shows it beside what that person made public.
func (f *face) login(q *request, known map[string]string, person string) (string, error) {
	if person == "" {
		return "", nil
	}
	if name, ok := known[person]; ok {
		return name, nil
	}
	p, err := f.Store.Person(q.r.Context(), person)
	if err != nil {
		return "", err
	}
	known[person] = p.Login
	return p.Login, nil
}

// near is a circle on the earth; the zero value has everything in it.
type near struct{ latitude, longitude, km float64 }

func parseNear(p wire.Parameters) (n near, err error) {
	if p["latitude"] == "" && p["longitude"] == "" && p["distance"] == "" {
		return n, nil
	}
	for _, t := range []struct {
		name  string
		to    *float64
		limit float64
	}{{"latitude", &n.latitude, 90}, {"longitude", &n.longitude, 180}, {"distance", &n.km, 20_100}} {
		v, err := strconv.ParseFloat(p[t.name], 64)
		if err != nil || math.IsNaN(v) || math.Abs(v) > t.limit {
			return n, wire.Bad("latitude, longitude and distance (km) belong together, and are numbers.")
		}
		*t.to = v
	}
	if n.km <= 0 {
		return n, wire.Bad("distance is not above 0.")
	}
	return n, nil
}

// has reports whether a channel with a place is in the circle.
func (n near) has(c channel.Channel) bool {
	if n.km == 0 {
		return true
	}
	lat, err1 := strconv.ParseFloat(c.Latitude, 64)
	long, err2 := strconv.ParseFloat(c.Longitude, 64)
	if err1 != nil || err2 != nil {
		return false
	}
	const rad, earthKM = math.Pi / 180, 6371
	h := math.Pow(math.Sin((lat-n.latitude)*rad/2), 2) + math.Cos(lat*rad)*math.Cos(n.latitude*rad)*math.Pow(math.Sin((long-n.longitude)*rad/2), 2)
	return 2*earthKM*math.Asin(math.Sqrt(min(h, 1))) <= n.km
}

func isNotFound(err error) bool { return errors.Is(err, access.ErrNotFound) }
