package connect_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"vitalseal/internal/shared/audit"
	"vitalseal/internal/workstation/connect"
)

// trail is a hub's audit log in a folder, whose entries are told apart by who.
func trail(t testing.TB, dir string, entries int, who string) *audit.Log {
	t.Helper()
	l, err := audit.Open(filepath.Join(dir, "audit"), filepath.Join(dir, "audit.key"), quiet)
	must(t, err)
	for range entries {
		_, err := l.Append(t.Context(), audit.Entry{Person: who, Action: "patient:view", Allowed: true})
		must(t, err)
	}
	must(t, l.Close()) // signs
	l, err = audit.Open(filepath.Join(dir, "audit"), filepath.Join(dir, "audit.key"), quiet)
	must(t, err)
	return l
}

// stating is a hub that states its log to every client; told counts.
func stating(l *audit.Log, told chan<- struct{}) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set(connect.AlarmHeader, "the hub has no say in this")
		if r.URL.Path != "/api/audit/checkpoint" {
			w.Header().Set("Content-Type", "text/html")
			fmt.Fprint(w, "the hub's page")
			return
		}
		from, err := strconv.ParseInt(r.URL.Query().Get("from"), 10, 64)
		if err != nil {
			http.Error(w, "from", http.StatusBadRequest)
			return
		}
		c, err := l.Consistency(from)
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		_ = json.NewEncoder(w).Encode(c)
		select {
		case told <- struct{}{}:
		default:
		}
	}
}

func within(t testing.TB, what string, ok func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-ctx.Done():
			t.Fatalf("waited for %s", what)
		case <-tick.C:
		}
	}
}

// TestWorkstationIsAWitness lets a workstation see an honest log, then a longer one, then one that
// its owner has rewritten with the right key.
func TestWorkstationIsAWitness(t *testing.T) {
	hub, data := t.TempDir(), t.TempDir()
	here := func(c *connect.Config, _ *connect.Door) {
		if c != nil {
			c.Data = data
		}
	}
	note := filepath.Join(data, "witness.note")
	size := func() int64 {
		_, c, err := audit.ReadWitness(note)
		if err != nil {
			return -1
		}
		return c.Size
	}
	page := []string{"Accept", "text/html", "Sec-Fetch-Dest", "document", "Sec-Fetch-Site", "none"}
	told := make(chan struct{}, 1)

	l := trail(t, hub, 5, "honest")
	for _, want := range []int64{5, 8} {
		p := openWith(t, stating(l, told), here, plain)
		within(t, "the witness to remember", func() bool { return size() == want })
		got := p.ask(p.browser(), "GET", "http://"+p.addr+"/", page...)
		if text := body(t, got); got.StatusCode != 200 || text != "the hub's page" || got.Header.Get(connect.AlarmHeader) != "" {
			t.Errorf("with %d entries: %d %q %q", want, got.StatusCode, text, got.Header.Get(connect.AlarmHeader))
		}
		p.close()
		must(t, l.Close())
		l = trail(t, hub, 3, "honest")
	}
	must(t, l.Close())
	remembered, err := os.ReadFile(note)
	must(t, err)

	must(t, os.RemoveAll(filepath.Join(hub, "audit")))
	l = trail(t, hub, 20, "forged")
	defer func() { must(t, l.Close()) }()
	p := openWith(t, stating(l, told), here, plain)
	b := p.browser()
	within(t, "the alarm", func() bool {
		return p.ask(b, "GET", "http://"+p.addr+"/x").Header.Get(connect.AlarmHeader) == "1"
	})
	within(t, "the alarm in the log", func() bool {
		return strings.Contains(p.log.String(), "level=ERROR") && strings.Contains(p.log.String(), "AUDIT LOG NOT TO BE TRUSTED")
	})
	if now, err := os.ReadFile(note); err != nil || string(now) != string(remembered) {
		t.Errorf("the good checkpoint was replaced (%v)", err)
	}
	if _, err := os.Stat(note + ".conflict"); err != nil {
		t.Error(err)
	}
	got := p.ask(b, "GET", "http://"+p.addr+"/", page...)
	if text := body(t, got); got.StatusCode != http.StatusServiceUnavailable || !strings.Contains(text, "cannot be trusted") || strings.Contains(text, "the hub's page") {
		t.Errorf("the page: %d %s", got.StatusCode, text)
	}
	// Patients must still be seen to: one press, and the alarm stays on every answer.
	if got := p.ask(b, "POST", "http://"+p.addr+"/connect/witness", "Origin", "http://"+p.addr); got.StatusCode != http.StatusSeeOther {
		t.Errorf("the button: %d", got.StatusCode)
	}
	got = p.ask(b, "GET", "http://"+p.addr+"/", page...)
	if text := body(t, got); text != "the hub's page" || got.Header.Get(connect.AlarmHeader) != "1" {
		t.Errorf("after the button: %d %s", got.StatusCode, text)
	}
	p.close()

	// A restart forgets nothing, and neither does the hub's return to a log that looks right.
	p = openWith(t, nil, here, plain)
	if got := p.ask(p.browser(), "GET", "http://"+p.addr+"/x"); got.Header.Get(connect.AlarmHeader) != "1" {
		t.Error("a restart ends the alarm")
	}
	p.close()

	// What is damaged is loud as well, and stays.
	must(t, os.Remove(note+".conflict"))
	must(t, os.WriteFile(note, []byte("x"), 0o600))
	p = openWith(t, nil, here, plain)
	if got := p.ask(p.browser(), "GET", "http://"+p.addr+"/x"); got.Header.Get(connect.AlarmHeader) != "1" {
		t.Error("a damaged memory is no alarm")
	}
}
