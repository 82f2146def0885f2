package attack

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"

	"vitalseal/internal/overlay"
	"vitalseal/internal/overlay/openziti"
	"vitalseal/internal/view/client"
)

const (
	stopGrace    = 40 * time.Second
	startTimeout = 5 * time.Minute // the demo gives up before
	maxAnswer    = 4 << 20
)

// Target is what is attacked: a fresh demonstration deployment below one folder, and what the attacker has of it. The
// attacks are carried out one after the other by one goroutine.
type Target struct {
	cfg Config
	dir string
	log *slog.Logger

	demo    *exec.Cmd
	ended   chan struct{} // closed when the demo has ended
	base    string        // of the workstation's address
	ward    ward
	serial  int // for names that are used once
	closers []func() error

	station *station      // the attacker's own workstation, once it is needed
	rogues  *rogueSensors // the attacker's own sensors, once they are needed
}

// ward is what the demo writes into demo.json.
type ward struct {
	Patients []struct {
		ID      string `json:"id"`
		Bed     string `json:"bed"`
		Gateway string `json:"gateway"`
		Channel int64  `json:"channel"`
	} `json:"patients"`
	Gateways []string `json:"gateways"`
	Admin    login    `json:"admin"`
	SignIns  []login  `json:"sign_ins"`
	ReadKey  string   `json:"thingspeak_read_key"`
}

type login struct {
	Role     string `json:"role"`
	Login    string `json:"login"`
	Password string `json:"password"`
}

func (t *Target) path(elem ...string) string {
	return filepath.Join(append([]string{t.dir, "demo"}, elem...)...)
}

// name is a name that was not used before.
func (t *Target) name(prefix string) string {
	t.serial++
	return fmt.Sprintf("%s%d", prefix, t.serial)
}

// start starts the demonstration and waits for its first number.
func (t *Target) start(ctx context.Context) error {
	ln, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return fmt.Errorf("attack: %w", err)
	}
	address := ln.Addr().String()
	if err := ln.Close(); err != nil {
		return fmt.Errorf("attack: %w", err)
	}
	t.base = "http://" + address
	fmt.Fprintf(t.cfg.Progress, "starting a deployment to attack in %s\n", t.path())
	// #nosec G204 -- our own binary with arguments made here
	cmd := exec.CommandContext(context.WithoutCancel(ctx), t.cfg.Exe, "demo", "--data", t.path(), "--patients", "2", "--listen", address)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
	stderr, err := cmd.StderrPipe()
	if err != nil {
		return fmt.Errorf("attack: %w", err)
	}
	started := make(chan error, 1)
	t.ended = make(chan struct{})
	up := make(chan string, 1)
	go func() {
		runtime.LockOSThread() // the parent-death signal is the thread's
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err != nil {
			return
		}
		last := read(stderr, up)
		_ = cmd.Wait()
		select {
		case up <- last:
		default:
		}
		close(t.ended)
	}()
	if err := <-started; err != nil {
		return fmt.Errorf("attack: start: %w", err)
	}
	t.demo = cmd
	timer := time.NewTimer(startTimeout)
	defer timer.Stop()
	select {
	case said := <-up:
		if said != "" {
			return fmt.Errorf("attack: the deployment did not start: %s", said)
		}
	case <-timer.C:
		return errors.New("attack: the deployment did not start in time")
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	b, err := os.ReadFile(t.path("demo.json"))
	if err != nil {
		return fmt.Errorf("attack: %w", err)
	}
	if err := json.Unmarshal(b, &t.ward); err != nil || len(t.ward.Patients) < 2 {
		return fmt.Errorf("attack: demo.json: not what a demo writes (%w)", err)
	}
	return nil
}

// read reads to the end, says "" when the first number is there, and gives the last lines.
func read(r io.Reader, up chan<- string) string {
	var last []string
	s := bufio.NewScanner(r)
	for s.Scan() {
		if strings.Contains(s.Text(), "first number on the dashboard") {
			up <- ""
		}
		last = append(last, s.Text())
		last = last[max(0, len(last)-4):]
	}
	return strings.Join(last, "; ")
}

func interrupt(p *os.Process) error { return p.Signal(os.Interrupt) }

// close stops everything that was started.
func (t *Target) close() error {
	var errs []error
	for i := len(t.closers) - 1; i >= 0; i-- {
		errs = append(errs, t.closers[i]())
	}
	t.closers = nil
	if t.demo != nil {
		_ = interrupt(t.demo.Process) // it may have ended
		timer := time.NewTimer(stopGrace)
		defer timer.Stop()
		select {
		case <-t.ended:
		case <-timer.C:
			_ = syscall.Kill(-t.demo.Process.Pid, syscall.SIGKILL)
			errs = append(errs, errors.New("attack: the deployment did not stop and was killed"))
		}
		t.demo = nil
	}
	return errors.Join(errs...)
}

// answer is what came back.
type answer struct {
	Status int
	Header http.Header
	Body   []byte
}

func (a answer) String() string { return fmt.Sprintf("%d %s", a.Status, clip(string(a.Body))) }

// ok reports a success.
func (a answer) ok() bool { return a.Status >= 200 && a.Status < 300 }

// request is one that an attacker writes by hand.
type request struct {
	method, path string
	header       map[string]string
	body         any       // JSON, unless raw is set
	raw          io.Reader // as it is
	host         string
	bearer       string
}

// site is somewhere that requests can be sent to.
type site struct {
	base string
	http *http.Client
}

// front is the demo's own workstation.
func (t *Target) front() site {
	return site{t.base, &http.Client{Timeout: 20 * time.Second, CheckRedirect: noRedirect}}
}

func noRedirect(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

// send sends a request and reads what comes back.
func (s site) send(ctx context.Context, r request) (answer, error) {
	body := r.raw
	if r.body != nil {
		b, err := json.Marshal(r.body)
		if err != nil {
			return answer{}, err
		}
		body = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, r.method, s.base+r.path, body)
	if err != nil {
		return answer{}, err
	}
	req.Header.Set("X-Vitalseal-Request", "1")
	if r.body != nil || r.raw != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if r.bearer != "" {
		req.Header.Set("Authorization", "Bearer "+r.bearer)
	}
	for k, v := range r.header {
		if v == "" {
			req.Header.Del(k)
			continue
		}
		req.Header.Set(k, v)
	}
	req.Host = r.host
	res, err := s.http.Do(req)
	if err != nil {
		return answer{}, err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer))
	if err != nil {
		return answer{}, err
	}
	return answer{res.StatusCode, res.Header, b}, nil
}

// session is a sign-in of which the attacker holds the tokens.
type session struct {
	Access  string `json:"access_token"`
	Refresh string `json:"refresh_token"`
}

// signIn signs in for tokens.
func (s site) signIn(ctx context.Context, who login) (session, error) {
	var out session
	a, err := s.send(ctx, request{method: "POST", path: "/api/session", body: map[string]any{"login": who.Login, "password": who.Password, "tokens": true}})
	if err != nil {
		return out, err
	}
	if err := json.Unmarshal(a.Body, &out); err != nil || out.Access == "" {
		return out, fmt.Errorf("sign-in of %s: %s", who.Login, a)
	}
	return out, nil
}

// who is the demo's sign-in of a role.
func (t *Target) who(role string) login {
	if role == "admin" {
		return t.ward.Admin
	}
	for _, l := range t.ward.SignIns {
		if l.Role == role {
			return l
		}
	}
	return login{}
}

// as signs a role in for tokens at the demo's workstation.
func (t *Target) as(ctx context.Context, role string) (session, error) {
	return t.front().signIn(ctx, t.who(role))
}

// client signs a role in as the command line does.
func (t *Target) client(ctx context.Context, who login) (*client.Client, error) {
	c, err := client.New(t.base)
	if err != nil {
		return nil, err
	}
	return c, c.SignIn(ctx, who.Login, who.Password)
}

func (t *Target) admin(ctx context.Context) (*client.Client, error) {
	return t.client(ctx, t.ward.Admin)
}

// person makes a person with a lasting password.
func (t *Target) person(ctx context.Context, role string, more map[string]any) (id string, who login, err error) {
	admin, err := t.admin(ctx)
	if err != nil {
		return "", who, err
	}
	who = login{Role: role, Login: t.name("p-" + role + "-")}
	body := map[string]any{"login": who.Login, "role": role, "display_name": "Somebody"}
	for k, v := range more {
		body[k] = v
	}
	var made struct {
		ID       string `json:"id"`
		Password string `json:"password"`
	}
	if err := admin.Do(ctx, http.MethodPost, "/api/admin/persons", body, &made); err != nil {
		return "", who, err
	}
	c, err := client.New(t.base)
	if err != nil {
		return "", who, err
	}
	if err := c.SignIn(ctx, who.Login, made.Password); err != nil {
		return "", who, err
	}
	who.Password = "Lasting-Passw0rd-" + who.Login
	err = c.Do(ctx, http.MethodPost, "/api/account/password", map[string]string{"old": made.Password, "new": who.Password}, nil)
	return made.ID, who, errors.Join(err, c.SignOut(ctx))
}

// station is a workstation that the attacker has enrolled honestly and uses as they like.
type station struct {
	site
	id *overlay.Identity
	ep overlay.Endpoint
}

// enrol redeems a ticket that an administrator made with the given request.
func (t *Target) enrol(ctx context.Context, path string, body any) ([]*overlay.Identity, error) {
	admin, err := t.admin(ctx)
	if err != nil {
		return nil, err
	}
	var raw json.RawMessage
	if err := admin.Do(ctx, http.MethodPost, "/api/admin/"+path, body, &raw); err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp(t.dir, "rogue-")
	if err != nil {
		return nil, err
	}
	file := filepath.Join(dir, "ticket.json")
	if err := os.WriteFile(file, raw, 0o600); err != nil {
		return nil, err
	}
	ticket, err := overlay.ReadTicket(file)
	if err != nil {
		return nil, err
	}
	return overlay.Enrol(ctx, openziti.NewNetwork(t.log), ticket, dir, t.log)
}

// mine is the attacker's workstation.
func (t *Target) mine(ctx context.Context) (*station, error) {
	if t.station != nil {
		return t.station, nil
	}
	s, err := t.newStation(ctx)
	if err == nil {
		t.station = s
	}
	return s, err
}

func (t *Target) newStation(ctx context.Context) (*station, error) {
	ids, err := t.enrol(ctx, "workstations", map[string]string{"id": t.name("desk-")})
	if err != nil {
		return nil, err
	}
	ep, err := openziti.Connect(ctx, ids[0], t.log)
	if err != nil {
		return nil, err
	}
	t.closers = append(t.closers, ep.Close)
	s := &station{id: ids[0], ep: ep}
	s.site = site{"http://hub", &http.Client{Timeout: 20 * time.Second, CheckRedirect: noRedirect, Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return ep.Dial(ctx, overlay.ServiceFaces) }}}}
	t.closers = append(t.closers, func() error { s.http.CloseIdleConnections(); return nil })
	return s, await(ctx, func() error { // what it may reach takes the overlay a moment to learn
		a, err := s.send(ctx, request{method: "GET", path: "/api/session"})
		if err == nil && a.Status != http.StatusUnauthorized {
			err = fmt.Errorf("the hub answers %s", a)
		}
		return err
	})
}

// await tries until it works or ctx ends.
func await(ctx context.Context, try func() error) error {
	for {
		err := try()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return errors.Join(context.Cause(ctx), err)
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// flock runs f n times side by side and waits.
func flock(n int, f func(i int)) {
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { f(i) })
	}
	wg.Wait()
}
