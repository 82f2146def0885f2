package admin

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"

	"vitalseal/internal/hub/access"
	"vitalseal/internal/hub/channel"
	"vitalseal/internal/hub/directory"
	"vitalseal/internal/hub/store"
	"vitalseal/internal/view/api"
)

type made struct {
	ID string `json:"id"`
}

func (h *handler) createWard(ctx context.Context, rq *api.Request) (any, error) {
	in, err := api.Decode[struct {
		ID   string `json:"id"`
		Name string `json:"name"`
	}](rq)
	if err != nil {
		return nil, err
	}
	if err := h.Store.CreateWard(ctx, directory.Ward{ID: in.ID, Name: in.Name}); err != nil {
		return nil, err
	}
	return made{in.ID}, h.Access.Record(ctx, rq.Grant, access.OnWard(in.ID), "created")
}

func (h *handler) createBed(ctx context.Context, rq *api.Request) (any, error) {
	in, err := api.Decode[struct {
		ID   string `json:"id"`
		Ward string `json:"ward"`
		Name string `json:"name"`
	}](rq)
	if err != nil {
		return nil, err
	}
	err = h.Store.CreateBed(ctx, directory.Bed{ID: in.ID, Ward: in.Ward, Name: in.Name})
	if errors.Is(err, store.ErrNotFound) {
		return nil, api.Invalid("ward", "no ward %.64q", in.Ward)
	}
	if err != nil {
		return nil, err
	}
	return made{in.ID}, h.Access.Record(ctx, rq.Grant, access.Resource{Kind: "bed", ID: in.ID}, "created; ward: "+in.Ward)
}

func (h *handler) createPatient(ctx context.Context, rq *api.Request) (any, error) {
	in, err := api.Decode[struct {
		Name  string `json:"name"`
		Bed   string `json:"bed"`   // empty: not admitted yet
		Meant bool   `json:"meant"` // another patient of this name is no mistake
	}](rq)
	if err != nil {
		return nil, err
	}
	if err := h.free(ctx, in.Bed); err != nil {
		return nil, err
	}
	if !in.Meant {
		if err := h.namesakes(ctx, rq, in.Name); err != nil {
			return nil, err
		}
	}
	id, err := h.Store.CreatePatient(ctx, in.Name)
	if err != nil {
		return nil, err
	}
	if err := h.Access.Record(ctx, rq.Grant, access.OnPatient(id), "created; bed: "+noneOr(in.Bed)); err != nil {
		return nil, err
	}
	if in.Bed != "" {
		if err := h.Store.Admit(ctx, id, in.Bed, time.Now()); err != nil {
			return nil, err
		}
	}
	channel, err := h.Store.ChannelOf(ctx, id)
	if err != nil {
		return nil, err
	}
	return struct {
		ID      string `json:"id"`
		Channel int64  `json:"channel"`
	}{id, channel.ID}, nil
}

// namesakes asks whether a patient is meant to be another one than those of the same name: two records of one person, or one record
// of two, mix up whose readings are whose.
func (h *handler) namesakes(ctx context.Context, rq *api.Request, name string) error {
	refs, err := h.Store.Patients(ctx)
	if err != nil {
		return err
	}
	var found []string
	for _, r := range refs {
		has, err := h.Store.PatientName(ctx, rq.Grant, r.ID)
		switch {
		case errors.Is(err, store.ErrNotAllowed), errors.Is(err, store.ErrNotFound):
		case err != nil:
			return err
		case asRead(has) == asRead(name):
			where := "at no bed now"
			if r.Bed != "" {
				where = "at bed " + r.Bed + " now"
			}
			found = append(found, fmt.Sprintf("a patient of this name exists: %s, %s; if it is the same person, admit that one (vitalseal patient admit %s BED)", r.ID, where, r.ID))
		}
		if len(found) == 5 {
			break
		}
	}
	if len(found) > 0 {
		return &question{found}
	}
	return nil
}

// asRead is a name as it is read: two that differ only in case, spaces or what does not show (format characters, Unicode Cf) are one.
// A format character is not refused in a name: some scripts need it.
func asRead(name string) string {
	shown := strings.Map(func(r rune) rune {
		if unicode.Is(unicode.Cf, r) {
			return -1
		}
		return unicode.ToLower(r)
	}, name)
	return strings.Join(strings.Fields(shown), " ")
}

func noneOr(id string) string {
	if id == "" {
		return "none"
	}
	return id
}

// free refuses a bed that does not exist or is taken, before a patient is made that could then not lie in it.
func (h *handler) free(ctx context.Context, bed string) error {
	if bed == "" {
		return nil
	}
	beds, err := h.Store.Beds(ctx)
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(beds, func(b directory.Bed) bool { return b.ID == bed }) {
		return api.Invalid("bed", "no bed %.64q", bed)
	}
	refs, err := h.Store.Patients(ctx)
	if err == nil && slices.ContainsFunc(refs, func(r access.PatientRef) bool { return r.Bed == bed }) {
		err = store.ErrOccupied
	}
	return err
}

// createChannel makes a free channel. Keys for it are made by those who will use them, each in their own name.
func (h *handler) createChannel(ctx context.Context, rq *api.Request) (any, error) {
	in, err := api.Decode[struct {
		Name   string   `json:"name"`
		Fields []string `json:"fields"`
	}](rq)
	if err != nil {
		return nil, err
	}
	c := channel.Channel{Name: in.Name}
	if len(in.Fields) > len(c.Fields) {
		return nil, api.Invalid("fields", "at most %d", len(c.Fields))
	}
	copy(c.Fields[:], in.Fields)
	if c, err = h.Store.CreateChannel(ctx, c); err != nil {
		return nil, err
	}
	return struct {
		ID int64 `json:"id"`
	}{c.ID}, h.Access.Record(ctx, rq.Grant, access.OnChannel(c.ID), "created")
}
