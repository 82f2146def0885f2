package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"

	"github.com/spf13/cobra"

	"vitalseal/internal/shared/cli"
	"vitalseal/internal/view/thingspeak"
	"vitalseal/internal/way/overlay"
	"vitalseal/internal/workstation/connect"
)

// programFlags are the addresses of connect --service thingspeak.
type programFlags struct {
	http, https, mqtt, mqtts string
	anyUser, json            bool
}

func (p *programFlags) add(c *cobra.Command) {
	f := c.Flags()
	f.StringVar(&p.http, "http", "127.0.0.1:8430", "with --service thingspeak: loopback `address` for HTTP and WebSockets; empty: none")
	f.StringVar(&p.https, "https", "127.0.0.1:8431", "likewise for HTTPS and secure WebSockets")
	f.StringVar(&p.mqtt, "mqtt", "127.0.0.1:1883", "likewise for MQTT over TCP")
	f.StringVar(&p.mqtts, "mqtts", "127.0.0.1:8883", "likewise for MQTT over TLS")
	f.BoolVar(&p.anyUser, "any-user", false, "with --service thingspeak: answer programs of every user of this machine; a key or password is a credential of its own, but every user here may then guess")
	f.BoolVar(&p.json, "json", false, "with --service thingspeak: print the addresses as one JSON object on stdout")
}

// door opens the addresses.
func (p *programFlags) door(data string, log *slog.Logger) (d door, err error) {
	cfg := connect.ProgramsConfig{Data: data, Paths: thingspeak.Paths(), MQTTPath: thingspeak.MQTTPath, AnyUser: p.anyUser, Log: log}
	var open []net.Listener
	d.close = func() {
		for _, ln := range open {
			_ = ln.Close()
		}
	}
	defer func() {
		if err != nil {
			d.close()
		}
	}()
	addresses := map[string]string{}
	for _, x := range []struct {
		scheme, address string
		to              *net.Listener
	}{{"http", p.http, &cfg.HTTP}, {"https", p.https, &cfg.HTTPS}, {"mqtt", p.mqtt, &cfg.MQTT}, {"mqtts", p.mqtts, &cfg.MQTTS}} {
		if x.address == "" {
			continue
		}
		ln, err := connect.Listen(x.address)
		if errors.Is(err, connect.ErrNotLoopback) {
			return d, cli.Usage(err, "other machines must not reach it; enrol each as a workstation of its own")
		}
		if err != nil {
			return d, cli.Hinted(err, "choose another address with --"+x.scheme+" 127.0.0.1:PORT, or none with --"+x.scheme+"=")
		}
		*x.to, open = ln, append(open, ln)
		addresses[x.scheme] = x.scheme + "://" + ln.Addr().String()
	}
	if len(open) == 0 {
		return d, cli.Usage(errors.New("no address for programs"), "give at least one of --http, --https, --mqtt, --mqtts")
	}
	var programs *connect.Programs
	d.run = func(ctx context.Context, ep overlay.Endpoint) error { return programs.Run(ctx, ep) }
	d.open = func(domain string) (err error) {
		if programs, err = connect.NewPrograms(cfg); err != nil {
			return err
		}
		if p.anyUser {
			log.Warn("every user of this machine is answered; what they bring is their key or password alone")
		}
		if p.json {
			return json.NewEncoder(os.Stdout).Encode(addresses)
		}
		for _, scheme := range []string{"http", "https", "mqtt", "mqtts"} {
			if a := addresses[scheme]; a != "" {
				fmt.Fprintln(os.Stderr, a, "leads to", domain)
			}
		}
		return nil
	}
	return d, nil
}
