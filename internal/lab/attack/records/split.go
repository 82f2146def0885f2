package records

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"vitalseal/internal/lab/attack"
	"vitalseal/internal/lab/weaken"
	"vitalseal/internal/shared/audit"
)

// SplitView are the attacks of an operator who shows different audit logs to different readers.
func SplitView() []attack.Attack {
	const threat, position = "erase or change the traces", "the holder of the hub's disk AND its signing key"
	return []attack.Attack{
		{ID: "audit-split-view", Threat: threat, Position: position,
			Does:     "one log is shown to a workstation, another of the same length, without an emergency access, to a gateway, each whole and rightly signed",
			Expected: "what each saw reaches the other through the hub, and both signatures are the evidence", Right: attack.Fails(audit.ErrSplit), Control: weaken.Gossip, Fast: true,
			Run: func(ctx context.Context, t *attack.Target) (attack.Result, error) { return splitView(ctx, t, 1) }},
		{ID: "audit-split-longer", Threat: threat, Position: position,
			Does:     "the same, with a longer log for the gateway, so that no two signatures are of one size",
			Expected: "the hub cannot prove that both are one log", Right: attack.Fails(audit.ErrSplit), Control: weaken.Gossip, Fast: true,
			Run: func(ctx context.Context, t *attack.Target) (attack.Result, error) { return splitView(ctx, t, 4) }},
		{ID: "audit-renamed", Threat: threat, Position: position,
			Does:     "after a restart of the witness, a log is shown under the name of another hub, without saying whose it is",
			Expected: "the witness remembers whose log it is", Right: attack.Fails(audit.ErrInconsistent), Control: weaken.LogOwner, Fast: true, Run: renamed},
	}
}

// view is one form of a log as a hub shows it.
type view struct {
	log *audit.Log
	x   *audit.Exchange
}

// shown lets witnesses ask the hub once.
func (v view) shown(ctx context.Context, w *audit.Witnesses) error {
	a, err := w.Ask("hub")
	if err != nil {
		return err
	}
	c, err := v.x.Answer(ctx, "spiffe://attack.test/gateway/g", a, false)
	if err != nil {
		return err
	}
	b, err := json.Marshal(c)
	if err != nil {
		return err
	}
	return w.Answer("hub", b)
}

func splitView(ctx context.Context, t *attack.Target, more int) (attack.Result, error) {
	tr, err := newTrail(ctx, t)
	if err != nil {
		return attack.Result{}, err
	}
	folder := filepath.Dir(tr.dir)
	second := &trail{dir: filepath.Join(folder, "second"), keyFile: tr.keyFile}
	if err := os.CopyFS(second.dir, os.DirFS(tr.dir)); err != nil {
		return attack.Result{}, err
	}
	emergency := func(l *audit.Log) error {
		_, err := l.Append(ctx, audit.Entry{Person: "doctor", Action: "patient:break-glass", Resource: "patient:anna", Patient: "anna", Allowed: true})
		return err
	}
	if err := second.write(ctx, t, more); err != nil {
		return attack.Result{}, err
	}
	open := func(dir, data string) (v view, err error) {
		if v.log, err = audit.Open(dir, tr.keyFile, t.Log); err != nil {
			return v, err
		}
		v.log.SetOrigin("spiffe://attack.test/hub/hub")
		v.x, err = audit.NewExchange("hub", v.log, audit.NewDesk(v.log), nil, filepath.Join(folder, data), func(context.Context, audit.Contradiction) {})
		return v, err
	}
	one, err := open(tr.dir, "one.split")
	if err != nil {
		return attack.Result{}, err
	}
	defer func() { _ = one.log.Close() }()
	if err := emergency(one.log); err != nil {
		return attack.Result{}, err
	}
	if _, err := one.log.Sign(ctx); err != nil {
		return attack.Result{}, err
	}
	other, err := open(second.dir, "other.split")
	if err != nil {
		return attack.Result{}, err
	}
	defer func() { _ = other.log.Close() }()
	var witnesses [2]*audit.Witnesses
	for i, v := range []view{one, other} {
		if witnesses[i], err = audit.OpenWitnesses(filepath.Join(folder, fmt.Sprintf("witness%d.note", i)), ""); err != nil {
			return attack.Result{}, err
		}
		if err := v.shown(ctx, witnesses[i]); err != nil {
			return attack.Result{}, fmt.Errorf("each its own log: %w", err)
		}
	}
	// The gateway tells the hub what it saw; its own question is answered by the attacker as
	// before. The workstation asks twice: what it cannot judge by itself it has the hub prove.
	seen, ok := sightingOf(witnesses[1])
	if !ok {
		return attack.Result{}, errors.New("the gateway has seen nothing")
	}
	if _, err := one.x.Answer(ctx, "spiffe://attack.test/gateway/g", audit.Ask{Seen: []audit.Sighting{seen}}, false); err != nil {
		return attack.Result{}, err
	}
	err = one.shown(ctx, witnesses[0])
	if err == nil {
		err = one.shown(ctx, witnesses[0])
	}
	state := witnesses[0].State().Alarm
	if errors.Is(err, audit.ErrSplit) {
		if _, kept := audit.ReadSplit(filepath.Join(folder, "witness0.note.split")); kept != nil || state == "" || one.x.State() == "" {
			return attack.Result{}, fmt.Errorf("found without evidence or alarm: %w", kept)
		}
	}
	return attack.Judge(err == nil && state == "", attack.Failure(err), "each believes what it was shown", "evidence is kept, witness and hub are alarmed", "%v", err)
}

func sightingOf(w *audit.Witnesses) (audit.Sighting, bool) {
	one, err := w.Of("hub")
	if err != nil {
		return audit.Sighting{}, false
	}
	return one.Sighting()
}

func renamed(ctx context.Context, t *attack.Target) (attack.Result, error) {
	tr, err := newTrail(ctx, t)
	if err != nil {
		return attack.Result{}, err
	}
	l, err := audit.Open(tr.dir, tr.keyFile, t.Log)
	if err != nil {
		return attack.Result{}, err
	}
	defer func() { _ = l.Close() }()
	l.SetOrigin("spiffe://attack.test/hub/hub")
	show := func(name string, named bool) error {
		w, err := audit.OpenWitnesses(filepath.Join(filepath.Dir(tr.dir), "witnesses.note"), "") // each time anew: a restart
		if err != nil {
			return err
		}
		a, err := w.Ask(name)
		if err != nil {
			return err
		}
		c, err := l.Consistency(a.From, a.Also...)
		if err != nil {
			return err
		}
		if !named {
			c.Origin = ""
		}
		b, err := json.Marshal(c)
		if err != nil {
			return err
		}
		return w.Answer(name, b)
	}
	if err := show("hub", true); err != nil {
		return attack.Result{}, fmt.Errorf("under its own name: %w", err)
	}
	err = show("hub-2", false)
	return attack.Judge(err == nil, attack.Failure(err), "believed as another hub's", "refused, after a restart of the witness", "%v", err)
}
