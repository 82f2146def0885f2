// Package egress is the way out to the internet: a component that stands between the overlay and
// one address, so that neither the hub nor a gateway needs a route there. Serve is its side, Dial
// the hub's.
//
// It hides the exchange in front of the bytes (doc/formats/cloud.md). It guarantees that only a hub
// is served, that bytes go to the one address of the configuration and to no other whatever the hub
// asks for, and that connections are bounded in number and in time. It reads nothing of what it
// carries: TLS to the cloud begins and ends in the hub. It does not protect against an egress that
// another party runs: it can drop and delay, and sees how much is sent and when; the cloud's
// certificate is what the hub trusts.
package egress

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strconv"
	"strings"
	"sync"
	"time"

	"vitalseal/internal/way/overlay"
)

// What Dial's errors are (errors.Is).
var (
	// ErrRefused says that the egress does not lead to that address.
	ErrRefused = errors.New("egress: it does not lead to this address")
	// ErrUnreachable says that the address did not answer the egress.
	ErrUnreachable = errors.New("egress: the address does not answer")
)

const (
	version     = 1
	maxConns    = 64
	askTimeout  = 10 * time.Second
	dialTimeout = 15 * time.Second
	idleTimeout = 2 * time.Minute

	statusOpen        = 0
	statusRefused     = 1
	statusUnreachable = 2
)

// ParseTarget checks "host:port" and gives it back in the one spelling that is compared: lower
// case.
func ParseTarget(s string) (string, error) {
	host, port, err := net.SplitHostPort(s)
	if err != nil {
		return "", fmt.Errorf("egress: %.80q is not host:port, such as api.thingspeak.com:443", s)
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil || n == 0 || strconv.FormatUint(n, 10) != port {
		return "", fmt.Errorf("egress: port %.20q is not a number within 1 to 65535", port)
	}
	if host == "" || len(host) > 253 || strings.Trim(host, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-:") != "" {
		return "", fmt.Errorf("egress: host %.80q is no host name", host)
	}
	return net.JoinHostPort(strings.ToLower(host), port), nil
}

// Server forwards to one address.
type Server struct {
	// Allow is the address, host:port.
	Allow string
	// DialTCP connects to it; a net.Dialer if nil.
	DialTCP func(ctx context.Context, address string) (net.Conn, error)
	Log     *slog.Logger
}

// Serve answers hubs on ln until ctx ends or ln fails; it closes ln and returns nil when ctx ended,
// after its connections.
func (s *Server) Serve(ctx context.Context, ln net.Listener) error {
	allow, err := ParseTarget(s.Allow)
	if err != nil {
		return errors.Join(err, ln.Close())
	}
	if s.DialTCP == nil {
		s.DialTCP = func(ctx context.Context, address string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "tcp", address)
		}
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { _ = ln.Close() })
	defer stop()
	quiet := overlay.NewFlood(s.Log)
	defer quiet.Close()
	slots := make(chan struct{}, maxConns)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	for {
		c, err := ln.Accept()
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return fmt.Errorf("egress: accept: %w", err)
		}
		oc, ok := c.(*overlay.Conn)
		if !ok || oc.Peer().Kind != overlay.KindHub {
			if ok {
				quiet.Warn("not a hub", "identity", oc.Peer().String())
			}
			_ = c.Close()
			continue
		}
		select {
		case slots <- struct{}{}:
		default:
			quiet.Warn("connection refused: too many at once")
			_ = c.Close()
			continue
		}
		wg.Go(func() {
			defer func() { <-slots }()
			if err := s.carry(ctx, c, allow); err != nil && ctx.Err() == nil {
				quiet.Warn("connection ended", "err", err)
			}
		})
	}
}

// carry is one connection from the question to its end.
func (s *Server) carry(ctx context.Context, c net.Conn, allow string) error {
	defer c.Close()
	stop := context.AfterFunc(ctx, func() { _ = c.Close() })
	defer stop()
	_ = c.SetDeadline(time.Now().Add(askTimeout + dialTimeout))
	want, err := readTarget(c)
	if err != nil {
		return err
	}
	if want != allow {
		_, err := c.Write([]byte{version, statusRefused})
		return errors.Join(fmt.Errorf("%w: asked for %q, the configuration allows %q only", ErrRefused, want, allow), err)
	}
	dctx, cancel := context.WithTimeout(ctx, dialTimeout)
	out, err := s.DialTCP(dctx, allow)
	cancel()
	if err != nil {
		_, werr := c.Write([]byte{version, statusUnreachable})
		return errors.Join(fmt.Errorf("%w: %w", ErrUnreachable, err), werr)
	}
	defer out.Close()
	stopOut := context.AfterFunc(ctx, func() { _ = out.Close() })
	defer stopOut()
	if _, err := c.Write([]byte{version, statusOpen}); err != nil {
		return err
	}
	_ = c.SetDeadline(time.Time{})
	var wg sync.WaitGroup
	both := func() { _ = c.Close(); _ = out.Close() } // either end is the end of both: TLS says goodbye above
	wg.Go(func() { defer both(); pump(out, c) })
	wg.Go(func() { defer both(); pump(c, out) })
	wg.Wait()
	return nil
}

// pump copies until either end ends or nothing has come for a while.
func pump(to, from net.Conn) {
	b := make([]byte, 16<<10)
	for {
		_ = from.SetReadDeadline(time.Now().Add(idleTimeout))
		n, err := from.Read(b)
		if n > 0 {
			_ = to.SetWriteDeadline(time.Now().Add(idleTimeout))
			if _, err := to.Write(b[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// readTarget reads the question: version, length, address.
func readTarget(r io.Reader) (string, error) {
	var head [2]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return "", fmt.Errorf("egress: question: %w", err)
	}
	if head[0] != version {
		return "", fmt.Errorf("egress: question: version %d, want %d", head[0], version)
	}
	b := make([]byte, head[1])
	if _, err := io.ReadFull(r, b); err != nil {
		return "", fmt.Errorf("egress: question: %w", err)
	}
	target, err := ParseTarget(string(b))
	if err != nil {
		return "", err
	}
	return target, nil
}

// Dial connects a hub to target (host:port) through an egress. admit is asked whether the egress
// that answered may be one now. Errors: ErrRefused, ErrUnreachable, admit's, and those of
// overlay.Endpoint.Dial.
func Dial(ctx context.Context, ep overlay.Endpoint, target string, admit func(context.Context, *overlay.Conn) error) (net.Conn, error) {
	target, err := ParseTarget(target)
	if err != nil {
		return nil, err
	}
	if len(target) > 255 {
		return nil, fmt.Errorf("egress: address of %d bytes; 255 are allowed", len(target))
	}
	c, err := ep.Dial(ctx, overlay.ServiceCloud)
	if err != nil {
		return nil, err
	}
	if err := ask(ctx, c, target, admit); err != nil {
		_ = c.Close()
		return nil, err
	}
	return c, nil
}

func ask(ctx context.Context, c *overlay.Conn, target string, admit func(context.Context, *overlay.Conn) error) error {
	if err := admit(ctx, c); err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { _ = c.Close() })
	defer stop()
	_ = c.SetDeadline(time.Now().Add(askTimeout + dialTimeout))
	var answer [2]byte
	_, err := c.Write(append([]byte{version, byte(len(target))}, target...)) // #nosec G115 -- its length was checked
	if err == nil {
		_, err = io.ReadFull(c, answer[:])
	}
	if err == nil {
		err = c.SetDeadline(time.Time{})
	}
	switch {
	case err != nil:
		return fmt.Errorf("egress: %w", err)
	case answer[0] != version:
		return fmt.Errorf("egress: answer of version %d, want %d", answer[0], version)
	case answer[1] == statusRefused:
		return fmt.Errorf("%w: %s", ErrRefused, target)
	case answer[1] == statusUnreachable:
		return fmt.Errorf("%w: %s", ErrUnreachable, target)
	case answer[1] != statusOpen:
		return fmt.Errorf("egress: unknown answer %d", answer[1])
	}
	return nil
}
