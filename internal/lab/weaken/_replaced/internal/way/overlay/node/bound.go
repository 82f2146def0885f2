package node

import (
	"net/http"

	"vitalseal/internal/lab/weaken"
)

// before reads every body.
func (b *bounds) before(next http.Handler) http.Handler {
	strict := b.strictBefore(next)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if weaken.Skip(weaken.OverlayBodies) {
			next.ServeHTTP(w, r)
			return
		}
		strict.ServeHTTP(w, r)
	})
}
