package main_test

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"vitalseal/internal/measurement/vitals"
	"vitalseal/internal/patient/gateway"
	"vitalseal/internal/way/delivery"
	"vitalseal/internal/way/outbox"
)

// testDisabledSensor disables one sensor's identity: its stream stops within five seconds, its neighbour on the same
// gateway goes on, and what it measured meanwhile is delivered once it is enabled.
func testDisabledSensor(t *testing.T, d *demo) {
	const victim, neighbour, gw = "oxi-a-2", "oxi-a-1", "gw-a1"
	admin := d.as(t, "admin")
	began := time.Now()
	admin.post("/api/admin/identities/sensor/"+victim+"/disable", nil, nil)
	stopped, last := admin.delivery(), time.Since(began)
	for time.Since(began) < 5*time.Second { // the promise
		now := admin.delivery()
		for s := range now {
			if s.sensor == victim && now[s] != stopped[s] {
				last = time.Since(began)
			}
		}
		stopped = now
		time.Sleep(50 * time.Millisecond)
	}
	t.Logf("the stream's last chunk was stored within %v of the request", last.Round(10*time.Millisecond))
	// A pulse wave's chunks come four a second: three seconds of the neighbour's.
	await(t, "the neighbour's stream", func() error {
		d.alive(t)
		wave := stream{neighbour, vitals.PPG.String()}
		if more := admin.delivery()[wave].Chunks - stopped[wave].Chunks; more < 12 {
			return fmt.Errorf("%d chunks more", more)
		}
		return nil
	})
	for s, is := range admin.delivery() {
		if s.sensor == victim && is != stopped[s] {
			t.Errorf("%v goes on while its identity is disabled: %+v, then %+v", s, stopped[s], is)
		}
	}
	before, err := gatewayStatus(d.dir, gw)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range before.Streams {
		if s.Sensor == victim && s.Signal == vitals.PPG.String() && s.Pending == 0 {
			t.Errorf("nothing of %v waits while it is disabled: %+v", victim, s)
		}
	}

	began = time.Now()
	admin.post("/api/admin/identities/sensor/"+victim+"/enable", nil, nil)
	var after gateway.Status
	await(t, "the backlog", func() error {
		d.alive(t)
		if after, err = gatewayStatus(d.dir, gw); err != nil {
			return err
		}
		for i, s := range after.Streams {
			// All that was produced before it was enabled, and then some, is acknowledged.
			if s.Sensor == victim && (len(before.Streams) <= i || s.Acked < before.Streams[i].Produced) {
				return fmt.Errorf("%+v", s)
			}
		}
		return nil
	})
	t.Logf("the backlog is delivered %v after the identity was enabled", time.Since(began).Round(100*time.Millisecond))
	now := admin.delivery()
	for _, s := range after.Streams {
		got := now[stream{s.Sensor, s.Signal}]
		if got.Doubled != 0 || got.Missing != 0 || got.Chunks < int64(s.Acked) || s.Dropped+s.Rejected+s.Lost != 0 {
			t.Errorf("%s %s: stored %+v of %+v", s.Sensor, s.Signal, got, s)
		}
	}
}

// TestOutage kills the hub, lets the gateway go on alone, kills the gateway too, and accounts for every chunk.
func TestOutage(t *testing.T) {
	const gw = "gw-a1"
	seed := startDemo(t, "--patients", "1", "--for", "1s")
	seed.awaitEnd(t)
	if seed.err != nil {
		t.Fatalf("seeding: %v", seed.err)
	}
	dir := seed.dir
	w := seed.ward(t)
	in := func(elem ...string) string { return filepath.Join(append([]string{dir}, elem...)...) }
	logs := t.TempDir()

	start(t, logs, "overlay", "--data", in("overlay"))
	hub := start(t, logs, "hub", "--config", in("hub.yaml"))
	start(t, logs, "connect", "--data", in("connect"), "--listen", seed.listen, "--plain")
	before := signInAt(t, seed.url(), w.Admin, &seed.secrets).delivery()
	runGateway := func() *part {
		return start(t, logs, "gateway", "--config", in(gw, "gateway.yaml"), "--bench", in(gw, "bench.yaml"))
	}
	seeded, err := gatewayStatus(dir, gw)
	if err != nil {
		t.Fatal(err)
	}
	awaitStatus := func(what string, ok func(s gateway.Status, acked, pending uint64) bool) (last gateway.Status) {
		t.Helper()
		await(t, what, func() (err error) {
			if last, err = gatewayStatus(dir, gw); err != nil {
				return err
			}
			var acked, pending uint64
			for _, s := range last.Streams {
				acked, pending = acked+s.Acked, pending+s.Pending
			}
			if !ok(last, acked, pending) {
				return fmt.Errorf("%+v", last)
			}
			return nil
		})
		return last
	}

	first := runGateway()
	awaitStatus("deliveries", func(s gateway.Status, acked, _ uint64) bool { return s.Boot > seeded.Boot && acked > 30 })
	hub.kill()
	lost := time.Now()
	awaitStatus("a minute's backlog", func(_ gateway.Status, _, pending uint64) bool {
		return time.Since(lost) >= time.Minute && pending > 300
	})
	first.kill()

	// At rest: what the first gateway's streams had come to, from its outbox; a stream that is not in there any more
	// was delivered whole.
	crashed, err := gatewayStatus(dir, gw)
	if err != nil {
		t.Fatal(err)
	}
	backlog, produced := inOutbox(t, in(gw, "outbox"), crashed)

	start(t, logs, "hub", "--config", in("hub.yaml"))
	second := runGateway()
	awaitStatus("the backlog's delivery", func(s gateway.Status, acked, _ uint64) bool {
		return s.Boot > crashed.Boot && s.BacklogAcked >= backlog && acked > 30
	})
	second.stop()
	final := awaitStatus("the last word", func(_ gateway.Status, _, pending uint64) bool { return pending == 0 })
	if final.BacklogAcked != backlog || final.OutboxRecords != 0 {
		t.Errorf("%d chunks of the backlog acknowledged, want %d; %d records left", final.BacklogAcked, backlog, final.OutboxRecords)
	}
	for _, s := range final.Streams {
		if s.Acked != s.Produced || s.Dropped+s.Rejected+s.Lost != 0 {
			t.Errorf("not delivered: %+v", s)
		}
		produced[stream{s.Sensor, s.Signal}] += int64(s.Produced)
	}
	after := signInAt(t, seed.url(), w.Admin, &seed.secrets).delivery()
	total := int64(0)
	for s, n := range produced {
		if got, want := after[s], (stored{Chunks: before[s].Chunks + n}); got != want {
			t.Errorf("%v: the hub has %+v, want %+v", s, got, want)
		}
		total += n
	}
	t.Logf("%d chunks produced, %d of them waited out the outage; each is stored once", total, backlog)
	seed.secrets.addFolder(t, dir)
	seed.secrets.absentFrom(t, logs)
}

// inOutbox reads a copy of a dead gateway's outbox: how many chunks wait in it, and how many each stream had produced.
func inOutbox(t *testing.T, dir string, last gateway.Status) (waiting uint64, produced map[stream]int64) {
	t.Helper()
	work := filepath.Join(t.TempDir(), "outbox")
	if err := os.CopyFS(work, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	q, err := outbox.Open(work, outbox.Options{MaxBytes: 256 << 20, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer q.Close()
	produced = map[stream]int64{}
	for _, s := range last.Streams {
		produced[stream{s.Sensor, s.Signal}] = int64(s.Produced)
	}
	for _, s := range last.Sensors {
		lane := q.Lane(s.Sensor)
		for range lane.Pending() {
			r, err := lane.Next(context.Background())
			if err != nil {
				t.Fatal(err)
			}
			m, err := delivery.ParseMessage(r.Data)
			if err != nil {
				t.Fatal(err)
			}
			if m.Announcement {
				continue
			}
			waiting++
			k := stream{s.Sensor, vitals.Signal(m.Signal).String()}
			produced[k] = max(produced[k], int64(m.Seq)+1) // one epoch: its lifetime is an hour
		}
	}
	return waiting, produced
}

// part is one process of a deployment.
type part struct {
	t     *testing.T
	name  string
	cmd   *exec.Cmd
	ended chan error
}

// start runs a command, logging all it can into logs, until the test ends; it returns when the process says that it is
// ready.
func start(t *testing.T, logs string, args ...string) *part {
	t.Helper()
	dir, err := os.MkdirTemp("", "vs-") // a socket's path must be short
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	socket := filepath.Join(dir, "ready")
	ready, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: socket, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer ready.Close()
	log, err := os.OpenFile(filepath.Join(logs, args[0]+".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	p := &part{t: t, name: args[0], cmd: exec.Command(vitalseal(t), append(args, "--log-level", "debug")...), ended: make(chan error, 1)}
	p.cmd.Stdout, p.cmd.Stderr = log, log
	p.cmd.Env = append(os.Environ(), "NOTIFY_SOCKET="+socket)
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	told := make(chan error, 1)
	go func() {
		_, err := ready.Read(make([]byte, 64))
		told <- err
	}()
	go func() { p.ended <- p.cmd.Wait() }()
	t.Cleanup(p.stop)
	select {
	case err := <-told:
		if err != nil {
			t.Fatal(err)
		}
	case err := <-p.ended:
		p.ended <- nil
		b, _ := os.ReadFile(log.Name())
		t.Fatalf("%s ended at its start: %v\n%s", p.name, err, b[max(0, len(b)-2000):])
	case <-time.After(patience):
		t.Fatalf("%s does not say that it is ready", p.name)
	}
	return p
}

// stop ends the process as a service manager does; it must say that it ended well. A second call does nothing.
func (p *part) stop() {
	if p.cmd.Process.Signal(syscall.SIGTERM) != nil {
		return // it has ended, and was waited for
	}
	select {
	case err := <-p.ended:
		if err != nil {
			p.t.Errorf("%s: %v", p.name, err)
		}
	case <-time.After(patience):
		_ = p.cmd.Process.Kill()
		p.t.Errorf("%s does not stop", p.name)
	}
}

// kill ends the process without a warning.
func (p *part) kill() {
	p.t.Helper()
	if err := p.cmd.Process.Kill(); err != nil {
		p.t.Fatal(err)
	}
	<-p.ended
}

// TestReplay drives the first patient's chip with a recording of a real patient: an ICU's pulse oximeter, one wavelength.
func TestReplay(t *testing.T) {
	root := os.Getenv("VITALSEAL_DATA")
	if root == "" {
		root = filepath.Join("..", "..", "..", "shared", "data")
	}
	recording := filepath.Join(root, "icu-bidmc", "bidmc_01_125hz.csv.gz")
	if _, err := os.Stat(recording); err != nil {
		t.Skipf("no recordings of real people: %v (set VITALSEAL_DATA)", err)
	}
	d := startDemo(t, "--patients", "1", "--replay", recording)
	d.awaitNumber(t)
	doctor := d.as(t, "doctor")
	var patient struct {
		Numerics map[string]struct {
			Quality string
			Value   *float64
		}
	}
	await(t, "a steady heart rate", func() error {
		d.alive(t)
		doctor.get("/api/patients/"+d.ward(t).Patients[0].ID, &patient)
		if hr := patient.Numerics["heart_rate_bpm"]; hr.Quality != "good" || hr.Value == nil {
			return fmt.Errorf("%+v", hr)
		}
		return nil
	})
	// The ICU's own monitor says 88 to 98 in this recording.
	if v := *patient.Numerics["heart_rate_bpm"].Value; v < 88 || v > 98 {
		t.Errorf("heart rate %v, want 88 to 98", v)
	}
	if s := patient.Numerics["spo2_percent"]; s.Quality != "unavailable" || s.Value != nil {
		t.Errorf("SpO2 of a recording with one wavelength: %+v", s)
	}
}

// TestStops ends demos in every way: nothing stays behind.
func TestStops(t *testing.T) {
	t.Run("interrupted", func(t *testing.T) {
		d := startDemo(t, "--patients", "1")
		d.awaitNumber(t)
		if len(processes(t, d.dir)) < 5 { // the demo, overlay and its node, hub, connect, gateway
			t.Errorf("only %q run", processes(t, d.dir))
		}
		endsCleanly(t, d)
	})
	t.Run("interrupted while starting", func(t *testing.T) {
		d := startDemo(t, "--patients", "1")
		d.awaitProgress(t, "hub: starting")
		endsCleanly(t, d)
	})
	t.Run("killed", func(t *testing.T) {
		d := startDemo(t, "--patients", "1")
		d.awaitNumber(t)
		if err := d.cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		d.awaitEnd(t)
		began := time.Now()
		await(t, "every process to end", func() error {
			if left := processes(t, d.dir); len(left) > 0 {
				return errors.New(strings.Join(left, "\n"))
			}
			return nil
		})
		t.Logf("nothing left after %v", time.Since(began).Round(100*time.Millisecond))
	})
}

// endsCleanly presses Ctrl-C: the terminal sends it to the whole process group.
func endsCleanly(t *testing.T, d *demo) {
	t.Helper()
	if err := syscall.Kill(-d.cmd.Process.Pid, syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	d.awaitEnd(t)
	if d.err != nil {
		t.Errorf("the demo ended with %v", d.err)
	}
	if left := processes(t, d.dir); len(left) > 0 {
		t.Errorf("left behind:\n%s", strings.Join(left, "\n"))
	}
}

// addFolder takes what a demo's data folder holds that no log may.
func (s *secrets) addFolder(t *testing.T, dir string) {
	t.Helper()
	w, err := readWard(dir)
	if err != nil {
		t.Fatal(err)
	}
	s.add("ThingSpeak key", w.ReadKey)
	for _, x := range append(w.SignIns, w.Admin) {
		s.add("password of "+x.Login, x.Password)
	}
	tickets, err := filepath.Glob(filepath.Join(dir, "gw-*", "ticket.json"))
	if err != nil || len(tickets) == 0 {
		t.Fatalf("no tickets in %s: %v", dir, err)
	}
	for _, f := range append(tickets, filepath.Join(dir, "hub", "first-workstation.ticket")) {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		var ticket struct{ Secret string }
		if err := json.Unmarshal(b, &ticket); err != nil || ticket.Secret == "" {
			t.Fatalf("%s: no secret: %v", f, err)
		}
		s.add("secret of a ticket", ticket.Secret)
	}
	for _, f := range []string{"hub/root.key", "hub/audit.key", "overlay/admin.password"} {
		b, err := os.ReadFile(filepath.Join(dir, f))
		if err != nil {
			t.Fatal(err)
		}
		s.add(f, strings.TrimSpace(string(b)))
		s.add(f+" in hexadecimal", hex.EncodeToString(b))
		s.add(f+" in base64", base64.StdEncoding.EncodeToString(b))
	}
	for _, name := range []string{"Ada Brandt", "Bela Novak", "Chidi Okafor", "Dalia Haddad"} {
		s.add("a patient's name", name)
	}
	for kind := vitals.Kind(1); kind.Valid(); kind++ {
		s.add("a reading's name", kind.String()) // a log has no reading, so it has no need of the word
	}
}

// absentFrom fails the test if a log in dir holds a secret.
func (s *secrets) absentFrom(t *testing.T, dir string) {
	t.Helper()
	logs, err := filepath.Glob(filepath.Join(dir, "*.log"))
	if err != nil || len(logs) == 0 {
		t.Fatalf("no logs in %s: %v", dir, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.all) < 10 {
		t.Fatalf("only %d secrets to look for", len(s.all))
	}
	for _, f := range logs {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		if len(b) == 0 {
			t.Errorf("%s is empty", f)
		}
		for what, secret := range s.all {
			if i := strings.Index(string(b), secret); i >= 0 {
				line := strings.SplitN(string(b[strings.LastIndexByte(string(b[:i]), '\n')+1:]), "\n", 2)[0]
				t.Errorf("%s holds %s:\n%s", f, what, line)
			}
		}
	}
}
