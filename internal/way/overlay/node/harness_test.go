package node_test

import (
	"context"
	"crypto/x509"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"vitalseal/internal/way/overlay"
	"vitalseal/internal/way/overlay/manage"
	"vitalseal/internal/way/overlay/node"
	"vitalseal/internal/way/overlay/openziti"
)

const domain = "test.vitalseal.internal"

// TestMain is also the child process in which the node runs, as the command's hidden subcommand
// does.
func TestMain(m *testing.M) {
	if dir := os.Getenv("VITALSEAL_TEST_NODE"); dir != "" {
		ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
		log := slog.New(slog.NewJSONHandler(os.Stderr, nil))
		var err error
		if _, routerErr := os.Stat(filepath.Join(dir, "is-router")); routerErr == nil {
			err = node.RunRouter(ctx, node.RouterConfig{Dir: dir, Log: log})
		} else {
			err = node.RunNode(ctx, node.Config{Dir: dir, Log: log})
		}
		stop()
		if err != nil {
			log.Error("node", "err", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// deployment is a node in a child process, the hub on it, and tickets.
type deployment struct {
	t         *testing.T
	ctx       context.Context
	dir       string
	log       *slog.Logger
	logged    *lockedBuffer
	authority *overlay.Authority
	recipient []byte
	ttl       time.Duration // of issued SVIDs
	rotate    atomic.Bool   // the hub demands a new key
	admin     *manage.Admin
	hub       overlay.Endpoint
	// hubIdentity is the hub's own.
	hubIdentity *overlay.Identity
	tickets     *tickets
	stopNode    func() error
}

type lockedBuffer struct {
	mu sync.Mutex
	b  strings.Builder
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// tickets is the hub's side of enrolment, in memory.
type tickets struct {
	mu    sync.Mutex
	admin *manage.Admin
	ziti  map[overlay.ID]string
	open  map[string]bool
}

func (s *tickets) Redeem(_ context.Context, secret string, _ []overlay.ID, _ []*x509.Certificate) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	fresh, known := s.open[secret]
	switch {
	case !known:
		return overlay.ErrTicketInvalid
	case !fresh:
		return overlay.ErrTicketUsed
	}
	s.open[secret] = false
	return nil
}

func (s *tickets) Promote(ctx context.Context, ids []overlay.ID) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, id := range ids {
		if err := s.admin.SetRoles(ctx, s.ziti[id], id.Kind); err != nil {
			return err
		}
	}
	return nil
}

func id(kind, name string) overlay.ID { return overlay.ID{Domain: domain, Kind: kind, Name: name} }

func plan() manage.Plan {
	return manage.Plan{
		Services: []string{overlay.ServiceIngest, overlay.ServiceFaces, overlay.ServiceEnrol, overlay.ServiceRenew},
		Policies: []manage.Policy{
			{Name: "hub-bind", Roles: []string{"hub"}, Services: []string{overlay.ServiceIngest, overlay.ServiceFaces, overlay.ServiceEnrol, overlay.ServiceRenew}},
			{Name: "ingest-dial", Dial: true, Roles: []string{"sensor", "gateway"}, Services: []string{overlay.ServiceIngest}},
			{Name: "faces-dial", Dial: true, Roles: []string{"#workstation"}, Services: []string{overlay.ServiceFaces}},
			{Name: "enrol-dial", Dial: true, Roles: []string{"enrolling"}, Services: []string{overlay.ServiceEnrol}},
			{Name: "renew-dial", Dial: true, Roles: []string{"sensor", "gateway", "workstation"}, Services: []string{overlay.ServiceRenew}},
		},
	}
}

func start(t *testing.T) *deployment { return startWith(t, 2*time.Hour) }

// startWith is start with the lifetime of renewed SVIDs.
func startWith(t *testing.T, ttl time.Duration) *deployment {
	ctx, cancel := context.WithTimeout(context.Background(), 4*time.Minute)
	t.Cleanup(cancel)
	d := &deployment{t: t, ctx: ctx, dir: t.TempDir(), logged: &lockedBuffer{}, recipient: []byte("recipient key of the hub"), ttl: ttl}
	d.log = slog.New(slog.NewTextHandler(d.logged, nil))
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(d.logged.String())
		}
	})
	began := time.Now()
	t.Setenv("VITALSEAL_TEST_NODE", d.dir)
	nodeCtx, stopNode := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() {
		ended <- overlay.Supervise(nodeCtx, overlay.SuperviseConfig{Exe: os.Args[0], Dir: d.dir, Log: d.log})
	}()
	d.stopNode = sync.OnceValue(func() error {
		stopNode()
		return <-ended
	})
	t.Cleanup(func() { _ = d.stopNode() })
	must(t, overlay.WaitReady(ctx, d.dir))
	t.Logf("measured: empty directory to ready: %s", time.Since(began).Round(time.Millisecond))

	var err error
	file := func(name string) string { return filepath.Join(d.dir, name) }
	must(t, openziti.EnrolZiti(ctx, file(overlay.HubTokenFile), file("hub.ziti.json"), d.log))
	must(t, openziti.EnrolZiti(ctx, file(overlay.AdminTokenFile), file("hub-admin.ziti.json"), d.log))
	d.admin, err = manage.ConnectAdmin(ctx, file("hub-admin.ziti.json"), d.log)
	must(t, err)
	t.Cleanup(func() { _ = d.admin.Close() })
	changes, err := d.admin.Reconcile(ctx, plan(), true)
	must(t, err)
	if len(changes) != 9 {
		t.Errorf("first plan made %d changes, want 9", len(changes))
	}
	changes, err = d.admin.Reconcile(ctx, plan(), true)
	must(t, err)
	if len(changes) != 0 {
		t.Errorf("the same plan again made changes: %v", changes)
	}
	smaller := plan()
	smaller.Services = append(smaller.Services[:1], smaller.Services[2:]...)                                   // no faces
	smaller.Policies = append(smaller.Policies[:2], smaller.Policies[3:]...)                                   // they are never dialled
	smaller.Policies[0].Services = []string{overlay.ServiceIngest, overlay.ServiceEnrol, overlay.ServiceRenew} // nor hosts them
	for _, p := range []manage.Plan{smaller, plan()} {
		changes, err = d.admin.Reconcile(ctx, p, true)
		must(t, err)
		if len(changes) != 3 {
			t.Errorf("changes: %v, want 3", changes)
		}
	}

	d.authority, err = overlay.NewAuthority(domain)
	must(t, err)
	config, err := os.ReadFile(file("hub.ziti.json"))
	must(t, err)
	identity, err := overlay.IssueIdentity(d.authority, id(overlay.KindHub, "hub"), config, nil, time.Hour)
	must(t, err)
	d.hubIdentity = identity
	d.hub, err = openziti.Connect(ctx, identity, d.log)
	must(t, err)
	t.Cleanup(func() { _ = d.hub.Close() })
	d.tickets = &tickets{admin: d.admin, ziti: map[overlay.ID]string{}, open: map[string]bool{}}
	d.serve()
	return d
}

func (d *deployment) admit(context.Context, *overlay.Conn, string) (newKey bool, err error) {
	return d.rotate.Load(), nil
}

// serve hosts enrolment, renewal and, as ingest, an echo that tells the peer who it is.
func (d *deployment) serve() {
	enrol, err := d.hub.Listen(d.ctx, overlay.ServiceEnrol, overlay.AcceptAnonymous())
	must(d.t, err)
	renew, err := d.hub.Listen(d.ctx, overlay.ServiceRenew, overlay.AcceptExpired())
	must(d.t, err)
	ingest, err := d.hub.Listen(d.ctx, overlay.ServiceIngest)
	must(d.t, err)
	ctx, cancel := context.WithCancel(d.ctx)
	var wg sync.WaitGroup
	wg.Go(func() { _ = overlay.ServeEnrol(ctx, enrol, d.authority, d.recipient, d.tickets, d.ttl/2, d.log) })
	wg.Go(func() {
		_ = overlay.ServeRenew(ctx, renew, d.authority, overlay.Renewals{Admit: d.admit}, d.ttl, d.log)
	})
	wg.Go(func() {
		for {
			c, err := ingest.Accept()
			if err != nil {
				return
			}
			go func() {
				defer func() { _ = c.Close() }()
				_, _ = io.WriteString(c, c.(*overlay.Conn).Peer().String()+"\n")
				_, _ = io.Copy(c, c)
			}()
		}
	})
	d.t.Cleanup(func() {
		cancel()
		_ = ingest.Close()
		wg.Wait()
	})
}

// ticket invites components.
func (d *deployment) ticket(ids ...overlay.ID) overlay.Ticket {
	t := overlay.Ticket{Version: 1, Deployment: domain, RootSHA256: overlay.HexSHA256(d.authority.Root().Raw),
		RecipientSHA256: overlay.HexSHA256(d.recipient), Secret: overlay.NewTicketSecret(), Expires: time.Now().Add(time.Hour)}
	d.tickets.mu.Lock()
	defer d.tickets.mu.Unlock()
	d.tickets.open[t.Secret] = true
	for _, i := range ids {
		ziti, jwt, err := d.admin.CreateIdentity(d.ctx, i, "enrolling")
		must(d.t, err)
		d.tickets.ziti[i] = ziti
		t.Components = append(t.Components, overlay.TicketComponent{ID: i.String(), ZitiJWT: jwt})
	}
	return t
}

func (d *deployment) connect(identity *overlay.Identity) overlay.Endpoint {
	e, err := openziti.Connect(d.ctx, identity, d.log)
	must(d.t, err)
	d.t.Cleanup(func() { _ = e.Close() })
	return e
}

// dial retries as callers do, and returns the connection with whom the hub took us for.
func (d *deployment) dial(e overlay.Endpoint) (*overlay.Conn, string) {
	d.t.Helper()
	ctx, cancel := context.WithTimeout(d.ctx, time.Minute)
	defer cancel()
	for {
		began := time.Now()
		c, err := e.Dial(ctx, overlay.ServiceIngest)
		if err == nil {
			return c, readLine(d.t, c)
		}
		if !errors.Is(err, overlay.ErrUnavailable) || ctx.Err() != nil {
			d.t.Fatalf("dial: %v", err)
		}
		d.log.Info("test: dial failed, trying again", "took", time.Since(began).String(), "err", err)
		time.Sleep(100 * time.Millisecond)
	}
}

func readLine(t *testing.T, r io.Reader) string {
	t.Helper()
	var line []byte
	b := make([]byte, 1)
	for {
		if _, err := io.ReadFull(r, b); err != nil {
			t.Fatalf("read: %v", err)
		}
		if b[0] == '\n' {
			return string(line)
		}
		line = append(line, b[0])
	}
}

func pool(pem []byte) *x509.CertPool {
	p := x509.NewCertPool()
	p.AppendCertsFromPEM(pem)
	return p
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// ended returns how long it takes until c breaks.
func ended(t *testing.T, c net.Conn) time.Duration {
	t.Helper()
	start := time.Now()
	_ = c.SetReadDeadline(start.Add(20 * time.Second))
	if _, err := c.Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("the connection did not end: %v", err) // not Fatalf: also called from other goroutines
	}
	return time.Since(start)
}

func echoes(t *testing.T, c net.Conn) {
	t.Helper()
	_, err := io.WriteString(c, "still here\n")
	must(t, err)
	if got := readLine(t, c); got != "still here" {
		t.Fatalf("echo returned %q", got)
	}
}

// cannotDial makes sure that e does not get through, with a few tries, as a persistent client
// would.
func cannotDial(t *testing.T, d *deployment, e overlay.Endpoint, service string) {
	t.Helper()
	for range 3 {
		ctx, cancel := context.WithTimeout(d.ctx, 5*time.Second)
		c, err := e.Dial(ctx, service)
		cancel()
		if err == nil {
			_ = c.Close()
			t.Fatalf("%s reached %s", e.ID(), service)
		}
		if !errors.Is(err, overlay.ErrUnavailable) {
			t.Errorf("dial: %v, want ErrUnavailable", err)
		}
	}
}
