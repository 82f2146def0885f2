package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/spf13/cobra"

	"vitalseal/internal/lab/bench"
	"vitalseal/internal/shared/cli"
)

func benchCommand() *cobra.Command {
	cfg := bench.LoadConfig{For: time.Minute}
	sizes := []int{100}
	var asJSON bool
	c := &cobra.Command{
		Use:   "bench",
		Short: "Measure this system on this machine",
		Long: `Bench measures the real parts on this machine, security on: the overlay, the hub and a workstation's connect, each a process
of its own, and simulated gateways with so many patients, each an oximeter with an identity of its own that sends red and infrared
at 100 Hz and its numbers every second. It reports what was lost or doubled (nothing may be), how old a sample is when it is durable
and when it is on a nurse's screen, and what CPU, memory, wire and disk each part takes.

Identities take a while to make (some ten a second); they stay in --data for the next run, which may have as many patients or
fewer, or more: those are added. Let the machine do nothing else meanwhile.`,
		Example: `  vitalseal bench --patients 100 --for 60s
  vitalseal bench --patients 500 --for 2m --data ~/bench --recordings recordings/oximeter --json
  vitalseal bench --patients 10,100,500 --for 60s --data ~/bench    how the cost of a patient grows
  vitalseal bench cut                            how long a revocation takes`,
		Args: cli.ExactArgs(0),
		RunE: func(c *cobra.Command, _ []string) (err error) {
			for _, n := range sizes {
				if n < 1 || n > 10000 {
					return cli.Usage(fmt.Errorf("--patients %d: out of range", n), "give 1 to 10000, several with commas between them")
				}
			}
			if cfg.For < time.Second || cfg.For > 24*time.Hour {
				return cli.Usage(fmt.Errorf("--for %v: out of range", cfg.For), "give 1s to 24h")
			}
			if cfg.Exe, err = product(); err != nil {
				return err
			}
			if cfg.Lab, err = os.Executable(); err != nil {
				return err
			}
			if cfg.Data == "" {
				if cfg.Data, err = os.MkdirTemp("", "vitalseal-bench-"); err != nil {
					return err
				}
				defer func() { err = errors.Join(err, os.RemoveAll(cfg.Data)) }()
			}
			cfg.Progress = os.Stderr
			for _, cfg.Patients = range sizes {
				if err := benchLoad(c.Context(), cfg, asJSON); err != nil {
					return err
				}
			}
			return nil
		},
	}
	f := c.Flags()
	f.IntSliceVar(&sizes, "patients", sizes, "how many patients; with several, a measurement and an object each")
	f.DurationVar(&cfg.For, "for", cfg.For, "how long to measure, once all are connected")
	f.StringVar(&cfg.Data, "data", "", "folder that keeps the deployment with its identities for the next run (default: a temporary one)")
	f.StringVar(&cfg.Database, "database", "", "PostgreSQL connection string for the hub (default: files); its own CPU is not counted")
	f.StringVar(&cfg.Recordings, "recordings", "", "folder of recordings of people that drive the simulated chips (default: the simulator's own waves)")
	f.BoolVar(&asJSON, "json", false, "print the figures as one JSON object")
	c.AddCommand(benchCut(), benchHub(), benchThingSpeak(), benchPeers(), benchMonth(), benchFleet(), benchAloneHub())
	c.AddCommand(benchPeerParts()...)
	c.AddCommand(benchCost()...)
	return c
}

// benchLoad is one measurement of RunLoad.
func benchLoad(ctx context.Context, cfg bench.LoadConfig, asJSON bool) error {
	report, err := bench.RunLoad(ctx, cfg)
	if errors.Is(err, bench.ErrOtherFleet) || errors.Is(err, bench.ErrRecordings) {
		return cli.Usage(err, "choose another folder")
	}
	if err != nil {
		return err
	}
	if asJSON {
		err = json.NewEncoder(os.Stdout).Encode(report)
	} else {
		err = report.Print(os.Stdout)
	}
	if err == nil && report.ChunksLost+report.ChunksDoubled > 0 {
		err = fmt.Errorf("%d chunks lost and %d doubled; none may be", report.ChunksLost, report.ChunksDoubled)
	}
	return err
}

func benchHub() *cobra.Command {
	cfg := bench.AloneConfig{Patients: 1000, For: 30 * time.Second}
	var asJSON bool
	c := &cobra.Command{
		Use:   "hub",
		Short: "Measure the hub alone, without OpenZiti, with up to 10,000 patients",
		Long: `Hub measures what taking in, opening, attributing, sealing anew and storing durably costs, with each sensor's own identity and
inner TLS but without OpenZiti: one process for the hub, whose own CPU time counts, and as many sensors in this one, over local sockets.`,
		Example: "  vitalseal bench hub --patients 5000 --for 30s --json",
		Args:    cli.ExactArgs(0),
		RunE: func(c *cobra.Command, _ []string) (err error) {
			if cfg.Patients < 1 || cfg.Patients > 10000 {
				return cli.Usage(fmt.Errorf("--patients %d: out of range", cfg.Patients), "give 1 to 10000")
			}
			if cfg.For < time.Second || cfg.For > 24*time.Hour {
				return cli.Usage(fmt.Errorf("--for %v: out of range", cfg.For), "give 1s to 24h")
			}
			if cfg.Lab, err = os.Executable(); err != nil {
				return err
			}
			if cfg.Data, err = os.MkdirTemp("", "vitalseal-bench-"); err != nil {
				return err
			}
			defer func() { err = errors.Join(err, os.RemoveAll(cfg.Data)) }()
			cfg.Progress = os.Stderr
			cli.CollectAt(cli.ServerGarbage)
			report, err := bench.RunAlone(c.Context(), cfg)
			if err != nil {
				return err
			}
			if asJSON {
				return json.NewEncoder(os.Stdout).Encode(report)
			}
			return report.Print(os.Stdout)
		},
	}
	c.Flags().IntVar(&cfg.Patients, "patients", cfg.Patients, "how many patients")
	c.Flags().DurationVar(&cfg.For, "for", cfg.For, "how long to measure, once all are connected")
	c.Flags().BoolVar(&asJSON, "json", false, "print the figures as one JSON object")
	return c
}

func benchThingSpeak() *cobra.Command {
	cfg := bench.ThingSpeakConfig{For: 10 * time.Second, Clients: []int{1, 8, 32}}
	var asJSON bool
	c := &cobra.Command{
		Use:   "thingspeak",
		Short: "Measure writing to channels: updates, bulk updates and MQTT, beside mosquitto alone",
		Long: `Thingspeak measures the real parts on this machine: overlay, hub, and four workstations' addresses for programs, each a process. So many
clients at once write to a channel of their own, each waiting for its answer before it goes on: POST /update, bulk updates, MQTT with QoS 0 (until the
client, which has subscribed, is told) and QoS 1 (until it is acknowledged). By then the hub has decided, audited and stored. Then the same over MQTT
through mosquitto alone, which must be installed (Debian: mosquitto) and does neither.`,
		Example: "  vitalseal bench thingspeak --for 10s --clients 1,8,32 --json",
		Args:    cli.ExactArgs(0),
		RunE: func(c *cobra.Command, _ []string) (err error) {
			if cfg.For < time.Second || cfg.For > time.Hour {
				return cli.Usage(fmt.Errorf("--for %v: out of range", cfg.For), "give 1s to 1h")
			}
			for _, n := range cfg.Clients {
				if n < 1 || n > 64 {
					return cli.Usage(fmt.Errorf("--clients %d: out of range", n), "give 1 to 64")
				}
			}
			if cfg.Exe, err = product(); err != nil {
				return err
			}
			if cfg.Data, err = os.MkdirTemp("", "vitalseal-bench-"); err != nil {
				return err
			}
			defer func() { err = errors.Join(err, os.RemoveAll(cfg.Data)) }()
			cfg.Progress = os.Stderr
			report, err := bench.RunThingSpeak(c.Context(), cfg)
			if errors.Is(err, bench.ErrNoMosquitto) {
				return cli.Hinted(err, "apt-get install mosquitto")
			}
			if err != nil {
				return err
			}
			if asJSON {
				return json.NewEncoder(os.Stdout).Encode(report)
			}
			return report.Print(os.Stdout)
		},
	}
	c.Flags().DurationVar(&cfg.For, "for", cfg.For, "how long each measurement lasts")
	c.Flags().IntSliceVar(&cfg.Clients, "clients", cfg.Clients, "how many clients at once; a measurement each")
	c.Flags().BoolVar(&asJSON, "json", false, "print the figures as one JSON object")
	return c
}

// benchAloneHub is the hub's process of `bench hub`.
func benchAloneHub() *cobra.Command {
	var data string
	var patients int
	c := &cobra.Command{Use: "alone-hub", Hidden: true, Short: "The hub's process of bench hub; not for people", Args: cli.ExactArgs(0),
		RunE: func(c *cobra.Command, _ []string) error {
			log, err := cli.Logger(c)
			if err != nil {
				return err
			}
			return bench.RunAloneHub(c.Context(), data, patients, cli.NotifyReady, log)
		}}
	c.Flags().StringVar(&data, "data", "", "the bench's folder")
	c.Flags().IntVar(&patients, "patients", 1, "how many patients")
	return c
}

// benchFleet is the process of many gateways that bench starts.
func benchFleet() *cobra.Command {
	var data string
	var first, count int
	c := &cobra.Command{Use: "fleet", Hidden: true, Short: "Run many simulated gateways in one process, for bench", Args: cli.ExactArgs(0),
		RunE: func(c *cobra.Command, _ []string) error {
			log, err := cli.Logger(c)
			if err != nil {
				return err
			}
			cli.CollectAt(cli.ServerGarbage)
			return bench.RunFleet(c.Context(), data, first, count, version, cli.NotifyReady, log)
		}}
	c.Flags().StringVar(&data, "data", "", "the bench's folder")
	c.Flags().IntVar(&first, "first", 0, "the first gateway")
	c.Flags().IntVar(&count, "count", 1, "how many")
	return c
}

func benchCut() *cobra.Command {
	var trials int
	var asJSON bool
	c := &cobra.Command{
		Use:   "cut",
		Short: "Measure how long a revocation takes to cut open connections and refuse new ones",
		Long: `Cut starts an overlay and a hub of its own, and for every kind of revocation measures the time from the call that
revokes to the end of an open connection (or live view), and to the moment from which no new one gets through. It takes
about four minutes with 50 trials of each kind. Let the machine do nothing else meanwhile.`,
		Example: "  vitalseal bench cut --trials 50 --json",
		Args:    cli.ExactArgs(0),
		RunE: func(c *cobra.Command, _ []string) (err error) {
			if trials < 1 || trials > 10000 {
				return cli.Usage(fmt.Errorf("--trials %d", trials), "give 1 to 10000")
			}
			log := slog.New(slog.DiscardHandler) // what is cut on purpose complains a lot
			if c.Flags().Changed("log-level") {
				if log, err = cli.Logger(c); err != nil {
					return err
				}
			}
			exe, err := product()
			if err != nil {
				return err
			}
			dir, err := os.MkdirTemp("", "vitalseal-bench-")
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
			report, err := bench.RunCut(c.Context(), bench.Config{Exe: exe, Dir: dir, Trials: trials, Progress: os.Stderr, Log: log,
				NodeArgs: []string{"overlay", "node", "--log-format", "json", "--data"}})
			if err != nil {
				return err
			}
			if asJSON {
				return json.NewEncoder(os.Stdout).Encode(report)
			}
			return report.Print(os.Stdout)
		},
	}
	c.Flags().IntVar(&trials, "trials", 50, "of each kind of revocation")
	c.Flags().BoolVar(&asJSON, "json", false, "print the figures as JSON")
	return c
}
