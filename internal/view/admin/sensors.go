package admin

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"time"

	"vitalseal/internal/hub/access"
	"vitalseal/internal/hub/archive"
	"vitalseal/internal/hub/store"
	"vitalseal/internal/view/api"
)

// sensorHere is a sensor that the reader may move, or one at no bed, which the reader may put at a bed of these wards.
type sensorHere struct {
	ID       string     `json:"id"` // short name, as in identities/sensor/ID/bed
	Model    string     `json:"model"`
	Purpose  string     `json:"purpose"` // oximeter, cuff, legacy device; empty: another
	Serial   string     `json:"serial"`
	State    string     `json:"state"`
	Bed      string     `json:"bed"` // empty: at none
	BedName  string     `json:"bed_name"`
	Ward     string     `json:"ward"`
	WardName string     `json:"ward_name"`
	LastSeen *time.Time `json:"last_seen"` // null: never
}

type bedHere struct {
	ID       string `json:"id"`
	Name     string `json:"name"`
	Ward     string `json:"ward"`
	WardName string `json:"ward_name"`
}

// sensorsHere are the sensors and beds of the wards in which the policies let the person move sensors, and the sensors at no bed. It names
// no patient. One entry of the audit log names the wards.
func (h *handler) sensorsHere(ctx context.Context, rq *api.Request) (any, error) {
	all, err := h.Store.Wards(ctx)
	if err != nil {
		return nil, err
	}
	wards := map[string]string{}
	var ids []string
	for _, w := range all {
		if h.Access.May(ctx, rq.Subject, access.MoveSensor, access.OnWard(w.ID)) {
			wards[w.ID] = w.Name
			ids = append(ids, w.ID)
		}
	}
	on := access.OnWard("") // the ward of a person who may act in none: it is refused, and the log has it
	if len(ids) > 0 {
		on = access.OnWard(ids[0])
	}
	if _, err := h.Access.DecideLook(ctx, rq.Subject, access.MoveSensor, on, "GET "+clipPath(rq.URL.Path)+"; wards: "+strings.Join(ids, " ")); err != nil {
		return nil, err
	}
	beds, err := h.Store.Beds(ctx)
	if err != nil {
		return nil, err
	}
	devices, err := h.Store.Devices(ctx)
	if err != nil {
		return nil, err
	}
	out := struct {
		ServerTime time.Time    `json:"server_time"`
		Beds       []bedHere    `json:"beds"`
		Sensors    []sensorHere `json:"sensors"`
	}{time.Now().UTC(), []bedHere{}, []sensorHere{}}
	at := map[string]bedHere{}
	for _, b := range beds {
		if name, ok := wards[b.Ward]; ok {
			at[b.ID] = bedHere{b.ID, b.Name, b.Ward, name}
			out.Beds = append(out.Beds, at[b.ID])
		}
	}
	for _, d := range devices {
		b, here := at[d.Bed]
		if d.Kind != kindSensor || !inUse(d) || !here && d.Bed != "" || d.Bed == "" && strings.EqualFold(d.Model, "mcp3008") {
			continue // a converter belongs to no bed
		}
		_, name, _ := strings.Cut(shortID(d.ID), "/")
		s := sensorHere{ID: name, Model: d.Model, Purpose: purposeOf(d), Serial: d.Serial, State: d.State, Bed: b.ID, BedName: b.Name, Ward: b.Ward, WardName: b.WardName}
		if !d.LastSeen.IsZero() {
			seen := d.LastSeen.UTC()
			s.LastSeen = &seen
		}
		out.Sensors = append(out.Sensors, s)
	}
	slices.SortStableFunc(out.Sensors, func(a, b sensorHere) int {
		return cmp.Or(cmp.Compare(b2i(a.Bed == ""), b2i(b.Bed == "")), cmp.Compare(a.Ward, b.Ward), cmp.Compare(a.Bed, b.Bed), cmp.Compare(a.ID, b.ID))
	})
	return out, nil
}

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}

// foundOut is what is stored of a patient in a span.
type foundOut struct {
	Count int        `json:"count"` // how often numbers
	First *time.Time `json:"first"` // null: nothing
	Last  *time.Time `json:"last"`
	More  bool       `json:"more"` // there are more than were counted, and they are older
	// What was counted, and by which sensors (short names).
	Kinds   []string `json:"kinds"`
	Sensors []string `json:"sensors"`
}

func describeFound(f archive.Found) foundOut {
	o := foundOut{Count: f.Count, More: f.More, Kinds: []string{}, Sensors: sensorNames(f)}
	for _, k := range f.Kinds {
		o.Kinds = append(o.Kinds, k.String())
	}
	if f.Count > 0 {
		first, last := f.First.UTC(), f.Last.UTC()
		o.First, o.Last = &first, &last
	}
	return o
}

// previewMove answers ?from=PATIENT&to=PATIENT&sensor=NAME&begin=TIME&end=TIME with what readings/move would move, and with what the other
// patient has of that span already. It is decided as the move itself.
func (h *handler) previewMove(ctx context.Context, rq *api.Request) (any, error) {
	q := rq.URL.Query()
	m := archive.Move{From: q.Get("from"), To: q.Get("to"), Person: rq.Subject.Person.ID}
	source := access.OnPatient(m.From)
	if m.From == store.Unassigned {
		source = access.OnSystem()
	}
	purpose := "GET " + clipPath(rq.URL.Path) + asked(rq.URL.Query())
	from, err := h.Access.DecideLook(ctx, rq.Subject, access.MoveReadings, source, purpose)
	if err != nil {
		return nil, err
	}
	to, err := h.Access.DecideLook(ctx, rq.Subject, access.MoveReadings, access.OnPatient(m.To), purpose)
	if err != nil {
		return nil, err
	}
	for _, x := range []struct {
		name string
		t    *time.Time
	}{{"begin", &m.Begin}, {"end", &m.End}} {
		t, err := time.Parse(time.RFC3339, q.Get(x.name))
		if err != nil {
			return nil, api.Invalid(x.name, "a time such as 2026-01-31T08:15:00Z")
		}
		*x.t = t.UTC()
	}
	if name := q.Get("sensor"); name != "" {
		m.Sensor = h.spiffe(kindSensor, name)
	}
	if err := h.Store.CheckMove(m); err != nil {
		return nil, err
	}
	out := struct {
		From foundOut `json:"from"` // of the span, what would be moved
		To   foundOut `json:"to"`   // of the span, what the other patient has of the same kinds by other sensors
	}{}
	numbers, others, err := h.foundFor(ctx, from, to, m)
	if err != nil {
		return nil, err
	}
	out.From, out.To = describeFound(numbers), describeFound(others)
	return out, nil
}
