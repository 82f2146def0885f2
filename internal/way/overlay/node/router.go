package node

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"text/template"
	"time"

	"github.com/openziti/sdk-golang/ziti/enroll"
	"github.com/openziti/ziti/common/version"

	"vitalseal/internal/way/overlay"
	"vitalseal/internal/way/overlay/zitilog"
)

// RouterTokenFile is where the one-time token of an additional router waits in its directory until
// it has enrolled.
const RouterTokenFile = "router.jwt"

// An additional router: an edge listener for components, and a link listener that the network's
// other routers dial.
var extraRouterConfig = template.Must(template.New("").Parse(`v: 3
identity:
  cert: {{printf "%q" .RouterCert}}
  server_cert: {{printf "%q" .RouterServerCert}}
  key: {{printf "%q" .RouterKey}}
  ca: {{printf "%q" .RouterCAs}}
ctrl: {endpoint: {{printf "%q" .Controller}}, endpointsFile: {{printf "%q" .Endpoints}}}
link:
  dialers: [{binding: transport}]
  listeners:
    - binding: transport
      bind: {{printf "tls:%s" .LinkListen | printf "%q"}}
      advertise: {{printf "tls:%s" .Link | printf "%q"}}
listeners:
  - binding: edge
    address: {{printf "tls:%s" .RouterListen | printf "%q"}}
    options: {advertise: {{printf "%q" .Router}}, connectTimeoutMs: 5000, getSessionTimeout: 60}
edge:
  csr:
    country: XX
    province: none
    locality: none
    organization: Vitalseal
    organizationalUnit: overlay
    sans: {dns: [{{range $i, $n := .DNS}}{{if $i}}, {{end}}{{printf "%q" $n}}{{end}}], ip: [{{range $i, $n := .IP}}{{if $i}}, {{end}}{{printf "%q" $n}}{{end}}]}
forwarder: {latencyProbeInterval: 10, xgressDialQueueLength: 1000, xgressDialWorkerCount: 128, linkDialQueueLength: 1000, linkDialWorkerCount: 32}
`))

// RouterConfig says where an additional edge router lives.
type RouterConfig struct {
	Dir string // made if need be; mode 0700
	// RouterAddr and LinkAddr are host:port to listen on, for components and for other routers.
	// Port 0 chooses a free one on the first start and remembers it. "" means 127.0.0.1:0.
	RouterAddr, LinkAddr string
	// Advertise is the host name or address under which both are reached. "" means what the last
	// start had; at the first one the address that components are listened for on.
	Advertise string
	Log       *slog.Logger
}

// SaveRouterToken puts a router's one-time token into its directory, where RunRouter finds it. The
// controller that the token names is asked whether the token is its own; ErrTicketExpired and
// ErrTicketInvalid say what is wrong with it, and a directory whose router has enrolled takes none.
func SaveRouterToken(dir, token string) error {
	if _, err := os.Stat(filepath.Join(dir, "router.cert")); err == nil {
		return fmt.Errorf("node: %w: a router has enrolled in %s already", overlay.ErrTicketUsed, dir)
	}
	claims, _, err := enroll.ParseToken(strings.TrimSpace(token))
	if err != nil {
		if tokenExpires(strings.TrimSpace(token)).Before(time.Now()) {
			return fmt.Errorf("node: router's token: %w", overlay.ErrTicketExpired)
		}
		return fmt.Errorf("node: router's token: %w: %s", overlay.ErrUnavailable, overlay.Redact(err.Error()))
	}
	if claims.EnrollmentMethod != "erott" {
		return fmt.Errorf("node: router's token: %w: it is not for a router", overlay.ErrTicketInvalid)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("node: %w", err)
	}
	return overlay.WriteSecretFile(filepath.Join(dir, RouterTokenFile), []byte(token))
}

// RunRouter enrols an additional edge router if it has not, and runs it until ctx ends; then it
// returns nil. It is to be all that its process does: if the shutdown hangs, it ends the process.
// Once ready it writes node.json.
func RunRouter(ctx context.Context, c RouterConfig) (err error) {
	defer func() { // OpenZiti panics on many errors of its start
		if r := recover(); r != nil {
			err = fmt.Errorf("node: %s", overlay.Redact(fmt.Sprint(r)))
		}
	}()
	zitilog.Redirect(c.Log)
	limitMemory(0, c.Log)
	if version.Version == "v0.0.0" {
		version.Version = zitiVersion
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go watchParent(ctx, cancel)
	started := time.Now()
	dir, err := filepath.Abs(c.Dir)
	if err != nil {
		return fmt.Errorf("node: %w", err)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("node: %w", err)
	}
	n := &running{extra: true, c: Config{Dir: dir, Advertise: c.Advertise, ControllerAddr: c.LinkAddr, RouterAddr: c.RouterAddr, Log: c.Log}, ended: make(chan error, 1)}
	if err := n.choosePorts(); err != nil { // the link's port in the controller's place
		return err
	}
	if ip := net.ParseIP(n.controllerHost); ip == nil || !ip.IsLoopback() {
		c.Log.Warn("links to other routers are not on loopback; OpenZiti v1.7.2 checks their certificates badly, so keep them in a network of their own", "host", n.controllerHost)
	}
	if err := n.writeExtraRouterConfig(); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, n.stop()) }()
	if err := n.enrolExtraRouter(); err != nil {
		return err
	}
	if err := n.startRouter(); err != nil {
		return err
	}
	if err := n.writeInfo(started); err != nil {
		return err
	}
	c.Log.Info("edge router ready", "took", time.Since(started).Round(time.Millisecond).String())
	<-ctx.Done()
	return nil
}

// enrolExtraRouter redeems the token, once. Interrupted before the network answered, it can be done
// again.
func (n *running) enrolExtraRouter() error {
	in := func(name string) string { return filepath.Join(n.c.Dir, name) }
	if _, err := os.Stat(in("router.cert")); err == nil {
		_ = os.Remove(in(RouterTokenFile))
		return nil
	}
	token, err := os.ReadFile(in(RouterTokenFile)) // #nosec G304 -- below our own directory
	if err != nil {
		return fmt.Errorf("node: this router has not enrolled, and there is no token: %w", err)
	}
	if err := n.enrolRouter(strings.TrimSpace(string(token))); err != nil {
		text := overlay.Redact(err.Error())
		if strings.Contains(text, "INVALID_ENROLLMENT_TOKEN") || strings.Contains(text, "NOT_FOUND") {
			return fmt.Errorf("node: enrol router: %w: %s", overlay.ErrTicketUsed, text)
		}
		return fmt.Errorf("node: enrol router: %s", text)
	}
	return os.Remove(in(RouterTokenFile))
}

func (n *running) writeExtraRouterConfig() error {
	in := func(name string) string { return filepath.Join(n.c.Dir, name) }
	at := func(host string, port int) string { return net.JoinHostPort(host, strconv.Itoa(port)) }
	controller, err := n.controllerOfToken()
	if err != nil {
		return err
	}
	v := struct {
		configValues
		Link, LinkListen string
	}{Link: at(n.c.Advertise, n.ports.Controller), LinkListen: at(n.controllerHost, n.ports.Controller)}
	v.Controller, v.Router, v.RouterListen = controller, at(n.c.Advertise, n.ports.Router), at(n.rtHost, n.ports.Router)
	v.RouterCert, v.RouterServerCert, v.RouterKey = in("router.cert"), in("router.server.cert"), in("router.key")
	v.RouterCAs, v.Endpoints = in("router.cas"), in("router.endpoints")
	v.DNS, v.IP = names(n.c.Advertise)
	var b bytes.Buffer
	if err := extraRouterConfig.Execute(&b, v); err != nil {
		return fmt.Errorf("node: router configuration: %w", err)
	}
	return overlay.WriteSecretFile(in("router.yaml"), b.Bytes())
}

// controllerOfToken is where the router's control channel goes: as its token says, remembered from
// then on.
func (n *running) controllerOfToken() (string, error) {
	remembered := filepath.Join(n.c.Dir, "controller")
	if b, err := os.ReadFile(remembered); err == nil { // #nosec G304 -- below our own directory
		return strings.TrimSpace(string(b)), nil
	}
	token, err := os.ReadFile(filepath.Join(n.c.Dir, RouterTokenFile)) // #nosec G304 -- likewise
	if err != nil {
		return "", fmt.Errorf("node: this router has not enrolled, and there is no token: %w", err)
	}
	var claims struct {
		Issuer      string   `json:"iss"`
		Controllers []string `json:"ctrls"`
	}
	parts := strings.Split(string(token), ".")
	if len(parts) != 3 {
		return "", fmt.Errorf("node: router's token: %w", overlay.ErrTicketInvalid)
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil || json.Unmarshal(payload, &claims) != nil {
		return "", fmt.Errorf("node: router's token: %w", overlay.ErrTicketInvalid)
	}
	controller := ""
	if len(claims.Controllers) > 0 {
		controller = claims.Controllers[0]
	} else {
		u, err := url.Parse(claims.Issuer)
		if err != nil || u.Host == "" {
			return "", fmt.Errorf("node: router's token: %w: no controller", overlay.ErrTicketInvalid)
		}
		controller = "tls:" + u.Host
	}
	return controller, overlay.WriteSecretFile(remembered, []byte(controller+"\n"))
}

// names are what a router's certificates are for.
func names(advertise string) (dns, ips []string) {
	dns, ips = []string{"localhost"}, []string{"127.0.0.1"}
	if ip := net.ParseIP(advertise); ip != nil {
		if ip.String() != "127.0.0.1" {
			ips = append(ips, ip.String())
		}
	} else if advertise != "localhost" {
		dns = append(dns, advertise)
	}
	return dns, ips
}
