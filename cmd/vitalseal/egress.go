package main

import (
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"vitalseal/internal/hub/sink/egress"
	"vitalseal/internal/shared/cli"
	"vitalseal/internal/way/overlay"
	"vitalseal/internal/way/overlay/openziti"
)

func egressCommand() *cobra.Command {
	var data, allow string
	c := &cobra.Command{
		Use:   "egress",
		Short: "Lead the hub's TLS to one address of the internet, and to nothing else",
		Long: `Egress is the way out for channels that are forwarded to a ThingSpeak-compatible cloud. It stands where the internet can be
reached, so that hub and gateways need no route there, and carries bytes between the hub and the one address of --allow. Whatever
else the hub asks for is refused. TLS to the cloud begins in the hub: an egress reads nothing of it.

It must have been enrolled into --data ("vitalseal identity invite-egress", "vitalseal enrol").`,
		Example: `  vitalseal enrol --ticket out-1.ticket --data /var/lib/vitalseal/egress
  vitalseal egress --data /var/lib/vitalseal/egress --allow api.thingspeak.com:443`,
		Args: cli.ExactArgs(0),
		RunE: func(c *cobra.Command, _ []string) error {
			log, err := cli.Logger(c)
			if err != nil {
				return err
			}
			target, err := egress.ParseTarget(allow)
			if err != nil {
				return cli.Usage(fmt.Errorf("--allow: %w", err), "name the cloud's host and port, such as api.thingspeak.com:443")
			}
			ctx := c.Context()
			id, err := onlyIdentity(data, overlay.KindEgress)
			if err != nil {
				return err
			}
			ep, err := openziti.Connect(ctx, id, log)
			if err != nil {
				return err
			}
			defer ep.Close()
			defer keepFresh(ctx, id, ep, openziti.NewNetwork(log), log)()
			ln, err := ep.Listen(ctx, overlay.ServiceCloud)
			if err != nil {
				return err
			}
			fmt.Fprintf(os.Stderr, "%s leads to %s and nowhere else\n", id.ID(), target)
			if err := cli.NotifyReady(); err != nil {
				return errors.Join(err, ln.Close())
			}
			return (&egress.Server{Allow: target, Log: log}).Serve(ctx, ln)
		},
	}
	c.Flags().StringVar(&data, "data", "", "folder that this egress was enrolled into (required)")
	c.Flags().StringVar(&allow, "allow", "", "the one address that it leads to, `host:port` (required)")
	_ = c.MarkFlagRequired("data")
	_ = c.MarkFlagRequired("allow")
	return c
}
