package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"vitalseal/internal/connect"
	"vitalseal/internal/overlay"
	"vitalseal/internal/overlay/openziti"
)

func connectCommand() *cobra.Command {
	data, listen := "", "127.0.0.1:8420"
	c := &cobra.Command{
		Use:   "connect",
		Short: "Open a loopback address that leads to the hub's dashboard through the overlay",
		Long: `Connect carries this machine's loopback requests through the overlay, inside the workstation's own mutual TLS, to the
hub's faces: the dashboard (open the printed address in a browser), the ThingSpeak-compatible API and the administration.
The workstation must have been enrolled into --data ("vitalseal enrol"). A person still has to sign in.`,
		Example: `  vitalseal enrol --ticket desk-1.ticket --data /var/lib/vitalseal/connect
  vitalseal connect --data /var/lib/vitalseal/connect`,
		Args: exactArgs(0),
		RunE: func(c *cobra.Command, _ []string) error {
			log, err := logger(c)
			if err != nil {
				return err
			}
			ctx := c.Context()
			ln, err := listenLoopback(listen)
			if err != nil {
				return err
			}
			defer ln.Close()
			id, err := onlyIdentity(data, overlay.KindWorkstation)
			if err != nil {
				return err
			}
			ep, err := openziti.Connect(ctx, id, log)
			if err != nil {
				return err
			}
			defer ep.Close()
			fmt.Fprintf(os.Stderr, "http://%s leads to %s\n", ln.Addr(), id.ID().Domain)
			if err := notifyReady(); err != nil {
				return err
			}
			return connect.Run(ctx, ep, ln, log)
		},
	}
	c.Flags().StringVar(&data, "data", "", "folder that this workstation was enrolled into (required)")
	c.Flags().StringVar(&listen, "listen", listen, "loopback address to listen on")
	_ = c.MarkFlagRequired("data")
	return c
}

// listenLoopback opens the address that --listen gave.
func listenLoopback(address string) (net.Listener, error) {
	ln, err := connect.Listen(address)
	if errors.Is(err, connect.ErrNotLoopback) {
		return nil, &usageError{err, "other machines must not reach it; enrol each as a workstation of its own"}
	}
	if err != nil {
		return nil, &hinted{err, "choose another address with --listen 127.0.0.1:PORT"}
	}
	return ln, nil
}

// onlyIdentity loads the one identity of a kind that was enrolled into dir.
func onlyIdentity(dir, kind string) (*overlay.Identity, error) {
	const hint = "enrol first: vitalseal enrol --ticket FILE --data DIR"
	found, err := filepath.Glob(filepath.Join(dir, kind+"-*.identity.json"))
	if err != nil {
		return nil, err
	}
	switch len(found) {
	case 0:
		return nil, &usageError{fmt.Errorf("no %s is enrolled in %s", kind, dir), hint}
	case 1:
		id, err := overlay.LoadIdentity(found[0])
		if err != nil {
			return nil, &hinted{err, hint}
		}
		return id, nil
	}
	return nil, &usageError{fmt.Errorf("%d identities of kind %s in %s, want one", len(found), kind, dir), "use one folder for each"}
}
