package hub

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"time"

	"vitalseal/internal/hub/fleet"
	"vitalseal/internal/way/overlay"
)

const (
	// maxRequestBytes is the largest body any face accepts; each face sets its own, smaller bound.
	maxRequestBytes = 1 << 20
	// maxWorkstationConns bounds the connections of one workstation: the 64 that package connect opens for requests and as
	// many live views, so that no workstation takes those of all.
	maxWorkstationConns = 128
	// headerTime and requestTime bound how long a request may take to arrive: its header, and all of it. A mebibyte comes in time over
	// half a megabit a second.
	headerTime  = 5 * time.Second
	requestTime = 15 * time.Second
)

type peerKey struct{}

// workstation is the SPIFFE id that the inner TLS of this request's connection proved, or "" for none.
func workstation(r *http.Request) string {
	id, _ := r.Context().Value(peerKey{}).(overlay.ID)
	return id.String()
}

// faces serves the hub's HTTP faces to workstations.
type faces struct {
	server *http.Server
	quiet  *overlay.Flood // for refused connections
}

// newFaces makes the server of the faces. It bounds the time and the size of a request.
//
//defence:header-time a request's header must come in time
//defence:body-time the whole of a request must come in time
//defence:quiet-log requests, with the secrets in them, reach no log
func newFaces(ctx context.Context, handler http.Handler, log *slog.Logger) *faces {
	f := &faces{quiet: overlay.NewFlood(log)}
	f.server = &http.Server{
		Handler:           http.MaxBytesHandler(changesOutliveClient(ctx, handler), maxRequestBytes),
		BaseContext:       func(net.Listener) context.Context { return ctx },
		ReadHeaderTimeout: headerTime,
		ReadTimeout:       requestTime,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    32 << 10,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug),
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			if oc, ok := c.(*overlay.Conn); ok {
				return context.WithValue(ctx, peerKey{}, oc.Peer())
			}
			return ctx // no proven peer: every decision refuses
		},
	}
	return f
}

// changeWithin bounds a change that goes on although its client has left.
const changeWithin = time.Minute

// changesOutliveClient has a request that changes something go on when its client leaves: it was decided and
// written down, and half of it would be what no person asked for. It ends with the hub, or by
// changeWithin. What only reads ends with its client.
func changesOutliveClient(hub context.Context, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.Method {
		case http.MethodGet, http.MethodHead, http.MethodOptions:
			next.ServeHTTP(w, r)
			return
		}
		ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), changeWithin)
		defer cancel()
		defer context.AfterFunc(hub, cancel)()
		next.ServeHTTP(w, r.WithContext(ctx))
	})
}

// serve answers until ctx ends.
func (f *faces) serve(ctx context.Context, ln net.Listener, active func(context.Context, overlay.ID) error) error {
	stopped := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(stopped)
		_ = f.server.Close() // live views do not end by themselves
	})
	err := f.server.Serve(&gate{Listener: ln, faces: f, ctx: ctx, active: active})
	if !stop() {
		<-stopped
	}
	f.quiet.Close()
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}

// gate lets in connections of active workstations only.
type gate struct {
	net.Listener
	faces  *faces
	ctx    context.Context // the serving context; Accept has none of its own
	active func(context.Context, overlay.ID) error
}

func (g *gate) Accept() (net.Conn, error) {
	for {
		c, err := g.Listener.Accept()
		if err != nil {
			return nil, err
		}
		oc, ok := c.(*overlay.Conn)
		if !ok {
			_ = c.Close()
			continue
		}
		peer := oc.Peer()
		//defence:peer-kind the faces serve workstations only
		if peer.Kind != overlay.KindWorkstation {
			g.faces.quiet.Warn("not a workstation", "identity", peer.String())
			_ = c.Close()
			continue
		}
		if err := g.active(g.ctx, peer); err != nil {
			g.faces.quiet.Warn(fleet.Refusal("workstation", err), "identity", peer.String(), "err", err)
			_ = oc.Close()
			continue
		}
		return oc, nil
	}
}
