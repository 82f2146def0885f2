package overlay

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	crand "crypto/rand"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"time"
)

const (
	renewRetryMin = 2 * time.Second
	renewRetryMax = 5 * time.Minute
	// renewLook is how often it is looked at whether something is due: a clock that is set moves
	// that.
	renewLook = time.Minute
	// extendLook is how often the network's own certificate is looked at; it lives for a year.
	extendLook = 6 * time.Hour
)

// Extender is a Network whose configurations hold a certificate that ends, and that can be extended
// before it does.
type Extender interface {
	// Lifetime tells from when until when a configuration's certificate is good.
	Lifetime(config []byte) (from, until time.Time, err error)
	// Extend gets a new certificate over a new key for a configuration. keep is called with the new
	// configuration, to be put on disk, before the network takes it in the place of the old one.
	// Extend returns the configuration that is good now: after an interruption between the two that
	// may be either, and next is the one that was kept then (nil for none).
	Extend(ctx context.Context, config, next []byte, keep func(next []byte) error) ([]byte, error)
}

// reconfigurable is an Underlay that can go on with another configuration of the same identity: for
// what it dials and hosts from then on, while connections that are open stay open.
type reconfigurable interface {
	Reconfigure(config []byte) error
}

// Renewer keeps an identity's certificates fresh: its SVID, and the one by which the network knows
// it. Endpoints of the same Identity use the renewed ones from their next handshake on; open
// connections stay. Exactly one of Endpoint and Authority is set, but for the hub's own identity,
// which has both.
type Renewer struct {
	Identity  *Identity
	Endpoint  Endpoint      // asks the hub over ServiceRenew; made from Identity
	Authority *Authority    // issues directly: for the hub's own identity
	TTL       time.Duration // with Authority: lifetime of what it issues
	Log       *slog.Logger

	// Network extends the network's certificate, if it is an Extender. nil: it is not extended.
	Network Network
	// Software is the version that the inventory shows; empty: unknown.
	Software string
	// Hello is how often to tell the hub that this component lives; zero: only at the start.
	Hello time.Duration
	// Issued is told of each SVID that Authority issued; may be nil.
	Issued func(ctx context.Context, svid *x509.Certificate) error
}

// Run renews in the middle of each certificate's life, give or take a tenth so that a fleet does
// not come all at once, and retries with growing pauses when that fails. It also renews an SVID
// that has expired. It returns nil when ctx ends.
func (r *Renewer) Run(ctx context.Context) error {
	svid := task{what: "certificate", due: r.renewAt(), do: r.Renew, next: r.renewAt}
	tasks := []*task{&svid}
	if r.Authority == nil && r.Endpoint != nil {
		tasks = append(tasks, &task{what: "sign of life", due: time.Now(), quiet: true, do: func(ctx context.Context) error {
			rotate, err := r.hello(ctx)
			if rotate {
				svid.due = time.Now() // no need to wait for the middle of its life
			}
			return err
		}, next: func() time.Time {
			if r.Hello <= 0 {
				return time.Time{}
			}
			return time.Now().Add(r.Hello + jitter(r.Hello/5))
		}})
	}
	if _, ok := r.Network.(Extender); ok {
		tasks = append(tasks, &task{what: "network certificate", due: time.Now(), do: r.extendWhenDue,
			next: func() time.Time { return time.Now().Add(extendLook + jitter(extendLook/5)) }})
	}
	for {
		next := tasks[0]
		for _, t := range tasks[1:] {
			if next.due.IsZero() || !t.due.IsZero() && t.due.Before(next.due) {
				next = t
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(min(max(time.Until(next.due), 0), renewLook)):
		}
		if time.Until(next.due) > 0 { // looked at again: the clock may have been set
			continue
		}
		err := next.do(ctx)
		switch {
		case ctx.Err() != nil:
			return nil
		case err == nil:
			next.retry, next.due = 0, next.next()
			if !next.quiet {
				r.Log.Debug("looked after", "what", next.what, "identity", r.Identity.id.String())
			}
		default:
			next.retry = min(max(2*next.retry, renewRetryMin), renewRetryMax)
			next.due = time.Now().Add(next.retry + jitter(next.retry/5))
			r.Log.Warn("identity not renewed", "what", next.what, "identity", r.Identity.id.String(), "err", err,
				"retry_in", time.Until(next.due).Round(time.Second).String())
		}
	}
}

// task is something that Run does again and again.
type task struct {
	what  string
	quiet bool
	due   time.Time // zero: never
	retry time.Duration
	do    func(context.Context) error
	next  func() time.Time
}

func (r *Renewer) renewAt() time.Time {
	at := r.Identity.renewAt()
	return at.Add(jitter(r.Identity.Expires().Sub(at) / 5))
}

// jitter returns a random duration between -d/2 and d/2.
func jitter(d time.Duration) time.Duration {
	if d <= 0 {
		return 0
	}
	return rand.N(d) - d/2 // #nosec G404 -- spreads load, guards nothing
}

// Renew asks for a new SVID once and takes it into use, over a new key if the hub demands one.
// Errors: ErrRefused, ErrUnavailable, ErrPeer.
func (r *Renewer) Renew(ctx context.Context) error {
	if err := r.renew(ctx); err != nil {
		return fmt.Errorf("overlay: renew: %w", err)
	}
	r.Log.Info("identity renewed", "identity", r.Identity.id.String(), "expires", r.Identity.Expires())
	return nil
}

func (r *Renewer) renew(ctx context.Context) error {
	if r.Authority != nil {
		svid, err := r.Authority.Issue(r.Identity.id, r.Identity.svid.Load().key.Public(), r.TTL)
		if err == nil && r.Issued != nil {
			err = r.Issued(ctx, svid)
		}
		if err != nil {
			return err
		}
		return r.Identity.Install(svid)
	}
	c, err := dialRenew(ctx, r.Endpoint)
	if err != nil {
		return err
	}
	defer c.close()
	answer, err := c.ask(renewRequest{Version: 1, Software: r.Software})
	if errors.Is(err, ErrNewKey) {
		return r.rotate(ctx, c)
	}
	if err != nil {
		return err
	}
	svid, err := x509.ParseCertificate(answer.SVID)
	if err != nil {
		return errors.Join(ErrPeer, err)
	}
	return r.Identity.Install(svid)
}

// rotate brings a new key. The hub keeps taking the old one until the new one has been used, so an
// interruption at any point leaves an identity that works.
func (r *Renewer) rotate(ctx context.Context, c *renewConn) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), crand.Reader)
	if err != nil {
		return err
	}
	csr, err := x509.CreateCertificateRequest(crand.Reader, &x509.CertificateRequest{}, key)
	if err != nil {
		return err
	}
	answer, err := c.ask(renewRequest{Version: 1, Software: r.Software, CSR: csr})
	if err != nil {
		return err
	}
	svid, err := x509.ParseCertificate(answer.SVID)
	if err != nil {
		return errors.Join(ErrPeer, err)
	}
	if err := r.Identity.rekey(key, svid); err != nil {
		return err
	}
	r.Log.Info("identity has a new key", "identity", r.Identity.id.String())
	c.close()
	_, err = r.hello(ctx) // the first use of the new key ends the old one
	return err
}

// hello tells the hub that the component lives, and whether the hub wants a new key.
func (r *Renewer) hello(ctx context.Context) (rotate bool, err error) {
	c, err := dialRenew(ctx, r.Endpoint)
	if err != nil {
		return false, err
	}
	defer c.close()
	answer, err := c.ask(renewRequest{Version: 1, Kind: frameHello, Software: r.Software})
	return answer.Rotate, err
}

// renewConn is a connection to the renew service.
type renewConn struct {
	c     *Conn
	close func()
}

// dialRenew connects to the renew service; the connection ends after enrolTimeout.
func dialRenew(ctx context.Context, e Endpoint) (*renewConn, error) {
	ctx, cancel := context.WithTimeout(ctx, enrolTimeout)
	c, err := e.Dial(ctx, ServiceRenew)
	if err != nil {
		cancel()
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { _ = c.Close() })
	return &renewConn{c: c, close: func() {
		stop()
		cancel()
		_ = c.Close()
	}}, nil
}

func (c *renewConn) ask(request renewRequest) (renewResponse, error) {
	var response renewResponse
	if err := writeFrame(c.c, request); err != nil {
		return response, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	if err := readFrame(c.c, &response); err != nil {
		return response, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	return response, codeError(response.Error)
}

// extendWhenDue extends the network's certificate in the middle of its life, or takes up what was
// interrupted.
func (r *Renewer) extendWhenDue(ctx context.Context) error {
	n, ok := r.Network.(Extender)
	if !ok {
		return nil
	}
	config, next := r.Identity.configs()
	from, until, err := n.Lifetime(config)
	if err != nil {
		return fmt.Errorf("overlay: network certificate: %w", err)
	}
	if next == nil && time.Until(until) > until.Sub(from)/2 {
		return nil
	}
	return r.Extend(ctx)
}

// Extend extends the network's certificate now and takes it into use: what is dialled and hosted
// from then on uses it, connections that are open stay open.
func (r *Renewer) Extend(ctx context.Context) error {
	n, ok := r.Network.(Extender)
	if !ok {
		return errors.New("overlay: extend: this network has no certificates to extend")
	}
	config, next := r.Identity.configs()
	fresh, err := n.Extend(ctx, config, next, func(next []byte) error { return r.Identity.keepConfigs(config, next) })
	if err != nil {
		return fmt.Errorf("overlay: extend: %w", err)
	}
	if err := r.Identity.keepConfigs(fresh, nil); err != nil {
		return fmt.Errorf("overlay: extend: %w", err)
	}
	if e, ok := r.Endpoint.(*endpoint); ok {
		if u, ok := e.underlay.(reconfigurable); ok {
			if err := u.Reconfigure(fresh); err != nil {
				return fmt.Errorf("overlay: extend: %w", err)
			}
		}
	}
	if _, until, err := n.Lifetime(fresh); err == nil {
		r.Log.Info("network certificate extended", "identity", r.Identity.id.String(), "expires", until)
	}
	return nil
}
