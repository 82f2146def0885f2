// Package demo runs a whole deployment on one machine: the embedded overlay, a hub, gateways whose chips are simulated
// down to their registers, and a workstation's connect proxy, each its own process started by the same command lines
// that a hospital would use. It seeds a small ward through the administration face and watches the result as a doctor.
//
// It hides the order of starting and stopping and the first-start ceremony (tickets, one-time password). It guarantees
// that whatever it started has ended when Run returns, also after a failure, that a second start finds the first one's
// data, and that the figures it reports were measured: delivery from the hub's store, errors against the simulated
// truth as a signed-in doctor sees the numbers. The sign-ins lie in the data folder (0600) and are printed on purpose.
// It does not protect a real deployment: it is a demonstration, on loopback only.
package demo

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"vitalseal/internal/shared/process"
	"vitalseal/internal/workstation/client"
)

// MaxPatients is as many as one machine's demo is meant for.
const MaxPatients = 64

const (
	defaultPatients = 4
	deployment      = "demo.vitalseal.internal"
	startTimeout    = 4 * time.Minute // a loaded machine takes a multiple of the 20 s of an idle one
	stopGrace       = 15 * time.Second
	// drainGrace is how long a stopping gateway may take to empty its outbox.
	drainGrace = 20 * time.Second
)

// What is wrong with a Config, found before anything is started.
var (
	// ErrOtherWard says that the data folder was made for another number of patients.
	ErrOtherWard = errors.New("demo: the data folder was made for another number of patients")
	// ErrForeign says that the data folder holds what no demo made.
	ErrForeign = errors.New("demo: the data folder holds something else")
	// ErrReplay says that there is no such recording.
	ErrReplay = errors.New("demo: --replay")
)

// Config says how the demo runs.
type Config struct {
	Exe      string        // the vitalseal binary
	Data     string        // folder for everything
	Patients int           // 0: 4, or what the folder was made for
	Replay   string        // recording that drives the first patient's chip; empty for none
	For      time.Duration // how long to stay up once numbers are on the screen; 0: until the context ends
	Listen   string        // loopback address of the dashboard
	Hubs     int           // on Database; 0 and 1: one
	Database string        // connection string of PostgreSQL; empty: files
	Display  string        // loopback address of a wall screen, a workstation of its own; empty for none
	JSON     bool          // end with one JSON object on Result
	Progress io.Writer     // for people
	Result   io.Writer     // for programs
}

// Run starts everything, shows it until ctx ends or cfg.For is over, stops everything and reports.
func Run(ctx context.Context, cfg Config) (err error) {
	began := time.Now()
	if err := os.MkdirAll(cfg.Data, 0o700); err != nil {
		return fmt.Errorf("demo: %w", err)
	}
	cfg.Data, err = filepath.Abs(cfg.Data)
	if err != nil {
		return fmt.Errorf("demo: %w", err)
	}
	unlock, err := lock(cfg.Data)
	if err != nil {
		return err
	}
	defer unlock()
	d := &deploymentRun{cfg: cfg, began: began}
	if d.super, err = process.New(cfg.Exe, filepath.Join(cfg.Data, "logs")); err != nil {
		return fmt.Errorf("demo: %w", err)
	}
	defer func() { err = errors.Join(err, d.super.StopAll(stopGrace)) }()
	if err := d.start(ctx); err != nil {
		if ctx.Err() != nil {
			return nil // Ctrl-C while starting is no failure
		}
		return err
	}
	if err := d.watch(ctx); err != nil {
		return err
	}
	return d.finish(context.WithoutCancel(ctx))
}

// deploymentRun is one run of the demo.
type deploymentRun struct {
	cfg   Config
	began time.Time
	super *process.Supervisor
	ward  *ward

	hubs             []*process.Process // that are up
	connect, overlay *process.Process
	display          *process.Process // nil without a wall screen
	gateways         []*process.Process
	seen             *observer
	before           delivery // what the hub had before this run
	step             string   // what was last begun, in words
	firstNumber      time.Duration
}

func (d *deploymentRun) say(format string, args ...any) {
	d.step = fmt.Sprintf(format, args...)
	fmt.Fprintf(d.cfg.Progress, "%6.1f s  %s\n", time.Since(d.began).Seconds(), d.step)
}

func (d *deploymentRun) path(elem ...string) string {
	return filepath.Join(append([]string{d.cfg.Data}, elem...)...)
}

// start brings the deployment up in the order its parts depend on each other.
func (d *deploymentRun) start(ctx context.Context) (err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, startTimeout, errors.New("demo: not up in time"))
	defer cancel()
	defer func() {
		if err != nil && ctx.Err() != nil {
			err = fmt.Errorf("demo: not up within %v; the last step was %q; the logs are in %s: %w", startTimeout, d.step, d.path("logs"), err)
		}
	}()
	if err := readJSON(d.path("demo.json"), &d.ward); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if d.ward != nil && d.cfg.Patients != 0 && d.cfg.Patients != len(d.ward.Patients) {
		return fmt.Errorf("%w: %s has %d, --patients says %d", ErrOtherWard, d.cfg.Data, len(d.ward.Patients), d.cfg.Patients)
	}
	if d.cfg.Patients == 0 {
		d.cfg.Patients = defaultPatients
	}
	if err := checkReplay(d.cfg.Replay); err != nil {
		return err
	}
	if d.ward == nil {
		if err := d.afresh(); err != nil {
			return err
		}
	}

	d.say("overlay: starting the OpenZiti controller and router")
	if d.overlay, err = d.super.Start(ctx, "overlay", "overlay", "--data", d.path("overlay")); err != nil {
		return err
	}
	d.say("hub: starting")
	if err := d.writeHubConfig("hub", map[string]string{"hub_token": d.path("overlay", "hub.jwt"), "admin_token": d.path("overlay", "hub-admin.jwt")}); err != nil {
		return err
	}
	hub, err := d.super.Start(ctx, "hub", "hub", "--config", d.path("hub.yaml"))
	if err != nil {
		return err
	}
	d.hubs = append(d.hubs, hub)
	if d.ward == nil {
		d.say("workstation: enrolling")
		if err := d.super.Run(ctx, "enrol", "--ticket", d.path("hub", "first-workstation.ticket"), "--data", d.path("connect")); err != nil {
			return err
		}
	}
	if d.connect, err = d.super.Start(ctx, "connect", "connect", "--data", d.path("connect"), "--listen", d.cfg.Listen, "--plain"); err != nil {
		return err
	}
	if d.ward == nil {
		d.say("ward: %d patients, their beds, sensors and people", d.cfg.Patients)
		if err := d.seed(ctx); err != nil {
			return err
		}
		if err := os.Remove(d.path("unfinished")); err != nil {
			return fmt.Errorf("demo: %w", err)
		}
	}
	if err := d.startHubs(ctx); err != nil {
		return err
	}
	if d.cfg.Display != "" {
		if err := d.startDisplay(ctx); err != nil {
			return err
		}
	}
	for _, gw := range d.ward.Gateways {
		if _, err := os.Stat(d.path(gw, "enrolled")); err != nil {
			d.say("%s: enrolling it and its sensors, each its own identity", gw)
			if err := d.super.Run(ctx, "enrol", "--ticket", d.path(gw, "ticket.json"), "--data", d.path(gw)); err != nil {
				return err
			}
			if err := os.WriteFile(d.path(gw, "enrolled"), nil, 0o600); err != nil {
				return fmt.Errorf("demo: %w", err)
			}
		}
	}
	if d.before, err = d.askDelivery(ctx); err != nil {
		return err
	}
	if d.seen, err = newObserver(ctx, d.address(), d.ward, d.cfg.Replay, d.began); err != nil {
		return err
	}
	for _, gw := range d.ward.Gateways {
		if err := d.ward.bench(gw, d.cfg.Replay, d.began).Save(d.path(gw, "bench.yaml")); err != nil {
			return fmt.Errorf("demo: %w", err)
		}
		d.say("%s: starting", gw)
		p, err := d.super.Start(ctx, gw, "gateway", "--config", d.path(gw, "gateway.yaml"), "--bench", d.path(gw, "bench.yaml"))
		if err != nil {
			return err
		}
		d.gateways = append(d.gateways, p)
	}
	return nil
}

// afresh forgets what a first start left that was stopped before demo.json was there: its one-time tickets may be used
// up, and nothing of worth is in it. It removes only what the marker says that a demo made.
func (d *deploymentRun) afresh() error {
	gateways, err := filepath.Glob(d.path("gw-*"))
	if err != nil {
		return fmt.Errorf("demo: %w", err)
	}
	_, err = os.Stat(d.path("unfinished"))
	marked := err == nil
	for _, part := range append(gateways, d.path("overlay"), d.path("hub"), d.path("connect"), d.path("wall")) {
		if _, err := os.Lstat(part); err == nil && !marked {
			return fmt.Errorf("%w: %s", ErrForeign, part)
		}
		if err := os.RemoveAll(part); err != nil {
			return fmt.Errorf("demo: %w", err)
		}
	}
	return writeFile(d.path("unfinished"), nil)
}

// address is where the dashboard is reached.
func (d *deploymentRun) address() string { return "http://" + d.cfg.Listen }

func (d *deploymentRun) seed(ctx context.Context) error {
	var first struct {
		Login    string `json:"login"`
		Password string `json:"password"`
	}
	if err := readJSON(d.path("hub", "first-admin.json"), &first); err != nil {
		return err
	}
	c, err := client.New(d.address())
	if err != nil {
		return err
	}
	// What a workstation may reach takes the overlay's router a moment to learn.
	reached := func() bool {
		var status *client.StatusError
		err := c.Do(ctx, http.MethodGet, "/api/session/ways", nil, nil)
		return !errors.As(err, &status) || status.Status != http.StatusBadGateway
	}
	for !reached() {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(250 * time.Millisecond):
		}
	}
	admin, err := firstSignIn(ctx, c, signIn{Role: "admin", Login: first.Login, Password: first.Password})
	if err != nil {
		return err
	}
	d.ward, err = seed(ctx, c, d.cfg.Data, d.cfg.Patients, admin)
	return errors.Join(err, c.SignOut(ctx))
}

// startDisplay starts a wall screen: a workstation of its own, which is enrolled the first time.
func (d *deploymentRun) startDisplay(ctx context.Context) (err error) {
	if _, err := os.Stat(d.path("wall", "enrolled")); err != nil {
		d.say("wall screen: enrolling")
		c, err := client.New(d.address())
		if err != nil {
			return err
		}
		if err := c.SignIn(ctx, d.ward.Admin.Login, d.ward.Admin.Password); err != nil {
			return err
		}
		var ticket json.RawMessage
		ids := []string{}
		for _, w := range wards {
			ids = append(ids, w.id)
		}
		name := "wall-" + strings.ToLower(rand.Text()[:6]) // an interrupted start must not be in the way of the next
		err = c.Do(ctx, http.MethodPost, "/api/admin/workstations", map[string]any{"id": name, "mode": "display", "wards": ids}, &ticket)
		if err := errors.Join(err, c.SignOut(ctx)); err != nil {
			return err
		}
		if err := os.RemoveAll(d.path("wall")); err != nil {
			return fmt.Errorf("demo: %w", err)
		}
		if err := os.MkdirAll(d.path("wall"), 0o700); err != nil {
			return fmt.Errorf("demo: %w", err)
		}
		if err := writeFile(d.path("wall", "ticket.json"), ticket); err != nil {
			return err
		}
		if err := d.super.Run(ctx, "enrol", "--ticket", d.path("wall", "ticket.json"), "--data", d.path("wall")); err != nil {
			return err
		}
		if err := writeFile(d.path("wall", "enrolled"), nil); err != nil {
			return err
		}
	}
	d.display, err = d.super.Start(ctx, "display", "connect", "--data", d.path("wall"), "--listen", d.cfg.Display, "--plain")
	return err
}

// watch prints the sign-ins when the first number is there and stays until it is time to stop.
func (d *deploymentRun) watch(ctx context.Context) error {
	watching, stop := context.WithCancel(ctx)
	defer stop()
	ended := make(chan error, 1)
	go func() { ended <- d.seen.run(watching) }()
	defer func() { stop(); <-ended }()

	deadline := time.NewTimer(startTimeout)
	defer deadline.Stop()
	select {
	case <-d.seen.first:
		d.firstNumber = time.Since(d.began)
		d.printSignIns()
	case p := <-d.super.Ended:
		return fmt.Errorf("demo: %s ended by itself: %w\n%s(whole log: %s)", p.Name, p.Err, process.LastLines(p.Log, 5), p.Log)
	case <-deadline.C:
		return fmt.Errorf("demo: no number on the dashboard within %v; the logs are in %s", startTimeout, d.path("logs"))
	case <-ctx.Done():
		return nil
	}
	var over <-chan time.Time
	if d.cfg.For > 0 {
		t := time.NewTimer(d.cfg.For)
		defer t.Stop()
		over = t.C
	}
	for {
		select {
		case p := <-d.super.Ended:
			if n := slices.Index(d.hubs, p); n >= 0 && len(d.hubs) > 1 {
				d.hubs = slices.Delete(d.hubs, n, n+1)
				d.say("%s ended; its clients go on at another hub (%d are left)", p.Name, len(d.hubs))
				continue
			}
			return fmt.Errorf("demo: %s ended by itself: %w\n%s(whole log: %s)", p.Name, p.Err, process.LastLines(p.Log, 5), p.Log)
		case <-over:
		case <-ctx.Done():
		}
		return nil
	}
}

func (d *deploymentRun) printSignIns() {
	d.say("first number on the dashboard")
	w := d.cfg.Progress
	fmt.Fprintf(w, "\n  %s\n\n", d.address())
	admin := d.ward.Admin
	admin.Sees = "names and beds, no values; persons, devices, approvals, quotas"
	for _, s := range append(slices.Clone(d.ward.SignIns), admin) {
		fmt.Fprintf(w, "  %-8s password %s   sees %s\n", s.Login, s.Password, s.Sees)
	}
	if c, err := client.FromFile(d.path("connect", "connect.json")); err == nil { // its address has the name to which passkeys are bound
		fmt.Fprintf(w, "\n  The password is enough to sign in. To try passkeys, open the same page as %s\n", c.Base())
	}
	p := d.ward.Patients[0]
	if d.cfg.Display != "" {
		fmt.Fprintf(w, "\n  Wall screen, without a sign-in: http://%s/display\n", d.cfg.Display)
	}
	fmt.Fprintf(w, "\n  ThingSpeak: %s/channels/%d/feeds.json?api_key=%s&results=2\n", d.address(), p.Channel, d.ward.ReadKey)
	fmt.Fprintf(w, "\n  Simulated patients. Research use, not a cleared medical device.\n")
	if d.cfg.For > 0 {
		fmt.Fprintf(w, "  Stops by itself after %v.\n\n", d.cfg.For)
	} else {
		fmt.Fprintf(w, "  Ctrl-C stops it all; data and sign-ins stay in %s\n\n", d.cfg.Data)
	}
}

// finish stops the parts in the order data flows, so that what was measured has arrived, and reports.
func (d *deploymentRun) finish(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	resident := d.super.ResidentMiB()
	resident["demo"] = resident["self"]
	delete(resident, "self")
	d.say("stopping: gateways first, so that everything sealed is delivered")
	var errs []error
	for _, p := range d.gateways {
		errs = append(errs, d.super.Stop(p, drainGrace))
	}
	report, err := d.report(ctx, resident)
	errs = append(errs, err)
	parts := slices.Concat([]*process.Process{d.connect}, d.hubs, []*process.Process{d.overlay})
	if d.display != nil {
		parts = append([]*process.Process{d.display}, parts...)
	}
	for _, p := range parts {
		errs = append(errs, d.super.Stop(p, stopGrace))
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	d.say("stopped")
	if d.cfg.JSON {
		return json.NewEncoder(d.cfg.Result).Encode(report)
	}
	report.print(d.cfg.Progress)
	return nil
}
