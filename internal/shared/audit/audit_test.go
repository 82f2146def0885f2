package audit_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode"

	"github.com/google/go-cmp/cmp"

	"vitalseal/internal/shared/audit"
	"vitalseal/internal/shared/disk"
)

var quiet = slog.New(slog.DiscardHandler)

func entry(i int) audit.Entry {
	return audit.Entry{
		Time: time.Date(2026, 3, 1, 12, 0, i, 123456000, time.UTC), Person: "p-" + strconv.Itoa(i), Role: "nurse",
		Workstation: "spiffe://demo.vitalseal.internal/workstation/ward-1", Action: "patient:view", Resource: "patient:a",
		Patient: "a", Allowed: i%2 == 0, Policies: []string{"nurse-on-ward"}, Reason: "r",
	}
}

// home is a log's directory and its key, side by side.
type home struct{ dir, key string }

func newHome(t testing.TB) home {
	root := t.TempDir()
	return home{filepath.Join(root, "log"), filepath.Join(root, "audit.key")}
}

func (h home) open(t testing.TB) *audit.Log {
	t.Helper()
	l, err := audit.OpenWith(h.dir, h.key, quiet, 600, noSync)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func verify(dir, key string) error {
	_, err := audit.Verify(dir, key)
	return err
}

// noSync keeps tests that write thousands of files quick; those about durability sync.
func noSync(*os.File) error { return nil }

func fill(t testing.TB, l *audit.Log, n int) []audit.Entry {
	t.Helper()
	var out []audit.Entry
	for i := range n {
		e, err := l.Append(t.Context(), entry(i))
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, e)
	}
	return out
}

func closeLog(t testing.TB, l *audit.Log) {
	t.Helper()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
}

// files reads all files of a log, by name.
func (h home) files(t testing.TB) map[string][]byte {
	t.Helper()
	names, err := os.ReadDir(h.dir)
	if err != nil {
		t.Fatal(err)
	}
	out := map[string][]byte{}
	for _, n := range names {
		if out[n.Name()], err = os.ReadFile(filepath.Join(h.dir, n.Name())); err != nil {
			t.Fatal(err)
		}
	}
	return out
}

// lay makes a log of the given files, with the key of h.
func (h home) lay(t testing.TB, files map[string][]byte) home {
	t.Helper()
	dir := t.TempDir()
	for name, b := range files {
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return home{dir, h.key}
}

func with(files map[string][]byte, name string, b []byte) map[string][]byte {
	out := map[string][]byte{}
	for n, old := range files {
		out[n] = old
	}
	out[name] = b
	return out
}

func newest(files map[string][]byte) string {
	last := ""
	for n := range files {
		if strings.HasSuffix(n, ".jsonl") && n > last {
			last = n
		}
	}
	return last
}

func TestEntriesSurviveReopening(t *testing.T) {
	h := newHome(t)
	l, err := audit.Open(h.dir, h.key, quiet)
	if err != nil {
		t.Fatal(err)
	}
	want := fill(t, l, 5)
	closeLog(t, l)
	if _, err := l.Append(t.Context(), entry(0)); !errors.Is(err, audit.ErrClosed) {
		t.Fatalf("append after close: %v", err)
	}
	l = h.open(t)
	want = append(want, fill(t, l, 2)...)
	got, err := l.Recent(t.Context(), 100)
	if err != nil {
		t.Fatal(err)
	}
	for i := range got { // newest first
		if diff := cmp.Diff(want[len(want)-1-i], got[i]); diff != "" {
			t.Errorf("entry %d: %s", i, diff)
		}
	}
	if len(got) != 7 || got[0].Seq != 6 {
		t.Fatalf("%d entries, the newest is %d", len(got), got[0].Seq)
	}
	closeLog(t, l)
	if err := verify(h.dir, l.VerifierKey()); err != nil {
		t.Fatal(err)
	}
	if n := len(h.files(t)); n < 4 {
		t.Fatalf("%d files: the log should have started new segments", n)
	}
}

func TestManyAppendAtOnceWhileVerifying(t *testing.T) {
	h := newHome(t)
	l := h.open(t)
	var wg sync.WaitGroup
	var mu sync.Mutex
	seen := map[int64]string{}
	for w := range 20 {
		wg.Go(func() {
			for i := range 20 {
				person := fmt.Sprintf("%d-%d", w, i)
				e, err := l.Append(t.Context(), audit.Entry{Person: person})
				if err != nil || e.Person != person || e.Time.IsZero() {
					t.Errorf("append: %v, %v", e, err)
					return
				}
				mu.Lock()
				seen[e.Seq] = person
				mu.Unlock()
			}
		})
	}
	if err := verify(h.dir, l.VerifierKey()); err != nil {
		t.Errorf("while it is written: %v", err)
	}
	wg.Wait()
	closeLog(t, l)
	if len(seen) != 400 {
		t.Fatalf("%d numbers for 400 entries", len(seen))
	}
	l = h.open(t)
	defer closeLog(t, l)
	got, _ := l.Recent(t.Context(), 400)
	for _, e := range got {
		if seen[e.Seq] != e.Person {
			t.Fatalf("entry %d is %q, was acknowledged as %q", e.Seq, e.Person, seen[e.Seq])
		}
	}
	if err := verify(h.dir, l.VerifierKey()); err != nil {
		t.Fatal(err)
	}
}

// TestKillAtEveryByte lays out every state of the disk that a kill during an append can leave, and
// opens each.
func TestKillAtEveryByte(t *testing.T) {
	h := newHome(t)
	l := h.open(t)
	fill(t, l, 3)
	closeLog(t, l)
	before := h.files(t)
	l = h.open(t)
	for i := 3; i < 5; i++ {
		if _, err := l.Append(t.Context(), entry(i)); err != nil {
			t.Fatal(err)
		}
	}
	closeLog(t, l)
	after := h.files(t)
	last := newest(before)
	grown := [][]byte{}
	// The second entry falls into a new segment, so the states are: last grown by k bytes, then the
	// new one by k bytes, then the temporary checkpoint by k bytes; each with the old checkpoint.
	base := before
	for k := len(before[last]); k <= len(after[last]); k++ {
		grown = append(grown, after[last][:k])
	}
	check := func(files map[string][]byte, whole int64) {
		t.Helper()
		c := h.lay(t, files)
		l, err := audit.OpenWith(c.dir, c.key, quiet, 600, noSync)
		if err != nil {
			t.Fatalf("with %d bytes in %s: %v", len(files[newest(files)]), newest(files), err)
		}
		defer closeLog(t, l)
		got, _ := l.Recent(t.Context(), 1)
		if got[0].Seq != whole-1 {
			t.Fatalf("newest entry is %d, want %d", got[0].Seq, whole-1)
		}
		e, err := l.Append(t.Context(), entry(9))
		if err != nil || e.Seq != whole {
			t.Fatalf("append after the kill: %v %v", e, err)
		}
	}
	for _, b := range grown {
		check(with(base, last, b), int64(3+bytes.Count(b[len(before[last]):], []byte("\n"))))
	}
	base = with(base, last, after[last])
	first := int64(3 + bytes.Count(after[last][len(before[last]):], []byte("\n")))
	if fresh := newest(after); fresh != last {
		for k := range len(after[fresh]) + 1 {
			check(with(base, fresh, after[fresh][:k]), first+int64(bytes.Count(after[fresh][:k], []byte("\n"))))
		}
		base = with(base, fresh, after[fresh])
	}
	for k := range len(after["checkpoint"]) + 1 {
		check(with(base, "checkpoint.tmp", after["checkpoint"][:k]), 5)
	}
	check(with(with(base, "checkpoint", after["checkpoint"]), newest(base), append(bytes.Clone(base[newest(base)]), make([]byte, 700)...)), 5)
}

func TestTornTailIsReported(t *testing.T) {
	h := newHome(t)
	l := h.open(t)
	fill(t, l, 1)
	closeLog(t, l)
	files := h.files(t)
	c := h.lay(t, with(files, newest(files), append(bytes.Clone(files[newest(files)]), `{"seq":1,`...)))
	if err := verify(c.dir, l.VerifierKey()); !errors.Is(err, audit.ErrUnsigned) {
		t.Errorf("verify before the cut: %v", err)
	}
	var logged strings.Builder
	l2, err := audit.Open(c.dir, c.key, slog.New(slog.NewTextHandler(&logged, nil)))
	if err != nil {
		t.Fatal(err)
	}
	defer closeLog(t, l2)
	if l2.Recovered() != 9 || !strings.Contains(logged.String(), "bytes=9") {
		t.Errorf("recovered %d, logged %q", l2.Recovered(), logged.String())
	}
}

// signedLog is a small log of three segments, closed and so signed to the end.
func signedLog(t testing.TB) (home, map[string][]byte, string) {
	h := newHome(t)
	l := h.open(t)
	fill(t, l, 4)
	closeLog(t, l)
	return h, h.files(t), l.VerifierKey()
}

// refused says that neither Verify nor Open takes the log for whole.
func refused(t *testing.T, c home, key, what string) {
	t.Helper()
	if err := verify(c.dir, key); !errors.Is(err, audit.ErrTampered) {
		t.Errorf("%s: verify: %v", what, err)
	}
	l, err := audit.OpenWith(c.dir, c.key, quiet, 600, noSync)
	if err == nil {
		closeLog(t, l)
	}
	if !errors.Is(err, audit.ErrTampered) {
		t.Errorf("%s: open: %v", what, err)
	}
}

func TestEveryChangedBitIsFound(t *testing.T) {
	h := newHome(t)
	l := h.open(t)
	fill(t, l, 2)
	closeLog(t, l)
	files, key := h.files(t), l.VerifierKey()
	c := h.lay(t, files)
	for name, b := range files {
		f, err := os.OpenFile(filepath.Join(c.dir, name), os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		put := func(at int, c byte) {
			if _, err := f.WriteAt([]byte{c}, int64(at)); err != nil {
				t.Fatal(err)
			}
		}
		for i, old := range b {
			for bit := range 8 {
				put(i, old^1<<bit)
				if err := verify(c.dir, key); !errors.Is(err, audit.ErrTampered) {
					t.Fatalf("%s: byte %d, bit %d changed: %v", name, i, bit, err)
				}
			}
			put(i, old)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if err := verify(c.dir, key); err != nil {
		t.Fatalf("put right again: %v", err)
	}
}

func TestEveryTruncationIsFound(t *testing.T) {
	h, files, key := signedLog(t)
	last := newest(files)
	for k := range len(files[last]) {
		refused(t, h.lay(t, with(files, last, files[last][:k])), key, fmt.Sprintf("cut at %d", k))
	}
}

func TestTampering(t *testing.T) {
	h, files, key := signedLog(t)
	var lines []string
	for _, name := range []string{"0000000000000000000.jsonl", "0000000000000000002.jsonl"} {
		if len(files[name]) == 0 {
			t.Fatalf("the log is laid out as %v", files)
		}
		lines = append(lines, strings.SplitAfter(strings.TrimSuffix(string(files[name]), "\n"), "\n")...)
	}
	for i, l := range lines {
		lines[i] = strings.TrimSuffix(l, "\n") + "\n"
	}
	one := func(lines ...string) map[string][]byte {
		return map[string][]byte{"checkpoint": files["checkpoint"], "0000000000000000000.jsonl": []byte(strings.Join(lines, ""))}
	}
	if c := h.lay(t, one(lines...)); verify(c.dir, key) != nil {
		t.Fatal("the same entries in one segment are the same log")
	}
	renumber := func(line string, from, to int) string {
		return strings.Replace(line, fmt.Sprintf(`"seq":%d,`, from), fmt.Sprintf(`"seq":%d,`, to), 1)
	}
	without := func(name string) map[string][]byte {
		out := with(files, name, nil)
		delete(out, name)
		return out
	}
	foreign := newHome(t)
	l := foreign.open(t)
	fill(t, l, 4)
	closeLog(t, l)
	for what, files := range map[string]map[string][]byte{
		"first dropped":            one(lines[1:]...),
		"one dropped":              one(lines[0], lines[1], lines[3]),
		"one dropped, renumbered":  one(lines[0], lines[1], renumber(lines[3], 3, 2)),
		"last dropped":             one(lines[:3]...),
		"two swapped":              one(lines[0], lines[2], lines[1], lines[3]),
		"two swapped, renumbered":  one(lines[0], renumber(lines[2], 2, 1), renumber(lines[1], 1, 2), lines[3]),
		"one twice":                one(lines[0], lines[0], lines[1], lines[2], lines[3]),
		"refusal made an approval": one(lines[0], strings.Replace(lines[1], "false", "true", 1), lines[2], lines[3]),
		"respelled":                one(lines[0], strings.Replace(lines[1], `"p-1"`, `"\u0070-1"`, 1), lines[2], lines[3]),
		"segment gone":             without("0000000000000000000.jsonl"),
		"newest segment gone":      without("0000000000000000002.jsonl"),
		"checkpoint gone":          without("checkpoint"),
		"another log's checkpoint": with(files, "checkpoint", foreign.files(t)["checkpoint"]),
		"strange segment":          with(files, "2.jsonl", nil),
	} {
		refused(t, h.lay(t, files), key, what)
	}
	if err := verify(h.dir, l.VerifierKey()); !errors.Is(err, audit.ErrTampered) {
		t.Errorf("verified with another log's key: %v", err)
	}
	if err := os.Remove(h.key); err != nil {
		t.Fatal(err)
	}
	if _, err := audit.Open(h.dir, h.key, quiet); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a signed log opened with a new key: %v", err)
	}
}

func TestKeyFileMustBePrivate(t *testing.T) {
	h := newHome(t)
	closeLog(t, h.open(t))
	info, err := os.Stat(h.key)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("%v %v", info.Mode(), err)
	}
	if err := os.Chmod(h.key, 0o640); err != nil { //nolint:gosec // that is the test
		t.Fatal(err)
	}
	if _, err := audit.Open(h.dir, h.key, quiet); err == nil || !errors.Is(err, disk.ErrShared) {
		t.Errorf("opened with a key that others may read: %v", err)
	}
}

func TestOneProcessAtATime(t *testing.T) {
	h := newHome(t)
	l := h.open(t)
	if l2, err := audit.Open(h.dir, h.key, quiet); err == nil {
		closeLog(t, l2)
		t.Error("opened twice")
	}
	closeLog(t, l)
}

func TestFailedSyncIsNeverForgotten(t *testing.T) {
	h := newHome(t)
	var fail bool
	var mu sync.Mutex
	l, err := audit.OpenWith(h.dir, h.key, quiet, 1<<20, func(*os.File) error {
		mu.Lock()
		defer mu.Unlock()
		if fail {
			return errors.New("input/output error")
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	fill(t, l, 1)
	mu.Lock()
	fail = true
	mu.Unlock()
	if _, err := l.Append(t.Context(), entry(1)); err == nil {
		t.Fatal("acknowledged without a sync")
	}
	mu.Lock()
	fail = false
	mu.Unlock()
	if _, err := l.Append(t.Context(), entry(2)); !errors.Is(err, audit.ErrBroken) {
		t.Fatalf("after a failed sync: %v", err)
	}
	closeLog(t, l)
	l = h.open(t)
	defer closeLog(t, l)
	if _, err := l.Append(t.Context(), entry(3)); err != nil {
		t.Fatal(err)
	}
}

func TestBounds(t *testing.T) {
	h := newHome(t)
	l := h.open(t)
	defer closeLog(t, l)
	long := strings.Repeat("\x01", audit.MaxField)
	for field, e := range map[string]audit.Entry{
		"person": {Person: long + "x"}, "role": {Role: long + "x"}, "workstation": {Workstation: long + "x"},
		"action": {Action: long + "x"}, "resource": {Resource: long + "x"}, "patient": {Patient: long + "x"},
		"reason": {Reason: strings.Repeat("x", audit.MaxReason+1)}, "33 policies": {Policies: make([]string, 33)},
		"policy": {Policies: []string{long + "x"}}, "year": {Time: time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC)},
	} {
		if _, err := l.Append(t.Context(), e); !errors.Is(err, audit.ErrEntry) || !strings.Contains(err.Error(), field) {
			t.Errorf("%s: %v", field, err)
		}
	}
	policies := make([]string, audit.MaxPolicies)
	for i := range policies {
		policies[i] = long
	}
	full := audit.Entry{Person: long, Role: long, Workstation: long, Action: long, Resource: long, Patient: long,
		Reason: strings.Repeat("\x01", audit.MaxReason), Policies: policies}
	if _, err := l.Append(t.Context(), full); err != nil {
		t.Errorf("the largest entry: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := l.Append(ctx, entry(0)); err != nil && !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

func TestControlCharactersAreEscaped(t *testing.T) {
	h := newHome(t)
	l := h.open(t)
	want := "a\nb\x1b[2Jc\x7f\u009b\u202ed\u2028\U000e0041\"\\<"
	if _, err := l.Append(t.Context(), audit.Entry{Reason: want, Person: "bad\xffutf8"}); err != nil {
		t.Fatal(err)
	}
	closeLog(t, l)
	b := h.files(t)[newest(h.files(t))]
	if i := bytes.IndexFunc(bytes.TrimSuffix(b, []byte("\n")), func(r rune) bool { return unicode.In(r, unicode.Cc, unicode.Cf, unicode.Zl) }); i >= 0 {
		t.Errorf("control character at %d of %q", i, b)
	}
	l = h.open(t)
	defer closeLog(t, l)
	got, _ := l.Recent(t.Context(), 1)
	if got[0].Reason != want || got[0].Person != "bad\uFFFDutf8" {
		t.Errorf("read back %q, %q", got[0].Reason, got[0].Person)
	}
}

// TestKilledProcess kills a process that appends as fast as it can; what it was told is durable
// must be there.
func TestKilledProcess(t *testing.T) {
	if dir := os.Getenv("AUDIT_TEST_DIR"); dir != "" {
		l, err := audit.Open(dir, filepath.Join(dir, "..", "audit.key"), quiet)
		if err != nil {
			t.Fatal(err)
		}
		for {
			e, err := l.Append(context.Background(), entry(0))
			if err != nil {
				t.Fatal(err)
			}
			fmt.Printf("acked %d\n", e.Seq)
		}
	}
	h := newHome(t)
	acked := int64(-1)
	for round := range 4 {
		cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestKilledProcess$") //nolint:gosec // itself
		cmd.Env = append(os.Environ(), "AUDIT_TEST_DIR="+h.dir)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		for n := 0; lines.Scan(); n++ {
			if _, err := fmt.Sscanf(lines.Text(), "acked %d", &acked); err == nil && n == 20+7*round {
				_ = cmd.Process.Kill() // it keeps printing until it is dead; all of that counts too
			}
		}
		_ = cmd.Wait() // killed
		l := h.open(t)
		got, _ := l.Recent(t.Context(), 1)
		if len(got) == 0 || got[0].Seq < acked {
			t.Fatalf("entry %d was acknowledged, the newest is %v", acked, got)
		}
		closeLog(t, l)
		if err := verify(h.dir, l.VerifierKey()); err != nil {
			t.Fatal(err)
		}
	}
	if acked < 50 {
		t.Fatalf("only %d entries", acked)
	}
}

// FuzzVerify feeds rubbish to everything that reads a log.
func FuzzVerify(f *testing.F) {
	h, files, key := signedLog(f)
	f.Add(files["0000000000000000000.jsonl"], files["checkpoint"])
	f.Add([]byte("{}\n\x00\n"), []byte("vitalseal.internal/audit/v1\n0\n"))
	want := append(bytes.Clone(files["0000000000000000000.jsonl"]), files["0000000000000000002.jsonl"]...)
	f.Fuzz(func(t *testing.T, entries, checkpoint []byte) {
		c := h.lay(t, map[string][]byte{"0000000000000000000.jsonl": entries, "checkpoint": checkpoint})
		if l, err := audit.OpenWith(c.dir, c.key, quiet, 600, noSync); err == nil {
			closeLog(t, l)
			if err := verify(c.dir, key); err != nil {
				t.Fatalf("opened, then: %v", err)
			}
			if !bytes.HasPrefix(want, entries) && !bytes.HasPrefix(entries, want) {
				t.Fatalf("a log that nobody signed opens: %q", entries)
			}
		}
	})
}
