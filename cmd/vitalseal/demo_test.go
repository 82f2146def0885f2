package main_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"vitalseal/internal/patient/gateway"
	"vitalseal/internal/workstation/client"
)

// TestDemo looks at one demo from all sides: in a browser, and at the account of every chunk while an identity is
// disabled. The logs come last, so that they hold all of it.
func TestDemo(t *testing.T) {
	wall := freeAddress(t)
	d := startDemo(t, "--display", wall)
	d.awaitNumber(t)
	t.Run("browser", func(t *testing.T) { testBrowser(t, d) })
	t.Run("faces", func(t *testing.T) { testFaces(t, d, "http://"+wall) })
	t.Run("security", func(t *testing.T) { testSecurity(t, d) })
	t.Run("approvals", func(t *testing.T) { testApprovals(t, d) })
	t.Run("quotas", func(t *testing.T) { testQuotas(t, d) })
	t.Run("pulled plugs", func(t *testing.T) { testPulledPlugs(t, d) })
	t.Run("proof", func(t *testing.T) { testProof(t, d) })
	t.Run("disabled sensor", func(t *testing.T) { testDisabledSensor(t, d) })
	t.Run("logs", func(t *testing.T) {
		d.secrets.addFolder(t, d.dir)
		d.secrets.absentFrom(t, filepath.Join(d.dir, "logs"))
		for _, l := range leaks(t, d.secrets.tokens(), d.dir) {
			t.Errorf("%s holds %s: %s", l.file, l.what, l.where)
		}
	})
}

// demo is a running `vitalseal demo`.
type demo struct {
	dir, listen, stderr string
	cmd                 *exec.Cmd
	ended               chan struct{} // closed when it has ended; err holds why
	err                 error
	secrets             secrets
}

// startDemo starts a demo in a folder of its own, in a process group of its own as a terminal would, and ends it with
// the test.
func startDemo(t *testing.T, args ...string) *demo {
	t.Helper()
	d := &demo{dir: t.TempDir(), listen: freeAddress(t), ended: make(chan struct{})}
	d.stderr = filepath.Join(t.TempDir(), "stderr")
	d.cmd = exec.Command(vitalseal(t), append([]string{"demo", "--data", d.dir, "--listen", d.listen}, args...)...)
	d.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	log, err := os.Create(d.stderr)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	d.cmd.Stderr = log
	if err := d.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { d.err = d.cmd.Wait(); close(d.ended) }()
	t.Cleanup(func() {
		_ = d.cmd.Process.Signal(os.Interrupt)
		d.awaitEnd(t)
		if t.Failed() {
			b, _ := os.ReadFile(d.stderr)
			t.Logf("demo:\n%s", b)
		}
	})
	return d
}

func (d *demo) awaitEnd(t *testing.T) {
	t.Helper()
	select {
	case <-d.ended:
	case <-time.After(patience):
		_ = d.cmd.Process.Kill()
		<-d.ended
		t.Error("the demo does not end")
	}
}

// await polls for something that nothing announces.
func await(t *testing.T, what string, ok func() error) {
	t.Helper()
	for end := time.Now().Add(patience); ; time.Sleep(100 * time.Millisecond) {
		err := ok()
		if err == nil {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("waited for %s: %v", what, err)
		}
	}
}

// alive is for await: it fails the test at once when the demo is gone.
func (d *demo) alive(t *testing.T) {
	t.Helper()
	select {
	case <-d.ended:
		t.Fatalf("the demo ended: %v", d.err)
	default:
	}
}

// awaitNumber returns when the first patient's channel holds a heart rate.
func (d *demo) awaitNumber(t *testing.T) {
	t.Helper()
	await(t, "a number", func() error {
		d.alive(t)
		_, err := readFeed(d.dir, d.listen, "feeds.json?results=20", 1)
		return err
	})
}

// awaitProgress returns when the demo has said this.
func (d *demo) awaitProgress(t *testing.T, said string) {
	t.Helper()
	await(t, said, func() error {
		d.alive(t)
		b, err := os.ReadFile(d.stderr)
		if err == nil && !bytes.Contains(b, []byte(said)) {
			err = errors.New("not said")
		}
		return err
	})
}

func (d *demo) url() string { return "http://" + d.listen }

// ward is what the demo seeded.
type ward struct {
	Patients []struct {
		ID, Bed, Gateway string
		Channel          int64
	}
	Admin   signIn
	SignIns []signIn `json:"sign_ins"`
	ReadKey string   `json:"thingspeak_read_key"`
}

type signIn struct{ Role, Login, Password string }

func readWard(dir string) (w ward, err error) {
	b, err := os.ReadFile(filepath.Join(dir, "demo.json"))
	if err == nil {
		err = json.Unmarshal(b, &w)
	}
	if err == nil && (len(w.Patients) == 0 || w.ReadKey == "") {
		err = errors.New("demo.json has no patients or no key")
	}
	return w, err
}

func (d *demo) ward(t *testing.T) ward {
	t.Helper()
	w, err := readWard(d.dir)
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func (w ward) signIn(t *testing.T, role string) signIn {
	t.Helper()
	if role == "admin" {
		return w.Admin
	}
	for _, s := range w.SignIns {
		if s.Role == role {
			return s
		}
	}
	t.Fatalf("no sign-in for role %s", role)
	return signIn{}
}

// api is one signed-in session at the connect address.
type api struct {
	*client.Client
	t *testing.T
}

func signInAt(t *testing.T, url string, s signIn, secrets *secrets) api {
	t.Helper()
	c, err := client.New(url)
	if err != nil {
		t.Fatal(err)
	}
	awaitHub(t, c)
	if err := c.SignIn(context.Background(), s.Login, s.Password); err != nil {
		t.Fatalf("%s: %v", s.Login, err)
	}
	for _, cookie := range c.Cookies().Values("Cookie") {
		secrets.add("session token of "+s.Login, cookie[len("vitalseal_session="):])
	}
	return api{c, t}
}

// firstSignInAt signs in with a one-time password and changes it, because nothing else goes before.
func firstSignInAt(t *testing.T, url string, s signIn, secrets *secrets) api {
	t.Helper()
	a := signInAt(t, url, s, secrets)
	own := "own password of " + s.Login
	secrets.add("own password", own)
	a.post("/api/account/password", map[string]string{"old": s.Password, "new": own}, nil)
	return a
}

func (d *demo) as(t *testing.T, role string) api {
	t.Helper()
	return signInAt(t, d.url(), d.ward(t).signIn(t, role), &d.secrets)
}

func (a api) get(path string, out any) {
	a.t.Helper()
	if err := a.Do(context.Background(), http.MethodGet, path, nil, out); err != nil {
		a.t.Fatal(err)
	}
}

func (a api) post(path string, in, out any) {
	a.t.Helper()
	if err := a.Do(context.Background(), http.MethodPost, path, in, out); err != nil {
		a.t.Fatal(err)
	}
}

// stream is one sensor's one signal.
type stream struct{ sensor, signal string }

// stored is the hub's count of one stream.
type stored struct{ Chunks, Doubled, Missing int64 }

// delivery is the hub's account, by stream.
func (a api) delivery() map[stream]stored {
	a.t.Helper()
	var got struct {
		Streams []struct {
			Sensor, Signal string
			stored
		}
	}
	a.get("/api/admin/delivery", &got)
	out := map[stream]stored{}
	for _, s := range got.Streams {
		out[stream{filepath.Base(s.Sensor), s.Signal}] = s.stored
	}
	return out
}

// gatewayStatus is a gateway's own account.
func gatewayStatus(dir, gw string) (s gateway.Status, err error) {
	b, err := os.ReadFile(filepath.Join(dir, gw, "status.json"))
	if err == nil {
		err = json.Unmarshal(b, &s)
	}
	return s, err
}

// processes are those whose command line names dir.
func processes(t *testing.T, dir string) (found []string) {
	t.Helper()
	paths, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil || len(paths) == 0 {
		t.Skip("no /proc here")
	}
	for _, p := range paths {
		b, err := os.ReadFile(p) // one that has ended meanwhile cannot be read, and a zombie's is empty
		if err == nil && bytes.Contains(b, []byte(dir)) && filepath.Base(filepath.Dir(p)) != strconv.Itoa(os.Getpid()) {
			found = append(found, fmt.Sprintf("%s: %s", filepath.Dir(p), bytes.ReplaceAll(b, []byte{0}, []byte{' '})))
		}
	}
	return found
}

// secrets is what must stand in no log. It is safe for concurrent use.
type secrets struct {
	mu  sync.Mutex
	all map[string]string // by what it is
}

// tokens are those that must stand in no file at all.
func (s *secrets) tokens() (out []needle) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for what, secret := range s.all {
		if strings.HasPrefix(what, "session token") {
			out = append(out, needle{what: what, is: []byte(secret)})
		}
	}
	return out
}

func (s *secrets) add(what, secret string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.all == nil {
		s.all = map[string]string{}
	}
	s.all[fmt.Sprintf("%s (%d)", what, len(s.all))] = secret
}
