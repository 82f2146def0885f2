package admin

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"vitalseal/internal/hub/access"
	"vitalseal/internal/hub/channel"
	"vitalseal/internal/hub/directory"
	"vitalseal/internal/hub/signin"
	"vitalseal/internal/hub/store"
	"vitalseal/internal/view/api"
)

// Live is what is known of live views at this hub.
type Live struct {
	Persons, Stations           map[string]int // open now, by person and by workstation (SPIFFE id)
	PersonLimit, StationLimit   int            // of those for whom no administrator has set one
	TotalLimit, FirstOfAStation int            // of all; those of each workstation that do not count in it
}

// quotaLine is the use and the limits of a person, a workstation or the hospital. What a kind has no limit of is absent.
type quotaLine struct {
	ID        string `json:"id,omitempty"`      // a person's id, or a workstation's SPIFFE id
	Entries   *used  `json:"entries,omitempty"` // entries and commands in channels and TalkBacks
	Bytes     *used  `json:"bytes,omitempty"`   // what they take on disk
	LiveViews *used  `json:"live_views,omitempty"`
	Sessions  *used  `json:"sessions,omitempty"`
	Keys      *used  `json:"keys,omitempty"`
	Refused   int64  `json:"refused"` // by any quota, since the hub started
}

type used struct {
	Used  int64 `json:"used"`
	Limit int64 `json:"limit"`
	Set   bool  `json:"set,omitempty"` // by an administrator, in place of the configuration's
}

// quotas are the use and the limits of everyone, and who was refused by which quota since the hub started.
func (h *handler) quotas(ctx context.Context, _ *api.Request) (any, error) {
	usage, err := h.Store.Usages(ctx, 1000)
	if err != nil {
		return nil, err
	}
	limits, err := h.Store.Limits(ctx)
	if err != nil {
		return nil, err
	}
	set := map[channel.Limit]int64{}
	for _, l := range limits {
		set[channel.Limit{Kind: l.Kind, ID: l.ID, Name: l.Name}] = l.Value
	}
	of := func(kind, id, name string, have, most int64) *used {
		if v, ok := set[channel.Limit{Kind: kind, ID: id, Name: name}]; ok {
			return &used{have, v, true}
		}
		return &used{have, most, false}
	}
	sessions, keys, err := h.Store.SignIns(ctx)
	if err != nil {
		return nil, err
	}
	persons, err := h.Store.Persons(ctx)
	if err != nil {
		return nil, err
	}
	devices, err := h.Store.Devices(ctx)
	if err != nil {
		return nil, err
	}
	var live Live
	if h.Live != nil {
		live = h.Live()
	}
	refused, count := h.Access.QuotaRefusals(), map[string]int64{}
	for _, r := range refused {
		count[r.Who] += r.Count
	}
	have := map[string]channel.Usage{}
	for _, u := range usage {
		have[u.Owner] = u
	}
	q := h.Store.Quota()
	each, hospital := q.Of("each"), q.Of("")
	each.Owner = ""
	out := struct {
		Person       channel.Usage    `json:"each_person_may"`
		HospitalMay  channel.Usage    `json:"hospital_may"`
		Usage        []channel.Usage  `json:"usage"`
		Refused      []access.Refused `json:"refused"`
		Persons      []quotaLine      `json:"persons"`
		Workstations []quotaLine      `json:"workstations"`
		Hospital     quotaLine        `json:"hospital"`
		LiveViews    used             `json:"live_views"` // of all, beyond the first ones of each workstation
		First        int              `json:"first_live_views"`
	}{Person: each, HospitalMay: hospital, Usage: append([]channel.Usage{}, usage...), Refused: refused, Persons: []quotaLine{}, Workstations: []quotaLine{},
		LiveViews: used{Limit: int64(live.TotalLimit)}, First: live.FirstOfAStation}
	for _, p := range persons {
		u := have[p.ID]
		out.Persons = append(out.Persons, quotaLine{ID: p.ID, Refused: count[p.ID],
			Entries:   of(channel.LimitPerson, p.ID, channel.LimitEntries, u.Entries, each.Entries),
			Bytes:     of(channel.LimitPerson, p.ID, channel.LimitBytes, u.Bytes, each.Bytes),
			LiveViews: of(channel.LimitPerson, p.ID, channel.LimitLive, int64(live.Persons[p.ID]), int64(live.PersonLimit)),
			Sessions:  &used{sessions[p.ID], signin.MaxSessions, false}, Keys: &used{keys[p.ID], signin.MaxKeys, false}})
	}
	stations := map[string]bool{}
	for _, d := range devices {
		if d.Kind == kindWorkstation && d.Mode == "" && d.State != directory.DeviceDeleted {
			stations[d.ID] = true
		}
	}
	for id, n := range live.Stations {
		stations[id] = true
		out.LiveViews.Used += int64(max(n-live.FirstOfAStation, 0))
	}
	for _, id := range slices.Sorted(maps.Keys(stations)) {
		out.Workstations = append(out.Workstations, quotaLine{ID: id, Refused: count[id],
			LiveViews: of(channel.LimitStation, id, channel.LimitLive, int64(live.Stations[id]), int64(live.StationLimit))})
	}
	out.Hospital = quotaLine{Entries: of(channel.LimitHospital, "", channel.LimitEntries, have[""].Entries, hospital.Entries),
		Bytes: of(channel.LimitHospital, "", channel.LimitBytes, have[""].Bytes, hospital.Bytes)}
	return out, nil
}

// setQuota sets a limit of one person, one workstation or the hospital in place of the configuration's, which 0 gives back. It takes
// one administrator: no limit lets anyone see a patient.
func (h *handler) setQuota(ctx context.Context, rq *api.Request) (any, error) {
	in, err := api.Decode[struct {
		Kind  string `json:"kind"` // "person", "station" or "hospital"
		ID    string `json:"id"`   // a person's id, or a workstation's SPIFFE id; empty for the hospital
		Name  string `json:"name"` // "entries", "bytes" or "live_views"
		Limit *int64 `json:"limit"`
	}](rq)
	if err != nil {
		return nil, err
	}
	if in.Limit == nil {
		return nil, api.Invalid("limit", "is missing; 0 is the configuration's")
	}
	switch in.Kind {
	case channel.LimitPerson:
		if _, err := h.Store.Person(ctx, in.ID); err != nil {
			return nil, unknown(err, "id", "no person %.64q", in.ID)
		}
	case channel.LimitStation:
		if d, err := h.Store.Device(ctx, in.ID); err != nil || d.Kind != kindWorkstation {
			return nil, unknown(err, "id", "no workstation %.200q", in.ID)
		}
	}
	was, err := h.Store.SetLimit(ctx, channel.Limit{Kind: in.Kind, ID: in.ID, Name: in.Name, Value: *in.Limit})
	if err != nil {
		return nil, err
	}
	say := func(v int64) string {
		if v == 0 {
			return "the configuration's"
		}
		return fmt.Sprint(v)
	}
	return nil, h.Access.Record(ctx, rq.Grant, access.Resource{Kind: "quota", ID: strings.TrimSuffix(in.Kind+":"+in.ID, ":")}, in.Name+": "+say(was)+" -> "+say(*in.Limit))
}

// unknown is a bad request for what is not there, and any other error as it is.
func unknown(err error, field, format string, args ...any) error {
	if err == nil || errors.Is(err, store.ErrNotFound) {
		return api.Invalid(field, format, args...)
	}
	return err
}
