package records

import (
	"bytes"
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

const trailLength = 40

// trail is a finished audit log of this process's own, with a witness that has seen it.
type trail struct {
	dir, keyFile, verifier string
	seen                   audit.Checkpoint
	witness                *audit.Witness
}

func newTrail(ctx context.Context, t *attack.Target) (tr *trail, err error) {
	dir, err := os.MkdirTemp(t.Dir, "audit-")
	if err != nil {
		return nil, err
	}
	tr = &trail{dir: filepath.Join(dir, "log"), keyFile: filepath.Join(dir, "key")}
	if err := tr.write(ctx, t, trailLength); err != nil {
		return nil, err
	}
	l, err := audit.Open(tr.dir, tr.keyFile, t.Log)
	if err != nil {
		return nil, err
	}
	tr.verifier, tr.seen = l.VerifierKey(), l.Checkpoint()
	if tr.witness, err = audit.OpenWitness(filepath.Join(dir, "witness"), tr.verifier); err == nil {
		err = tr.show(l)
	}
	return tr, errors.Join(err, l.Close())
}

// write appends n entries and signs them.
func (tr *trail) write(ctx context.Context, t *attack.Target, n int) error {
	l, err := audit.Open(tr.dir, tr.keyFile, t.Log)
	if err != nil {
		return err
	}
	for i := range n {
		if _, err = l.Append(ctx, audit.Entry{Person: fmt.Sprintf("person-%02d", i), Action: "patient:view", Resource: "patient:anna", Patient: "anna", Allowed: true}); err != nil {
			break
		}
	}
	return errors.Join(err, l.Close())
}

// show states the log's size to the witness.
func (tr *trail) show(l *audit.Log) error {
	c, err := l.Consistency(tr.witness.Size())
	if err != nil {
		return err
	}
	b, err := json.Marshal(c)
	if err != nil {
		return err
	}
	return tr.witness.Update(b)
}

// edit changes the lines of the log's only segment.
func (tr *trail) edit(change func(lines [][]byte) [][]byte) error {
	files, err := filepath.Glob(filepath.Join(tr.dir, "*.jsonl"))
	if err != nil || len(files) != 1 {
		return fmt.Errorf("%d segments: %w", len(files), err)
	}
	b, err := os.ReadFile(files[0])
	if err != nil {
		return err
	}
	lines := change(bytes.SplitAfter(bytes.TrimSuffix(b, []byte("\n")), []byte("\n")))
	out := append(bytes.TrimSuffix(bytes.Join(lines, nil), []byte("\n")), '\n')
	return os.WriteFile(files[0], out, 0o600)
}

// edited is an attack on the log's files, judged by the offline verifier.
func edited(id, does string, control weaken.Defence, change func(lines [][]byte) [][]byte) attack.Attack {
	return attack.Attack{ID: id, Threat: "erase or change the traces", Position: "an administrator with the hub's disk, without the signing key", Does: does,
		Expected: "`vitalseal audit verify` finds it", Right: attack.Fails(audit.ErrTampered), Control: control, Fast: true,
		Run: func(ctx context.Context, t *attack.Target) (attack.Result, error) {
			tr, err := newTrail(ctx, t)
			if err != nil {
				return attack.Result{}, err
			}
			if _, err := audit.Verify(tr.dir, tr.verifier); err != nil {
				return attack.Result{}, fmt.Errorf("the unchanged log: %w", err)
			}
			if err := tr.edit(change); err != nil {
				return attack.Result{}, err
			}
			_, err = audit.Verify(tr.dir, tr.verifier)
			return attack.Judge(err == nil, attack.Failure(err), "the changed log passes for whole", "found", "%v", err)
		}}
}

// Audit are the attacks on the audit log by its own operator.
func Audit() []attack.Attack {
	return []attack.Attack{
		edited("audit-edit", "one letter of one entry is changed", weaken.AuditTree, func(l [][]byte) [][]byte {
			l[10] = bytes.Replace(l[10], []byte("person-10"), []byte("person-66"), 1)
			return l
		}),
		edited("audit-cut", "the last five entries are cut off", weaken.AuditTree, func(l [][]byte) [][]byte { return l[:len(l)-5] }),
		edited("audit-reorder", "two entries exchange their contents", weaken.AuditTree, func(l [][]byte) [][]byte {
			l[3], l[4] = bytes.Replace(l[3], []byte("person-03"), []byte("person-04"), 1), bytes.Replace(l[4], []byte("person-04"), []byte("person-03"), 1)
			return l
		}),
		{ID: "audit-resign", Threat: "erase or change the traces", Position: "an administrator with the hub's disk, who signs with a key of their own",
			Does:     "an entry is removed, the log written anew and signed with another key",
			Expected: "the real public key does not verify it", Right: attack.Fails(audit.ErrTampered), Control: weaken.AuditSign, Fast: true,
			Run: func(ctx context.Context, t *attack.Target) (attack.Result, error) {
				tr, err := newTrail(ctx, t)
				if err != nil {
					return attack.Result{}, err
				}
				forged, err := newTrail(ctx, t)
				if err != nil {
					return attack.Result{}, err
				}
				_, err = audit.Verify(forged.dir, tr.verifier)
				return attack.Judge(err == nil, attack.Failure(err), "passes for the hub's", "not signed by this key", "%v", err)
			}},
		{ID: "audit-rewrite", Threat: "erase or change the traces", Position: "an attacker who holds the hub's disk AND its signing key",
			Does:     "the whole log is written anew with the real key, one entry fewer, and shown to a workstation that saw the old one",
			Expected: "the witness raises the alarm and keeps the evidence", Right: attack.Fails(audit.ErrInconsistent), Control: weaken.Witness, Fast: true, Run: rewrite},
		{ID: "audit-rollback", Threat: "erase or change the traces", Position: "an attacker who restores an old copy of the hub's disk",
			Does:     "the log is rolled back to an earlier, rightly signed state and verified against a witness's checkpoint",
			Expected: "found as rolled back", Right: attack.Fails(audit.ErrTampered), Control: weaken.AuditTree, Fast: true,
			Run: func(ctx context.Context, t *attack.Target) (attack.Result, error) {
				tr, err := newTrail(ctx, t)
				if err != nil {
					return attack.Result{}, err
				}
				old := filepath.Join(filepath.Dir(tr.dir), "old")
				if err := os.CopyFS(old, os.DirFS(tr.dir)); err != nil {
					return attack.Result{}, err
				}
				if err := tr.write(ctx, t, 5); err != nil {
					return attack.Result{}, err
				}
				l, err := audit.Open(tr.dir, tr.keyFile, t.Log)
				if err != nil {
					return attack.Result{}, err
				}
				newest := l.Checkpoint()
				if err := l.Close(); err != nil {
					return attack.Result{}, err
				}
				_, err = audit.Verify(old, tr.verifier, newest)
				return attack.Judge(err == nil, attack.Failure(err), "the old log passes", "found", "%v", err)
			}},
	}
}

func rewrite(ctx context.Context, t *attack.Target) (attack.Result, error) {
	tr, err := newTrail(ctx, t)
	if err != nil {
		return attack.Result{}, err
	}
	// The same key, a log that says something else, and longer than the one that was seen.
	forged := &trail{dir: filepath.Join(filepath.Dir(tr.dir), "forged"), keyFile: tr.keyFile, witness: tr.witness}
	if err := forged.write(ctx, t, trailLength+7); err != nil {
		return attack.Result{}, err
	}
	l, err := audit.Open(forged.dir, forged.keyFile, t.Log)
	if err != nil {
		return attack.Result{}, err
	}
	defer func() { _ = l.Close() }()
	if n := l.Checkpoint().Size; n <= tr.seen.Size {
		return attack.Result{}, fmt.Errorf("the forged log has %d entries only", n)
	}
	err = forged.show(l)
	alarm := tr.witness.State().Alarm
	if err != nil && alarm == "" {
		return attack.Result{}, fmt.Errorf("refused without an alarm: %w", err)
	}
	return attack.Judge(err == nil && alarm == "", attack.Failure(err), "the witness believes it", "the witness is alarmed", "%v", err)
}
