package admin

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"vitalseal/internal/hub/access"
	"vitalseal/internal/hub/directory"
	"vitalseal/internal/hub/store"
	"vitalseal/internal/view/api"
)

// sensorIn is a sensor of an invitation.
type sensorIn struct {
	ID       string `json:"id"`
	Model    string `json:"model"`
	Serial   string `json:"serial"`
	Bed      string `json:"bed"`      // empty for what belongs to no bed
	Replaces string `json:"replaces"` // short name of the sensor whose bed it takes; that one stays until it is deleted
}

// sensors checks the sensors of an invitation, which hang on a gateway, against the inventory and each other.
func (h *handler) sensors(ctx context.Context, gateway string, in []sensorIn, meant bool) ([]directory.Device, error) {
	if len(in) > maxSensors {
		return nil, api.Invalid("sensors", "at most %d", maxSensors)
	}
	beds, err := h.Store.Beds(ctx)
	if err != nil {
		return nil, err
	}
	var devices []directory.Device
	var replaces []string
	for _, s := range in {
		if err := checkName("sensors.id", s.ID); err != nil {
			return nil, err
		}
		d := directory.Device{ID: h.spiffe(kindSensor, s.ID), Kind: kindSensor, Model: s.Model, Serial: s.Serial, Gateway: gateway, Bed: s.Bed}
		if s.Replaces != "" {
			old, err := h.Store.Device(ctx, h.spiffe(kindSensor, s.Replaces))
			if err != nil {
				return nil, notFoundAs(err, "sensors.replaces", "no sensor %.64q", s.Replaces)
			}
			replaces = append(replaces, old.ID)
			if d.Bed == "" {
				d.Bed = old.Bed
			}
		}
		switch {
		case slices.ContainsFunc(devices, func(o directory.Device) bool { return o.ID == d.ID }):
			return nil, api.Invalid("sensors.id", "%q stands twice", s.ID)
		case d.Bed != "" && !slices.ContainsFunc(beds, func(b directory.Bed) bool { return b.ID == d.Bed }):
			return nil, api.Invalid("sensors.bed", "no bed %.64q", d.Bed)
		}
		devices = append(devices, d)
	}
	if !meant {
		return devices, h.doubts(ctx, devices, replaces...)
	}
	return devices, nil
}

// inviteSensors makes sensors for a gateway that is there, and their ticket: to be redeemed in the gateway's folder.
func (h *handler) inviteSensors(ctx context.Context, rq *api.Request) (any, error) {
	in, err := api.Decode[struct {
		Sensors []sensorIn `json:"sensors"`
		Meant   bool       `json:"meant"`
	}](rq)
	if err != nil {
		return nil, err
	}
	gateway, err := h.Store.Device(ctx, h.spiffe(kindGateway, rq.PathValue("name")))
	if err != nil {
		return nil, err
	}
	if len(in.Sensors) == 0 {
		return nil, api.Invalid("sensors", "1 to %d", maxSensors)
	}
	if gateway.State == directory.DeviceDeleted {
		return nil, api.Invalid("gateway", "is deleted and its name is not used again; invite a gateway of another name")
	}
	devices, err := h.sensors(ctx, gateway.ID, in.Sensors, in.Meant)
	if err != nil {
		return nil, err
	}
	return h.invite(ctx, rq, devices)
}

// placeSensor puts a sensor at a bed, or takes it from the one where it is; the policies are asked about the ward of each.
func (h *handler) placeSensor(ctx context.Context, rq *api.Request) (any, error) {
	in, err := api.Decode[struct {
		Bed   string     `json:"bed"` // empty: at none
		At    *time.Time `json:"at"`  // in the past, at most 31 days; absent: now
		Meant bool       `json:"meant"`
	}](rq)
	if err != nil {
		return nil, err
	}
	beds, err := h.Store.Beds(ctx)
	if err != nil {
		return nil, err
	}
	id := h.spiffe(rq.PathValue("kind"), rq.PathValue("name"))
	d, missing := h.Store.Device(ctx, id)
	if missing != nil && !errors.Is(missing, store.ErrNotFound) {
		return nil, missing
	}
	ward := func(bed string) string {
		for _, b := range beds {
			if b.ID == bed {
				return b.Ward
			}
		}
		return "" // no ward that a nurse could be on
	}
	wards := []string{ward(in.Bed)}
	if d.Bed != "" {
		wards = append(wards, ward(d.Bed))
	}
	if in.Bed == "" && d.Bed != "" {
		wards = wards[1:]
	}
	slices.Sort(wards)
	wards = slices.Compact(wards)
	at := time.Now()
	if in.At != nil {
		at = *in.At
	}
	wrong, err := h.wrongPlace(ctx, d, missing, in.Bed, beds, at, in.Meant)
	if err != nil {
		return nil, err
	}
	purpose := "POST " + clipPath(rq.URL.Path)
	if wrong != nil {
		if err := h.notPlaced(ctx, rq.Subject, wards, purpose, wrong); err != nil {
			return nil, err
		}
		return nil, wrong
	}
	var grant access.Grant
	var decided []allowed
	for _, w := range wards {
		if grant, err = h.Access.DecideFor(ctx, rq.Subject, access.MoveSensor, access.OnWard(w), purpose); err != nil {
			return nil, h.notDone(ctx, rq, err, decided...)
		}
		decided = append(decided, allowed{grant, access.OnWard(w)})
	}
	patients, err := h.lyingAt(ctx, d.Bed, in.Bed)
	if err != nil {
		return nil, h.notDone(ctx, rq, err, decided...)
	}
	if err := h.Store.PlaceDeviceBy(ctx, id, in.Bed, rq.Subject.Person.ID, at); err != nil {
		if errors.Is(err, store.ErrConflict) {
			const late = "the sensor was moved after this time already; a later time, or none, is taken"
			return nil, errors.Join(api.Invalid("at", late), h.Access.RecordRefused(ctx, grant, onIdentity(id), late))
		}
		return nil, h.notDone(ctx, rq, err, decided...)
	}
	what := fmt.Sprintf("moved from %q to %q", d.Bed, in.Bed)
	if in.At != nil {
		what += " as of " + at.UTC().Format(time.RFC3339)
	}
	return struct {
		Bed string    `json:"bed"`
		At  time.Time `json:"at"` // from then on it is there
	}{in.Bed, at.UTC().Truncate(time.Microsecond)}, h.Access.Record(ctx, grant, onIdentity(id), what, patients...)
}

// wrongPlace is why a sensor is not put at a bed: a mistake in the request, or a question whether it is meant; nil: it may be.
func (h *handler) wrongPlace(ctx context.Context, d directory.Device, missing error, bed string, beds []directory.Bed, at time.Time, meant bool) (wrong, err error) {
	switch {
	case missing != nil:
		return missing, nil
	case d.Kind != kindSensor:
		return api.Invalid("kind", "a %s is at no bed; only a sensor is", d.Kind), nil
	case bed != "" && !slices.ContainsFunc(beds, func(b directory.Bed) bool { return b.ID == bed }):
		return api.Invalid("bed", "no bed %.64q", bed), nil
	case at.After(time.Now()):
		return api.Invalid("at", "is in the future"), nil
	case at.Before(time.Now().Add(-directory.MaxBackdate)):
		return api.Invalid("at", "is more than %d days ago", int(directory.MaxBackdate/(24*time.Hour))), nil
	case meant || bed == "" || bed == d.Bed:
		return nil, nil
	}
	moved := d
	moved.Bed = bed
	all, err := h.Store.Devices(ctx)
	if err != nil {
		return nil, err
	}
	if found := atBed(moved, slices.DeleteFunc(all, func(o directory.Device) bool { return !inUse(o) }), nil); len(found) > 0 {
		return &question{found}, nil
	}
	return nil, nil
}

// askedWhetherMeant is why an act is not done that is answered with a question.
const askedWhetherMeant = "the requester was asked whether it is meant"

// notPlaced writes one entry of a move that is not done: it must not stand in the log as allowed. An error is the refusal of a person
// who may not move the sensor, and learns no more than that.
func (h *handler) notPlaced(ctx context.Context, s access.Subject, wards []string, purpose string, wrong error) error {
	last := len(wards) - 1
	for i, w := range wards {
		if !h.Access.May(ctx, s, access.MoveSensor, access.OnWard(w)) {
			last = i // the entry is the refusal
			break
		}
	}
	why := "a mistake in the request"
	if asked := (*question)(nil); errors.As(wrong, &asked) {
		why = askedWhetherMeant
	}
	return h.Access.DecideAsked(ctx, s, access.MoveSensor, access.OnWard(wards[last]), purpose, why)
}

// lyingAt are the ids of the patients who lie at some beds now: whose readings a sensor's move concerns.
func (h *handler) lyingAt(ctx context.Context, beds ...string) (ids []string, err error) {
	refs, err := h.Store.Patients(ctx)
	for _, r := range refs {
		if r.Bed != "" && slices.Contains(beds, r.Bed) {
			ids = append(ids, r.ID)
		}
	}
	return ids, err
}
