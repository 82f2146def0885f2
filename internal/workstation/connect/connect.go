// Package connect is the workstation's door to the hub: an address on this machine's loopback
// interface whose requests travel through the overlay, inside the workstation's own mutual TLS, to
// the hub's faces.
//
// It hides the overlay from the browser, the local certificate authority behind the address's TLS,
// and the launch secret. It guarantees that nothing leaves this machine except inside inner TLS to
// a peer proven to be the hub; that only the operating-system user who started it is answered: by
// the uid at the other end of each connection, where the system tells (Linux), and by a secret that
// only that user can read, which a browser gets once as a link and a program from a 0600 file; that
// only requests for its one host name and from its own pages are carried; that connections,
// requests, headers and silence are bounded. It keeps the hub's audit log honest as a witness: what
// it has seen of it must never change, or every page starts with a warning. It adds no rights: the
// hub decides on every request, by the person's session and this workstation's identity.
//
// With Config.Plain it serves plain HTTP without a launch secret, for demonstrations: then only the
// uid keeps other users of the machine out, where the system tells it, else nothing. It never
// protects against root, nor against programs that run as the same user.
package connect

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"vitalseal/internal/shared/audit"
	"vitalseal/internal/way/overlay"
)

// Host is the one name of every connect address. Browsers resolve it to loopback by themselves (RFC
// 6761), and passkeys are bound to it.
const Host = "vitalseal.localhost"

const (
	dialTimeout    = 10 * time.Second
	maxHubConns    = 64
	maxHeaderBytes = 32 << 10
	maxBodyBytes   = 1 << 20 // as at the hub
)

// patience is how long the door waits for what.
type patience struct {
	header  time.Duration // for a request's head
	request time.Duration // for a whole request with its body; a WebSocket leaves this behind
	idle    time.Duration // for the next request on a connection
	write   time.Duration // for a client, or the hub, to take what is written to it; on WebSockets too
	silence time.Duration // for anything from the hub: live views speak every second
}

var usual = patience{header: 10 * time.Second, request: 30 * time.Second, idle: 2 * time.Minute, write: 30 * time.Second, silence: 3 * time.Minute}

// ErrNotLoopback is Listen's answer to an address that others could reach.
var ErrNotLoopback = errors.New("connect: not a loopback address")

// Listen opens the loopback address. It refuses any other: the workstation's door is not for the
// network.
func Listen(address string) (net.Listener, error) {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, fmt.Errorf("connect: listen %q: %w", address, err)
	}
	if ip := net.ParseIP(host); host != "localhost" && host != Host && (ip == nil || !ip.IsLoopback()) {
		return nil, fmt.Errorf("%w: %q; use 127.0.0.1:PORT", ErrNotLoopback, address)
	} else if ip == nil {
		address = "127.0.0.1" + strings.TrimPrefix(address, host) // never ask a name service where loopback is
	}
	ln, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("connect: %w", err)
	}
	return ln, nil
}

// Config says how a door is kept.
type Config struct {
	// Data is the folder for the certificate authority, connect.json and what the witness
	// remembers. Empty: none of them, which only Plain can do without.
	Data string
	// Plain serves plain HTTP without a launch secret.
	Plain bool
	// AuditKey is the public key of the audit log of the hub called "hub"; empty: the first one
	// that it shows, from then on, as with every other hub.
	AuditKey string
	Log      *slog.Logger
}

// Door is a connect address. Make it with New, then Run it.
type Door struct {
	cfg      Config
	ln       net.Listener
	scheme   string
	port     string
	ca       *authority // nil with Plain
	launches *launches  // nil with Plain
	witness  *audit.Witnesses
	damaged  error       // why there is no witness
	shown    atomic.Bool // a hub's answer did not prove itself
	file     []byte
	wait     patience
	began    time.Time
	heard    atomic.Int64 // when a hub last said something, in ns since 1970; 0: not yet
}

// New prepares the door behind ln, which Run closes. It makes the certificate authority where there
// is none, and writes connect.json.
func New(ln net.Listener, cfg Config) (*Door, error) {
	_, port, err := net.SplitHostPort(ln.Addr().String())
	if err != nil {
		return nil, fmt.Errorf("connect: %w", err)
	}
	d := &Door{cfg: cfg, ln: ln, scheme: "https", port: port, wait: usual, began: time.Now()}
	if cfg.Plain {
		d.scheme = "http"
	} else {
		if cfg.Data == "" {
			return nil, errors.New("connect: TLS needs a folder for its certificate authority")
		}
		if d.ca, err = openAuthority(cfg.Data, cfg.Log); err != nil {
			return nil, err
		}
		d.launches = newLaunches(port)
	}
	if cfg.Data == "" {
		return d, nil
	}
	if d.witness, err = audit.OpenWitnesses(filepath.Join(cfg.Data, "witness.note"), cfg.AuditKey); err != nil {
		d.damaged = err // patients are still to be seen; every page says so
	}
	d.shown.Store(d.shownBefore())
	return d, d.writeFile()
}

// URL is the address as browsers and programs must call it.
func (d *Door) URL() string {
	if d.scheme == "https" && d.port == "443" || d.scheme == "http" && d.port == "80" {
		return d.scheme + "://" + Host
	}
	return d.scheme + "://" + net.JoinHostPort(Host, d.port)
}

// LaunchURL is a link that lets one browser in, once, within ten minutes; with Plain it is URL. It
// is a secret until it is used.
func (d *Door) LaunchURL() string {
	if d.launches == nil {
		return d.URL()
	}
	return d.URL() + launchPath + "?once=" + d.launches.ticket()
}

// Run answers until ctx ends, carrying requests over ep. It closes the listener and returns when
// all its work has ended.
func (d *Door) Run(ctx context.Context, ep overlay.Endpoint) error {
	log := d.cfg.Log
	transport := toHub(ep, d.wait, &d.heard)
	defer transport.CloseIdleConnections()
	defer d.removeFile()

	working, stopWork := context.WithCancel(ctx)
	worked := make(chan struct{})
	go func() {
		defer close(worked)
		var following sync.WaitGroup
		following.Go(func() { d.follow(working, ep) })
		d.watch(working, ep)
		following.Wait()
	}()
	defer func() { stopWork(); <-worked }()

	guard := newGuard(d.ln, d.wait.write, log)
	ln := net.Listener(guard)
	if d.ca != nil {
		ln = tls.NewListener(guard, d.ca.config())
	}
	if !guard.knows() {
		log.Warn("this system does not tell which user is at the other end of a connection", "kept_out_by", map[bool]string{
			true: "nothing: any user of this machine can reach the sign-in page", false: "the launch secret"}[d.cfg.Plain])
	}
	server := &http.Server{
		Handler:           d.handler(ctx, transport),
		ReadHeaderTimeout: d.wait.header,
		ReadTimeout:       d.wait.request,
		IdleTimeout:       d.wait.idle,
		MaxHeaderBytes:    maxHeaderBytes,
		BaseContext:       func(net.Listener) context.Context { return ctx },
		ConnContext: func(ctx context.Context, _ net.Conn) context.Context {
			return context.WithValue(ctx, paceKey{}, newPace(time.Now()))
		},
		ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
	stopped := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(stopped)
		grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		if server.Shutdown(grace) != nil {
			_ = server.Close() // WebSockets and slow clients do not end by themselves
		}
	})
	err := server.Serve(ln)
	if !stop() {
		<-stopped
	}
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return fmt.Errorf("connect: %w", err)
}

// toHub carries requests to the faces of a hub, and notes when one was heard.
func toHub(ep overlay.Endpoint, wait patience, heard *atomic.Int64) *http.Transport {
	h := newHubs(ep)
	return &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			ctx, cancel := context.WithTimeout(ctx, dialTimeout)
			defer cancel()
			c, err := h.dial(ctx)
			if err != nil {
				return nil, err
			}
			return &speaking{c, wait, heard}, nil
		},
		MaxConnsPerHost:       maxHubConns,
		MaxIdleConnsPerHost:   8,
		IdleConnTimeout:       90 * time.Second,
		ResponseHeaderTimeout: 30 * time.Second,
		DisableCompression:    true, // the client's own encodings pass through unchanged
	}
}

// handler is everything that a request passes, outermost first.
func (d *Door) handler(ctx context.Context, transport http.RoundTripper) http.Handler {
	proxy := &httputil.ReverseProxy{
		Rewrite: func(pr *httputil.ProxyRequest) {
			pr.SetURL(&url.URL{Scheme: "http", Host: "hub"})
			pr.Out.Host = pr.In.Host                         // the hub compares a request's Origin with it
			pr.Out.URL.RawQuery = pr.In.URL.RawQuery         // the proxy drops what does not parse; the hub refuses it
			pr.Out.Header.Set("X-Forwarded-Proto", d.scheme) // so that it marks cookies as Secure over TLS
			d.launches.strip(pr.Out)
			plainBody(pr.Out)
		},
		Transport: transport,
		ModifyResponse: func(r *http.Response) error {
			if err := d.judge(r); err != nil {
				return err
			}
			d.mark(r.Header)
			if d.ca != nil {
				secureCookies(r.Header)
			}
			return nil
		},
		ErrorHandler: func(w http.ResponseWriter, r *http.Request, err error) {
			if ctx.Err() == nil && !errors.Is(err, context.Canceled) {
				d.cfg.Log.Warn("hub not reached", "err", err)
			}
			away(w, r, d.absence())
		},
		ErrorLog: slog.NewLogLogger(d.cfg.Log.Handler(), slog.LevelDebug),
	}
	h := http.MaxBytesHandler(d.logs(d.warned(pages(proxy))), maxBodyBytes)
	if d.launches != nil {
		h = d.launched(h)
	}
	return paced(small(d.ownPages(h)))
}

// absence is what is known of a hub that is not reached now.
func (d *Door) absence() absence {
	a := absence{began: d.began, now: time.Now()}
	if heard := d.heard.Load(); heard != 0 {
		a.heard = time.Unix(0, heard)
	}
	return a
}

// small refuses a body that says beforehand that it is too large; of others the hub gets no more
// than it would take.
func small(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ContentLength > maxBodyBytes {
			answer(w, r, http.StatusRequestEntityTooLarge, "The request is too large (at most 1 MiB).")
			return
		}
		next.ServeHTTP(w, r)
	})
}

// secureCookies marks the hub's cookies for TLS only: the hub cannot know that this address has it.
func secureCookies(h http.Header) {
	for i, c := range h["Set-Cookie"] {
		has := false
		for _, attribute := range strings.Split(c, ";")[1:] {
			has = has || strings.EqualFold(strings.TrimSpace(attribute), "secure")
		}
		if !has {
			h["Set-Cookie"][i] = c + "; Secure"
		}
	}
}

// answer is this door's own refusal, as JSON below /api.
func answer(w http.ResponseWriter, r *http.Request, status int, text string) {
	w.Header().Set("Cache-Control", "no-store")
	if strings.HasPrefix(r.URL.Path, "/api/") {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		_, _ = w.Write([]byte(`{"error":"` + text + `"}` + "\n"))
		return
	}
	http.Error(w, text, status)
}
