package node_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/openziti/sdk-golang/edge-apis"
	"github.com/openziti/sdk-golang/ziti"

	"vitalseal/internal/overlay"
	"vitalseal/internal/overlay/node"
	"vitalseal/internal/overlay/openziti"
)

const domain = "test.vitalseal.internal"

// TestMain is also the child process in which the node runs, as the command's hidden subcommand does.
func TestMain(m *testing.M) {
	if dir := os.Getenv("VITALSEAL_TEST_NODE"); dir != "" {
		ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
		log := slog.New(slog.NewJSONHandler(os.Stderr, nil))
		err := node.RunNode(ctx, node.Config{Dir: dir, Log: log})
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
	admin     *overlay.Admin
	hub       overlay.Endpoint
	tickets   *tickets
	stopNode  func() error
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
	admin *overlay.Admin
	ziti  map[overlay.ID]string
	open  map[string]bool
}

func (s *tickets) Redeem(_ context.Context, secret string, _ []overlay.ID, _ overlay.ID) error {
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

func plan() overlay.Plan {
	return overlay.Plan{
		Services: []string{overlay.ServiceIngest, overlay.ServiceFaces, overlay.ServiceEnrol, overlay.ServiceRenew},
		Policies: []overlay.Policy{
			{Name: "hub-bind", Roles: []string{"hub"}, Services: []string{overlay.ServiceIngest, overlay.ServiceFaces, overlay.ServiceEnrol, overlay.ServiceRenew}},
			{Name: "ingest-dial", Dial: true, Roles: []string{"sensor", "gateway"}, Services: []string{overlay.ServiceIngest}},
			{Name: "faces-dial", Dial: true, Roles: []string{"#workstation"}, Services: []string{overlay.ServiceFaces}},
			{Name: "enrol-dial", Dial: true, Roles: []string{"enrolling"}, Services: []string{overlay.ServiceEnrol}},
			{Name: "renew-dial", Dial: true, Roles: []string{"sensor", "gateway", "workstation"}, Services: []string{overlay.ServiceRenew}},
		},
	}
}

func start(t *testing.T) *deployment {
	ctx, cancel := context.WithTimeout(context.Background(), 4*time.Minute)
	t.Cleanup(cancel)
	d := &deployment{t: t, ctx: ctx, dir: t.TempDir(), logged: &lockedBuffer{}, recipient: []byte("recipient key of the hub")}
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
	d.admin, err = overlay.ConnectAdmin(ctx, file("hub-admin.ziti.json"), d.log)
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
	smaller.Policies = append(smaller.Policies[:2], smaller.Policies[3:]...)                                   // nobody dials them
	smaller.Policies[0].Services = []string{overlay.ServiceIngest, overlay.ServiceEnrol, overlay.ServiceRenew} // nor hosts them
	for _, p := range []overlay.Plan{smaller, plan()} {
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
	d.hub, err = openziti.Connect(ctx, identity, d.log)
	must(t, err)
	t.Cleanup(func() { _ = d.hub.Close() })
	d.tickets = &tickets{admin: d.admin, ziti: map[overlay.ID]string{}, open: map[string]bool{}}
	d.serve()
	return d
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
	wg.Go(func() { _ = overlay.ServeEnrol(ctx, enrol, d.authority, d.recipient, d.tickets, time.Hour, d.log) })
	wg.Go(func() {
		enabled := func(context.Context, overlay.ID) error { return nil }
		_ = overlay.ServeRenew(ctx, renew, d.authority, enabled, 2*time.Hour, d.log)
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

// TestRealNetwork goes the whole way on a real OpenZiti network in a child process: enrolment, dialling, what must be
// refused, revocation of one identity among neighbours, and a kill -9 of the network.
func TestRealNetwork(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("signals")
	}
	d := start(t)
	ids := []overlay.ID{id("gateway", "gw-a"), id("sensor", "gw-a-oxi-1"), id("sensor", "gw-a-oxi-2")}
	dir := t.TempDir()
	ticket := d.ticket(ids...)
	began := time.Now()
	identities, err := overlay.Enrol(d.ctx, openziti.NewNetwork(d.log), ticket, dir, d.log)
	must(t, err)
	t.Logf("measured: gateway and two sensors enrolled in %s", time.Since(began).Round(time.Millisecond))
	if got := string(identities[1].Recipient()); got != string(d.recipient) {
		t.Errorf("recipient key is %q", got)
	}
	if _, err := overlay.Enrol(d.ctx, openziti.NewNetwork(d.log), ticket, t.TempDir(), d.log); !errors.Is(err, overlay.ErrTicketUsed) {
		t.Errorf("the ticket a second time: %v, want ErrTicketUsed", err)
	}

	// From the file, as after a restart of the gateway.
	one, err := overlay.LoadIdentity(overlay.IdentityPath(dir, ids[1]))
	must(t, err)
	two := identities[2]
	oneNet, twoNet := d.connect(one), d.connect(two)
	began = time.Now()
	conn1, who1 := d.dial(oneNet)
	t.Logf("measured: first dial %s", time.Since(began).Round(time.Millisecond))
	conn2, who2 := d.dial(twoNet)
	if who1 != ids[1].String() || who2 != ids[2].String() {
		t.Fatalf("the hub took the sensors for %q and %q", who1, who2)
	}
	began = time.Now()
	again, _ := d.dial(oneNet)
	t.Logf("measured: next dial %s", time.Since(began).Round(time.Millisecond))
	must(t, again.Close())

	t.Run("renewal over the network", func(t *testing.T) {
		before := one.Expires()
		must(t, (&overlay.Renewer{Identity: one, Endpoint: oneNet, Log: d.log}).Renew(d.ctx))
		if !one.Expires().After(before) {
			t.Errorf("expires at %s, before at %s", one.Expires(), before)
		}
		echoes(t, conn1)
	})
	t.Run("wrong service", func(t *testing.T) { cannotDial(t, d, oneNet, overlay.ServiceFaces) })
	t.Run("not enrolled", func(t *testing.T) {
		// Another network's identity: right form, unknown key.
		stranger, err := overlay.IssueIdentity(d.authority, id("sensor", "stranger"), strangerConfig(t, two.Config()), nil, time.Hour)
		must(t, err)
		cannotDial(t, d, d.connect(stranger), overlay.ServiceIngest)
	})
	t.Run("enrolled without a policy", func(t *testing.T) {
		who := id("sensor", "no-policy")
		_, jwt, err := d.admin.CreateIdentity(d.ctx, who)
		must(t, err)
		config, err := openziti.NewNetwork(d.log).Enrol(d.ctx, jwt)
		must(t, err)
		identity, err := overlay.IssueIdentity(d.authority, who, config, nil, time.Hour)
		must(t, err)
		cannotDial(t, d, d.connect(identity), overlay.ServiceIngest)
	})
	t.Run("a lying caller id", func(t *testing.T) { lyingCaller(t, d, two, ids[1]) })
	t.Run("another's way in, own certificate", func(t *testing.T) {
		// Whoever dials with sensor 1's OpenZiti identity is still who its SVID says.
		identity, err := overlay.IssueIdentity(d.authority, ids[2], one.Config(), nil, time.Hour)
		must(t, err)
		if _, who := d.dial(d.connect(identity)); who != ids[2].String() {
			t.Errorf("the hub took it for %q", who)
		}
	})

	if t.Failed() {
		return
	}
	t.Run("disable and enable", func(t *testing.T) {
		cut := make(chan struct{})
		began := time.Now()
		go func() {
			defer close(cut)
			ended(t, conn1)
		}()
		must(t, d.admin.Disable(d.ctx, d.tickets.ziti[ids[1]]))
		<-cut
		took := time.Since(began)
		t.Logf("measured: open connection cut within %s of the call to disable", took.Round(time.Millisecond))
		if took > 5*time.Second {
			t.Errorf("cut after %s, want within 5 s", took)
		}
		echoes(t, conn2)
		cannotDial(t, d, oneNet, overlay.ServiceIngest)
		must(t, d.admin.Enable(d.ctx, d.tickets.ziti[ids[1]]))
		began = time.Now()
		_, who := d.dial(oneNet)
		t.Logf("measured: dial after enable %s", time.Since(began).Round(time.Millisecond))
		if who != ids[1].String() {
			t.Errorf("the hub took it for %q", who)
		}
		echoes(t, conn2)
	})
	if t.Failed() {
		return
	}
	t.Run("delete", func(t *testing.T) {
		c, _ := d.dial(oneNet)
		must(t, d.admin.Delete(d.ctx, d.tickets.ziti[ids[1]]))
		t.Logf("measured: open connection cut %s after the call to delete returned", ended(t, c).Round(time.Millisecond))
		cannotDial(t, d, oneNet, overlay.ServiceIngest)
		must(t, d.admin.Delete(d.ctx, d.tickets.ziti[ids[1]]))
		echoes(t, conn2)
	})
	t.Run("kill -9", func(t *testing.T) {
		info, err := overlay.ReadNode(d.dir)
		must(t, err)
		// A redeemed token that was left lying and has run out must not cost the hub its identity at the restart.
		leftOver := filepath.Join(d.dir, overlay.HubTokenFile)
		must(t, os.WriteFile(leftOver, []byte("e30.e30.e30"), 0o600))
		began := time.Now()
		must(t, syscall.Kill(info.PID, syscall.SIGKILL))
		ended(t, conn2)
		c, who := d.dial(twoNet)
		t.Logf("measured: connected again %s after kill -9", time.Since(began).Round(time.Millisecond))
		if who != ids[2].String() {
			t.Errorf("the hub took it for %q", who)
		}
		echoes(t, c)
		changes, err := d.admin.Reconcile(d.ctx, plan(), false)
		must(t, err)
		if len(changes) != 0 {
			t.Errorf("after the restart the network differs from the plan: %v", changes)
		}
		if _, err := os.Stat(leftOver); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("the left-over token: %v", err)
		}
	})
	t.Run("stop", func(t *testing.T) {
		began := time.Now()
		must(t, d.stopNode())
		t.Logf("measured: node stopped in %s", time.Since(began).Round(time.Millisecond))
		if _, err := os.Stat(filepath.Join(d.dir, overlay.NodeFile)); err == nil {
			t.Error("node.json is still there")
		}
	})
	if log := d.logged.String(); strings.Contains(log, "eyJ") || strings.Contains(log, ticket.Secret) {
		t.Error("the log contains a token")
	}
}

// cannotDial makes sure that e does not get through, with a few tries, as a persistent client would.
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

// lyingCaller dials with the SDK while claiming another's name in OpenZiti's caller id, as a patched client does.
func lyingCaller(t *testing.T, d *deployment, attacker *overlay.Identity, victim overlay.ID) {
	var u overlay.Underlay = &liar{t: t, config: attacker.Config(), claim: victim.String()}
	e := overlay.NewEndpoint(attacker, u, d.log)
	defer func() { _ = e.Close() }()
	_, who := d.dial(e)
	if who != attacker.ID().String() {
		t.Errorf("the hub took the liar for %q", who)
	}
}

type liar struct {
	t      *testing.T
	config []byte
	claim  string
	zc     ziti.Context
}

type lyingSession struct {
	edge_apis.ApiSession
	claim string
}

func (s *lyingSession) GetIdentityName() string { return s.claim }

func (l *liar) Dial(context.Context, string) (net.Conn, error) {
	var err error
	if l.zc, err = ziti.NewContext(zitiConfig(l.t, l.config)); err != nil {
		return nil, err
	}
	if err := l.zc.Authenticate(); err != nil {
		return nil, err
	}
	client := l.zc.(*ziti.ContextImpl).CtrlClt
	lie := edge_apis.ApiSession(&lyingSession{client.GetCurrentApiSession(), l.claim})
	client.ApiSession.Store(&lie)
	return l.zc.Dial(overlay.ServiceIngest)
}

func (l *liar) Listen(context.Context, string) (net.Listener, error) {
	return nil, overlay.ErrUnavailable
}

func (l *liar) Close() error {
	l.zc.Close()
	return nil
}
