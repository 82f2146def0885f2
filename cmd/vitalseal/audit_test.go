package main_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"vitalseal/internal/shared/audit"
)

// ran is how a command ended.
type ran struct {
	out, err string
	code     int
}

func command(t *testing.T, args ...string) ran {
	t.Helper()
	c := exec.CommandContext(t.Context(), vitalseal(t), args...)
	var out, errs bytes.Buffer
	c.Stdout, c.Stderr = &out, &errs
	_ = c.Run() // how it ended is in the exit code
	return ran{out.String(), errs.String(), c.ProcessState.ExitCode()}
}

// TestAuditCommands uses the audit commands as an auditor does, on copies of one log.
func TestAuditCommands(t *testing.T) {
	dir := t.TempDir()
	logDir, keyFile := filepath.Join(dir, "audit"), filepath.Join(dir, "audit.key")
	open := func() *audit.Log {
		l, err := audit.Open(logDir, keyFile, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	write := func(l *audit.Log, n int, who string) {
		t.Helper()
		for i := range n {
			_, err := l.Append(t.Context(), audit.Entry{Time: time.Date(2026, 3, 1+i, 12, 0, 0, 0, time.UTC), Person: who, Role: "nurse",
				Workstation: "spiffe://x.example/workstation/desk", Action: "patient:view", Resource: "patient:a", Patient: []string{"a", "b"}[i%2],
				Allowed: i%3 != 0, Policies: []string{"nurse-on-ward"}, Reason: "\x1b[2J"})
			if err != nil {
				t.Fatal(err)
			}
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	}
	save := func(name string, b []byte) string {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	l := open()
	public := save("audit.pub", []byte(l.VerifierKey()+"\n"))
	write(l, 6, "p-1")
	l = open()
	statement, err := l.Consistency(0)
	if err != nil {
		t.Fatal(err)
	}
	b, err := json.Marshal(statement)
	if err != nil {
		t.Fatal(err)
	}
	note := filepath.Join(dir, "witness.note")
	w, err := audit.OpenWitness(note, "")
	if err == nil {
		err = w.Update(b)
	}
	if err != nil {
		t.Fatal(err)
	}
	write(l, 4, "p-2")

	got := command(t, "audit", "verify", "--key-file", public, "--witness", note, logDir)
	for _, want := range []string{"whole", "entries    10, 4 refusals", "first      2026-03-01T12:00:00Z", "vitalseal-audit+", "1 agree"} {
		if got.code != 0 || !strings.Contains(got.out, want) {
			t.Errorf("verify does not say %q: %+v", want, got)
		}
	}
	// What an older version kept as evidence by mistake is judged with the note beside it: the log continues both.
	l = open()
	signed := []byte(l.VerifierKey() + "\n" + l.Checkpoint().Signed)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	conflict := save("witness.note.conflict", signed)
	got = command(t, "audit", "verify", "--key-file", public, "--witness", conflict, logDir)
	if got.code != 0 || !strings.Contains(got.out, "2 agree") || !strings.Contains(got.out, "witness.note.conflict contradicts nothing") {
		t.Errorf("evidence kept by mistake: %+v", got)
	}
	if got := command(t, "audit", "verify", "--key-file", public, "--witness", save("alone.conflict", signed), logDir); got.code != 2 {
		t.Errorf("evidence without its note: %+v", got)
	}
	var sum struct {
		Entries, Refused, Witnesses int
		First, Last                 time.Time
	}
	got = command(t, "audit", "verify", "--json", "--key-file", public, logDir)
	if err := json.Unmarshal([]byte(got.out), &sum); err != nil || sum.Entries != 10 || sum.Refused != 4 || sum.First.IsZero() {
		t.Errorf("%+v, %v", got, err)
	}

	t.Run("export", func(t *testing.T) {
		lines := func(args ...string) int {
			t.Helper()
			got := command(t, append(append([]string{"audit", "export"}, args...), logDir)...)
			if got.code != 0 {
				t.Errorf("%v: %+v", args, got)
			}
			n := 0
			for line := range strings.Lines(got.out) {
				n++
				var e audit.Entry
				if err := json.Unmarshal([]byte(line), &e); err != nil {
					t.Fatalf("%v: %q: %v", args, line, err)
				}
			}
			return n
		}
		for want, args := range map[int][]string{
			10: nil, 6: {"--json", "--person", "p-1"}, 5: {"--patient", "a", "--key-file", public}, 4: {"--from", "2026-03-03", "--to", "2026-03-05"},
			0: {"--from", "2027-01-01"}, 1: {"--from", "2026-03-06T12:00:00Z"},
		} {
			if n := lines(args...); n != want {
				t.Errorf("%v: %d lines, want %d", args, n, want)
			}
		}
		whole, err := os.ReadFile(filepath.Join(logDir, "0000000000000000000.jsonl"))
		if err != nil {
			t.Fatal(err)
		}
		if got := command(t, "audit", "export", logDir); got.out != string(whole) {
			t.Error("exported lines are not the log's")
		}
		if got := command(t, "audit", "export", "--text", logDir); strings.Contains(got.out, "\x1b") || !strings.Contains(got.out, `\x1b[2J`) || strings.Count(got.out, "\n") != 10 {
			t.Errorf("%+v", got)
		}
		if got := command(t, "audit", "export", "--from", "yesterday", logDir); got.code != 2 || !strings.Contains(got.err, "--from") {
			t.Errorf("%+v", got)
		}
	})
	t.Run("wrong folder or key", func(t *testing.T) {
		for _, args := range [][]string{{"audit", "verify", "--key-file", public, dir}, {"audit", "export", "--key-file", public, dir}, {"audit", "export", dir},
			{"audit", "prove", "--key-file", public, "--entry", "1", dir}} {
			got := command(t, args...)
			if got.code != 2 || !strings.Contains(got.err, dir+": this folder holds no audit log") || !strings.Contains(got.err, "give "+logDir) || strings.Contains(got.err, "tampered") {
				t.Errorf("%v: %+v", args, got)
			}
		}
		l, err := audit.Open(filepath.Join(t.TempDir(), "audit"), filepath.Join(t.TempDir(), "key"), slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		other := save("other.pub", []byte(l.VerifierKey()+"\n"))
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		for _, args := range [][]string{{"audit", "verify"}, {"audit", "export"}, {"audit", "prove", "--entry", "1"}, {"audit", "verify", "--witness", note}} {
			got := command(t, append(args, "--key-file", other, logDir)...)
			if got.code != 1 || !strings.Contains(got.err, "with another key than the one given") || strings.Contains(got.err, "tampered") {
				t.Errorf("%v: %+v", args, got)
			}
		}
		// A hub's own folder that was emptied is no wrong folder.
		hub := t.TempDir()
		if err := errors.Join(os.Mkdir(filepath.Join(hub, "audit"), 0o700), os.WriteFile(filepath.Join(hub, "audit.pub"), []byte("x"), 0o600)); err != nil {
			t.Fatal(err)
		}
		if got := command(t, "audit", "verify", "--key-file", public, filepath.Join(hub, "audit")); got.code != 1 || !strings.Contains(got.err, "tampered") || !strings.Contains(got.err, "evidence") {
			t.Errorf("emptied: %+v", got)
		}
	})
	t.Run("nothing found", func(t *testing.T) {
		got := command(t, "audit", "export", "--patient", "p-x5m2c7aa", logDir)
		if got.code != 0 || got.out != "" || got.err != "0 of 10 entries\n" {
			t.Errorf("%+v", got)
		}
		// What can be no patient is no answer of "none".
		got = command(t, "audit", "export", "--patient", "Ada", logDir)
		if got.code != 2 || got.out != "" || !strings.Contains(got.err, `--patient "Ada": not the id of a patient`) {
			t.Errorf("a name: %+v", got)
		}
		if got := command(t, "audit", "export", "--patient", "a", logDir); got.err != "" {
			t.Errorf("some found: %+v", got)
		}
	})
	t.Run("proof", func(t *testing.T) {
		got := command(t, "audit", "prove", "--key-file", public, "--entry", "7", logDir)
		if got.code != 0 {
			t.Fatalf("%+v", got)
		}
		good := save("proof.json", []byte(got.out))
		if got := command(t, "audit", "check", "--key-file", public, good); got.code != 0 || !strings.Contains(got.out, "proven: entry 7 of 10") {
			t.Errorf("%+v", got)
		}
		bad := save("bad.json", []byte(strings.Replace(got.out, "p-2", "p-3", 1)))
		if got := command(t, "audit", "check", "--key-file", public, bad); got.code != 1 || strings.Contains(got.out, "proven") {
			t.Errorf("a changed entry: %+v", got)
		}
		if got := command(t, "audit", "prove", "--key-file", public, "--entry", "10", logDir); got.code != 2 {
			t.Errorf("no such entry: %+v", got)
		}
		if got := command(t, "audit", "check", "--key-file", public, public); got.code != 2 {
			t.Errorf("no proof: %+v", got)
		}
	})
	t.Run("rewritten with the right key", func(t *testing.T) {
		if err := os.RemoveAll(logDir); err != nil {
			t.Fatal(err)
		}
		write(open(), 10, "p-9")
		if got := command(t, "audit", "verify", "--key-file", public, logDir); got.code != 0 {
			t.Errorf("whole in itself: %+v", got)
		}
		got := command(t, "audit", "verify", "--key-file", public, "--witness", note, logDir)
		if got.code == 0 || !strings.Contains(got.err, "a witness saw") || !strings.Contains(got.err, "hint: keep the folder") {
			t.Errorf("with the witness: %+v", got)
		}
		got = command(t, "audit", "verify", "--key-file", public, "--witness", conflict, logDir)
		if got.code != 1 || strings.Contains(got.out, "contradicts nothing") || !strings.Contains(got.err, "hint: keep the folder") {
			t.Errorf("evidence that is right: %+v", got)
		}
	})
	if got := command(t, "audit", "verify", "--key-file", public, "--witness", filepath.Join(dir, "none"), logDir); got.code != 2 {
		t.Errorf("no witness there: %+v", got)
	}
}
