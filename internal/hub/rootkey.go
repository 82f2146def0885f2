package hub

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"

	"vitalseal/internal/hub/store"
	"vitalseal/internal/way/overlay"
	"vitalseal/internal/way/seal"
)

const rootKeyFile = "root.key"

// ErrNoRootKey means that a hub has stored something, but its root key is not there. A new one would open none of it.
var ErrNoRootKey = errors.New("hub: the root key is missing")

// openRoot reads the root key. It makes one at the first start, and never beside something that another root key sealed.
func openRoot(ctx context.Context, cfg Config, log *slog.Logger) (seal.KeyStore, error) {
	path := filepath.Join(cfg.Data, rootKeyFile)
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		left, err := storedBefore(ctx, cfg)
		if err != nil {
			return nil, err
		}
		if left == "" { // the first start: all that can be mended is looked at before a key is made
			if err := checkFirstStart(cfg); err != nil {
				return nil, err
			}
		}
		if left != "" {
			return nil, fmt.Errorf("%w: %s is not there, but %s is; copy the root.key that was kept apart (mode 0600) to %s. For a hub that starts anew, name an empty data folder and database",
				ErrNoRootKey, path, left, path)
		}
	}
	keys, created, err := seal.OpenFileKeyStore(path)
	if err != nil {
		return nil, fmt.Errorf("hub: %w", err)
	}
	if created {
		log.Warn("the root key is a file on this machine; back it up apart from the data, and protect it: it opens everything", "file", path)
	}
	return keys, nil
}

// checkFirstStart reads what the first start needs: the overlay's one-time tokens or a ticket, the policies, the provider's secret. It changes nothing.
func checkFirstStart(cfg Config) error {
	if !filepath.IsAbs(cfg.Data) {
		where, err := filepath.Abs(cfg.Data)
		if err != nil {
			return fmt.Errorf("hub: configuration: data: %w", err)
		}
		return fmt.Errorf("hub: configuration: data: %q is taken from the folder that the hub is started in, which may be another one next time; write the whole path, such as %s", cfg.Data, where)
	}
	if _, err := readPolicies(cfg.Policies); err != nil {
		return err
	}
	if _, err := signInOptions(cfg); err != nil {
		return err
	}
	if cfg.Overlay.Ticket != "" {
		_, err := overlay.ReadTicket(cfg.Overlay.Ticket)
		if err != nil {
			return fmt.Errorf("hub: configuration: overlay: ticket: %w", err)
		}
		return nil
	}
	for _, x := range []struct{ file, made string }{{cfg.Overlay.HubToken, hubConfigFile}, {cfg.Overlay.AdminToken, adminConfigFile}} {
		if _, err := os.Stat(filepath.Join(cfg.Data, x.made)); err == nil {
			continue // used
		}
		if _, err := tokenIn(x.file)(); err != nil {
			return err
		}
	}
	return nil
}

// storedBefore names something that a hub left in its data folder or database; "" for none.
func storedBefore(ctx context.Context, cfg Config) (string, error) {
	for _, name := range []string{filepath.Join("store", "directory.db"), "audit.key", "hub.openziti.json"} {
		path := filepath.Join(cfg.Data, name)
		switch _, err := os.Stat(path); {
		case err == nil && (name != "hub.openziti.json" || cfg.Database == ""):
			return path, nil
		case err != nil && !errors.Is(err, fs.ErrNotExist):
			return "", fmt.Errorf("hub: %w", err)
		}
	}
	dsn, err := cfg.dsn()
	if err != nil || dsn == "" {
		return "", err
	}
	holds, err := store.HoldsSecrets(ctx, dsn)
	if err != nil {
		return "", fmt.Errorf("hub: %w", err)
	}
	if holds {
		return "a store in the database", nil
	}
	return "", nil
}
