package hub

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"vitalseal/internal/disk"
	"vitalseal/internal/overlay"
	"vitalseal/internal/overlay/manage"
	"vitalseal/internal/seal"
	"vitalseal/internal/store"
)

// Several hubs on one database: each has its own name, its own two identities on the overlay and its own audit log; keys, directory
// and readings are in the database, under one root key.

// The hub's two identities on the overlay, in its data folder.
const (
	hubConfigFile   = "hub.openziti.json"
	adminConfigFile = "hub-admin.openziti.json"
)

// maxDSN bounds a file that holds a connection string.
const maxDSN = 4 << 10

// openStore opens the store where the configuration says.
func openStore(ctx context.Context, cfg Config, keys seal.KeyStore, log *slog.Logger, options ...store.Option) (*store.Store, error) {
	dsn, err := cfg.dsn()
	if err != nil {
		return nil, err
	}
	st, err := store.Open(ctx, filepath.Join(cfg.Data, "store"), keys, log, append(options, store.WithPostgres(dsn))...)
	if errors.Is(err, seal.ErrOpen) {
		return nil, fmt.Errorf("hub: the root key %s does not open what is stored; the one that was kept apart belongs here: %w", filepath.Join(cfg.Data, rootKeyFile), err)
	}
	if err != nil {
		return nil, fmt.Errorf("hub: %w", err)
	}
	return st, nil
}

// dsn is the database's connection string; empty for files.
func (c Config) dsn() (string, error) {
	path, inFile := strings.CutPrefix(c.Database, "file:")
	if !inFile {
		return c.Database, nil
	}
	dsn, err := readDSN(path)
	if err != nil {
		return "", fmt.Errorf("hub: configuration: database: %w", err)
	}
	return dsn, nil
}

// readDSN reads a connection string from a file that no other user may read: it may hold a password.
func readDSN(path string) (string, error) {
	b, err := disk.ReadPrivate(path, maxDSN)
	if err != nil {
		return "", err
	}
	dsn := strings.TrimSpace(string(b))
	if dsn == "" {
		return "", fmt.Errorf("%s is empty", path) // which would mean files
	}
	return dsn, nil
}

// administrator is what is kept of a joined hub's second identity, as one of the database's secrets.
type administrator struct {
	ZitiID string `json:"ziti"`
	Token  string `json:"token,omitempty"` // one-time; gone once it has been used
}

func administratorSecret(hub overlay.ID) string { return "hub-admin-" + hub.Name }

// inviteAdministrator makes the identity by which an invited hub will administer the network. Its token waits in the database for
// all who have the root key.
func (v *inventory) inviteAdministrator(ctx context.Context, hub overlay.ID) (undo func(context.Context) error, err error) {
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
func (v *inventory) administratorOf(ctx context.Context, hub overlay.ID) (string, error) {
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
func (v *inventory) administratorOut(ctx context.Context, d store.Device, forGood bool) error {
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

// hubsOut does so for every hub that is disabled or deleted, once: such a hub may have decided that itself, and ended.
func (v *inventory) hubsOut(ctx context.Context) error {
	all, err := v.devices(ctx)
	for _, d := range all {
		if d.Kind != overlay.KindHub || v.hubState[d.ID] == d.State || d.ID == v.self.String() {
			continue
		}
		if d.State == store.DeviceDisabled || d.State == store.DeviceDeleted {
			if e := v.administratorOut(ctx, d, d.State == store.DeviceDeleted); e != nil {
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

// readTicket reads the ticket of a hub that joins; nil if there is none, or it was used.
func readTicket(cfg Config, self overlay.ID, authority *overlay.Authority) (*overlay.Ticket, error) {
	if cfg.Overlay.Ticket == "" {
		return nil, nil
	}
	t, err := overlay.ReadTicket(cfg.Overlay.Ticket)
	if errors.Is(err, os.ErrNotExist) { // used, and deleted as it should be
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("hub: configuration: overlay: ticket: %w", err)
	}
	switch {
	case t.RootSHA256 != overlay.HexSHA256(authority.Root().Raw):
		return nil, fmt.Errorf("hub: configuration: overlay: ticket: %w: it is of another deployment than this database", overlay.ErrTicketInvalid)
	case len(t.Components) != 1 || t.Components[0].ID != self.String():
		return nil, fmt.Errorf("hub: configuration: overlay: ticket: %w: it is for %s, but this hub is %s; give it the name it was invited by", overlay.ErrTicketInvalid, t.Components[0].ID, self)
	}
	return &t, nil
}

// joinOverlay gives the configuration of this hub's identity on the overlay, enrolling it the first time: with the token that the overlay
// wrote for the first hub, or the one in a ticket.
func joinOverlay(ctx context.Context, network overlay.Network, cfg Config, ticket *overlay.Ticket) ([]byte, error) {
	path := filepath.Join(cfg.Data, hubConfigFile)
	if ticket != nil {
		return enrolOnce(ctx, network, path, "", func() (string, error) { return ticket.Components[0].ZitiJWT, nil })
	}
	return enrolOnce(ctx, network, path, cfg.Overlay.HubToken, tokenIn(cfg.Overlay.HubToken))
}

// joinAdministration enrols the identity that administers the overlay, likewise; a joining hub's token is in the database.
func joinAdministration(ctx context.Context, network overlay.Network, cfg Config, st *store.Store, self overlay.ID) (path string, err error) {
	path = filepath.Join(cfg.Data, adminConfigFile)
	config, err := enrolOnce(ctx, network, path, cfg.Overlay.AdminToken, func() (string, error) {
		b, err := st.Secret(ctx, administratorSecret(self))
		if errors.Is(err, store.ErrNotFound) {
			return tokenIn(cfg.Overlay.AdminToken)()
		}
		var a administrator
		if err == nil {
			err = json.Unmarshal(b, &a)
		}
		if err == nil && a.Token == "" {
			err = fmt.Errorf("hub: %s administers the overlay already, from another data folder; use that one, or delete this hub and invite it again", self)
		}
		return a.Token, err
	})
	if err != nil {
		return path, err
	}
	// The token is used up, whatever its source; the identity is what other hubs keep out, should this one be disabled.
	b, err := json.Marshal(administrator{ZitiID: overlay.ZitiID(config)})
	if err == nil {
		_, err = st.UpdateSecret(ctx, administratorSecret(self), func([]byte) ([]byte, error) { return b, nil })
	}
	return path, err
}

// ErrOtherOverlay says that the overlay that answers is not the one on which this hub has its identities.
var ErrOtherOverlay = errors.New("hub: the overlay does not know this hub")

// otherOverlay says so of an error of the administration's sign-in, where it is one of who answered or of who asked.
func otherOverlay(cfg Config, err error) error {
	tokens := 0
	for _, f := range []string{cfg.Overlay.HubToken, cfg.Overlay.AdminToken} {
		if _, e := os.Stat(f); f != "" && e == nil {
			tokens++
		}
	}
	if !errors.Is(err, manage.ErrStranger) {
		if tokens == 2 {
			return fmt.Errorf("hub: %w (the one-time tokens of an overlay are there: if that is a new, empty one at another address, see `vitalseal hub recover --help`)", err)
		}
		return fmt.Errorf("hub: %w", err)
	}
	return fmt.Errorf("%w: it is another or an empty one, and every component's keys are of the overlay before: %w", ErrOtherOverlay, err)
}

// tokenIn reads a one-time token from a file.
func tokenIn(file string) func() (string, error) {
	return func() (string, error) {
		if file == "" {
			return "", errors.New("hub: configuration: overlay: hub_token and admin_token: missing; the overlay wrote both at its first start. A hub that joins others has a ticket instead: `vitalseal identity invite-hub`")
		}
		token, err := os.ReadFile(file) // #nosec G304 -- the administrator names the file
		if err != nil {
			return "", fmt.Errorf("hub: the overlay's one-time token: %w", err)
		}
		return string(token), nil
	}
}

// enrolOnce gives the configuration at path, or redeems a token for it, whose file is removed then.
func enrolOnce(ctx context.Context, network overlay.Network, path, file string, token func() (string, error)) ([]byte, error) {
	b, err := os.ReadFile(path) // #nosec G304 -- below the hub's own folder
	if err == nil {
		return b, nil
	}
	if !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("hub: %w", err)
	}
	jwt, err := token()
	if err != nil {
		return nil, err
	}
	if err := overlay.CheckMachine(ctx, network, filepath.Dir(path), jwt, slog.New(slog.DiscardHandler)); err != nil {
		return nil, fmt.Errorf("hub: enrol on the overlay: %w", err)
	}
	if b, err = network.Enrol(ctx, jwt); err != nil {
		return nil, fmt.Errorf("hub: enrol on the overlay: %w", err)
	}
	if err := writeSecretFile(path, b); err != nil {
		return nil, err
	}
	if file != "" {
		_ = os.Remove(file) // used up; where it cannot be removed the overlay finds that out
	}
	return b, nil
}

// registerSelf puts this hub into the inventory: the first one by itself, another by its ticket.
func (v *inventory) registerSelf(ctx context.Context, config []byte, version string, ticket *overlay.Ticket) error {
	d, err := v.store.Device(ctx, v.self.String())
	switch {
	case errors.Is(err, store.ErrNotFound):
		err = v.first(ctx)
	case err != nil:
	case d.State == store.DeviceInvited && ticket == nil:
		err = fmt.Errorf("%s is invited: name its ticket in overlay: ticket", v.self)
	case d.State == store.DeviceInvited:
		_, err = v.store.RedeemTicket(ctx, sha256.Sum256([]byte(ticket.Secret)), []string{v.self.String()}, time.Now())
		if errors.Is(err, store.ErrTicketUsed) && !d.Enrolled.IsZero() { // by us, interrupted in between
			err = nil
		}
		if err == nil {
			err = v.store.MarkEnrolled(ctx, v.self.String(), time.Now())
		}
		if err == nil {
			err = v.store.AdmitDevice(ctx, v.self.String())
		}
	case d.State != store.DeviceActive:
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
func (v *inventory) first(ctx context.Context) error {
	all, err := v.devices(ctx)
	if err != nil {
		return err
	}
	for _, d := range all {
		if d.Kind == overlay.KindHub {
			return fmt.Errorf("this database has hubs already (%s), and %s was not invited: `vitalseal identity invite-hub %s` at one of them makes a ticket; name it in overlay: ticket, and this hub's name in name",
				d.ID, v.self, v.self.Name)
		}
	}
	return v.store.CreateDevice(ctx, store.Device{ID: v.self.String(), Kind: overlay.KindHub, State: store.DeviceActive,
		EnrolledBy: "first start", Enrolled: time.Now()})
}

// errHubOut is why a hub stops, or does not start, that was disabled or deleted at another.
var errHubOut = errors.New("this hub is not active in the inventory")

// alive notes that this hub is there, until ctx ends or it is not to be any more.
func (v *inventory) alive(ctx context.Context) error {
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	for n := 0; ; n++ {
		switch err := v.active(ctx, v.self); {
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
