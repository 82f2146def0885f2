package overlay_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"vitalseal/internal/way/overlay"
)

// ended waits until the hub has ended a connection.
func ended(t *testing.T, what string, c net.Conn) {
	t.Helper()
	must(t, c.SetReadDeadline(time.Now().Add(time.Hour)))
	if _, err := io.Copy(io.Discard, c); errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("%s: the connection stays", what)
	}
}

// TestSilentClientsHoldNothing: clients that take every place of the enrolment and say nothing are
// pushed out by a client that comes next, and do not stay long anyway; a peer that opens one
// renewal after the other loses its oldest.
func TestSilentClientsHoldNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDesk(t, time.Hour)
		e := d.net.Connect(identity(t, d.authority, id("sensor", "silent"), time.Hour), quiet)
		defer func() { must(t, e.Close()) }()
		var silent []*overlay.Conn
		for range 40 {
			c, err := e.Dial(t.Context(), overlay.ServiceEnrol)
			must(t, err)
			silent = append(silent, c)
		}
		began := time.Now()
		_, err := overlay.Enrol(t.Context(), d.net, d.ticket(id("gateway", "gw")), t.TempDir(), quiet)
		must(t, err)
		if took := time.Since(began); took > time.Second {
			t.Errorf("an honest enrolment waited %s", took)
		}
		for _, c := range silent {
			ended(t, "a silent client", c)
		}
		if took := time.Since(began); took > 10*time.Second {
			t.Errorf("silent clients stayed %s", took)
		}

		var renewals []*overlay.Conn
		for range 3 {
			c, err := e.Dial(t.Context(), overlay.ServiceRenew)
			must(t, err)
			renewals = append(renewals, c)
			synctest.Wait() // the desk has it: which one is the oldest is not left to chance
		}
		began = time.Now()
		ended(t, "the oldest renewal of a peer", renewals[0])
		if took := time.Since(began); took > time.Second {
			t.Errorf("a peer's third renewal did not end its first: that took %s", took)
		}
	})
}

// lockedBuffer takes log lines from several goroutines.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
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

// TestRefusedClientsFillNoLog: of a thousand refused clients a minute the first few are named and
// the others counted.
func TestRefusedClientsFillNoLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var logged lockedBuffer
		a := authority(t, domain)
		n := overlay.NewLoopback(a)
		hub := n.Connect(identity(t, a, id("hub", "hub"), time.Hour), slog.New(slog.NewTextHandler(&logged, nil)))
		ln, err := hub.Listen(t.Context(), overlay.ServiceIngest)
		must(t, err)
		stranger := n.Connect(identity(t, authority(t, domain), id("sensor", "stranger"), time.Hour), quiet)
		for range 100 {
			if c, err := stranger.Dial(t.Context(), overlay.ServiceIngest); err == nil {
				_ = c.Close()
				t.Fatal("a stranger got in")
			}
		}
		synctest.Wait()
		if n := strings.Count(logged.String(), "overlay client refused"); n != 10 {
			t.Errorf("%d lines for 100 refused clients, want 10", n)
		}
		time.Sleep(2 * time.Minute)
		if !strings.Contains(logged.String(), "count=90") {
			t.Errorf("the others were not counted:\n%s", logged.String())
		}
		must(t, ln.Close())
		must(t, hub.Close())
		must(t, stranger.Close())
	})
}

// TestClientsThatLeave: a client that closes the connection during the handshake has shown nothing
// that could be refused: the log says that it left, counts such clients apart from refused ones, and
// names the endpoint and not a client that it does not know.
func TestClientsThatLeave(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var logged lockedBuffer
		a := authority(t, domain)
		n := overlay.NewLoopback(a)
		hub := n.Connect(identity(t, a, id("hub", "hub"), time.Hour), slog.New(slog.NewTextHandler(&logged, nil)))
		ln, err := hub.Listen(t.Context(), overlay.ServiceIngest)
		must(t, err)
		u, err := n.Open(t.Context(), []byte(`{"loopback":"`+id("sensor", "friend").String()+`"}`))
		must(t, err)
		for range 30 {
			raw, err := u.Dial(t.Context(), overlay.ServiceIngest)
			must(t, err)
			must(t, raw.Close())
			synctest.Wait()
		}
		log := logged.String()
		if left, refused := strings.Count(log, "overlay client closed the connection during the handshake"), strings.Count(log, "refused"); left != 10 || refused != 0 || strings.Contains(log, " identity=") {
			t.Errorf("%d left, %d refused:\n%s", left, refused, log)
		}
		stalls, err := u.Dial(t.Context(), overlay.ServiceIngest)
		must(t, err)
		time.Sleep(2 * time.Minute)
		log = logged.String()
		if !strings.Contains(log, "more clients left during the handshake") || !strings.Contains(log, "count=20") || !strings.Contains(log, "it did not finish the handshake in time") {
			t.Errorf("not told apart:\n%s", log)
		}
		must(t, stalls.Close())
		// Many that are slow at once, as when this process stood still, are one line and a count, and
		// nothing refused them.
		time.Sleep(2 * time.Minute)
		var slow []net.Conn
		for range 7 {
			c, err := u.Dial(t.Context(), overlay.ServiceIngest)
			must(t, err)
			slow = append(slow, c)
		}
		time.Sleep(2 * time.Minute)
		log = strings.TrimPrefix(logged.String(), log)
		if strings.Count(log, "overlay client too slow") != 1 || !strings.Contains(log, "more clients were too slow") || !strings.Contains(log, "count=6") || strings.Contains(log, "refused") {
			t.Errorf("seven that were too slow:\n%s", log)
		}
		for _, c := range slow {
			must(t, c.Close())
		}
		must(t, ln.Close())
		must(t, hub.Close())
	})
}

// TestNewKeyOnDemand: the identity takes a new key exactly when the hub asks for one, keeps it on
// disk, and an identity that brings one unasked is refused.
func TestNewKeyOnDemand(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDesk(t, time.Hour)
		path := filepath.Join(t.TempDir(), "i.json")
		i := identity(t, d.authority, id("sensor", "one"), time.Hour)
		must(t, i.Save(path))
		e := d.net.Connect(i, quiet)
		defer func() { must(t, e.Close()) }()
		r := &overlay.Renewer{Identity: i, Endpoint: e, Log: quiet, Software: "v1"}
		_, first := overlay.Fingerprint(i.SVID())
		must(t, r.Renew(t.Context()))
		if _, key := overlay.Fingerprint(i.SVID()); key != first {
			t.Error("a new key that nobody asked for")
		}
		d.mu.Lock()
		d.newKey = true
		d.mu.Unlock()
		must(t, r.Renew(t.Context()))
		_, second := overlay.Fingerprint(i.SVID())
		loaded, err := overlay.LoadIdentity(path)
		must(t, err)
		_, onDisk := overlay.Fingerprint(loaded.SVID())
		if second == first || onDisk != second {
			t.Errorf("keys: first %.8s, then %.8s, on disk %.8s", first, second, onDisk)
		}
		d.mu.Lock()
		defer d.mu.Unlock()
		if d.software != "v1" {
			t.Errorf("software %q", d.software)
		}
	})
}

// TestTicketKinds: a ticket of a hub or a router is of that kind and of nothing else.
func TestTicketKinds(t *testing.T) {
	d := newDesk(t, time.Hour)
	for _, c := range []struct {
		kind string
		ids  []overlay.ID
		ok   bool
	}{
		{"", []overlay.ID{id("hub", "h2")}, false},
		{"hub", []overlay.ID{id("hub", "h2")}, true},
		{"router", []overlay.ID{id("hub", "h2")}, false},
		{"hub", []overlay.ID{id("hub", "h2"), id("hub", "h3")}, false},
		{"hub", []overlay.ID{id("gateway", "g")}, false},
		{"gateway", []overlay.ID{id("hub", "h2")}, false},
		{"router", []overlay.ID{id("router", "r")}, true},
		{"", []overlay.ID{id("router", "r")}, false},
	} {
		ticket := d.ticket(c.ids...)
		ticket.Kind = c.kind
		err := overlay.WriteTicket(filepath.Join(t.TempDir(), "t"), ticket)
		if (err == nil) != c.ok {
			t.Errorf("kind %q for %v: %v", c.kind, c.ids, err)
		}
	}
	hub := d.ticket(id("hub", "h2"))
	hub.Kind = overlay.KindHub
	got, err := overlay.Enrol(t.Context(), d.net, hub, t.TempDir(), quiet)
	must(t, err)
	if got[0].ID() != id("hub", "h2") {
		t.Errorf("enrolled %s", got[0].ID())
	}
	router := d.ticket(id("router", "r"))
	router.Kind = overlay.KindRouter
	if _, err := overlay.Enrol(t.Context(), d.net, router, t.TempDir(), quiet); !errors.Is(err, overlay.ErrTicketInvalid) {
		t.Errorf("a router got a certificate of ours: %v", err)
	}
}

// FuzzRenew: whatever a peer says on the renew service, it gets at most a certificate in its own
// name.
func FuzzRenew(f *testing.F) {
	f.Add([]byte(`{"version":1}`))
	f.Add([]byte(`{"version":1,"kind":"hello","software":"v1"}`))
	f.Add([]byte(`{"version":1,"csr":"AAAA"}`))
	f.Add([]byte(`{"version":1,"kind":"witness","from":-1}`))
	f.Fuzz(func(_ *testing.T, b []byte) { overlay.DecideRenewal(b) })
}

// TestEndedExchangesAreNamed: the log says why the hub ended an exchange, not what then failed on
// the closed connection; a witness that left before its answer is no refusal.
func TestEndedExchangesAreNamed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var logged lockedBuffer
		a := authority(t, domain)
		n := overlay.NewLoopback(a)
		hub, err := n.Endpoint(id("hub", "hub"))
		must(t, err)
		ln, err := hub.Listen(t.Context(), overlay.ServiceRenew, overlay.AcceptExpired())
		must(t, err)
		asked, answer := make(chan struct{}), make(chan struct{})
		r := overlay.Renewals{Admit: func(context.Context, *overlay.Conn, string) (bool, error) { return false, nil }}
		r.Next = func(context.Context, overlay.WitnessQuestion) (json.RawMessage, error) {
			close(asked)
			<-answer
			return json.RawMessage("{}"), nil
		}
		ctx, stop := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() {
			must(t, overlay.ServeRenew(ctx, ln, a, r, time.Hour, slog.New(slog.NewTextHandler(&logged, &slog.HandlerOptions{Level: slog.LevelDebug}))))
		})
		e := n.Connect(identity(t, a, id("sensor", "one"), time.Hour), quiet)
		silent, err := e.Dial(t.Context(), overlay.ServiceRenew)
		must(t, err)
		ended(t, "a silent client", silent)
		synctest.Wait()
		if got := logged.String(); !strings.Contains(got, "level=WARN msg=\"overlay exchange ended by the hub\"") || !strings.Contains(got, "did not prove itself within 5s") {
			t.Errorf("a silent client's line: %s", got)
		}

		following, leave := context.WithCancel(t.Context())
		wg.Go(func() {
			_ = overlay.FollowCheckpoints(following, e, overlay.ServiceRenew,
				func(overlay.ID) (overlay.WitnessQuestion, error) { return overlay.WitnessQuestion{}, nil },
				func(overlay.ID, json.RawMessage) error { return nil })
		})
		<-asked
		leave()
		synctest.Wait()
		close(answer)
		synctest.Wait()
		if got := logged.String(); strings.Contains(got, "overlay exchange refused") || !strings.Contains(got, "level=DEBUG msg=\"overlay exchange ended\"") {
			t.Errorf("a witness that left: %s", got)
		}
		stop()
		wg.Wait()
		must(t, e.Close())
		must(t, hub.Close())
	})
}
