// Package client is one signed-in session at the hub's faces, for programs: the command line's administration and the
// demo use it exactly as a browser uses the dashboard, through a workstation's `vitalseal connect` address.
//
// It hides the session cookie, the request header that the faces demand against cross-site requests, and the shape of
// error answers. It guarantees that answers are bounded (MaxAnswerBytes) and that an error carries the status and the
// hub's own words. It is safe for concurrent use after SignIn. It does not protect the way to the connect address:
// that is the loopback interface of the workstation.
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
	"time"
)

// MaxAnswerBytes bounds what is read of one answer.
const MaxAnswerBytes = 16 << 20

// StatusError is an answer of the hub other than success.
type StatusError struct {
	Method, Path string
	Status       int
	Message      string // the hub's fixed text for this error
}

// Error names the request, the status and the hub's words.
func (e *StatusError) Error() string {
	return fmt.Sprintf("%s %s: %d %s: %s", e.Method, e.Path, e.Status, http.StatusText(e.Status), e.Message)
}

// ErrSignIn is the answer to wrong credentials, whatever was wrong with them.
var ErrSignIn = errors.New("sign-in refused: login or password wrong, or too many tries")

// Client talks to one connect address. Make it with New.
type Client struct {
	base *url.URL
	http *http.Client
}

// New makes a client of the faces at base, such as "http://127.0.0.1:8420".
func New(base string) (*Client, error) {
	u, err := url.Parse(base)
	if err != nil {
		return nil, fmt.Errorf("client: address %q: %w", base, err)
	}
	if u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return nil, fmt.Errorf("client: address %q: want http://HOST:PORT as printed by `vitalseal connect`", base)
	}
	jar, err := cookiejar.New(nil)
	if err != nil {
		return nil, fmt.Errorf("client: %w", err)
	}
	return &Client{base: u, http: &http.Client{Jar: jar, Timeout: 30 * time.Second}}, nil
}

// SignIn opens the session. It returns ErrSignIn for wrong credentials.
func (c *Client) SignIn(ctx context.Context, login, password string) error {
	err := c.Do(ctx, http.MethodPost, "/api/session", map[string]string{"login": login, "password": password}, nil)
	var status *StatusError
	if errors.As(err, &status) && (status.Status == http.StatusUnauthorized || status.Status == http.StatusTooManyRequests) {
		return ErrSignIn
	}
	return err
}

// SignOut ends the session.
func (c *Client) SignOut(ctx context.Context) error {
	return c.Do(ctx, http.MethodDelete, "/api/session", nil, nil)
}

// Do sends in (JSON, nil for none) and decodes the answer into out (nil to ignore it).
func (c *Client) Do(ctx context.Context, method, path string, in, out any) error {
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
	req, err := http.NewRequestWithContext(ctx, method, c.base.ResolveReference(ref).String(), body)
	if err != nil {
		return fmt.Errorf("client: %s %s: %w", method, path, err)
	}
	req.Header.Set("X-Vitalseal-Request", "1")
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
		return &StatusError{method, path, res.StatusCode, message(answer)}
	}
	if out == nil || len(answer) == 0 {
		return nil
	}
	if err := json.Unmarshal(answer, out); err != nil {
		return fmt.Errorf("client: %s %s: answer: %w", method, path, err)
	}
	return nil
}

// Cookies is what a WebSocket dialler must send to be this session, for url.
func (c *Client) Cookies() http.Header {
	h := http.Header{}
	for _, k := range c.http.Jar.Cookies(c.base) {
		h.Add("Cookie", k.Name+"="+k.Value)
	}
	return h
}

// Base is the address given to New.
func (c *Client) Base() *url.URL { u := *c.base; return &u }

// message takes the text out of {"error":"..."} or gives the plain answer, shortened.
func message(answer []byte) string {
	var e struct {
		Error string `json:"error"`
	}
	if json.Unmarshal(answer, &e) == nil && e.Error != "" {
		return e.Error
	}
	s := strings.TrimSpace(string(answer))
	if len(s) > 200 {
		s = s[:200] + "…"
	}
	return s
}
