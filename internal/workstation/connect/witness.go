package connect

import (
	"bytes"
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

	"vitalseal/internal/shared/audit"
	"vitalseal/internal/way/overlay"
)

const (
	// AlarmHeader is on every answer while the witness of the hub's audit log is alarmed, for pages
	// to show.
	AlarmHeader = "X-Vitalseal-Audit-Alarm"

	seenCookie   = "vitalseal_witness_seen"
	seenPath     = "/connect/witness"
	seenLife     = time.Hour
	maxStatement = 64 << 10
	fetchTimeout = 30 * time.Second

	// followAgain is how long follow waits after a failure; a hub of before it is asked as often as
	// for a checkpoint.
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
	_ = d.witness.Run(ctx, func(ctx context.Context, ask func(string) (audit.Ask, error)) (string, json.RawMessage, error) {
		ctx, cancel := context.WithTimeout(ctx, fetchTimeout)
		defer cancel()
		// Whichever hub answers: in time it is each of them.
		return d.askHub(ctx, ep, "checkpoint", ask)
	}, d.cfg.Log)
}

// follow waits at a hub for each checkpoint that it shows before it answers a dangerous act, until
// ctx ends. Asking for the next one tells the hub that this one is kept.
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
	hub, statement, err := d.askHub(ctx, ep, "watch", d.witness.Ask)
	if err != nil {
		return err
	}
	return d.witness.Answer(hub, statement)
}

// askHub asks a hub what its log says of itself, and hands it what this workstation has seen of all
// logs. A hub of before that is told only how many entries are remembered.
func (d *Door) askHub(ctx context.Context, ep overlay.Endpoint, what string, ask func(string) (audit.Ask, error)) (hub string, statement []byte, err error) {
	for _, method := range []string{http.MethodPost, http.MethodGet} {
		var c *overlay.Conn
		service := overlay.ServiceFaces
		if hub != "" {
			service = overlay.At(service, overlay.ID{Domain: ep.ID().Domain, Kind: overlay.KindHub, Name: hub})
		}
		if c, err = ep.Dial(ctx, service); err != nil {
			return hub, nil, fmt.Errorf("connect: checkpoint: %w", err)
		}
		hub = c.Peer().Name
		var a audit.Ask
		if a, err = ask(hub); err == nil {
			statement, err = statementOf(ctx, &speaking{c, d.wait, &d.heard}, method, what, a)
		}
		_ = c.Close()
		if !errors.Is(err, errOldHub) {
			return hub, statement, err
		}
	}
	return hub, nil, errNoFollow
}

// errOldHub means that the hub is of before workstations tell what they have seen.
var errOldHub = errors.New("connect: the hub does not take what this workstation has seen")

// statementOf asks the hub at the other end of a connection what its log says of itself.
func statementOf(ctx context.Context, c net.Conn, method, what string, a audit.Ask) ([]byte, error) {
	said, err := json.Marshal(a)
	if err != nil {
		return nil, err
	}
	if method == http.MethodGet {
		said = nil
	}
	req, err := http.NewRequestWithContext(ctx, method, fmt.Sprintf("http://hub/api/audit/%s?from=%d", what, a.From), bytes.NewReader(said))
	if err != nil {
		return nil, err
	}
	req.Header.Set("X-Vitalseal-Request", "1")
	req.Header.Set("Content-Type", "application/json")
	one := &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) { return c, nil }, DisableKeepAlives: true}
	res, err := one.RoundTrip(req)
	if err != nil {
		return nil, fmt.Errorf("connect: checkpoint: %w", err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(io.LimitReader(res.Body, maxStatement))
	page := what == "watch" && !strings.HasPrefix(res.Header.Get("Content-Type"), "application/json") // of a hub of before it
	switch good := res.StatusCode == http.StatusOK && !page; {
	case method == http.MethodPost && !good && res.StatusCode < http.StatusInternalServerError && res.StatusCode != http.StatusTooManyRequests:
		return nil, errOldHub
	case res.StatusCode == http.StatusNotFound, what == "watch" && !good && res.StatusCode == http.StatusOK:
		return nil, errNoFollow
	case !good:
		return nil, fmt.Errorf("connect: checkpoint: the hub answers %d", res.StatusCode)
	case err != nil:
		return nil, fmt.Errorf("connect: checkpoint: %w", err)
	}
	return b, nil
}

// alarm is what is wrong with the hub's audit log, "" for nothing.
func (d *Door) alarm() string {
	switch {
	case d.damaged != nil:
		return d.damaged.Error()
	case d.shown.Load():
		return "the hub has shown a person entries that are not those of its log; the evidence is in " + d.shownFile()
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

// warned puts a page before the hub's while the witness is alarmed. It takes one press of a button
// an hour, not more: patients must still be seen to.
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
<p><b>Tell the person responsible for this system now.</b> Delete nothing: this workstation's files are evidence.</p>
<p><code>%s</code></p>
<form method="post" action="/connect/witness"><button>Continue to the patients</button></form>
</html>
`
