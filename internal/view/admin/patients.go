package admin

import (
	"context"
	"time"

	"vitalseal/internal/hub/access"
	"vitalseal/internal/view/api"
)

// changePatient moves, discharges, holds, releases or forgets a patient. What was done is in the audit log before the answer.
func (h *handler) changePatient(ctx context.Context, rq *api.Request) (any, error) {
	in, err := api.Decode[struct {
		Bed    string `json:"bed"`    // admit
		Reason string `json:"reason"` // hold
		// At is when a patient was admitted, moved or discharged, if that was not now: at most 31 days ago.
		At *time.Time `json:"at"`
	}](rq)
	if err != nil {
		return nil, err
	}
	at, asOf := time.Now(), ""
	if in.At != nil {
		at, asOf = *in.At, " as of "+in.At.UTC().Format(time.RFC3339)
	}
	p, err := h.Store.Patient(ctx, rq.PathValue("id"))
	if err != nil {
		return nil, err
	}
	record := func(what string, err error) (any, error) {
		if err != nil {
			return nil, err
		}
		return nil, h.Access.Record(ctx, rq.Grant, access.OnPatient(p.ID), what)
	}
	switch rq.PathValue("change") {
	case "admit":
		if in.Bed == "" {
			return nil, api.Invalid("bed", "the id of a bed")
		}
		return record("bed: "+noneOr(p.Bed)+" -> "+in.Bed+asOf, h.Store.AdmitFrom(ctx, p.ID, in.Bed, at))
	case "discharge":
		return record("discharged; bed: "+noneOr(p.Bed)+" -> none"+asOf, h.Store.DischargeFrom(ctx, p.ID, at))
	case "hold":
		return record("legal hold: none -> placed", h.Store.PlaceHold(ctx, p.ID, rq.Subject.Person.ID, in.Reason))
	case "release":
		return record("legal hold: placed -> released", h.Store.ReleaseHold(ctx, p.ID))
	case "forget":
		// First the intention, durably: what is destroyed cannot be asked afterwards who destroyed it.
		if err := h.Access.Record(ctx, rq.Grant, access.OnPatient(p.ID), "to be forgotten"); err != nil {
			return nil, err
		}
		return record("forgotten", h.Store.Forget(ctx, p.ID))
	}
	return nil, api.Invalid("change", "one of admit, discharge, hold, release, forget")
}

type holdOut struct {
	Patient string    `json:"patient"`
	Person  string    `json:"person"`
	Since   time.Time `json:"since"`
	Reason  string    `json:"reason"`
}

func (h *handler) holds(ctx context.Context, _ *api.Request) (any, error) {
	all, err := h.Store.Holds(ctx)
	out := []holdOut{}
	for _, x := range all {
		out = append(out, holdOut{x.Patient, x.Person, x.Since, x.Reason})
	}
	return out, err
}

type quarantinedOut struct {
	Sensor   string    `json:"sensor"`
	Signal   string    `json:"signal"`
	Seq      uint64    `json:"sequence"`
	Start    time.Time `json:"start"`
	Received time.Time `json:"received"`
	Reason   string    `json:"reason"`
}

// quarantine lists the newest chunks that were set aside.
func (h *handler) quarantine(ctx context.Context, _ *api.Request) (any, error) {
	all, err := h.Store.Quarantine(ctx, maxQuarantine)
	out := []quarantinedOut{}
	for _, q := range all {
		out = append(out, quarantinedOut(q))
	}
	return out, err
}

const maxQuarantine = 1000

type gapOut struct {
	Sensor string    `json:"sensor"`
	Signal string    `json:"signal"`
	First  uint64    `json:"first_sequence"`
	Last   uint64    `json:"last_sequence"`
	From   time.Time `json:"from"`
	To     time.Time `json:"to"`
	Reason string    `json:"reason"`
	Noted  time.Time `json:"noted"`
}

// gaps lists what gateways have said will never arrive, newest first.
func (h *handler) gaps(ctx context.Context, _ *api.Request) (any, error) {
	all, err := h.Store.Gaps(ctx, "", maxQuarantine)
	out := []gapOut{}
	for _, g := range all {
		out = append(out, gapOut{g.Sensor, g.Signal.String(), g.First, g.Last, g.From, g.To, g.Reason, g.Noted})
	}
	return out, err
}
