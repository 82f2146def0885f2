package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"

	"github.com/spf13/cobra"

	"vitalseal/internal/hub"
	"vitalseal/internal/hub/store"
	"vitalseal/internal/shared/cli"
)

// recoverCommand is the way back in for an operator who holds the hub's root key and disk.
func recoverCommand() *cobra.Command {
	var file string
	var r hub.Recovery
	var asJSON bool
	c := &cobra.Command{
		Use:   "recover",
		Short: "Let an administrator or a workstation in again, or take up a new overlay, while the hub is stopped",
		Long: `Recover is for when no person can sign in any more: the only administrator's password is forgotten, the only workstation is disabled or
its disk is dead. It needs the hub's data folder with its root key, and the hub must be stopped.

--admin gives an administrator a one-time password (recovered-admin.json in the data folder) and lets a disabled one in again; with
--reset-factors it takes the second factors and passkeys away, which are asked for otherwise. --workstation invites a new workstation under that
name and writes its ticket (recovered-NAME.ticket). For that the overlay must run. Delete both files once they have been used.

--overlay is for a server whose overlay's folder is lost, and is in no backup. Start ` + "`vitalseal overlay`" + ` with a new, empty folder at the old address,
name the two tokens that it writes in the hub's configuration, and run this: the hub enrols there, makes services, policies and identities
anew, and writes a new ticket for every component into recovered-tickets in the data folder. Every component has to be enrolled again with
its ticket, because the keys that it has on the overlay were certified by an authority that is lost. A restored overlay's folder spares all that.

Everything is written to the audit log before it is done. The hub announces it at its next start, and gateways and workstations witness the log.`,
		Example: `  vitalseal hub recover --config /etc/vitalseal/hub.yaml --admin admin
  vitalseal hub recover --config /etc/vitalseal/hub.yaml --workstation desk-2`,
		Args: cli.ExactArgs(0),
		RunE: func(c *cobra.Command, _ []string) error {
			if file == "" {
				return cli.Usage(errMissingConfig, "name the hub's own configuration")
			}
			if r.ResetFactors && r.Admin == "" {
				return cli.Usage(errors.New("--reset-factors without --admin"), "name the administrator with --admin")
			}
			log, err := cli.Logger(c)
			if err != nil {
				return err
			}
			cfg := hub.Default()
			if err := loadConfig(file, &cfg); err != nil {
				return err
			}
			cfg.Version = version
			got, err := hub.Recover(c.Context(), cfg, network(log), r, log)
			said := sayRecovered(got, asJSON)
			switch {
			case errors.Is(err, hub.ErrNothingToRecover):
				return cli.Usage(err, "give --admin LOGIN, --workstation NAME or --overlay")
			case errors.Is(err, store.ErrInUse):
				return cli.Hinted(inUse(err, cfg.Data), "stop the hub first; while it runs, an administrator does this at a workstation")
			case errors.Is(err, hub.ErrNoRootKey):
				return cli.Hinted(err, "copy root.key from the place where it was kept apart into the hub's data folder (chmod 600)")
			case errors.Is(err, store.ErrExists):
				return cli.Hinted(err, "give another name with --workstation")
			}
			return errors.Join(err, said)
		},
	}
	c.Flags().StringVar(&file, "config", "", "the hub's configuration `file` (YAML)")
	c.Flags().StringVar(&r.Admin, "admin", "", "`login` of an administrator who gets a one-time password")
	c.Flags().BoolVar(&r.ResetFactors, "reset-factors", false, "take the administrator's second factors and passkeys away, too")
	c.Flags().StringVar(&r.Workstation, "workstation", "", "`name` of a new workstation that gets a ticket")
	c.Flags().BoolVar(&r.Overlay, "overlay", false, "enrol on a new, empty overlay, and write a new ticket for every component")
	c.Flags().BoolVar(&asJSON, "json", false, "print the files that were written as JSON")
	return c
}

func sayRecovered(got hub.Recovered, asJSON bool) error {
	if asJSON {
		return json.NewEncoder(os.Stdout).Encode(got)
	}
	if got.SignIn != "" {
		fmt.Printf("one-time password: %s (sign in with it, choose another, delete the file)\n", got.SignIn)
	}
	for _, id := range slices.Sorted(maps.Keys(got.Tickets)) {
		fmt.Printf("ticket of %s: %s\n", id, got.Tickets[id])
	}
	if got.Ticket != "" {
		fmt.Printf("workstation's ticket: %s (on the workstation: vitalseal enrol --ticket FILE --data DIR)\n", got.Ticket)
	}
	for _, id := range got.Disabled {
		fmt.Printf("disabled, and without an identity on the overlay: %s (enable it, then `vitalseal identity ticket`)\n", id)
	}
	return nil
}
