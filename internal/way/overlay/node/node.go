// Package node is the embedded overlay network: OpenZiti's controller and one edge router in this
// process.
//
// It hides: the certificate authority below OpenZiti, its configuration files, the first start
// (policies, the router's own enrolment, one-time tokens for the hub and for its administration
// identity), and OpenZiti's logging.
//
// It guarantees: it listens on loopback unless told otherwise; session tokens of the kind that
// outlives a revocation (edge-oidc) are off; a start that was interrupted is done again; what it
// was is found again after a kill -9; nothing that matters is only in its memory. The
// administrator's random password is on disk only, mode 0600.
//
// It does not survive everything: OpenZiti ends the process on some errors and has a fault that
// cannot be recovered from, so run it as a child process under overlay.Supervise, one to a process,
// and retry dials. What it reads of a client that has not proven who it is, and its memory, are
// bounded (bound.go); SECURITY.md names the advisories behind that.
package node

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/openziti/sdk-golang/ziti"
	"github.com/openziti/ziti/common/version"
	"github.com/openziti/ziti/controller"
	"github.com/openziti/ziti/controller/config"
	"github.com/openziti/ziti/controller/server"
	"github.com/openziti/ziti/router"
	renroll "github.com/openziti/ziti/router/enroll"
	renv "github.com/openziti/ziti/router/env"
	"go.etcd.io/bbolt"

	"vitalseal/internal/way/overlay"
	"vitalseal/internal/way/overlay/zitilog"
)

const (
	zitiVersion   = "v1.7.2" // without it OpenZiti takes itself for a development build and behaves otherwise
	startPatience = 60 * time.Second
	stopPatience  = 8 * time.Second
	databaseMap   = 1 << 30 // bytes of address space reserved for the database's memory map; see Run
	exitStuck     = 3
)

// AdminUser is the administrator that the first start makes, for when everything else is lost. Its
// password is in admin.password in the node's directory.
const AdminUser = "offline-admin"

// Config says where the node lives.
type Config struct {
	Dir string // made if need be; mode 0700
	// ControllerAddr and RouterAddr are host:port to listen on. Port 0 chooses a free one on the
	// first start and remembers it. "" means what the last start had, at the first one 127.0.0.1:0.
	ControllerAddr, RouterAddr string
	// Advertise is the host name or address under which components reach both: it is in every
	// ticket. "" means what the last start had; at the first one the address that the controller
	// listens on, which must then be one address.
	Advertise string
	Log       *slog.Logger
	// MemoryLimit is how many bytes of memory the process may take before the kernel refuses it
	// more, and it ends and is started again. 0: DefaultMemoryLimit.
	MemoryLimit uint64
}

// RunNode runs controller and router until ctx ends, then shuts both down and returns nil. It is to
// be all that its process does: if the shutdown hangs, it ends the process. Once ready it writes
// node.json; at the first start also hub.jwt and hub-admin.jwt.
func RunNode(ctx context.Context, c Config) (err error) {
	defer func() { // OpenZiti panics on many errors of its start
		if r := recover(); r != nil {
			err = fmt.Errorf("node: %s", overlay.Redact(fmt.Sprint(r)))
		}
	}()
	zitilog.Redirect(c.Log)
	limitMemory(c.MemoryLimit, c.Log)
	if version.Version == "v0.0.0" {
		version.Version = zitiVersion
	}
	// terminator_store.go of v1.7.2 keeps slices into the database's memory map after their
	// transaction. A map that is large enough from the start is never moved, so the slices stay
	// readable. OpenZiti copies these options.
	bbolt.DefaultOptions.InitialMmapSize = databaseMap

	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go watchParent(ctx, cancel)
	started := time.Now()
	n, err := prepare(c)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, n.stop()) }()
	if err := n.start(ctx); err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return err
	}
	if err := n.writeInfo(started); err != nil {
		return err
	}
	c.Log.Info("overlay node ready", "controller", n.controllerURL(), "took", time.Since(started).Round(time.Millisecond).String())
	select {
	case <-ctx.Done():
		return nil
	case err := <-n.ended:
		return fmt.Errorf("node: the controller ended: %w", err)
	}
}

// watchParent ends the node when its supervisor is gone, for systems whose kernel does not do that.
func watchParent(ctx context.Context, cancel context.CancelFunc) {
	want, err := strconv.Atoi(os.Getenv(overlay.ParentEnv))
	if err != nil {
		return
	}
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for os.Getppid() == want {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
	cancel()
}

// running is a node between prepare and stop.
type running struct {
	c                      Config
	ports                  ports
	controllerHost, rtHost string
	extra                  bool // a router alone, with its link in the controller's place
	fabric                 *controller.Controller
	edge                   *server.Controller
	router                 *router.Router
	ended                  chan error // the controller's end
}

// ports are what was chosen at the first start, or told later: the file that makes a restored
// folder come up as it was.
type ports struct {
	Controller     int    `json:"controller"`
	Router         int    `json:"router"`
	ControllerHost string `json:"controller_host,omitempty"` // listened on; absent in files of older versions
	RouterHost     string `json:"router_host,omitempty"`
	Advertise      string `json:"advertise,omitempty"`
}

func prepare(c Config) (*running, error) {
	dir, err := filepath.Abs(c.Dir)
	if err != nil {
		return nil, fmt.Errorf("node: prepare: %w", err)
	}
	c.Dir = dir
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("node: prepare: %w", err)
	}
	_ = os.Remove(filepath.Join(dir, overlay.NodeFile))
	n := &running{c: c, ended: make(chan error, 1)}
	if err := n.choosePorts(); err != nil {
		return nil, err
	}
	if !loopback(n.controllerHost) && loopback(n.c.Advertise) {
		c.Log.Warn("the overlay listens beyond this machine, but its tickets name an address that only this machine reaches: name another with --advertise",
			"listens_on", n.controllerHost, "advertises", n.c.Advertise)
	}
	if err := makePKI(filepath.Join(dir, "pki"), n.c.Advertise); err != nil {
		return nil, fmt.Errorf("node: prepare: certificates: %w", err)
	}
	return n, n.writeConfigs()
}

func (n *running) choosePorts() error {
	path := filepath.Join(n.c.Dir, "ports.json")
	if b, err := os.ReadFile(path); err == nil { // #nosec G304 -- below our own directory
		if err := json.Unmarshal(b, &n.ports); err != nil {
			return fmt.Errorf("node: prepare: %s is damaged: %w", path, err)
		}
	}
	before := n.ports
	var err error
	if n.controllerHost, n.ports.Controller, err = choosePort(n.c.ControllerAddr, before.ControllerHost, before.Controller); err != nil {
		return err
	}
	if n.rtHost, n.ports.Router, err = choosePort(n.c.RouterAddr, before.RouterHost, before.Router); err != nil {
		return err
	}
	reached := n.controllerHost
	if n.extra {
		reached = n.rtHost
	}
	if n.c.Advertise, err = advertised(n.c.Advertise, reached, before); err != nil {
		return err
	}
	n.ports.ControllerHost, n.ports.RouterHost, n.ports.Advertise = n.controllerHost, n.rtHost, n.c.Advertise
	b, err := json.Marshal(n.ports)
	if err != nil {
		return err
	}
	return overlay.WriteSecretFile(path, b)
}

// advertised is the address under which components reach the node. A node of a version that
// remembered none advertised localhost, which is in the tickets and identities that it has given
// out.
func advertised(told, listens string, before ports) (string, error) {
	ip := net.ParseIP(listens)
	switch {
	case told != "":
		return told, nil
	case before.Advertise != "":
		return before.Advertise, nil
	case before.Controller != 0:
		return "localhost", nil
	case listens == "" || ip != nil && ip.IsUnspecified():
		return "", fmt.Errorf("node: prepare: --advertise: missing; the node listens on every address (%q), so name the one under which components reach it", listens)
	}
	return listens, nil // in numbers: a name, localhost too, needs a resolver that knows it
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// choosePort checks that the address can be listened on, so that a port in use is a clear error.
func choosePort(address, rememberedHost string, remembered int) (host string, port int, err error) {
	if address == "" {
		address = net.JoinHostPort(cmp.Or(rememberedHost, "127.0.0.1"), "0")
	}
	host, text, err := net.SplitHostPort(address)
	if err != nil {
		return "", 0, fmt.Errorf("node: prepare: address %q is not host:port: %w", address, err)
	}
	if text == "0" && remembered != 0 {
		text = strconv.Itoa(remembered)
	}
	var l net.Listener
	for range 20 { // after a kill, the system may need a moment to let go of the port
		if l, err = net.Listen("tcp", net.JoinHostPort(host, text)); err == nil {
			port = l.Addr().(*net.TCPAddr).Port
			return host, port, l.Close()
		}
		time.Sleep(100 * time.Millisecond)
	}
	return "", 0, fmt.Errorf("node: prepare: %w", err)
}

func (n *running) controllerURL() string {
	return "https://" + net.JoinHostPort(n.c.Advertise, strconv.Itoa(n.ports.Controller))
}

func (n *running) start(ctx context.Context) error {
	conf, err := config.LoadConfig(filepath.Join(n.c.Dir, "controller.yaml"))
	if err != nil {
		return fmt.Errorf("node: controller configuration: %w", err)
	}
	build := version.GetCmdBuildInfo()
	if n.fabric, err = controller.NewController(conf, build); err != nil {
		return fmt.Errorf("node: controller: %w", err)
	}
	if err := bound(n.fabric.GetXWebInstance(), n.c.Log); err != nil {
		return err
	}
	if n.edge, err = server.NewController(n.fabric); err != nil {
		return fmt.Errorf("node: controller: %w", err)
	}
	n.edge.Initialize()
	password, err := n.password()
	if err != nil {
		return err
	}
	if !n.provisioned() {
		// Interrupted after this, the next start finds the administrator there, with the password
		// from the same file.
		if err := n.edge.AppEnv.Managers.Identity.InitializeDefaultAdmin(AdminUser, password, "Offline administrator"); err != nil {
			n.c.Log.Warn("the administrator is there already", "err", overlay.Redact(err.Error()))
		}
	}
	n.edge.Run()
	go func() {
		defer func() {
			if r := recover(); r != nil {
				n.ended <- fmt.Errorf("panic: %s", overlay.Redact(fmt.Sprint(r)))
			}
		}()
		n.ended <- n.fabric.Run()
	}()
	ctx, cancel := context.WithTimeout(ctx, startPatience)
	defer cancel()
	if err := n.provision(ctx, password); err != nil {
		return fmt.Errorf("node: first start: %w", err)
	}
	return n.startRouter()
}

func (n *running) startRouter() error {
	conf, err := renv.LoadConfig(filepath.Join(n.c.Dir, "router.yaml"))
	if err != nil {
		return fmt.Errorf("node: router configuration: %w", err)
	}
	n.router = router.Create(conf, version.GetCmdBuildInfo())
	if err := n.router.Start(); err != nil {
		return fmt.Errorf("node: router: %w", err)
	}
	return nil
}

func (n *running) enrolRouter(jwt string) error {
	conf, err := renv.LoadConfigWithOptions(filepath.Join(n.c.Dir, "router.yaml"), false)
	if err != nil {
		return err
	}
	var alg ziti.KeyAlgVar
	if err := alg.Set("EC"); err != nil {
		return err
	}
	return renroll.NewRestEnroller(conf).Enroll([]byte(jwt), true, "", alg)
}

func (n *running) writeInfo(started time.Time) error {
	b, err := json.Marshal(overlay.NodeInfo{Version: 1, PID: os.Getpid(), Controller: n.controllerURL(),
		Router: net.JoinHostPort(n.c.Advertise, strconv.Itoa(n.ports.Router)), Started: started.UTC()})
	if err != nil {
		return err
	}
	return overlay.WriteSecretFile(filepath.Join(n.c.Dir, overlay.NodeFile), b)
}

// stop shuts down what was started. OpenZiti may hang or panic there; the database survives either.
func (n *running) stop() (err error) {
	stuck := time.AfterFunc(stopPatience, func() {
		n.c.Log.Warn("the overlay node did not shut down in time")
		os.Exit(exitStuck)
	})
	defer stuck.Stop()
	_ = os.Remove(filepath.Join(n.c.Dir, overlay.NodeFile))
	zitilog.Redirect(slog.New(slog.DiscardHandler)) // what it logs while it stops is of no use
	defer func() {
		if r := recover(); r != nil {
			n.c.Log.Warn("the overlay node panicked while shutting down", "err", overlay.Redact(fmt.Sprint(r)))
		}
	}()
	if n.router != nil {
		err = n.router.Shutdown()
	}
	if n.edge != nil {
		n.edge.Shutdown() // with the fabric below it
	}
	return err
}
