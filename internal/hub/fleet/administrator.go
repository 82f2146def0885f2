package fleet

import (
	"context"
	"encoding/json"
	"errors"

	"vitalseal/internal/hub/directory"
	"vitalseal/internal/hub/store"
	"vitalseal/internal/way/overlay"
)

// administrator is what is kept of a joined hub's second identity, as one of the database's secrets.
type administrator struct {
	ZitiID string `json:"ziti"`
	Token  string `json:"token,omitempty"` // one-time; gone once it has been used
}

func administratorSecret(hub overlay.ID) string { return "hub-admin-" + hub.Name }

// inviteAdministrator makes the identity by which an invited hub will administer the network. Its token waits in the database for
// all who have the root key.
func (v *Inventory) inviteAdministrator(ctx context.Context, hub overlay.ID) (undo func(context.Context) error, err error) {
	ziti, token, err := v.network.CreateAdministrator(ctx, hub)
	if err != nil {
		return nil, err
	}
	undo = func(ctx context.Context) error {
		return errors.Join(v.network.Delete(ctx, ziti), v.store.DeleteSecret(ctx, administratorSecret(hub)))
	}
	b, err := json.Marshal(administrator{ziti, token}) // #nosec G117 -- goes into the store sealed
	if err == nil {
		err = v.store.SaveSecret(ctx, administratorSecret(hub), b)
	}
	return undo, err
}

// administratorOf is the network's identity by which another hub administers it; "" for none that we made.
func (v *Inventory) administratorOf(ctx context.Context, hub overlay.ID) (string, error) {
	var a administrator
	b, err := v.store.Secret(ctx, administratorSecret(hub))
	if errors.Is(err, store.ErrNotFound) {
		return "", nil
	}
	if err == nil {
		err = json.Unmarshal(b, &a)
	}
	return a.ZitiID, err
}

// administratorOut keeps out what another hub administers the network by.
func (v *Inventory) administratorOut(ctx context.Context, d directory.Device, forGood bool) error {
	id, err := overlay.ParseID(d.ID)
	if err != nil {
		return err
	}
	ziti, err := v.administratorOf(ctx, id)
	switch {
	case err != nil || ziti == "":
		return err
	case forGood:
		return v.network.Delete(ctx, ziti)
	}
	return v.network.Disable(ctx, ziti)
}

// AdministratorToken is the one-time token with which an invited hub enrols what it administers the
// network by: known is false for a hub that was not invited, token is empty once it was used.
func AdministratorToken(ctx context.Context, st *store.Store, hub overlay.ID) (token string, known bool, err error) {
	var a administrator
	b, err := st.Secret(ctx, administratorSecret(hub))
	if errors.Is(err, store.ErrNotFound) {
		return "", false, nil
	}
	if err == nil {
		err = json.Unmarshal(b, &a)
	}
	return a.Token, true, err
}

// KeepAdministrator notes by which identity a hub administers the network, in the place of its
// token: it is what the other hubs keep out, should this one be disabled.
func KeepAdministrator(ctx context.Context, st *store.Store, hub overlay.ID, config []byte) error {
	b, err := json.Marshal(administrator{ZitiID: overlay.ZitiID(config)})
	if err == nil {
		_, err = st.UpdateSecret(ctx, administratorSecret(hub), func([]byte) ([]byte, error) { return b, nil })
	}
	return err
}

// hubsOut does so for every hub that is disabled or deleted, once: such a hub may have decided that itself, and ended.
func (v *Inventory) hubsOut(ctx context.Context) error {
	all, err := v.Devices(ctx)
	for _, d := range all {
		if d.Kind != overlay.KindHub || v.hubState[d.ID] == d.State || d.ID == v.self.String() {
			continue
		}
		if d.State == directory.DeviceDisabled || d.State == directory.DeviceDeleted {
			if e := v.administratorOut(ctx, d, d.State == directory.DeviceDeleted); e != nil {
				err = errors.Join(err, e)
				continue
			}
		}
		if v.hubState == nil {
			v.hubState = map[string]string{}
		}
		v.hubState[d.ID] = d.State
	}
	return err
}
