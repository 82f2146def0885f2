package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"

	"github.com/spf13/cobra"

	"vitalseal/internal/shared/cli"
	"vitalseal/internal/way/overlay"
	"vitalseal/internal/way/overlay/openziti"
)

// maxTicketInput bounds what is read of a ticket from standard input.
const maxTicketInput = 1 << 20

func enrolCommand() *cobra.Command {
	var ticketFile, data, kind string
	c := &cobra.Command{
		Use:   "enrol",
		Short: "Redeem a one-time ticket: make this component's keys and certificates",
		Long: `Enrol makes the keys of each component named in the ticket on this machine, proves the hub's identity against the
ticket, and has the components' certificates signed. A ticket works once and for a short time; a gateway's ticket covers
its sensors. The keys never leave this machine; they are in the --data folder, readable by you alone.

A ticket is made by an administrator ("vitalseal identity invite-..."). With --ticket - it is read from standard input, for a
scanner in front of a QR code. A ticket for another hub is taken only with --kind hub; one for a router belongs to
"vitalseal router".`,
		Example: `  vitalseal enrol --ticket gw-a1.ticket --data /var/lib/vitalseal/gateway
  zbarcam --raw --oneshot | vitalseal enrol --ticket - --data /var/lib/vitalseal/connect`,
		Args: cli.ExactArgs(0),
		RunE: func(c *cobra.Command, _ []string) error {
			log, err := cli.Logger(c)
			if err != nil {
				return err
			}
			t, err := readTicket(ticketFile, c.InOrStdin())
			if err != nil {
				return err
			}
			switch {
			case t.Kind == overlay.KindRouter:
				return cli.Usage(errors.New("this ticket is for an edge router"), "use it with `vitalseal router --ticket "+ticketFile+" --data DIR`")
			case t.Kind == "" && kind != "":
				return cli.Usage(fmt.Errorf("this ticket is for a gateway or workstation, not for a %s", kind), "leave --kind out")
			case t.Kind != kind:
				return cli.Usage(fmt.Errorf("this ticket is for a %s, not for a %s", cmp.Or(t.Kind, "gateway or workstation"), cmp.Or(kind, "gateway or workstation")),
					"a hub's certificate speaks for the whole deployment, so it is made only with --kind hub")

			}
			ids, err := overlay.Enrol(c.Context(), openziti.NewNetwork(log), t, data, log)
			if err != nil {
				return err
			}
			for _, id := range ids {
				fmt.Fprintf(os.Stderr, "enrolled %s until %s\n", id.ID(), id.Expires().Format("2006-01-02 15:04 MST"))
			}
			return nil
		},
	}
	c.Flags().StringVar(&ticketFile, "ticket", "", "ticket `file` made by an administrator, or - for standard input (required)")
	c.Flags().StringVar(&data, "data", "", "folder for the identities (required)")
	c.Flags().StringVar(&kind, "kind", "", "hub, for the ticket of another hub; nothing else")
	_ = c.MarkFlagRequired("ticket")
	_ = c.MarkFlagRequired("data")
	return c
}

// readTicket reads a ticket file, or standard input for "-".
func readTicket(path string, stdin io.Reader) (t overlay.Ticket, err error) {
	if path == "-" {
		var b []byte
		if b, err = io.ReadAll(io.LimitReader(stdin, maxTicketInput)); err == nil {
			t, err = overlay.ParseTicket(b)
		}
	} else {
		t, err = overlay.ReadTicket(path)
	}
	if errors.Is(err, os.ErrNotExist) {
		return t, cli.Usage(err, "an administrator makes tickets (`vitalseal identity invite-... --out FILE`); the first workstation's, first-workstation.ticket, is in the hub's data folder")
	}
	if err != nil {
		return t, cli.Usage(err, cmp.Or(overlay.Hint(err), "a ticket is a file that an administrator made; it must be readable by you alone (chmod 600)"))
	}
	return t, nil
}

// keepFresh renews a component's certificates, the network's own as well, until the returned function is called.
func keepFresh(ctx context.Context, id *overlay.Identity, ep overlay.Endpoint, network overlay.Network, log *slog.Logger) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		r := &overlay.Renewer{Identity: id, Endpoint: ep, Network: network, Software: version, Log: log}
		_ = r.Run(ctx) // it returns nil when ctx ends, and only then
	}()
	return func() {
		cancel()
		<-ended
	}
}
