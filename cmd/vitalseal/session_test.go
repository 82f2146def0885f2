package main_test

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// TestCommandsProveTheSecondFactor runs an administration command as a user who has one, at a hub that asks for it.
func TestCommandsProveTheSecondFactor(t *testing.T) {
	var mu sync.Mutex
	var proofs []map[string]string
	methods := []string{"totp", "recovery"}
	hub := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		switch r.Method + " " + r.URL.Path {
		case "POST /api/session":
			_ = json.NewEncoder(w).Encode(map[string]any{"second_factor": map[string]any{"id": "pending", "methods": methods}})
		case "POST /api/session/second":
			var p map[string]string
			_ = json.NewDecoder(r.Body).Decode(&p)
			proofs = append(proofs, p)
			if strings.ReplaceAll(p["totp"], " ", "") != "123456" && p["recovery"] != "abcd-efgh" {
				w.WriteHeader(http.StatusUnauthorized)
			}
		case "GET /api/admin/wards":
			_, _ = w.Write([]byte(`[{"id":"ward-a","name":"Cardiology"}]`))
		case "DELETE /api/session":
		default:
			http.NotFound(w, r)
		}
	}))
	defer hub.Close()
	for _, c := range []struct {
		code string
		want int
		sent map[string]string
		err  string
	}{
		{"123456", 0, map[string]string{"id": "pending", "totp": "123456"}, ""},
		{"123 456", 0, map[string]string{"id": "pending", "totp": "123 456"}, ""}, // as typed: the hub tidies it
		{"abcd-efgh", 0, map[string]string{"id": "pending", "recovery": "abcd-efgh"}, ""},
		{"654321", 3, map[string]string{"id": "pending", "totp": "654321"}, "sign-in refused"},
		{"", 2, nil, "hint: set $VITALSEAL_TOTP"},
	} {
		proofs = nil
		cmd := exec.CommandContext(t.Context(), vitalseal(t), "ward", "list", "--url", hub.URL)
		cmd.Env = append(os.Environ(), "VITALSEAL_PASSWORD=x", "VITALSEAL_TOTP="+c.code)
		var out, errs bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &errs
		_ = cmd.Run() // how it ended is in the exit code
		mu.Lock()
		var sent map[string]string
		if len(proofs) > 0 {
			sent = proofs[0]
		}
		mu.Unlock()
		if cmd.ProcessState.ExitCode() != c.want || len(sent) != len(c.sent) || !strings.Contains(errs.String(), c.err) || c.want == 0 && !strings.Contains(out.String(), "Cardiology") {
			t.Errorf("%q: exit %d, sent %v\n%s%s", c.code, cmd.ProcessState.ExitCode(), sent, out.String(), errs.String())
		}
		for k, v := range c.sent {
			if sent[k] != v {
				t.Errorf("%q: sent %v, want %v", c.code, sent, c.sent)
			}
		}
	}
	mu.Lock()
	methods = []string{"passkey"}
	mu.Unlock()
	cmd := exec.CommandContext(t.Context(), vitalseal(t), "ward", "list", "--url", hub.URL)
	cmd.Env = append(os.Environ(), "VITALSEAL_PASSWORD=x")
	if b, err := cmd.CombinedOutput(); err == nil || !strings.Contains(string(b), "passkeys work in the browser only") {
		t.Errorf("%v %s", err, b)
	}
}

// TestConnectTrust prints what to do, changes nothing but making the authority, and says the same again.
func TestConnectTrust(t *testing.T) {
	data := t.TempDir()
	first := command(t, "connect", "trust", "--data", data)
	if first.code != 0 || !strings.Contains(first.out, filepath.Join(data, "connect-ca.pem")) || strings.Contains(first.out, "FILE") || strings.Contains(first.out, "SHA256") {
		t.Errorf("%+v", first)
	}
	for _, want := range []string{"update-ca-certificates", "nssdb", "Firefox", "add-trusted-cert", "-addstore Root"} {
		if !strings.Contains(first.out, want) {
			t.Errorf("nothing about %q", want)
		}
	}
	if again := command(t, "connect", "trust", "--data", data); again.out != first.out {
		t.Errorf("another authority: %s", again.out)
	}
	if got := command(t, "connect", "launch", "--data", data); got.code != 1 || !strings.Contains(got.err, "connect.json") {
		t.Errorf("no connect is running: %+v", got)
	}
}
