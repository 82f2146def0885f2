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

// Witness are the attacks on what a witness keeps of an audit log.
func Witness() []attack.Attack {
	return []attack.Attack{
		{ID: "audit-tail", Threat: "erase or change the traces", Position: "the holder of the hub's disk AND its signing key",
			Does:     "right after an emergency access was answered, and before any witness polls, its entry is cut off and the log goes on without it",
			Expected: "the witness that was shown the entry before the answer finds it missing", Right: attack.Fails(audit.ErrInconsistent), Control: weaken.Witness, Fast: true, Run: cutTail},
		{ID: "audit-other-hub", Threat: "erase or change the traces", Position: "the holder of a hub's disk AND its signing key",
			Does:     "a hub's log is shown under the name of another hub, as one that no witness has seen yet",
			Expected: "the log names its hub, which is not the one that answers", Right: attack.Fails(audit.ErrInconsistent), Control: weaken.Witness, Fast: true, Run: otherHub},
	}
}

func cutTail(ctx context.Context, t *attack.Target) (attack.Result, error) {
	tr, err := newTrail(ctx, t)
	if err != nil {
		return attack.Result{}, err
	}
	before := filepath.Join(filepath.Dir(tr.dir), "before")
	if err := os.CopyFS(before, os.DirFS(tr.dir)); err != nil {
		return attack.Result{}, err
	}
	l, err := audit.Open(tr.dir, tr.keyFile, t.Log)
	if err != nil {
		return attack.Result{}, err
	}
	desk := audit.NewDesk(l)
	waiting, stop := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { // the workstation that follows the hub
		from := int64(0) // it is told at once, and waits from then on
		for {
			c, err := desk.Wait(waiting, "spiffe://attack.test/workstation/desk", from)
			if err != nil {
				ended <- nil
				return
			}
			if from == 0 {
				from = tr.witness.Size()
				continue
			}
			b, err := json.Marshal(c)
			if err == nil {
				err = tr.witness.Update(b)
			}
			if err != nil {
				ended <- err
				return
			}
			from = tr.witness.Size()
		}
	}()
	// The hub's side: an entry, shown before the answer. A first push finds the witness, however
	// soon it came.
	for range 2 {
		if _, err = l.Append(ctx, audit.Entry{Person: "doctor", Action: "patient:break-glass", Resource: "patient:anna", Patient: "anna", Allowed: true}); err != nil {
			break
		}
		for {
			if err = desk.Push(ctx); err == nil || !errors.Is(err, audit.ErrNoWitness) || ctx.Err() != nil {
				break
			}
		}
	}
	stop()
	if err := errors.Join(err, <-ended, l.Close()); err != nil {
		return attack.Result{}, err
	}
	// The attacker's: the log as it was, with something harmless in place of the emergency.
	forged := &trail{dir: before, keyFile: tr.keyFile, witness: tr.witness}
	if err := forged.write(ctx, t, 4); err != nil {
		return attack.Result{}, err
	}
	cut, err := audit.Open(forged.dir, forged.keyFile, t.Log)
	if err != nil {
		return attack.Result{}, err
	}
	err = forged.show(cut)
	return attack.Judge(err == nil, attack.Failure(err), "the emergency is gone and the witness believes it", "the witness is alarmed", "%v", errors.Join(err, cut.Close()))
}

func otherHub(ctx context.Context, t *attack.Target) (attack.Result, error) {
	tr, err := newTrail(ctx, t)
	if err != nil {
		return attack.Result{}, err
	}
	all, err := audit.OpenWitnesses(filepath.Join(filepath.Dir(tr.dir), "witnesses.note"), "")
	if err != nil {
		return attack.Result{}, err
	}
	l, err := audit.Open(tr.dir, tr.keyFile, t.Log)
	if err != nil {
		return attack.Result{}, err
	}
	defer func() { _ = l.Close() }()
	l.SetOrigin("spiffe://attack.test/hub/hub")
	show := func(name string) error {
		w, err := all.Of(name)
		if err != nil {
			return err
		}
		c, err := l.Consistency(w.Size())
		if err != nil {
			return err
		}
		b, err := json.Marshal(c)
		if err != nil {
			return err
		}
		return w.Update(b)
	}
	if err := show("hub"); err != nil {
		return attack.Result{}, fmt.Errorf("under its own name: %w", err)
	}
	err = show("hub-2")
	return attack.Judge(err == nil, attack.Failure(err), "believed as another hub's", "refused", "%v", err)
}
