package dashboard

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"sort"
	"sync"
	"time"

	"vitalseal/internal/hub/access"
	"vitalseal/internal/hub/directory"
)

// maxScreens bounds the grants that are remembered for wall screens.
const maxScreens = 4096

// screens remembers the grants of wall screens, so that a screen that asks every second is audited when it begins to show a
// patient, and every access.WatchEvery while it goes on, and not every second. The zero value is ready.
type screens struct {
	mu     sync.Mutex
	grants map[[2]string]access.Grant // by workstation and patient
}

// grant is a decision that holds now: a remembered one renewed, or a new one.
func (c *screens) grant(ctx context.Context, e *access.Engine, s access.Subject, patient string) (access.Grant, error) {
	key := [2]string{s.Workstation, patient}
	c.mu.Lock()
	old, known := c.grants[key]
	c.mu.Unlock()
	var g access.Grant
	var err error
	if known {
		g, err = e.Renew(ctx, s, old)
	}
	if !known || err != nil && !errors.Is(err, access.ErrUndecided) {
		g, err = e.DecideView(ctx, s, access.ViewDisplay, access.OnPatient(patient))
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if err != nil {
		delete(c.grants, key)
		return access.Grant{}, err
	}
	if c.grants == nil || len(c.grants) >= maxScreens {
		c.grants = map[[2]string]access.Grant{}
	}
	c.grants[key] = g
	return g, nil
}

// displayBed is a bed on a wall screen: nothing says who lies there.
type displayBed struct {
	Bed      string   `json:"bed"`
	WardName string   `json:"ward_name"`
	Occupied bool     `json:"occupied"`
	Numerics readings `json:"numerics,omitempty"`
	AtBed    *atBed   `json:"at_bed,omitempty"`
	// Unreadable: what is stored of the patient cannot be read now.
	Unreadable bool `json:"unreadable,omitempty"`
}

// display is the picture of a wall screen: the beds of its wards with their numbers, without names or ids of patients, and
// while no user is signed in. Only a workstation that the inventory calls a display gets it.
func (h *Handler) display(w http.ResponseWriter, r *http.Request) error {
	ctx := r.Context()
	wards, err := h.displayWards(r)
	if err != nil {
		return err
	}
	if len(wards) == 0 {
		return &access.Denied{Action: access.ViewDisplay, Resource: access.OnSystem(), Reason: "no display"}
	}
	s := access.Display(h.cfg.Gate.Workstation(r), wards)
	rooms, err := h.rooms(ctx)
	if err != nil {
		return err
	}
	refs, err := h.cfg.Store.Patients(ctx)
	if err != nil {
		return err
	}
	in := map[string]string{} // patient by bed
	shown, err := h.cfg.Access.Filter(ctx, s, access.ViewDisplay, refs)
	if err != nil {
		return err
	}
	for _, p := range shown {
		in[p.Bed] = p.ID
	}
	answer := struct {
		ServerTime time.Time    `json:"server_time"`
		Beds       []displayBed `json:"beds"`
	}{Beds: []displayBed{}}
	// A wall says of a sensor that left where it is within the wards of the wall, and names no person.
	what := &house{h: h, rooms: rooms, sees: func(b directory.Bed) bool { return slices.Contains(wards, b.Ward) }}
	if err := what.read(ctx); err != nil {
		return err
	}
	for _, b := range rooms.beds {
		if !slices.Contains(wards, b.Ward) {
			continue
		}
		d := displayBed{Bed: b.Name, WardName: rooms.wards[b.Ward]}
		if patient := in[b.ID]; patient != "" {
			g, err := h.screens.grant(ctx, h.cfg.Access, s, patient)
			switch {
			case errors.Is(err, access.ErrDenied): // moved away just now
			case err != nil:
				return err
			default:
				d.Occupied = true
				if d.Numerics, err = h.latest(ctx, g, patient); err == nil {
					d.AtBed, err = what.bedside(ctx, b.ID, h.cfg.Now())
				}
				if err != nil {
					if err := h.unreadable(ctx, b.ID, err); err != nil {
						return err
					}
					d.Unreadable = true
				}
			}
		}
		answer.Beds = append(answer.Beds, d)
	}
	sort.SliceStable(answer.Beds, func(i, j int) bool {
		a, b := answer.Beds[i], answer.Beds[j]
		if a.WardName != b.WardName {
			return a.WardName < b.WardName
		}
		return lessNatural(a.Bed, b.Bed)
	})
	answer.ServerTime = h.now()
	h.write(w, http.StatusOK, answer)
	return nil
}
