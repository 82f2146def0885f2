package hub

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"vitalseal/internal/hub/access"
	"vitalseal/internal/hub/directory"
	"vitalseal/internal/hub/fleet"
	"vitalseal/internal/hub/signin"
	"vitalseal/internal/hub/store"
	"vitalseal/internal/way/overlay"
)

// Files that a hub writes for the operator to use and delete.
const (
	firstTicketFile = "first-workstation.ticket"
	firstSignInFile = "first-admin.json"
	// secretFirstTicket is the store's note of when the first workstation's ticket ends.
	secretFirstTicket = "first-ticket"
	// firstTicketEvery is how often the hub looks whether that ticket has ended; firstTicketLeft is how much of its life must
	// be left.
	firstTicketEvery = 10 * time.Minute
	firstTicketLeft  = 5 * time.Minute
)

// firstStart makes the first administrator and the first workstation's ticket, so that there is a way in. Each is written
// once; the files are the operator's to use and delete. The ticket is written again while no workstation has enrolled.
func firstStart(ctx context.Context, cfg Config, st *store.Store, inv *fleet.Inventory, log *slog.Logger) error {
	people, err := st.Persons(ctx)
	if err != nil {
		return fmt.Errorf("hub: %w", err)
	}
	if len(people) > 0 {
		if err := renewFirstTicket(ctx, cfg, st, inv, time.Now(), log); err != nil {
			log.Warn("no new ticket for the first workstation", "err", err)
		}
		return nil
	}
	// The ticket goes first: if we are interrupted in between, the next start makes both again.
	device := directory.Device{ID: overlay.ID{Domain: cfg.Deployment, Kind: overlay.KindWorkstation, Name: "first"}.String(),
		Kind: overlay.KindWorkstation}
	if old, err := st.Device(ctx, device.ID); err == nil && old.State == directory.DeviceInvited {
		if err := inv.Remove(ctx, device.ID, ""); err != nil {
			return err
		}
		device.ID = overlay.ID{Domain: cfg.Deployment, Kind: overlay.KindWorkstation, Name: "first-" + shortRandom()}.String()
	}
	ticket, err := inv.Invite(ctx, "first start", []directory.Device{device})
	if err != nil {
		return err
	}
	if err := writeFirstTicket(ctx, cfg, st, ticket); err != nil {
		return err
	}
	password := rand.Text()
	if err := writeSignIn(filepath.Join(cfg.Data, firstSignInFile), "admin", password); err != nil {
		return err
	}
	hash, err := signin.HashPassword(password)
	if err != nil {
		return fmt.Errorf("hub: %w", err)
	}
	if _, err := st.CreatePerson(ctx, access.Person{Login: "admin", DisplayName: "Administrator", Role: access.RoleAdmin, MustChangePassword: true}, hash); err != nil {
		return fmt.Errorf("hub: %w", err)
	}
	log.Warn("first start: use "+firstTicketFile+" and "+firstSignInFile+" in the data folder, then delete both", "data", cfg.Data)
	return nil
}

// writeSignIn writes a login with its one-time password.
func writeSignIn(path, login, password string) error {
	b, err := json.MarshalIndent(map[string]string{"login": login, "password": password}, "", "  ")
	if err != nil {
		return fmt.Errorf("hub: %w", err)
	}
	return writeSecretFile(path, append(b, '\n'))
}

// writeFirstTicket writes the first workstation's ticket, and notes when it ends.
func writeFirstTicket(ctx context.Context, cfg Config, st *store.Store, ticket []byte) error {
	if err := writeSecretFile(filepath.Join(cfg.Data, firstTicketFile), ticket); err != nil {
		return err
	}
	t, err := overlay.ParseTicket(ticket)
	if err != nil {
		return fmt.Errorf("hub: %w", err)
	}
	b, err := t.Expires.MarshalText()
	if err == nil {
		_, err = st.UpdateSecret(ctx, secretFirstTicket, func([]byte) ([]byte, error) { return b, nil })
	}
	if err != nil {
		return fmt.Errorf("hub: %w", err)
	}
	return nil
}

// keepFirstTicket sees to it that there is a good ticket for the first workstation until one has enrolled.
func keepFirstTicket(ctx context.Context, cfg Config, st *store.Store, inv *fleet.Inventory, log *slog.Logger) {
	tick := time.NewTicker(firstTicketEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if err := renewFirstTicket(ctx, cfg, st, inv, time.Now(), log); err != nil && ctx.Err() == nil {
			log.Warn("no new ticket for the first workstation", "err", err)
		}
	}
}

// renewFirstTicket writes the first workstation's ticket again if it has ended, or is about to, and no workstation ever
// enrolled: until then no person has another way to a ticket.
func renewFirstTicket(ctx context.Context, cfg Config, st *store.Store, inv *fleet.Inventory, now time.Time, log *slog.Logger) error {
	all, err := inv.Devices(ctx)
	if err != nil {
		return err
	}
	first := ""
	for _, d := range all {
		switch {
		case d.Kind != overlay.KindWorkstation:
		case !d.Enrolled.IsZero():
			return nil
		case d.State == directory.DeviceInvited && d.Mode == "" && (first == "" || d.ID < first):
			first = d.ID
		}
	}
	ends, err := firstTicketEnds(ctx, cfg, st)
	if err != nil || now.Add(firstTicketLeft).Before(ends) {
		return err
	}
	var ticket []byte
	if first != "" {
		ticket, err = inv.ReissueAny(ctx, "first start", first)
	} else {
		first = overlay.ID{Domain: cfg.Deployment, Kind: overlay.KindWorkstation, Name: "first-" + shortRandom()}.String()
		ticket, err = inv.Invite(ctx, "first start", []directory.Device{{ID: first, Kind: overlay.KindWorkstation}})
	}
	if err != nil {
		return err
	}
	if err := writeFirstTicket(ctx, cfg, st, ticket); err != nil {
		return err
	}
	log.Warn("no workstation has enrolled and the first ticket has ended: a new one is in the data folder", "file", firstTicketFile, "identity", first)
	return nil
}

// firstTicketEnds is when the ticket that was written last ends; zero if that is not known.
func firstTicketEnds(ctx context.Context, cfg Config, st *store.Store) (ends time.Time, err error) {
	switch b, err := st.Secret(ctx, secretFirstTicket); {
	case err == nil:
		return ends, ends.UnmarshalText(b)
	case !errors.Is(err, store.ErrNotFound):
		return ends, err
	}
	// Of a version that noted nothing: what the file says.
	t, err := overlay.ReadTicket(filepath.Join(cfg.Data, firstTicketFile))
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, overlay.ErrTicketInvalid) {
		return ends, nil
	}
	return t.Expires, err
}

func shortRandom() string { return fmt.Sprintf("%x", rand.Text()[:4]) }
