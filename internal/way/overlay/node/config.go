package node

import (
	"bytes"
	"fmt"
	"net"
	"path/filepath"
	"strconv"
	"text/template"

	"vitalseal/internal/way/overlay"
)

// OpenZiti takes its configuration from files only. Strings are quoted by printf %q, which YAML
// reads as JSON does.

// The controller. No edge-oidc among the web interfaces: its sessions would outlive a revocation by
// minutes.
var controllerConfig = template.Must(template.New("").Parse(`v: 3
db: {{printf "%q" .DB}}
identity:
  cert: {{printf "%q" .Chain}}
  server_cert: {{printf "%q" .Chain}}
  key: {{printf "%q" .Key}}
  ca: {{printf "%q" .Root}}
ctrl:
  options: {advertiseAddress: {{printf "tls:%s" .Controller | printf "%q"}}}
  listener: {{printf "tls:%s" .ControllerListen | printf "%q"}}
healthChecks: {boltCheck: {interval: 30s, timeout: 20s, initialDelay: 30s}}
edge:
  api: {sessionTimeout: 30m, address: {{printf "%q" .Controller}}}
  enrollment:
    signingCert: {cert: {{printf "%q" .SignerCert}}, key: {{printf "%q" .SignerKey}}}
    edgeIdentity: {duration: 1440m}
    edgeRouter: {duration: 60m}
web:
  - name: all
    bindPoints: [{interface: {{printf "%q" .ControllerListen}}, address: {{printf "%q" .Controller}}}]
    options: {idleTimeout: 5000ms, readTimeout: 5000ms, writeTimeout: 60000ms, minTLSVersion: TLS1.2, maxTLSVersion: TLS1.3}
    apis:
      - {binding: edge-management, options: {}}
      - {binding: edge-client, options: {}}
      - {binding: fabric, options: {}}
`))

// The router: one edge listener, no link listener, because there is no second router.
var routerConfig = template.Must(template.New("").Parse(`v: 3
identity:
  cert: {{printf "%q" .RouterCert}}
  server_cert: {{printf "%q" .RouterServerCert}}
  key: {{printf "%q" .RouterKey}}
  ca: {{printf "%q" .RouterCAs}}
ctrl: {endpoint: {{printf "tls:%s" .Controller | printf "%q"}}, endpointsFile: {{printf "%q" .Endpoints}}}
link: {dialers: [{binding: transport}]}
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

type configValues struct {
	DB, Chain, Key, Root, SignerCert, SignerKey                   string
	Controller, ControllerListen, Router, RouterListen            string
	RouterCert, RouterServerCert, RouterKey, RouterCAs, Endpoints string
	DNS, IP                                                       []string
}

func (n *running) writeConfigs() error {
	in := func(name string) string { return filepath.Join(n.c.Dir, filepath.FromSlash(name)) }
	at := func(host string, port int) string { return net.JoinHostPort(host, strconv.Itoa(port)) }
	v := configValues{
		DB: in("controller.db"), Chain: in("pki/server.chain.pem"), Key: in("pki/server.key"), Root: in(overlay.NodeRoot),
		SignerCert: in("pki/signer.pem"), SignerKey: in("pki/signer.key"),
		Controller: at(n.c.Advertise, n.ports.Controller), ControllerListen: at(n.controllerHost, n.ports.Controller),
		Router: at(n.c.Advertise, n.ports.Router), RouterListen: at(n.rtHost, n.ports.Router),
		RouterCert: in("router.cert"), RouterServerCert: in("router.server.cert"), RouterKey: in("router.key"),
		RouterCAs: in("router.cas"), Endpoints: in("router.endpoints"),
	}
	v.DNS, v.IP = names(n.c.Advertise)
	for name, t := range map[string]*template.Template{"controller.yaml": controllerConfig, "router.yaml": routerConfig} {
		var b bytes.Buffer
		if err := t.Execute(&b, v); err != nil {
			return fmt.Errorf("node: prepare: %s: %w", name, err)
		}
		if err := overlay.WriteSecretFile(in(name), b.Bytes()); err != nil {
			return err
		}
	}
	return nil
}
