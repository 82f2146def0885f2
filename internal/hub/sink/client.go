package sink

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"vitalseal/internal/hub/channel"
	"vitalseal/internal/shared/form"
)

const (
	requestTimeout = time.Minute
	maxAnswer      = 64 << 10
	maxBackoff     = 15 * time.Minute
	maxRetryAfter  = time.Hour
)

// ParseServer checks the address of a cloud and gives it back in one spelling: https://HOST[:PORT].
func ParseServer(s string) (string, error) {
	u, err := url.Parse(s)
	switch {
	case err != nil || u.Scheme != "https" || u.Hostname() == "":
		return "", fmt.Errorf("sink: server: %.80q is not an https address, such as https://api.thingspeak.com", s)
	case u.User != nil || u.RawQuery != "" || u.Fragment != "" || strings.Trim(u.Path, "/") != "":
		return "", fmt.Errorf("sink: server: %.80q has more than a scheme, a host and a port", s)
	case len(s) > 200:
		return "", errors.New("sink: server: longer than 200 characters")
	}
	return "https://" + strings.ToLower(u.Host), nil
}

// newClient speaks TLS to a cloud through dial. It connects to no other host: no proxy, no
// redirect.
func newClient(dial func(context.Context, string) (net.Conn, error), rootsPEM []byte) (*http.Client, error) {
	var roots *x509.CertPool
	if len(rootsPEM) > 0 {
		if roots = x509.NewCertPool(); !roots.AppendCertsFromPEM(rootsPEM) {
			return nil, errors.New("sink: the cloud's certificate authorities: no certificate in PEM found")
		}
	}
	t := &http.Transport{
		DisableKeepAlives: true, // seconds to minutes lie between two requests; each finds an egress that is allowed now
		DialContext:       func(ctx context.Context, _, address string) (net.Conn, error) { return dial(ctx, address) },
		TLSClientConfig:   &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots},
		// Above our own connection the name in the address is what the certificate must have.
		TLSHandshakeTimeout:    20 * time.Second,
		ResponseHeaderTimeout:  requestTimeout,
		MaxResponseHeaderBytes: maxAnswer,
	}
	return &http.Client{Transport: t, Timeout: requestTimeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}, nil
}

// outcome is what a request came to.
type outcome int

const (
	took     outcome = iota // the cloud has the batch
	slower                  // it asks to slow down
	failing                 // it fails, or cannot be reached: whether it has the batch is not known
	away                    // it could not be reached
	refused                 // it will not take this, however often it is sent
	tooLarge                // it might take less
)

// deliver sends a batch and acts on the answer.
func (e *Engine) deliver(ctx context.Context, k channel.Sink, s *state, b *batch) {
	// Noted first: should we be killed before the answer, the next answer is read knowing that this
	// one was lost.
	if err := e.c.Store.SinkAttempts(ctx, k, k.Attempts+1); err != nil {
		e.c.Log.Error("channel not forwarded", "channel", k.Channel, "err", err)
		return
	}
	what, after, err := e.send(ctx, k, b)
	if ctx.Err() != nil {
		return // the batch waits in the store
	}
	now := e.c.Now()
	if what == took {
		if err := e.c.Store.FinishPending(context.WithoutCancel(ctx), k, b.seconds(), b.Cursor, len(b.Messages)); err != nil {
			e.c.Log.Error("what was forwarded is not noted; it is sent again", "channel", k.Channel, "err", err)
			return
		}
		if s.failures > 0 || k.Problem != "" {
			e.c.Log.Info("channel is forwarded again", "channel", k.Channel, "server", k.Server)
		}
		s.failures, s.most = 0, MaxMessages
		return
	}
	s.failures++
	e.c.Log.Debug("cloud did not take a batch", "channel", k.Channel, "err", err)
	problem := map[outcome]string{slower: ProblemLimited, failing: ProblemFailing, away: ProblemAway, refused: ProblemRefused, tooLarge: ProblemRefused}[what]
	if what == tooLarge && len(b.Messages) > 1 {
		cut := b.half()
		s.most = len(cut.Messages)
		if err := e.keep(ctx, k, cut); err != nil {
			e.c.Log.Error("a smaller batch is not kept", "channel", k.Channel, "err", err)
		}
		return // at the next turn
	}
	s.next = now.Add(backoff(e.c.Interval, s.failures, after))
	if what == slower || what == refused {
		if err := e.c.Store.SinkAttempts(ctx, k, k.Attempts); err != nil { // it did not take it
			e.c.Log.Error("the state of forwarding is not noted", "channel", k.Channel, "err", err)
		}
	}
	e.report(ctx, k, s, problem)
}

// backoff doubles from the interval, at most maxBackoff, and never less than the cloud asked for;
// some of it is chance, so that channels that failed together do not come back together.
func backoff(interval time.Duration, failures int, after time.Duration) time.Duration {
	d := interval
	for range min(failures, 16) {
		if d *= 2; d > maxBackoff {
			d = maxBackoff
			break
		}
	}
	d += time.Duration(rand.Int64N(int64(d)/10 + 1)) // #nosec G404 -- no secret
	return max(d, min(after, maxRetryAfter))
}

// update is a message in ThingSpeak's words.
type update map[string]string

func (m message) update() update {
	u := update{"created_at": m.CreatedAt}
	for i, f := range m.Fields {
		if f != "" {
			u["field"+strconv.Itoa(i+1)] = f
		}
	}
	for name, v := range map[string]string{"status": m.Status, "latitude": m.Latitude, "longitude": m.Longitude, "elevation": m.Elevation} {
		if v != "" {
			u[name] = v
		}
	}
	return u
}

// send is one bulk update. after is how long the cloud wants not to be asked.
func (e *Engine) send(ctx context.Context, k channel.Sink, b *batch) (what outcome, after time.Duration, err error) {
	key, err := e.c.Store.SinkWriteKey(ctx, e.grant, k.Channel)
	if err != nil {
		return refused, 0, err
	}
	body := struct {
		Key     string   `json:"write_api_key"`
		Updates []update `json:"updates"`
	}{Key: key}
	for _, m := range b.Messages {
		body.Updates = append(body.Updates, m.update())
	}
	text, err := json.Marshal(body) // #nosec G117 -- the key goes to the server that made it, over TLS
	if err != nil {
		return refused, 0, err
	}
	address := k.Server + "/channels/" + strconv.FormatInt(k.Remote, 10) + "/bulk_update.json"
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, address, bytes.NewReader(text))
	if err != nil {
		return refused, 0, err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", "vitalseal")
	res, err := e.cloud.Do(req)
	if err != nil {
		return away, 0, err
	}
	defer res.Body.Close()
	what, after = judge(res, k.Attempts)
	if what == took {
		return what, 0, nil
	}
	return what, after, fmt.Errorf("sink: answer %d", res.StatusCode)
}

// judge says what an answer to a bulk update means, and how long the cloud wants not to be asked.
// attempts is how often the same batch was sent before.
func judge(res *http.Response, attempts int) (what outcome, after time.Duration) {
	body, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer))
	if n, err := strconv.Atoi(res.Header.Get("Retry-After")); err == nil && n > 0 {
		after = time.Duration(min(n, 1<<20)) * time.Second
	}
	switch {
	case res.StatusCode == http.StatusAccepted:
		return took, 0
	case res.StatusCode == http.StatusOK:
		// Elsewhere ThingSpeak says 200 for refusals as well; what was taken it says in so many
		// words.
		var in struct {
			Success bool `json:"success"`
		}
		if err == nil && form.Twice(body) == "" && json.Unmarshal(body, &in) == nil && in.Success {
			return took, 0
		}
		return failing, after
	case res.StatusCode == http.StatusConflict && attempts > 0:
		return took, 0 // the same batch was sent before and its answer lost: these times are there already
	case res.StatusCode == http.StatusTooManyRequests:
		return slower, after
	case res.StatusCode == http.StatusRequestEntityTooLarge:
		return tooLarge, after
	case res.StatusCode >= 500:
		return failing, after
	}
	return refused, after
}

// Fetch asks a cloud for a channel's newest entries, as JSON for ReadJSON; key is the channel's
// read key, or empty. It is for workstations, which have a way to the internet of their own.
// rootsPEM is as in Config.
func Fetch(ctx context.Context, server string, remote int64, key string, results int, rootsPEM []byte) (io.ReadCloser, error) {
	dialer := &net.Dialer{Timeout: 20 * time.Second}
	c, err := newClient(func(ctx context.Context, address string) (net.Conn, error) {
		return dialer.DialContext(ctx, "tcp", address)
	}, rootsPEM)
	if err != nil {
		return nil, err
	}
	address := server + "/channels/" + strconv.FormatInt(remote, 10) + "/feeds.json?results=" + strconv.Itoa(results)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, fmt.Errorf("sink: fetch: %w", err)
	}
	if key != "" {
		req.Header.Set("THINGSPEAKAPIKEY", key) // not in the address, which servers log
	}
	res, err := c.Do(req)
	if err != nil {
		return nil, fmt.Errorf("sink: fetch: %w", err)
	}
	if res.StatusCode != http.StatusOK {
		_ = res.Body.Close()
		return nil, fmt.Errorf("sink: fetch channel %d: the cloud answers %d", remote, res.StatusCode)
	}
	return struct {
		io.Reader
		io.Closer
	}{io.LimitReader(res.Body, maxFetch), res.Body}, nil
}

// maxFetch bounds an answer of 8,000 entries.
const maxFetch = 64 << 20
