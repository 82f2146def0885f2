package audit_test

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"vitalseal/internal/shared/audit"
)

// told counts what the log in h says happened: entries, and refusals with those that an entry
// stands for.
func told(t testing.TB, h home) (entries int, refused int64) {
	t.Helper()
	err := audit.Export(h.dir, func(e audit.Entry, _ []byte) error {
		entries++
		if !e.Allowed {
			refused += max(1, e.Count)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return entries, refused
}

// TestFloodOfRefusals: ten like ones a minute are written one by one, the others counted. Nothing
// is lost, and what is allowed is never counted together.
func TestFloodOfRefusals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHome(t)
		l := h.open(t)
		ctx := t.Context()
		append1 := func(e audit.Entry) audit.Entry {
			t.Helper()
			got, err := l.Append(ctx, e)
			if err != nil {
				t.Fatal(err)
			}
			return got
		}
		refusal := audit.Entry{Person: "p", Workstation: "w", Action: "patient:view", Resource: "patient:a", Patient: "a", Reason: "no rule"}
		for i := range 1000 {
			got := append1(refusal)
			if (got.Seq >= 0) != (i < 10) {
				t.Fatalf("refusal %d: %+v", i, got)
			}
		}
		other := refusal
		other.Resource = "patient:b"
		if append1(other).Seq < 0 {
			t.Error("another patient's refusal is counted together with it")
		}
		allowed := refusal
		allowed.Allowed, allowed.Reason = true, ""
		for range 20 {
			if append1(allowed).Seq < 0 {
				t.Fatal("an approval is only counted")
			}
		}
		time.Sleep(61 * time.Second)
		synctest.Wait()
		if entries, refused := told(t, h); entries != 10+1+20+1 || refused != 1001 {
			t.Errorf("after a minute: %d entries, %d refusals", entries, refused)
		}
		newest, _ := l.Recent(ctx, 1)
		if n := newest[0]; n.Count != 990 || n.Person != "p" || n.Resource != "patient:a" || n.Patient != "a" || n.Time.IsZero() {
			t.Errorf("the summary: %+v", n)
		}
		// The next minute begins again with ten, and Close loses nothing.
		for range 15 {
			append1(refusal)
		}
		closeLog(t, l)
		if entries, refused := told(t, h); entries != 32+10+1 || refused != 1016 {
			t.Errorf("after closing: %d entries, %d refusals", entries, refused)
		}
		sum, err := audit.Verify(h.dir, l.VerifierKey())
		if err != nil || sum.Refused != 1016 {
			t.Errorf("%+v, %v", sum, err)
		}
	})
}

// TestFloodOfDifferentRefusals asks for another patient each time: memory stays bounded, nothing
// goes uncounted.
func TestFloodOfDifferentRefusals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHome(t)
		l, err := audit.OpenWith(h.dir, h.key, quiet, 8<<20, noSync)
		if err != nil {
			t.Fatal(err)
		}
		const n = 12_000
		for i := range n {
			e := audit.Entry{Person: "p", Action: "patient:view", Resource: fmt.Sprintf("patient:%d", i), Patient: fmt.Sprint(i)}
			if i >= 6000 { // and then even another reason each time
				e.Reason = fmt.Sprint(i)
			}
			if _, err := l.Append(t.Context(), e); err != nil {
				t.Fatal(err)
			}
		}
		closeLog(t, l)
		entries, refused := told(t, h)
		if refused != n || entries > 9000 {
			t.Errorf("%d refusals in %d entries, want %d", refused, entries, n)
		}
	})
}

// TestCountIsPartOfTheEntry: a count cannot be taken off or put on afterwards, nor by who appends.
func TestCountIsPartOfTheEntry(t *testing.T) {
	h := newHome(t)
	l := h.open(t)
	for range 12 {
		if _, err := l.Append(t.Context(), audit.Entry{Action: "x", Count: 77}); err != nil {
			t.Fatal(err)
		}
	}
	closeLog(t, l)
	files := h.files(t)
	name := newest(files)
	if !strings.Contains(string(files[name]), `"count":2}`) || strings.Contains(string(files[name]), `"count":77`) {
		t.Fatalf("%s", files[name])
	}
	for _, change := range []string{`"count":1}`, `"count":3}`, `"count":-2}`, `"count":2.0}`, `"count":0}`} {
		b := strings.Replace(string(files[name]), `"count":2}`, change, 1)
		refused(t, h.lay(t, with(files, name, []byte(b))), l.VerifierKey(), change)
	}
}

// fullDisk takes so many bytes more, then what fits of a write, as a real one does.
type fullDisk struct {
	mu   sync.Mutex
	left int
}

func (d *fullDisk) write(f *os.File, b []byte) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	n, err := f.Write(b[:min(d.left, len(b))])
	d.left -= n
	if n < len(b) && err == nil {
		err = errors.New("no space left on device")
	}
	return n, err
}

// TestFullDisk fills it in the midst of an append, everywhere: what could not be written is refused
// and leaves no trace, loudly, and goes on when there is space again.
func TestFullDisk(t *testing.T) {
	for left := 0; left < 420; left += 7 {
		h := newHome(t)
		d := &fullDisk{left: 1 << 20}
		var said strings.Builder
		l, err := audit.OpenOn(h.dir, h.key, slog.New(slog.NewTextHandler(&said, nil)), 1<<20, d.write)
		if err != nil {
			t.Fatal(err)
		}
		first := fill(t, l, 1)
		d.left = left
		e, err := l.Append(t.Context(), entry(2))
		if err == nil {
			if left < 200 {
				t.Fatalf("%d bytes were enough for %+v", left, e)
			}
			closeLog(t, l)
			break
		}
		if errors.Is(err, audit.ErrBroken) || !strings.Contains(err.Error(), "no space left") {
			t.Fatalf("with %d bytes: %v", left, err)
		}
		d.mu.Lock()
		d.left = 1 << 20
		d.mu.Unlock()
		if e, err = l.Append(t.Context(), entry(2)); err != nil || e.Seq != first[0].Seq+1 {
			t.Fatalf("with space again: %v, %v", e, err)
		}
		closeLog(t, l)
		if err := verify(h.dir, l.VerifierKey()); err != nil {
			t.Fatalf("with %d bytes: %v", left, err)
		}
		if !strings.Contains(said.String(), "level=ERROR") {
			t.Fatal("nobody was told")
		}
	}
}

// TestCountedRefusalsWaitForSpace: the disk is full when a minute's refusals are to be summed up;
// they are not lost.
func TestCountedRefusalsWaitForSpace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHome(t)
		d := &fullDisk{left: 1 << 20}
		l, err := audit.OpenOn(h.dir, h.key, quiet, 1<<20, d.write)
		if err != nil {
			t.Fatal(err)
		}
		for range 30 {
			if _, err := l.Append(t.Context(), audit.Entry{Action: "x"}); err != nil {
				t.Fatal(err)
			}
		}
		synctest.Wait()
		d.mu.Lock()
		d.left = 3
		d.mu.Unlock()
		time.Sleep(90 * time.Second)
		if _, refused := told(t, h); refused != 10 {
			t.Errorf("%d refusals on a full disk", refused)
		}
		d.mu.Lock()
		d.left = 1 << 20
		d.mu.Unlock()
		time.Sleep(90 * time.Second)
		if _, refused := told(t, h); refused != 30 {
			t.Errorf("%d refusals with space again, want 30", refused)
		}
		closeLog(t, l)
	})
}

func TestFilesArePrivate(t *testing.T) {
	h := newHome(t)
	l := h.open(t)
	fill(t, l, 20)
	closeLog(t, l)
	names, err := os.ReadDir(h.dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range names {
		info, err := n.Info()
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %v (%v)", n.Name(), info.Mode(), err)
		}
	}
	if info, err := os.Stat(h.dir); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("the folder has mode %v", info.Mode())
	}
}
