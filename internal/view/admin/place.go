package admin

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"vitalseal/internal/access"
	"vitalseal/internal/directory"
	"vitalseal/internal/store"
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
	var grant access.Grant
	for _, w := range slices.Compact(wards) {
		if grant, err = h.Access.DecideFor(ctx, rq.Subject, access.MoveSensor, access.OnWard(w), "POST "+clipPath(rq.URL.Path)); err != nil {
			return nil, err
		}
	}
	at := time.Now()
	if in.At != nil {
		at = *in.At
	}
	switch {
	case missing != nil:
		return nil, missing
	case d.Kind != kindSensor:
		return nil, api.Invalid("kind", "a %s is at no bed; only a sensor is", d.Kind)
	case in.Bed != "" && !slices.ContainsFunc(beds, func(b directory.Bed) bool { return b.ID == in.Bed }):
		return nil, api.Invalid("bed", "no bed %.64q", in.Bed)
	case at.After(time.Now()):
		return nil, api.Invalid("at", "is in the future")
	case at.Before(time.Now().Add(-directory.MaxBackdate)):
		return nil, api.Invalid("at", "is more than %d days ago", int(directory.MaxBackdate/(24*time.Hour)))
	}
	if !in.Meant && in.Bed != "" && in.Bed != d.Bed {
		moved := d
		moved.Bed = in.Bed
		all, err := h.Store.Devices(ctx)
		if err != nil {
			return nil, err
		}
		if found := atBed(moved, slices.DeleteFunc(all, func(o directory.Device) bool { return !inUse(o) }), nil); len(found) > 0 {
			return nil, &question{found}
		}
	}
	patients, err := h.lyingAt(ctx, d.Bed, in.Bed)
	if err != nil {
		return nil, err
	}
	if err := h.Store.PlaceDeviceBy(ctx, id, in.Bed, rq.Subject.Person.ID, at); err != nil {
		if errors.Is(err, store.ErrConflict) {
			return nil, api.Invalid("at", "the sensor was moved after this time already; a later time, or none, is taken")
		}
		return nil, err
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
