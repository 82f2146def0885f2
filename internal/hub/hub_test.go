package hub_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"vitalseal/internal/hub"
	"vitalseal/internal/hub/fleet"
	"vitalseal/internal/patient/gateway"
	"vitalseal/internal/patient/sensor/bench"
	"vitalseal/internal/way/overlay"
	"vitalseal/internal/way/overlay/manage"
	"vitalseal/internal/workstation/client"
	"vitalseal/internal/workstation/connect"
)

const (
	domain = "hub.test.internal"
	// patience bounds waiting for something to happen; it is no measurement.
	patience = 3 * time.Minute
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// eventually asks until it is so.
func eventually(t testing.TB, what string, so func() error) {
	t.Helper()
	var last error
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if last = so(); last == nil {
			return
		}
	}
	t.Fatalf("%s: %v", what, last)
}

// office administers the Loopback as Admin does an OpenZiti network.
type office struct {
	net *overlay.Loopback

	mu    sync.Mutex
	ids   map[string]overlay.ID
	roles map[string][]string
	plan  manage.Plan
	fail  error // what Disable answers instead of disabling

	routers []manage.RouterState
	changes []manage.Change // what Reconcile answers next, once

	failCreate string // name of a component that cannot be made
}

func (o *office) CreateIdentity(_ context.Context, id overlay.ID, roles ...string) (string, string, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if id.Name == o.failCreate {
		return "", "", errors.New("controller down")
	}
	name := "ziti-" + id.Name
	o.ids[name], o.roles[name] = id, roles
	o.net.SetAllowed(id, true) // a name that was deleted may be another's now
	return name, o.net.Invite(id), nil
}

func (o *office) SetRoles(_ context.Context, zitiID string, roles ...string) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.roles[zitiID] = roles
	return nil
}

func (o *office) set(zitiID string, allowed bool) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.fail != nil {
		return o.fail
	}
	o.net.SetAllowed(o.ids[zitiID], allowed)
	return nil
}

func (o *office) Disable(_ context.Context, zitiID string) error { return o.set(zitiID, false) }
func (o *office) Enable(_ context.Context, zitiID string) error  { return o.set(zitiID, true) }
func (o *office) Delete(_ context.Context, zitiID string) error {
	if err := o.set(zitiID, false); err != nil {
		return err
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.net.SetAllowed(o.ids[zitiID], false)
	delete(o.ids, zitiID)
	return nil
}
func (o *office) Reconcile(_ context.Context, p manage.Plan, _ bool) ([]manage.Change, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.plan = p
	changes := o.changes
	o.changes = nil
	return changes, nil
}
func (o *office) CreateAdministrator(_ context.Context, id overlay.ID) (string, string, error) {
	return "ziti-admin-" + id.Name, o.net.Invite(id), nil
}
func (o *office) CreateRouter(_ context.Context, id overlay.ID) (string, string, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.routers = append(o.routers, manage.RouterState{ZitiID: "ziti-" + id.Name, Name: id.String()})
	return "ziti-" + id.Name, "jwt", nil
}
func (o *office) SetRouterEnabled(_ context.Context, zitiID string, enabled bool) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	for i := range o.routers {
		if o.routers[i].ZitiID == zitiID {
			o.routers[i].Disabled = !enabled
		}
	}
	return nil
}
func (o *office) DeleteRouter(_ context.Context, zitiID string) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.routers = slices.DeleteFunc(o.routers, func(r manage.RouterState) bool { return r.ZitiID == zitiID })
	return nil
}
func (o *office) Routers(context.Context) ([]manage.RouterState, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return slices.Clone(o.routers), nil
}

// deployment is a hub on a Loopback, with its first workstation.
type deployment struct {
	t      *testing.T
	net    *overlay.Loopback
	office *office
	cfg    hub.Config
	log    *logged
	stop   func() error
	own    map[string]string // passwords that people chose, by login
}

// logged keeps what was logged, to be searched.
type logged struct {
	mu sync.Mutex
	b  strings.Builder
}

func (l *logged) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(b)
}

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func newDeployment(t *testing.T) *deployment {
	t.Helper()
	dir := t.TempDir()
	a, err := overlay.NewAuthority(domain) // the Loopback's own; the hub makes its own
	must(t, err)
	n := overlay.NewLoopback(a)
	d := &deployment{t: t, net: n, log: &logged{}, office: &office{net: n, ids: map[string]overlay.ID{}, roles: map[string][]string{}}}
	d.cfg = hub.Default()
	d.cfg.Data, d.cfg.Deployment = filepath.Join(dir, "hub"), domain
	d.cfg.Overlay.HubToken, d.cfg.Overlay.AdminToken = filepath.Join(dir, "hub.jwt"), filepath.Join(dir, "admin.jwt")
	self := overlay.ID{Domain: domain, Kind: overlay.KindHub, Name: "hub"}
	for _, f := range []string{d.cfg.Overlay.HubToken, d.cfg.Overlay.AdminToken} {
		must(t, os.WriteFile(f, []byte(n.Invite(self)), 0o600))
	}
	d.start()
	return d
}

func (d *deployment) start() {
	d.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ready, ended := make(chan struct{}), make(chan error, 1)
	network := hub.Network{Network: d.net, Administer: func(context.Context, string, *slog.Logger) (fleet.Administration, error) { return d.office, nil }}
	go func() {
		ended <- hub.Run(ctx, d.cfg, network, func() error { close(ready); return nil }, slog.New(slog.NewTextHandler(d.log, nil)))
	}()
	select {
	case <-ready:
	case err := <-ended:
		d.t.Fatalf("hub: %v\n%s", err, d.log)
	}
	d.stop = sync.OnceValue(func() error { cancel(); return <-ended })
	d.t.Cleanup(func() { must(d.t, d.stop()) })
}

// enrol redeems a ticket file and gives the identities by name.
func (d *deployment) enrol(ticketFile, dir string) map[string]*overlay.Identity {
	d.t.Helper()
	ticket, err := overlay.ReadTicket(ticketFile)
	must(d.t, err)
	ids, err := overlay.Enrol(d.t.Context(), d.net, ticket, dir, slog.New(slog.DiscardHandler))
	must(d.t, err)
	m := map[string]*overlay.Identity{}
	for _, id := range ids {
		m[id.ID().Name] = id
	}
	return m
}

// desk is a workstation's connect address, signed in at by login.
func (d *deployment) desk(id *overlay.Identity) (address string) {
	d.t.Helper()
	ep := d.net.Connect(id, slog.New(slog.DiscardHandler))
	ln, err := connect.Listen("127.0.0.1:0")
	must(d.t, err)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	door, err := connect.New(ln, connect.Config{Plain: true, Log: slog.New(slog.DiscardHandler)})
	must(d.t, err)
	go func() { ended <- door.Run(ctx, ep) }()
	d.t.Cleanup(func() { cancel(); must(d.t, <-ended); must(d.t, ep.Close()) })
	return "http://" + ln.Addr().String()
}

// signIn signs a user in. A first password, which another user made, is changed for one of their own and remembered.
func (d *deployment) signIn(address, login, password string) *client.Client {
	d.t.Helper()
	ctx := d.t.Context()
	c, err := client.New(address)
	must(d.t, err)
	if own, ok := d.own[login]; ok {
		password = own
	}
	must(d.t, c.SignIn(ctx, login, password))
	var s struct {
		MustChange bool `json:"must_change_password"`
	}
	must(d.t, c.Do(ctx, http.MethodGet, "/api/session", nil, &s))
	if s.MustChange {
		if d.own == nil {
			d.own = map[string]string{}
		}
		d.own[login] = "my own, " + password
		must(d.t, c.Do(ctx, http.MethodPost, "/api/account/password", map[string]string{"old": password, "new": d.own[login]}, nil))
	}
	return c
}

func status(err error) int {
	var s *client.StatusError
	if errors.As(err, &s) {
		return s.Status
	}
	return 0
}

// TestTheWholeWay goes from an empty folder to a heart rate on the doctor's screen, and cuts off what must be cut off.
func TestTheWholeWay(t *testing.T) {
	d := newDeployment(t)
	ctx := t.Context()
	work := t.TempDir()

	// The first start's two files let the first administrator in, from the first workstation only.
	first := d.enrol(filepath.Join(d.cfg.Data, "first-workstation.ticket"), filepath.Join(work, "desk"))
	var adminSignIn struct{ Login, Password string }
	b, err := os.ReadFile(filepath.Join(d.cfg.Data, "first-admin.json"))
	must(t, err)
	must(t, json.Unmarshal(b, &adminSignIn))
	address := d.desk(first["first"])
	admin := d.signIn(address, adminSignIn.Login, adminSignIn.Password)

	post := func(path string, in, out any) {
		t.Helper()
		must(t, admin.Do(ctx, http.MethodPost, "/api/admin/"+path, in, out))
	}
	post("wards", map[string]string{"id": "ward-a", "name": "A"}, nil)
	post("wards", map[string]string{"id": "ward-b", "name": "B"}, nil)
	patients := map[string]string{}
	for _, bed := range []string{"a-1", "b-1"} {
		var p struct{ ID string }
		post("beds", map[string]string{"id": bed, "ward": "ward-" + bed[:1], "name": bed}, nil)
		post("patients", map[string]any{"name": "Zephyrine Quillfeather", "bed": bed, "meant": true}, &p)
		patients[bed] = p.ID
	}
	passwords := map[string]string{}
	for login, body := range map[string]map[string]any{
		"doctor":  {"role": "doctor", "patients": []string{patients["a-1"], patients["b-1"]}},
		"nurse":   {"role": "nurse", "wards": []string{"ward-a"}},
		"patient": {"role": "patient", "self": patients["a-1"]},
		"auditor": {"role": "auditor"},
	} {
		body["login"], body["display_name"] = login, login
		var made struct{ Password string }
		post("persons", body, &made)
		passwords[login] = made.Password
	}
	var ticket json.RawMessage
	post("gateways", map[string]any{"id": "gw-1", "sensors": []map[string]string{
		{"id": "oxi-a", "model": "MAX30100", "serial": "1", "bed": "a-1"},
		{"id": "oxi-b", "model": "MAX30100", "serial": "2", "bed": "b-1"}}}, &ticket)
	ticketFile := filepath.Join(work, "gw.ticket")
	must(t, os.WriteFile(ticketFile, ticket, 0o600))
	data := filepath.Join(work, "gw")
	d.enrol(ticketFile, data)
	for name, want := range map[string][]string{"ziti-gw-1": {"dial." + overlay.ServiceIngest, "dial." + overlay.ServiceRenew},
		"ziti-oxi-a": {"dial." + overlay.ServiceIngest, "dial." + overlay.ServiceRenew},
		"ziti-first": {"dial." + overlay.ServiceFaces, "dial." + overlay.ServiceRenew}} {
		eventually(t, name+" is promoted", func() error {
			d.office.mu.Lock()
			defer d.office.mu.Unlock()
			if got := d.office.roles[name]; !slices.Equal(got, want) {
				return fmt.Errorf("roles %v", got)
			}
			return nil
		})
	}
	again, err := overlay.ReadTicket(ticketFile)
	must(t, err)
	if _, err := overlay.Enrol(ctx, d.net, again, filepath.Join(work, "thief"), slog.New(slog.DiscardHandler)); !errors.Is(err, overlay.ErrTicketUsed) {
		t.Errorf("a ticket used twice: %v", err)
	}

	// A gateway with two simulated chips.
	cfg := gateway.Default()
	cfg.Data = data
	cfg.Sensors = []gateway.Sensor{{ID: "oxi-a", Chip: gateway.ChipMAX30100, Bus: "bed-1/i2c"}, {ID: "oxi-b", Chip: gateway.ChipMAX30100, Bus: "bed-2/i2c"}}
	buses, err := bench.New(bench.Ward(bench.DemoProfile(0), bench.DemoProfile(1)), bench.Options{})
	must(t, err)
	gwCtx, stopGateway := context.WithCancel(context.Background())
	gwEnded := make(chan error, 1)
	go func() {
		gwEnded <- gateway.Run(gwCtx, cfg, gateway.Deps{Buses: buses, Network: d.net, Log: slog.New(slog.DiscardHandler)})
	}()
	defer func() { stopGateway(); must(t, <-gwEnded) }()

	doctor := d.signIn(address, "doctor", passwords["doctor"])
	heartRate := func(c *client.Client, patient string) (float64, time.Time, error) {
		var p struct {
			Numerics map[string]struct {
				At    time.Time
				Value *float64
			}
		}
		if err := c.Do(ctx, http.MethodGet, "/api/patients/"+patient, nil, &p); err != nil {
			return 0, time.Time{}, err
		}
		hr, ok := p.Numerics["heart_rate_bpm"]
		if !ok || hr.Value == nil {
			return 0, time.Time{}, errors.New("no heart rate")
		}
		return *hr.Value, hr.At, nil
	}
	for _, id := range patients {
		eventually(t, "a heart rate on the doctor's screen", func() error {
			v, _, err := heartRate(doctor, id)
			if err == nil && (v < 40 || v > 140) {
				t.Errorf("heart rate %v", v)
			}
			return err
		})
	}

	// Who may not see, does not; and it is written down.
	nurse, patient := d.signIn(address, "nurse", passwords["nurse"]), d.signIn(address, "patient", passwords["patient"])
	for name, err := range map[string]error{
		"nurse, other ward":       second(heartRate(nurse, patients["b-1"])),
		"patient, other patient":  second(heartRate(patient, patients["b-1"])),
		"admin, clinical values":  second(heartRate(admin, patients["a-1"])),
		"nurse, administration":   nurse.Do(ctx, http.MethodGet, "/api/admin/inventory", nil, nil),
		"doctor, audit log":       doctor.Do(ctx, http.MethodGet, "/api/admin/audit", nil, nil),
		"patient, administration": patient.Do(ctx, http.MethodPost, "/api/admin/wards", map[string]string{"id": "x", "name": "x"}, nil),
	} {
		if status(err) != http.StatusForbidden {
			t.Errorf("%s: %v, want 403", name, err)
		}
	}
	if _, _, err := heartRate(nurse, patients["a-1"]); err != nil {
		t.Errorf("nurse, own ward: %v", err)
	}
	var entries []struct {
		Person, Patient string
		Allowed         bool
	}
	must(t, d.signIn(address, "auditor", passwords["auditor"]).Do(ctx, http.MethodGet, "/api/admin/audit?n=200", nil, &entries))
	refused := 0
	for _, e := range entries {
		if !e.Allowed && e.Patient == patients["b-1"] {
			refused++
		}
	}
	if refused < 2 {
		t.Errorf("%d refusals about the other ward's patient in the audit log, want at least 2", refused)
	}

	// Disabling one sensor stops that one, even when the overlay cannot be told; its neighbour goes on.
	spiffe := overlay.ID{Domain: domain, Kind: overlay.KindSensor, Name: "oxi-a"}.String()
	d.office.mu.Lock()
	d.office.fail = errors.New("controller down")
	d.office.mu.Unlock()
	if err := admin.Do(ctx, http.MethodPost, "/api/admin/identities/sensor/oxi-a/disable", nil, nil); err == nil {
		t.Error("an overlay that did not follow was not reported")
	}
	cut := time.Now() // what was in the hub's hands may be stored a little later, but was measured before
	eventually(t, "the neighbour goes on", func() error {
		_, at, err := heartRate(doctor, patients["b-1"])
		if err == nil && at.Sub(cut) < 4*time.Second {
			err = fmt.Errorf("newest is %v", at)
		}
		return err
	})
	if _, at, err := heartRate(doctor, patients["a-1"]); err != nil || at.Sub(cut) > 250*time.Millisecond {
		t.Errorf("the disabled sensor delivered until %v, %v after it was cut (%v)", at, at.Sub(cut), err)
	}
	var inventory []struct{ ID, State string }
	must(t, admin.Do(ctx, http.MethodGet, "/api/admin/inventory", nil, &inventory))
	for _, x := range inventory {
		want := "active"
		if x.ID == spiffe {
			want = "disabled"
		}
		if x.State != want {
			t.Errorf("%s is %s, want %s", x.ID, x.State, want)
		}
	}

	// A restart finds everything again and does not repeat the ceremony.
	must(t, os.Remove(filepath.Join(d.cfg.Data, "first-admin.json")))
	must(t, d.stop())
	d.start()
	eventually(t, "the doctor signs in after a restart", func() error {
		c, err := client.New(address)
		must(t, err)
		return c.SignIn(ctx, "doctor", d.own["doctor"])
	})
	if _, err := os.Stat(filepath.Join(d.cfg.Data, "first-admin.json")); !errors.Is(err, os.ErrNotExist) {
		t.Error("the first-start ceremony was repeated")
	}
	for _, secret := range []string{"Quillfeather", "my own, ", passwords["doctor"], adminSignIn.Password, again.Secret} {
		if strings.Contains(d.log.String(), secret) {
			t.Errorf("the log holds %q", secret)
		}
	}
}

// TestDisabledWhileEnrolling: a component that is disabled before its ticket is redeemed does not become active by it.
func TestDisabledWhileEnrolling(t *testing.T) {
	d := newDeployment(t)
	ctx, work := t.Context(), t.TempDir()
	first := d.enrol(filepath.Join(d.cfg.Data, "first-workstation.ticket"), filepath.Join(work, "desk"))
	var s struct{ Login, Password string }
	b, err := os.ReadFile(filepath.Join(d.cfg.Data, "first-admin.json"))
	must(t, err)
	must(t, json.Unmarshal(b, &s))
	admin := d.signIn(d.desk(first["first"]), s.Login, s.Password)
	var ticket json.RawMessage
	must(t, admin.Do(ctx, http.MethodPost, "/api/admin/gateways", map[string]any{"id": "gw-1", "sensors": []map[string]string{
		{"id": "oxi-a", "model": "MAX30100", "serial": "1"}, {"id": "oxi-b", "model": "MAX30100", "serial": "2"}}}, &ticket))
	file := filepath.Join(work, "gw.ticket")
	must(t, os.WriteFile(file, ticket, 0o600))
	must(t, admin.Do(ctx, http.MethodPost, "/api/admin/identities/sensor/oxi-a/disable", nil, nil))
	d.enrol(file, filepath.Join(work, "gw"))

	want := map[string]string{"gw-1": "active", "oxi-a": "disabled", "oxi-b": "active", "first": "active", "hub": "active"}
	eventually(t, "the others are promoted", func() error {
		var inventory []struct{ ID, State string }
		must(t, admin.Do(ctx, http.MethodGet, "/api/admin/inventory", nil, &inventory))
		for _, x := range inventory {
			id, err := overlay.ParseID(x.ID)
			must(t, err)
			if id.Name == "oxi-a" && x.State != "disabled" {
				t.Fatalf("a disabled sensor became %s by enrolling", x.State)
			}
			if x.State != want[id.Name] {
				return fmt.Errorf("%s is %s", id.Name, x.State)
			}
		}
		return nil
	})
	d.office.mu.Lock()
	defer d.office.mu.Unlock()
	if got := d.office.roles["ziti-oxi-a"]; !slices.Equal(got, []string{"dial." + overlay.ServiceEnrol}) {
		t.Errorf("roles of the disabled sensor: %v", got)
	}
}

func second(_ float64, _ time.Time, err error) error { return err }

func TestOtherDeploymentIsRefused(t *testing.T) {
	d := newDeployment(t)
	must(t, d.stop())
	cfg := d.cfg
	cfg.Deployment = "another.test.internal"
	err := hub.Run(t.Context(), cfg, hub.Network{Network: d.net}, func() error { return nil }, slog.New(slog.DiscardHandler))
	if err == nil || !strings.Contains(err.Error(), domain) {
		t.Errorf("a data folder of another deployment: %v", err)
	}
}

func TestConfigNamesTheKey(t *testing.T) {
	for want, change := range map[string]func(*hub.Config){
		"data":              func(c *hub.Config) { c.Data = "" },
		"deployment":        func(c *hub.Config) { c.Deployment = "" },
		"identity_lifetime": func(c *hub.Config) { c.IdentityLifetime = time.Second },
		"ticket_lifetime":   func(c *hub.Config) { c.TicketLifetime = 0 },
	} {
		c := hub.Default()
		c.Data, c.Deployment = "x", "x.example"
		if change(&c); c.Validate() == nil || !strings.Contains(c.Validate().Error(), want+":") {
			t.Errorf("%s: %v", want, c.Validate())
		}
	}
}

// TestConnectAnswersOnlyItsOwnName keeps a web page elsewhere from rebinding a name to the workstation's door.
func TestConnectAnswersOnlyItsOwnName(t *testing.T) {
	for _, bad := range []string{"0.0.0.0:0", "192.0.2.1:80", "example.org:80", "127.0.0.1"} {
		if ln, err := connect.Listen(bad); err == nil {
			_ = ln.Close()
			t.Errorf("%s was listened on", bad)
		}
	}
	a, err := overlay.NewAuthority(domain)
	must(t, err)
	n := overlay.NewLoopback(a)
	ep, err := n.Endpoint(overlay.ID{Domain: domain, Kind: overlay.KindWorkstation, Name: "desk"})
	must(t, err)
	ln, err := connect.Listen("127.0.0.1:0")
	must(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	door, err := connect.New(ln, connect.Config{Plain: true, Log: slog.New(slog.DiscardHandler)})
	must(t, err)
	go func() { ended <- door.Run(ctx, ep) }()
	defer func() { cancel(); must(t, <-ended) }()
	_, port, err := net.SplitHostPort(ln.Addr().String())
	must(t, err)
	for host, want := range map[string]int{"127.0.0.1:" + port: http.StatusBadGateway, "localhost:" + port: http.StatusBadGateway,
		"evil.example:" + port: http.StatusMisdirectedRequest, "127.0.0.1": http.StatusMisdirectedRequest, "127.0.0.1:1": http.StatusMisdirectedRequest} {
		req := httptest.NewRequest(http.MethodGet, "http://"+ln.Addr().String()+"/", nil)
		req.RequestURI, req.Host = "", host
		res, err := http.DefaultClient.Do(req)
		must(t, err)
		_ = res.Body.Close()
		if res.StatusCode != want { // 502: there is no hub on this network
			t.Errorf("Host %s: %d, want %d", host, res.StatusCode, want)
		}
	}
}
