package fleet

import (
	"crypto/sha256"
	"errors"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"vitalseal/internal/hub/directory"
	"vitalseal/internal/hub/store"
	"vitalseal/internal/way/overlay"
	"vitalseal/internal/way/seal"
)

// joiner is a hub of some name on a store that has had others.
func joiner(t *testing.T, st *store.Store, name string) *Inventory {
	t.Helper()
	return &Inventory{domain: "ward.example.org", self: overlay.ID{Domain: "ward.example.org", Kind: overlay.KindHub, Name: name}, store: st, log: slog.New(slog.DiscardHandler)}
}

// TestWhoMayJoin: the first hub comes by itself, another by its ticket alone, once; one that was disabled does not come back.
func TestWhoMayJoin(t *testing.T) {
	ctx, dir := t.Context(), t.TempDir()
	keys, _, err := seal.OpenFileKeyStore(filepath.Join(dir, "root.key"))
	noError(t, err)
	st, err := store.Open(ctx, filepath.Join(dir, "store"), keys, slog.New(slog.DiscardHandler))
	noError(t, err)
	defer func() { noError(t, st.Close()) }()
	first, second := joiner(t, st, "hub"), joiner(t, st, "hub-2")
	noError(t, first.RegisterSelf(ctx, nil, "1", nil))
	noError(t, first.RegisterSelf(ctx, nil, "1", nil)) // a second start

	refused := func(what string, err error, want string) {
		t.Helper()
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", what, err, want)
		}
	}
	refused("it was not invited", second.RegisterSelf(ctx, nil, "1", nil), "invite-hub hub-2")
	invited := func(secret string, ends time.Duration) *overlay.Ticket {
		t.Helper()
		noError(t, st.CreateTicket(ctx, sha256.Sum256([]byte(secret)), []string{second.self.String()}, time.Now().Add(ends)))
		return &overlay.Ticket{Secret: secret, Components: []overlay.TicketComponent{{ID: second.self.String()}}}
	}
	noError(t, st.CreateDevice(ctx, directory.Device{ID: second.self.String(), Kind: overlay.KindHub, State: directory.DeviceInvited}))
	refused("without its ticket", second.RegisterSelf(ctx, nil, "1", nil), "overlay: ticket")
	refused("a ticket of another secret", second.RegisterSelf(ctx, nil, "1", &overlay.Ticket{Secret: "guessed"}), "not found")
	refused("a ticket that has ended", second.RegisterSelf(ctx, nil, "1", invited("old", -time.Minute)), "expired")
	good := invited("good", time.Hour)
	noError(t, second.RegisterSelf(ctx, nil, "1", good))
	noError(t, second.RegisterSelf(ctx, nil, "1", nil)) // later starts need none
	if d, err := st.Device(ctx, second.self.String()); err != nil || d.State != directory.DeviceActive || d.Enrolled.IsZero() {
		t.Errorf("joined: %+v, %v", d, err)
	}
	third := joiner(t, st, "hub-3")
	noError(t, st.CreateDevice(ctx, directory.Device{ID: third.self.String(), Kind: overlay.KindHub, State: directory.DeviceInvited}))
	refused("another hub's ticket", third.RegisterSelf(ctx, nil, "1", good), "")

	noError(t, st.SetDeviceState(ctx, second.self.String(), directory.DeviceDisabled))
	if err := second.RegisterSelf(ctx, nil, "1", nil); !errors.Is(err, errHubOut) {
		t.Errorf("a disabled hub starts: %v", err)
	}
	if err := second.Alive(ctx); !errors.Is(err, errHubOut) {
		t.Errorf("a disabled hub goes on: %v", err)
	}
	if err := first.mayLeave(ctx); err == nil {
		t.Error("the only hub that is active may be disabled: no other could let it in again")
	}
	noError(t, st.SetDeviceState(ctx, second.self.String(), directory.DeviceActive))
	noError(t, first.mayLeave(ctx))
}

func noError(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
