package main_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestThingSpeakImportCommand: an export goes into a free channel once, however often it is imported; a mistake names its line and changes
// nothing; a patient's channel takes nothing; an export without envelopes opens to nothing.
func TestThingSpeakImportCommand(t *testing.T) {
	d := startDemo(t, "--patients", "1")
	d.awaitNumber(t)
	admin := d.ward(t).Admin
	run := func(args ...string) ran {
		t.Helper()
		c := exec.CommandContext(t.Context(), vitalseal(t), append(args, "--url", d.url(), "--login", admin.Login)...)
		c.Env = append(os.Environ(), "VITALSEAL_PASSWORD="+admin.Password)
		var out, errs strings.Builder
		c.Stdout, c.Stderr = &out, &errs
		_ = c.Run() // how it ended is in the exit code
		return ran{out.String(), errs.String(), c.ProcessState.ExitCode()}
	}
	file := func(text string) string {
		path := filepath.Join(t.TempDir(), "export.csv")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	var made struct{ ID, Channel int64 }
	d.as(t, "admin").post("/api/admin/channels", map[string]any{"name": "Fridge", "fields": []string{"temperature"}}, &made)
	channel := "2" // the patient has the first
	good := file("created_at,entry_id,field1\n2026-02-26 21:27:21 UTC,1,21.5\n2026-02-26 21:27:36 UTC,2,-3\n")
	own := file("created_at,entry_id,field1\n2026-01-01 00:00:00 UTC,1,36.5\n2026-01-01 00:00:00 UTC,2,99.9\n2026-01-01 00:01:00 UTC,3,\n2026-01-01 00:02:00 UTC,4,36.5\n")
	bad := file("created_at,entry_id,field1\n2026-02-26 21:27:21 UTC,1,21.5\nyesterday,2,-3\n")
	for _, c := range []struct {
		name string
		args []string
		code int
		want string // in either output
	}{
		{"mistake", []string{"import", bad, "--channel", channel}, 1, "line 3"},
		{"rows without values, two of one second", []string{"import", own, "--channel", channel}, 0, "3 entries, 3 of them new\n1 rows without any value left out"},
		{"those again", []string{"import", own, "--channel", channel, "--json"}, 0, `"added":0,"empty":1,"entries":3`},
		{"first", []string{"import", good, "--channel", channel}, 0, "2 entries, 2 of them new"},
		{"again", []string{"import", good, "--channel", channel, "--json"}, 0, `"added":0`},
		{"patient's", []string{"import", good, "--channel", "1"}, 1, ""},
		{"no number", []string{"import", good, "--channel", "x"}, 2, "not a number"},
		{"no file", []string{"import", good + ".no", "--channel", channel}, 2, "no such file"},
		{"open nothing", []string{"open", "--channel", channel, "--file", good}, 0, "0 readings opened"},
		{"open too many", []string{"open", "--channel", channel, "--file", good, "--results", "9000"}, 2, "not within 1 to 8000"},
	} {
		r := run(append([]string{"thingspeak"}, c.args...)...)
		if code := r.code; code != c.code && (c.name != "patient's" || code == 0) || !strings.Contains(r.out+r.err, c.want) {
			t.Errorf("%s: %d\n%s%s", c.name, r.code, r.out, r.err)
		}
	}
}
