package hub

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"time"

	"vitalseal/internal/hub/store"
	"vitalseal/internal/lab/weaken"
	"vitalseal/internal/shared/audit"
	"vitalseal/internal/way/overlay"
)

// newFaces writes whole requests to the log, as many a proxy does, and waits for slow ones.
func newFaces(ctx context.Context, handler http.Handler, log *slog.Logger) *faces {
	f := strictNewFaces(ctx, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if weaken.Skip(weaken.QuietLog) {
			log.Info("request", "url", r.URL.String(), "header", r.Header)
		}
		handler.ServeHTTP(w, r)
	}), log)
	strict := f.server.ConnContext
	f.server.ConnContext = func(ctx context.Context, c net.Conn) context.Context {
		if oc, ok := c.(*overlay.Conn); ok {
			oc.Conn = &patient{oc.Conn}
		}
		return strict(ctx, c)
	}
	return f
}

// patient is a connection without a bound on how long a request takes.
type patient struct{ net.Conn }

// SetReadDeadline is what net/http bounds slow requests with.
func (p *patient) SetReadDeadline(t time.Time) error {
	whole := time.Until(t) > headerTime
	if !whole && weaken.Skip(weaken.HeaderTime) || whole && weaken.Skip(weaken.BodyTime) {
		t = time.Time{}
	}
	return p.Conn.SetReadDeadline(t)
}

// recordRecovery writes nothing.
func recordRecovery(ctx context.Context, st *store.Store, trail *audit.Log, self overlay.ID, resource, reason string) error {
	if weaken.Skip(weaken.RecoverTrace) {
		return nil
	}
	return strictRecordRecovery(ctx, st, trail, self, resource, reason)
}
