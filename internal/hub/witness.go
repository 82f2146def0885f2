package hub

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"time"

	"vitalseal/internal/hub/access"
	"vitalseal/internal/hub/directory"
	"vitalseal/internal/hub/fleet"
	"vitalseal/internal/shared/audit"
	"vitalseal/internal/view/dashboard"
	"vitalseal/internal/way/overlay"
)

const (
	// otherHubsEvery is how often the inventory is looked at for hubs whose logs this one is to witness.
	otherHubsEvery = 20 * time.Second
	// otherHubAgain is how long to wait for one that did not answer.
	otherHubAgain = 20 * time.Second

	evidenceFile = "audit.split"
	otherLogs    = "witness.note" // and, of each other hub, witness-NAME.note
)

// testimony is what this hub's log says of itself to gateways, workstations and other hubs, who remember it: signed, with the
// proof that it only grew, and without any entry. And it is what they say in return: the checkpoints that they have seen, of every hub's log.
type testimony struct {
	*audit.Exchange
	trail   *audit.Log
	damaged error // why nothing is remembered of other hubs' logs; nil: it is
	guard   *securityGuard
	log     *slog.Logger
}

// newTestimony opens what this hub remembers of other hubs' logs and of contradictions.
func newTestimony(cfg Config, trail *audit.Log, desk *audit.Desk, guard *securityGuard, log *slog.Logger) (*testimony, error) {
	others, damaged := audit.OpenWitnesses(filepath.Join(cfg.Data, otherLogs), "")
	if damaged != nil {
		others = nil // patients are still to be monitored
	}
	x, err := audit.NewExchange(cfg.Name, trail, desk, others, filepath.Join(cfg.Data, evidenceFile), contradicted(trail, guard, log))
	if err != nil {
		return nil, fmt.Errorf("hub: %w", err)
	}
	t := &testimony{x, trail, damaged, guard, log}
	if bad := t.State(); bad != "" {
		t.alarm(bad)
	}
	return t, nil
}

// State is what is wrong with an audit log, "" for nothing.
func (t *testimony) State() string {
	if t.damaged != nil {
		return "what this hub remembers of other hubs' logs is damaged: " + t.damaged.Error()
	}
	return t.Exchange.State()
}

func (t *testimony) alarm(bad string) {
	t.log.Error("AN AUDIT LOG IS NOT TO BE TRUSTED: keep the hub's folder and the witnesses' files, they are evidence", "alarm", bad)
}

// contradicted tells people, and the log itself, that a witness has seen something that cannot be of this log, or of another hub's.
func contradicted(trail *audit.Log, guard *securityGuard, log *slog.Logger) func(context.Context, audit.Contradiction) {
	return func(ctx context.Context, c audit.Contradiction) {
		kind, action := access.EventSplitView, "audit:split-view"
		if !errors.Is(c.Err, audit.ErrSplit) {
			kind, action = access.EventFalseWitness, "audit:false-witness" // signed by no log: it accuses who brings it
		}
		guard.tell(access.Event{Kind: kind, Where: c.Witness, Detail: "log of the hub " + c.Hub + ": " + c.Err.Error()})
		reason := c.Err.Error()
		// Refusals that repeat themselves are counted together.
		if _, err := trail.Append(ctx, audit.Entry{Person: "engine:witness", Workstation: c.Witness, Action: action, Resource: "audit:" + c.Hub,
			Reason: reason[:min(len(reason), 1000)]}); err != nil {
			log.Error("a contradiction between witnesses is not in the audit log", "err", err)
		}
	}
}

// answer is an exchange's answer in JSON.
func (t *testimony) answer(ctx context.Context, witness string, a audit.Ask, wait bool) (json.RawMessage, error) {
	c, err := t.Answer(ctx, witness, a, wait)
	if errors.Is(err, audit.ErrTampered) {
		t.guard.tell(access.Event{Kind: access.EventTampered, Where: t.guard.self.String()})
		t.log.Error("THE AUDIT LOG ON DISK IS NOT WHAT WAS SIGNED; stop the hub and keep the folder, it is evidence", "err", err)
	}
	if err != nil {
		return nil, fmt.Errorf("hub: %w", err)
	}
	follower := "" // a workstation that waits
	if wait && access.IsWorkstation(witness) {
		follower = witness
	}
	t.guard.asked(follower)
	return json.Marshal(c)
}

// proven is the end of the log for the auditor's page. It is signed anew, so that what was answered before is in it.
func (t *testimony) proven(ctx context.Context, n int, also []int64) (json.RawMessage, error) {
	if _, err := t.trail.Sign(ctx); err != nil {
		return nil, fmt.Errorf("hub: %w", err)
	}
	tail, err := t.trail.Tail(n, 0, also...)
	if errors.Is(err, audit.ErrTampered) {
		t.log.Error("THE AUDIT LOG ON DISK IS NOT WHAT WAS SIGNED; stop the hub and keep the folder, it is evidence", "err", err)
	}
	if err != nil {
		return nil, fmt.Errorf("hub: %w", err)
	}
	return json.Marshal(struct {
		audit.Tail
		Alarm string `json:"alarm,omitempty"` // what this hub itself says is wrong
	}{tail, t.State()})
}

// toWorkstation answers a workstation at the faces.
func (t *testimony) toWorkstation(ctx context.Context, workstation string, from int64, said []byte, wait bool) (json.RawMessage, error) {
	a, err := asked(from, said)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", dashboard.ErrAsk, err)
	}
	return t.answer(ctx, workstation, a, wait)
}

// toComponent answers a gateway, or another hub, at the renewal.
func (t *testimony) toComponent(wait bool) overlay.CheckpointSource {
	return func(ctx context.Context, q overlay.WitnessQuestion) (json.RawMessage, error) {
		a, err := asked(q.From, q.Said)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", overlay.ErrRefused, err)
		}
		return t.answer(ctx, q.Witness.String(), a, wait)
	}
}

// asked reads what a witness says; one of before sightings says only how many entries it remembers.
func asked(from int64, said []byte) (audit.Ask, error) {
	if len(said) == 0 {
		return audit.Ask{From: from}, nil
	}
	return audit.ReadAsk(said)
}

// witnessOthers makes this hub a witness of every other hub's log, until ctx ends: it waits there for what the other shows before
// it answers a dangerous act, and the two tell each other what their witnesses have seen.
func (t *testimony) witnessOthers(ctx context.Context, self overlay.ID, inv *fleet.Inventory, ep overlay.Endpoint) {
	if t.damaged != nil {
		return
	}
	followed := map[string]context.CancelFunc{}
	var following sync.WaitGroup
	defer following.Wait()
	defer func() {
		for _, stop := range followed {
			stop()
		}
	}()
	said := ""
	for {
		all, err := inv.Devices(ctx)
		if err == nil {
			for id, stop := range followed {
				if all[id].State != directory.DeviceActive {
					stop()
					delete(followed, id)
				}
			}
			for id, d := range all {
				hub, bad := overlay.ParseID(id)
				if bad != nil || d.Kind != overlay.KindHub || d.State != directory.DeviceActive || hub == self || followed[id] != nil {
					continue
				}
				one, stop := context.WithCancel(ctx)
				followed[id] = stop
				following.Go(func() { t.follow(one, ep, hub) })
			}
		}
		if bad := t.State(); bad != said {
			if said = bad; bad != "" {
				t.alarm(bad)
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(otherHubsEvery):
		}
	}
}

// follow is witnessOthers for one hub.
func (t *testimony) follow(ctx context.Context, ep overlay.Endpoint, hub overlay.ID) {
	for ctx.Err() == nil {
		err := overlay.FollowCheckpoints(ctx, ep, overlay.At(overlay.ServiceRenew, hub), func(who overlay.ID) (q overlay.WitnessQuestion, err error) {
			a, err := t.Others().Ask(who.Name)
			if err == nil {
				a.Seen = t.Tell(a.Seen)
				q.From = a.From
				q.Said, err = json.Marshal(a)
			}
			return q, err
		}, func(who overlay.ID, statement json.RawMessage) error {
			err := t.Others().Answer(who.Name, statement)
			if errors.Is(err, audit.ErrInconsistent) {
				t.Found(ctx, audit.Contradiction{Hub: who.Name, Witness: ep.ID().String(), Err: err})
			}
			return err
		})
		t.log.DebugContext(ctx, "the log of another hub is not waited for", "hub", hub.String(), "err", err)
		select {
		case <-ctx.Done():
		case <-time.After(otherHubAgain):
		}
	}
}
