package main

import (
	"errors"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"vitalseal/internal/shared/cli"
	"vitalseal/internal/way/overlay"
	"vitalseal/internal/way/overlay/node"
	"vitalseal/internal/way/overlay/openziti"
)

func routerCommand() *cobra.Command {
	cfg := node.RouterConfig{}
	var ticketFile string
	c := &cobra.Command{
		Use:   "router",
		Short: "Run an additional edge router of the overlay",
		Long: `Router joins an edge router to the OpenZiti network, with a ticket that an administrator made ("vitalseal identity
invite-router"), and runs it in a child process that it watches and starts again when it dies. Components reach the hub
through any router; what they send is sealed and proven above it, so a router that turns bad can drop, not read or forge.
The ticket is needed the first time only. It listens on loopback unless told otherwise; OpenZiti v1.7.2 checks the
certificates of links between routers badly, so lead --link through a network of its own (SECURITY.md).`,
		Example: "  vitalseal router --ticket wing-b.ticket --data /var/lib/vitalseal/router --listen 0.0.0.0:3022 --link 0.0.0.0:6000 --advertise wing-b.example.org",
		Args:    cli.ExactArgs(0),
		RunE: func(c *cobra.Command, _ []string) error {
			log, err := cli.Logger(c)
			if err != nil {
				return err
			}
			release, err := holdNode(cfg.Dir, "router")
			if err != nil {
				return err
			}
			defer release()
			if err := ownAddresses(c.Context(), listens{"listen", cfg.RouterAddr}, listens{"link", cfg.LinkAddr}); err != nil {
				return err
			}
			_, statErr := os.Stat(filepath.Join(cfg.Dir, "router.cert"))
			switch {
			case ticketFile == "" && errors.Is(statErr, os.ErrNotExist):
				return cli.Usage(errors.New("--ticket: missing: no router has enrolled in --data yet"), "an administrator makes one with `vitalseal identity invite-router`")
			case ticketFile != "" && errors.Is(statErr, os.ErrNotExist):
				t, err := readTicket(ticketFile, c.InOrStdin())
				if err != nil {
					return err
				}
				if t.Kind != overlay.KindRouter {
					return cli.Usage(errors.New("this ticket is not for a router"), "use it with `vitalseal enrol`")
				}
				if err := overlay.CheckMachine(c.Context(), openziti.NewNetwork(log), cfg.Dir, t.Components[0].ZitiJWT, log); err != nil {
					return err
				}
				if err := node.SaveRouterToken(cfg.Dir, t.Components[0].ZitiJWT); err != nil {
					return err
				}
			}
			return supervise(c, cfg.Dir, log, overlay.WaitNode, "router", "node", "--data", cfg.Dir, "--listen", cfg.RouterAddr,
				"--link", cfg.LinkAddr, "--advertise", cfg.Advertise)
		},
	}
	c.PersistentFlags().StringVar(&cfg.Dir, "data", "", "folder for the router's keys (required)")
	c.PersistentFlags().StringVar(&cfg.RouterAddr, "listen", "127.0.0.1:0", "address for components; port 0 chooses one and remembers it")
	c.PersistentFlags().StringVar(&cfg.LinkAddr, "link", "127.0.0.1:0", "address for the network's other routers")
	c.PersistentFlags().StringVar(&cfg.Advertise, "advertise", "", "`host` name or address under which both are reached (default: as at the last start, first the one of --listen)")
	c.Flags().StringVar(&ticketFile, "ticket", "", "ticket `file`, or - for standard input; the first time only")
	_ = c.MarkPersistentFlagRequired("data")
	c.AddCommand(&cobra.Command{
		Use: "node", Hidden: true, Args: cli.ExactArgs(0),
		Short: "The child process of `vitalseal router`; not for people",
		RunE: func(c *cobra.Command, _ []string) error {
			log, err := cli.Logger(c)
			if err != nil {
				return err
			}
			cfg.Log = log
			cli.CollectAt(cli.ServerGarbage)
			return node.RunRouter(c.Context(), cfg)
		},
	})
	return c
}
