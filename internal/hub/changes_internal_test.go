package hub

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"
)

// TestChangesGoOnWithoutTheirClient: a client that leaves ends what only reads, and no change; the
// hub's own stop ends both.
func TestChangesGoOnWithoutTheirClient(t *testing.T) {
	for method, goesOn := range map[string]bool{"GET": false, "HEAD": false, "POST": true, "PUT": true, "PATCH": true, "DELETE": true} {
		hub, stop := context.WithCancel(t.Context())
		client, leave := context.WithCancel(context.WithValue(t.Context(), peerKey{}, "kept"))
		asked := 0
		h := changesOutliveClient(hub, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			asked++
			ctx := r.Context()
			if ctx.Value(peerKey{}) != "kept" {
				t.Errorf("%s: what the connection proved is lost", method)
			}
			leave()
			if (ctx.Err() == nil) != goesOn {
				t.Errorf("%s: after the client left: %v", method, ctx.Err())
			}
			if !goesOn {
				return
			}
			if _, bounded := ctx.Deadline(); !bounded {
				t.Errorf("%s: without an end", method)
			}
			stop()
			<-ctx.Done()
			if !errors.Is(ctx.Err(), context.Canceled) {
				t.Errorf("%s: after the hub's stop: %v", method, ctx.Err())
			}
		}))
		h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(method, "/", nil).WithContext(client))
		if asked != 1 {
			t.Errorf("%s: asked %d times", method, asked)
		}
		stop()
		leave()
	}
}
