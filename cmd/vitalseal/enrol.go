package main

import (
	"cmp"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"vitalseal/internal/overlay"
	"vitalseal/internal/overlay/openziti"
)

func enrolCommand() *cobra.Command {
	var ticketFile, data string
	c := &cobra.Command{
		Use:   "enrol",
		Short: "Redeem a one-time ticket: make this component's keys and certificates",
		Long: `Enrol makes the keys of each component named in the ticket on this machine, proves the hub's identity against the
ticket, and has the components' certificates signed. A ticket works once and for a short time; a gateway's ticket covers
its sensors. The keys never leave this machine; they are in the --data folder, readable by you alone.`,
		Example: "  vitalseal enrol --ticket gw-a1.ticket --data /var/lib/vitalseal/gateway",
		Args:    exactArgs(0),
		RunE: func(c *cobra.Command, _ []string) error {
			log, err := logger(c)
			if err != nil {
				return err
			}
			t, err := overlay.ReadTicket(ticketFile)
			if err != nil {
				return &usageError{err, cmp.Or(overlay.Hint(err), "a ticket is a file that an administrator made; it must be readable by you alone (chmod 600)")}
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
	c.Flags().StringVar(&ticketFile, "ticket", "", "ticket file made by an administrator (required)")
	c.Flags().StringVar(&data, "data", "", "folder for the identities (required)")
	_ = c.MarkFlagRequired("ticket")
	_ = c.MarkFlagRequired("data")
	return c
}
