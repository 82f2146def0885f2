package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"vitalseal/internal/lab/accuracy"
	"vitalseal/internal/measurement/recording"
	"vitalseal/internal/measurement/vitals"
	"vitalseal/internal/patient/sensor/bench"
	"vitalseal/internal/patient/signal"
	"vitalseal/internal/shared/cli"
)

func replayCommand() *cobra.Command {
	var asJSON bool
	var plot, curve, columns string
	var rate float64
	var limit time.Duration
	c := &cobra.Command{
		Use:   "replay FILE",
		Short: "Play a recording to a simulated chip, and show what a gateway makes of it",
		Long: `Replay takes a recording of a real pulse wave or of a real cuff's deflation in a patient's place: it runs through the
simulated chip, register by register, the driver and the algorithms, just as in a gateway, and prints each second's values
beside the reference, where the recording, its name or a file beside it holds one. FILE is any of the forms that
"vitalseal accuracy --help" names, or that doc/formats/bench.md lists.`,
		Example: `  vitalseal replay ../shared/data/icu-bidmc/bidmc_01_125hz.csv.gz
  vitalseal replay ../shared/data/cuff/11_110-60.dat.gz --plot cuff.png
  vitalseal replay pulse.csv --rate 50 --for 1m --json
  vitalseal replay max30102.csv --columns time=device_us,red=led1,infrared=led2`,
		Args: cli.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			format := strings.TrimPrefix(strings.ToLower(filepath.Ext(plot)), ".")
			if plot != "" && format != "png" && format != "svg" {
				return cli.Usage(fmt.Errorf("--plot %s: unknown format", plot), "name a file that ends in .png or .svg")
			}
			if limit < 0 {
				return cli.Usage(fmt.Errorf("--for %v: negative", limit), "for instance --for 60s")
			}
			if rate != 0 && !(rate >= 5 && rate <= 2000) {
				return cli.Usage(fmt.Errorf("--rate %g: out of range", rate), "5 to 2000 Hz")
			}
			o := accuracy.ReplayOptions{Rate: vitals.Hertz(rate), Limit: limit}
			var err error
			if o.Columns, err = bench.ParseColumns(columns); err != nil {
				return cli.Usage(err, "for instance --columns time=device_us,red=led1,infrared=led2")
			}
			if o.Calibration, err = chosenCurve(curve); err != nil {
				return err
			}
			trace, err := accuracy.Replay(c.Context(), args[0], o)
			if errors.Is(err, recording.ErrRecording) || errors.Is(err, bench.ErrRecording) {
				return cli.Usage(err, "doc/formats/bench.md lists the forms of recordings")
			}
			if err != nil {
				return err
			}
			if plot != "" {
				if err := cli.WriteFile(plot, func(w io.Writer) error { return trace.Plot(w, format) }); err != nil {
					return err
				}
			}
			if asJSON {
				e := json.NewEncoder(os.Stdout)
				e.SetIndent("", "  ")
				return e.Encode(trace)
			}
			return trace.WriteText(os.Stdout)
		},
	}
	f := c.Flags()
	f.StringVar(&plot, "plot", "", "draw values and reference into this file, .png or .svg")
	f.StringVar(&curve, "calibration", "", "curve for SpO2: a name or a calibration file (default: the sensor model's)")
	f.Float64Var(&rate, "rate", 0, "sampling rate in Hz of a recording that does not say its own (default 100)")
	f.StringVar(&columns, "columns", "", "names of the columns of a log of two lights, whose header does not say which is red: red=NAME,infrared=NAME and time=NAME")
	f.DurationVar(&limit, "for", 0, "only this much of the recording (default: all)")
	f.BoolVar(&asJSON, "json", false, "one JSON object on stdout")
	return c
}

// chosenCurve is a calibration by name, or from a file.
func chosenCurve(s string) (accuracy.Curve, error) {
	if s == "" || slices.Contains(signal.Calibrations(), s) {
		return accuracy.Curve{Name: s}, nil
	}
	f, err := os.Open(s) // #nosec G304 -- the user names the file
	if err != nil {
		return accuracy.Curve{}, cli.Usage(fmt.Errorf("--calibration %s: %w", s, err), "a calibration file, or one of "+strings.Join(signal.Calibrations(), ", "))
	}
	defer func() { _ = f.Close() }()
	c, err := signal.LoadCalibration(f)
	if err != nil {
		return accuracy.Curve{}, cli.Usage(fmt.Errorf("--calibration %s: %w", s, err), "`vitalseal calibrate spo2` writes such files")
	}
	return accuracy.Curve{Own: &c}, nil
}
