package connect

import (
	"context"
	_ "embed"
	"net/http"
	"strings"
	"time"
)

const (
	// awayPageText is what a page's script gets while the hub is away: the page may show it beside
	// older numbers.
	awayPageText = "The hub cannot be reached from this workstation. No number here is live. Trying again when you reload."
	// awayText is what programs get, the command line among them: they have no page and show no
	// numbers.
	awayText = "the hub cannot be reached from this workstation"
)

// awayPage asks for itself again every few seconds, without a script: a wall screen or a page that
// is opened while the hub is away must come up by itself, and the front end that would ask again is
// at the hub.
//
//go:embed away.html
var awayPage []byte

// pageTimeout bounds how long a browser that opens a page stands before a blank screen: the front
// end's files are small.
const pageTimeout = 8 * time.Second

// opensPage reports whether a person's browser opens or reloads a page, in contrast to what the
// page's own script asks.
func opensPage(r *http.Request) bool {
	return r.Method == http.MethodGet && !strings.HasPrefix(r.URL.Path, "/api/") && strings.Contains(r.Header.Get("Accept"), "text/html")
}

// fromBrowser reports whether a browser asks, for a page or for the page's script: each that is
// current says how it fetches.
func fromBrowser(r *http.Request) bool {
	return r.Header.Get("Sec-Fetch-Mode") != "" || strings.Contains(r.Header.Get("Accept"), "text/html")
}

// pages gives a page pageTimeout: a hub that is frozen looks like one that is away.
func pages(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if opensPage(r) {
			ctx, cancel := context.WithTimeout(r.Context(), pageTimeout)
			defer cancel()
			r = r.WithContext(ctx)
		}
		next.ServeHTTP(w, r)
	})
}

// away answers while the hub is away: JSON to the front end, a page that tries again to a browser
// that opens a page, text to others.
func away(w http.ResponseWriter, r *http.Request) {
	if !opensPage(r) {
		text := awayText
		if fromBrowser(r) {
			text = awayPageText
		}
		answer(w, r, http.StatusBadGateway, text)
		return
	}
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	w.WriteHeader(http.StatusBadGateway)
	_, _ = w.Write(awayPage) // the browser has gone: it asks again
}
