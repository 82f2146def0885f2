package connect_test

import (
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"vitalseal/internal/shared/audit"
	"vitalseal/internal/workstation/connect"
)

// TestConnectJudgesWhatIsShown: the end of the audit log is proven on its way to the page, whatever
// the page does; a changed entry and a cut tail do not get there, are kept, and alarm over a
// restart.
func TestConnectJudgesWhatIsShown(t *testing.T) {
	hub, data := t.TempDir(), t.TempDir()
	l := trail(t, hub, 9, "honest")
	defer func() { must(t, l.Close()) }()
	var change atomic.Pointer[func(*audit.Tail)]
	polled := stating(l, nil)
	serve := func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/api/admin/audit/proven" {
			polled(w, r)
			return
		}
		tail, err := l.Tail(5, 0)
		must(t, err)
		if f := change.Load(); f != nil {
			(*f)(&tail)
		}
		w.Header().Set(connect.ProofHeader, "proven")
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(tail)
	}
	here := func(c *connect.Config, _ *connect.Door) {
		if c != nil {
			c.Data = data
		}
	}
	p := openWith(t, serve, here, plain)
	base := "http://" + p.addr
	within(t, "the workstation to remember the log", func() bool {
		_, c, err := audit.ReadWitness(filepath.Join(data, "witness.note"))
		return err == nil && c.Size == 9
	})
	got := p.ask(p.browser(), "GET", base+"/api/admin/audit/proven")
	if text := body(t, got); got.StatusCode != 200 || got.Header.Get(connect.ProofHeader) != "proven" || !strings.Contains(text, "honest") {
		t.Errorf("honest: %d %q %s", got.StatusCode, got.Header.Get(connect.ProofHeader), text)
	}
	got = p.ask(p.browser(), "GET", base+"/connect/logs")
	var own struct {
		Logs  []audit.Sighting   `json:"logs"`
		State audit.WitnessState `json:"state"`
	}
	if err := json.Unmarshal([]byte(body(t, got)), &own); err != nil || len(own.Logs) != 1 || own.Logs[0].Key != l.VerifierKey() || own.State.Alarm != "" {
		t.Errorf("what the workstation remembers: %+v %v", own, err)
	}
	for what, f := range map[string]func(*audit.Tail){
		"a changed entry": func(x *audit.Tail) { x.Entries[2] = strings.Replace(x.Entries[2], "honest", "forged", 1) },
		"a cut tail":      func(x *audit.Tail) { x.Entries = x.Entries[:3] },
	} {
		change.Store(&f)
		got := p.ask(p.browser(), "GET", base+"/api/admin/audit/proven")
		if text := body(t, got); got.StatusCode != http.StatusBadGateway || got.Header.Get(connect.ProofHeader) != "refused" || strings.Contains(text, "forged") || !strings.Contains(text, "security officer") {
			t.Errorf("%s: %d %s", what, got.StatusCode, text)
		}
	}
	if _, err := os.Stat(filepath.Join(data, "shown.conflict")); err != nil {
		t.Error(err)
	}
	p.close()
	change.Store(nil)
	p = openWith(t, serve, here, plain)
	if got := p.ask(p.browser(), "GET", "http://"+p.addr+"/x"); got.Header.Get(connect.AlarmHeader) != "1" {
		t.Error("a restart ends the alarm")
	}
}
