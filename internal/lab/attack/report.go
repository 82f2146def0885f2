package attack

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// Report is what came of all attacks. Its last fields are the summary.
type Report struct {
	Lines       []Line  `json:"matrix"`
	Seconds     float64 `json:"seconds"`
	Attacks     int     `json:"attacks"`
	Refused     int     `json:"refused"`
	GotThrough  int     `json:"got_through"`
	WrongReason int     `json:"wrong_reason"`
	NotRun      int     `json:"not_run"`
	// Controls is how many attacks a weakened binary repeated, ControlsGotThrough how many of them
	// then got through, and ControlsEffective the second in percent of all attacks: an attack
	// without a control lowers it.
	Controls           int     `json:"controls"`
	ControlsGotThrough int     `json:"controls_got_through"`
	ControlsEffective  float64 `json:"controls_effective"`
}

func (r *Report) count(took time.Duration) {
	r.Seconds = float64(took.Milliseconds()) / 1000
	r.Attacks, r.Refused, r.GotThrough, r.WrongReason, r.NotRun, r.Controls, r.ControlsGotThrough = len(r.Lines), 0, 0, 0, 0, 0, 0
	for _, l := range r.Lines {
		switch l.Outcome {
		case Refused:
			r.Refused++
		case GotThrough:
			r.GotThrough++
		case WrongReason:
			r.WrongReason++
		case NotRun:
			r.NotRun++
		}
		if l.ControlOutcome != "" {
			r.Controls++
		}
		if l.ControlOutcome == GotThrough {
			r.ControlsGotThrough++
		}
	}
	if r.Attacks > 0 {
		r.ControlsEffective = float64(r.ControlsGotThrough*1000/r.Attacks) / 10
	}
}

// Failed names the attacks that were not refused.
func (r *Report) Failed() (ids []string) {
	for _, l := range r.Lines {
		if l.Outcome != Refused {
			ids = append(ids, l.ID)
		}
	}
	return ids
}

// control has the weakened binary repeat the attacks, each without the defence that is to stop it.
func (r *Report) control(ctx context.Context, cfg Config) error {
	args := []string{"attack", "--controls", "--json", "--data", filepath.Join(cfg.Data, "controls")}
	for _, o := range cfg.Only {
		args = append(args, "--only", o)
	}
	if cfg.Fast {
		args = append(args, "--fast")
	}
	var out bytes.Buffer
	cmd := exec.CommandContext(ctx, cfg.Weakened, args...) // #nosec G204 -- the binary that the user names
	cmd.Stdout, cmd.Stderr = &out, cfg.Progress
	cmd.Cancel = func() error { return interrupt(cmd.Process) }
	cmd.WaitDelay = stopGrace
	err := cmd.Run()
	var weak Report
	if jerr := json.Unmarshal(out.Bytes(), &weak); jerr != nil {
		return fmt.Errorf("attack: the controls did not run: %w", errors.Join(err, jerr))
	}
	byID := map[string]Line{}
	for _, l := range weak.Lines {
		byID[l.ID] = l
	}
	for i := range r.Lines {
		if c, ok := byID[r.Lines[i].ID]; ok {
			r.Lines[i].ControlOutcome, r.Lines[i].ControlObserved, r.Lines[i].ControlEvidence = c.Outcome, c.Observed, c.Evidence
		}
	}
	return nil
}

// Text prints the matrix and the summary for people.
func (r *Report) Text(w io.Writer) {
	fmt.Fprintf(w, "\n%-28s %-11s %-34s %s\n", "attack", "outcome", "without its defence", "observed")
	for _, l := range r.Lines {
		fmt.Fprintf(w, "%-28s %-11s %-34s %s\n", l.ID, l.Outcome, l.control(), l.Observed)
	}
	fmt.Fprintf(w, "\n%s\n", r.summary())
}

func (l Line) control() string {
	switch {
	case l.Without == "":
		return "no control"
	case l.ControlOutcome == "":
		return "not tried"
	}
	return string(l.ControlOutcome) + " (" + l.Without + ")"
}

func (r *Report) summary() string {
	controls := "Controls not run."
	if slices.ContainsFunc(r.Lines, func(l Line) bool { return l.ControlOutcome != "" }) {
		controls = fmt.Sprintf("Without its defence %d of them got through (%.1f %% of all).", r.ControlsGotThrough, r.ControlsEffective)
	}
	return fmt.Sprintf("%d attacks: %d refused, %d got through, %d refused for a wrong reason, %d not run. %s %.0f s.",
		r.Attacks, r.Refused, r.GotThrough, r.WrongReason, r.NotRun, controls, r.Seconds)
}

// Markdown writes the matrix as tables, one a family.
func (r *Report) Markdown(w io.Writer) error {
	var b strings.Builder
	b.WriteString(r.summary() + "\n")
	family := ""
	cell := func(s string) string { return strings.ReplaceAll(strings.ReplaceAll(s, "|", "\\|"), "<", "&lt;") }
	for _, l := range r.Lines {
		if f, _, _ := strings.Cut(l.ID, "-"); f != family {
			family = f
			fmt.Fprintf(&b, "\n### %s\n| attack | threat | from | carried out | expected | observed | evidence | without its defence |\n|---|---|---|---|---|---|---|---|\n", family)
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s | %s | **%s**: %s | %s | %s |\n", l.ID, cell(l.Threat), cell(l.Position), cell(l.Does),
			cell(l.Expected), l.Outcome, cell(l.Observed), cell(l.Evidence), cell(l.withoutText()))
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func (l Line) withoutText() string {
	if l.ControlOutcome == "" {
		return l.control()
	}
	return "`" + l.Without + "`: " + string(l.ControlOutcome) + ": " + l.ControlObserved
}
