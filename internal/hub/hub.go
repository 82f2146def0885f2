// Package hub assembles where sealed readings arrive: overlay services in, sealed store in the middle, faces out. Read
// Run from top to bottom: it is in the order data flows.
//
// It hides the first-start ceremony (authority, recipient key, first administrator and workstation), joining other hubs (join.go), and the tie between
// a component's two halves, its place in our inventory and its identity on the overlay. It guarantees that nothing is
// served before store, audit and policy are open, that every connection comes from a component that the inventory calls
// active, that disabling a component closes its live connections here and on the overlay, and that when any part fails the
// hub stops as a whole, loudly. It opens no network port. It does not protect against an attacker who holds its root key and disk.
package hub

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"vitalseal/internal/hub/access"
	"vitalseal/internal/hub/fleet"
	"vitalseal/internal/hub/ingest"
	"vitalseal/internal/hub/signin"
	"vitalseal/internal/hub/store"
	"vitalseal/internal/shared/audit"
	"vitalseal/internal/shared/disk"
	"vitalseal/internal/shared/process"
	"vitalseal/internal/view/admin"
	"vitalseal/internal/view/api"
	"vitalseal/internal/view/cloud"
	"vitalseal/internal/view/dashboard"
	"vitalseal/internal/view/thingspeak"
	"vitalseal/internal/way/overlay"
	"vitalseal/internal/way/overlay/manage"
	"vitalseal/internal/way/seal"
)

// Network is the overlay as the hub needs it.
type Network struct {
	overlay.Network
	// Administer opens the management of the network with an administrator's configuration file.
	Administer func(ctx context.Context, configFile string, log *slog.Logger) (fleet.Administration, error)
}

// Run is the hub, until ctx ends or a part of it fails. ready is called once everything is being served.
func Run(ctx context.Context, cfg Config, network Network, ready func() error, log *slog.Logger) (err error) {
	if err := cfg.Validate(); err != nil {
		return err
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop() // whatever was started ends when Run returns, however it returns
	if err := os.MkdirAll(cfg.Data, 0o700); err != nil {
		return fmt.Errorf("hub: %w", err)
	}

	// Room on the disk, before anything is written to it. Then keys, and the store that they open.
	room := newSpaceGuard(cfg.Data, cfg.Disk, log)
	room.begin()
	keys, err := openRoot(ctx, cfg, log)
	if err != nil {
		return err
	}
	st, err := openStore(ctx, cfg, keys, log, store.WithRetention(cfg.Retention.retention()), store.WithQuota(cfg.Quotas.store()),
		store.WithConfirmAfter(cfg.ConfirmAfter))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, st.Close()) }()
	if cfg.Database == "" {
		room.hold = st.HoldReadings
		room.hold(room.level == spaceFull)
	}
	secrets, err := loadSecrets(ctx, st, cfg.Deployment)
	if err != nil {
		return err
	}

	// Who may do what, and the log of it.
	trail, err := audit.Open(filepath.Join(cfg.Data, "audit"), filepath.Join(cfg.Data, "audit.key"), log)
	if err != nil {
		return fmt.Errorf("hub: %w", err)
	}
	defer func() { err = errors.Join(err, trail.Close()) }()
	if err := os.WriteFile(filepath.Join(cfg.Data, "audit.pub"), []byte(trail.VerifierKey()+"\n"), 0o644); err != nil { // #nosec G306 -- public
		return fmt.Errorf("hub: %w", err)
	}
	policies, err := readPolicies(cfg.Policies)
	if err != nil {
		return err
	}
	self := overlay.ID{Domain: cfg.Deployment, Kind: overlay.KindHub, Name: cfg.Name}
	guard := newSecurityGuard(self, st, log)
	room.note = func(ctx context.Context, t string) error { return st.NoteTrouble(ctx, self.String(), t, time.Now()) }
	options, err := signInOptions(cfg)
	if err != nil {
		return err
	}
	trail.SetOrigin(self.String())
	desk := audit.NewDesk(trail)
	witnessed, err := newTestimony(cfg, trail, desk, guard, log)
	if err != nil {
		return err
	}
	engine, err := access.New(st, trail, policies, log, access.WithEvents(guard.tell), access.WithWitness(desk.Push),
		access.WithApprovals(st, cfg.TwoPersons != TwoPersonsOff), access.WithAuditQuota(cfg.Quotas.audit()))
	if err != nil {
		return fmt.Errorf("hub: %w", err)
	}
	defer engine.WriteJoined(context.WithoutCancel(ctx), true)
	people, err := signin.New(engine, st, log, options...)
	if err != nil {
		return fmt.Errorf("hub: %w", err)
	}
	if err := engine.BeginTwoPersons(ctx); err != nil {
		return fmt.Errorf("hub: %w", err)
	}

	// The overlay: our place on it, its administration, and what its policies must be.
	ticket, err := readTicket(cfg, self, secrets.authority)
	if err != nil {
		return err
	}
	hubConfig, err := joinOverlay(ctx, network, cfg, ticket)
	if err != nil {
		return err
	}
	adminFile, err := joinAdministration(ctx, network, cfg, st, self)
	if err != nil {
		return err
	}
	administration, err := awaitAdministration(ctx, network, adminFile, log)
	if err != nil {
		return otherOverlay(cfg, err)
	}
	recipient := secrets.recipient.Recipient().Bytes()
	identity, err := overlay.IssueIdentity(secrets.authority, self, hubConfig, recipient, cfg.IdentityLifetime)
	if err != nil {
		return fmt.Errorf("hub: %w", err)
	}
	if err := identity.KeepConfigAt(filepath.Join(cfg.Data, hubConfigFile)); err != nil {
		return fmt.Errorf("hub: %w", err)
	}
	underlay, err := network.Open(ctx, hubConfig)
	if err != nil {
		return fmt.Errorf("hub: %w", err)
	}
	endpoint := overlay.NewEndpoint(identity, underlay, log)
	defer func() { err = errors.Join(err, endpoint.Close()) }()

	inv := fleet.New(fleet.Config{Domain: cfg.Deployment, Self: self, Store: st, Network: administration, Below: network.Network,
		Authority: secrets.authority, Recipient: recipient, TicketTTL: cfg.TicketLifetime, Rules: engine, Trail: trail,
		Drift: func(c manage.Change) { guard.tell(access.Event{Kind: access.EventDrift, Detail: c.String()}) },
		Every: cfg.Overlay.ReconcileEvery, Log: log})
	if err := inv.RegisterSelf(ctx, hubConfig, cfg.Version, ticket); err != nil {
		return err
	}
	if ticket != nil {
		_ = os.Remove(cfg.Overlay.Ticket) // used up
	}
	if err := inv.IssuedToSelf(ctx, identity.SVID()); err != nil {
		return fmt.Errorf("hub: inventory: %w", err)
	}
	if err := inv.FirstReconcile(ctx); err != nil {
		return err
	}

	// In: sealed chunks.
	in, err := ingest.NewServer(ingest.Config{
		Store: st, Recipient: secrets.recipient, Log: log,
		Grant:  engine.Standing("ingest", access.AppendVitals),
		Active: inv.Active, Audit: trail,
		Alert: guard.forged,
	})
	if err != nil {
		return fmt.Errorf("hub: %w", err)
	}

	// Out: the faces.
	var speak *thingspeak.Face // made below, before anything is asked
	gate, err := api.NewGate(api.Config{SignIn: people, Workstation: workstation, SecureCookie: cfg.SecureCookies})
	if err != nil {
		return fmt.Errorf("hub: %w", err)
	}
	board, err := dashboard.New(dashboard.Config{MQTTRefused: func(client string) (uint64, string) { return speak.Refusals(client) }, Store: st, Access: engine, SignIn: people, Gate: gate, Log: log, PasskeyHost: cfg.Host, Live: cfg.Quotas.live(),
		Statement: witnessed.toWorkstation})
	if err != nil {
		return fmt.Errorf("hub: %w", err)
	}
	limits, err := thingspeak.Profile(cfg.ThingSpeak.Profile)
	if err != nil {
		return fmt.Errorf("hub: %w", err)
	}
	speak, err = thingspeak.New(thingspeak.Config{Store: st, Access: engine, SignIn: people, Workstation: workstation, Submit: in.Submit, SubmitAll: in.SubmitAll, Limits: limits, Log: log})
	if err != nil {
		return fmt.Errorf("hub: %w", err)
	}
	forward, err := forwarding(cfg, st, engine, endpoint, inv, log)
	if err != nil {
		return err
	}
	clouds := cloud.New(cloud.Config{Store: st, Access: engine, Engine: forward, Subject: gate.Subject, Log: log})
	administer := admin.New(admin.Config{Store: st, Access: engine, SignIn: people, Audit: trail, Proven: witnessed.proven, Search: witnessed.searched, Subject: gate.Subject, Domain: cfg.Deployment,
		Invite: inv.Invite, Disable: inv.Disable, Enable: inv.Enable, Delete: inv.Remove, Rotate: inv.Rotate, ResetNumbers: inv.ResetNumbers, Reissue: inv.Reissue, Log: log, Live: liveOf(board)})
	out := newFaces(ctx, route(board, gate.Limited(speak), gate.Limited(administer), gate.Limited(clouds)), log)
	inv.OnCut(func(id overlay.ID) { in.CutSensor(id.String()) })

	if err := announceRecoveries(ctx, st, guard.tell); err != nil {
		return err
	}
	if err := firstStart(ctx, cfg, st, inv, log); err != nil {
		return err
	}

	// Serve it all; the first part to fail ends the others.
	enrolTTL := cfg.IdentityLifetime
	ofFaces := fleet.Service{Name: overlay.ServiceFaces, PerPeer: maxWorkstationConns}
	ofRenew := fleet.Service{Name: overlay.ServiceRenew}
	g, ctx := errgroup.WithContext(ctx)
	for _, service := range []struct {
		name  string
		opts  []overlay.ListenOption
		serve func(net.Listener) error
	}{
		{overlay.ServiceIngest, nil, func(ln net.Listener) error {
			return in.Serve(ctx, inv.Watched(ctx, ln, fleet.Service{Name: overlay.ServiceIngest, Goodbye: true}))
		}},
		{overlay.ServiceFaces, nil, func(ln net.Listener) error { return out.serve(ctx, inv.Watched(ctx, ln, ofFaces), inv.Admit) }},
		// The same for a workstation that has something under way here.
		{overlay.At(overlay.ServiceFaces, self), nil, func(ln net.Listener) error { return out.serve(ctx, inv.Watched(ctx, ln, ofFaces), inv.Admit) }},
		{overlay.ServiceEnrol, []overlay.ListenOption{overlay.AcceptAnonymous()}, func(ln net.Listener) error {
			return overlay.ServeEnrol(ctx, ln, secrets.authority, recipient, inv, enrolTTL, log)
		}},
		{overlay.ServiceRenew, []overlay.ListenOption{overlay.AcceptExpired()}, func(ln net.Listener) error {
			return overlay.ServeRenew(ctx, inv.Watched(ctx, ln, ofRenew), secrets.authority, overlay.Renewals{Admit: inv.Renewable, Issued: inv.Issued,
				Witness: witnessed.toComponent(false), Next: witnessed.toComponent(true)}, enrolTTL, log)
		}},
		// The same for another hub, which witnesses this one's audit log.
		{overlay.At(overlay.ServiceRenew, self), nil, func(ln net.Listener) error {
			return overlay.ServeRenew(ctx, inv.Watched(ctx, ln, ofRenew), secrets.authority, overlay.Renewals{Admit: inv.Renewable, Issued: inv.Issued,
				Witness: witnessed.toComponent(false), Next: witnessed.toComponent(true)}, enrolTTL, log)
		}},
	} {
		ln, err := host(ctx, endpoint, service.name, service.opts...)
		if err != nil {
			return fmt.Errorf("hub: %s: %w", service.name, err)
		}
		g.Go(func() error {
			if err := service.serve(ln); err != nil && ctx.Err() == nil {
				return fmt.Errorf("hub: %s: %w", service.name, err)
			}
			return nil
		})
	}
	renewer := &overlay.Renewer{Identity: identity, Endpoint: endpoint, Authority: secrets.authority, TTL: cfg.IdentityLifetime,
		Network: network.Network, Issued: inv.IssuedToSelf, Log: log}
	g.Go(func() error { return renewer.Run(ctx) })
	g.Go(func() error { return inv.Run(ctx) })
	g.Go(func() error { return inv.Alive(ctx) })
	g.Go(func() error { keepFirstTicket(ctx, cfg, st, inv, log); return nil })
	g.Go(func() error { return st.Lead(ctx, "forward", forward.Run) }) // one hub forwards for all
	g.Go(func() error { speak.Run(ctx); return nil })
	g.Go(func() error { guard.run(ctx); return nil })
	g.Go(func() error { room.run(ctx); return nil })
	g.Go(func() error { sayTwoPersons(ctx, engine); return nil })
	g.Go(func() error { writeJoined(ctx, engine); return nil })
	g.Go(func() error { process.WatchStalls(ctx, log, nil); return nil })
	g.Go(func() error { witnessed.witnessOthers(ctx, self, inv, endpoint); return nil })
	g.Go(func() error {
		log.Info("hub ready", "identity", self.String(), "version", cfg.Version, "data", cfg.Data)
		return ready()
	})
	return g.Wait()
}

// hostWithin is how long the overlay may take to learn what a hub may host, after it has just been told.
const hostWithin = 30 * time.Second

// host hosts a service, as soon as the overlay lets us: a hub that has just joined is given its role a moment before.
func host(ctx context.Context, endpoint overlay.Endpoint, name string, opts ...overlay.ListenOption) (net.Listener, error) {
	for end := time.Now().Add(hostWithin); ; {
		ln, err := endpoint.Listen(ctx, name, opts...)
		if err == nil || !errors.Is(err, overlay.ErrUnavailable) || time.Now().After(end) {
			return ln, err
		}
		select {
		case <-ctx.Done():
			return nil, err
		case <-time.After(250 * time.Millisecond):
		}
	}
}

// secrets are the two keys that a hub cannot lose: the authority that names components, and the recipient key that
// gateways seal to. Both are in the store, wrapped by the root key.
type secrets struct {
	authority *overlay.Authority
	recipient *seal.RecipientKey
}

const (
	secretAuthority = "authority"
	secretRecipient = "recipient"
)

// loadSecrets reads both, or makes them at the first start of the first hub.
func loadSecrets(ctx context.Context, st *store.Store, domain string) (s secrets, err error) {
	b, err := st.UpdateSecret(ctx, secretAuthority, unlessThere(func() ([]byte, error) {
		a, err := overlay.NewAuthority(domain)
		if err != nil {
			return nil, err
		}
		return a.Bytes(), nil
	}))
	if err == nil {
		s.authority, err = overlay.ParseAuthority(b)
	}
	if err != nil {
		return s, fmt.Errorf("hub: %w", err)
	}
	if s.authority.Domain() != domain {
		return s, fmt.Errorf("hub: configuration: deployment: this data belongs to %q, not %q; the deployment is fixed at the first start", s.authority.Domain(), domain)
	}
	b, err = st.UpdateSecret(ctx, secretRecipient, unlessThere(func() ([]byte, error) {
		k, err := seal.GenerateRecipientKey()
		if err != nil {
			return nil, err
		}
		return k.Bytes(), nil
	}))
	if err == nil {
		s.recipient, err = seal.ParseRecipientKey(b)
	}
	if err != nil {
		return s, fmt.Errorf("hub: %w", err)
	}
	return s, nil
}

// unlessThere makes a secret where there is none.
func unlessThere(create func() ([]byte, error)) func(old []byte) ([]byte, error) {
	return func(old []byte) ([]byte, error) {
		if old != nil {
			return nil, nil
		}
		return create()
	}
}

func readPolicies(path string) ([]byte, error) {
	if path == "" {
		return nil, nil
	}
	b, err := os.ReadFile(path) // #nosec G304 -- the administrator names the file
	if err != nil {
		return nil, fmt.Errorf("hub: configuration: policies: %w", err)
	}
	return b, nil
}

// signInOptions are what the configuration says about signing in.
func signInOptions(cfg Config) ([]signin.Option, error) {
	options := []signin.Option{signin.WithIssuer(cfg.Deployment), signin.WithHost(cfg.Host)}
	if cfg.OpenID.Issuer == "" {
		return options, nil
	}
	o := signin.OIDCConfig{Issuer: cfg.OpenID.Issuer, ClientID: cfg.OpenID.ClientID, RoleClaim: cfg.OpenID.RoleClaim, Roles: cfg.OpenID.Roles,
		NoAuthTime: cfg.OpenID.NoAuthTime}
	if cfg.OpenID.ClientSecretFile != "" {
		b, err := os.ReadFile(cfg.OpenID.ClientSecretFile)
		if err != nil {
			return nil, fmt.Errorf("hub: configuration: openid: client_secret_file: %w", err)
		}
		o.ClientSecret = strings.TrimSpace(string(b))
	}
	return append(options, signin.WithOIDC(o)), nil
}

// writeSecretFile writes a 0600 file that is there whole or not at all, after a power cut too.
func writeSecretFile(path string, b []byte) error {
	if err := disk.Replace(path, b, true); err != nil {
		return fmt.Errorf("hub: %w", err)
	}
	return nil
}

// route gives each face its paths. ThingSpeak's are fixed by its clients.
func route(board, speak, administer, clouds http.Handler) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/", board)
	mux.Handle("/api/admin/", administer)
	mux.Handle(cloud.Prefix, clouds)
	for _, p := range thingspeak.Paths() {
		mux.Handle(p, speak)
	}
	return mux
}
