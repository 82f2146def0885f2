package audit_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"golang.org/x/mod/sumdb/tlog"

	"vitalseal/internal/shared/audit"
)

// TestProofs proves every entry, and every earlier size, of logs that end anywhere in a tile, over
// several segments.
func TestProofs(t *testing.T) {
	h := newHome(t)
	l := h.open(t)
	defer func() { closeLog(t, l) }()
	size := 0
	for _, more := range []int{1, 1, 253, 1, 1, 255, 1, 300} {
		for range more {
			e := entry(size % 60)
			e.Allowed = true
			if _, err := l.Append(t.Context(), e); err != nil {
				t.Fatal(err)
			}
			size++
		}
		closeLog(t, l) // signs
		l = h.open(t)
		c := l.Checkpoint()
		if c.Size != int64(size) {
			t.Fatalf("checkpoint of %d entries, want %d", c.Size, size)
		}
		for seq := int64(0); seq < c.Size; seq += 1 + c.Size/40 {
			p, err := l.Inclusion(seq)
			if err != nil {
				t.Fatalf("entry %d of %d: %v", seq, size, err)
			}
			if seq == 0 {
				offline, err := audit.Prove(h.dir, l.VerifierKey(), seq)
				if err != nil || offline.Entry != p.Entry {
					t.Fatalf("offline: %+v, %v", offline, err)
				}
			}
			e, at, err := p.Verify(l.VerifierKey())
			if err != nil || e.Seq != seq || at.Size != c.Size {
				t.Fatalf("entry %d of %d: %v %v", seq, size, e, err)
			}
			again, err := audit.ParseInclusion(encoded(t, p))
			if err != nil {
				t.Fatal(err)
			}
			if _, _, err := again.Verify(l.VerifierKey()); err != nil {
				t.Fatalf("after a journey as JSON: %v", err)
			}
		}
		if _, err := l.Inclusion(c.Size); !errors.Is(err, audit.ErrNoEntry) {
			t.Errorf("an entry that is not there: %v", err)
		}
	}
}

func encoded(t testing.TB, v any) []byte {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestProofOfSomethingElse changes each part of a good proof.
func TestProofOfSomethingElse(t *testing.T) {
	h := newHome(t)
	l := h.open(t)
	fill(t, l, 7)
	closeLog(t, l)
	key := l.VerifierKey()
	good, err := audit.Prove(h.dir, key, 4)
	if err != nil {
		t.Fatal(err)
	}
	other, err := audit.Prove(h.dir, key, 5)
	if err != nil {
		t.Fatal(err)
	}
	for what, change := range map[string]func(p *audit.Inclusion){
		"another number":     func(p *audit.Inclusion) { p.Seq = 5 },
		"no number":          func(p *audit.Inclusion) { p.Seq = -1 },
		"behind the end":     func(p *audit.Inclusion) { p.Seq = 7 },
		"another entry":      func(p *audit.Inclusion) { p.Entry = other.Entry },
		"a changed entry":    func(p *audit.Inclusion) { p.Entry = strings.Replace(p.Entry, "true", "false", 1) },
		"a shorter proof":    func(p *audit.Inclusion) { p.Proof = p.Proof[1:] },
		"a longer proof":     func(p *audit.Inclusion) { p.Proof = append(tlog.RecordProof{tlog.Hash{}}, p.Proof...) },
		"a changed proof":    func(p *audit.Inclusion) { p.Proof[0][0] ^= 1 },
		"another's proof":    func(p *audit.Inclusion) { p.Proof = other.Proof },
		"no proof":           func(p *audit.Inclusion) { p.Proof = nil },
		"no checkpoint":      func(p *audit.Inclusion) { p.Checkpoint = "" },
		"unsigned":           func(p *audit.Inclusion) { p.Checkpoint = strings.Replace(p.Checkpoint, "\n7\n", "\n8\n", 1) },
		"something appended": func(p *audit.Inclusion) { p.Checkpoint += "x" },
	} {
		p := good
		p.Proof = append(tlog.RecordProof{}, good.Proof...)
		change(&p)
		if _, _, err := p.Verify(key); !errors.Is(err, audit.ErrInconsistent) {
			t.Errorf("%s: %v", what, err)
		}
	}
	foreign := newHome(t)
	fl := foreign.open(t)
	closeLog(t, fl)
	if _, _, err := good.Verify(fl.VerifierKey()); !errors.Is(err, audit.ErrInconsistent) {
		t.Errorf("with another log's key: %v", err)
	}
}

// grown is a log of n entries, signed, whose entries are told apart by who. Logs with the same who
// begin the same.
func grown(t testing.TB, h home, from, n int, who string) *audit.Log {
	t.Helper()
	l := h.open(t)
	for i := from; i < n; i++ {
		e := entry(i % 60)
		e.Allowed, e.Person = true, fmt.Sprintf("%s-%d", who, i)
		if _, err := l.Append(t.Context(), e); err != nil {
			t.Fatal(err)
		}
	}
	closeLog(t, l)
	return h.open(t)
}

func statement(t testing.TB, l *audit.Log, from int64) []byte {
	t.Helper()
	c, err := l.Consistency(from)
	if err != nil {
		t.Fatal(err)
	}
	return encoded(t, c)
}

// TestWitnessFollows takes a witness along a growing log, over restarts of both.
func TestWitnessFollows(t *testing.T) {
	h := newHome(t)
	path := filepath.Join(t.TempDir(), "witness.note")
	sizes := []int{0, 1, 2, 3, 9, 9, 255, 256, 257, 600}
	l := h.open(t)
	before := 0
	for _, n := range sizes {
		closeLog(t, l)
		l = grown(t, h, before, n, "p")
		before = n
		w, err := audit.OpenWitness(path, "")
		if err != nil {
			t.Fatal(err)
		}
		if err := w.Update(statement(t, l, w.Size())); err != nil {
			t.Fatalf("at %d: %v", n, err)
		}
		s := w.State()
		if w.Size() != int64(n) || s.Size != int64(n) || s.Alarm != "" || s.Proven.IsZero() {
			t.Fatalf("at %d: %+v", n, s)
		}
		info, err := os.Stat(path)
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Fatalf("%v %v", info, err)
		}
	}
	// Every earlier size is a beginning of the log as it is now.
	for from := range int64(601) {
		if _, err := l.Consistency(from); err != nil {
			t.Fatalf("from %d: %v", from, err)
		}
	}
	closeLog(t, l)
	key, c, err := audit.ReadWitness(path)
	if err != nil || key != l.VerifierKey() || c.Size != 600 {
		t.Fatalf("%v, %d, %v", key, c.Size, err)
	}
	sum, err := audit.Verify(h.dir, key, c)
	if err != nil || sum.Entries != 600 || sum.Witnesses != 1 || sum.First.IsZero() || sum.Last.IsZero() {
		t.Errorf("%+v, %v", sum, err)
	}
}

// TestWitness has the right key sign another past: shorter, of the same length, and longer.
func TestWitness(t *testing.T) {
	for _, n := range []int{0, 1, 299, 300, 301, 900} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			h := newHome(t)
			l := grown(t, h, 0, 300, "honest")
			path := filepath.Join(t.TempDir(), "witness.note")
			w, err := audit.OpenWitness(path, l.VerifierKey())
			if err != nil {
				t.Fatal(err)
			}
			if err := w.Update(statement(t, l, 0)); err != nil {
				t.Fatal(err)
			}
			closeLog(t, l)
			remembered, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			// The holder of disk and key starts afresh.
			if err := os.RemoveAll(h.dir); err != nil {
				t.Fatal(err)
			}
			l = grown(t, h, 0, n, "forged")
			defer closeLog(t, l)
			if _, err := audit.Verify(h.dir, l.VerifierKey()); err != nil {
				t.Fatalf("the forged log is whole in itself: %v", err)
			}
			if err := w.Update(statement(t, l, w.Size())); !errors.Is(err, audit.ErrInconsistent) {
				t.Fatalf("the witness says %v", err)
			}
			if now, err := os.ReadFile(path); err != nil || string(now) != string(remembered) {
				t.Errorf("the good checkpoint was replaced (%v)", err)
			}
			key, evidence, err := audit.ReadWitness(path + ".conflict")
			if err != nil || key != l.VerifierKey() || evidence.Size != int64(n) {
				t.Errorf("evidence: %d entries, %v", evidence.Size, err)
			}
			_, have, err := audit.ReadWitness(path)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := audit.Verify(h.dir, l.VerifierKey(), have); !errors.Is(err, audit.ErrTampered) {
				t.Errorf("verify with the witness: %v", err)
			}
			// The alarm outlives a restart of the witness, and the log's return to honesty.
			again, err := audit.OpenWitness(path, "")
			if err != nil || again.State().Alarm == "" {
				t.Errorf("after a restart: %+v, %v", again.State(), err)
			}
		})
	}
}

// TestWitnessBelievesNoRubbish: what proves nothing is refused and changes nothing, and the next
// good statement counts.
func TestWitnessBelievesNoRubbish(t *testing.T) {
	h := newHome(t)
	l := grown(t, h, 0, 5, "p")
	path := filepath.Join(t.TempDir(), "witness.note")
	w, err := audit.OpenWitness(path, "")
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Update(statement(t, l, 0)); err != nil {
		t.Fatal(err)
	}
	closeLog(t, l)
	l = grown(t, h, 5, 11, "p")
	defer closeLog(t, l)
	good, err := l.Consistency(5)
	if err != nil {
		t.Fatal(err)
	}
	foreign := newHome(t)
	f := grown(t, foreign, 0, 11, "p")
	defer closeLog(t, f)
	fake, err := f.Consistency(5)
	if err != nil {
		t.Fatal(err)
	}
	for what, s := range map[string][]byte{
		"nothing": nil, "no JSON": []byte("x"), "an empty object": []byte("{}"),
		"no proof":       encoded(t, audit.Consistency{Key: good.Key, Checkpoint: good.Checkpoint, From: 5}),
		"another start":  encoded(t, audit.Consistency{Key: good.Key, Checkpoint: good.Checkpoint, From: 4, Proof: good.Proof}),
		"a long proof":   encoded(t, audit.Consistency{Key: good.Key, Checkpoint: good.Checkpoint, From: 5, Proof: append(tlog.TreeProof{{}}, good.Proof...)}),
		"another's note": encoded(t, audit.Consistency{Key: good.Key, Checkpoint: fake.Checkpoint, From: 5, Proof: fake.Proof}),
		"another's key":  encoded(t, fake),
	} {
		if err := w.Update(s); !errors.Is(err, audit.ErrInconsistent) || w.Size() != 5 {
			t.Errorf("%s: %v, size %d", what, err, w.Size())
		}
	}
	if w.State().Alarm == "" {
		t.Error("no alarm")
	}
	// Only what was signed contradicts for ever; here nothing did but the statements without a good
	// proof.
	if err := os.Remove(path + ".conflict"); err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	if err := w.Update(encoded(t, good)); err != nil || w.Size() != 11 || w.State().Alarm != "" {
		t.Errorf("the good one: %v, %+v", err, w.State())
	}
}

func TestDamagedWitnessStaysAsItIs(t *testing.T) {
	h := newHome(t)
	l := grown(t, h, 0, 3, "p")
	closeLog(t, l)
	path := filepath.Join(t.TempDir(), "witness.note")
	w, err := audit.OpenWitness(path, "")
	if err != nil {
		t.Fatal(err)
	}
	l = h.open(t)
	defer closeLog(t, l)
	if err := w.Update(statement(t, l, 0)); err != nil {
		t.Fatal(err)
	}
	if _, err := audit.OpenWitness(path, strings.Replace(l.VerifierKey(), "audit+", "audit+0", 1)); !errors.Is(err, audit.ErrInconsistent) {
		t.Errorf("with another key: %v", err)
	}
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for k := range len(whole) { // a rename is whole or not at all, so this is no kill; it must be found all the same
		if err := os.WriteFile(path, whole[:k], 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := audit.OpenWitness(path, ""); err == nil {
			t.Fatalf("cut to %d bytes, and believed", k)
		}
	}
}

// TestConsistencyOfChangedDisk: a proof is made from what is on disk, so a change there must not be
// signed away.
func TestConsistencyOfChangedDisk(t *testing.T) {
	h := newHome(t)
	l := grown(t, h, 0, 20, "p")
	defer closeLog(t, l)
	segments, err := filepath.Glob(filepath.Join(h.dir, "*.jsonl"))
	if err != nil || len(segments) < 2 {
		t.Fatal(segments, err)
	}
	b, err := os.ReadFile(segments[1])
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(segments[1], []byte(strings.Replace(string(b), "nurse", "purse", 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Consistency(7); !errors.Is(err, audit.ErrTampered) {
		t.Errorf("consistency: %v", err)
	}
	if _, err := l.Inclusion(0); !errors.Is(err, audit.ErrTampered) {
		t.Errorf("inclusion: %v", err)
	}
}

// TestEveryDroppedAndSwappedEntryIsFound takes a small log apart in every way: each entry dropped,
// each two swapped, as they are and renumbered so that they look right.
func TestEveryDroppedAndSwappedEntryIsFound(t *testing.T) {
	const n = 9
	h := newHome(t)
	l, err := audit.OpenWith(h.dir, h.key, quiet, 1<<20, noSync)
	if err != nil {
		t.Fatal(err)
	}
	fill(t, l, n)
	closeLog(t, l)
	files := h.files(t)
	name := newest(files)
	lines := strings.SplitAfter(strings.TrimSuffix(string(files[name]), "\n"), "\n")
	lines[n-1] += "\n"
	renumbered := func(lines []string) []string {
		out := make([]string, len(lines))
		for i, line := range lines {
			_, rest, _ := strings.Cut(line, ",")
			out[i] = fmt.Sprintf(`{"seq":%d,%s`, i, rest)
		}
		return out
	}
	lay := func(lines []string) home { return h.lay(t, with(files, name, []byte(strings.Join(lines, "")))) }
	if c := lay(renumbered(lines)); verify(c.dir, l.VerifierKey()) != nil {
		t.Fatal("renumbering changes nothing here")
	}
	for i := range n {
		dropped := append(append([]string{}, lines[:i]...), lines[i+1:]...)
		refused(t, lay(dropped), l.VerifierKey(), fmt.Sprintf("%d dropped", i))
		refused(t, lay(renumbered(dropped)), l.VerifierKey(), fmt.Sprintf("%d dropped, renumbered", i))
		for j := range i {
			swapped := append([]string{}, lines...)
			swapped[i], swapped[j] = swapped[j], swapped[i]
			refused(t, lay(swapped), l.VerifierKey(), fmt.Sprintf("%d and %d swapped", i, j))
			refused(t, lay(renumbered(swapped)), l.VerifierKey(), fmt.Sprintf("%d and %d swapped, renumbered", i, j))
		}
	}
}

// FuzzWitness feeds a witness statements from untrusted sources.
func FuzzWitness(f *testing.F) {
	h := newHome(f)
	l := grown(f, h, 0, 5, "p")
	first := statement(f, l, 0)
	closeLog(f, l)
	l = grown(f, h, 5, 11, "p")
	good := statement(f, l, 5)
	closeLog(f, l)
	f.Add(good)
	f.Add([]byte(`{"key":"","checkpoint":"","from":5,"proof":["AAAA"]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		w, err := audit.OpenWitness(filepath.Join(t.TempDir(), "w"), "")
		if err != nil {
			t.Fatal(err)
		}
		if err := w.Update(first); err != nil {
			t.Fatal(err)
		}
		if err := w.Update(b); err == nil && w.Size() != 11 && w.Size() != 5 {
			t.Fatalf("believed %q", b)
		}
	})
}

// FuzzInclusion feeds the verifier of proofs.
func FuzzInclusion(f *testing.F) {
	h := newHome(f)
	l := grown(f, h, 0, 5, "p")
	key := l.VerifierKey()
	p, err := l.Inclusion(3)
	if err != nil {
		f.Fatal(err)
	}
	closeLog(f, l)
	f.Add(encoded(f, p))
	f.Fuzz(func(t *testing.T, b []byte) {
		q, err := audit.ParseInclusion(b)
		if err != nil {
			return
		}
		if e, _, err := q.Verify(key); err == nil && (e.Seq != 3 || q.Entry != p.Entry) {
			t.Fatalf("proved %q", b)
		}
	})
}

// BenchmarkConsistency is what a witness's question costs the hub, of a log of a hundred thousand
// entries.
func BenchmarkConsistency(b *testing.B) {
	const n = 100_000
	h := newHome(b)
	l, err := audit.OpenWith(h.dir, h.key, quiet, 8<<20, noSync)
	if err != nil {
		b.Fatal(err)
	}
	e := entry(0)
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() {
			for range n / 50 {
				if _, err := l.Append(b.Context(), e); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	closeLog(b, l)
	l = h.open(b)
	defer closeLog(b, l)
	b.ReportAllocs()
	from := int64(1)
	for b.Loop() {
		if _, err := l.Consistency(from); err != nil {
			b.Fatal(err)
		}
		from = (from*31 + 7) % n
	}
}
