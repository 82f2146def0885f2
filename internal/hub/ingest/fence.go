package ingest

import (
	"context"
	"time"

	"vitalseal/internal/hub/directory"
	"vitalseal/internal/way/delivery"
)

// fence lets in the newest start of a gateway and turns away an older one, a copy of it, and one whose counter no gateway can have
// counted to: its outbox keeps what it measured. The store remembers the newest, so that it holds after a restart and at every hub.
//
// A start that is turned away is let in all the same once the newest has not been seen for Config.AloneAfter while it knocked: then
// it is the only gateway that the patient has. It is told which number to exceed, and the hub is loud about it.
func (s *Server) fence(ctx context.Context, x *receiver) delivery.Reason {
	if x.start.Boot == 0 {
		return delivery.NoReason // it does not say; the store is the stricter with its epochs
	}
	if x.start.Boot > maxBoot {
		return delivery.BadFrame
	}
	letIn := false
	v, err := s.c.Store.TakeStart(ctx, x.sensor, x.start, false)
	if err == nil && !v.Taken {
		why := delivery.Fenced
		if v.Jump {
			why = delivery.StartJump
		}
		if !s.waited(x, v) {
			x.log.Warn("an older start of a gateway, or a copy of it, is turned away", "boot", x.start.Boot, "newest", v.Newest.Boot, "highest", v.Highest)
			return why
		}
		letIn = true
		v, err = s.c.Store.TakeStart(ctx, x.sensor, x.start, true)
	}
	if err != nil {
		x.log.Error("which start of the gateway is the newest is not known; it is asked to come again", "err", err)
		return delivery.Busy
	}
	s.mu.Lock()
	delete(s.knocks, x.sensor)
	s.mu.Unlock()
	if v.Older {
		x.exceed = v.Highest
	}
	if letIn && v.Older {
		x.log.Error("AN OLDER START OF A GATEWAY IS LET IN, because the newest one was not seen: it may be a copy or restored from a backup",
			"boot", x.start.Boot, "highest", v.Highest, "hint", "is it the right gateway, at the right patient? If not, disable it; if the other one comes back, stop one of the two")
		s.loud(ctx, x.sensor, delivery.OlderStart)
	}
	return delivery.NoReason
}

// maxBoot is the highest boot counter whose epochs can be numbered.
const maxBoot = 1<<43 - 1

// knockEvery is how far apart a gateway's attempts are at most. After a longer pause the network was away, and the newest start may
// be as near as the one that knocks.
const knockEvery = 45 * time.Second

// waited reports whether the newest start of an identity has been away for long enough while an older one knocked. Whether it was
// seen is told by its connection here, and by what the store says for all hubs; clocks are not compared.
func (s *Server) waited(x *receiver, v directory.StartVerdict) bool {
	now := time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	k, known := s.knocks[x.sensor]
	if c := s.conns[x.sensor]; !known || c != nil || !k.seen.Equal(v.Seen) || now.Sub(k.last) > knockEvery {
		if !known && len(s.knocks) >= s.c.MaxConns {
			for id := range s.knocks {
				delete(s.knocks, id)
				break
			}
		}
		s.knocks[x.sensor] = knock{since: now, last: now, seen: v.Seen}
		return false
	}
	k.last = now
	s.knocks[x.sensor] = k
	return now.Sub(k.since) >= s.c.AloneAfter
}
