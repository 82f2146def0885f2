package overlay

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"
)

// maxExchanges bounds the enrolments, and apart from them the renewals, that are under way at once. More of them wait
// in the listener, whose queue is bounded as well.
const maxExchanges = 32

// savePatience is how long the hub waits for a client to write its identities before it promotes them anyway.
const savePatience = 10 * time.Second

// Enroller is what the hub decides about tickets. It is called concurrently.
type Enroller interface {
	// Redeem uses up a ticket: it atomically checks that secret is known, not expired and not used and covers exactly
	// ids, and marks it used. It looks the secret up by its hash, so that the time taken tells nothing. from is the first of
	// ids, as the client claims. Errors ErrTicketInvalid, ErrTicketExpired and ErrTicketUsed reach the client as such, all
	// others as an internal error.
	Redeem(ctx context.Context, secret string, ids []ID, from ID) error
	// Promote gives ids their working roles on the network, in the place of the one that lets them enrol, and marks them
	// active. It is called once the client has its identities on disk, because the network ends the connection of whoever
	// loses the role; it is called again when it fails, and whatever it did before must not hinder it.
	Promote(ctx context.Context, ids []ID) error
}

// ServeEnrol answers enrolments on ln, which was opened with AcceptAnonymous, until ctx ends or ln fails. recipient is
// the hub's recipient key, ttl the lifetime of the SVIDs it issues. It closes ln and returns nil when ctx ended.
func ServeEnrol(ctx context.Context, ln net.Listener, a *Authority, recipient []byte, e Enroller, ttl time.Duration, log *slog.Logger) error {
	return serve(ctx, ln, log, func(ctx context.Context, c *Conn) error {
		var request enrolRequest
		if err := readFrame(c, &request); err != nil {
			return err
		}
		ids, svids, err := enrolOne(ctx, a, e, ttl, request)
		if err != nil {
			return errors.Join(err, writeFrame(c, enrolResponse{Version: 1, Error: errorCode(err)}))
		}
		// From here on the ticket is used up, so the components are promoted whatever becomes of this connection.
		if err = writeFrame(c, enrolResponse{Version: 1, SVIDs: svids, Recipient: recipient}); err == nil {
			_ = c.SetReadDeadline(time.Now().Add(savePatience))
			var saved enrolSaved
			err = readFrame(c, &saved)
		}
		if promoteErr := promote(ctx, e, ids); promoteErr != nil {
			return errors.Join(err, promoteErr)
		}
		// The promotion may have ended the connection already; its end tells the client as much as this.
		_ = writeFrame(c, enrolSaved{Version: 1})
		return err
	})
}

// promote tries a few times: there is nobody else who would do it.
func promote(ctx context.Context, e Enroller, ids []ID) (err error) {
	for pause := 250 * time.Millisecond; pause < 5*time.Second; pause *= 2 {
		if err = e.Promote(ctx, ids); err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("overlay: promote: %w", err)
		case <-time.After(pause):
		}
	}
	return fmt.Errorf("overlay: promote: %w", err)
}

// enrolOne decides one request. What can be wrong with the request itself is found before the ticket is used up.
func enrolOne(ctx context.Context, a *Authority, e Enroller, ttl time.Duration, request enrolRequest) (ids []ID, svids [][]byte, err error) {
	if request.Version != 1 || len(request.Requests) == 0 || len(request.Requests) > MaxTicketComponents ||
		len(request.Secret) < minSecretBytes || len(request.Secret) > maxSecretBytes {
		return nil, nil, fmt.Errorf("%w: malformed request", ErrTicketInvalid)
	}
	seen := map[ID]bool{}
	for _, r := range request.Requests {
		id, err := ParseID(r.ID)
		if err != nil {
			return nil, nil, fmt.Errorf("%w: %w", ErrTicketInvalid, err)
		}
		if id.Kind == KindHub || id.Domain != a.Domain() || seen[id] {
			return nil, nil, fmt.Errorf("%w: %s cannot enrol here", ErrTicketInvalid, id)
		}
		seen[id] = true
		csr, err := x509.ParseCertificateRequest(r.CSR)
		if err != nil {
			return nil, nil, fmt.Errorf("%w: certificate request: %w", ErrTicketInvalid, err)
		}
		// The signature proves that the client holds the key. Nothing else in the request is used.
		if err := csr.CheckSignature(); err != nil {
			return nil, nil, fmt.Errorf("%w: certificate request: %w", ErrTicketInvalid, err)
		}
		svid, err := a.Issue(id, csr.PublicKey, ttl) // leaves this function only after Redeem
		if err != nil {
			return nil, nil, fmt.Errorf("%w: %w", ErrTicketInvalid, err)
		}
		ids, svids = append(ids, id), append(svids, svid.Raw)
	}
	if err := e.Redeem(ctx, request.Secret, ids, ids[0]); err != nil {
		return nil, nil, err
	}
	return ids, svids, nil
}

// ServeRenew renews SVIDs on ln, which was opened with AcceptExpired, until ctx ends or ln fails. A peer gets a new
// SVID for the id and the very key that it proved in the handshake, if enabled returns nil for it; ErrRefused tells it
// that it is disabled. It closes ln and returns nil when ctx ended.
func ServeRenew(ctx context.Context, ln net.Listener, a *Authority, enabled func(context.Context, ID) error, ttl time.Duration, log *slog.Logger) error {
	return serve(ctx, ln, log, func(ctx context.Context, c *Conn) error {
		var request renewRequest
		if err := readFrame(c, &request); err != nil {
			return err
		}
		svid, err := renewOne(ctx, a, enabled, ttl, request, c)
		response := renewResponse{Version: 1}
		if err != nil {
			response.Error = errorCode(err)
		} else {
			response.SVID = svid.Raw
		}
		return errors.Join(err, writeFrame(c, response))
	})
}

func renewOne(ctx context.Context, a *Authority, enabled func(context.Context, ID) error, ttl time.Duration, request renewRequest, c *Conn) (*x509.Certificate, error) {
	if request.Version != 1 || c.peer == (ID{}) {
		return nil, fmt.Errorf("%w: malformed request", ErrRefused)
	}
	if err := enabled(ctx, c.peer); err != nil {
		return nil, err
	}
	return a.Issue(c.peer, c.key, ttl)
}

// serve runs one exchange on each accepted connection, a bounded number at once, each within enrolTimeout.
func serve(ctx context.Context, ln net.Listener, log *slog.Logger, exchange func(context.Context, *Conn) error) error {
	var wg sync.WaitGroup
	defer wg.Wait()
	stop := context.AfterFunc(ctx, func() { _ = ln.Close() })
	defer stop()
	defer func() { _ = ln.Close() }()
	slots := make(chan struct{}, maxExchanges)
	for {
		raw, err := ln.Accept()
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return fmt.Errorf("overlay: serve %s: %w", ln.Addr(), err)
		}
		c, ok := raw.(*Conn)
		if !ok {
			_ = raw.Close()
			return errors.New("overlay: serve: the listener is not one of an Endpoint")
		}
		select {
		case slots <- struct{}{}:
		case <-ctx.Done():
			_ = c.Close()
			return nil
		}
		wg.Go(func() {
			defer func() { <-slots }()
			defer func() { _ = c.Close() }()
			ctx, cancel := context.WithTimeout(ctx, enrolTimeout)
			defer cancel()
			stop := context.AfterFunc(ctx, func() { _ = c.Close() })
			defer stop()
			if err := exchange(ctx, c); err != nil {
				log.Warn("overlay exchange refused", "service", ln.Addr().String(), "peer", c.peer.String(), "err", err)
			}
		})
	}
}
