// Package api is what all faces that speak JSON share: who sends a request, how often a workstation
// may ask, whether a page of another site has caused it, how a body is read, how an answer and an
// error are written, and the way of a request that is decided and audited before it is done.
//
//   - [Gate] knows the session of a request and the rate of its workstation. The hub makes one and
//     hands it to its faces.
//   - [SameOrigin] refuses what a page of another site has caused.
//   - [ReadJSON] and [Decode] read a body strictly; [Answer] and [Problem] are the other way.
//   - [Face] is a table of [Route]s: subject, decision, act, answer.
//
// It guarantees that no request of a [Face] is done before the policies have allowed it and the
// audit log has it; that a refusal of what was allowed is in the log as well; that a body has a
// bound, known fields, each once, and nothing behind it; that no value of a body is repeated in an
// answer. It is safe for concurrent use.
//
// It hides where tokens are (a cookie that no script can read, or a bearer token). Which error is
// which status and which text each face says itself. It does not protect against a rebound host
// name: that the Host of a request is the workstation's own loopback address is checked by package
// connect.
package api

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"vitalseal/internal/hub/access"
	"vitalseal/internal/hub/signin"
)

const (
	// BackgroundHeader is "1" on a request that a page makes by itself: it does not count as use of
	// the session, so an abandoned screen signs itself off.
	BackgroundHeader = "X-Vitalseal-Background"

	// CookieName carries the access token. Over TLS its name gets a prefix, see [Gate.CookieName].
	CookieName = "vitalseal_session"

	// MaxToken is the longest token in bytes; a longer one is none.
	MaxToken = 2 << 10
)

// Config is what a gate needs. SignIn and Workstation are required.
type Config struct {
	SignIn *signin.Service
	// Workstation is the SPIFFE id that the inner TLS has proven for the request's connection, ""
	// for none: then there is no session.
	Workstation func(*http.Request) string
	// Now is the clock; nil means time.Now.
	Now func() time.Time
	// SecureCookie adds Secure to every cookie: set it when all browsers reach the hub by https.
	// Without it the header X-Forwarded-Proto of the workstation's own listener says so for each
	// request.
	SecureCookie bool
	// Rate is how many requests a second one workstation may send in the long run, ten times that
	// at once; 150 if zero.
	Rate float64
}

// Gate knows who sends a request, and how often its workstation asks. Make it with NewGate.
type Gate struct {
	cfg   Config
	rates rates
}

// NewGate makes a gate. The error names what is missing.
func NewGate(c Config) (*Gate, error) {
	if c.SignIn == nil || c.Workstation == nil {
		return nil, errors.New("api: gate: SignIn and Workstation are required")
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Rate == 0 {
		c.Rate = defaultRate
	}
	return &Gate{cfg: c, rates: newRates(c.Rate)}, nil
}

// Workstation is the SPIFFE id proven for the request's connection, or "".
func (g *Gate) Workstation(r *http.Request) string { return g.cfg.Workstation(r) }

// Check refuses a request that a page of another site has caused (ErrForeign), and one above the
// rate of its workstation (ErrTooFast).
func (g *Gate) Check(r *http.Request) error {
	if err := SameOrigin(r); err != nil {
		return err
	}
	return g.Pace(r)
}

// Subject is who makes the request: the session of its cookie or bearer token, at its workstation.
// It counts as use of the session unless BackgroundHeader says otherwise. The error is
// access.ErrNoSession, or an access.ErrUndecided that has the store's.
//
//defence:own-keys an API key is no session
func (g *Gate) Subject(r *http.Request) (access.Subject, error) {
	token := g.Token(r)
	if token == "" {
		return access.Subject{}, access.ErrNoSession
	}
	find := g.cfg.SignIn.Authenticate
	if r.Header.Get(BackgroundHeader) == "1" {
		find = g.cfg.SignIn.Check
	}
	s, err := find(r.Context(), token, g.cfg.Workstation(r))
	if err != nil && !errors.Is(err, access.ErrNoSession) {
		err = fmt.Errorf("%w: %w", access.ErrUndecided, err)
	}
	return s, err
}

// Token is the request's access token, or "". A bearer token goes before the cookie: a client that
// sends one means it.
func (g *Gate) Token(r *http.Request) string {
	token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if !ok {
		token = g.Cookie(r, CookieName)
	}
	if len(token) > MaxToken {
		return ""
	}
	return token
}

// Cookie is the value of a cookie of ours, by its name without prefix; "" for none.
func (g *Gate) Cookie(r *http.Request, name string) string {
	c, err := r.Cookie(g.CookieName(r, name))
	if err != nil || len(c.Value) > MaxToken {
		return ""
	}
	return c.Value
}

// CookieName is the name of a cookie on the way that the browser came: over TLS with a prefix that
// makes browsers refuse it from anywhere else, __Host- or __Secure-.
func (g *Gate) CookieName(r *http.Request, name string) string {
	switch {
	case !g.Secure(r):
		return name
	case name == CookieName:
		return "__Host-" + name
	}
	return "__Secure-" + name
}

// Secure reports whether the browser came by TLS: as configured, or as the workstation's own
// listener says. A workstation that lies harms only the cookies of those who trust it already.
func (g *Gate) Secure(r *http.Request) bool {
	return g.cfg.SecureCookie || r.Header.Get("X-Forwarded-Proto") == "https"
}
