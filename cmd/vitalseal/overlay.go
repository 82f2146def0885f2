package main

import (
	"context"
	"log/slog"
	"os"

	"github.com/spf13/cobra"

	"vitalseal/internal/overlay"
	"vitalseal/internal/overlay/node"
)

func overlayCommand() *cobra.Command {
	cfg := node.Config{}
	c := &cobra.Command{
		Use:   "overlay",
		Short: "Run the OpenZiti controller and edge router that everything travels through",
		Long: `Overlay runs the real OpenZiti controller and edge router, v1.7.2, in a child process that it watches and starts again
when it dies. It listens on loopback unless told otherwise; read SECURITY.md before you tell it otherwise. Instead of this
command an external OpenZiti network may be used.

At the first start it writes two one-time tokens for the hub into its data folder: hub.jwt and hub-admin.jwt.`,
		Example: "  vitalseal overlay --data /var/lib/vitalseal/overlay",
		Args:    exactArgs(0),
		RunE: func(c *cobra.Command, _ []string) error {
			log, err := logger(c)
			if err != nil {
				return err
			}
			return supervise(c, cfg.Dir, log, overlay.WaitReady, "overlay", "node", "--data", cfg.Dir, "--controller", cfg.ControllerAddr,
				"--router", cfg.RouterAddr, "--advertise", cfg.Advertise)
		},
	}
	c.PersistentFlags().StringVar(&cfg.Dir, "data", "", "folder for the network's keys and database (required)")
	c.PersistentFlags().StringVar(&cfg.ControllerAddr, "controller", "127.0.0.1:0", "address the controller listens on; port 0 chooses one and remembers it")
	c.PersistentFlags().StringVar(&cfg.RouterAddr, "router", "127.0.0.1:0", "address the edge router listens on")
	c.PersistentFlags().StringVar(&cfg.Advertise, "advertise", "", "host name under which components reach both (default localhost)")
	_ = c.MarkPersistentFlagRequired("data")
	c.AddCommand(&cobra.Command{
		Use: "node", Hidden: true, Args: exactArgs(0),
		Short: "The child process of `vitalseal overlay`; not for people",
		RunE: func(c *cobra.Command, _ []string) error {
			log, err := logger(c)
			if err != nil {
				return err
			}
			cfg.Log = log
			collectAt(serverGarbage)
			return node.RunNode(c.Context(), cfg)
		},
	})
	return c
}

// supervise runs this program again as a child with args, and again when it dies, and tells when it is ready.
func supervise(c *cobra.Command, dir string, log *slog.Logger, wait func(context.Context, string) error, args ...string) error {
	exe, err := os.Executable()
	if err != nil {
		return err
	}
	level, err := c.Flags().GetString("log-level")
	if err != nil {
		return err
	}
	ctx := c.Context()
	ready := make(chan error, 1)
	go func() {
		err := wait(ctx, dir)
		if err == nil {
			err = notifyReady()
		}
		ready <- err
	}()
	err = overlay.Supervise(ctx, overlay.SuperviseConfig{Exe: exe, Dir: dir, Log: log, Args: append(args, "--log-level", level, "--log-format", "json")})
	if ctx.Err() == nil || err != nil {
		return err
	}
	<-ready // it has ended with the context
	return nil
}
