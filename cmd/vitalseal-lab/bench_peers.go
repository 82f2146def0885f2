package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"vitalseal/internal/lab/bench"
	"vitalseal/internal/lab/peers"
	"vitalseal/internal/shared/cli"
)

func benchPeers() *cobra.Command {
	cfg := peers.Config{Patients: []int{50, 200}, For: time.Minute, Systems: peers.Systems, Batch: 250 * time.Millisecond}
	var asJSON bool
	c := &cobra.Command{
		Use:   "peers",
		Short: "Measure the same patients through what people would use instead",
		Long: `Peers measures so many patients (red and infrared at 100 Hz, three numbers each second) one after the other through Vitalseal, as
bench does, and through what people would use instead: Mosquitto (TLS, a password, QoS 1, persistence) and a subscriber that writes
batches into InfluxDB or VictoriaMetrics; and rows by COPY into PostgreSQL over a local socket, a row a sample or a row a chunk of a
quarter of a second. The others' gateways are the same simulated chips, drivers and signal processing as ours. It says for each what
CPU every part takes, how many patients a core carries, when a chunk is durable (when the database says so: VictoriaMetrics says so when
it has it in memory), what is lost, and what it takes on disk; and our patients per core divided by theirs.

The programs must be installed (Debian: mosquitto influxdb victoria-metrics postgresql-15). Let the machine do nothing else meanwhile.`,
		Example: `  vitalseal bench peers --patients 50,200 --for 60s --recordings recordings/oximeter --json
  vitalseal bench peers --patients 200 --for 60s --systems vitalseal,postgresql`,
		Args: cli.ExactArgs(0),
		RunE: func(c *cobra.Command, _ []string) (err error) {
			for _, n := range cfg.Patients {
				if n < 1 || n > 10000 {
					return cli.Usage(fmt.Errorf("--patients %d: out of range", n), "give 1 to 10000, several with commas between them")
				}
			}
			if cfg.For < time.Second || cfg.For > 24*time.Hour {
				return cli.Usage(fmt.Errorf("--for %v: out of range", cfg.For), "give 1s to 24h")
			}
			if cfg.Batch < time.Millisecond || cfg.Batch > time.Minute {
				return cli.Usage(fmt.Errorf("--batch %v: out of range", cfg.Batch), "give 1ms to 1m")
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
			report, err := peers.Run(c.Context(), cfg)
			var missing *peers.MissingProgram
			switch {
			case errors.As(err, &missing):
				return cli.Hinted(err, "apt-get install "+missing.Package+", or leave it out with --systems")
			case errors.Is(err, peers.ErrNoPeer):
				return cli.Usage(err, "give some of "+strings.Join(peers.Systems, ","))
			case errors.Is(err, bench.ErrOtherFleet), errors.Is(err, bench.ErrRecordings):
				return cli.Usage(err, "choose another folder")
			case err != nil:
				return err
			}
			if asJSON {
				return json.NewEncoder(os.Stdout).Encode(report)
			}
			return report.Print(os.Stdout)
		},
	}
	f := c.Flags()
	f.IntSliceVar(&cfg.Patients, "patients", cfg.Patients, "how many patients; everything is measured with each of these")
	f.DurationVar(&cfg.For, "for", cfg.For, "how long each measurement lasts")
	f.StringVar(&cfg.Data, "data", "", "folder that keeps our deployment with its identities for the next run (default: a temporary one)")
	f.StringVar(&cfg.Recordings, "recordings", "", "folder of recordings of people that drive the simulated chips (default: the simulator's own waves)")
	f.StringSliceVar(&cfg.Systems, "systems", cfg.Systems, "which systems")
	f.DurationVar(&cfg.Batch, "batch", cfg.Batch, "how long the others gather what they write at once")
	f.BoolVar(&asJSON, "json", false, "print the figures as one JSON object")
	return c
}

// benchPeerParts are the processes of `bench peers` that take the place of our gateways and of a broker's subscriber.
func benchPeerParts() []*cobra.Command {
	var data string
	gateways := &cobra.Command{Use: "peer-gateways", Hidden: true, Short: "The gateways' process of bench peers; not for people", Args: cli.ExactArgs(0),
		RunE: func(c *cobra.Command, _ []string) error {
			cli.CollectAt(cli.ServerGarbage)
			return peers.RunGateways(c.Context(), data, cli.NotifyReady)
		}}
	subscriber := &cobra.Command{Use: "peer-subscriber", Hidden: true, Short: "The subscriber's process of bench peers; not for people", Args: cli.ExactArgs(0),
		RunE: func(c *cobra.Command, _ []string) error {
			cli.CollectAt(cli.ServerGarbage)
			return peers.RunSubscriber(c.Context(), data, cli.NotifyReady)
		}}
	for _, c := range []*cobra.Command{gateways, subscriber} {
		c.Flags().StringVar(&data, "data", "", "the run's folder")
	}
	return []*cobra.Command{gateways, subscriber}
}
