package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"

	"vitalseal/internal/lab/bench"
	"vitalseal/internal/shared/cli"
)

func benchMonth() *cobra.Command {
	cfg := bench.MonthConfig{Patients: 100, Days: 30, Every: time.Second, Requests: 300}
	var asJSON bool
	c := &cobra.Command{
		Use:   "month",
		Short: "Measure how long a chart of a month takes to open",
		Long: `Month stores numbers of each second (--every) of so many days and patients in a hub's store, through the door by which all readings enter it, then
starts an overlay, that hub and a workstation's connect and asks for a chart of one vital sign over all of it, for one patient after
the other. Filling takes a while (a quarter of an hour for 30 days of 100 patients, which take 10 GiB with a moment every second); it stays in --data for the next run.`,
		Example: "  vitalseal bench month --data ~/month --json",
		Args:    cli.ExactArgs(0),
		RunE: func(c *cobra.Command, _ []string) (err error) {
			if cfg.Patients < 1 || cfg.Patients > 1000 {
				return cli.Usage(fmt.Errorf("--patients %d: out of range", cfg.Patients), "give 1 to 1000")
			}
			if cfg.Days < 1 || cfg.Days > 30 {
				return cli.Usage(fmt.Errorf("--days %d: out of range", cfg.Days), "give 1 to 30: older readings are not taken in any more")
			}
			if cfg.Every < time.Second || cfg.Every > time.Minute || time.Minute%cfg.Every != 0 || cfg.Every%time.Second != 0 {
				return cli.Usage(fmt.Errorf("--every %v: out of range", cfg.Every), "give whole seconds of which a minute is a multiple: 1s to 1m")
			}
			if cfg.Requests < 1 || cfg.Requests > 100_000 {
				return cli.Usage(fmt.Errorf("--requests %d: out of range", cfg.Requests), "give 1 to 100000")
			}
			if cfg.Exe, err = product(); err != nil {
				return err
			}
			if cfg.Data == "" {
				if cfg.Data, err = os.MkdirTemp("", "vitalseal-bench-"); err != nil {
					return err
				}
				defer func() { err = errors.Join(err, os.RemoveAll(cfg.Data)) }()
			}
			cfg.Progress = os.Stderr
			cli.CollectAt(cli.ServerGarbage)
			report, err := bench.RunMonth(c.Context(), cfg)
			if errors.Is(err, bench.ErrOtherFleet) {
				return cli.Usage(err, "choose another folder")
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
	f := c.Flags()
	f.IntVar(&cfg.Patients, "patients", cfg.Patients, "how many patients")
	f.IntVar(&cfg.Days, "days", cfg.Days, "how many days")
	f.DurationVar(&cfg.Every, "every", cfg.Every, "how far apart the moments are of which there are numbers")
	f.IntVar(&cfg.Requests, "requests", cfg.Requests, "how many charts to open")
	f.StringVar(&cfg.Data, "data", "", "folder that keeps what was filled for the next run (default: a temporary one)")
	f.BoolVar(&asJSON, "json", false, "print the figures as one JSON object")
	return c
}
