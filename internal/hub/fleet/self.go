package fleet

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"time"

	"vitalseal/internal/hub/directory"
	"vitalseal/internal/hub/store"
	"vitalseal/internal/way/overlay"
)

// RegisterSelf puts this hub into the inventory: the first one by itself, another by its ticket.
func (v *Inventory) RegisterSelf(ctx context.Context, config []byte, version string, ticket *overlay.Ticket) error {
	d, err := v.store.Device(ctx, v.self.String())
	switch {
	case errors.Is(err, store.ErrNotFound):
		err = v.first(ctx)
	case err != nil:
	case d.State == directory.DeviceInvited && ticket == nil:
		err = fmt.Errorf("%s is invited: name its ticket in overlay: ticket", v.self)
	case d.State == directory.DeviceInvited:
		_, err = v.store.RedeemTicket(ctx, sha256.Sum256([]byte(ticket.Secret)), []string{v.self.String()}, time.Now())
		if errors.Is(err, directory.ErrTicketUsed) && !d.Enrolled.IsZero() { // by us, interrupted in between
			err = nil
		}
		if err == nil {
			err = v.store.MarkEnrolled(ctx, v.self.String(), time.Now())
		}
		if err == nil {
			err = v.store.AdmitDevice(ctx, v.self.String())
		}
	case d.State != directory.DeviceActive:
		err = fmt.Errorf("%w: %s is %s; an administrator can enable it at another hub", errHubOut, v.self, d.State)
	}
	if err == nil {
		err = v.store.SetZitiID(ctx, v.self.String(), overlay.ZitiID(config))
	}
	if err == nil {
		err = v.store.NoteVersion(ctx, v.self.String(), version)
	}
	if err != nil {
		return fmt.Errorf("hub: inventory: %w", err)
	}
	return nil
}

// first puts the first hub of a deployment into the inventory.
func (v *Inventory) first(ctx context.Context) error {
	all, err := v.Devices(ctx)
	if err != nil {
		return err
	}
	for _, d := range all {
		if d.Kind == overlay.KindHub {
			return fmt.Errorf("this database has hubs already (%s), and %s was not invited: `vitalseal identity invite-hub %s` at one of them makes a ticket; name it in overlay: ticket, and this hub's name in name",
				d.ID, v.self, v.self.Name)
		}
	}
	return v.store.CreateDevice(ctx, directory.Device{ID: v.self.String(), Kind: overlay.KindHub, State: directory.DeviceActive,
		EnrolledBy: "first start", Enrolled: time.Now()})
}

// errHubOut is why a hub stops, or does not start, that was disabled or deleted at another.
var errHubOut = errors.New("this hub is not active in the inventory")

// Alive notes that this hub is there, until ctx ends or it is not to be any more.
func (v *Inventory) Alive(ctx context.Context) error {
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	for n := 0; ; n++ {
		switch err := v.Active(ctx, v.self); {
		case errors.Is(err, errInactive):
			return fmt.Errorf("hub: %w; an administrator at another hub decided so", errHubOut)
		case err == nil && n%10 == 0:
			if err := v.store.TouchDevice(ctx, v.self.String()); err != nil && ctx.Err() == nil {
				v.log.Warn("last seen not noted", "identity", v.self.String(), "err", err)
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}
