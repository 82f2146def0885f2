package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"vitalseal/internal/shared/cli"
	"vitalseal/internal/shared/process"
	"vitalseal/internal/way/overlay"
	"vitalseal/internal/way/overlay/openziti"
	"vitalseal/internal/workstation/client"
	"vitalseal/internal/workstation/connect"
)

func connectCommand() *cobra.Command {
	listen, auditKey := "127.0.0.1:8420", ""
	plain := false
	var services []string
	var programs programFlags
	c := &cobra.Command{
		Use:   "connect",
		Short: "Open a loopback address that leads to the hub's dashboard through the overlay",
		Long: `Connect carries this machine's loopback requests through the overlay, inside the workstation's own mutual TLS, to the
hub's faces: the dashboard (open the printed link in a browser), the ThingSpeak-compatible API and the administration.
The workstation must have been enrolled into --data ("vitalseal enrol"). A person still has to sign in.

It answers only the operating-system user who started it. A browser is let in by the printed link, which works once;
"vitalseal connect launch" prints another. Programs read connect.json in --data. The address speaks TLS with a local
certificate authority that is good for this address alone; "vitalseal connect trust" shows how a browser comes to trust it.

With --service thingspeak it opens addresses for programs instead: ThingSpeak's REST API over HTTP and HTTPS, and MQTT over TCP, TLS and
WebSockets (path /mqtt of the HTTP addresses). A program needs nothing of ours: it sends an API key ("vitalseal channel key"), or a
device's client id, user name and password ("vitalseal channel mqtt add"), and that is all it may use: no session counts there, and no
other page of the hub is to be had. Still only your own programs are answered, unless you say --any-user.`,
		Example: `  vitalseal enrol --ticket desk-1.ticket --data ~/.config/vitalseal/connect
  vitalseal connect
  vitalseal connect --service thingspeak --http 127.0.0.1:8430 --mqtt 127.0.0.1:1883`,
		Args: cli.ExactArgs(0),
		RunE: func(c *cobra.Command, _ []string) error {
			log, err := cli.Logger(c)
			if err != nil {
				return err
			}
			data, err := connectData(c)
			if err != nil {
				return err
			}
			for _, s := range services {
				if s != serviceFaces && s != serviceThingSpeak {
					return cli.Usage(fmt.Errorf("--service %q is neither %s nor %s", s, serviceFaces, serviceThingSpeak), "`vitalseal connect --help` says what they are")
				}
			}
			cfg := connect.Config{Data: data, Plain: plain, Log: log}
			if auditKey != "" {
				b, err := os.ReadFile(auditKey) // #nosec G304 -- the user names the file
				if err != nil {
					return cli.Usage(err, "the hub writes audit.pub into its data folder")
				}
				cfg.AuditKey = strings.TrimSpace(string(b))
			}
			ctx := c.Context()
			// What is asked for is opened first: a port that is taken should not cost a session.
			for _, s := range slices.Compact(slices.Sorted(slices.Values(services))) {
				release, err := holdFolder(data, s)
				if err != nil {
					return err
				}
				defer release()
			}
			var doors []door
			if slices.Contains(services, serviceFaces) {
				d, err := facesDoor(listen, cfg)
				if err != nil {
					return err
				}
				defer d.close()
				doors = append(doors, d)
			}
			if slices.Contains(services, serviceThingSpeak) {
				d, err := programs.door(data, log)
				if err != nil {
					return err
				}
				defer d.close()
				doors = append(doors, d)
			}
			id, err := onlyIdentity(data, overlay.KindWorkstation)
			if err != nil {
				return err
			}
			ep, err := openziti.Connect(ctx, id, log)
			if err != nil {
				return err
			}
			defer ep.Close()
			defer keepFresh(ctx, id, ep, openziti.NewNetwork(log), log)()
			for _, d := range doors {
				if err := d.open(id.ID().Domain); err != nil {
					return err
				}
			}
			if err := cli.NotifyReady(); err != nil {
				return err
			}
			watching, stopWatching := context.WithCancel(ctx)
			var watcher sync.WaitGroup
			watcher.Go(func() { process.WatchStalls(watching, log, nil) })
			defer func() { stopWatching(); watcher.Wait() }()
			g, ctx := errgroup.WithContext(ctx)
			for _, d := range doors {
				g.Go(func() error { return d.run(ctx, ep) })
			}
			return g.Wait()
		},
	}
	c.PersistentFlags().String("data", "", "folder that this workstation was enrolled into (default: vitalseal/connect in your configuration directory)")
	c.Flags().StringVar(&listen, "listen", listen, "loopback address to listen on")
	c.Flags().BoolVar(&plain, "plain", false, "plain HTTP without a launch secret, for demonstrations; the user's id is still checked where the system tells it")
	c.Flags().StringVar(&auditKey, "audit-key", "", "`file` with the public key of the hub's audit log (default: the first that the hub shows, from then on)")
	c.Flags().StringSliceVar(&services, "service", []string{serviceFaces}, "what to open: faces (the dashboard), thingspeak (for programs), or both with a comma")
	programs.add(c)
	c.AddCommand(connectTrust(), connectLaunch())
	return c
}

// The services of connect.
const (
	serviceFaces      = "faces"
	serviceThingSpeak = "thingspeak"
)

// door is one service of connect, whose address is taken: open makes it ready when the overlay is there, and says where it is; run
// does the rest.
type door struct {
	open  func(domain string) error
	run   func(context.Context, overlay.Endpoint) error
	close func()
}

// facesDoor leads to the dashboard.
func facesDoor(listen string, cfg connect.Config) (door, error) {
	ln, err := listenLoopback(listen)
	if err != nil {
		return door{}, err
	}
	var d *connect.Door
	return door{
		open: func(domain string) (err error) {
			if d, err = connect.New(ln, cfg); err != nil {
				return err
			}
			if cfg.Plain {
				cfg.Log.Warn("PLAIN HTTP: no TLS and no launch secret on this address; for demonstrations only", "address", d.URL())
			}
			fmt.Fprintf(os.Stderr, "%s leads to %s\n", d.URL(), domain)
			if !cfg.Plain {
				fmt.Fprintf(os.Stderr, "open once, within ten minutes: %s\nif the browser warns of the certificate: vitalseal connect trust --data %s\n", d.LaunchURL(), cfg.Data)
			}
			return nil
		},
		run:   func(ctx context.Context, ep overlay.Endpoint) error { return d.Run(ctx, ep) },
		close: func() { _ = ln.Close() },
	}, nil
}

// connectData is --data, or where it is by default.
func connectData(c *cobra.Command) (string, error) {
	if data, _ := c.Flags().GetString("data"); data != "" {
		return data, nil
	}
	if c.Flags().Changed("data") {
		return "", cli.Usage(errors.New("--data: empty"), fmt.Sprintf("see `%s --help`", c.CommandPath()))
	}
	dir, err := os.UserConfigDir()
	if err != nil {
		return "", cli.Usage(fmt.Errorf("no configuration directory: %w", err), "give the folder with --data")
	}
	return filepath.Join(dir, "vitalseal", "connect"), nil
}

func connectTrust() *cobra.Command {
	return &cobra.Command{
		Use:   "trust",
		Short: "Show how browsers on this machine come to trust the address's certificates",
		Long: `Trust prints the commands that make browsers trust the local certificate authority of --data; it changes nothing itself. The
authority is limited by its own certificate to vitalseal.localhost and loopback addresses: trusting it means nothing for any other
site. Its key stays on this machine, readable by you alone.`,
		Args: cli.ExactArgs(0),
		RunE: func(c *cobra.Command, _ []string) error {
			log, err := cli.Logger(c)
			if err != nil {
				return err
			}
			data, err := connectData(c)
			if err != nil {
				return err
			}
			if data, err = filepath.Abs(data); err != nil {
				return err
			}
			file, sum, err := connect.CA(data, log)
			if err != nil {
				return err
			}
			fmt.Print(strings.NewReplacer("FILE", file, "SHA256", sum).Replace(trustText))
			return nil
		},
	}
}

const trustText = `Certificate authority of this workstation's connect address, good for vitalseal.localhost and loopback only:
  FILE
  SHA-256 SHA256

Chrome, Chromium, Edge on Linux (package libnss3-tools):
  mkdir -p "$HOME/.pki/nssdb" && certutil -d "sql:$HOME/.pki/nssdb" -A -t "C,," -n "vitalseal connect" -i "FILE"
Firefox on any system:
  Settings, Privacy & Security, View Certificates, Authorities, Import: FILE ("identify websites")
Debian and Ubuntu, whole system (curl and other programs):
  sudo cp "FILE" /usr/local/share/ca-certificates/vitalseal-connect.crt && sudo update-ca-certificates
macOS (Safari, Chrome):
  security add-trusted-cert -r trustRoot -k "$HOME/Library/Keychains/login.keychain-db" "FILE"
Windows (Edge, Chrome):
  certutil -user -addstore Root "FILE"

Browsers lead vitalseal.localhost to this machine by themselves. If one does not (Safari on older systems), add to the hosts file:
  127.0.0.1 vitalseal.localhost
Restart the browser afterwards.
`

func connectLaunch() *cobra.Command {
	return &cobra.Command{
		Use:   "launch",
		Short: "Print a new link that lets a browser in at the running connect address, once",
		Args:  cli.ExactArgs(0),
		RunE: func(c *cobra.Command, _ []string) error {
			data, err := connectData(c)
			if err != nil {
				return err
			}
			cl, err := client.FromFile(connect.FilePath(data))
			if err != nil {
				return cli.Hinted(err, "`vitalseal connect` writes it while it runs; name its folder with --data")
			}
			if cl.Base().Scheme == "http" {
				fmt.Println(cl.Base())
				return nil
			}
			var out struct {
				URL string `json:"url"`
			}
			if err := cl.Do(context.WithoutCancel(c.Context()), http.MethodPost, "/launch", nil, &out); err != nil {
				return err
			}
			fmt.Println(out.URL)
			return nil
		},
	}
}

// listenLoopback opens the address that --listen gave.
func listenLoopback(address string) (net.Listener, error) {
	ln, err := connect.Listen(address)
	if errors.Is(err, connect.ErrNotLoopback) {
		return nil, cli.Usage(err, "other machines must not reach it; enrol each as a workstation of its own")
	}
	if err != nil {
		return nil, cli.Hinted(err, "choose another address with --listen 127.0.0.1:PORT")
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
		return nil, cli.Usage(fmt.Errorf("no %s is enrolled in %s", kind, dir), hint)
	case 1:
		id, err := overlay.LoadIdentity(found[0])
		if err != nil {
			return nil, cli.Hinted(err, hint)
		}
		return id, nil
	}
	return nil, cli.Usage(fmt.Errorf("%d identities of kind %s in %s, want one", len(found), kind, dir), "use one folder for each")
}
