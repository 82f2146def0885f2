package fleet

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"vitalseal/internal/hub/directory"
	"vitalseal/internal/hub/store"
	"vitalseal/internal/way/overlay"
)

// newTicket is a ticket that still names no component.
func (v *Inventory) newTicket() overlay.Ticket {
	return overlay.Ticket{
		Version: 1, Deployment: v.domain,
		RootSHA256:      overlay.HexSHA256(v.authority.Root().Raw),
		RecipientSHA256: overlay.HexSHA256(v.recipient),
		Secret:          overlay.NewTicketSecret(),
		Expires:         time.Now().Add(v.ticketTTL).UTC().Truncate(time.Second),
	}
}

// onNetwork makes a component's identity on the overlay, with a one-time token.
func (v *Inventory) onNetwork(ctx context.Context, id overlay.ID, d directory.Device) (zitiID, token string, err error) {
	if id.Kind == overlay.KindRouter {
		return v.network.CreateRouter(ctx, id)
	}
	return v.network.CreateIdentity(ctx, id, v.project.roles(d)...)
}

// seal stores a ticket's secret and writes the ticket.
func (v *Inventory) seal(ctx context.Context, t overlay.Ticket) (json.RawMessage, error) {
	ids := make([]string, len(t.Components))
	for i, c := range t.Components {
		ids[i] = c.ID
	}
	if err := v.store.CreateTicket(ctx, sha256.Sum256([]byte(t.Secret)), ids, t.Expires); err != nil {
		return nil, err
	}
	return json.Marshal(t) // #nosec G117 -- a ticket is a secret, shown once to a person who may invite
}

// Reissue gives a component of the inventory a new ticket, a gateway together with what hangs on it. Its old keys are worth
// nothing from now on, here and on the overlay, and it waits for its enrolment; its place and its readings stay. Interrupted,
// it can be called again.
func (v *Inventory) Reissue(ctx context.Context, by, spiffeID string) (json.RawMessage, error) {
	if err := v.keepsOne(ctx, spiffeID); err != nil {
		return nil, err
	}
	return v.ReissueAny(ctx, by, spiffeID)
}

// ReissueAny is Reissue, for the last workstation as well.
func (v *Inventory) ReissueAny(ctx context.Context, by, spiffeID string) (json.RawMessage, error) {
	v.changing.Lock()
	defer v.changing.Unlock()
	d, err := v.store.Device(ctx, spiffeID)
	if err != nil {
		return nil, err
	}
	if d.ID == v.self.String() {
		return nil, fmt.Errorf("hub: %s: %w: this hub needs no ticket", v.self, store.ErrConflict)
	}
	group := []directory.Device{d}
	for _, x := range v.hanging(ctx, spiffeID) {
		if x.State != directory.DeviceDisabled {
			group = append(group, x)
		}
	}
	ids := make([]string, len(group))
	for i, x := range group {
		ids[i] = x.ID
	}
	if err := v.store.ReinviteDevices(ctx, ids, by); err != nil {
		return nil, err
	}
	v.sweep(ctx) // the old keys end here before anything is asked of the overlay
	t := v.newTicket()
	for _, x := range group {
		c, err := v.renewOnNetwork(ctx, x)
		if err != nil {
			return nil, fmt.Errorf("hub: new ticket for %s: %w", x.ID, err)
		}
		if x.Kind == overlay.KindHub || x.Kind == overlay.KindRouter {
			t.Kind = x.Kind
		}
		t.Components = append(t.Components, c)
	}
	v.poke.reconcile()
	return v.seal(ctx, t)
}

// renewOnNetwork puts a new identity in the place of a component's old one on the overlay, if that is there at all.
func (v *Inventory) renewOnNetwork(ctx context.Context, d directory.Device) (c overlay.TicketComponent, err error) {
	id, err := overlay.ParseID(d.ID)
	if err != nil {
		return c, err
	}
	v.own.note(d.ZitiID)
	if d.ZitiID != "" {
		if err := v.keepOut(ctx, d, true); err != nil {
			return c, err
		}
	}
	d.State = directory.DeviceInvited
	ziti, token, err := v.onNetwork(ctx, id, d)
	if err != nil {
		return c, err
	}
	v.own.note(ziti)
	if err := v.store.SetZitiID(ctx, d.ID, ziti); err != nil {
		return c, errors.Join(err, v.keepOut(ctx, directory.Device{ID: d.ID, Kind: d.Kind, ZitiID: ziti}, true))
	}
	if id.Kind == overlay.KindHub {
		if _, err := v.inviteAdministrator(ctx, id); err != nil {
			return c, err
		}
	}
	return overlay.TicketComponent{ID: d.ID, ZitiJWT: token}, nil
}

// ReissueAll gives every component that is neither disabled nor deleted a new ticket, for an overlay that knows none of them.
// Tickets are by the SPIFFE id of what they are for, a gateway's for all that hangs on it. What failed is in the error; the
// rest has its tickets.
func (v *Inventory) ReissueAll(ctx context.Context, by string) (tickets map[string]json.RawMessage, err error) {
	all, err := v.Devices(ctx)
	if err != nil {
		return nil, err
	}
	tickets = map[string]json.RawMessage{}
	for _, id := range slices.Sorted(maps.Keys(all)) {
		d := all[id]
		if d.ID == v.self.String() || d.State != directory.DeviceActive && d.State != directory.DeviceInvited {
			continue
		}
		if g, ok := all[d.Gateway]; ok && (g.State == directory.DeviceActive || g.State == directory.DeviceInvited) {
			continue // it is on its gateway's ticket
		}
		ticket, failed := v.ReissueAny(ctx, by, id)
		if failed != nil {
			err = errors.Join(err, failed)
			continue
		}
		tickets[id] = ticket
	}
	return tickets, err
}

// keepsOne refuses to take out the last workstation at which people sign in: from then on no administrator could reach the hub.
func (v *Inventory) keepsOne(ctx context.Context, spiffeID string) error {
	all, err := v.Devices(ctx)
	if err != nil {
		return err
	}
	if !worksHere(all[spiffeID]) {
		return nil
	}
	for _, d := range all {
		if d.ID != spiffeID && worksHere(d) {
			return nil
		}
	}
	return fmt.Errorf("hub: %s: %w: it is the last active workstation, and without one no administrator reaches this hub; enrol another one first", spiffeID, store.ErrConflict)
}

// worksHere tells whether people sign in at a component.
func worksHere(d directory.Device) bool {
	return d.Kind == overlay.KindWorkstation && d.Mode != directory.ModeDisplay && d.State == directory.DeviceActive
}
