package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"

	"github.com/spf13/cobra"

	"vitalseal/internal/hub"
	"vitalseal/internal/hub/fleet"
	"vitalseal/internal/hub/store"
	"vitalseal/internal/shared/cli"
	"vitalseal/internal/way/overlay/manage"
	"vitalseal/internal/way/overlay/openziti"
)

// network is the real one: OpenZiti, embedded or external.
func network(log *slog.Logger) hub.Network {
	return hub.Network{Network: openziti.NewNetwork(log),
		Administer: func(ctx context.Context, file string, log *slog.Logger) (fleet.Administration, error) {
			return manage.ConnectAdmin(ctx, file, log)
		}}
}

func hubCommand() *cobra.Command {
	var file string
	var example bool
	c := &cobra.Command{
		Use:   "hub",
		Short: "Take in, store and show sealed readings; opens no port but its overlay services",
		Long: `Hub is where sealed readings arrive, are stored under each patient's key, and are shown to whom the policy lets.
It opens no network port: everything reaches it through its services on the overlay.

At the first start it makes the deployment's certificate authority and keys, and writes two files into its data folder:
first-admin.json (a sign-in) and first-workstation.ticket (to enrol the first workstation). Use both, then delete them. While no
workstation has enrolled, the ticket is written again when it has expired. If no person can sign in any more: "vitalseal hub recover".`,
		Example: `  vitalseal hub --print-config > hub.yaml
  vitalseal hub --config hub.yaml`,
		Args: cli.ExactArgs(0),
		RunE: func(c *cobra.Command, _ []string) error {
			if example {
				_, err := os.Stdout.Write(hub.Example)
				return err
			}
			if file == "" {
				return cli.Usage(errMissingConfig, "vitalseal hub --print-config shows an example")
			}
			log, err := cli.Logger(c)
			if err != nil {
				return err
			}
			cfg := hub.Default()
			if err := loadConfig(file, &cfg); err != nil {
				return err
			}
			if err := cfg.Validate(); err != nil {
				return cli.Usage(err, "vitalseal hub --print-config shows every key with its meaning")
			}
			cfg.Version = version
			err = hub.Run(c.Context(), cfg, network(log), cli.NotifyReady, log)
			switch {
			case errors.Is(err, store.ErrInUse):
				return cli.Hinted(inUse(err, cfg.Data), "stop the other one first, or give this one a folder of its own with the key data")
			case errors.Is(err, hub.ErrNoRootKey):
				return cli.Hinted(err, "a new root key would open nothing that is stored, so none is made")
			case errors.Is(err, hub.ErrOtherOverlay):
				return cli.Hinted(err, "restore the overlay's folder from the backup (`vitalseal restore`) and components come back by themselves; if it is lost, `vitalseal hub recover --overlay`")
			}
			return withFile(cfg, err)
		},
	}
	c.Flags().StringVar(&file, "config", "", "configuration file (YAML)")
	c.Flags().BoolVar(&example, "print-config", false, "print an example configuration with every key and stop")
	c.AddCommand(recoverCommand())
	return c
}

// withFile says what to do about a file that the configuration names and that is not there.
func withFile(cfg hub.Config, err error) error {
	var file *fs.PathError
	if !errors.As(err, &file) || !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	switch file.Path {
	case cfg.Overlay.HubToken, cfg.Overlay.AdminToken:
		return cli.Hinted(err, "`vitalseal overlay` writes the tokens at its first start; name them with hub_token and admin_token")
	case cfg.Policies:
		return cli.Hinted(err, "name a Cedar file with policies, or leave it out for the built-in ones; `vitalseal policy show` prints those")
	}
	return err
}

// inUse names the folder that another process holds: a machine may run hubs on several.
func inUse(err error, data string) error {
	return fmt.Errorf("another `vitalseal hub` runs on the folder %s: %w", data, err)
}
