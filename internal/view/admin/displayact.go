package admin

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"vitalseal/internal/hub/access"
	"vitalseal/internal/hub/directory"
	"vitalseal/internal/hub/store"
	"vitalseal/internal/view/api"
)

// displayAct makes a wall screen, which shows live numbers without a person.
type displayAct struct {
	ID    string   `json:"id"` // SPIFFE id
	Wards []string `json:"wards"`
}

// displayAgainAct lets a wall screen in that exists, if it is still what it was when that was asked for.
type displayAgainAct struct {
	ID    string   `json:"id"`    // SPIFFE id
	State string   `json:"state"` // one of store's device states
	Wards []string `json:"wards"`
}

// displayChange is the kind of act that a change of a component is, if the component is a wall screen and the change makes one that
// shows live numbers; "" for every other. A ticket is one of them: it enrols a screen anywhere.
func displayChange(d directory.Device, change string) string {
	if d.Mode != directory.ModeDisplay {
		return ""
	}
	return map[string]string{"ticket": actTicket, "enable": actDisplayOn}[change]
}

// performOnDisplay has a wall screen let in: at once, or when a second person approves. What cannot be done is refused now.
func (h *handler) performOnDisplay(ctx context.Context, rq *api.Request, kind string, d directory.Device) (any, error) {
	if kind == actDisplayOn && d.State != directory.DeviceDisabled {
		return nil, fmt.Errorf("admin: %s: %w: it is %s, not disabled", d.ID, store.ErrConflict, d.State)
	}
	return h.perform(ctx, rq, kind, onIdentity(d.ID).String(), displayAgainAct{d.ID, d.State, d.Wards})
}

func (h *handler) whatDisplay(ctx context.Context, raw []byte) ([]string, error) {
	in, err := read[displayAct](raw)
	if err != nil {
		return nil, err
	}
	legend, err := h.legend(ctx, in.Wards, nil)
	return append([]string{fmt.Sprintf("makes the wall display %s, which shows the live numbers of every bed of the wards %s to everyone in front of it", in.ID, strings.Join(in.Wards, ", ")),
		handOnTicket}, legend...), err
}

const handOnTicket = "you get the ticket that enrols it and hand it to the requester"

// whatDisplayAgain says what letting a wall screen in changes. format is about its id and its wards.
func (h *handler) whatDisplayAgain(format string, more ...string) func(context.Context, []byte) ([]string, error) {
	return func(ctx context.Context, raw []byte) ([]string, error) {
		in, err := read[displayAgainAct](raw)
		if err != nil {
			return nil, err
		}
		legend, err := h.legend(ctx, in.Wards, nil)
		return slices.Concat([]string{fmt.Sprintf(format, in.ID, strings.Join(in.Wards, ", "))}, more, legend), err
	}
}

func quietDisplay(raw []byte) string {
	in, _ := read[displayAct](raw)
	return "display " + in.ID + "; " + diff("wards", nil, in.Wards)
}

func quietDisplayAgain(what string) func([]byte) string {
	return func(raw []byte) string {
		in, _ := read[displayAgainAct](raw)
		return what + "; display " + in.ID + ", " + in.State + ", wards: " + list(in.Wards)
	}
}

func (h *handler) doDisplay(ctx context.Context, d doing, raw []byte) (any, error) {
	in, err := read[displayAct](raw)
	if err != nil {
		return nil, err
	}
	out, err := h.invited(ctx, d, []directory.Device{{ID: in.ID, Kind: kindWorkstation, Mode: directory.ModeDisplay, Wards: in.Wards}})
	if err == nil {
		h.announceDisplay(d, in.ID, "a ticket for a new display")
	}
	return out, err
}

// sameDisplay is the wall screen of an act, or store.ErrConflict if it has changed since that was asked for.
func (h *handler) sameDisplay(ctx context.Context, raw []byte) (directory.Device, error) {
	in, err := read[displayAgainAct](raw)
	if err != nil {
		return directory.Device{}, err
	}
	now, err := h.Store.Device(ctx, in.ID)
	if err == nil && (now.Mode != directory.ModeDisplay || now.State != in.State || !slices.Equal(now.Wards, in.Wards)) {
		err = fmt.Errorf("admin: %s: %w: the display has changed since this was asked for", in.ID, store.ErrConflict)
	}
	return now, err
}

func (h *handler) doTicket(ctx context.Context, d doing, raw []byte) (any, error) {
	now, err := h.sameDisplay(ctx, raw)
	if err != nil {
		return nil, err
	}
	out, err := h.reissued(ctx, d, now.ID)
	if err != nil {
		return nil, err
	}
	h.announceDisplay(d, now.ID, "a new ticket for the display, which ends the old keys")
	return out, nil
}

func (h *handler) doDisplayOn(ctx context.Context, d doing, raw []byte) (any, error) {
	now, err := h.sameDisplay(ctx, raw)
	if err != nil {
		return nil, err
	}
	if err := h.record(ctx, d.grant, onIdentity(now.ID), "state: "+now.State+" -> "+directory.DeviceActive, d.words()); err != nil {
		return nil, err
	}
	if err := h.Enable(ctx, now.ID); err != nil {
		return nil, err
	}
	h.announceDisplay(d, now.ID, "the display was disabled and is let in again")
	return nil, nil
}

// announceDisplay tells of a screen that may show live numbers from now on.
func (h *handler) announceDisplay(d doing, id, what string) {
	if d.approval == "" {
		what += "; one person was enough"
	} else {
		what += "; approved by a second person"
	}
	h.Access.Tell(access.Event{Kind: access.EventDisplay, Person: d.requester, Where: id, Detail: what})
}
