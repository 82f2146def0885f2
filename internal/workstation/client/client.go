// Package client is one signed-in session at the hub's faces, for programs: the command line's administration and the
// demo use it exactly as a browser uses the dashboard, through a workstation's `vitalseal connect` address.
//
// It hides the session's cookies and their refreshing, the connect address's certificate authority and launch secret
// (FromFile), the request header that the faces demand against cross-site requests, and the shape of error answers. It
// guarantees that answers are bounded (MaxAnswerBytes), that an error carries the status and the hub's own words, that
// an expired access token is refreshed once and the request then repeated once, and that a client made with FromFile
// talks to no server that does not hold a certificate of that workstation's authority. It is safe for concurrent use after
// SignIn. It does not protect the way to an address given to New: that is plain HTTP on the workstation's loopback.
package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"strings"
	"sync"
	"time"
)

const (
	// MaxAnswerBytes bounds what is read of one answer.
	MaxAnswerBytes = 16 << 20

	requestTimeout = 30 * time.Second
)

// StatusError is an answer of the hub other than success.
type StatusError struct {
	Method, Path string
	Status       int
	Message      string // the hub's fixed text for this error
	StepUp       bool   // a fresh proof of identity is all that is missing: StepUp, then try again
	// Questions are what looks like a mistake: the same again with "meant": true is done.
	Questions []string
}

// Error names the request, the status and the hub's words.
func (e *StatusError) Error() string {
	return fmt.Sprintf("%s %s: %d %s: %s", e.Method, e.Path, e.Status, http.StatusText(e.Status), e.Message)
}

// Is reports a missing step-up as ErrStepUp.
func (e *StatusError) Is(target error) bool { return target == ErrStepUp && e.StepUp } //nolint:errorlint // errors.Is calls this

var (
	// ErrSignIn is the answer to wrong credentials, whatever was wrong with them.
	ErrSignIn = errors.New("sign-in refused: login, password or code wrong, or too many tries")
	// ErrStepUp is (errors.Is) the answer to an act that needs a proof of identity from the last minutes.
	ErrStepUp = errors.New("a fresh proof of identity is needed")
)

// SecondFactor is SignIn's answer when the password was right and a second factor is still asked for.
type SecondFactor struct {
	ID      string   `json:"id"`      // for Second
	Methods []string `json:"methods"` // of totp, recovery, passkey
}

// Error says what is asked for.
func (s *SecondFactor) Error() string {
	return "sign-in: a second factor is asked for: " + strings.Join(s.Methods, " or ")
}

// Proof is one proof of identity; one field is set.
type Proof struct {
	Password string `json:"password,omitempty"`
	TOTP     string `json:"totp,omitempty"`     // six digits
	Recovery string `json:"recovery,omitempty"` // a recovery code, which is used up
}

// Client talks to one connect address. Make it with New or FromFile.
type Client struct {
	base   *url.URL
	http   *http.Client
	launch string // secret of the connect address; empty for plain HTTP

	refreshing sync.Mutex // held while refreshing; guards refreshes
	refreshes  int        // how often; tells who waited that it is done
}

// New makes a client of the faces at base, such as "http://127.0.0.1:8420": a connect address in plain HTTP.
func New(base string) (*Client, error) {
	u, err := url.Parse(base)
	if err != nil {
		return nil, fmt.Errorf("client: address %q: %w", base, err)
	}
	if u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return nil, fmt.Errorf("client: address %q: want http://HOST:PORT as printed by `vitalseal connect`", base)
	}
	return newClient(u, nil)
}

func newClient(base *url.URL, transport http.RoundTripper) (*Client, error) {
	jar, err := cookiejar.New(nil)
	if err != nil {
		return nil, fmt.Errorf("client: %w", err)
	}
	return &Client{base: base, http: &http.Client{Jar: jar, Transport: transport, Timeout: requestTimeout,
		// The faces redirect no request to /api; a server that does is not the hub.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}}, nil
}

// SignIn opens the session. It returns ErrSignIn for wrong credentials and a *SecondFactor when Second must follow.
func (c *Client) SignIn(ctx context.Context, login, password string) error {
	return c.prove(ctx, "/api/session", map[string]string{"login": login, "password": password})
}

// Second completes a sign-in for which SignIn returned a *SecondFactor with this id. It returns ErrSignIn for a wrong
// or used code.
func (c *Client) Second(ctx context.Context, id string, p Proof) error {
	return c.prove(ctx, "/api/session/second", struct {
		ID string `json:"id"`
		Proof
	}{id, p})
}

// StepUp proves again who is signed in, after an ErrStepUp: with the second factor if the person has one, else with the
// password. It returns ErrSignIn for a wrong one.
func (c *Client) StepUp(ctx context.Context, p Proof) error {
	return c.prove(ctx, "/api/session/step-up", p)
}

func (c *Client) prove(ctx context.Context, path string, in any) error {
	var out struct {
		// An object while a second factor is asked for; who is signed in has a bool of that name.
		Second json.RawMessage `json:"second_factor"`
	}
	err := c.once(ctx, http.MethodPost, path, in, &out)
	var status *StatusError
	switch {
	case errors.As(err, &status) && (status.Status == http.StatusUnauthorized || status.Status == http.StatusTooManyRequests):
		return ErrSignIn
	case err == nil && bytes.HasPrefix(out.Second, []byte("{")):
		var second SecondFactor
		if err := json.Unmarshal(out.Second, &second); err != nil {
			return fmt.Errorf("client: sign-in: %w", err)
		}
		return &second
	}
	return err
}

// SignOut ends the session.
func (c *Client) SignOut(ctx context.Context) error {
	return c.Do(ctx, http.MethodDelete, "/api/session", nil, nil)
}

// Do sends in (JSON, nil for none) and decodes the answer into out (nil to ignore it). An answer that the session's
// access token has expired makes it refresh the token and ask again, once.
func (c *Client) Do(ctx context.Context, method, path string, in, out any) error {
	before := c.generation()
	err := c.once(ctx, method, path, in, out)
	var status *StatusError
	if !errors.As(err, &status) || status.Status != http.StatusUnauthorized || !c.refresh(ctx, before) {
		return err
	}
	return c.once(ctx, method, path, in, out)
}

// Refresh asks for a new access token before the old one has ended, as a client that keeps a live view open must. It does
// nothing for a session that cannot be refreshed.
func (c *Client) Refresh(ctx context.Context) { c.refresh(ctx, c.generation()) }

func (c *Client) generation() int {
	c.refreshing.Lock()
	defer c.refreshing.Unlock()
	return c.refreshes
}

// refresh reports whether asking again is worth it. Of all who find the token expired at once, one asks for another.
func (c *Client) refresh(ctx context.Context, before int) bool {
	c.refreshing.Lock()
	defer c.refreshing.Unlock()
	if c.refreshes != before {
		return true // another goroutine did, meanwhile
	}
	if len(c.http.Jar.Cookies(c.base.ResolveReference(&url.URL{Path: refreshPath}))) == 0 {
		return false // never signed in, or the session has ended: nothing to refresh with
	}
	if err := c.once(ctx, http.MethodPost, refreshPath, nil, nil); err != nil {
		return false
	}
	c.refreshes++
	return true
}

const refreshPath = "/api/session/refresh"

// once is one request and its answer.
func (c *Client) once(ctx context.Context, method, path string, in, out any) error {
	var body io.Reader
	if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			return fmt.Errorf("client: %s %s: %w", method, path, err)
		}
		body = bytes.NewReader(b)
	}
	ref, err := url.Parse(path)
	if err != nil {
		return fmt.Errorf("client: path %q: %w", path, err)
	}
	if ref.IsAbs() || ref.Host != "" {
		return fmt.Errorf("client: path %q: leads to another address", path)
	}
	req, err := http.NewRequestWithContext(ctx, method, c.base.ResolveReference(ref).String(), body)
	if err != nil {
		return fmt.Errorf("client: %s %s: %w", method, path, err)
	}
	req.Header = c.headers()
	req.Header.Set("Accept", "application/json")
	if in != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	res, err := c.http.Do(req)
	if err != nil {
		return fmt.Errorf("client: %s %s: %w", method, path, err)
	}
	defer res.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(res.Body, MaxAnswerBytes+1))
	if err != nil {
		return fmt.Errorf("client: %s %s: %w", method, path, err)
	}
	if len(answer) > MaxAnswerBytes {
		return fmt.Errorf("client: %s %s: answer over %d bytes", method, path, MaxAnswerBytes)
	}
	if res.StatusCode < 200 || res.StatusCode > 299 {
		text, stepUp := message(answer)
		var asked struct {
			Questions []string `json:"questions"`
		}
		_ = json.Unmarshal(answer, &asked) // an answer without them has none
		return &StatusError{method, path, res.StatusCode, text, stepUp, asked.Questions}
	}
	if out == nil || len(answer) == 0 {
		return nil
	}
	if err := json.Unmarshal(answer, out); err != nil {
		return fmt.Errorf("client: %s %s: answer: %w", method, path, err)
	}
	return nil
}

// headers are those of every request, cookies apart.
func (c *Client) headers() http.Header {
	h := http.Header{"X-Vitalseal-Request": {"1"}}
	if c.launch != "" {
		h.Set(launchHeader, c.launch)
	}
	return h
}

// Cookies are the headers that a WebSocket dialler must send to be this session; HTTP is how it must connect.
func (c *Client) Cookies() http.Header {
	h := c.headers()
	for _, k := range c.http.Jar.Cookies(c.base) {
		h.Add("Cookie", k.Name+"="+k.Value)
	}
	return h
}

// HTTP is a client without a time limit that reaches the connect address, for a WebSocket dialler. It sends no cookies
// and no headers of its own: those are Cookies.
func (c *Client) HTTP() *http.Client { return &http.Client{Transport: c.http.Transport} }

// Base is the address of the faces. A WebSocket dialler may use it with the scheme http or https.
func (c *Client) Base() *url.URL { u := *c.base; return &u }

// message takes the text out of {"error":"...","step_up":true} or gives the plain answer, shortened.
func message(answer []byte) (text string, stepUp bool) {
	var e struct {
		Error  string `json:"error"`
		StepUp bool   `json:"step_up"`
	}
	if json.Unmarshal(answer, &e) == nil && e.Error != "" {
		return e.Error, e.StepUp
	}
	s := strings.TrimSpace(string(answer))
	if len(s) > 200 {
		s = s[:200] + "…"
	}
	return s, false
}
