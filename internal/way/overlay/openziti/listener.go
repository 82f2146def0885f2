package openziti

import (
	"context"
	"net"
	"sync"
	"time"

	"github.com/openziti/sdk-golang/ziti"

	"vitalseal/internal/way/overlay"
)

// listener hosts a service until it is closed. The SDK's own comes back after most failures; where
// it gives up (the service was deleted and made again, the identity was disabled for a while), this
// one hosts anew.
type listener struct {
	u       *underlay
	service string
	ctx     context.Context
	cancel  context.CancelFunc
	once    sync.Once
	at      ziti.Context // where it is to be hosted; guarded by u.mu
	// watching is closed when watch has ended; nil before it begins.
	watching chan struct{}

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

// move hosts the service on another SDK context as well, and then no more on the old one: at every
// moment it is hosted. It returns at once; where hosting fails, the old one stays. The caller holds
// u.mu.
func (l *listener) move(zc ziti.Context) {
	release := l.u.useLocked(zc)
	go func() {
		defer release()
		fresh, err := listenOnce(l.ctx, zc, l.service)
		if err != nil { // the old one stays; watch moves it again once it hosts nothing
			l.u.log.Warn("overlay service not moved yet", "service", l.service, "err", err)
			return
		}
		l.replace(zc, fresh)
	}()
}

const (
	// watchEvery is how often a listener asks the controller whether its service is hosted.
	watchEvery = 10 * time.Second
	// hostsNothing is how long it may not, before the service is hosted anew on another SDK
	// context.
	hostsNothing = 2 * watchEvery
)

// watch hosts the service anew whenever the controller knows of no one who hosts it, until l.ctx
// ends. The SDK cannot tell: after a controller and its router were killed and came back it may
// hold a listener for established of which neither knows any more (seen with sdk-golang 1.2.10 and
// OpenZiti 1.7.2). Of several hubs that host a service together, one alone that is lost is not
// seen.
func (l *listener) watch() {
	t := time.NewTicker(watchEvery)
	defer t.Stop()
	var since time.Time // when it was first seen to be hosted by no one
	for {
		select {
		case <-l.ctx.Done():
			return
		case <-t.C:
		}
		l.mu.Lock()
		zc := l.zc
		l.mu.Unlock()
		yes, err := hosted(zc, l.service)
		switch {
		case err == nil && yes:
			since = time.Time{}
		case since.IsZero():
			since = time.Now()
		case time.Since(since) >= hostsNothing && l.u.rehost(l):
			since = time.Time{}
		}
	}
}

// hosted reports whether the controller knows of one who hosts a service, under the same name.
func hosted(zc ziti.Context, name string) (bool, error) {
	const atOnce = 500
	service, hub := overlay.SplitAt(name)
	for offset := 0; ; offset += atOnce {
		all, total, err := zc.GetServiceTerminators(service, offset, atOnce)
		if err != nil {
			return false, err
		}
		for _, t := range all {
			if t.Identity != nil && *t.Identity == hub {
				return true, nil
			}
		}
		if offset+len(all) >= total || len(all) == 0 {
			return false, nil
		}
	}
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
		if l.watching != nil {
			<-l.watching
		}
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
