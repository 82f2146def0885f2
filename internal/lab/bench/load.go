package bench

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"vitalseal/internal/hub/store"
	"vitalseal/internal/measurement/vitals"
	"vitalseal/internal/shared/process"
	"vitalseal/internal/way/seal"
	"vitalseal/internal/workstation/client"
)

// LoadConfig says how much to measure.
type LoadConfig struct {
	Exe      string // the vitalseal binary
	Lab      string // the laboratory's binary, which is also the process of many simulated gateways
	Data     string // folder that keeps the deployment: identities take long to make
	Patients int
	For      time.Duration // of measurement, once all are connected
	// Recordings is a folder of recordings of people's pulse waves that drive the simulated chips, taking turns; empty: the
	// simulator's own waves.
	Recordings string
	// Database is PostgreSQL's connection string for the hub; empty: files.
	Database string
	Progress io.Writer
}

// What is wrong with a LoadConfig.
var (
	// ErrOtherFleet says that the folder was made for fewer patients, or by another version.
	ErrOtherFleet = errors.New("measure: the folder was made for another fleet")
	// ErrRecordings says that a folder holds no recording that can drive a chip.
	ErrRecordings = errors.New("measure: no recording of a pulse wave")
)

const (
	// SensorsPerGateway is how many sensors one gateway of the load has.
	SensorsPerGateway = 32
	bedsPerWard       = 50
	// loadPatience bounds the start of one process.
	loadPatience = 3 * time.Minute
	// WarmUp is how long the system runs before the measurement, so that the numbers of the first seconds, when all
	// connects, are not in it.
	WarmUp = 10 * time.Second
	// observed is how many patients the bench watches as a nurse does, numbers and waves.
	observed = 32
)

// RunLoad measures a whole deployment under the load of so many patients: the overlay, the hub and a workstation's connect
// each in a process of their own, all simulated gateways in one more, and one gateway by itself in another.
func RunLoad(ctx context.Context, cfg LoadConfig) (report LoadReport, err error) {
	if cfg.Data, err = filepath.Abs(cfg.Data); err != nil {
		return report, fmt.Errorf("measure: %w", err)
	}
	if err := os.MkdirAll(cfg.Data, 0o700); err != nil {
		return report, fmt.Errorf("measure: %w", err)
	}
	l := &load{cfg: cfg, began: time.Now()}
	if l.recordings, err = FindRecordings(cfg.Recordings); err != nil {
		return report, err
	}
	if l.super, err = process.New(cfg.Exe, l.path("logs")); err != nil {
		return report, fmt.Errorf("measure: %w", err)
	}
	defer func() { err = errors.Join(err, l.super.StopAll(15*time.Second)) }()
	if err := l.start(ctx); err != nil {
		return report, err
	}
	return l.measure(ctx)
}

// load is one run.
type load struct {
	cfg        LoadConfig
	began      time.Time
	super      *process.Supervisor
	recordings []string
	fleet      *Fleet
	listen     string
	stored     int64 // chunks in the store before the gateways started

	processes []*process.Process // in the order of stopping
}

func (l *load) path(elem ...string) string {
	return filepath.Join(append([]string{l.cfg.Data}, elem...)...)
}

func (l *load) say(format string, args ...any) {
	fmt.Fprintf(l.cfg.Progress, "%6.1f s  %s\n", time.Since(l.began).Seconds(), fmt.Sprintf(format, args...))
}

func (l *load) startProcess(ctx context.Context, name string, args ...string) error {
	return l.startProgram(ctx, l.cfg.Exe, name, args...)
}

func (l *load) startProgram(ctx context.Context, exe, name string, args ...string) error {
	ctx, cancel := context.WithTimeoutCause(ctx, loadPatience, fmt.Errorf("measure: %s is not up within %v", name, loadPatience))
	defer cancel()
	p, err := l.super.StartProgram(ctx, exe, name, args...)
	if err != nil {
		if c := context.Cause(ctx); c != nil {
			err = c
		}
		return err
	}
	l.processes = append([]*process.Process{p}, l.processes...)
	return nil
}

// start brings everything up, and makes what is not there yet.
func (l *load) start(ctx context.Context) error {
	if err := l.startHub(ctx); err != nil {
		return err
	}
	if err := l.grow(ctx); err != nil {
		return err
	}
	return l.startGateways(ctx)
}

// startHub brings up what there is without a gateway: overlay, hub, and a workstation's connect.
func (l *load) startHub(ctx context.Context) error {
	var err error
	if l.fleet, err = readFleet(l.path("fleet.json")); err != nil {
		return err
	}
	l.say("overlay: starting")
	if err := l.startProcess(ctx, "overlay", "overlay", "--data", l.path("overlay")); err != nil {
		return err
	}
	if err := writeYAML(l.path("hub.yaml"), map[string]any{"data": l.path("hub"), "deployment": domain, "database": l.cfg.Database,
		"overlay": map[string]string{"hub_token": l.path("overlay", "hub.jwt"), "admin_token": l.path("overlay", "hub-admin.jwt")}}); err != nil {
		return err
	}
	l.say("hub: starting")
	if err := l.startProcess(ctx, "hub", "hub", "--config", l.path("hub.yaml")); err != nil {
		return err
	}
	if _, err := os.Stat(l.path("connect", "enrolled")); err != nil {
		if err := l.super.Run(ctx, "enrol", "--ticket", l.path("hub", "first-workstation.ticket"), "--data", l.path("connect")); err != nil {
			return err
		}
		if err := os.WriteFile(l.path("connect", "enrolled"), nil, 0o600); err != nil {
			return fmt.Errorf("measure: %w", err)
		}
	}
	if l.listen, err = FreeAddress(); err != nil {
		return err
	}
	return l.startProcess(ctx, "connect", "connect", "--data", l.path("connect"), "--listen", l.listen, "--plain")
}

// FreeAddress is a loopback address that no program listened on just now.
func FreeAddress() (string, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", fmt.Errorf("measure: %w", err)
	}
	if err := ln.Close(); err != nil {
		return "", fmt.Errorf("measure: %w", err)
	}
	return ln.Addr().String(), nil
}

// signIn signs in, once the workstation's way to the hub is known to the overlay's router.
func (l *load) signIn(ctx context.Context, login, password string) (*client.Client, error) {
	c, err := client.New("http://" + l.listen)
	if err != nil {
		return nil, err
	}
	err = until(ctx, "sign in", func() error { return c.SignIn(ctx, login, password) })
	return c, err
}

// admin signs in as the administrator; the first time the one-time password is changed for one that lasts.
func (l *load) admin(ctx context.Context) (*client.Client, error) {
	if l.fleet.Admin.Password != "" {
		return l.signIn(ctx, l.fleet.Admin.Login, l.fleet.Admin.Password)
	}
	b, err := os.ReadFile(l.path("hub", "first-admin.json"))
	if err != nil {
		return nil, fmt.Errorf("measure: %w", err)
	}
	var first SignIn
	if err := json.Unmarshal(b, &first); err != nil {
		return nil, fmt.Errorf("measure: first-admin.json: %w", err)
	}
	c, err := l.signIn(ctx, first.Login, first.Password)
	if err != nil {
		return nil, err
	}
	l.fleet.Admin = SignIn{first.Login, rand.Text()}
	if err := c.Do(ctx, http.MethodPost, "/api/account/password", map[string]string{"old": first.Password, "new": l.fleet.Admin.Password}, nil); err != nil {
		return nil, err
	}
	return c, l.fleet.save(l.path("fleet.json"))
}

// startGateways starts the fleet's process, and one gateway by itself.
func (l *load) startGateways(ctx context.Context) error {
	if err := l.writeBenches(); err != nil {
		return err
	}
	admin, err := l.admin(ctx)
	if err != nil {
		return err
	}
	before, err := l.look(ctx, admin)
	if err != nil {
		return err
	}
	l.stored = before.delivery.chunks()
	solo := l.fleet.Gateways[0].Name
	l.say("gateway %s: starting, by itself", solo)
	if err := l.startProcess(ctx, "gateway", "gateway", "--config", l.path(solo, "gateway.yaml"), "--bench", l.path(solo, "bench.yaml")); err != nil {
		return err
	}
	if n := l.gatewayCount(); n > 1 {
		l.say("fleet: starting %d gateways in one process", n-1)
		return l.startProgram(ctx, l.cfg.Lab, "fleet", "bench", "fleet", "--data", l.cfg.Data, "--first", "1", "--count", fmt.Sprint(n-1))
	}
	return nil
}

// gatewayCount is how many gateways carry the patients that were asked for.
func (l *load) gatewayCount() int {
	return (l.cfg.Patients + SensorsPerGateway - 1) / SensorsPerGateway
}

// measure waits until all are connected, then measures.
func (l *load) measure(ctx context.Context) (r LoadReport, err error) {
	admin, err := l.admin(ctx)
	if err != nil {
		return r, err
	}
	if err := l.connected(ctx); err != nil {
		return r, err
	}
	live, err := l.watch(ctx)
	if err != nil {
		return r, err
	}
	l.say("all are connected; %v to warm up", WarmUp)
	if err := Wait(ctx, WarmUp); err != nil {
		return r, err
	}
	l.say("measuring for %v", l.cfg.For)
	before, err := l.look(ctx, admin)
	if err != nil {
		return r, err
	}
	live.begin()
	if err := l.wait(ctx, l.cfg.For); err != nil {
		return r, err
	}
	after, err := l.look(ctx, admin)
	if err != nil {
		return r, err
	}
	screen := live.end()

	l.say("stopping the gateways, so that all they sealed is delivered")
	for _, p := range l.processes {
		if p.Name == "fleet" || p.Name == "gateway" {
			if err := l.super.Stop(p, time.Minute); err != nil {
				return r, err
			}
		}
	}
	if admin, err = l.admin(ctx); err != nil {
		return r, err
	}
	last, err := l.look(ctx, admin)
	if err != nil {
		return r, err
	}
	r = newLoadReport(l, before, after, screen)
	if err := r.account(l, last); err != nil {
		return r, err
	}
	l.say("stopping the rest, and compacting what is stored")
	if err := l.super.StopAll(time.Minute); err != nil {
		return r, err
	}
	r.DiskPerSample, err = l.diskPerSample(ctx, last)
	return r, err
}

// diskPerSample compacts the hub's store and says what it takes for each value of a wave, the numbers, sums, indexes and all
// bookkeeping included.
func (l *load) diskPerSample(ctx context.Context, last moment) (_ float64, err error) {
	keys, _, err := seal.OpenFileKeyStore(l.path("hub", "root.key"))
	if err != nil {
		return 0, err
	}
	st, err := store.Open(ctx, l.path("hub", "store"), keys, slog.New(slog.DiscardHandler), store.WithPostgres(l.cfg.Database))
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, st.Close()) }()
	if err := st.Compact(ctx); err != nil {
		return 0, err
	}
	size, err := st.Size(ctx)
	if err != nil {
		return 0, err
	}
	var waves int64
	for _, s := range last.delivery.Streams {
		if s.Signal == vitals.PPG.String() {
			waves += s.Chunks
		}
	}
	// A chunk is 250 ms at 100 Hz, red and infrared.
	return Rounded(float64(size.Used)/float64(waves*50), 100), nil
}

// Wait lets time pass; a process that ends meanwhile ends it.
func (l *load) wait(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case p := <-l.super.Ended:
		return fmt.Errorf("measure: %s ended by itself: %w\n%s(whole log: %s)", p.Name, p.Err, process.LastLines(p.Log, 5), p.Log)
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Wait waits for d, or until ctx ends: its error then.
func Wait(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// moment is the state of everything at one time.
type moment struct {
	at       time.Time
	usage    map[string]process.Usage
	delivery Delivery
	loopback int64 // bytes over the loopback interface
	disk     int64 // of the store
}

// look takes the state of everything.
func (l *load) look(ctx context.Context, admin *client.Client) (m moment, err error) {
	if err := admin.Do(ctx, http.MethodGet, "/api/admin/delivery", nil, &m.delivery); err != nil {
		return m, err
	}
	if l.cfg.Database == "" { // else it is the server's
		m.disk, err = diskBytes(l.path("hub", "store"))
	}
	m.loopback = loopbackBytes()
	m.usage = l.super.Usage()
	m.at = time.Now()
	return m, err
}

// Machine names what a measurement was made on.
func Machine() string {
	return fmt.Sprintf("%d cores, %s/%s", runtime.NumCPU(), runtime.GOOS, runtime.GOARCH)
}
