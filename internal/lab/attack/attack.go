// Package attack attacks a running deployment, and its parts where the attacker's place is not on
// the wire, from every position that doc/architecture.md's trust table names, and says what came of
// it.
//
// It holds what all attacks share: what an [Attack] is and what it must be refused with ([Right]),
// what is attacked ([Target]), how the attacks are run and controlled ([Run]) and the report. The
// attacks stand in sub-packages, by subject; package catalogue lists all of them, with the package
// of each id's beginning. Packages office, rogue and load hold what attacks of several subjects
// share.
//
// It hides how a deployment is started on this machine (the real commands, by package demo), how an
// attacker gets the position that is being tried (an enrolled sensor, a second workstation, a copy
// of a disk), and how the controls are run: a second binary, built with the tag `weaken`, in which
// exactly one defence is taken away for each attack. It guarantees that what could not be carried
// out counts as a failure, that an attack names the one status or error that is right and fails on
// any other (Right), that an attack's outcome is what was observed and not what was intended, that
// everything stays on loopback and below one folder, and that it is bounded in time and in what it
// sends. An attack that is refused proves only that this attack is refused: the suite is a floor,
// not a proof.
package attack

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"vitalseal/internal/lab/weaken"
)

// Outcome is what came of an attack.
type Outcome string

// The outcomes.
const (
	Refused     Outcome = "refused"
	GotThrough  Outcome = "got through"
	WrongReason Outcome = "wrong reason" // it was refused with something else than its Right, which counts as a failure
	NotRun      Outcome = "not run"      // it could not be carried out, which counts as a failure
)

// Attack is one line of the table.
type Attack struct {
	ID       string
	Threat   string // what is at stake
	Position string // what the attacker holds
	Does     string // what is actually carried out
	Expected string
	// Right is the status, error or word that every refusal of this attack must be. An attack that
	// fails for another reason (a time-out, a 404 of a wrong address, a hub that is down) has shown
	// nothing.
	Right Right
	// Control is the defence without which the attack must get through; weaken.None where nothing
	// of ours could be taken away.
	Control weaken.Defence
	Fast    bool // needs no running deployment
	// Needs says why the attack cannot be carried out by this process at all; nil: it can. Such an
	// attack is left out, and the suite says so.
	Needs func() error
	// Begin is for an attack that is mostly waiting, in the place of Run: it is begun before all
	// others, and what it returns is called in the attack's own turn.
	Begin func(context.Context, *Target) (finish func() (Result, error), err error)
	Run   func(context.Context, *Target) (Result, error)
}

// Result is what an attack saw. An error beside it means that the attack was not carried out.
type Result struct {
	Through  bool   // the attacker got what must not be had
	Seen     []Seen // the refusals that were observed, unless Through
	Observed string // in words
	Evidence string // the answer, error or figure that shows it; never a secret
}

// RefusedWith is the result of an attack that was refused: what was seen, and what it was in words.
func RefusedWith(seen []Seen, observed, format string, args ...any) (Result, error) {
	return Result{Seen: seen, Observed: observed, Evidence: Clip(fmt.Sprintf(format, args...))}, nil
}

// Through is the result of an attack that got what must not be had.
func Through(observed, format string, args ...any) (Result, error) {
	return Result{Through: true, Observed: observed, Evidence: Clip(fmt.Sprintf(format, args...))}, nil
}

// Judge is through if bad is true, else refused with what was seen.
func Judge(bad bool, seen []Seen, ifBad, ifGood, format string, args ...any) (Result, error) {
	if bad {
		return Through(ifBad, format, args...)
	}
	return RefusedWith(seen, ifGood, format, args...)
}

// Clip is s in one line of 220 bytes at most.
func Clip(s string) string {
	s = strings.Join(strings.Fields(strings.ToValidUTF8(s, "?")), " ")
	if len(s) > 220 {
		s = strings.ToValidUTF8(s[:220], "") + "..."
	}
	return s
}

// Line is an attack with what came of it.
type Line struct {
	ID       string  `json:"id"`
	Threat   string  `json:"threat"`
	Position string  `json:"position"`
	Does     string  `json:"attack"`
	Expected string  `json:"expected"`
	Right    string  `json:"right"`
	Outcome  Outcome `json:"outcome"`
	Observed string  `json:"observed"`
	Evidence string  `json:"evidence"`
	Seconds  float64 `json:"seconds"`
	// Without is the defence that the control took away, ControlOutcome what the same attack came
	// to without it.
	Without         string  `json:"without,omitempty"`
	ControlOutcome  Outcome `json:"control_outcome,omitempty"`
	ControlObserved string  `json:"control_observed,omitempty"`
	ControlEvidence string  `json:"control_evidence,omitempty"`
}

// Config says how the suite runs.
type Config struct {
	Exe      string        // the vitalseal binary that is attacked
	Weakened string        // the binary for the controls; empty: none are run
	Data     string        // folder for everything; it must be empty or not there
	Attacks  []Attack      // that there are, in the order in which they are carried out
	Only     []string      // ids, or beginnings of ids; empty: all
	Fast     bool          // only attacks that need no deployment
	Wrong    bool          // the self-test: every refusal is replaced by a wrong one, and every attack must notice
	Controls bool          // this binary is the weakened one: take each attack's defence away before it
	For      time.Duration // bound on everything
	Progress io.Writer     // for people
	Log      *slog.Logger
}

const (
	defaultBound = 10 * time.Minute // a quiet machine takes eight
	// Bound is the time that one attack may take.
	Bound = 90 * time.Second
)

// ErrNothing says that no attack has the name that was asked for.
var ErrNothing = errors.New("attack: no attack is called that")

// chosen are the attacks that cfg asks for.
func (cfg Config) chosen() ([]Attack, error) {
	var out []Attack
	for _, a := range cfg.Attacks {
		wanted := len(cfg.Only) == 0
		for _, prefix := range cfg.Only {
			wanted = wanted || strings.HasPrefix(a.ID, prefix)
		}
		if wanted && a.Needs != nil {
			if err := a.Needs(); err != nil {
				fmt.Fprintf(cfg.Progress, "left out: %s: %v\n", a.ID, err)
				continue
			}
		}
		if wanted && (a.Fast || !cfg.Fast) && (!cfg.Controls || a.Control != weaken.None) {
			out = append(out, a)
		}
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("%w: %s", ErrNothing, strings.Join(cfg.Only, ", "))
	}
	return out, nil
}

// Run carries out the attacks that cfg asks for, then the controls, and reports. The error is about
// the suite itself: what got through stands in the report.
func Run(ctx context.Context, cfg Config) (rep *Report, err error) {
	began := time.Now()
	if cfg.For <= 0 {
		cfg.For = defaultBound
	}
	ctx, cancel := context.WithTimeoutCause(ctx, cfg.For, errors.New("attack: out of time"))
	defer cancel()
	attacks, err := cfg.chosen()
	if err != nil {
		return nil, err
	}
	if err := cfg.folder(); err != nil {
		return nil, err
	}
	if cfg.Controls {
		if !weaken.Build {
			return nil, errors.New("attack: this binary has all its defences; controls need the one that `make weakened` builds")
		}
		if err := weaken.Share(filepath.Join(cfg.Data, "weakened")); err != nil {
			return nil, err
		}
	}
	t := &Target{cfg: cfg, Dir: cfg.Data, Log: cfg.Log}
	defer func() { err = errors.Join(err, t.Close()) }()
	if slices.ContainsFunc(attacks, func(a Attack) bool { return !a.Fast }) {
		if err := t.start(ctx); err != nil {
			return nil, err
		}
	}
	rep = &Report{}
	for i := range attacks {
		attacks[i].begin(ctx, t)
	}
	for i, a := range attacks {
		l := one(ctx, t, a)
		rep.Lines = append(rep.Lines, l)
		fmt.Fprintf(cfg.Progress, "%6.1f s  %3d/%d  %-11s  %-28s  %s\n", time.Since(began).Seconds(), i+1, len(attacks), l.Outcome, l.ID, l.Observed)
	}
	if err := t.Close(); err != nil {
		fmt.Fprintf(cfg.Progress, "%6.1f s  stopping: %v\n", time.Since(began).Seconds(), err)
	}
	if cfg.Weakened != "" {
		fmt.Fprintf(cfg.Progress, "%6.1f s  the same again without the defences, with %s\n", time.Since(began).Seconds(), cfg.Weakened)
		if err := rep.control(ctx, cfg); err != nil {
			return rep, err
		}
	}
	rep.count(time.Since(began))
	return rep, nil
}

// begin begins an attack that takes time, and makes its end its Run.
func (a *Attack) begin(ctx context.Context, t *Target) {
	if a.Begin == nil {
		return
	}
	finish, err := func() (func() (Result, error), error) {
		if t.cfg.Controls {
			if err := weaken.Set(a.Control); err != nil {
				return nil, err
			}
			defer func() { _ = weaken.Set() }() // the next Set says what is wrong
		}
		return a.Begin(ctx, t)
	}()
	a.Run = func(context.Context, *Target) (Result, error) {
		if err != nil {
			return Result{}, err
		}
		return finish()
	}
}

// one carries out an attack. Whatever goes wrong with it is its own outcome.
func one(ctx context.Context, t *Target, a Attack) (l Line) {
	began := time.Now()
	l = Line{ID: a.ID, Threat: a.Threat, Position: a.Position, Does: a.Does, Expected: a.Expected, Right: a.Right.String(), Without: string(a.Control)}
	ctx, cancel := context.WithTimeout(ctx, Bound)
	defer cancel()
	defer func() {
		if p := recover(); p != nil { // a crash of what is attacked in this process is no refusal
			l.Outcome, l.Observed, l.Evidence = GotThrough, "it crashed", Clip(fmt.Sprint(p))
		}
		l.Seconds = float64(time.Since(began).Milliseconds()) / 1000
	}()
	if t.cfg.Controls {
		if err := weaken.Set(a.Control); err != nil {
			l.Outcome, l.Observed = NotRun, Clip(err.Error())
			return l
		}
		defer func() { _ = weaken.Set() }() // the next Set says what is wrong
	}
	r, err := a.Run(ctx, t)
	l.Observed, l.Evidence = r.Observed, strings.ReplaceAll(r.Evidence, t.Dir, "DIR")
	switch {
	case err != nil:
		l.Outcome, l.Observed = NotRun, strings.ReplaceAll(Clip(err.Error()), t.Dir, "DIR")
	case r.Through:
		l.Outcome = GotThrough
	default:
		l.Outcome, l.Observed = a.Refusal(r, t.cfg.Wrong)
	}
	return l
}

// Refusal judges a result that is not Through by the attack's Right.
func (a Attack) Refusal(r Result, wrong bool) (Outcome, string) {
	seen := slices.Clone(r.Seen)
	if wrong {
		for i := range seen {
			seen[i] = seen[i].wrong()
		}
	}
	if why, bad := a.Right.wrongly(seen); bad {
		return WrongReason, r.Observed + ": " + why
	}
	return Refused, r.Observed
}

// folder makes the folder, which must not hold anything.
func (cfg *Config) folder() (err error) {
	if cfg.Data, err = filepath.Abs(cfg.Data); err != nil {
		return fmt.Errorf("attack: %w", err)
	}
	if err := os.MkdirAll(cfg.Data, 0o700); err != nil {
		return fmt.Errorf("attack: %w", err)
	}
	there, err := os.ReadDir(cfg.Data)
	if err != nil {
		return fmt.Errorf("attack: %w", err)
	}
	if len(there) > 0 {
		return fmt.Errorf("attack: %s is not empty; the suite breaks what it attacks, so it starts its own deployment: choose an empty folder with --data", cfg.Data)
	}
	return nil
}
