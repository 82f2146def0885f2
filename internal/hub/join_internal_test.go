package hub

import (
	"crypto/sha256"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"vitalseal/internal/overlay"
	"vitalseal/internal/seal"
	"vitalseal/internal/store"
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

// joiner is a hub of some name on a store that has had others.
func joiner(t *testing.T, st *store.Store, name string) *inventory {
	t.Helper()
	return &inventory{domain: "ward.example.org", self: overlay.ID{Domain: "ward.example.org", Kind: overlay.KindHub, Name: name}, store: st, log: slog.New(slog.DiscardHandler)}
}

// TestWhoMayJoin: the first hub comes by itself, another by its ticket alone, once; one that was disabled does not come back.
func TestWhoMayJoin(t *testing.T) {
	ctx, dir := t.Context(), t.TempDir()
	keys, _, err := seal.OpenFileKeyStore(filepath.Join(dir, "root.key"))
	must(t, err)
	st, err := store.Open(ctx, filepath.Join(dir, "store"), keys, slog.New(slog.DiscardHandler))
	must(t, err)
	defer func() { must(t, st.Close()) }()
	first, second := joiner(t, st, "hub"), joiner(t, st, "hub-2")
	must(t, first.registerSelf(ctx, nil, "1", nil))
	must(t, first.registerSelf(ctx, nil, "1", nil)) // a second start

	refused := func(what string, err error, want string) {
		t.Helper()
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", what, err, want)
		}
	}
	refused("nobody invited it", second.registerSelf(ctx, nil, "1", nil), "invite-hub hub-2")
	invited := func(secret string, ends time.Duration) *overlay.Ticket {
		t.Helper()
		must(t, st.CreateTicket(ctx, sha256.Sum256([]byte(secret)), []string{second.self.String()}, time.Now().Add(ends)))
		return &overlay.Ticket{Secret: secret, Components: []overlay.TicketComponent{{ID: second.self.String()}}}
	}
	must(t, st.CreateDevice(ctx, store.Device{ID: second.self.String(), Kind: overlay.KindHub, State: store.DeviceInvited}))
	refused("without its ticket", second.registerSelf(ctx, nil, "1", nil), "overlay: ticket")
	refused("a ticket of another secret", second.registerSelf(ctx, nil, "1", &overlay.Ticket{Secret: "guessed"}), "not found")
	refused("a ticket that has ended", second.registerSelf(ctx, nil, "1", invited("old", -time.Minute)), "expired")
	good := invited("good", time.Hour)
	must(t, second.registerSelf(ctx, nil, "1", good))
	must(t, second.registerSelf(ctx, nil, "1", nil)) // later starts need none
	if d, err := st.Device(ctx, second.self.String()); err != nil || d.State != store.DeviceActive || d.Enrolled.IsZero() {
		t.Errorf("joined: %+v, %v", d, err)
	}
	third := joiner(t, st, "hub-3")
	must(t, st.CreateDevice(ctx, store.Device{ID: third.self.String(), Kind: overlay.KindHub, State: store.DeviceInvited}))
	refused("another hub's ticket", third.registerSelf(ctx, nil, "1", good), "")

	must(t, st.SetDeviceState(ctx, second.self.String(), store.DeviceDisabled))
	if err := second.registerSelf(ctx, nil, "1", nil); !errors.Is(err, errHubOut) {
		t.Errorf("a disabled hub starts: %v", err)
	}
	if err := second.alive(ctx); !errors.Is(err, errHubOut) {
		t.Errorf("a disabled hub goes on: %v", err)
	}
	if err := first.mayLeave(ctx); err == nil {
		t.Error("the only hub that is active may be disabled: nobody could let it in again")
	}
	must(t, st.SetDeviceState(ctx, second.self.String(), store.DeviceActive))
	must(t, first.mayLeave(ctx))
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
