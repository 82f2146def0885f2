package main

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"vitalseal/internal/audit"
)

func auditCommand() *cobra.Command {
	var key string
	verify := &cobra.Command{
		Use:   "verify DIR",
		Short: "Prove offline that an audit log is whole",
		Long: `Verify reads the audit log in DIR (the hub's data folder holds it as "audit") and proves with the log's public key that
no entry was changed, dropped, added or moved. It needs nothing else, neither the hub nor its private key.`,
		Example: "  vitalseal audit verify --key-file audit.pub /var/lib/vitalseal/hub/audit",
		Args:    exactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			b, err := os.ReadFile(key) // #nosec G304 -- the auditor names the file
			if err != nil {
				return &usageError{err, "the hub writes the public key to audit.pub in its data folder; keep a copy of your own"}
			}
			if err := audit.Verify(args[0], strings.TrimSpace(string(b))); err != nil {
				if errors.Is(err, audit.ErrTampered) {
					return &hinted{err, "keep the folder as it is; it is evidence"}
				}
				return err
			}
			fmt.Println("whole")
			return nil
		},
	}
	verify.Flags().StringVar(&key, "key-file", "", "file with the log's public key (required)")
	_ = verify.MarkFlagRequired("key-file")
	c := &cobra.Command{Use: "audit", Short: "The log of who did what, and why it was allowed or refused", GroupID: "admin"}
	onlyGroup(c)
	c.AddCommand(verify)
	return c
}
