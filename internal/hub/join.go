package hub

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"vitalseal/internal/hub/fleet"
	"vitalseal/internal/hub/store"
	"vitalseal/internal/shared/disk"
	"vitalseal/internal/way/overlay"
	"vitalseal/internal/way/overlay/manage"
	"vitalseal/internal/way/seal"
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
		token, known, err := fleet.AdministratorToken(ctx, st, self)
		if err == nil && !known {
			return tokenIn(cfg.Overlay.AdminToken)()
		}
		if err == nil && token == "" {
			err = fmt.Errorf("hub: %s administers the overlay already, from another data folder; use that one, or delete this hub and invite it again", self)
		}
		return token, err
	})
	if err != nil {
		return path, err
	}
	// The token is used up, whatever its source; the identity is what other hubs keep out, should this one be disabled.
	return path, fleet.KeepAdministrator(ctx, st, self, config)
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
