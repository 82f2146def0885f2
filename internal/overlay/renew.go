package overlay

import (
	"context"
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
)

// Renewer keeps an identity's SVID fresh. Endpoints of the same Identity use the renewed one from their next handshake
// on; open connections stay. Exactly one of Endpoint and Authority is set.
type Renewer struct {
	Identity  *Identity
	Endpoint  Endpoint      // asks the hub over ServiceRenew; made from Identity
	Authority *Authority    // issues directly: for the hub's own identity
	TTL       time.Duration // with Authority: lifetime of what it issues
	Log       *slog.Logger
}

// Run renews in the middle of each SVID's life, give or take a tenth so that a fleet does not come all at once, and
// retries with growing pauses when that fails. It also renews an SVID that has expired. It returns nil when ctx ends.
func (r *Renewer) Run(ctx context.Context) error {
	retry := time.Duration(0)
	for {
		wait := retry
		if wait == 0 {
			at := r.Identity.renewAt()
			slack := r.Identity.Expires().Sub(at) / 5
			wait = time.Until(at) + jitter(slack)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(max(wait, 0)):
		}
		err := r.Renew(ctx)
		switch {
		case err == nil:
			retry = 0
			r.Log.Info("identity renewed", "identity", r.Identity.id.String(), "expires", r.Identity.Expires())
		case ctx.Err() != nil:
			return nil
		default:
			retry = min(max(2*retry, renewRetryMin), renewRetryMax)
			retry += jitter(retry / 5)
			r.Log.Warn("identity not renewed", "identity", r.Identity.id.String(), "err", err, "retry_in", retry.Round(time.Second).String())
		}
	}
}

// jitter returns a random duration between -d/2 and d/2.
func jitter(d time.Duration) time.Duration {
	if d <= 0 {
		return 0
	}
	return rand.N(d) - d/2 // #nosec G404 -- spreads load, guards nothing
}

// Renew asks for a new SVID once and takes it into use. Errors: ErrRefused, ErrUnavailable, ErrPeer.
func (r *Renewer) Renew(ctx context.Context) error {
	svid, err := r.request(ctx)
	if err != nil {
		return fmt.Errorf("overlay: renew: %w", err)
	}
	return r.Identity.Install(svid)
}

func (r *Renewer) request(ctx context.Context) (*x509.Certificate, error) {
	if r.Authority != nil {
		return r.Authority.Issue(r.Identity.id, r.Identity.key.Public(), r.TTL)
	}
	ctx, cancel := context.WithTimeout(ctx, enrolTimeout)
	defer cancel()
	c, err := r.Endpoint.Dial(ctx, ServiceRenew)
	if err != nil {
		return nil, err
	}
	defer func() { _ = c.Close() }()
	stop := context.AfterFunc(ctx, func() { _ = c.Close() })
	defer stop()
	if err := writeFrame(c, renewRequest{Version: 1}); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	var response renewResponse
	if err := readFrame(c, &response); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	if err := codeError(response.Error); err != nil {
		return nil, err
	}
	svid, err := x509.ParseCertificate(response.SVID)
	if err != nil {
		return nil, errors.Join(ErrPeer, err)
	}
	return svid, nil
}
