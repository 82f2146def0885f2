package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"vitalseal/internal/measurement/recording"
	"vitalseal/internal/patient/signal"
	"vitalseal/internal/shared/cli"
)

func calibrateCommand() *cobra.Command {
	c := &cobra.Command{Use: "calibrate", Short: "Fit a sensor's own calibration"}
	cli.OnlyGroup(c)
	c.AddCommand(calibrateSpO2Command())
	return c
}

func calibrateSpO2Command() *cobra.Command {
	var model, out string
	var asJSON bool
	c := &cobra.Command{
		Use:   "spo2 FILE",
		Short: "Fit the curve from the ratio of ratios to SpO2 for a sensor model",
		Long: `Spo2 fits a curve from the ratio of ratios (red to infrared) to SpO2 for one sensor model, says how good it is, and writes it
to a calibration file that a gateway's configuration may name (spo2_calibration_file). FILE is
  - a CSV with the columns ratio and spo2_percent, or
  - a recording of red and infrared with its reference, in the forms of the folders oximeter and emotibit
    ("vitalseal accuracy --help"): the ratios are then the ones that a gateway's own algorithm finds, or
  - a folder of either.
The curve is as simple as the points allow: its height, a line, or a line bent downwards. Far points count for less. How good it
is says the error of each point under a curve that did not see it. A fit on a few people is a start, not a calibration that
a regulator would accept.`,
		Example: `  vitalseal calibrate spo2 pairs.csv --model max30100 --out max30100.json
  vitalseal calibrate spo2 ../shared/data/oximeter --model maxm86161`,
		Args: cli.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			points, skipped, err := recording.ReadPoints(args[0])
			for _, s := range skipped {
				fmt.Fprintf(os.Stderr, "vitalseal: left out: %s\n", s)
			}
			if err != nil {
				return cli.Usage(err, "see `vitalseal calibrate spo2 --help` for what a file may be")
			}
			pairs := make([]signal.RatioPoint, len(points))
			for i, p := range points {
				pairs[i] = signal.RatioPoint{Ratio: p.Ratio, SpO2: p.SpO2}
			}
			curve, report, err := signal.FitCalibration(pairs, model)
			if errors.Is(err, signal.ErrCalibration) {
				return cli.Usage(err, "name the model with --model, for instance --model max30100")
			}
			if err != nil {
				return cli.Hinted(err, "look at the pairs: are ratio and reference of the same moment, and of one sensor?")
			}
			if out != "" {
				if err := cli.WriteFile(out, curve.Write); err != nil {
					return err
				}
			}
			if asJSON {
				return writeFitJSON(os.Stdout, curve, report)
			}
			writeFitText(os.Stdout, curve, report, out)
			return nil
		},
	}
	f := c.Flags()
	f.StringVar(&model, "model", "max30100", "sensor model that the points are of; the curve is named after it")
	f.StringVar(&out, "out", "", "write the calibration file here")
	f.BoolVar(&asJSON, "json", false, "one JSON object on stdout")
	return c
}

func writeFitJSON(w io.Writer, c signal.Calibration, r signal.FitReport) error {
	warnings := r.Warnings
	if warnings == nil {
		warnings = []string{}
	}
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(struct {
		Name       string   `json:"name"`
		Model      string   `json:"sensor_model"`
		Form       string   `json:"form"`
		Constant   float64  `json:"constant_percent"`
		Linear     float64  `json:"linear_percent"`
		Quadratic  float64  `json:"quadratic_percent"`
		Points     int      `json:"points"`
		Outliers   int      `json:"outliers"`
		Lowest     float64  `json:"lowest_spo2_percent"`
		Highest    float64  `json:"highest_spo2_percent"`
		Arms       float64  `json:"arms_percent"`
		LeaveOut   float64  `json:"leave_one_out_arms_percent"`
		DefaultArm float64  `json:"default_arms_percent"`
		Warnings   []string `json:"warnings"`
	}{c.Name, c.Model, r.Form, c.Constant, c.Linear, c.Quadratic, r.Points, r.Outliers, float64(r.Lowest), float64(r.Highest), r.Arms, r.LeaveOneOut,
		r.Default, warnings})
}

func writeFitText(w io.Writer, c signal.Calibration, r signal.FitReport, out string) {
	bend := ""
	if c.Quadratic != 0 {
		bend = fmt.Sprintf(" %+.2f R^2", c.Quadratic)
	}
	fmt.Fprintf(w, "%s (%s): SpO2 = %.2f %+.2f R%s\n", c.Name, r.Form, c.Constant, c.Linear, bend)
	fmt.Fprintf(w, "%d points, SpO2 %.0f to %.0f %%, ratio %.2f to %.2f; %d far from the curve\n", r.Points, float64(r.Lowest), float64(r.Highest), c.LowestRatio, c.HighestRatio, r.Outliers)
	fmt.Fprintf(w, "error (A_rms): %.2f %% on these points, %.2f %% on points it did not see, %.2f %% with %s\n", r.Arms, r.LeaveOneOut, r.Default, signal.DefaultCalibration)
	for _, s := range r.Warnings {
		fmt.Fprintf(w, "note: %s\n", s)
	}
	if out != "" {
		fmt.Fprintf(w, "written to %s; name it in the gateway's configuration: spo2_calibration_file: %s\n", out, out)
	}
}
