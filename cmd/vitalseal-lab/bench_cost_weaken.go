//go:build weaken

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"vitalseal/internal/lab/bench"
	"vitalseal/internal/shared/cli"
)

// benchCost measures what security costs. Only the test build can: the product has no such switch.
func benchCost() []*cobra.Command {
	cfg := bench.CostConfig{Patients: 96, For: 30 * time.Second, Repeats: 3}
	var asJSON bool
	c := &cobra.Command{
		Use:   "cost",
		Short: "Measure what each layer of security costs, by taking it away",
		Args:  cli.ExactArgs(0),
		RunE: func(c *cobra.Command, _ []string) (err error) {
			if cfg.Patients < 1 || cfg.Patients > 10000 {
				return cli.Usage(fmt.Errorf("--patients %d: out of range", cfg.Patients), "give 1 to 10000")
			}
			if cfg.For < time.Second || cfg.For > time.Hour || cfg.Repeats < 1 || cfg.Repeats > 99 {
				return cli.Usage(fmt.Errorf("--for %v --repeats %d: out of range", cfg.For, cfg.Repeats), "give 1s to 1h and 1 to 99")
			}
			for _, w := range cfg.Without {
				if !slices.Contains(bench.CostLayers(), w) {
					return cli.Usage(fmt.Errorf("--without %q: not known", w), "give some of: "+strings.Join(bench.CostLayers(), ", "))
				}
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
			report, err := bench.RunCost(c.Context(), cfg)
			if err != nil {
				return err
			}
			if asJSON {
				return json.NewEncoder(os.Stdout).Encode(report)
			}
			return report.Print(os.Stdout)
		},
	}
	f := c.Flags()
	f.IntVar(&cfg.Patients, "patients", cfg.Patients, "how many patients")
	f.DurationVar(&cfg.For, "for", cfg.For, "how long each run lasts, once all are connected")
	f.IntVar(&cfg.Repeats, "repeats", cfg.Repeats, "how many runs of each; the medians are reported")
	f.StringSliceVar(&cfg.Without, "without", nil, "what to take away, several with commas between them (default: each and all)")
	f.StringVar(&cfg.Data, "data", "", "folder that keeps the deployment (default: a temporary one)")
	f.StringVar(&cfg.Recordings, "recordings", "", "folder of recordings of people that drive the simulated chips (default: the simulator's own waves)")
	f.BoolVar(&asJSON, "json", false, "print the figures as one JSON object")
	return []*cobra.Command{c}
}
