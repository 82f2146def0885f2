package hub

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"vitalseal/internal/overlay"
	"vitalseal/internal/store"
)

// Roles on the overlay, without '#'. A component that holds only a ticket is enrolling.
const roleEnrolling = "enrolling"

// errInactive is why a connection of an enrolled but not active component is refused.
var errInactive = errors.New("hub: identity is not active in the inventory")

// Administration is what the hub does on the overlay network: OpenZiti's management interface.
type Administration interface {
	CreateIdentity(ctx context.Context, id overlay.ID, roles ...string) (zitiID, token string, err error)
	SetRoles(ctx context.Context, zitiID string, roles ...string) error
	Disable(ctx context.Context, zitiID string) error
	Enable(ctx context.Context, zitiID string) error
	Delete(ctx context.Context, zitiID string) error
	Apply(ctx context.Context, plan overlay.Plan) error
}

// inventory ties the two halves of a component together, its place in our directory and its identity on the overlay,
// and makes sure that whatever happens to one happens to the other. Either half alone is enough to keep it out.
type inventory struct {
	domain    string
	store     *store.Store
	network   Administration
	authority *overlay.Authority
	recipient []byte
	ticketTTL time.Duration
	cut       func(overlay.ID) // closes the component's live connections at this hub
	log       *slog.Logger

	// changing makes changes of state one after the other, both halves together: a component that is disabled while it
	// enrols stays disabled.
	changing sync.Mutex
}

// invite creates components that may enrol once, and gives the ticket that lets them: JSON, shown once.
func (v *inventory) invite(ctx context.Context, enrolledBy string, devices []store.Device) (json.RawMessage, error) {
	now := time.Now()
	t := overlay.Ticket{
		Version: 1, Deployment: v.domain,
		RootSHA256:      overlay.HexSHA256(v.authority.Root().Raw),
		RecipientSHA256: overlay.HexSHA256(v.recipient),
		Secret:          overlay.NewTicketSecret(),
		Expires:         now.Add(v.ticketTTL).UTC().Truncate(time.Second),
	}
	ids := make([]string, 0, len(devices))
	for _, d := range devices {
		id, err := overlay.ParseID(d.ID)
		if err != nil {
			return nil, err
		}
		zitiID, token, err := v.network.CreateIdentity(ctx, id, roleEnrolling)
		if err != nil {
			return nil, fmt.Errorf("hub: invite %s: %w", id, err)
		}
		d.ZitiID, d.State, d.EnrolledBy = zitiID, store.DeviceInvited, enrolledBy
		if err := v.store.CreateDevice(ctx, d); err != nil {
			// Not in our directory, so it must not stay on the overlay either.
			return nil, errors.Join(err, v.network.Delete(ctx, zitiID))
		}
		if d.Bed != "" {
			if err := v.store.PlaceDevice(ctx, d.ID, d.Bed, now); err != nil {
				return nil, err
			}
		}
		ids = append(ids, d.ID)
		t.Components = append(t.Components, overlay.TicketComponent{ID: d.ID, ZitiJWT: token})
	}
	if err := v.store.CreateTicket(ctx, sha256.Sum256([]byte(t.Secret)), ids, t.Expires); err != nil {
		return nil, err
	}
	return json.Marshal(t) // #nosec G117 -- a ticket is a secret, shown once to whoever may invite
}

// Redeem is overlay.Enroller's. A ticket that covers a deleted component is worth nothing: nobody gets a certificate for a
// name that was taken back.
func (v *inventory) Redeem(ctx context.Context, secret string, ids []overlay.ID, _ overlay.ID) error {
	v.changing.Lock()
	defer v.changing.Unlock()
	for _, id := range ids {
		d, err := v.store.Device(ctx, id.String())
		if errors.Is(err, store.ErrNotFound) || err == nil && d.State == store.DeviceDeleted {
			return fmt.Errorf("%w: %s is not in the inventory", overlay.ErrTicketInvalid, id)
		}
		if err != nil {
			return err
		}
	}
	_, err := v.store.RedeemTicket(ctx, sha256.Sum256([]byte(secret)), spiffeIDs(ids), time.Now())
	switch {
	case errors.Is(err, store.ErrTicketExpired):
		return fmt.Errorf("%w: %w", overlay.ErrTicketExpired, err)
	case errors.Is(err, store.ErrTicketUsed):
		return fmt.Errorf("%w: %w", overlay.ErrTicketUsed, err)
	case errors.Is(err, store.ErrNotFound), errors.Is(err, store.ErrTicketMismatch):
		return fmt.Errorf("%w: %w", overlay.ErrTicketInvalid, err)
	}
	return err
}

func spiffeIDs(ids []overlay.ID) []string {
	s := make([]string, len(ids))
	for i, id := range ids {
		s[i] = id.String()
	}
	return s
}

// Promote is overlay.Enroller's: from here on the components may do their work, except for those that an administrator
// disabled or deleted in the meantime. It may be called again.
func (v *inventory) Promote(ctx context.Context, ids []overlay.ID) error {
	v.changing.Lock()
	defer v.changing.Unlock()
	for _, id := range ids {
		d, err := v.store.Device(ctx, id.String())
		if err != nil {
			return err
		}
		if d.State != store.DeviceInvited && d.State != store.DeviceActive {
			v.log.Warn("component enrolled but not let in", "identity", d.ID, "state", d.State)
			continue
		}
		if err := v.network.SetRoles(ctx, d.ZitiID, id.Kind); err != nil {
			return err
		}
		if err := v.store.SetDeviceState(ctx, d.ID, store.DeviceActive); err != nil {
			return err
		}
		v.log.Info("component enrolled", "identity", d.ID, "enrolled_by", d.EnrolledBy)
	}
	return nil
}

// active refuses whoever is not in the inventory or not active there.
func (v *inventory) active(ctx context.Context, id overlay.ID) error {
	d, err := v.store.Device(ctx, id.String())
	if errors.Is(err, store.ErrNotFound) {
		return errInactive
	}
	if err != nil {
		return err // fail closed
	}
	if d.State != store.DeviceActive {
		return errInactive
	}
	return nil
}

// admit is active for whoever stays connected here, and notes that it was seen. Ingest notes its own.
func (v *inventory) admit(ctx context.Context, id overlay.ID) error {
	if err := v.active(ctx, id); err != nil {
		return err
	}
	if err := v.store.TouchDevice(ctx, id.String()); err != nil {
		v.log.Warn("last seen not noted", "identity", id.String(), "err", err) // no reason to keep it out
	}
	return nil
}

// renewable is active in the terms of overlay.ServeRenew.
func (v *inventory) renewable(ctx context.Context, id overlay.ID) error {
	if err := v.admit(ctx, id); err != nil {
		return fmt.Errorf("%w: %w", overlay.ErrRefused, err)
	}
	return nil
}

// disable keeps a component out, here first and then on the overlay, and ends its live connections.
func (v *inventory) disable(ctx context.Context, spiffeID string) error {
	return v.change(ctx, spiffeID, store.DeviceDisabled, v.network.Disable)
}

// enable lets a disabled component back in.
func (v *inventory) enable(ctx context.Context, spiffeID string) error {
	v.changing.Lock()
	defer v.changing.Unlock()
	id, err := overlay.ParseID(spiffeID)
	if err != nil {
		return err
	}
	d, err := v.store.Device(ctx, spiffeID)
	if err != nil {
		return err
	}
	if d.State != store.DeviceDisabled {
		return fmt.Errorf("hub: enable %s: %w: it is %s, not disabled", id, store.ErrConflict, d.State)
	}
	if err := v.network.Enable(ctx, d.ZitiID); err != nil {
		return err
	}
	return v.store.SetDeviceState(ctx, spiffeID, store.DeviceActive)
}

// remove deletes a component from the overlay for good. Its place in the directory stays, as deleted: its readings
// still name it.
func (v *inventory) remove(ctx context.Context, spiffeID string) error {
	return v.change(ctx, spiffeID, store.DeviceDeleted, v.network.Delete)
}

func (v *inventory) change(ctx context.Context, spiffeID, state string, onNetwork func(context.Context, string) error) error {
	v.changing.Lock()
	defer v.changing.Unlock()
	id, err := overlay.ParseID(spiffeID)
	if err != nil {
		return err
	}
	d, err := v.store.Device(ctx, spiffeID)
	if err != nil {
		return err
	}
	if d.State == store.DeviceDeleted && state != store.DeviceDeleted { // deleting again is how the overlay catches up
		return fmt.Errorf("hub: %s: %w: it is deleted, which is for good", id, store.ErrConflict)
	}
	if err := v.store.SetDeviceState(ctx, spiffeID, state); err != nil {
		return err
	}
	v.cut(id) // our half holds even if the overlay cannot be reached now
	if err := onNetwork(ctx, d.ZitiID); err != nil {
		return fmt.Errorf("hub: %s is %s and cut off here, but the overlay did not follow: %w", id, state, err)
	}
	v.cut(id)
	return nil
}
