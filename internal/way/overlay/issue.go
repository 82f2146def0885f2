package overlay

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"time"
)

// savePatience is how long the hub waits for a client to write its identities before it promotes
// them anyway.
const savePatience = 10 * time.Second

// Enroller is what the hub decides about tickets. It is called concurrently.
type Enroller interface {
	// Redeem uses up a ticket: it atomically checks that secret is known, not expired and not used
	// and covers exactly ids, and marks it used. It looks the secret up by its hash, so that the
	// time taken tells nothing. svids are the certificates that ids get, in their order. Errors
	// ErrTicketInvalid, ErrTicketExpired and ErrTicketUsed reach the client as such, all others as
	// an internal error.
	Redeem(ctx context.Context, secret string, ids []ID, svids []*x509.Certificate) error
	// Promote gives ids their working roles on the network, in the place of the one that lets them
	// enrol, and marks them active. It is called once the client has its identities on disk,
	// because the network ends the connection of a client that loses the role; it is called again
	// when it fails, and whatever it did before must not hinder it.
	Promote(ctx context.Context, ids []ID) error
}

// ServeEnrol answers enrolments on ln, which was opened with AcceptAnonymous, until ctx ends or ln
// fails. recipient is the hub's recipient key, ttl the lifetime of the SVIDs it issues. It closes
// ln and returns nil when ctx ended.
func ServeEnrol(ctx context.Context, ln net.Listener, a *Authority, recipient []byte, e Enroller, ttl time.Duration, log *slog.Logger) error {
	return serve(ctx, ln, log, func(ctx context.Context, c *Conn, t turn) error {
		var request enrolRequest
		if err := readFrame(c, &request); err != nil {
			return err
		}
		ids, svids, err := enrolOne(ctx, a, e, ttl, request)
		if err != nil {
			return errors.Join(err, writeFrame(c, enrolResponse{Version: 1, Error: errorCode(err)}))
		}
		t.settle()
		// From here on the ticket is used up, so the components are promoted whatever becomes of
		// this connection.
		if err = writeFrame(c, enrolResponse{Version: 1, SVIDs: svids, Recipient: recipient}); err == nil {
			_ = c.SetReadDeadline(time.Now().Add(savePatience))
			var saved enrolSaved
			err = readFrame(c, &saved)
		}
		if promoteErr := promote(ctx, e, ids); promoteErr != nil {
			return errors.Join(err, promoteErr)
		}
		// The promotion may have ended the connection already; its end tells the client as much as
		// this.
		_ = writeFrame(c, enrolSaved{Version: 1})
		return err
	})
}

// promote tries a few times: no other caller would do it.
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

// enrolOne decides one request. What can be wrong with the request itself is found before the
// ticket is used up.
func enrolOne(ctx context.Context, a *Authority, e Enroller, ttl time.Duration, request enrolRequest) (ids []ID, raw [][]byte, err error) {
	var svids []*x509.Certificate
	if request.Version != 1 || len(request.Requests) == 0 || len(request.Requests) > MaxTicketComponents ||
		len(request.Secret) < minSecretBytes || len(request.Secret) > maxSecretBytes {
		return nil, nil, fmt.Errorf("%w: malformed request", ErrTicketInvalid)
	}
	if request.Now != nil { // a certificate that is not valid at the client yet would use the ticket up for nothing
		if err := clockError(*request.Now, time.Now()); err != nil {
			return nil, nil, err
		}
	}
	seen := map[ID]bool{}
	for _, r := range request.Requests {
		id, err := ParseID(r.ID)
		if err != nil {
			return nil, nil, fmt.Errorf("%w: %w", ErrTicketInvalid, err)
		}
		// A hub's certificate speaks for the whole deployment, so no other ticket gives one.
		hub := id.Kind == KindHub && (request.Kind != KindHub || len(request.Requests) != 1)
		if hub || id.Kind == KindRouter || id.Domain != a.Domain() || seen[id] {
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
		ids, svids, raw = append(ids, id), append(svids, svid), append(raw, svid.Raw)
	}
	if err := e.Redeem(ctx, request.Secret, ids, svids); err != nil {
		return nil, nil, err
	}
	return ids, raw, nil
}

// Renewals is what the hub decides about components that have enrolled. Its functions are called
// concurrently.
type Renewals struct {
	// Admit says who may renew now: ErrRefused tells a component that it is disabled. It notes that
	// the component was seen and what software it runs ("" = it did not say), and asks for a new
	// key when an administrator demanded a rotation.
	Admit func(ctx context.Context, c *Conn, software string) (newKey bool, err error)
	// Issued is called with each certificate before it leaves; an error keeps it here. nil: no
	// record is kept.
	Issued func(ctx context.Context, id ID, svid *x509.Certificate) error
	// Witness answers components that keep the audit log's checkpoint. nil: refused.
	Witness CheckpointSource
	// Next is Witness for components that wait: it answers when there is something to see, within a
	// minute. nil: answered at once.
	Next CheckpointSource
}

// ServeRenew renews SVIDs on ln, which was opened with AcceptExpired, until ctx ends or ln fails. A
// peer gets a new SVID for the id that it proved in the handshake, over the key that it proved
// there or, if it brings one, over a new key. It closes ln and returns nil when ctx ended.
func ServeRenew(ctx context.Context, ln net.Listener, a *Authority, r Renewals, ttl time.Duration, log *slog.Logger) error {
	return serve(ctx, ln, log, func(ctx context.Context, c *Conn, t turn) error {
		for left := maxRenewFrames; left > 0; left-- {
			var request renewRequest
			if err := readFrame(c, &request); errors.Is(err, io.EOF) {
				return nil
			} else if err != nil {
				return err
			}
			asked := time.Now()
			waits := request.Kind == frameWitness && request.Wait && r.Next != nil && t.wait()
			response, err := renewOne(ctx, a, r, ttl, request, waits, c)
			response.Version = 1
			if err != nil {
				response = renewResponse{Version: 1, Error: errorCode(err)}
			}
			if writeErr := writeFrame(c, response); writeErr != nil && err == nil {
				return fmt.Errorf("%w: %w", errLeft, writeErr)
			} else if writeErr != nil || err != nil && !errors.Is(err, ErrNewKey) {
				return errors.Join(err, writeErr)
			}
			if waits && time.Since(asked) >= waitCounts {
				left++ // a witness may come back for ever, though not in a hurry
			}
		}
		return nil
	})
}

// waitCounts is how long an answer must have been waited for not to count against maxRenewFrames.
const waitCounts = time.Second

func renewOne(ctx context.Context, a *Authority, r Renewals, ttl time.Duration, request renewRequest, waits bool, c *Conn) (out renewResponse, err error) {
	if request.Version != 1 || c.peer == (ID{}) || len(request.Software) > maxSoftware {
		return out, fmt.Errorf("%w: malformed request", ErrRefused)
	}
	newKey, err := r.Admit(ctx, c, request.Software)
	if err != nil {
		return out, err
	}
	switch request.Kind {
	case frameHello:
		out.Rotate = newKey
		return out, nil
	case frameWitness:
		source := r.Witness
		if waits {
			source, out.Waits = r.Next, true
		}
		out.Witness, err = source.answer(ctx, c.peer, request)
		return out, err
	case frameRenew:
	default:
		return out, fmt.Errorf("%w: unknown kind of request", ErrRefused)
	}
	key := c.cert.PublicKey
	if len(request.CSR) > 0 {
		if !newKey { // the thief of a key must not be able to rotate the owner out
			return out, fmt.Errorf("%w: a new key that was not asked for", ErrRefused)
		}
		csr, err := x509.ParseCertificateRequest(request.CSR)
		if err == nil {
			err = csr.CheckSignature() // the client holds the key
		}
		if err != nil {
			return out, fmt.Errorf("%w: certificate request: %w", ErrRefused, err)
		}
		key = csr.PublicKey
	} else if newKey {
		return out, ErrNewKey
	}
	svid, err := a.Issue(c.peer, key, ttl)
	if err != nil {
		return out, fmt.Errorf("%w: %w", ErrRefused, err)
	}
	if r.Issued != nil {
		if err := r.Issued(ctx, c.peer, svid); err != nil {
			return out, err
		}
	}
	out.SVID = svid.Raw
	return out, nil
}

// maxSoftware bounds what a component says about its version.
const maxSoftware = 64
