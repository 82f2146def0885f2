package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"vitalseal/internal/lab/attack"
	"vitalseal/internal/lab/attack/catalogue"
	"vitalseal/internal/shared/cli"
)

func attackCommand() *cobra.Command {
	cfg := attack.Config{Attacks: catalogue.All()}
	asJSON, noControls, list, report := false, false, false, ""
	c := &cobra.Command{
		Use:   "attack",
		Short: "Attack a deployment of its own from every position, and say what came of it",
		Long: `Attack starts a fresh demonstration on loopback and attacks it: from the network, from enrolled devices and workstations that
turned bad, with stolen disks, databases and tokens, as a curious colleague and as an administrator. Every attack is then
repeated with a second binary in which exactly the defence against it is taken away ("make weakened" builds it; the
product has no such switch): an attack that fails there as well proves nothing.

Each attack names the one status or error that it must be refused with ("right"). A time-out, a wrong address or a hub that is
down is no refusal: the attack then ends as "wrong reason", which is a failure. --self-test replaces every refusal by a wrong
one; no attack may then end as "refused".

--json ends with one object: "matrix" (one entry an attack), "attacks", "refused", "got_through", "wrong_reason", "not_run" and
"controls_effective": for how many of the attacks, in percent, the control got through (90 and more is what this suite
wants). It exits with 1, naming the attacks, if one got through, was refused for a wrong reason or could not be carried out.`,
		Example: `  vitalseal attack
  vitalseal attack --json --report validation.md
  vitalseal attack --only sessions --no-controls
  vitalseal attack --list`,
		Args: cli.ExactArgs(0),
		RunE: func(c *cobra.Command, _ []string) (err error) {
			if list {
				for _, a := range cfg.Attacks {
					fmt.Printf("%-28s %s: %s\n", a.ID, a.Position, a.Does)
				}
				return nil
			}
			cfg.Log = slog.New(slog.DiscardHandler) // the attackers' own
			if c.Flags().Changed("log-level") {
				if cfg.Log, err = cli.Logger(c); err != nil {
					return err
				}
			}
			if !cfg.Fast {
				if cfg.Exe, err = product(); err != nil {
					return err
				}
			}
			switch {
			case noControls || cfg.Controls:
				cfg.Weakened = ""
			case cfg.Weakened == "":
				if cfg.Weakened, err = weakened(); err != nil {
					return err
				}
				fallthrough
			default:
				if _, err := os.Stat(cfg.Weakened); err != nil {
					return cli.Usage(fmt.Errorf("no binary for the controls: %w", err), "`make weakened` builds it; --weakened names another; --no-controls does without")
				}
			}
			if cfg.Data == "" {
				if cfg.Data, err = os.MkdirTemp("", "vitalseal-attack-"); err != nil {
					return err
				}
				defer func() { err = errors.Join(err, os.RemoveAll(cfg.Data)) }()
			}
			cfg.Progress = os.Stderr
			rep, err := attack.Run(c.Context(), cfg)
			if errors.Is(err, attack.ErrNothing) {
				return cli.Usage(err, "`vitalseal attack --list` lists them")
			}
			if rep == nil {
				return err
			}
			if report != "" {
				if err := writeReport(report, rep); err != nil {
					return err
				}
			}
			if asJSON {
				e := json.NewEncoder(os.Stdout)
				e.SetIndent("", "  ")
				if err := e.Encode(rep); err != nil {
					return err
				}
			} else {
				rep.Text(os.Stdout)
			}
			if bad := rep.Failed(); err == nil && len(bad) > 0 && !cfg.Controls {
				err = cli.Hinted(fmt.Errorf("not refused: %s", strings.Join(bad, ", ")), "each is in the matrix with what was observed; run one alone with --only NAME --no-controls")
			}
			return err
		},
	}
	f := c.Flags()
	f.StringVar(&cfg.Data, "data", "", "empty folder for the deployment that is attacked (default: a temporary one)")
	f.BoolVar(&asJSON, "json", false, "end with one JSON object on stdout (everything else is on stderr)")
	f.StringVar(&cfg.Weakened, "weakened", "", "product's binary built with -tags weaken, for the controls, with its vitalseal-lab-weakened beside it (default: vitalseal-weakened beside this one)")
	f.BoolVar(&noControls, "no-controls", false, "attack only, without repeating it against the weakened binary")
	f.StringSliceVar(&cfg.Only, "only", nil, "attack whose name is, or begins with, this; may be repeated")
	f.BoolVar(&cfg.Fast, "fast", false, "only the attacks that need no running deployment")
	f.BoolVar(&cfg.Wrong, "self-test", false, "replace every refusal by a wrong one: every attack must notice, so the command must fail for all of them")
	f.BoolVar(&list, "list", false, "list the attacks and do nothing")
	f.StringVar(&report, "report", "", "file for the matrix in Markdown")
	f.BoolVar(&cfg.Controls, "controls", false, "this is the weakened binary: take away each attack's defence before it")
	_ = f.MarkHidden("controls")
	return c
}

// weakened is where `make weakened` puts the weakened product: beside this binary.
func weakened() (string, error) {
	own, err := os.Executable()
	if err != nil {
		return "", err
	}
	return filepath.Join(filepath.Dir(own), "vitalseal-weakened"), nil
}

func writeReport(file string, rep *attack.Report) (err error) {
	f, err := os.Create(file) // #nosec G304 -- the user names the file
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	return rep.Markdown(f)
}
