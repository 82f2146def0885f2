// Package openziti is the real underlay: OpenZiti's SDK, one context per identity.
//
// It hides the SDK: enrolment with one-time tokens, sessions, roles that change while a session
// lasts, listeners that must come back after the network was away, and its logging, which is led
// into log/slog, redacted ([zitilog]).
//
// It guarantees: Dial and Listen end with their context; a listener lives until it is closed,
// through restarts of controller and router; no caller id of OpenZiti's is read. It does not prove
// who the peer is: the inner TLS of package overlay does, and [Connect] puts it on top.
package openziti

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/openziti/sdk-golang/ziti"
	"github.com/openziti/sdk-golang/ziti/edge/posture"
	"github.com/openziti/sdk-golang/ziti/enroll"

	"vitalseal/internal/way/overlay"
	"vitalseal/internal/way/overlay/zitilog"
)

const (
	// dialTimeout is short because the SDK, when it starts while no router answers, waits it out
	// even if one comes back.
	dialTimeout     = 4 * time.Second
	listenTimeout   = 10 * time.Second
	refreshInterval = time.Minute
	relistenMin     = 250 * time.Millisecond
	relistenMax     = 5 * time.Second
	// reconnectAfter failures in a row, a dialler starts over with a new SDK context: some session
	// errors do not heal.
	reconnectAfter = 4
	// forgottenAfter is how old an SDK context must be to be replaced at once when the network has
	// forgotten its session: the SDK would go on using it.
	forgottenAfter = 2 * time.Second
)

// creating serialises what the SDK does not guard: its context ids are a plain global counter.
var creating sync.Mutex

// Network implements overlay.Network.
type Network struct{ log *slog.Logger }

// NewNetwork returns the OpenZiti network. From now on OpenZiti logs to log.
func NewNetwork(log *slog.Logger) *Network {
	zitilog.Redirect(log)
	return &Network{log: log}
}

// Connect puts an enrolled identity on the network. It returns before there is a connection; Dial
// and Listen make one.
func Connect(ctx context.Context, identity *overlay.Identity, log *slog.Logger) (overlay.Endpoint, error) {
	u, err := NewNetwork(log).Open(ctx, identity.Config())
	if err != nil {
		return nil, err
	}
	return overlay.NewEndpoint(identity, u, log), nil
}

// EnrolZiti redeems the one-time token in the file jwtPath, writes OpenZiti's identity file to
// outPath with mode 0600 and removes jwtPath. It is the hub's bootstrap: components enrol with
// overlay.Enrol. Where outPath exists already, it does nothing.
func EnrolZiti(ctx context.Context, jwtPath, outPath string, log *slog.Logger) error {
	if _, err := os.Stat(outPath); err == nil {
		return nil
	}
	token, err := os.ReadFile(jwtPath) // #nosec G304 -- the operator names the file
	if err != nil {
		return fmt.Errorf("openziti: enrol: %w", err)
	}
	config, err := NewNetwork(log).Enrol(ctx, strings.TrimSpace(string(token)))
	if err != nil {
		return err
	}
	if err := overlay.WriteSecretFile(outPath, config); err != nil {
		return err
	}
	return os.Remove(jwtPath)
}

// Enrol redeems a one-time token. The controller that it trusts is the one whose key signed the
// token.
func (n *Network) Enrol(ctx context.Context, token string) ([]byte, error) {
	type result struct {
		config []byte
		err    error
	}
	done := make(chan result, 1)
	// The SDK takes no context here. If ours ends first, the request runs out by itself.
	go func() {
		config, err := enrol(token)
		done <- result{config, err}
	}()
	select {
	case r := <-done:
		if r.err != nil {
			return nil, fmt.Errorf("openziti: enrol: %w", r.err)
		}
		return r.config, nil
	case <-ctx.Done():
		return nil, fmt.Errorf("openziti: enrol: %w: %w", overlay.ErrUnavailable, ctx.Err())
	}
}

func enrol(token string) ([]byte, error) {
	claims, parsed, err := enroll.ParseToken(token)
	switch {
	case errors.Is(err, jwt.ErrTokenExpired):
		return nil, overlay.ErrTicketExpired
	case errors.Is(err, jwt.ErrTokenMalformed), errors.Is(err, jwt.ErrTokenSignatureInvalid):
		return nil, fmt.Errorf("%w: one-time token", overlay.ErrTicketInvalid)
	case err != nil:
		return nil, fmt.Errorf("%w: %s", overlay.ErrUnavailable, overlay.Redact(err.Error()))
	}
	if claims.EnrollmentMethod != "ott" {
		return nil, fmt.Errorf("%w: enrolment method %.20q is not ott", overlay.ErrTicketInvalid, claims.EnrollmentMethod)
	}
	var alg ziti.KeyAlgVar
	if err := alg.Set("EC"); err != nil {
		return nil, err
	}
	config, err := enroll.Enroll(enroll.EnrollmentFlags{Token: claims, JwtToken: parsed, JwtString: token, KeyAlg: alg})
	if err != nil {
		text := err.Error()
		if strings.Contains(text, "INVALID_ENROLLMENT_TOKEN") || strings.Contains(text, "NOT_FOUND") || strings.Contains(text, "ENROLLMENT_EXPIRED") {
			return nil, overlay.ErrTicketUsed // the controller says no more than that it does not know the token
		}
		return nil, fmt.Errorf("%w: %s", overlay.ErrUnavailable, overlay.Redact(text))
	}
	return json.Marshal(config)
}

// Open makes an SDK context. It connects when it is first used.
//
//defence:network there is no way but through the overlay
//defence:own-name a peer is what its certificate says, never the caller id
func (n *Network) Open(_ context.Context, config []byte) (overlay.Underlay, error) {
	u := &underlay{config: config, controller: controller(config), log: n.log, hosting: map[*listener]struct{}{}, inUse: map[ziti.Context]int{}, retired: map[ziti.Context]bool{}}
	zc, err := u.newContext()
	if err != nil {
		return nil, err
	}
	u.takeContext(zc)
	return u, nil
}

type underlay struct {
	log        *slog.Logger
	controller string // its address, for messages

	mu       sync.Mutex // guards the fields below
	config   []byte
	zc       ziti.Context // for what is dialled and hosted from now on
	closed   bool
	failures int // dials that failed in a row
	hosting  map[*listener]struct{}
	inUse    map[ziti.Context]int  // connections on each SDK context
	retired  map[ziti.Context]bool // contexts that close with their last connection
	made     time.Time             // zc
	sessions map[string]*session   // of zc, by service
}

// session makes dials of one service wait for each other until one of them has got through: of
// several first ones at once the SDK makes a session each, and may go on with one that the network
// has forgotten.
type session struct {
	turn chan struct{} // holds one
	used atomic.Bool   // a dial got through
}

// session is the one of a service on zc; nil if zc is not in use any more.
func (u *underlay) session(zc ziti.Context, service string) *session {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.zc != zc {
		return nil
	}
	s := u.sessions[service]
	if s == nil {
		s = &session{turn: make(chan struct{}, 1)}
		u.sessions[service] = s
	}
	return s
}

// dialInTurn is dialOnce, one at a time until one got through.
func (u *underlay) dialInTurn(ctx context.Context, zc ziti.Context, service string) (net.Conn, error) {
	plain, _ := overlay.SplitAt(service) // a session is of a service, whichever of its hubs is dialled
	s := u.session(zc, plain)
	if s == nil || s.used.Load() {
		return dialOnce(zc, service)
	}
	select {
	case s.turn <- struct{}{}:
		defer func() { <-s.turn }()
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	conn, err := dialOnce(zc, service)
	if err == nil {
		s.used.Store(true)
	}
	return conn, err
}

// takeContext goes on with another SDK context. The caller holds u.mu, or is alone.
func (u *underlay) takeContext(zc ziti.Context) {
	u.zc, u.failures, u.made, u.sessions = zc, 0, time.Now(), map[string]*session{}
}

func (u *underlay) newContext() (ziti.Context, error) {
	var c ziti.Config
	if err := json.Unmarshal(u.config, &c); err != nil {
		return nil, errors.New("openziti: open: not an OpenZiti identity")
	}
	creating.Lock()
	defer creating.Unlock()
	zc, err := ziti.NewContextWithOpts(&c, &ziti.Options{RefreshInterval: refreshInterval})
	if err != nil {
		return nil, fmt.Errorf("openziti: open: %s", overlay.Redact(err.Error()))
	}
	noPosture(zc)
	return zc, nil
}

// noPosture spares an SDK context from looking at this machine every ten seconds (its release, its
// network cards) for posture checks, which no policy of ours asks for: on a gateway of many
// sensors, each with a context, that was a twentieth of all work. It is called before the first
// look.
func noPosture(zc ziti.Context) {
	c, ok := zc.(*ziti.ContextImpl)
	if !ok || c.CtrlClt == nil || c.CtrlClt.PostureCache == nil {
		return
	}
	c.CtrlClt.PostureCache.OsProvider = noOS{}
	c.CtrlClt.PostureCache.MacProvider = posture.MacProviderFunc(func() []string { return nil })
}

type noOS struct{}

func (noOS) GetOsInfo() posture.OsInfo { return posture.OsInfo{} }

func (u *underlay) current() (ziti.Context, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.closed {
		return nil, net.ErrClosed
	}
	return u.zc, nil
}

// Dial implements overlay.Underlay.
func (u *underlay) Dial(ctx context.Context, service string) (net.Conn, error) {
	zc, err := u.current()
	if err != nil {
		return nil, err
	}
	type result struct {
		conn net.Conn
		err  error
	}
	done := make(chan result)
	release := u.use(zc)
	go func() {
		conn, err := u.dialInTurn(ctx, zc, service)
		select {
		case done <- result{conn, err}:
		case <-ctx.Done():
			if err == nil {
				_ = conn.Close()
			}
			release()
		}
	}()
	select {
	case r := <-done:
		u.noteDial(zc, r.err)
		if r.err != nil {
			release()
			return nil, unreachable(ctx, u.controller, r.err)
		}
		return &counted{r.conn, release}, nil
	case <-ctx.Done():
		return nil, unreachable(ctx, u.controller, context.Cause(ctx))
	}
}

// dialOnce dials, and looks the services up again when this one is unknown: a role may have been
// granted since.
func dialOnce(zc ziti.Context, name string) (net.Conn, error) {
	service, hub := overlay.SplitAt(name)
	if _, ok := zc.GetService(service); !ok {
		if err := zc.RefreshServices(); err != nil {
			return nil, err
		}
	}
	conn, err := zc.DialWithOptions(service, &ziti.DialOptions{ConnectTimeout: dialTimeout, Identity: hub})
	if err != nil {
		return nil, err
	}
	return conn, nil
}

// noteDial replaces an SDK context that does nothing but fail. Not while it hosts something:
// listeners heal themselves.
func (u *underlay) noteDial(zc ziti.Context, err error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if err == nil || u.zc != zc {
		u.failures = 0
		return
	}
	u.failures++
	forgotten := strings.Contains(err.Error(), "invalid session") && time.Since(u.made) > forgottenAfter
	if u.failures < reconnectAfter && !forgotten || len(u.hosting) > 0 || u.closed {
		return
	}
	u.failures = 0
	fresh, err := u.newContext()
	if err != nil {
		u.log.Warn("openziti context not renewed", "err", err)
		return
	}
	u.retire(zc)
	u.takeContext(fresh)
}

// Listen implements overlay.Underlay.
func (u *underlay) Listen(ctx context.Context, service string) (net.Listener, error) {
	l := &listener{u: u, service: service}
	l.ctx, l.cancel = context.WithCancel(context.Background())
	u.mu.Lock()
	zc, err := u.contextFor(l)
	if err == nil {
		u.hosting[l] = struct{}{}
		l.at, l.zc, l.release = zc, zc, u.useLocked(zc)
	}
	u.mu.Unlock()
	if err != nil {
		l.cancel()
		return nil, err
	}
	raw, err := listenOnce(ctx, zc, service)
	l.mu.Lock()
	switch moved := l.raw != nil; { // to another context, meanwhile
	case moved && err == nil:
		_ = raw.Close()
	case moved:
		err = nil
	case err == nil:
		l.raw = raw
	}
	l.mu.Unlock()
	if err != nil {
		_ = l.Close()
		return nil, err
	}
	l.watching = make(chan struct{})
	go func() {
		defer close(l.watching)
		l.watch()
	}()
	return l, nil
}

// rehost moves a listener to an SDK context that is known to reach the controller, and reports
// whether there is one. What else is hosted or dialled from now on goes there as well.
func (u *underlay) rehost(l *listener) bool {
	u.mu.Lock()
	stuck := u.zc == l.at
	if u.closed {
		u.mu.Unlock()
		return false
	}
	fresh, err := u.newContext()
	u.mu.Unlock()
	if err == nil {
		err = fresh.RefreshServices()
	}
	if err != nil {
		u.log.Debug("whether the overlay service is hosted is not known: the overlay does not answer; trying again", "service", l.service, "err", overlay.Redact(err.Error()))
		if fresh != nil {
			fresh.Close()
		}
		return false
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.closed || l.ctx.Err() != nil {
		go fresh.Close()
		return false
	}
	if stuck && u.zc == l.at {
		u.retire(u.zc)
		u.takeContext(fresh)
	} else {
		go fresh.Close()
	}
	zc, err := u.contextFor(l)
	if err != nil {
		return false
	}
	u.log.Warn("the overlay does not know that this hub hosts the service; hosting it anew", "service", l.service)
	l.at = zc
	l.move(zc)
	return true
}

// contextFor is the SDK context on which a listener hosts its service: the current one, or one of
// its own where another listener hosts the same service there, under another name. For the second
// session of one service that an SDK context asks for, the controller (1.7) returns a token of a
// session that it does not know; the SDK then asks again, many times a second, and the service is
// never hosted. The caller holds u.mu.
func (u *underlay) contextFor(l *listener) (ziti.Context, error) {
	if u.closed {
		return nil, net.ErrClosed
	}
	service, _ := overlay.SplitAt(l.service)
	for other := range u.hosting {
		if same, _ := overlay.SplitAt(other.service); other == l || same != service || other.at != u.zc {
			continue
		}
		own, err := u.newContext()
		if err != nil {
			return nil, err
		}
		u.retired[own] = true // it ends with what uses it
		return own, nil
	}
	return u.zc, nil
}

func listenOnce(ctx context.Context, zc ziti.Context, name string) (net.Listener, error) {
	type result struct {
		l   net.Listener
		err error
	}
	done := make(chan result)
	go func() {
		service, hub := overlay.SplitAt(name)
		if _, ok := zc.GetService(service); !ok {
			_ = zc.RefreshServices() // if it fails, so does listening
		}
		l, err := zc.ListenWithOptions(service, &ziti.ListenOptions{ConnectTimeout: listenTimeout, WaitForNEstablishedListeners: 1, Identity: hub})
		r := result{nil, err}
		if err == nil {
			r.l = l
		}
		select {
		case done <- r:
		case <-ctx.Done():
			if err == nil {
				_ = l.Close()
			}
		}
	}()
	select {
	case r := <-done:
		if r.err != nil {
			return nil, fmt.Errorf("%w: %s", overlay.ErrUnavailable, overlay.Redact(r.err.Error()))
		}
		return r.l, nil
	case <-ctx.Done():
		return nil, fmt.Errorf("%w: %w", overlay.ErrUnavailable, context.Cause(ctx))
	}
}

// Close implements overlay.Underlay.
func (u *underlay) Close() error {
	u.mu.Lock()
	defer u.mu.Unlock()
	if !u.closed {
		u.closed = true
		u.zc.Close()
		for zc := range u.retired {
			zc.Close()
		}
	}
	return nil
}
