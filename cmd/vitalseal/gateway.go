package main

import (
	"errors"
	"os"

	"github.com/spf13/cobra"

	"vitalseal/internal/patient/gateway"
	"vitalseal/internal/patient/sensor"
	"vitalseal/internal/patient/sensor/bench"
	"vitalseal/internal/shared/cli"
	"vitalseal/internal/way/overlay/openziti"
)

var errMissingConfig = errors.New("--config: missing")

func gatewayCommand() *cobra.Command {
	var file, benchFile string
	var example bool
	c := &cobra.Command{
		Use:   "gateway",
		Short: "Turn sensors' registers into sealed chunks and deliver them; dials out only",
		Long: `Gateway reads the sensors in its configuration, computes vital signs, seals everything to the hub's key and delivers it
through the overlay, each sensor as its own identity. What cannot be delivered waits on disk, sealed: the gateway itself
cannot open it. It must have been enrolled into its data folder ("vitalseal enrol").

With --bench FILE the buses are simulated down to the chips' registers; nothing else changes.`,
		Example: `  vitalseal gateway --print-config > gateway.yaml
  vitalseal enrol --ticket gw-a1.ticket --data /var/lib/vitalseal/gateway
  vitalseal gateway --config gateway.yaml`,
		Args: cli.ExactArgs(0),
		RunE: func(c *cobra.Command, _ []string) error {
			if example {
				_, err := os.Stdout.Write(gateway.Example)
				return err
			}
			if file == "" {
				return cli.Usage(errMissingConfig, "vitalseal gateway --print-config shows an example")
			}
			log, err := cli.Logger(c)
			if err != nil {
				return err
			}
			cfg := gateway.Default()
			if err := loadConfig(file, &cfg); err != nil {
				return err
			}
			if err := cfg.Validate(); err != nil {
				return cli.Usage(err, "vitalseal gateway --print-config shows every key with its meaning")
			}
			var buses sensor.Buses = sensor.Host{}
			if benchFile != "" {
				if buses, err = bench.Load(benchFile, bench.Options{}); err != nil {
					return cli.Usage(err, "bench files are made by `vitalseal demo`; see doc/formats/bench.md")
				}
			}
			cli.CollectAt(cli.GatewayGarbage)
			err = gateway.Run(c.Context(), cfg, gateway.Deps{Buses: buses, Network: openziti.NewNetwork(log), Software: version, Ready: cli.NotifyReady, ListenStatus: gateway.ListenStatus, Log: log})
			if errors.Is(err, gateway.ErrNotEnrolled) {
				return cli.Hinted(err, "vitalseal enrol --ticket FILE --data "+cfg.Data)
			}
			return err
		},
	}
	c.AddCommand(gatewayStatusCommand(), gatewayLegacyCommand())
	c.Flags().StringVar(&file, "config", "", "configuration file (YAML)")
	c.Flags().StringVar(&benchFile, "bench", "", "simulate the buses named in the configuration, as this file describes")
	c.Flags().BoolVar(&example, "print-config", false, "print an example configuration with every key and stop")
	return c
}
