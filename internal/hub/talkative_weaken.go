//go:build weaken

package hub

import (
	"log/slog"
	"net/http"
	"time"

	"vitalseal/internal/lab/weaken"
)

// talkative writes whole requests to the log, as many a proxy does.
func talkative(h http.Handler, log *slog.Logger) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if weaken.Skip(weaken.QuietLog) {
			log.Info("request", "url", r.URL.String(), "header", r.Header)
		}
		h.ServeHTTP(w, r)
	})
}

// SetReadDeadline is what net/http bounds slow requests with.
func (g *guarded) SetReadDeadline(t time.Time) error {
	whole := time.Until(t) > headerTime
	if !whole && weaken.Skip(weaken.HeaderTime) || whole && weaken.Skip(weaken.BodyTime) {
		t = time.Time{}
	}
	return g.Conn.SetReadDeadline(t)
}
