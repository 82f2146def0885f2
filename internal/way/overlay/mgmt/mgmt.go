// Package mgmt is a small client of OpenZiti's management interfaces (edge management and fabric,
// REST over TLS).
//
// It hides signing in, by client certificate or by password, and signing in again when the session
// has ended. It speaks plain JSON rather than through OpenZiti's generated clients: the handful of
// calls we make stays readable, and a package that needs it does not compile OpenZiti.
//
// It guarantees: the controller's certificate is verified against the roots it is given and against
// no others; at most [maxBody] bytes of an answer are read; session tokens appear in no error. A
// Client is safe for concurrent use.
//
// It does not protect against an administrator's credentials in the wrong hands: their holder
// controls the network.
package mgmt

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"
)

// Prefixes of the interfaces, for Client.Call.
const (
	Edge   = "/edge/management/v1"
	Fabric = "/fabric/v1"
)

const (
	maxBody        = 8 << 20
	requestTimeout = 15 * time.Second
	pageSize       = 200
)

// Errors that callers tell apart with errors.Is.
var (
	ErrNotFound     = errors.New("mgmt: not found")
	ErrExists       = errors.New("mgmt: exists already")
	ErrUnauthorized = errors.New("mgmt: not signed in")
	ErrUnavailable  = errors.New("mgmt: controller not reachable")
	ErrBusy         = errors.New("mgmt: asked too often")
)

// Config says where the controller is and who signs in: Certificate, or User and Password.
type Config struct {
	URL            string         // https://host:port
	Roots          *x509.CertPool // required; nothing else is trusted
	Certificate    *tls.Certificate
	User, Password string
}

// Client talks to one controller.
type Client struct {
	base string
	conf Config
	http *http.Client

	mu    sync.Mutex // guards token
	token string
}

// New makes a client. It connects with the first call.
func New(c Config) (*Client, error) {
	u, err := url.Parse(c.URL)
	if err != nil || u.Scheme != "https" || u.Host == "" {
		return nil, fmt.Errorf("mgmt: controller address %.80q is not https://host:port", c.URL)
	}
	if c.Roots == nil {
		return nil, errors.New("mgmt: no roots to verify the controller with")
	}
	t := &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: c.Roots}
	if c.Certificate != nil {
		t.Certificates = []tls.Certificate{*c.Certificate}
	}
	transport := &http.Transport{TLSClientConfig: t, MaxIdleConns: 4, IdleConnTimeout: 4 * time.Second,
		TLSHandshakeTimeout: requestTimeout, Proxy: http.ProxyFromEnvironment}
	return &Client{base: "https://" + u.Host, conf: c, http: &http.Client{Transport: transport, Timeout: requestTimeout}}, nil
}

// Close drops idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Login signs in anew.
func (c *Client) Login(ctx context.Context) error { return c.LoginAt(ctx, Edge) }

// LoginAt signs in anew at the interface of this prefix; the session serves the others too.
func (c *Client) LoginAt(ctx context.Context, prefix string) error {
	method, body := "cert", map[string]string{}
	if c.conf.Certificate == nil {
		method, body = "password", map[string]string{"username": c.conf.User, "password": c.conf.Password}
	}
	var out struct {
		Token string `json:"token"`
	}
	if err := c.once(ctx, http.MethodPost, prefix+"/authenticate?method="+method, "", body, &out); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.token = out.Token
	return nil
}

// Call sends in, when it is not nil, as JSON and decodes the answer's data into out, when that is
// not nil. It signs in when there is no session or it has ended. path begins with Edge or Fabric.
func (c *Client) Call(ctx context.Context, method, path string, in, out any) error {
	for attempt := 0; ; attempt++ {
		c.mu.Lock()
		token := c.token
		c.mu.Unlock()
		if token == "" {
			if err := c.Login(ctx); err != nil {
				return err
			}
			continue
		}
		err := c.once(ctx, method, path, token, in, out)
		if !errors.Is(err, ErrUnauthorized) || attempt >= 2 {
			return err
		}
		c.mu.Lock()
		if c.token == token {
			c.token = ""
		}
		c.mu.Unlock()
	}
}

// envelope is what each answer is wrapped in.
type envelope struct {
	Data json.RawMessage `json:"data"`
	Meta struct {
		Pagination struct {
			Total int `json:"totalCount"`
		} `json:"pagination"`
	} `json:"meta"`
	Error *struct {
		Code    string          `json:"code"`
		Message string          `json:"message"`
		Cause   json.RawMessage `json:"cause"`
	} `json:"error"`
}

func (c *Client) once(ctx context.Context, method, path, token string, in, out any) error {
	e, err := c.send(ctx, method, path, token, in)
	if err != nil || out == nil {
		return err
	}
	if err := json.Unmarshal(e.Data, out); err != nil {
		return fmt.Errorf("mgmt: %s %s: unexpected answer: %w", method, pathOnly(path), err)
	}
	return nil
}

func (c *Client) send(ctx context.Context, method, path, token string, in any) (*envelope, error) {
	var body io.Reader
	if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			return nil, fmt.Errorf("mgmt: %s: %w", pathOnly(path), err)
		}
		body = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, c.base+path, body)
	if err != nil {
		return nil, fmt.Errorf("mgmt: %s: %w", pathOnly(path), err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Accept", "application/json")
	if token != "" {
		req.Header.Set("zt-session", token)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, fmt.Errorf("%w: %s %s: %w", ErrUnavailable, method, pathOnly(path), err)
	}
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(io.LimitReader(resp.Body, maxBody+1))
	if err != nil {
		return nil, fmt.Errorf("%w: %s %s: %w", ErrUnavailable, method, pathOnly(path), err)
	}
	if len(b) > maxBody {
		return nil, fmt.Errorf("mgmt: %s %s: answer longer than %d bytes", method, pathOnly(path), maxBody)
	}
	var e envelope
	jsonErr := json.Unmarshal(b, &e)
	if resp.StatusCode/100 == 2 {
		if jsonErr != nil && len(bytes.TrimSpace(b)) > 0 {
			return nil, fmt.Errorf("mgmt: %s %s: answer is not JSON", method, pathOnly(path))
		}
		return &e, nil
	}
	return nil, statusError(resp.StatusCode, method, pathOnly(path), e)
}

func statusError(status int, method, path string, e envelope) error {
	code, message := "", ""
	if e.Error != nil {
		code, message = e.Error.Code, e.Error.Message+" "+string(e.Error.Cause)
		if len(message) > 300 {
			message = message[:300]
		}
	}
	kind := errors.New("mgmt: refused")
	switch {
	case status == http.StatusUnauthorized:
		kind = ErrUnauthorized
	case status == http.StatusNotFound:
		kind = ErrNotFound
	case status == http.StatusTooManyRequests:
		kind = ErrBusy
	case status == http.StatusConflict, strings.Contains(message, "must be unique"), strings.Contains(message, "duplicate value"):
		kind = ErrExists
	case status >= 500:
		kind = ErrUnavailable
	}
	return fmt.Errorf("%w: %s %s: status %d %s %s", kind, method, path, status, code, message)
}

func pathOnly(path string) string {
	path, _, _ = strings.Cut(path, "?")
	return path
}

// List reads all pages of a collection. filter is OpenZiti's query language, "" for everything.
func List[T any](ctx context.Context, c *Client, path, filter string) ([]T, error) {
	var all []T
	for {
		// The query is a filter with its own paging clauses; "true" selects everything.
		q := filter
		if q == "" {
			q = "true"
		}
		q += fmt.Sprintf(" skip %d limit %d", len(all), pageSize)
		var page []T
		if err := c.Call(ctx, http.MethodGet, path+"?filter="+url.QueryEscape(q), nil, &page); err != nil {
			return nil, err
		}
		all = append(all, page...)
		if len(page) < pageSize {
			return all, nil
		}
	}
}

// Count tells how many entities a collection holds.
func Count(ctx context.Context, c *Client, path string) (int, error) {
	for attempt := 0; ; attempt++ {
		c.mu.Lock()
		token := c.token
		c.mu.Unlock()
		e, err := c.send(ctx, http.MethodGet, path+"?limit=1", token, nil)
		if err == nil {
			return e.Meta.Pagination.Total, nil
		}
		if !errors.Is(err, ErrUnauthorized) || attempt >= 1 {
			return 0, err
		}
		if err := c.Login(ctx); err != nil {
			return 0, err
		}
	}
}

// Quote quotes s for a filter.
func Quote(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) + `"`
}
