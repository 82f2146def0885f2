package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"vitalseal/internal/hub/store"
	"vitalseal/internal/shared/audit"
	"vitalseal/internal/shared/cli"
	"vitalseal/internal/way/seal"
)

// secretFiles of a hub's data folder go with the keys; openFiles go with the rest.
var (
	secretFiles = []string{"audit.key", "hub.openziti.json", "hub-admin.openziti.json"}
	openFiles   = []string{"audit.pub"}
)

func backupCommand() *cobra.Command {
	var data, to, keys, network string
	var configs []string
	var asJSON bool
	c := &cobra.Command{
		Use:   "backup",
		Short: "Copy a server, hub and overlay, also while they run, and its keys apart",
		Long: `Backup copies what a hub keeps into one folder. The patients' keys, the hub's own and the overlay's folder (its keys and its
database) go into another. Hub and overlay may run meanwhile.

The overlay's folder is looked for beside the hub's; --overlay names another, or "none" for an external network. Every component's
certificate is of the overlay's authority: a server that is restored without that folder is one that no gateway reaches.

Of a hub whose store is in PostgreSQL it copies everything else: audit log, the hub's own keys and the overlay. PostgreSQL's tools copy
the readings (doc/scale-out.md).

Keep the two apart: the first alone shows no name and no reading, and a patient who is forgotten is forgotten in the backup,
too, once the older copies of the keys are destroyed. The root key (root.key in the hub's folder) is in neither: without it both are of no use.`,
		Example: "  vitalseal backup --data /var/lib/vitalseal/hub --to /mnt/backup/2026-11-23 --keys /mnt/escrow/2026-11-23 --config /etc/vitalseal/hub.yaml",
		Args:    cli.ExactArgs(0),
		RunE: func(c *cobra.Command, _ []string) error {
			database := inDatabase(data)
			if err := folderOf(data); err != nil && !database {
				return err
			}
			if err := store.Apart(to, keys); err != nil {
				return cli.Usage(err, "the backup's holder must not get the keys with it: name another folder, best on another disk")
			}
			root, err := openRoot(filepath.Join(data, "root.key"))
			if err != nil {
				return err
			}
			from, missing := overlayOf(data, network)
			if missing != nil && !errors.Is(missing, errNoOverlay) {
				return missing
			}
			m, err := backupStore(c, root, data, to, keys, database)
			if err != nil {
				return err
			}
			cli.Progress("audit log")
			if err := audit.Copy(filepath.Join(data, "audit"), filepath.Join(to, "audit")); err != nil {
				return fmt.Errorf("backup: %w", err)
			}
			if err := copyFiles(data, to, openFiles); err != nil {
				return err
			}
			if err := copyFiles(data, keys, secretFiles); err != nil {
				return err
			}
			if from != "" {
				if err := backupOverlay(c, from, keys); err != nil {
					return err
				}
			}
			if err := backupConfigs(configs, keys); err != nil {
				return err
			}
			if err := store.SealServer(root, keys, m.Taken, database); err != nil {
				return err
			}
			if asJSON {
				return errors.Join(json.NewEncoder(os.Stdout).Encode(m), missing)
			}
			var bytes int64
			for _, f := range m.Files {
				bytes += f.Bytes
			}
			with := "keys and the overlay's folder"
			if from == "" {
				with = "keys, without an overlay,"
			}
			if database {
				fmt.Printf("The readings are in PostgreSQL and not in this backup: copy them as doc/scale-out.md says.\nAudit log in %s; %s in %s\nKeep root.key somewhere else again: nothing opens without it.\n", to, with, keys)
				return missing
			}
			fmt.Printf("%d database files and the keys', %.1f MB, in %s; %s in %s\nKeep root.key somewhere else again: nothing opens without it.\n", len(m.Files)-1, float64(bytes)/1e6, to, with, keys)
			return missing
		},
	}
	c.Flags().StringVar(&data, "data", "", "the hub's data folder (required)")
	c.Flags().StringVar(&to, "to", "", "folder for the copy (required)")
	c.Flags().StringVar(&keys, "keys", "", "folder for the keys, to be kept apart (required)")
	c.Flags().StringVar(&network, "overlay", "", "the overlay's data `folder`, or none for an external network (default: the folder overlay beside --data)")
	c.Flags().StringArrayVar(&configs, "config", nil, "configuration `file` to keep beside the keys, such as hub.yaml; may be given several times")
	c.Flags().BoolVar(&asJSON, "json", false, "print what was copied as JSON")
	for _, f := range []string{"data", "to", "keys"} {
		_ = c.MarkFlagRequired(f)
	}
	return c
}

func restoreCommand() *cobra.Command {
	var data, from, keys, root, network string
	var asJSON, unsealed bool
	c := &cobra.Command{
		Use:   "restore",
		Short: "Make a server's folders of a backup, its keys and the root key, and check them",
		Long: `Restore compares every file of a backup with its list, and the list with its seal, which only the root key can make. Then it makes a new data folder of it, and checks the result as "vitalseal check" does.
The overlay's folder goes to --overlay. Then start the overlay, at the address that it had, and the hub: gateways and workstations come
back by themselves.

What came after the backup was taken is not in it, and gateways that were told it was stored do not send it again: it shows as missing in
the delivery. Gateways and workstations that witnessed the audit log after the backup was taken will say that it was cut; that is
true, and what they are for. Tell the auditor.`,
		Example: "  vitalseal restore --from /mnt/backup/2026-11-23 --keys /mnt/escrow/2026-11-23 --root-key /safe/root.key --data /var/lib/vitalseal/hub --overlay /var/lib/vitalseal/overlay",
		Args:    cli.ExactArgs(0),
		RunE: func(c *cobra.Command, _ []string) error {
			if _, err := os.Stat(root); err != nil {
				return cli.Usage(fmt.Errorf("--root-key: %w", err), "name the file root.key that was kept apart")
			}
			ks, err := openRoot(root)
			if err != nil {
				return err
			}
			server, err := readServer(ks, keys, network, unsealed)
			if err != nil {
				return err
			}
			if server.database {
				if err := emptyData(data); err != nil {
					return err
				}
			} else if err := restoreStore(c, ks, from, keys, data, unsealed); err != nil {
				return err
			}
			cli.Progress("audit log")
			if err := audit.Copy(filepath.Join(from, "audit"), filepath.Join(data, "audit")); err != nil {
				return fmt.Errorf("restore: %w", err)
			}
			for _, x := range []struct {
				from  string
				files []string
			}{{from, openFiles}, {keys, secretFiles}} {
				if err := copyFiles(x.from, data, x.files); err != nil {
					return err
				}
			}
			b, err := os.ReadFile(root) // #nosec G304 -- the operator names the file
			if err == nil {
				err = os.WriteFile(filepath.Join(data, "root.key"), b, 0o600) // #nosec G703 -- the operator names the folder
			}
			if err != nil {
				return fmt.Errorf("restore: root key: %w", err)
			}
			if err := server.overlayBack(); err != nil {
				return err
			}
			server.say()
			if server.database {
				return checkAudit(data)
			}
			return checkStore(c, data, asJSON)
		},
	}
	c.Flags().StringVar(&from, "from", "", "folder of the copy (required)")
	c.Flags().StringVar(&keys, "keys", "", "folder of the keys (required)")
	c.Flags().BoolVar(&unsealed, "unsealed", false, "take a backup whose list has no seal: it could be from any source")
	c.Flags().StringVar(&root, "root-key", "", "the file root.key (required)")
	c.Flags().StringVar(&data, "data", "", "the data folder to make (required)")
	c.Flags().StringVar(&network, "overlay", "", "the overlay's data `folder` to make, or none to leave it out (required where the backup has one)")
	c.Flags().BoolVar(&asJSON, "json", false, "print what the check found as JSON")
	for _, f := range []string{"data", "from", "keys", "root-key"} {
		_ = c.MarkFlagRequired(f)
	}
	return c
}

func checkCommand() *cobra.Command {
	var data string
	var asJSON bool
	c := &cobra.Command{
		Use:   "check",
		Short: "Check that everything a stopped hub has stored is whole and opens",
		Long: `Check opens every stored block of every patient under its key, compares the trends with what they are of, and proves the audit log
whole against its own public key (audit.pub). It prints no value. The hub must not run meanwhile. It exits with 1 if anything is wrong.

A copy of audit.pub and a witness that were kept elsewhere prove more: vitalseal audit verify.`,
		Example: "  vitalseal check --data /var/lib/vitalseal/hub",
		Args:    cli.ExactArgs(0),
		RunE: func(c *cobra.Command, _ []string) error {
			if err := folderOf(data); err != nil {
				return err
			}
			return checkStore(c, data, asJSON)
		},
	}
	c.Flags().StringVar(&data, "data", "", "the hub's data folder (required)")
	c.Flags().BoolVar(&asJSON, "json", false, "print what was found as JSON")
	_ = c.MarkFlagRequired("data")
	return c
}

func checkStore(c *cobra.Command, data string, asJSON bool) (err error) {
	keys, err := openRoot(filepath.Join(data, "root.key"))
	if err != nil {
		return err
	}
	st, err := store.Open(c.Context(), filepath.Join(data, "store"), keys, slog.New(slog.DiscardHandler))
	if errors.Is(err, store.ErrInUse) {
		return cli.Hinted(inUse(err, data), "stop the hub first; `vitalseal backup` works while it runs")
	}
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, st.Close()) }()
	found, err := st.Check(c.Context(), cli.Progress)
	if err != nil {
		return err
	}
	if err := checkAudit(data); err != nil {
		found.Problems = append(found.Problems, err.Error())
	}
	if asJSON {
		if err := json.NewEncoder(os.Stdout).Encode(found); err != nil {
			return err
		}
	} else {
		fmt.Printf("%d database files, %d chunks (%d blocks), %d sums open; %d blocks of forgotten patients; %d chunks set aside as damaged before\n",
			found.Files, found.Chunks, found.Blocks, found.Sums, found.Sealed, found.SetAside)
		for _, p := range found.Problems {
			fmt.Println("  " + p)
		}
	}
	if n := len(found.Problems); n > 0 {
		return cli.Hinted(fmt.Errorf("check: %d problems", n), "restore the last backup into another folder and compare")
	}
	return nil
}

// checkAudit proves a stopped hub's audit log whole.
func checkAudit(data string) error {
	cli.Progress("audit log")
	public, err := os.ReadFile(filepath.Join(data, "audit.pub")) // #nosec G304 -- the operator names the folder
	if err == nil {
		_, err = audit.Verify(filepath.Join(data, "audit"), strings.TrimSpace(string(public)))
	}
	if errors.Is(err, audit.ErrUnsigned) { // what is behind the signed entries, the hub signs at its start
		return nil
	}
	return err
}

// openRoot opens a root key that is there: one that would be made now opens nothing.
func openRoot(path string) (*seal.FileKeyStore, error) {
	if _, err := os.Stat(path); err != nil {
		return nil, cli.Hinted(fmt.Errorf("the root key: %w", err), "name the file root.key that was kept apart, or put it back into the hub's folder")
	}
	ks, _, err := seal.OpenFileKeyStore(path)
	if err != nil {
		return nil, cli.Hinted(err, "copy it into a folder of your own, chmod 600, and name that")
	}
	return ks, nil
}

func folderOf(data string) error {
	if _, err := os.Stat(filepath.Join(data, "store", "directory.db")); err != nil {
		return cli.Usage(fmt.Errorf("--data %s: no hub's data folder: %w", data, err), "name the folder that `data` in the hub's configuration names; a store in PostgreSQL is copied with its own tools (doc/scale-out.md)")
	}
	return nil
}

// copyFiles copies those files that are there; they may hold secrets.
func copyFiles(from, to string, names []string) error {
	for _, name := range names {
		b, err := os.ReadFile(filepath.Join(from, name)) // #nosec G304 -- the operator names the folder
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err == nil {
			err = os.WriteFile(filepath.Join(to, name), b, 0o600) // #nosec G703 -- the operator names the folder
		}
		if err != nil {
			return fmt.Errorf("copy %s: %w", name, err)
		}
	}
	return nil
}
