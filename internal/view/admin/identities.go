package admin

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"vitalseal/internal/hub/access"
	"vitalseal/internal/hub/archive"
	"vitalseal/internal/hub/directory"
	"vitalseal/internal/hub/store"
	"vitalseal/internal/view/api"
)

// Kinds of component, as in SPIFFE ids.
const (
	kindGateway     = "gateway"
	kindSensor      = "sensor"
	kindWorkstation = "workstation"
	kindRouter      = "router"
	kindHub         = "hub"
	kindEgress      = "egress"
)

// maxSensors is how many sensors one gateway's ticket may cover.
const maxSensors = 64

func (h *handler) spiffe(kind, name string) string {
	return "spiffe://" + h.Domain + "/" + kind + "/" + name
}

func onIdentity(id string) access.Resource { return access.Resource{Kind: "identity", ID: id} }

func (h *handler) inviteGateway(ctx context.Context, rq *api.Request) (any, error) {
	in, err := api.Decode[struct {
		ID      string     `json:"id"`
		Sensors []sensorIn `json:"sensors"`
		Meant   bool       `json:"meant"` // what would be questioned is no mistake
	}](rq)
	if err != nil {
		return nil, err
	}
	if err := checkName("id", in.ID); err != nil {
		return nil, err
	}
	gateway := h.spiffe(kindGateway, in.ID)
	sensors, err := h.sensors(ctx, gateway, in.Sensors, in.Meant)
	if err != nil {
		return nil, err
	}
	return h.invite(ctx, rq, append([]directory.Device{{ID: gateway, Kind: kindGateway}}, sensors...))
}

// inviteWorkstation makes a workstation; with mode "display" one that shows its wards' beds while no user is signed in.
func (h *handler) inviteWorkstation(ctx context.Context, rq *api.Request) (any, error) {
	in, err := api.Decode[struct {
		ID    string   `json:"id"`
		Mode  string   `json:"mode"`  // empty or "display"
		Wards []string `json:"wards"` // of a display
	}](rq)
	if err != nil {
		return nil, err
	}
	if err := checkName("id", in.ID); err != nil {
		return nil, err
	}
	switch {
	case in.Mode != "" && in.Mode != directory.ModeDisplay:
		return nil, api.Invalid("mode", "empty or %s", directory.ModeDisplay)
	case in.Mode == "" && len(in.Wards) > 0:
		return nil, api.Invalid("wards", "only a display has wards")
	case in.Mode == directory.ModeDisplay && len(in.Wards) == 0:
		return nil, api.Invalid("wards", "a display needs at least one")
	}
	wards, err := h.Store.Wards(ctx)
	if err != nil {
		return nil, err
	}
	for _, id := range in.Wards {
		if !slices.ContainsFunc(wards, func(w directory.Ward) bool { return w.ID == id }) {
			return nil, api.Invalid("wards", "no ward %.64q", id)
		}
	}
	id := h.spiffe(kindWorkstation, in.ID)
	if in.Mode == directory.ModeDisplay {
		if err := h.unused(ctx, id); err != nil {
			return nil, err
		}
		return h.perform(ctx, rq, actDisplay, onIdentity(id).String(), displayAct{id, in.Wards})
	}
	return h.invite(ctx, rq, []directory.Device{{ID: id, Kind: kindWorkstation}})
}

func (h *handler) inviteRouter(ctx context.Context, rq *api.Request) (any, error) {
	return h.inviteOne(ctx, rq, kindRouter)
}

func (h *handler) inviteHub(ctx context.Context, rq *api.Request) (any, error) {
	return h.inviteOne(ctx, rq, kindHub)
}

func (h *handler) inviteEgress(ctx context.Context, rq *api.Request) (any, error) {
	return h.inviteOne(ctx, rq, kindEgress)
}

// inviteOne makes a component that has nothing but a name.
func (h *handler) inviteOne(ctx context.Context, rq *api.Request, kind string) (any, error) {
	in, err := api.Decode[struct {
		ID string `json:"id"`
	}](rq)
	if err != nil {
		return nil, err
	}
	if err := checkName("id", in.ID); err != nil {
		return nil, err
	}
	return h.invite(ctx, rq, []directory.Device{{ID: h.spiffe(kind, in.ID), Kind: kind}})
}

// identity is one component of the inventory.
func (h *handler) identity(ctx context.Context, rq *api.Request) (any, error) {
	d, err := h.Store.Device(ctx, h.spiffe(rq.PathValue("kind"), rq.PathValue("name")))
	if err != nil {
		return nil, err
	}
	clocks, err := h.Store.Clocks(ctx)
	if err != nil {
		return nil, err
	}
	o := h.described(ctx, d)
	if c, ok := clocks[d.ID]; ok {
		o.Clock = describeClock(c)
	}
	return o, nil
}

// lastOfStart are the bits of an epoch's number that count the epochs of one start of a gateway.
const lastOfStart = 1<<20 - 1

// settleClock says when what waits of a sensor was measured: by how many seconds the gateway's clock was ahead, or as the hub measured it.
func (h *handler) settleClock(ctx context.Context, rq *api.Request) (any, error) {
	in, err := api.Decode[struct {
		Ahead    *float64 `json:"ahead_seconds"` // below zero: behind
		Measured bool     `json:"as_measured"`   // by what was measured when each chunk came
	}](rq)
	if err != nil {
		return nil, err
	}
	id := h.spiffe(kindSensor, rq.PathValue("name"))
	if _, err := h.Store.Device(ctx, id); err != nil {
		return nil, err
	}
	const century = 100 * 366 * 24 * 3600
	switch {
	case (in.Ahead != nil) == in.Measured:
		return nil, api.Invalid("ahead_seconds", "either this or as_measured")
	case in.Ahead != nil && !(*in.Ahead > -century && *in.Ahead < century): // not for NaN either
		return nil, api.Invalid("ahead_seconds", "within a hundred years")
	}
	w, err := h.Store.Waiting(ctx, id)
	if err != nil {
		return nil, err
	}
	s := archive.Settlement{Low: w.Low, High: w.High | lastOfStart, Measured: in.Measured, By: rq.Subject.Person.ID}
	what := "clock settled as measured"
	if in.Ahead != nil {
		s.Ahead = time.Duration(*in.Ahead * float64(time.Second))
		what = fmt.Sprintf("clock settled: %.3f s ahead", *in.Ahead)
	}
	if w.Chunks == 0 {
		what = "clock not settled, nothing waits: " + strings.TrimPrefix(what, "clock ")
	}
	// Recorded first: readings must not come to a chart by an act that no entry tells of.
	if err := h.Access.Record(ctx, rq.Grant, onIdentity(id), fmt.Sprintf("%s, %d chunks waiting", what, w.Chunks)); err != nil {
		return nil, err
	}
	out := struct {
		Released int   `json:"released_chunks"`
		Waiting  int64 `json:"waiting_chunks"` // before
	}{Waiting: w.Chunks}
	if w.Chunks > 0 {
		out.Released, err = h.Store.SettleClock(ctx, id, s)
	}
	return out, err
}

func (h *handler) invite(ctx context.Context, rq *api.Request, devices []directory.Device) (any, error) {
	return h.invited(ctx, doing{grant: rq.Grant, requester: rq.Subject.Person.ID}, devices)
}

// unused refuses the id of a component that exists.
func (h *handler) unused(ctx context.Context, id string) error {
	if old, err := h.Store.Device(ctx, id); err == nil && !old.Forgettable() {
		return store.ErrExists
	}
	return nil
}

// invited records first: a ticket must not exist that no entry tells of.
func (h *handler) invited(ctx context.Context, by doing, devices []directory.Device) (any, error) {
	for _, d := range devices {
		if err := h.unused(ctx, d.ID); err != nil {
			return nil, err
		}
		what := "state: none -> invited"
		for _, x := range []struct{ key, value string }{{"mode", d.Mode}, {"model", d.Model}, {"serial", d.Serial}, {"gateway", d.Gateway}, {"bed", d.Bed}} {
			if x.value != "" {
				what += "; " + x.key + ": " + x.value
			}
		}
		if len(d.Wards) > 0 {
			what += "; wards: " + list(d.Wards)
		}
		if err := h.record(ctx, by.grant, onIdentity(d.ID), what, by.words()); err != nil {
			return nil, err
		}
	}
	return h.Invite(ctx, by.requester, devices)
}

// changeIdentity takes a SPIFFE id as one path segment, or kind and name as two.
func (h *handler) changeIdentity(ctx context.Context, rq *api.Request) (any, error) {
	id := rq.PathValue("id")
	if id == "" {
		id = h.spiffe(rq.PathValue("kind"), rq.PathValue("name"))
	}
	var change func(context.Context, string) error
	done := "key: in use -> a new one demanded"
	switch rq.PathValue("change") {
	case "disable":
		change = func(ctx context.Context, id string) error { return h.Disable(ctx, id, rq.Subject.Person.ID) }
	case "enable":
		change = h.Enable
	case "delete":
		change = func(ctx context.Context, id string) error { return h.Delete(ctx, id, rq.Subject.Person.ID) }
	case "rotate":
		change = h.Rotate
	case "reset-numbers":
		change, done = h.ResetNumbers, "numbers reset"
	case "ticket":
		return h.reissue(ctx, rq, id)
	default:
		return nil, &api.BadRequest{Text: "an identity can be disabled, enabled, rotated or deleted, and its numbers reset, or given a new ticket (ticket)"}
	}
	if !strings.HasPrefix(id, "spiffe://"+h.Domain+"/") {
		return nil, store.ErrNotFound
	}
	before, err := h.Store.Device(ctx, id)
	if err != nil {
		return nil, err
	}
	if kind := displayChange(before, rq.PathValue("change")); kind != "" {
		return h.performOnDisplay(ctx, rq, kind, before)
	}
	if err := change(ctx, id); err != nil {
		return nil, err
	}
	after := map[string]string{"disable": directory.DeviceDisabled, "enable": directory.DeviceActive, "delete": directory.DeviceDeleted}[rq.PathValue("change")]
	if after == "" {
		return nil, h.Access.Record(ctx, rq.Grant, onIdentity(id), done)
	}
	return nil, h.Access.Record(ctx, rq.Grant, onIdentity(id), "state: "+before.State+" -> "+after)
}

// reissue gives a component a new ticket in the place of its keys.
func (h *handler) reissue(ctx context.Context, rq *api.Request, id string) (any, error) {
	if !strings.HasPrefix(id, "spiffe://"+h.Domain+"/") {
		return nil, store.ErrNotFound
	}
	d, err := h.Store.Device(ctx, id)
	if err != nil {
		return nil, err
	}
	if kind := displayChange(d, "ticket"); kind != "" {
		return h.performOnDisplay(ctx, rq, kind, d)
	}
	return h.reissued(ctx, doing{grant: rq.Grant, requester: rq.Subject.Person.ID}, id)
}

// reissued records first, as invited does.
func (h *handler) reissued(ctx context.Context, by doing, id string) (any, error) {
	if err := h.record(ctx, by.grant, onIdentity(id), "a new ticket; the old keys end", by.words()); err != nil {
		return nil, err
	}
	return h.Reissue(ctx, by.requester, id)
}
