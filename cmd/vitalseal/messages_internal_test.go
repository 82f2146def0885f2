package main

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"vitalseal/internal/hub"
	"vitalseal/internal/hub/store"
	"vitalseal/internal/shared/cli"
	"vitalseal/internal/workstation/client"
)

// TestAnAddressOfAnotherMachine: the overlay and a router do not start over and over on an address that they cannot listen on.
func TestAnAddressOfAnotherMachine(t *testing.T) {
	for _, address := range []string{"", "127.0.0.1:0", "0.0.0.0:1280", "[::]:0", "localhost:0", "not an address"} {
		if err := ownAddresses(t.Context(), listens{"controller", address}); err != nil {
			t.Errorf("%q: %v", address, err)
		}
	}
	err := ownAddresses(t.Context(), listens{"controller", "127.0.0.1:0"}, listens{"router", "192.0.2.99:3022"})
	code, hint := cli.Explain(err)
	if err == nil || code != cli.WrongUsage {
		t.Fatalf("%d: %v", code, err)
	}
	for _, want := range []string{"--router 192.0.2.99:3022: this machine has no address 192.0.2.99; it has ", "127.0.0.1"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("the error lacks %q: %v", want, err)
		}
	}
	for _, want := range []string{"--router", "--advertise"} {
		if !strings.Contains(hint, want) {
			t.Errorf("the hint lacks %q: %s", want, hint)
		}
	}
}

// TestHints: an error that has a remedy comes with it.
func TestHints(t *testing.T) {
	for _, c := range []struct {
		err  error
		hint string
	}{
		{&client.StatusError{Status: http.StatusBadRequest, Message: `field "ward": no ward "icuu"`}, "`vitalseal ward list`"},
		{&client.StatusError{Status: http.StatusBadRequest, Message: `field "wards": no ward "icuu"`}, "`vitalseal ward list`"},
		{&client.StatusError{Status: http.StatusBadRequest, Message: `field "bed": no bed "b"`}, "`vitalseal bed list`"},
		{&client.StatusError{Status: http.StatusBadGateway, Message: "the hub cannot be reached from this workstation"}, "`vitalseal hub`"},
	} {
		if _, hint := cli.Explain(fmt.Errorf("x: %w", c.err)); !strings.Contains(hint, c.hint) {
			t.Errorf("%v: hint %q lacks %q", c.err, hint, c.hint)
		}
	}
}

// TestNotATicket: what is no ticket is named, with what it is and where tickets are; nothing of it is shown.
func TestNotATicket(t *testing.T) {
	dir := t.TempDir()
	for _, c := range []struct{ name, text, want, hint string }{
		{"first-admin.json", `{"login":"admin","password":"s3cret-word"}`, "it holds a sign-in", ""},
		{"other.json", `{"data":"s3cret-word"}`, "it has no version", ""},
		{"new.ticket", `{"version":7,"secret":"s3cret-word"}`, "version 7 is not 1", ""},
		{"hub.jwt", `eyJ.s3cret-word`, "not a ticket's JSON", ""},
		{"missing.ticket", "", "missing.ticket", "first-workstation.ticket, is in the hub's data folder"},
	} {
		path := filepath.Join(dir, c.name)
		if c.text != "" {
			if err := os.WriteFile(path, []byte(c.text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		_, err := readTicket(path, nil)
		code, hint := cli.Explain(err)
		if err == nil || code != cli.WrongUsage || !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), c.want) || !strings.Contains(hint, c.hint) {
			t.Errorf("%s: exit %d: %v; hint: %s", c.name, code, err, hint)
		}
		if err != nil && strings.Contains(err.Error(), "s3cret") {
			t.Errorf("the error shows the content: %v", err)
		}
	}
}

// TestASecondHubOnAFolder: the error says which folder and what holds it.
func TestASecondHubOnAFolder(t *testing.T) {
	err := inUse(fmt.Errorf("hub: %w", store.ErrInUse), "/var/lib/vitalseal/hub")
	if !errors.Is(err, store.ErrInUse) || !strings.HasPrefix(err.Error(), "another `vitalseal hub` runs on the folder /var/lib/vitalseal/hub: ") {
		t.Error(err)
	}
}

// TestAFileThatIsMissing: the hint is about the file that is missing, not about another one.
func TestAFileThatIsMissing(t *testing.T) {
	dir := t.TempDir()
	cfg := hub.Default()
	cfg.Policies, cfg.Overlay.HubToken, cfg.Overlay.AdminToken = filepath.Join(dir, "own.cedar"), filepath.Join(dir, "hub.jwt"), filepath.Join(dir, "hub-admin.jwt")
	for file, want := range map[string]string{cfg.Policies: "policy show", cfg.Overlay.HubToken: "hub_token", cfg.Overlay.AdminToken: "admin_token", filepath.Join(dir, "x"): ""} {
		_, err := os.ReadFile(file)
		_, hint := cli.Explain(withFile(cfg, fmt.Errorf("hub: configuration: %w", err)))
		if !strings.Contains(hint, want) || want == "" && strings.Contains(hint, "token") || want == "policy show" && strings.Contains(hint, "token") {
			t.Errorf("%s: hint %q", file, hint)
		}
	}
}
