package node

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"runtime/debug"
	"sync/atomic"
	"time"

	"github.com/openziti/xweb/v2"
)

// OpenZiti v1.7.2 reads the body of every request whole before it asks who sends it
// (GHSA-q8g9-jc4c-jp6q, GHSA-j952-6x8x-jmj6). So the node bounds what reaches it: the size of a
// body, how many are read at once, how long and how large a request's head is, and the memory of
// the process.
const (
	// maxBody is far above what the management, the clients and the router send: certificate
	// requests, policies, sessions.
	maxBody = 128 << 10
	// maxBodies times maxBody is the most that bodies can take.
	maxBodies = 256
	// maxHead bounds the header fields of a request, and headPatience how long they may take.
	maxHead      = 32 << 10
	headPatience = 5 * time.Second
	// DefaultMemoryLimit is several times what a node takes under load (200 MB).
	DefaultMemoryLimit = 1 << 30
)

// refusedLogEvery is how many refusals make one line in the log.
const refusedLogEvery = 100

// bound puts the bounds in front of everything that the controller serves over HTTP.
func bound(instance xweb.Instance, log *slog.Logger) error {
	impl, ok := instance.(*xweb.InstanceImpl)
	if !ok {
		return fmt.Errorf("node: the controller's web instance is a %T, which cannot be bounded", instance)
	}
	b := &bounds{log: log, turn: make(chan struct{}, maxBodies)}
	impl.Config.Options.ServerMutators = append(impl.Config.Options.ServerMutators,
		func(_ xweb.Instance, _ *xweb.ServerConfig, server *xweb.Server) error {
			if len(server.HttpServers) == 0 {
				return errors.New("node: the controller serves nothing that could be bounded")
			}
			for _, s := range server.HttpServers {
				s.MaxHeaderBytes, s.ReadHeaderTimeout = maxHead, headPatience
				s.Handler = b.before(s.Handler)
			}
			return nil
		})
	return nil
}

// bounds counts what is read and what was refused.
type bounds struct {
	log     *slog.Logger
	turn    chan struct{} // one element a body that is being read
	refused atomic.Uint64
}

// before refuses bodies that are too large, by their announced length or, where none is announced,
// as they come.
//
//defence:overlay-bodies bodies that reach the overlay's controller are bounded
func (b *bounds) before(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Body == nil || r.Body == http.NoBody {
			next.ServeHTTP(w, r)
			return
		}
		if r.ContentLength > maxBody {
			b.refuse(w, r, http.StatusRequestEntityTooLarge, "the body is too large")
			return
		}
		select {
		case b.turn <- struct{}{}:
			defer func() { <-b.turn }()
		default:
			b.refuse(w, r, http.StatusServiceUnavailable, "too many requests at once")
			return
		}
		r.Body = http.MaxBytesReader(w, r.Body, maxBody)
		next.ServeHTTP(w, r)
	})
}

func (b *bounds) refuse(w http.ResponseWriter, r *http.Request, status int, why string) {
	if n := b.refused.Add(1); n%refusedLogEvery == 1 {
		b.log.Warn("request to the overlay's controller refused: "+why, "from", r.RemoteAddr, "length", r.ContentLength, "refused_since_start", n)
	}
	w.Header().Set("Connection", "close")
	http.Error(w, why, status)
}

// limitMemory makes the garbage collector work harder from three quarters of limit on, and has the
// kernel refuse memory beyond limit, where it can: the process then ends, and its supervisor starts
// it again.
func limitMemory(limit uint64, log *slog.Logger) {
	if limit == 0 {
		limit = DefaultMemoryLimit
	}
	debug.SetMemoryLimit(int64(limit / 4 * 3)) // #nosec G115 -- a limit of memory fits
	if err := limitData(limit); err != nil {
		log.Warn("the kernel does not bound this process's memory", "limit_bytes", limit, "err", err)
	}
}
