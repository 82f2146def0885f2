package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"

	"github.com/spf13/cobra"

	"vitalseal/internal/measure"
)

func benchCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "bench",
		Short: "Measure this system on this machine",
		Long:  "Bench measures the real parts on this machine, in a folder of its own that it removes afterwards.",
	}
	onlyGroup(c)
	c.AddCommand(benchCut())
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
		Args:    exactArgs(0),
		RunE: func(c *cobra.Command, _ []string) (err error) {
			if trials < 1 || trials > 10000 {
				return &usageError{fmt.Errorf("--trials %d", trials), "give 1 to 10000"}
			}
			log := slog.New(slog.DiscardHandler) // what is cut on purpose complains a lot
			if c.Flags().Changed("log-level") {
				if log, err = logger(c); err != nil {
					return err
				}
			}
			exe, err := os.Executable()
			if err != nil {
				return err
			}
			dir, err := os.MkdirTemp("", "vitalseal-bench-")
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
			report, err := measure.RunCut(c.Context(), measure.Config{Exe: exe, Dir: dir, Trials: trials, Progress: os.Stderr, Log: log,
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
