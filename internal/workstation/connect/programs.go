package connect

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/coder/websocket"

	"vitalseal/internal/shared/form"
	"vitalseal/internal/way/overlay"
)

// mqttPatience is how long an MQTT connection may be silent in both directions; the hub ends it
// earlier.
const mqttPatience = time.Hour + 5*time.Minute

// mqttGreeting is how long a client may take for its TLS and until the hub answers.
const mqttGreeting = 10 * time.Second

// ProgramsConfig says what programs on this machine are offered. A nil listener is none; those that
// are given Run closes.
type ProgramsConfig struct {
	HTTP, HTTPS, MQTT, MQTTS net.Listener
	// Data is the folder of the certificate authority; needed for HTTPS and MQTTS.
	Data string
	// Paths are the only ones that lead to the hub; one that ends in a slash stands for all below
	// it. MQTTPath is the one where the hub speaks MQTT over WebSockets.
	Paths    []string
	MQTTPath string
	// AnyUser answers all users of this machine: what they bring with them is a credential of its
	// own.
	AnyUser bool
	Log     *slog.Logger
}

// Programs are the loopback addresses for programs that speak ThingSpeak's REST or MQTT and know
// nothing of us: no launch secret, no cookies, and nothing of the hub but those paths. What a
// program may do there depends on the key or the device's password that it sends, and on this
// workstation's identity. Make it with NewPrograms, then Run it.
type Programs struct {
	cfg  ProgramsConfig
	ca   *authority
	wait patience
}

// NewPrograms checks the configuration, and makes the certificate authority if TLS is asked for and
// there is none.
func NewPrograms(cfg ProgramsConfig) (*Programs, error) {
	p := &Programs{cfg: cfg, wait: usual}
	p.wait.silence = mqttPatience
	if cfg.HTTP == nil && cfg.HTTPS == nil && cfg.MQTT == nil && cfg.MQTTS == nil {
		return nil, errors.New("connect: no address for programs")
	}
	if cfg.HTTPS != nil || cfg.MQTTS != nil {
		if cfg.Data == "" {
			return nil, errors.New("connect: TLS needs a folder for its certificate authority")
		}
		var err error
		if p.ca, err = openAuthority(cfg.Data, cfg.Log); err != nil {
			return nil, err
		}
	}
	return p, nil
}

// Run answers until ctx ends, carrying all over ep. It closes the listeners and returns when all
// its work has ended.
func (p *Programs) Run(ctx context.Context, ep overlay.Endpoint) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	transport := toHub(ep, p.wait, nil)
	defer transport.CloseIdleConnections()
	var wg sync.WaitGroup
	errs := make(chan error, 4)
	serve := func(ln net.Listener, overTLS bool, f func(net.Listener, bool) error) {
		if ln == nil {
			return
		}
		guard := newGuard(ln, p.wait.write, p.cfg.Log)
		guard.sees = guard.sees && !p.cfg.AnyUser
		wg.Go(func() {
			if err := f(guard, overTLS); err != nil && ctx.Err() == nil {
				errs <- fmt.Errorf("connect: %w", err)
				cancel()
			}
		})
	}
	web := func(ln net.Listener, overTLS bool) error { return p.web(ctx, ln, overTLS, transport) }
	broker := func(ln net.Listener, overTLS bool) error { return p.broker(ctx, ln, overTLS, transport) }
	serve(p.cfg.HTTP, false, web)
	serve(p.cfg.HTTPS, true, web)
	serve(p.cfg.MQTT, false, broker)
	serve(p.cfg.MQTTS, true, broker)
	wg.Wait()
	select {
	case err := <-errs:
		return err
	default:
		return nil
	}
}

// web carries requests, and WebSockets.
func (p *Programs) web(ctx context.Context, ln net.Listener, overTLS bool, transport http.RoundTripper) error {
	scheme := "http"
	if overTLS {
		scheme, ln = "https", tls.NewListener(ln, p.ca.config())
	}
	proxy := &httputil.ReverseProxy{
		Rewrite: func(pr *httputil.ProxyRequest) {
			pr.SetURL(&url.URL{Scheme: "http", Host: "hub"})
			pr.Out.Host = pr.In.Host // the hub compares a WebSocket's Origin with it
			// The proxy has removed what does not parse. The hub refuses it instead: half an entry,
			// or one at another time, is worse than none.
			pr.Out.URL.RawQuery = pr.In.URL.RawQuery
			pr.Out.URL.Path, pr.Out.URL.RawPath = form.Path(pr.In.URL.Path), ""
			for _, h := range []string{"Cookie", "Authorization", "Proxy-Authorization"} {
				pr.Out.Header.Del(h) // no session comes in here
			}
		},
		Transport: transport,
		ModifyResponse: func(r *http.Response) error {
			r.Header.Del("Set-Cookie")
			return nil
		},
		ErrorHandler: func(w http.ResponseWriter, r *http.Request, err error) {
			if ctx.Err() == nil && !errors.Is(err, context.Canceled) {
				p.cfg.Log.Warn("hub not reached", "err", err)
			}
			answer(w, r, http.StatusBadGateway, "The hub cannot be reached from this workstation. Nothing was stored.")
		},
		ErrorLog: slog.NewLogLogger(p.cfg.Log.Handler(), slog.LevelDebug),
	}
	_, port, err := net.SplitHostPort(ln.Addr().String())
	if err != nil {
		return err
	}
	server := &http.Server{
		Handler:           paced(small(p.onlyHere(port, scheme, http.MaxBytesHandler(proxy, maxBodyBytes)))),
		ReadHeaderTimeout: p.wait.header, ReadTimeout: p.wait.request, IdleTimeout: p.wait.idle, MaxHeaderBytes: maxHeaderBytes,
		BaseContext: func(net.Listener) context.Context { return ctx },
		ConnContext: func(ctx context.Context, _ net.Conn) context.Context {
			return context.WithValue(ctx, paceKey{}, newPace(time.Now()))
		},
		ErrorLog: slog.NewLogLogger(p.cfg.Log.Handler(), slog.LevelDebug),
	}
	stopped := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(stopped)
		_ = server.Close()
	})
	refused := func(reason string) { p.cfg.Log.Warn("a program's request is no HTTP; refused", "reason", reason) }
	err = server.Serve(form.Listener(ln, refused))
	if !stop() {
		<-stopped
	}
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}

// onlyHere answers to this machine's names for itself, so that no web page elsewhere rebinds its
// own to it, and to the paths that programs may ask for.
func (p *Programs) onlyHere(port, scheme string, next http.Handler) http.Handler {
	hosts := map[string]bool{}
	for _, name := range []string{Host, "localhost", "127.0.0.1", "::1"} {
		hosts[net.JoinHostPort(name, port)] = true
		if port == map[string]string{"http": "80", "https": "443"}[scheme] {
			hosts[name] = true
		}
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !hosts[r.Host] {
			answer(w, r, http.StatusMisdirectedRequest, "This address answers only to its own name; use "+scheme+"://127.0.0.1:"+port)
			return
		}
		for _, path := range append([]string{p.cfg.MQTTPath}, p.cfg.Paths...) {
			if asked := form.Path(r.URL.Path); asked == path || strings.HasSuffix(path, "/") && strings.HasPrefix(asked, path) {
				next.ServeHTTP(w, r)
				return
			}
		}
		answer(w, r, http.StatusNotFound, "There is only ThingSpeak's API here; the dashboard has an address of its own.")
	})
}

// broker makes a WebSocket of each MQTT connection.
func (p *Programs) broker(ctx context.Context, ln net.Listener, overTLS bool, transport http.RoundTripper) error {
	stop := context.AfterFunc(ctx, func() { _ = ln.Close() })
	defer stop()
	var wg sync.WaitGroup
	defer wg.Wait()
	for {
		c, err := ln.Accept()
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return err
		}
		wg.Go(func() {
			defer func() { _ = c.Close() }()
			if err := p.carry(ctx, c, overTLS, transport); err != nil && ctx.Err() == nil {
				p.cfg.Log.Warn("mqtt connection not carried to the hub", "err", err)
			}
		})
	}
}

func (p *Programs) carry(ctx context.Context, c net.Conn, overTLS bool, transport http.RoundTripper) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	greet, done := context.WithTimeout(ctx, mqttGreeting)
	defer done()
	if overTLS {
		secure := tls.Server(c, p.ca.config())
		if err := secure.HandshakeContext(greet); err != nil {
			return fmt.Errorf("TLS of a program: %w", err)
		}
		c = secure
	}
	//nolint:bodyclose // the library closes it, or has replaced it by one that needs no closing
	ws, res, err := websocket.Dial(greet, "ws://hub"+p.cfg.MQTTPath, &websocket.DialOptions{HTTPClient: &http.Client{Transport: transport}, Subprotocols: []string{"mqtt"}})
	if err != nil {
		if res != nil {
			return fmt.Errorf("hub answers %s", res.Status)
		}
		return err
	}
	defer func() { _ = ws.CloseNow() }()
	ws.SetReadLimit(1 << 20)
	hub := websocket.NetConn(ctx, ws, websocket.MessageBinary)
	stop := context.AfterFunc(ctx, func() {
		_ = c.Close()
		_ = ws.CloseNow()
	})
	defer stop()
	var wg sync.WaitGroup
	for _, way := range [][2]net.Conn{{hub, c}, {c, hub}} {
		wg.Go(func() {
			defer cancel() // the end of one way is the end of both
			_, _ = io.Copy(way[0], &quietly{way[1]})
		})
	}
	wg.Wait()
	return nil
}

// quietly is a connection that is given up after mqttPatience without a byte.
type quietly struct{ net.Conn }

func (p *quietly) Read(b []byte) (int, error) {
	if err := p.SetReadDeadline(time.Now().Add(mqttPatience)); err != nil {
		return 0, err
	}
	return p.Conn.Read(b)
}
