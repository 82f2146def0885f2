package overlay_test

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"vitalseal/internal/way/overlay"
)

// desk is a hub that enrols and renews over a Loopback.
type desk struct {
	authority *overlay.Authority
	net       *overlay.Loopback
	hub       overlay.Endpoint
	recipient []byte

	mu       sync.Mutex
	tickets  map[string]error // what Redeem answers next; nil once
	promoted []overlay.ID
	fail     int // promotions to fail first
	refused  map[overlay.ID]bool
	newKey   bool   // renewals want one
	software string // as a peer said last
}

func (d *desk) Redeem(_ context.Context, secret string, _ []overlay.ID, _ []*x509.Certificate) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	err, known := d.tickets[secret]
	if !known {
		return overlay.ErrTicketInvalid
	}
	d.tickets[secret] = overlay.ErrTicketUsed
	return err
}

func (d *desk) Promote(_ context.Context, ids []overlay.ID) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.fail > 0 {
		d.fail--
		return errors.New("network away")
	}
	d.promoted = append(d.promoted, ids...)
	return nil
}

func (d *desk) admit(_ context.Context, c *overlay.Conn, software string) (bool, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.software = software
	if d.refused[c.Peer()] {
		return false, overlay.ErrRefused
	}
	return d.newKey, nil
}

func newDesk(t testing.TB, ttl time.Duration) *desk {
	t.Helper()
	d := &desk{authority: authority(t, domain), recipient: []byte("recipient"), tickets: map[string]error{}, refused: map[overlay.ID]bool{}}
	d.net = overlay.NewLoopback(d.authority)
	var err error
	d.hub, err = d.net.Endpoint(id("hub", "hub"))
	must(t, err)
	enrol, err := d.hub.Listen(t.Context(), overlay.ServiceEnrol, overlay.AcceptAnonymous())
	must(t, err)
	renew, err := d.hub.Listen(t.Context(), overlay.ServiceRenew, overlay.AcceptExpired())
	must(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	run := func(f func(context.Context, net.Listener) error, ln net.Listener) {
		wg.Go(func() {
			if err := f(ctx, ln); err != nil {
				t.Errorf("serve: %v", err)
			}
		})
	}
	run(func(ctx context.Context, ln net.Listener) error {
		return overlay.ServeEnrol(ctx, ln, d.authority, d.recipient, d, ttl, quiet)
	}, enrol)
	run(func(ctx context.Context, ln net.Listener) error {
		return overlay.ServeRenew(ctx, ln, d.authority, overlay.Renewals{Admit: d.admit}, ttl, quiet)
	}, renew)
	t.Cleanup(func() {
		cancel()
		wg.Wait()
		_ = d.hub.Close()
	})
	return d
}

func (d *desk) ticket(ids ...overlay.ID) overlay.Ticket {
	t := overlay.Ticket{Version: 1, Deployment: domain, RootSHA256: overlay.HexSHA256(d.authority.Root().Raw),
		RecipientSHA256: overlay.HexSHA256(d.recipient), Secret: overlay.NewTicketSecret(), Expires: time.Now().Add(time.Hour)}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.tickets[t.Secret] = nil
	for _, i := range ids {
		t.Components = append(t.Components, overlay.TicketComponent{ID: i.String(), ZitiJWT: d.net.Invite(i)})
	}
	return t
}

func TestEnrol(t *testing.T) {
	d := newDesk(t, time.Hour)
	d.fail = 1
	ids := []overlay.ID{id("gateway", "gw-a"), id("sensor", "gw-a-oxi-1")}
	dir := filepath.Join(t.TempDir(), "identities")
	ticket := d.ticket(ids...)
	path := filepath.Join(t.TempDir(), "ticket.json")
	must(t, overlay.WriteTicket(path, ticket))
	read, err := overlay.ReadTicket(path)
	must(t, err)
	if diff := cmp.Diff(ticket, read, cmp.Comparer(time.Time.Equal)); diff != "" {
		t.Errorf("the ticket changed on its way through the file:\n%s", diff)
	}
	got, err := overlay.Enrol(t.Context(), d.net, read, dir, quiet)
	must(t, err)
	d.mu.Lock()
	if diff := cmp.Diff(ids, d.promoted); diff != "" {
		t.Errorf("promoted:\n%s", diff)
	}
	d.mu.Unlock()
	files, err := filepath.Glob(filepath.Join(dir, "*"))
	must(t, err)
	if diff := cmp.Diff([]string{overlay.IdentityPath(dir, ids[0]), overlay.IdentityPath(dir, ids[1])}, files); diff != "" {
		t.Errorf("files:\n%s", diff)
	}
	for i := range ids {
		loaded, err := overlay.LoadIdentity(overlay.IdentityPath(dir, ids[i]))
		must(t, err)
		if loaded.ID() != ids[i] || got[i].ID() != ids[i] || string(loaded.Recipient()) != "recipient" {
			t.Errorf("identity %d is %s", i, loaded.ID())
		}
	}
	if _, err := overlay.Enrol(t.Context(), d.net, read, t.TempDir(), quiet); !errors.Is(err, overlay.ErrTicketUsed) {
		t.Errorf("a second time: %v, want ErrTicketUsed", err)
	}
}

// TestTicketTampering changes a ticket, or the hub, in one thing each.
func TestTicketTampering(t *testing.T) {
	other := overlay.HexSHA256([]byte("other"))
	for _, c := range []struct {
		name   string
		change func(*desk, *overlay.Ticket)
		want   error
	}{
		{"expired", func(_ *desk, t *overlay.Ticket) { t.Expires = time.Now().Add(-time.Second) }, overlay.ErrTicketExpired},
		{"expired for the hub", func(d *desk, t *overlay.Ticket) { d.tickets[t.Secret] = overlay.ErrTicketExpired }, overlay.ErrTicketExpired},
		{"used", func(d *desk, t *overlay.Ticket) { d.tickets[t.Secret] = overlay.ErrTicketUsed }, overlay.ErrTicketUsed},
		{"internal error", func(d *desk, t *overlay.Ticket) { d.tickets[t.Secret] = errors.New("disk full") }, overlay.ErrUnavailable},
		{"other root", func(_ *desk, t *overlay.Ticket) { t.RootSHA256 = other }, overlay.ErrTicketInvalid},
		{"other recipient", func(_ *desk, t *overlay.Ticket) { t.RecipientSHA256 = other }, overlay.ErrTicketInvalid},
		{"other secret", func(_ *desk, t *overlay.Ticket) { t.Secret = overlay.NewTicketSecret() }, overlay.ErrTicketInvalid},
		{"short secret", func(_ *desk, t *overlay.Ticket) { t.Secret = "short" }, overlay.ErrTicketInvalid},
		{"unknown token", func(_ *desk, t *overlay.Ticket) { t.Components[0].ZitiJWT = "unknown" }, overlay.ErrTicketInvalid},
		{"other deployment", func(_ *desk, t *overlay.Ticket) { t.Deployment = "other.internal" }, overlay.ErrTicketInvalid},
		{"a hub", func(_ *desk, t *overlay.Ticket) { t.Components[0].ID = id("hub", "evil").String() }, overlay.ErrTicketInvalid},
		{"nobody", func(_ *desk, t *overlay.Ticket) { t.Components = nil }, overlay.ErrTicketInvalid},
		{"twice", func(_ *desk, t *overlay.Ticket) { t.Components = append(t.Components, t.Components[0]) }, overlay.ErrTicketInvalid},
		{"version", func(_ *desk, t *overlay.Ticket) { t.Version = 2 }, overlay.ErrTicketInvalid},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := newDesk(t, time.Hour)
			ticket := d.ticket(id("gateway", "gw-a"))
			d.mu.Lock()
			c.change(d, &ticket)
			d.mu.Unlock()
			dir := t.TempDir()
			_, err := overlay.Enrol(t.Context(), d.net, ticket, dir, quiet)
			if !errors.Is(err, c.want) {
				t.Errorf("enrol: %v, want %v", err, c.want)
			}
			if overlay.Hint(err) == "" {
				t.Errorf("no hint for %v", err)
			}
			if strings.Contains(err.Error(), ticket.Secret) {
				t.Error("the error tells the secret")
			}
			if files, _ := filepath.Glob(filepath.Join(dir, "*.identity.json")); len(files) > 0 {
				t.Errorf("identities were written: %v", files)
			}
		})
	}
}

// TestEnrolResumes loses the hub after the network's one-time token is used up, and goes on where
// it was.
func TestEnrolResumes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // in which the 50 ms are not over before the first try
		d := newDesk(t, time.Hour)
		ticket, dir := d.ticket(id("sensor", "one")), t.TempDir()
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		d.net.SetDown(true)
		if _, err := overlay.Enrol(ctx, d.net, ticket, dir, quiet); !errors.Is(err, overlay.ErrUnavailable) {
			t.Fatalf("without a hub: %v", err)
		}
		d.net.SetDown(false)
		_, err := overlay.Enrol(t.Context(), d.net, ticket, dir, quiet)
		must(t, err)
	})
}

// TestRenewal lives through two days of one-hour certificates, a hub that is away for a day, and a
// refusal.
func TestRenewal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDesk(t, time.Hour)
		path := filepath.Join(t.TempDir(), "i.json")
		i := identity(t, d.authority, id("sensor", "one"), time.Hour)
		must(t, i.Save(path))
		hub := host(t, d.net, identity(t, d.authority, id("hub", "hub"), 90*24*time.Hour))
		e := d.net.Connect(i, quiet)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- (&overlay.Renewer{Identity: i, Endpoint: e, Log: quiet}).Run(ctx) }()

		open, err := e.Dial(t.Context(), overlay.ServiceIngest)
		must(t, err)
		readLine(t, open)
		for range 2 * 24 {
			time.Sleep(time.Hour)
			c, err := e.Dial(t.Context(), overlay.ServiceIngest)
			must(t, err)
			must(t, c.Close())
		}
		_, err = open.Write([]byte("the first connection is still open\n"))
		must(t, err)
		readLine(t, open)

		d.net.SetDown(true)
		time.Sleep(24 * time.Hour)
		d.net.SetDown(false)
		time.Sleep(10 * time.Minute) // longer than the longest pause between tries
		if !i.Expires().After(time.Now()) {
			t.Error("an expired identity did not renew")
		}
		loaded, err := overlay.LoadIdentity(path)
		must(t, err)
		if !loaded.Expires().Equal(i.Expires()) {
			t.Error("the renewed certificate is not on disk")
		}

		d.mu.Lock()
		d.refused[i.ID()] = true
		d.mu.Unlock()
		if err := (&overlay.Renewer{Identity: i, Endpoint: e, Log: quiet}).Renew(ctx); !errors.Is(err, overlay.ErrRefused) {
			t.Errorf("renewal of a disabled identity: %v", err)
		}
		time.Sleep(24 * time.Hour)
		if _, err := e.Dial(t.Context(), overlay.ServiceIngest); !errors.Is(err, overlay.ErrPeer) {
			t.Errorf("dial with an expired identity: %v", err)
		}
		cancel()
		must(t, <-done)
		must(t, e.Close())
		must(t, hub.Close())
	})
}

// TestRenewSelf is how the hub renews its own.
func TestRenewSelf(t *testing.T) {
	a := authority(t, domain)
	i := identity(t, a, id("hub", "hub"), time.Hour)
	before := i.Expires()
	must(t, (&overlay.Renewer{Identity: i, Authority: a, TTL: 2 * time.Hour, Log: quiet}).Renew(t.Context()))
	if !i.Expires().After(before) {
		t.Error("not renewed")
	}
}

func FuzzParseID(f *testing.F) {
	f.Add("spiffe://demo.vitalseal.internal/sensor/gw-a-oxi-1")
	f.Add("spiffe://d/hub/..")
	f.Add("spiffe:///x/y")
	f.Fuzz(func(t *testing.T, s string) {
		id, err := overlay.ParseID(s)
		if err == nil && id.String() != s {
			t.Errorf("%q prints %q", s, id)
		}
	})
}

func FuzzParseTicket(f *testing.F) {
	good, err := json.Marshal(overlay.Ticket{Version: 1, Deployment: domain, RootSHA256: overlay.HexSHA256(nil), RecipientSHA256: overlay.HexSHA256(nil),
		Secret: "aaaaaaaaaaaaaaaaaaaaaaaaaa", Expires: time.Unix(1e9, 0).UTC(), Components: []overlay.TicketComponent{{ID: id("sensor", "a").String(), ZitiJWT: "x"}}})
	must(f, err)
	f.Add(good)
	f.Add([]byte("{}"))
	f.Add(bytes.Replace(good, []byte("sensor"), []byte("hub"), 1))
	f.Add(bytes.Replace(good, []byte("{"), []byte(`{"SECRET":"bbbbbbbbbbbbbbbbbbbbbbbbbb",`), 1))
	f.Fuzz(func(t *testing.T, b []byte) {
		ticket, err := overlay.ParseTicket(b)
		if err != nil {
			if !errors.Is(err, overlay.ErrTicketInvalid) {
				t.Errorf("error is not ErrTicketInvalid: %v", err)
			}
			return
		}
		path := filepath.Join(t.TempDir(), "t")
		must(t, overlay.WriteTicket(path, ticket))
		again, err := overlay.ReadTicket(path)
		must(t, err)
		if diff := cmp.Diff(ticket, again, cmp.Comparer(time.Time.Equal)); diff != "" {
			t.Error(diff)
		}
	})
}

// FuzzEnrolFrame sends bytes to the hub's enrolment as any client with a ticket could.
func FuzzEnrolFrame(f *testing.F) {
	f.Add([]byte("\x00\x00\x00\x02{}"))
	f.Add([]byte("\xff\xff\xff\xff"))
	f.Add([]byte("\x00\x00\x00\x40" + `{"version":1,"secret":"aaaaaaaaaaaaaaaaaaaaaaaaaa","requests":[{`))
	f.Fuzz(func(t *testing.T, b []byte) { overlay.DecideFrame(t.Context(), b) })
}
