// Package connect is the workstation's door to the hub: an address on this machine's loopback interface whose HTTP
// requests travel through the overlay, inside the workstation's own mutual TLS, to the hub's faces.
//
// It hides the overlay from the browser: a dashboard, a script or an unmodified ThingSpeak client talks plain HTTP to
// loopback. It guarantees that nothing leaves this machine except inside inner TLS to a peer proven to be the hub,
// that only requests naming this very address as their Host are carried (so a web page elsewhere cannot rebind a name
// to it), and that connections, headers and time are bounded. It adds no rights: the hub decides on every request, by
// the person's session and this workstation's identity. It does not protect against other users of the same machine.
package connect

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"
	"time"

	"vitalseal/internal/overlay"
)

const (
	dialTimeout    = 10 * time.Second
	maxHubConns    = 64
	maxHeaderBytes = 32 << 10
)

// ErrNotLoopback is Listen's answer to an address that others could reach.
var ErrNotLoopback = errors.New("connect: not a loopback address")

// Listen opens the loopback address. It refuses any other: the workstation's door is not for the network.
func Listen(address string) (net.Listener, error) {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, fmt.Errorf("connect: listen %q: %w", address, err)
	}
	if ip := net.ParseIP(host); host != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return nil, fmt.Errorf("%w: %q; use 127.0.0.1:PORT", ErrNotLoopback, address)
	}
	ln, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("connect: %w", err)
	}
	return ln, nil
}

// Run serves ln until ctx ends, carrying requests over ep. It closes ln and returns when all its work has ended.
func Run(ctx context.Context, ep overlay.Endpoint, ln net.Listener, log *slog.Logger) error {
	transport := &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			ctx, cancel := context.WithTimeout(ctx, dialTimeout)
			defer cancel()
			return ep.Dial(ctx, overlay.ServiceFaces)
		},
		MaxConnsPerHost:       maxHubConns,
		MaxIdleConnsPerHost:   8,
		IdleConnTimeout:       90 * time.Second,
		ResponseHeaderTimeout: 30 * time.Second,
		DisableCompression:    true, // the browser's own encodings pass through unchanged
	}
	defer transport.CloseIdleConnections()
	proxy := &httputil.ReverseProxy{
		Rewrite: func(pr *httputil.ProxyRequest) {
			pr.SetURL(&url.URL{Scheme: "http", Host: "hub"})
			pr.Out.Host = pr.In.Host // the hub compares a request's Origin with it
		},
		Transport: transport,
		ErrorHandler: func(w http.ResponseWriter, r *http.Request, err error) {
			if ctx.Err() == nil && !errors.Is(err, context.Canceled) {
				log.Warn("hub not reached", "err", err)
			}
			unreachable(w, r)
		},
		ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
	server := &http.Server{
		Handler:           onlyFor(ln.Addr(), proxy),
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    maxHeaderBytes,
		BaseContext:       func(net.Listener) context.Context { return ctx },
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug),
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

// onlyFor answers only requests whose Host is the address itself, by number or as localhost.
func onlyFor(addr net.Addr, next http.Handler) http.Handler {
	_, port, _ := net.SplitHostPort(addr.String())
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host, p, err := net.SplitHostPort(r.Host)
		ip := net.ParseIP(host)
		if err != nil || p != port || host != "localhost" && (ip == nil || !ip.IsLoopback()) {
			http.Error(w, "this address answers only to its own name; open http://"+addr.String(), http.StatusMisdirectedRequest)
			return
		}
		next.ServeHTTP(w, r)
	})
}

func unreachable(w http.ResponseWriter, r *http.Request) {
	const text = "The hub cannot be reached from this workstation. No number here is live. Trying again when you reload."
	w.Header().Set("Cache-Control", "no-store")
	if strings.HasPrefix(r.URL.Path, "/api/") {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusBadGateway)
		_, _ = w.Write([]byte(`{"error":"` + text + `"}` + "\n"))
		return
	}
	http.Error(w, text, http.StatusBadGateway)
}
