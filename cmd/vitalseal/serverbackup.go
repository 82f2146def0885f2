package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"vitalseal/internal/hub/store"
	"vitalseal/internal/shared/cli"
	"vitalseal/internal/way/overlay/node"
	"vitalseal/internal/way/seal"
)

// Folders beside the keys of a backup.
const (
	overlayFolder = "overlay"
	configFolder  = "config"
)

// overlayElsewhere is what --overlay says where the network is not the embedded one on this machine.
const overlayElsewhere = "none"

// errNoOverlay is how a backup ends that had to be made without an overlay's folder: it is there, and it restores no server.
var errNoOverlay = errors.New("the backup is made, but the overlay's folder is not in it")

// overlayOf is the overlay's folder that a backup of the hub in data covers; "" for none. Error: errNoOverlay, which is to be
// told when the rest has been copied.
func overlayOf(data, given string) (string, error) {
	switch {
	case given == overlayElsewhere:
		return "", nil
	case given != "":
		if !node.IsNode(given) {
			return "", cli.Usage(fmt.Errorf("--overlay %s: no overlay's folder", given), "name the folder that `vitalseal overlay --data` has, or --overlay none for an external network")
		}
		return given, nil
	}
	if beside := filepath.Join(filepath.Dir(filepath.Clean(data)), overlayFolder); node.IsNode(beside) {
		cli.Progress("overlay: " + beside)
		return beside, nil
	}
	return "", cli.Hinted(errNoOverlay, "name the folder that `vitalseal overlay --data` has with --overlay, because no gateway reaches a server that is restored without it; --overlay none for an external network")
}

// inDatabase tells whether data is the folder of a hub that has run with a PostgreSQL store: all of a hub's folder but a store.
func inDatabase(data string) bool {
	for _, name := range []string{"root.key", "audit.key", "hub.openziti.json"} {
		if _, err := os.Stat(filepath.Join(data, name)); err != nil {
			return false
		}
	}
	_, err := os.Stat(filepath.Join(data, "store"))
	return errors.Is(err, fs.ErrNotExist)
}

// backupStore copies the store and its keys, or makes the two folders for the rest where the store is in a database.
func backupStore(c *cobra.Command, root seal.KeyStore, data, to, keys string, database bool) (m store.Manifest, err error) {
	if database {
		m.Taken = time.Now().UTC().Truncate(time.Microsecond)
		err = store.BackupFolders(to, keys)
	} else {
		m, err = store.Backup(c.Context(), filepath.Join(data, "store"), filepath.Join(to, "store"), keys, cli.Progress)
	}
	if err != nil {
		return m, cli.Hinted(err, "give --to and --keys folders that are empty or not there yet")
	}
	if database {
		return m, nil
	}
	return m, store.SealBackup(root, filepath.Join(to, "store"), keys)
}

// restoreStore compares the copy of a store with its sealed list and makes a store of it.
func restoreStore(c *cobra.Command, root seal.KeyStore, from, keys, data string, unsealed bool) error {
	switch err := store.CheckSeal(root, filepath.Join(from, "store"), keys); {
	case unsealed:
	case errors.Is(err, store.ErrUnsealed):
		return cli.Hinted(err, "another user may have changed the backup, or the root key is another one; for a backup of a version that made no seals: --unsealed")
	case err != nil:
		return err
	}
	_, err := store.Restore(c.Context(), filepath.Join(from, "store"), keys, filepath.Join(data, "store"), cli.Progress)
	return err
}

// emptyData makes the data folder for a hub whose store is in a database.
func emptyData(data string) error {
	in, err := os.ReadDir(data)
	if errors.Is(err, fs.ErrNotExist) {
		err = os.MkdirAll(data, 0o700)
	}
	if err == nil && len(in) > 0 {
		err = fmt.Errorf("%s is not empty: it has %s", data, in[0].Name())
	}
	if err != nil {
		return cli.Usage(fmt.Errorf("--data: %w", err), "name a folder that is empty or not there yet")
	}
	return nil
}

// backupOverlay copies the overlay's folder beside the keys: with it an attacker is the network's controller.
func backupOverlay(c *cobra.Command, from, keys string) error {
	cli.Progress("overlay")
	if err := node.Copy(c.Context(), from, filepath.Join(keys, overlayFolder)); err != nil {
		return cli.Hinted(fmt.Errorf("backup: %w", err), "run this as a user who may read the overlay's folder; or stop `vitalseal overlay` for the time of the backup")
	}
	return nil
}

// backupConfigs copies configuration files, which may hold secrets, beside the keys.
func backupConfigs(files []string, keys string) error {
	if len(files) == 0 {
		return nil
	}
	dir := filepath.Join(keys, configFolder)
	if err := os.Mkdir(dir, 0o700); err != nil {
		return fmt.Errorf("backup: %w", err)
	}
	for _, f := range files {
		b, err := os.ReadFile(f) // #nosec G304 -- the operator names the file
		if err == nil {
			var out *os.File
			if out, err = os.OpenFile(filepath.Join(dir, filepath.Base(f)), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600); err == nil { // #nosec G304 -- as above
				_, err = out.Write(b)
				err = errors.Join(err, out.Close())
			}
		}
		if err != nil {
			return cli.Usage(fmt.Errorf("--config: %w", err), "name files that can be read, each of another name")
		}
	}
	return nil
}

// restored says what of a server's backup goes where; it is checked before anything is written.
type restored struct {
	keys, overlay string
	hasOverlay    bool
	database      bool // the store is in PostgreSQL
	configs       []string
}

// readServer checks the list of what lies beside the keys, and that there is a place for the overlay's folder.
func readServer(root seal.KeyStore, keys, overlay string, unsealed bool) (r restored, err error) {
	r = restored{keys: keys, overlay: overlay}
	l, err := store.CheckServer(root, keys)
	switch {
	case errors.Is(err, store.ErrNoServerList):
		// Of a version before the list; without a list nothing is taken for an overlay.
		if _, err := os.Stat(filepath.Join(keys, overlayFolder)); err == nil {
			return r, cli.Hinted(fmt.Errorf("%w: %s has an overlay's folder but no list of it", store.ErrBackup, keys), "take another copy of the keys")
		}
	case unsealed && errors.Is(err, store.ErrUnsealed):
	case errors.Is(err, store.ErrUnsealed):
		return r, cli.Hinted(err, "another user may have changed the files beside the keys, or the root key is another one")
	case err != nil:
		return r, err
	}
	r.database = l.Database
	for _, f := range l.Files {
		r.hasOverlay = r.hasOverlay || strings.HasPrefix(f.Name, overlayFolder+"/")
		if strings.HasPrefix(f.Name, configFolder+"/") {
			r.configs = append(r.configs, filepath.Join(keys, filepath.FromSlash(f.Name)))
		}
	}
	switch {
	case r.hasOverlay && overlay == "":
		return r, cli.Usage(errors.New("--overlay: missing"), "the backup has the overlay's folder: name a new folder for it; --overlay none leaves it out, and then no component reaches the server")
	case !r.hasOverlay && overlay != "" && overlay != overlayElsewhere:
		return r, cli.Usage(fmt.Errorf("--overlay %s: the backup has no overlay's folder", overlay), "leave --overlay out; doc/install.md says how a hub makes an empty overlay work again")
	}
	if r.hasOverlay && overlay != overlayElsewhere {
		if in, err := os.ReadDir(overlay); err == nil && len(in) > 0 || err != nil && !errors.Is(err, fs.ErrNotExist) {
			return r, cli.Usage(errors.Join(fmt.Errorf("--overlay %s: not an empty folder", overlay), err), "name a folder that is empty or not there yet")
		}
	}
	return r, nil
}

// overlayBack makes the overlay's folder of the backup's.
func (r restored) overlayBack() error {
	if !r.hasOverlay || r.overlay == overlayElsewhere {
		return nil
	}
	cli.Progress("overlay")
	if err := os.MkdirAll(r.overlay, 0o700); err != nil {
		return fmt.Errorf("restore: overlay: %w", err)
	}
	if err := os.CopyFS(r.overlay, os.DirFS(filepath.Join(r.keys, overlayFolder))); err != nil {
		return fmt.Errorf("restore: overlay: %w", err)
	}
	// CopyFS keeps what the files' modes were; a copy that was carried on a medium may have lost them.
	return filepath.WalkDir(r.overlay, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir():
			return os.Chmod(path, 0o700) // #nosec G302 G122 -- a folder, below the one that was made here
		}
		return os.Chmod(path, 0o600) // #nosec G122 -- below the folder that was made here
	})
}

// say tells the operator what comes next.
func (r restored) say() {
	switch {
	case r.hasOverlay && r.overlay != overlayElsewhere:
		fmt.Fprintf(os.Stderr, "overlay restored: start `vitalseal overlay --data %s` at the address that it had, then the hub; components come back by themselves\n", r.overlay)
	default:
		fmt.Fprintln(os.Stderr, "no overlay's folder was restored: with the overlay as it was, components come back by themselves; with a new, empty one the hub "+
			"writes a new ticket for each of them at its start (doc/install.md)")
	}
	if r.database {
		fmt.Fprintln(os.Stderr, "the readings were in PostgreSQL: restore them with its tools before you start the hub (doc/scale-out.md)")
	}
	for _, f := range r.configs {
		fmt.Fprintln(os.Stderr, "configuration in the backup: "+f)
	}
}
