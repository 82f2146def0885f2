package main

import (
	"context"
	"log/slog"
	"os"
	"strconv"

	"github.com/spf13/cobra"

	"vitalseal/internal/shared/cli"
	"vitalseal/internal/way/overlay"
	"vitalseal/internal/way/overlay/node"
)

func overlayCommand() *cobra.Command {
	cfg := node.Config{}
	var memory uint64
	c := &cobra.Command{
		Use:   "overlay",
		Short: "Run the OpenZiti controller and edge router that everything travels through",
		Long: `Overlay runs the real OpenZiti controller and edge router, v1.7.2, in a child process that it watches and starts again
when it dies. It listens on loopback unless told otherwise; read SECURITY.md before you tell it otherwise. Instead of this
command an external OpenZiti network may be used.

At the first start it writes two one-time tokens for the hub into its data folder: hub.jwt and hub-admin.jwt.`,
		Example: "  vitalseal overlay --data /var/lib/vitalseal/overlay",
		Args:    cli.ExactArgs(0),
		RunE: func(c *cobra.Command, _ []string) error {
			log, err := cli.Logger(c)
			if err != nil {
				return err
			}
			release, err := holdNode(cfg.Dir, "overlay")
			if err != nil {
				return err
			}
			defer release()
			if err := ownAddresses(c.Context(), listens{"controller", cfg.ControllerAddr}, listens{"router", cfg.RouterAddr}); err != nil {
				return err
			}
			return supervise(c, cfg.Dir, log, overlay.WaitReady, "overlay", "node", "--data", cfg.Dir, "--controller", cfg.ControllerAddr,
				"--router", cfg.RouterAddr, "--advertise", cfg.Advertise, "--memory-mb", strconv.FormatUint(memory, 10))
		},
	}
	c.PersistentFlags().StringVar(&cfg.Dir, "data", "", "folder for the network's keys and database (required)")
	c.PersistentFlags().StringVar(&cfg.ControllerAddr, "controller", "", "`address` the controller listens on, HOST:PORT; port 0 chooses one and remembers it (default: as at the last start, first 127.0.0.1:0)")
	c.PersistentFlags().StringVar(&cfg.RouterAddr, "router", "", "`address` the edge router listens on (default: likewise)")
	c.PersistentFlags().StringVar(&cfg.Advertise, "advertise", "", "`host` name or address under which components reach both; it is in every ticket (default: as at the last start, first the one that the controller listens on)")
	c.PersistentFlags().Uint64Var(&memory, "memory-mb", node.DefaultMemoryLimit>>20, "`MiB` of memory that the child process may take; beyond that it ends and is started again")
	_ = c.MarkPersistentFlagRequired("data")
	c.AddCommand(&cobra.Command{
		Use: "node", Hidden: true, Args: cli.ExactArgs(0),
		Short: "The child process of `vitalseal overlay`; not for people",
		RunE: func(c *cobra.Command, _ []string) error {
			log, err := cli.Logger(c)
			if err != nil {
				return err
			}
			cfg.Log, cfg.MemoryLimit = log, memory<<20
			cli.CollectAt(cli.ServerGarbage)
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
			err = cli.NotifyReady()
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
