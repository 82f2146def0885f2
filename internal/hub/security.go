package hub

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"vitalseal/internal/hub/access"
	"vitalseal/internal/hub/directory"
	"vitalseal/internal/hub/store"
	"vitalseal/internal/shared/audit"
	"vitalseal/internal/way/delivery"
	"vitalseal/internal/way/overlay"
)

const (
	// maxPendingEvents bounds the events that wait to be written; what is over it is counted under one of them.
	maxPendingEvents = 256
	// securityRetry is how long the guard waits after the directory could not be written.
	securityRetry = 2 * time.Second
	// proofsEvery is how often the guard looks for proofs that no witness asked for.
	proofsEvery = time.Minute
	// worksWithin is how lately a workstation must have connected to count as one that works.
	worksWithin = 10 * time.Minute
	// maxFollowers bounds the workstations that are remembered to have followed the log.
	maxFollowers = 1024
)

// securityGuard tells people of what they must know at once: in the log, and on the pages until one of them has acknowledged it. It hides
// that the second takes a write, which must hold up none of those who tell: events wait in a bounded queue, equal ones as one. It
// is safe for concurrent use.
type securityGuard struct {
	self overlay.ID
	st   *store.Store
	log  *slog.Logger
	now  func() time.Time
	wake chan struct{}

	mu      sync.Mutex // guards all below
	pending map[string]directory.SecurityEvent
	// proven is when a witness last got a statement of the log, and followers when each workstation last waited for one.
	proven    time.Time
	followers map[string]time.Time
}

func newSecurityGuard(self overlay.ID, st *store.Store, log *slog.Logger) *securityGuard {
	return &securityGuard{self: self, st: st, log: log, now: time.Now, wake: make(chan struct{}, 1), pending: map[string]directory.SecurityEvent{},
		proven: time.Now(), followers: map[string]time.Time{}}
}

// logEvent writes events to the log alone.
func logEvent(log *slog.Logger) func(access.Event) {
	return func(e access.Event) {
		log.Warn("security event", "kind", e.Kind, "person", e.Person, "patient", e.Patient, "at", e.Where, "detail", e.Detail)
	}
}

// tell logs an event and has it shown. It returns at once.
func (g *securityGuard) tell(e access.Event) {
	logEvent(g.log)(e)
	if e.Kind == access.EventEmergency || e.Kind == access.EventApproval {
		return // pages of their own show these: the emergency's banner and its review, the approvals
	}
	g.note(directory.SecurityEvent{Kind: e.Kind, Place: e.Where, Person: e.Person, Detail: e.Detail})
}

func (g *securityGuard) note(e directory.SecurityEvent) {
	e.Last, e.Times = g.now().UTC(), 1
	e.Detail = clipText(e.Detail, 255)
	g.mu.Lock()
	id := directory.SecurityID(e.Kind, e.Place, e.Person)
	if _, ok := g.pending[id]; !ok && len(g.pending) >= maxPendingEvents {
		e.Place, e.Person = g.self.String(), "" // too many at once to tell them apart; the log has each
		id = directory.SecurityID(e.Kind, e.Place, "")
	}
	e.Times += g.pending[id].Times
	g.pending[id] = e
	g.mu.Unlock()
	select {
	case g.wake <- struct{}{}:
	default: // it is told already
	}
}

// clipText cuts s to most bytes, at the end of a letter.
func clipText(s string, most int) string {
	if len(s) > most {
		s = s[:most]
	}
	return strings.ToValidUTF8(s, "")
}

// forged is told of what ingest had to refuse, or let in against the rule.
func (g *securityGuard) forged(sensor string, r delivery.Reason) {
	kind := access.EventForgery
	switch r {
	case delivery.Fenced, delivery.OlderStart, delivery.EpochReused:
		kind = access.EventCopy
	case delivery.OtherContent:
		kind = access.EventNonce
	case delivery.EpochJump, delivery.StartJump:
		kind = access.EventJump
	}
	g.tell(access.Event{Kind: kind, Where: sensor, Detail: r.String()})
}

// run writes events, and looks for proofs that no witness asked for, until ctx ends. What waits then is written before it returns.
func (g *securityGuard) run(ctx context.Context) {
	tick := time.NewTicker(proofsEvery)
	defer tick.Stop()
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), securityRetry)
		defer cancel()
		g.write(ctx)
	}()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			g.lookForProofs(ctx)
		case <-g.wake:
		}
		if !g.write(ctx) {
			select {
			case <-ctx.Done():
				return
			case <-time.After(securityRetry):
				select {
				case g.wake <- struct{}{}:
				default: // it is told already
				}
			}
		}
	}
}

// write writes what waits, and reports whether nothing is left.
func (g *securityGuard) write(ctx context.Context) bool {
	g.mu.Lock()
	batch := g.pending
	g.pending = map[string]directory.SecurityEvent{}
	g.mu.Unlock()
	whole := true
	for id, e := range batch {
		if err := g.st.NoteSecurity(ctx, e); err != nil {
			g.log.Error("a security event is not on the pages yet; the hub tries again", "kind", e.Kind, "err", err)
			whole = false
			g.mu.Lock()
			if later, ok := g.pending[id]; ok {
				later.Times += e.Times
				e = later
			}
			g.pending[id] = e
			g.mu.Unlock()
		}
	}
	return whole
}

// asked notes that a witness got a statement of the log; workstation is its SPIFFE id, "" for one that is not told apart.
func (g *securityGuard) asked(workstation string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.proven = g.now()
	if workstation == "" {
		return
	}
	if _, ok := g.followers[workstation]; !ok && len(g.followers) >= maxFollowers {
		return
	}
	g.followers[workstation] = g.proven
}

// lookForProofs tells of a log that no witness has asked about for audit.UnprovenAfter, and of a workstation that works at the hub but
// has stopped to follow its log.
func (g *securityGuard) lookForProofs(ctx context.Context) {
	now := g.now()
	g.mu.Lock()
	quiet := now.Sub(g.proven)
	var gone []string
	for id, last := range g.followers {
		if now.Sub(last) > audit.UnprovenAfter {
			gone = append(gone, id)
		}
	}
	g.mu.Unlock()
	if quiet > audit.UnprovenAfter {
		g.tell(access.Event{Kind: access.EventUnproven, Where: g.self.String(), Detail: fmt.Sprintf("no witness asked for %d minutes", int(quiet/time.Minute))})
	}
	for _, id := range gone {
		d, err := g.st.Device(ctx, id)
		if err == nil && d.State == directory.DeviceActive && now.Sub(d.LastSeen) < worksWithin {
			g.tell(access.Event{Kind: access.EventWitnessGone, Where: id, Detail: fmt.Sprintf("for %d minutes, while it works at the hub", int(audit.UnprovenAfter/time.Minute))})
			continue
		}
		g.mu.Lock()
		delete(g.followers, id) // it is off, or gone from the inventory
		g.mu.Unlock()
	}
}
