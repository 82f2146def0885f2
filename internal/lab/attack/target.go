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
	"reflect"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"

	"vitalseal/internal/way/overlay"
	"vitalseal/internal/way/overlay/openziti"
	"vitalseal/internal/workstation/client"
)

const (
	stopGrace    = 40 * time.Second
	startTimeout = 5 * time.Minute // the demo gives up before
	maxAnswer    = 4 << 20
)

// Target is what is attacked: a fresh demonstration deployment below one folder, and what the
// attacker has of it. The attacks are carried out one after the other by one goroutine.
type Target struct {
	Dir  string       // everything is below it
	Log  *slog.Logger // of the attackers' own parts
	Base string       // URL of the demo's workstation; empty: no demo is running
	Ward Ward         // who and what is in the demo

	cfg     Config
	demo    *exec.Cmd
	ended   chan struct{} // closed when the demo has ended
	serial  int           // for names that are used once
	closers []func() error
	kept    map[reflect.Type]any // what [Shared] made
}

// Quiet is a log that keeps nothing.
var Quiet = slog.New(slog.DiscardHandler)

// Exe is the product's binary that is attacked.
func (t *Target) Exe() string { return t.cfg.Exe }

// AtEnd has end called when the attacks are over. The last one is called first.
func (t *Target) AtEnd(end func() error) { t.closers = append(t.closers, end) }

// Shared is the one T that all attacks on t use. The first attack that asks makes it; an error is
// not kept.
func Shared[T any](t *Target, begin func() (T, error)) (T, error) {
	if v, ok := t.kept[reflect.TypeFor[T]()]; ok {
		return v.(T), nil
	}
	if t.kept == nil {
		t.kept = map[reflect.Type]any{}
	}
	v, err := begin()
	if err == nil {
		t.kept[reflect.TypeFor[T]()] = v
	}
	return v, err
}

// Ward is what the demo writes into demo.json.
type Ward struct {
	Patients []struct {
		ID      string `json:"id"`
		Bed     string `json:"bed"`
		Gateway string `json:"gateway"`
		Channel int64  `json:"channel"`
	} `json:"patients"`
	Gateways []string `json:"gateways"`
	Admin    Login    `json:"admin"`
	SignIns  []Login  `json:"sign_ins"`
	ReadKey  string   `json:"thingspeak_read_key"`
}

// Login is what a person of the demonstration signs in with.
type Login struct {
	Role     string `json:"role"`
	Login    string `json:"login"`
	Password string `json:"password"`
}

// Path is a file of the demonstration's folder.
func (t *Target) Path(elem ...string) string {
	return filepath.Join(append([]string{t.Dir, "demo"}, elem...)...)
}

// Name is a name that was not used before.
func (t *Target) Name(prefix string) string { return fmt.Sprintf("%s%d", prefix, t.Next()) }

// Next is a number that was not used before: 1, 2, 3 ...
func (t *Target) Next() int {
	t.serial++
	return t.serial
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
	t.Base = "http://" + address
	fmt.Fprintf(t.cfg.Progress, "starting a deployment to attack in %s\n", t.Path())
	// #nosec G204 -- our own binary with arguments made here
	cmd := exec.CommandContext(context.WithoutCancel(ctx), t.cfg.Exe, "demo", "--data", t.Path(), "--patients", "2", "--listen", address)
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
	b, err := os.ReadFile(t.Path("demo.json"))
	if err != nil {
		return fmt.Errorf("attack: %w", err)
	}
	if err := json.Unmarshal(b, &t.Ward); err != nil || len(t.Ward.Patients) < 2 {
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

// Close stops everything that was started.
func (t *Target) Close() error {
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

// Answer is what came back.
type Answer struct {
	Status int
	Header http.Header
	Body   []byte
}

func (a Answer) String() string { return fmt.Sprintf("%d %s", a.Status, Clip(string(a.Body))) }

// OK reports a success.
func (a Answer) OK() bool { return a.Status >= 200 && a.Status < 300 }

// Request is one that an attacker writes by hand.
type Request struct {
	Method, Path string
	Header       map[string]string
	Body         any       // JSON, unless Raw is set
	Raw          io.Reader // as it is
	Host         string
	Bearer       string
}

// Site is somewhere that requests can be sent to.
type Site struct {
	Base string
	HTTP *http.Client
}

// Front is the demo's own workstation.
func (t *Target) Front() Site {
	return Site{t.Base, &http.Client{Timeout: 20 * time.Second, CheckRedirect: NoRedirect}}
}

// NoRedirect has an HTTP client give a redirection to its caller.
func NoRedirect(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

// Send sends a request and reads what comes back.
func (s Site) Send(ctx context.Context, r Request) (Answer, error) {
	body := r.Raw
	if r.Body != nil {
		b, err := json.Marshal(r.Body)
		if err != nil {
			return Answer{}, err
		}
		body = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, r.Method, s.Base+r.Path, body)
	if err != nil {
		return Answer{}, err
	}
	req.Header.Set("X-Vitalseal-Request", "1")
	if r.Body != nil || r.Raw != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if r.Bearer != "" {
		req.Header.Set("Authorization", "Bearer "+r.Bearer)
	}
	for k, v := range r.Header {
		if v == "" {
			req.Header.Del(k)
			continue
		}
		req.Header.Set(k, v)
	}
	req.Host = r.Host
	res, err := s.HTTP.Do(req)
	if err != nil {
		return Answer{}, err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer))
	if err != nil {
		return Answer{}, err
	}
	return Answer{res.StatusCode, res.Header, b}, nil
}

// Session is a sign-in of which the attacker holds the tokens.
type Session struct {
	Access  string `json:"access_token"`
	Refresh string `json:"refresh_token"`
}

// SignIn signs in for tokens.
func (s Site) SignIn(ctx context.Context, who Login) (Session, error) {
	var out Session
	a, err := s.Send(ctx, Request{Method: "POST", Path: "/api/session", Body: map[string]any{"login": who.Login, "password": who.Password, "tokens": true}})
	if err != nil {
		return out, err
	}
	if err := json.Unmarshal(a.Body, &out); err != nil || out.Access == "" {
		return out, fmt.Errorf("sign-in of %s: %s", who.Login, a)
	}
	return out, nil
}

// Who is the demo's sign-in of a role.
func (t *Target) Who(role string) Login {
	if role == "admin" {
		return t.Ward.Admin
	}
	for _, l := range t.Ward.SignIns {
		if l.Role == role {
			return l
		}
	}
	return Login{}
}

// As signs a role in for tokens at the demo's workstation.
func (t *Target) As(ctx context.Context, role string) (Session, error) {
	return t.Front().SignIn(ctx, t.Who(role))
}

// Client signs a role in as the command line does.
func (t *Target) Client(ctx context.Context, who Login) (*client.Client, error) {
	c, err := client.New(t.Base)
	if err != nil {
		return nil, err
	}
	return c, c.SignIn(ctx, who.Login, who.Password)
}

// Admin signs the administrator in as the command line does.
func (t *Target) Admin(ctx context.Context) (*client.Client, error) {
	return t.Client(ctx, t.Ward.Admin)
}

// Person makes a person with a lasting password.
func (t *Target) Person(ctx context.Context, role string, more map[string]any) (id string, who Login, err error) {
	admin, err := t.Admin(ctx)
	if err != nil {
		return "", who, err
	}
	who = Login{Role: role, Login: t.Name("p-" + role + "-")}
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
	c, err := client.New(t.Base)
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

// Station is a workstation that the attacker has enrolled honestly and uses as they like.
type Station struct {
	Site
	Identity *overlay.Identity
	Endpoint overlay.Endpoint
}

// Enrol redeems a ticket that an administrator made with the given request.
func (t *Target) Enrol(ctx context.Context, path string, body any) ([]*overlay.Identity, error) {
	admin, err := t.Admin(ctx)
	if err != nil {
		return nil, err
	}
	var raw json.RawMessage
	if err := admin.Do(ctx, http.MethodPost, "/api/admin/"+path, body, &raw); err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp(t.Dir, "rogue-")
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
	return overlay.Enrol(ctx, openziti.NewNetwork(t.Log), ticket, dir, t.Log)
}

// Mine is the attacker's workstation.
func (t *Target) Mine(ctx context.Context) (*Station, error) {
	return Shared(t, func() (*Station, error) { return t.NewStation(ctx) })
}

// NewStation enrols a new workstation and connects it.
func (t *Target) NewStation(ctx context.Context) (*Station, error) {
	ids, err := t.Enrol(ctx, "workstations", map[string]string{"id": t.Name("desk-")})
	if err != nil {
		return nil, err
	}
	ep, err := openziti.Connect(ctx, ids[0], t.Log)
	if err != nil {
		return nil, err
	}
	t.AtEnd(ep.Close)
	s := &Station{Identity: ids[0], Endpoint: ep}
	s.Site = Site{"http://hub", &http.Client{Timeout: 20 * time.Second, CheckRedirect: NoRedirect, Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return ep.Dial(ctx, overlay.ServiceFaces) }}}}
	t.AtEnd(func() error { s.HTTP.CloseIdleConnections(); return nil })
	return s, Await(ctx, func() error { // what it may reach takes the overlay a moment to learn
		a, err := s.Send(ctx, Request{Method: "GET", Path: "/api/session"})
		if err == nil && a.Status != http.StatusUnauthorized {
			err = fmt.Errorf("the hub answers %s", a)
		}
		return err
	})
}

// Await tries until it works or ctx ends.
func Await(ctx context.Context, try func() error) error {
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

// SideBySide runs f n times side by side and waits.
func SideBySide(n int, f func(i int)) {
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { f(i) })
	}
	wg.Wait()
}
