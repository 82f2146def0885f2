package openziti

import (
	"context"
	"net"
	"sync"
	"time"

	"github.com/openziti/sdk-golang/ziti"

	"vitalseal/internal/overlay"
)

// listener hosts a service until it is closed. The SDK's own comes back after most failures; where it gives up (the
// service was deleted and made again, the identity was disabled for a while), this one hosts anew.
type listener struct {
	u       *underlay
	service string
	ctx     context.Context
	cancel  context.CancelFunc
	once    sync.Once
	at      ziti.Context // where it is to be hosted; guarded by u.mu

	mu      sync.Mutex // guards the fields below
	zc      ziti.Context
	raw     net.Listener // nil until it is hosted for the first time
	release func()       // of zc, for raw
}

// Accept implements net.Listener. It is called from one goroutine.
func (l *listener) Accept() (net.Conn, error) {
	pause := relistenMin
	for {
		l.mu.Lock()
		raw, zc := l.raw, l.zc
		l.mu.Unlock()
		conn, err := raw.Accept()
		if err == nil {
			return &counted{conn, l.u.use(zc)}, nil
		}
		if l.ctx.Err() != nil {
			return nil, net.ErrClosed
		}
		if l.moved(raw) {
			continue
		}
		for err != nil {
			if l.ctx.Err() != nil {
				return nil, net.ErrClosed
			}
			l.u.log.Warn("overlay service lost, hosting it again", "service", l.service, "err", overlay.Redact(err.Error()))
			select {
			case <-l.ctx.Done():
			case <-time.After(pause):
			}
			pause = min(2*pause, relistenMax)
			l.mu.Lock()
			zc = l.zc
			l.mu.Unlock()
			var fresh net.Listener
			if fresh, err = listenOnce(l.ctx, zc, l.service); err == nil {
				l.replace(zc, fresh)
			}
		}
	}
}

func (l *listener) moved(from net.Listener) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.raw != from
}

// move hosts the service on another SDK context as well, and then no more on the old one: at every moment it is hosted.
// It returns at once; where hosting fails, the old one stays until it ends, and Accept goes on with the new context.
func (l *listener) move(zc ziti.Context) {
	go func() {
		release := l.u.use(zc)
		fresh, err := listenOnce(l.ctx, zc, l.service)
		if err != nil { // and zc stays in use, for Accept
			l.u.log.Warn("overlay service not moved to the extended certificate yet", "service", l.service, "err", err)
			l.mu.Lock()
			l.zc = zc
			l.mu.Unlock()
			return
		}
		l.replace(zc, fresh)
		release()
	}()
}

// replace puts fresh in the place of the SDK's listener so far, which it closes.
func (l *listener) replace(zc ziti.Context, fresh net.Listener) {
	release := l.u.use(zc)
	l.mu.Lock()
	old, oldRelease := l.raw, l.release
	l.zc, l.raw, l.release = zc, fresh, release
	l.mu.Unlock()
	if old != nil {
		_ = old.Close() // Accept, if it waits there, goes on with the fresh one
	}
	oldRelease()
	if l.ctx.Err() != nil {
		_ = fresh.Close()
	}
}

// Close implements net.Listener.
func (l *listener) Close() (err error) {
	l.once.Do(func() {
		l.cancel()
		l.mu.Lock()
		raw, release := l.raw, l.release
		l.mu.Unlock()
		if raw != nil {
			err = raw.Close()
		}
		release()
		l.u.mu.Lock()
		delete(l.u.hosting, l)
		l.u.mu.Unlock()
	})
	return err
}

// Addr implements net.Listener.
func (l *listener) Addr() net.Addr {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.raw.Addr()
}
