package bench

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/coder/websocket"

	"vitalseal/internal/hub"
	"vitalseal/internal/hub/fleet"
	"vitalseal/internal/way/overlay"
	"vitalseal/internal/way/overlay/manage"
	"vitalseal/internal/way/overlay/openziti"
	"vitalseal/internal/workstation/client"
	"vitalseal/internal/workstation/connect"
)

const (
	// attempt bounds one attempt at a new connection: OpenZiti's SDK, when its identity is gone, would try for four seconds.
	attempt = 1500 * time.Millisecond
	// stepUpEvery is how often the administrator proves who she is again; dangerous acts want a proof of the last minutes.
	stepUpEvery = 2 * time.Minute
)

// withHub measures what a whole system does: components and people at a hub on the real network, through the same faces
// and commands as anywhere.
func (b *bench) withHub(ctx context.Context) (err error) {
	w := &hubWorld{b: b, data: filepath.Join(b.cfg.Dir, "hub")}
	ctx, cancel := context.WithCancel(ctx)
	defer func() {
		w.close()
		cancel()
		err = errors.Join(err, w.wait())
	}()
	b.say("a hub, a workstation, a nurse and a patient")
	if err := w.start(ctx); err != nil {
		return fmt.Errorf("measure: hub: %w", err)
	}
	for _, kind := range []struct {
		name    string
		prepare func(context.Context, int) (trial, error)
	}{
		{"dialler disabled", w.diallerDisabled},
		{"dialler deleted", w.diallerDeleted},
		{"certificate rotated", w.certificateRotated},
		{"session signed out", w.signedOut},
		{"person disabled", w.personDisabled},
		{"nurse moved off the ward", w.movedOff},
	} {
		if err := b.measure(ctx, kind.name, kind.prepare); err != nil {
			return err
		}
	}
	return nil
}

type hubWorld struct {
	b     *bench
	data  string
	ended []chan error // of what runs in the background

	door          string // the workstation's address
	admin         *client.Client
	adminPassword string
	proven        time.Time
	workstation   overlay.Endpoint

	nurse, nursePassword, nurseID, patient string

	probe *overlay.Identity // a workstation to revoke
	net   overlay.Endpoint
}

func (w *hubWorld) background(run func() error) {
	done := make(chan error, 1)
	w.ended = append(w.ended, done)
	go func() { done <- run() }()
}

func (w *hubWorld) wait() (err error) {
	for _, done := range w.ended {
		err = errors.Join(err, <-done)
	}
	return err
}

func (w *hubWorld) close() {
	for _, ep := range []overlay.Endpoint{w.net, w.workstation} {
		if ep != nil {
			_ = ep.Close()
		}
	}
}

func (w *hubWorld) start(ctx context.Context) error {
	cfg := hub.Default()
	cfg.Data, cfg.Deployment = w.data, domain
	cfg.Overlay.HubToken, cfg.Overlay.AdminToken = filepath.Join(w.b.dir, overlay.HubTokenFile), filepath.Join(w.b.dir, overlay.AdminTokenFile)
	network := hub.Network{Network: w.b.network, Administer: func(ctx context.Context, file string, log *slog.Logger) (fleet.Administration, error) {
		a, err := manage.ConnectAdmin(ctx, file, log)
		w.b.admin = a
		return a, err
	}}
	ready, failed := make(chan struct{}), make(chan error, 1)
	w.background(func() error {
		err := hub.Run(ctx, cfg, network, func() error { close(ready); return nil }, w.b.cfg.Log)
		failed <- err
		return err
	})
	select {
	case <-ready:
	case err := <-failed:
		return fmt.Errorf("it ended at its start: %w", err)
	case <-time.After(startPatience):
		return errors.New("it is not ready in time")
	}

	// The first workstation, with its door, and the administrator at it.
	first, err := w.enrolFile(ctx, filepath.Join(w.data, "first-workstation.ticket"), "first")
	if err != nil {
		return err
	}
	if w.workstation, err = openziti.Connect(ctx, first, w.b.cfg.Log); err != nil {
		return err
	}
	ln, err := connect.Listen("127.0.0.1:0")
	if err != nil {
		return err
	}
	w.door = "http://" + ln.Addr().String()
	door, err := connect.New(ln, connect.Config{Plain: true, Log: w.b.cfg.Log})
	if err != nil {
		return err
	}
	w.background(func() error { return door.Run(ctx, w.workstation) })
	var signIn struct{ Login, Password string }
	raw, err := os.ReadFile(filepath.Join(w.data, "first-admin.json"))
	if err == nil {
		err = json.Unmarshal(raw, &signIn)
	}
	if err != nil {
		return err
	}
	if w.admin, w.adminPassword, err = w.signIn(ctx, signIn.Login, signIn.Password); err != nil {
		return err
	}
	w.proven = time.Now()
	return w.seed(ctx)
}

// signIn signs a person in, who changes a one-time password first.
func (w *hubWorld) signIn(ctx context.Context, login, password string) (*client.Client, string, error) {
	c, err := client.New(w.door)
	if err != nil {
		return nil, "", err
	}
	if err := until(ctx, "sign in", func() error { return c.SignIn(ctx, login, password) }); err != nil {
		return nil, "", err
	}
	var who struct {
		Must bool `json:"must_change_password"`
	}
	if err := c.Do(ctx, http.MethodGet, "/api/session", nil, &who); err != nil || !who.Must {
		return c, password, err
	}
	lasting := password + " and more"
	return c, lasting, c.Do(ctx, http.MethodPost, "/api/account/password", map[string]string{"old": password, "new": lasting}, nil)
}

// administer does something as the administrator.
func (w *hubWorld) administer(ctx context.Context, method, path string, in, out any) error {
	return w.admin.Do(ctx, method, "/api/admin/"+path, in, out)
}

// prove keeps the administrator's proof of who she is fresh. It is not part of what is measured.
func (w *hubWorld) prove(ctx context.Context) error {
	if time.Since(w.proven) < stepUpEvery {
		return nil
	}
	w.proven = time.Now()
	return w.admin.StepUp(ctx, client.Proof{Password: w.adminPassword})
}

func (w *hubWorld) seed(ctx context.Context) error {
	var patient, nurse struct{ ID, Password string }
	for _, x := range []struct {
		path    string
		in, out any
	}{
		{"wards", map[string]string{"id": "w1", "name": "One"}, nil},
		{"beds", map[string]string{"id": "b1", "ward": "w1", "name": "b1"}, nil},
		{"patients", map[string]string{"name": "Nobody", "bed": "b1"}, &patient},
		{"persons", map[string]any{"login": "nurse", "display_name": "Nurse", "role": "nurse", "wards": []string{"w1"}}, &nurse},
	} {
		if err := w.administer(ctx, http.MethodPost, x.path, x.in, x.out); err != nil {
			return err
		}
	}
	w.nurse, w.nurseID, w.patient = "nurse", nurse.ID, patient.ID
	c, password, err := w.signIn(ctx, w.nurse, nurse.Password)
	if err != nil {
		return err
	}
	w.nursePassword = password
	if err := c.SignOut(ctx); err != nil {
		return err
	}
	return w.newProbe(ctx, "probe")
}

// newProbe enrols a fresh workstation to revoke.
func (w *hubWorld) newProbe(ctx context.Context, name string) error {
	var ticket json.RawMessage
	if err := w.administer(ctx, http.MethodPost, "workstations", map[string]string{"id": name}, &ticket); err != nil {
		return err
	}
	file := filepath.Join(w.b.cfg.Dir, name+".ticket")
	if err := overlay.WriteSecretFile(file, ticket); err != nil {
		return err
	}
	var err error
	if w.probe, err = w.enrolFile(ctx, file, name); err != nil {
		return err
	}
	return w.reconnect(ctx)
}

func (w *hubWorld) enrolFile(ctx context.Context, file, name string) (*overlay.Identity, error) {
	ticket, err := overlay.ReadTicket(file)
	if err != nil {
		return nil, err
	}
	ids, err := overlay.Enrol(ctx, w.b.network, ticket, filepath.Join(w.b.cfg.Dir, "identities", name), w.b.cfg.Log)
	if err != nil {
		return nil, err
	}
	return ids[0], nil
}

// reconnect gives the probe a fresh connection to the network, and waits until it gets through to the faces.
func (w *hubWorld) reconnect(ctx context.Context) (err error) {
	if w.net != nil {
		_ = w.net.Close()
	}
	if w.net, err = openziti.Connect(ctx, w.probe, w.b.cfg.Log); err != nil {
		return err
	}
	return until(ctx, "reach the faces", func() error { return tryFaces(ctx, w.net) })
}

// faces opens a connection to the faces and has a page over it; the connection stays open.
func faces(ctx context.Context, ep overlay.Endpoint) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, attempt)
	defer cancel()
	c, err := ep.Dial(ctx, overlay.ServiceFaces)
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { _ = c.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	_, err = io.WriteString(c, "GET /api/session HTTP/1.1\r\nHost: hub\r\n\r\n")
	if err == nil {
		var res *http.Response
		if res, err = http.ReadResponse(bufio.NewReader(c), nil); err == nil {
			_, err = io.Copy(io.Discard, res.Body)
			_ = res.Body.Close()
		}
	}
	if err != nil {
		_ = c.Close()
		return nil, err
	}
	return c, nil
}

func tryFaces(ctx context.Context, ep overlay.Endpoint) error {
	c, err := faces(ctx, ep)
	if err != nil {
		return err
	}
	return c.Close()
}

// component is a trial with a workstation's connection.
func (w *hubWorld) component(ctx context.Context, ep overlay.Endpoint, revoke, after func(context.Context) error) (trial, error) {
	if err := w.prove(ctx); err != nil {
		return trial{}, err
	}
	open, err := faces(ctx, ep)
	if err != nil {
		return trial{}, err
	}
	return trial{
		open:   func() error { return ends(open) },
		dial:   func() error { return tryFaces(ctx, ep) },
		revoke: revoke,
		after: func(ctx context.Context) error {
			_ = open.Close()
			return after(ctx)
		},
	}, nil
}

func (w *hubWorld) change(id overlay.ID, change string) func(context.Context) error {
	return func(ctx context.Context) error {
		return w.administer(ctx, http.MethodPost, "identities/"+id.Kind+"/"+id.Name+"/"+change, nil, nil)
	}
}

func (w *hubWorld) diallerDisabled(ctx context.Context, _ int) (trial, error) {
	return w.component(ctx, w.net, w.change(w.probe.ID(), "disable"), func(ctx context.Context) error {
		if err := w.change(w.probe.ID(), "enable")(ctx); err != nil {
			return err
		}
		return w.reconnect(ctx)
	})
}

func (w *hubWorld) diallerDeleted(ctx context.Context, n int) (trial, error) {
	return w.component(ctx, w.net, w.change(w.probe.ID(), "delete"), func(ctx context.Context) error {
		return w.newProbe(ctx, "probe-"+strconv.Itoa(n))
	})
}

// certificateRotated measures from the moment at which the component goes for its new key: a stolen copy of the old one
// loses its connection and gets no other.
func (w *hubWorld) certificateRotated(ctx context.Context, n int) (trial, error) {
	file := filepath.Join(w.b.cfg.Dir, "stolen-"+strconv.Itoa(n)+".json")
	if err := w.probe.Save(file); err != nil {
		return trial{}, err
	}
	stolen, err := overlay.LoadIdentity(file)
	if err != nil {
		return trial{}, err
	}
	if err := w.probe.Save(filepath.Join(w.b.cfg.Dir, "probe.json")); err != nil { // later renewals go here
		return trial{}, err
	}
	thief, err := openziti.Connect(ctx, stolen, w.b.cfg.Log)
	if err != nil {
		return trial{}, err
	}
	if err := errors.Join(until(ctx, "connect with a copy", func() error { return tryFaces(ctx, thief) }), w.change(w.probe.ID(), "rotate")(ctx)); err != nil {
		return trial{}, err
	}
	return w.component(ctx, thief, func(ctx context.Context) error {
		return (&overlay.Renewer{Identity: w.probe, Endpoint: w.net, Log: w.b.cfg.Log}).Renew(ctx)
	}, func(context.Context) error { return thief.Close() })
}

// viewing is a trial with the nurse's live view of a patient.
func (w *hubWorld) viewing(ctx context.Context, revoke func(ctx context.Context, nurse *client.Client) error, after func(context.Context) error) (trial, error) {
	if err := w.prove(ctx); err != nil {
		return trial{}, err
	}
	nurse, _, err := w.signIn(ctx, w.nurse, w.nursePassword)
	if err != nil {
		return trial{}, err
	}
	u := nurse.Base()
	u.Scheme, u.Path, u.RawQuery = "ws", "/api/live", url.Values{"patient": {w.patient}}.Encode()
	live, _, err := websocket.Dial(ctx, u.String(), &websocket.DialOptions{HTTPHeader: nurse.Cookies()}) //nolint:bodyclose // the library closes it
	if err != nil {
		return trial{}, err
	}
	if _, _, err := live.Read(ctx); err != nil {
		return trial{}, err
	}
	return trial{
		open: func() error {
			ctx, cancel := context.WithTimeout(ctx, patience)
			defer cancel()
			for {
				if _, _, err := live.Read(ctx); ctx.Err() != nil {
					return fmt.Errorf("%w: the live view stays", ErrNoCut)
				} else if err != nil {
					return nil //nolint:nilerr // that is what we wait for
				}
			}
		},
		dial:   func() error { return nurse.Do(ctx, http.MethodGet, "/api/patients/"+w.patient, nil, nil) },
		revoke: func(ctx context.Context) error { return revoke(ctx, nurse) },
		after: func(ctx context.Context) error {
			_ = live.CloseNow()
			return errors.Join(after(ctx), signOutAnyway(ctx, nurse))
		},
	}, nil
}

// signOutAnyway leaves no session behind; that it is gone already is fine.
func signOutAnyway(ctx context.Context, c *client.Client) error {
	_ = c.SignOut(ctx)
	return nil
}

func (w *hubWorld) signedOut(ctx context.Context, _ int) (trial, error) {
	return w.viewing(ctx, func(ctx context.Context, nurse *client.Client) error { return nurse.SignOut(ctx) },
		func(context.Context) error { return nil })
}

func (w *hubWorld) personDisabled(ctx context.Context, _ int) (trial, error) {
	change := func(change string) func(context.Context) error {
		return func(ctx context.Context) error {
			return w.administer(ctx, http.MethodPost, "persons/"+w.nurseID+"/"+change, map[string]any{}, nil)
		}
	}
	return w.viewing(ctx, func(ctx context.Context, _ *client.Client) error { return change("disable")(ctx) }, change("enable"))
}

func (w *hubWorld) movedOff(ctx context.Context, _ int) (trial, error) {
	wards := func(ctx context.Context, ids ...string) error {
		return w.administer(ctx, http.MethodPut, "persons/"+w.nurseID+"/wards", map[string]any{"wards": append([]string{}, ids...)}, nil)
	}
	return w.viewing(ctx, func(ctx context.Context, _ *client.Client) error { return wards(ctx) },
		func(ctx context.Context) error { return wards(ctx, "w1") })
}
