package hub

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"vitalseal/internal/hub/access"
	"vitalseal/internal/hub/directory"
	"vitalseal/internal/hub/fleet"
	"vitalseal/internal/hub/signin"
	"vitalseal/internal/hub/store"
	"vitalseal/internal/shared/audit"
	"vitalseal/internal/way/overlay"
	"vitalseal/internal/way/seal"
)

// Recovery is what an operator who holds a hub's root key and disk asks for while the hub is stopped, because no person can
// sign in any more, or because the overlay is another one.
type Recovery struct {
	// Workstation is the name of a new workstation that gets a ticket; empty for none.
	Workstation string
	// Admin is the login of an administrator who gets a one-time password, and may sign in again if disabled; empty for none.
	Admin string
	// ResetFactors takes the administrator's second factors and passkeys away.
	ResetFactors bool
	// Overlay makes an empty overlay know this hub and its components: new identities there, and a new ticket for each.
	Overlay bool
}

// Recovered is what came of a Recovery: files in the hub's data folder, to be used and deleted.
type Recovered struct {
	Ticket  string            `json:"workstation_ticket,omitempty"`
	SignIn  string            `json:"sign_in,omitempty"`
	Tickets map[string]string `json:"tickets,omitempty"` // by SPIFFE id, after Overlay
	// Disabled are components that have no identity on the new overlay until they are enabled and get a ticket.
	Disabled []string `json:"disabled,omitempty"`
}

const (
	recoveredSignIn  = "recovered-admin.json"
	recoveredTickets = "recovered-tickets"
	// recoverer is in the place of a person in the audit log: who holds the root key and the disk proved nothing else.
	recoverer     = "offline:recover"
	actionRecover = "hub:recover"
	// secretRecovered is the store's note of a recovery, which the next start announces.
	secretRecovered = "recovered"
)

// ErrNothingToRecover says that a Recovery asks for nothing.
var ErrNothingToRecover = errors.New("hub: recover: nothing is asked for")

// Recover does what r asks for. The hub must be stopped (store.ErrInUse, audit.ErrInUse otherwise), the root key must be there
// (ErrNoRootKey) and must open the store. Everything is written to the audit log before it is done; the next start of the hub
// announces it, and the log's witnesses get to know of it then. A new administrator is not made: the login must be one's.
func Recover(ctx context.Context, cfg Config, network Network, r Recovery, log *slog.Logger) (out Recovered, err error) {
	if err := cfg.Validate(); err != nil {
		return out, err
	}
	if r.Workstation == "" && r.Admin == "" && !r.Overlay {
		return out, ErrNothingToRecover
	}
	self := overlay.ID{Domain: cfg.Deployment, Kind: overlay.KindHub, Name: cfg.Name}
	desk := overlay.ID{Domain: cfg.Deployment, Kind: overlay.KindWorkstation, Name: r.Workstation}
	if r.Workstation != "" {
		if err := desk.Validate(); err != nil {
			return out, fmt.Errorf("hub: recover: workstation: %w", err)
		}
	}
	st, engine, trail, err := openStopped(ctx, cfg, log)
	if err != nil {
		return out, err
	}
	defer func() { err = errors.Join(err, trail.Close(), st.Close()) }()
	note := func(resource, reason string) error {
		return recordRecovery(ctx, st, trail, self, resource, reason)
	}
	if r.Admin != "" {
		if out.SignIn, err = recoverAdmin(ctx, cfg, st, engine, r, note, log); err != nil {
			return out, err
		}
	}
	if r.Workstation == "" && !r.Overlay {
		return out, nil
	}
	inv, err := stoppedInventory(ctx, cfg, network, st, engine, trail, self, r.Overlay, note, log)
	if err != nil {
		return out, err
	}
	if r.Overlay {
		if err := recoverOverlay(ctx, inv, cfg, &out); err != nil {
			return out, err
		}
	}
	if r.Workstation != "" {
		if err := note("identity:"+desk.String(), "a new workstation is invited"); err != nil {
			return out, err
		}
		ticket, err := inv.Invite(ctx, recoverer, []directory.Device{{ID: desk.String(), Kind: overlay.KindWorkstation}})
		if err != nil {
			return out, err
		}
		out.Ticket = filepath.Join(cfg.Data, "recovered-"+r.Workstation+".ticket")
		if err := writeSecretFile(out.Ticket, ticket); err != nil {
			return out, err
		}
	}
	return out, nil
}

// recordRecovery writes what is about to be done into the audit log, and where the hub's next start
// finds it.
//
//defence:recover-trace letting in again offline is in the audit log before it is done
func recordRecovery(ctx context.Context, st *store.Store, trail *audit.Log, self overlay.ID, resource, reason string) error {
	_, err := trail.Append(ctx, audit.Entry{Person: recoverer, Workstation: self.String(), Action: actionRecover, Resource: resource, Allowed: true, Reason: reason})
	if err == nil {
		err = noteRecovery(ctx, st, reason)
	}
	if err != nil {
		return fmt.Errorf("hub: recover: %w", err)
	}
	return nil
}

// openStopped opens what a stopped hub keeps. It makes nothing that is not there.
func openStopped(ctx context.Context, cfg Config, log *slog.Logger) (st *store.Store, engine *access.Engine, trail *audit.Log, err error) {
	key := filepath.Join(cfg.Data, rootKeyFile)
	if _, err := os.Stat(key); err != nil {
		return nil, nil, nil, fmt.Errorf("%w: recover needs it as proof: %w", ErrNoRootKey, err)
	}
	if left, err := storedBefore(ctx, cfg); err != nil || left == "" {
		return nil, nil, nil, errors.Join(err, fmt.Errorf("hub: recover: %s holds no hub that has ever started", cfg.Data))
	}
	keys, _, err := seal.OpenFileKeyStore(key)
	if err != nil {
		return nil, nil, nil, fmt.Errorf("hub: %w", err)
	}
	// Both are locked while this hub runs; a store in a database is not, because other hubs may have it.
	if st, err = openStore(ctx, cfg, keys, log); err != nil {
		return nil, nil, nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, st.Close())
			if trail != nil {
				err = errors.Join(err, trail.Close())
			}
		}
	}()
	if trail, err = audit.Open(filepath.Join(cfg.Data, "audit"), filepath.Join(cfg.Data, "audit.key"), log); err != nil {
		return st, nil, nil, fmt.Errorf("hub: recover: is this hub still running? %w", err)
	}
	policies, err := readPolicies(cfg.Policies)
	if err != nil {
		return st, nil, trail, err
	}
	if engine, err = access.New(st, trail, policies, log, access.WithEvents(logEvent(log))); err != nil {
		return st, nil, trail, fmt.Errorf("hub: %w", err)
	}
	return st, engine, trail, nil
}

// recoverAdmin gives an administrator a one-time password.
func recoverAdmin(ctx context.Context, cfg Config, st *store.Store, engine *access.Engine, r Recovery, note func(resource, reason string) error, log *slog.Logger) (file string, err error) {
	options, err := signInOptions(cfg)
	if err != nil {
		return "", err
	}
	people, err := signin.New(engine, st, log, options...)
	if err != nil {
		return "", fmt.Errorf("hub: recover: %w", err)
	}
	p, _, err := st.PersonByLogin(ctx, strings.ToLower(r.Admin))
	if errors.Is(err, store.ErrNotFound) || err == nil && p.Role != access.RoleAdmin {
		return "", fmt.Errorf("hub: recover: %w: %q is no administrator's login; these are: %s", store.ErrNotFound, r.Admin, administrators(ctx, st))
	}
	if err != nil {
		return "", fmt.Errorf("hub: recover: %w", err)
	}
	reason := "a one-time password for an administrator"
	if p.Disabled {
		reason += ", who was disabled"
	}
	if r.ResetFactors {
		reason += "; second factors reset"
	}
	if err := note("person:"+p.ID, reason); err != nil {
		return "", err
	}
	if r.ResetFactors {
		if err := people.ResetFactors(ctx, p.ID); err != nil {
			return "", fmt.Errorf("hub: recover: %w", err)
		}
	}
	password, err := people.OneTimePassword(ctx, p.ID)
	if err == nil {
		err = writeSignIn(filepath.Join(cfg.Data, recoveredSignIn), p.Login, password)
	}
	if err == nil && p.Disabled {
		err = st.SetPersonDisabled(ctx, p.ID, false)
	}
	if err != nil {
		return "", fmt.Errorf("hub: recover: %w", err)
	}
	return filepath.Join(cfg.Data, recoveredSignIn), nil
}

// administrators are the logins of all administrators, for a message.
func administrators(ctx context.Context, st *store.Store) string {
	people, err := st.Persons(ctx)
	if err != nil {
		return "not known: " + err.Error()
	}
	var logins []string
	for _, p := range people {
		if p.Role == access.RoleAdmin {
			logins = append(logins, p.Login)
		}
	}
	if len(logins) == 0 {
		return "none"
	}
	return strings.Join(logins, ", ")
}

// stoppedInventory is the inventory with the network's administration, for a hub that does not run. With anew the hub enrols
// on the overlay with the one-time tokens that a new, empty one wrote; what it knew of the old one is kept beside.
func stoppedInventory(ctx context.Context, cfg Config, network Network, st *store.Store, engine *access.Engine, trail *audit.Log, self overlay.ID,
	anew bool, note func(resource, reason string) error, log *slog.Logger) (*fleet.Inventory, error) {
	secrets, err := loadSecrets(ctx, st, cfg.Deployment)
	if err != nil {
		return nil, err
	}
	if anew {
		if err := note("overlay:"+cfg.Deployment, "a new overlay: the hub enrols there, and every component gets a new ticket"); err != nil {
			return nil, err
		}
		if err := enrolAnew(ctx, network, cfg); err != nil {
			return nil, err
		}
	}
	hubConfig, err := os.ReadFile(filepath.Join(cfg.Data, hubConfigFile)) // #nosec G304 -- the hub's own folder
	if err != nil {
		return nil, fmt.Errorf("hub: recover: the hub has no identity on the overlay: %w", err)
	}
	administration, err := network.Administer(ctx, filepath.Join(cfg.Data, adminConfigFile), log)
	if err != nil {
		return nil, fmt.Errorf("hub: recover: the overlay must run: %w", err)
	}
	inv := fleet.New(fleet.Config{Domain: cfg.Deployment, Self: self, Store: st, Network: administration, Below: network.Network,
		Authority: secrets.authority, Recipient: secrets.recipient.Recipient().Bytes(), TicketTTL: cfg.TicketLifetime, Rules: engine,
		Trail: trail, Log: log})
	if !anew {
		return inv, nil
	}
	err = fleet.KeepAdministrator(ctx, st, self, mustRead(filepath.Join(cfg.Data, adminConfigFile)))
	if err == nil {
		err = st.SetZitiID(ctx, self.String(), overlay.ZitiID(hubConfig))
	}
	if err != nil {
		return nil, fmt.Errorf("hub: recover: %w", err)
	}
	return inv, nil
}

// mustRead is a file that was read a moment ago; nothing if it is gone, which the caller then finds out.
func mustRead(path string) []byte {
	b, _ := os.ReadFile(path) // #nosec G304 -- the hub's own folder
	return b
}

// enrolAnew redeems the tokens of another overlay. What the hub knew of the old one goes aside only when both are redeemed;
// interrupted, it takes up where it was.
func enrolAnew(ctx context.Context, network overlay.Network, cfg Config) error {
	files := []struct{ config, token string }{{hubConfigFile, cfg.Overlay.HubToken}, {adminConfigFile, cfg.Overlay.AdminToken}}
	for _, f := range files {
		next := filepath.Join(cfg.Data, f.config+".next")
		if _, err := os.Stat(next); errors.Is(err, fs.ErrNotExist) {
			if _, err := os.Stat(f.token); err != nil {
				return fmt.Errorf("hub: recover: a new overlay writes one-time tokens at its first start, and this one is not there; name both in overlay: hub_token and admin_token: %w", err)
			}
		}
	}
	for _, f := range files {
		if _, err := enrolOnce(ctx, network, filepath.Join(cfg.Data, f.config+".next"), f.token, tokenIn(f.token)); err != nil {
			return err
		}
	}
	stamp := time.Now().UTC().Format("20060102T150405")
	for _, f := range files {
		path := filepath.Join(cfg.Data, f.config)
		if err := os.Rename(path, path+".old-"+stamp); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("hub: recover: %w", err)
		}
		if err := os.Rename(path+".next", path); err != nil {
			return fmt.Errorf("hub: recover: %w", err)
		}
	}
	return nil
}

// recoverOverlay makes the overlay what the inventory says, and writes a ticket for every component.
func recoverOverlay(ctx context.Context, v *fleet.Inventory, cfg Config, out *Recovered) error {
	if err := v.FirstReconcile(ctx); err != nil { // services and policies, before an identity has a role
		return err
	}
	tickets, failed := v.ReissueAll(ctx, recoverer)
	dir := filepath.Join(cfg.Data, recoveredTickets)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return errors.Join(failed, fmt.Errorf("hub: recover: %w", err))
	}
	out.Tickets = map[string]string{}
	for spiffeID, ticket := range tickets {
		id, err := overlay.ParseID(spiffeID)
		if err != nil {
			return errors.Join(failed, err)
		}
		path := filepath.Join(dir, id.Kind+"-"+id.Name+".ticket")
		if err := writeSecretFile(path, ticket); err != nil {
			return errors.Join(failed, err)
		}
		out.Tickets[spiffeID] = path
	}
	all, err := v.Devices(ctx)
	for id, d := range all {
		if d.State == directory.DeviceDisabled {
			out.Disabled = append(out.Disabled, id)
		}
	}
	return errors.Join(failed, err)
}

// noteRecovery remembers a recovery until the next start announces it.
func noteRecovery(ctx context.Context, st *store.Store, what string) error {
	_, err := st.UpdateSecret(ctx, secretRecovered, func(old []byte) ([]byte, error) {
		line := time.Now().UTC().Format(time.RFC3339) + " " + what + "\n"
		if len(old)+len(line) > 4096 {
			old = nil // the audit log has them all
		}
		return append(old, line...), nil
	})
	return err
}

// announceRecoveries tells of what was done to the stopped hub, once.
func announceRecoveries(ctx context.Context, st *store.Store, tell func(access.Event)) error {
	b, err := st.Secret(ctx, secretRecovered)
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("hub: %w", err)
	}
	for line := range strings.Lines(string(b)) {
		tell(access.Event{Kind: access.EventRecovery, Detail: "while the hub was stopped: " + strings.TrimSpace(line)})
	}
	if err := st.DeleteSecret(ctx, secretRecovered); err != nil {
		return fmt.Errorf("hub: %w", err)
	}
	return nil
}
