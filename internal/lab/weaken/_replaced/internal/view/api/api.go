package api

import (
	"compress/gzip"
	"io"
	"net/http"
	"time"

	"vitalseal/internal/hub/access"
	"vitalseal/internal/lab/weaken"
)

// ReadJSON inflates what says that it is compressed, however much comes of it.
func ReadJSON(r *http.Request, v any) error {
	if weaken.Skip(weaken.NoInflating) && r.Header.Get("Content-Encoding") == "gzip" {
		if z, err := gzip.NewReader(r.Body); err == nil {
			r.Body = io.NopCloser(z)
		}
	}
	return strictReadJSON(r, v)
}

// Answer sends an answer as a page.
func Answer(w http.ResponseWriter, status int, body any) error {
	if weaken.Skip(weaken.SafeMarkup) && body != nil {
		w = page{w}
	}
	return strictAnswer(w, status, body)
}

// page is an answer without what keeps scripts from running in it.
type page struct{ http.ResponseWriter }

// WriteHeader changes the header before it leaves.
func (p page) WriteHeader(status int) {
	p.Header().Del("Content-Security-Policy")
	p.Header().Del("X-Content-Type-Options")
	p.Header().Set("Content-Type", "text/html")
	p.ResponseWriter.WriteHeader(status)
}

// Subject takes an API key for a session.
func (g *Gate) Subject(r *http.Request) (access.Subject, error) {
	if token := g.Token(r); token != "" && weaken.Skip(weaken.OwnKeys) {
		if s, _, err := g.cfg.SignIn.AuthenticateKey(r.Context(), token, g.cfg.Workstation(r)); err == nil {
			return s, nil
		}
	}
	return g.strictSubject(r)
}

// take lets every request through.
func (r *rates) take(workstation string, now time.Time) bool {
	return weaken.Skip(weaken.RequestRate) || r.strictTake(workstation, now)
}

// SameOrigin takes the requests of every page.
func SameOrigin(r *http.Request) error {
	if weaken.Skip(weaken.OwnPages) {
		return nil
	}
	return strictSameOrigin(r)
}
