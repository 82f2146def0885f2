package connect

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"html"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"vitalseal/internal/audit"
	"vitalseal/internal/overlay"
)

const (
	// AlarmHeader is on every answer while the witness of the hub's audit log is alarmed, for pages to show.
	AlarmHeader = "X-Vitalseal-Audit-Alarm"

	seenCookie   = "vitalseal_witness_seen"
	seenPath     = "/connect/witness"
	seenLife     = time.Hour
	maxStatement = 64 << 10
	fetchTimeout = 30 * time.Second

	// followAgain is how long follow waits after a failure; a hub of before it is asked as often as for a checkpoint.
	followAgain = 2 * time.Second
)

// watch keeps the witnesses of the hubs' audit logs up to date until ctx ends.
func (d *Door) watch(ctx context.Context, ep overlay.Endpoint) {
	if d.damaged != nil {
		d.cfg.Log.Error("THE AUDIT LOG IS NOT WITNESSED: what this workstation remembers of it is damaged, or of another log; keep the file, it is evidence", "err", d.damaged)
	}
	if d.witness == nil {
		return
	}
	_ = d.witness.Run(ctx, func(ctx context.Context, from func(string) (int64, error)) (string, json.RawMessage, error) {
		ctx, cancel := context.WithTimeout(ctx, fetchTimeout)
		defer cancel()
		// Whichever hub answers: in time it is each of them.
		c, err := ep.Dial(ctx, overlay.ServiceFaces)
		if err != nil {
			return "", nil, fmt.Errorf("connect: checkpoint: %w", err)
		}
		hub := c.Peer().Name
		defer func() { _ = c.Close() }()
		size, err := from(hub)
		if err != nil {
			return hub, nil, err
		}
		statement, err := statementOf(ctx, &speaking{c, d.wait}, "checkpoint", size)
		return hub, statement, err
	}, d.cfg.Log)
}

// follow waits at a hub for each checkpoint that it shows before it answers a dangerous act, until ctx ends. Asking for the next one
// tells the hub that this one is kept.
func (d *Door) follow(ctx context.Context, ep overlay.Endpoint) {
	if d.witness == nil {
		return
	}
	for ctx.Err() == nil {
		if err := d.followOne(ctx, ep); err != nil {
			wait := followAgain
			if errors.Is(err, errNoFollow) {
				wait = audit.WitnessEvery
			}
			d.cfg.Log.DebugContext(ctx, "the hub's next checkpoint is not waited for", "err", err)
			select {
			case <-ctx.Done():
			case <-time.After(wait):
			}
		}
	}
}

// errNoFollow means that the hub is of before follow.
var errNoFollow = errors.New("connect: the hub shows no checkpoints before it answers")

func (d *Door) followOne(ctx context.Context, ep overlay.Endpoint) error {
	ctx, cancel := context.WithTimeout(ctx, audit.DeskWait+fetchTimeout)
	defer cancel()
	c, err := ep.Dial(ctx, overlay.ServiceFaces)
	if err != nil {
		return fmt.Errorf("connect: checkpoint: %w", err)
	}
	defer func() { _ = c.Close() }()
	one, err := d.witness.Of(c.Peer().Name)
	if err != nil {
		return err
	}
	asked := one.Size() // the other way of asking may bring a newer one meanwhile
	statement, err := statementOf(ctx, c, "watch", asked)
	if err != nil {
		return err
	}
	return one.UpdateAsked(asked, statement)
}

// statementOf asks the hub at the other end of a connection what its log says of itself.
func statementOf(ctx context.Context, c net.Conn, what string, from int64) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, fmt.Sprintf("http://hub/api/audit/%s?from=%d", what, from), nil)
	if err != nil {
		return nil, err
	}
	one := &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) { return c, nil }, DisableKeepAlives: true}
	res, err := one.RoundTrip(req)
	if err != nil {
		return nil, fmt.Errorf("connect: checkpoint: %w", err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(io.LimitReader(res.Body, maxStatement))
	if kind := res.Header.Get("Content-Type"); res.StatusCode == http.StatusNotFound || what == "watch" && !strings.HasPrefix(kind, "application/json") {
		return nil, errNoFollow
	}
	if err != nil || res.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("connect: checkpoint: the hub answers %d: %w", res.StatusCode, err)
	}
	return b, nil
}

// alarm is what is wrong with the hub's audit log, "" for nothing.
func (d *Door) alarm() string {
	switch {
	case d.damaged != nil:
		return d.damaged.Error()
	case d.witness != nil:
		return d.witness.State().Alarm
	}
	return ""
}

// mark tells pages of the alarm. The hub does not get to say that there is none.
func (d *Door) mark(h http.Header) {
	h.Del(AlarmHeader)
	if d.alarm() != "" {
		h.Set(AlarmHeader, "1")
	}
}

// warned puts a page before the hub's while the witness is alarmed. It takes one press of a button an hour, not more:
// patients must still be seen to.
func (d *Door) warned(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		alarm := d.alarm()
		if r.URL.Path == seenPath && r.Method == http.MethodPost {
			http.SetCookie(w, &http.Cookie{Name: seenCookie, Value: "1", Path: "/", MaxAge: int(seenLife.Seconds()), // #nosec G124 -- no secret
				Secure: d.ca != nil, HttpOnly: true, SameSite: http.SameSiteStrictMode})
			http.Redirect(w, r, "/", http.StatusSeeOther)
			return
		}
		if alarm == "" || !isDocument(r) {
			next.ServeHTTP(w, r)
			return
		}
		if _, err := r.Cookie(seenCookie); err == nil {
			next.ServeHTTP(w, r)
			return
		}
		h := w.Header()
		h.Set("Content-Type", "text/html; charset=utf-8")
		h.Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; frame-ancestors 'none'")
		h.Set("Cache-Control", "no-store")
		h.Set(AlarmHeader, "1")
		w.WriteHeader(http.StatusServiceUnavailable)
		_, _ = fmt.Fprintf(w, warningPage, html.EscapeString(alarm))
	})
}

const warningPage = `<!doctype html>
<html lang="en"><meta charset="utf-8"><title>The audit log cannot be trusted</title>
<style>body{font:18px/1.5 system-ui,sans-serif;max-width:40em;margin:10vh auto;padding:0 1em}h1{color:#a00}code{font-size:.85em}button{font:inherit;padding:.5em 1em}</style>
<h1>The audit log cannot be trusted</h1>
<p>The hub's record of who saw and did what does not continue the one that this workstation remembers. It was rewritten or
rolled back, another hub or program answers in its place, or it has not been proven for too long. The line below says which.</p>
<p><b>Tell whoever is responsible for this system now.</b> Delete nothing: this workstation's files are evidence.</p>
<p><code>%s</code></p>
<form method="post" action="/connect/witness"><button>Continue to the patients</button></form>
</html>
`
