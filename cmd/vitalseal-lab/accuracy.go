package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"vitalseal/internal/lab/accuracy"
	"vitalseal/internal/shared/cli"
)

func accuracyCommand() *cobra.Command {
	var asJSON, files bool
	var o accuracy.Options
	c := &cobra.Command{
		Use:   "accuracy DIR",
		Short: "Measure heart rate, SpO2, blood pressure and breathing on recordings of people",
		Long: `Accuracy reads the recordings in DIR, gives them to the algorithms that a gateway runs, and compares with each
recording's own reference. DIR holds any of these folders; those that are missing are left out:
  cuff          deflations, *.dat.gz, named ..._SYSTOLIC-DIASTOLIC; through the simulated bridge and 10-bit converter
  oximeter      red and infrared light, *.csv, named ..._TIME-SPO2-HEARTRATE
  emotibit      red and infrared light with the readings of another oximeter in it, *.csv.gz
  camera-ppg    a folder a subject with PPG.csv and a chest strap's RR.txt
  troika        treadmill runs with acceleration, NAME.csv.gz, and NAME_bpm.csv
  icu-bidmc     bedside monitor with electrocardiogram and breathing, *.csv.gz
  false-alarm   bedside monitor around an alarm that was false, *.csv.gz
A recording that cannot be read is named on stderr and counted, and does not end the run. doc/accuracy.md says how each
figure comes about.`,
		Example: `  vitalseal accuracy ../shared/data
  vitalseal accuracy ../shared/data --only cuff,troika --files
  vitalseal accuracy ../shared/data --json > accuracy.json`,
		Args: cli.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			p := newProgress(os.Stderr)
			o.Progress = func(set string, done, of int) { p.show(fmt.Sprintf("%s %d/%d", set, done, of)) }
			report, err := accuracy.Run(c.Context(), args[0], o)
			p.clear()
			if errors.Is(err, accuracy.ErrFolder) {
				return cli.Usage(err, "name the folder that holds "+strings.Join(accuracy.Sets(), ", ")+" (or some of them)")
			}
			if err != nil {
				return err
			}
			for _, s := range report.Sets {
				for _, r := range s.Rows {
					if r.Err != nil {
						fmt.Fprintf(os.Stderr, "vitalseal: %s: %v\n", r.File, r.Err)
					}
				}
			}
			if asJSON {
				e := json.NewEncoder(os.Stdout)
				e.SetIndent("", "  ")
				return e.Encode(report)
			}
			return report.WriteText(os.Stdout, files)
		},
	}
	f := c.Flags()
	f.BoolVar(&asJSON, "json", false, "one JSON object on stdout: an object a folder, with per_file")
	f.BoolVar(&files, "files", true, "list every recording below the table (--files=false: only the table)")
	f.StringSliceVar(&o.Sets, "only", nil, "measure only these folders (comma-separated)")
	f.StringVar(&o.Half, "half", "", "only every other recording of each folder, by name: even or odd")
	return c
}

// progress is one line on a terminal that replaces itself; nothing where there is no terminal.
type progress struct {
	to    *os.File
	width int
}

func newProgress(to *os.File) *progress {
	if !term.IsTerminal(int(to.Fd())) { // #nosec G115 -- a file descriptor
		return &progress{}
	}
	return &progress{to: to}
}

func (p *progress) show(s string) {
	if p.to == nil {
		return
	}
	fmt.Fprintf(p.to, "\r%-*s", p.width, s)
	p.width = max(p.width, len(s))
}

func (p *progress) clear() {
	if p.to != nil && p.width > 0 {
		fmt.Fprintf(p.to, "\r%*s\r", p.width, "")
	}
}
