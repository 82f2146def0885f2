package hub

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"vitalseal/internal/way/overlay"
)

// TestConnectionStringInAFile: it is read from a file of ours alone, and no error repeats it.
func TestConnectionStringInAFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "database")
	for _, x := range []struct {
		content string
		mode    os.FileMode
		want    string // "": refused
	}{
		{" postgres://hub:geheim@/v?host=/run/postgresql\n", 0o600, "postgres://hub:geheim@/v?host=/run/postgresql"},
		{"postgres://hub:geheim@/v", 0o640, ""},
		{"postgres://hub:geheim@/v", 0o604, ""},
		{"\n", 0o600, ""},
		{strings.Repeat("geheim", 1000), 0o600, ""},
	} {
		if err := os.WriteFile(path, []byte(x.content), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, x.mode); err != nil {
			t.Fatal(err)
		}
		got, err := readDSN(path)
		if got != x.want || (err == nil) != (x.want != "") || err != nil && strings.Contains(err.Error(), "geheim") {
			t.Errorf("%q, mode %o: %q, %v", x.content[:min(len(x.content), 30)], x.mode, got, err)
		}
	}
	if _, err := readDSN(path + ".none"); err == nil {
		t.Error("a file that is not there")
	}
}

// TestTicketsOfOtherHubs: a ticket of another deployment, or for another name, is refused before anything is enrolled.
func TestTicketsOfOtherHubs(t *testing.T) {
	authority, err := overlay.NewAuthority("ward.example.org")
	must(t, err)
	other, err := overlay.NewAuthority("ward.example.org")
	must(t, err)
	self := overlay.ID{Domain: "ward.example.org", Kind: overlay.KindHub, Name: "hub-2"}
	path := filepath.Join(t.TempDir(), "ticket")
	cfg := Default()
	cfg.Overlay.Ticket = path
	if got, err := readTicket(cfg, self, authority); got != nil || err != nil {
		t.Errorf("one that was used and deleted: %v, %v", got, err)
	}
	write := func(a *overlay.Authority, id string) {
		t.Helper()
		must(t, overlay.WriteTicket(path, overlay.Ticket{Version: 1, Deployment: "ward.example.org", Kind: overlay.KindHub, RootSHA256: overlay.HexSHA256(a.Root().Raw),
			RecipientSHA256: strings.Repeat("0", 64), Secret: overlay.NewTicketSecret(), Expires: time.Now().Add(time.Hour),
			Components: []overlay.TicketComponent{{ID: id, ZitiJWT: "token"}}}))
	}
	write(other, self.String())
	if _, err := readTicket(cfg, self, authority); !errors.Is(err, overlay.ErrTicketInvalid) || !strings.Contains(err.Error(), "another deployment") {
		t.Errorf("another deployment's: %v", err)
	}
	write(authority, "spiffe://ward.example.org/hub/hub-3")
	if _, err := readTicket(cfg, self, authority); !errors.Is(err, overlay.ErrTicketInvalid) || !strings.Contains(err.Error(), "hub-3") {
		t.Errorf("another name's: %v", err)
	}
	write(authority, self.String())
	if got, err := readTicket(cfg, self, authority); err != nil || got == nil {
		t.Errorf("its own: %v", err)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
