// Package wire are the attacks on the way of a reading into the hub: a broken sensor chip
// (sensor-), a clock that is set wrong (clock-), an enrolled sensor that turned bad (wire-), and a
// gateway that was restored from a copy (fence-).
//
// The attacks on a running hub use sensors that were enrolled honestly (package rogue). What the
// hub answers to a message, its outcome and reason, is what an attack must be refused with.
package wire

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"net"
	"net/http"
	"time"

	"vitalseal/internal/lab/attack"
	"vitalseal/internal/lab/attack/rogue"
	"vitalseal/internal/lab/weaken"
	"vitalseal/internal/way/overlay"
)

// wire is an attack with a connection of rogue sensor one.
func wire(id, threat, position, does, expected string, right attack.Right, control weaken.Defence, run func(ctx context.Context, t *attack.Target, k *rogue.Talk, me *overlay.Identity) (attack.Result, error)) attack.Attack {
	return attack.Attack{ID: id, Threat: threat, Position: position, Does: does, Expected: expected, Right: right, Control: control,
		Run: func(ctx context.Context, t *attack.Target) (attack.Result, error) {
			r, err := rogue.Shared(ctx, t)
			if err != nil {
				return attack.Result{}, err
			}
			k, err := rogue.Dial(ctx, t, r.IDs["one"])
			if err != nil {
				return attack.Result{}, err
			}
			defer func() { _ = k.Conn.Close() }()
			return run(ctx, t, k, r.IDs["one"])
		}}
}

// Frames are the attacks of an enrolled sensor on ingest, with those on clocks before them.
func Frames() []attack.Attack {
	return append(clockAttacks(), []attack.Attack{
		wire("wire-replay", "show a reading twice", "an attacker who holds an enrolled sensor and what it sent", "a chunk that was taken is sent again, on the same and on a new connection",
			"answered as a duplicate; stored once", attack.Reads(rogue.Acked(rogue.OutcomeDuplicate, 0)), weaken.Dedupe, replay),
		wire("wire-stale-epoch", "put old readings in the place of new ones", "a gateway restored from an old backup", "an epoch with a number below the newest is announced",
			"rejected for good: epoch number reused", attack.Reads(rogue.Acked(rogue.OutcomeRejected, 6)), weaken.EpochOrder, staleEpoch),
		wire("wire-restored-gateway", "repeat sequence numbers under another key", "two gateways with one identity, or one restored and started again",
			"the same epoch number is announced with another key, and its chunk sent", "rejected; the first one's readings stay", attack.Reads(rogue.Acked(rogue.OutcomeRejected, 6), rogue.Acked(rogue.OutcomeRetry, 2)), weaken.EpochOrder, sameEpoch),
		{ID: "wire-clone", Threat: "be a second source of one sensor's readings", Position: "an attacker who copied a gateway's folder", Does: "a second connection with the same identity delivers beside the first",
			Expected: "the first one is ended with goodbye 9 (replaced): two cannot stay unnoticed", Right: attack.Says("the hub said goodbye: reason 9"), Control: weaken.OneConnection, Run: clone},
		wire("wire-other-sensor", "speak for another sensor", "an enrolled sensor that turned bad", "a chunk sealed in a victim's name is sent on the attacker's own connection",
			"does not open", attack.Reads(rogue.Acked(rogue.OutcomeRejected, 3)), weaken.SealSensor, speakForOther),
		wire("wire-future", "show a reading of tomorrow", "a gateway with its clock set wrong", "chunks of next year and of two years ago",
			"on no chart: next year's waits until a person says when it was measured, the other is rejected", attack.Reads(rogue.Acked(rogue.OutcomeAccepted, 0)+"; "+rogue.Acked(rogue.OutcomeRejected, 7)+"; 1 waits"), weaken.Clock, wrongClock),
		wire("wire-huge-frame", "fill the hub's memory", "an enrolled sensor that turned bad", "a frame that announces 48 MiB", "the connection ends with goodbye 12 (bad frame)", attack.Says("the hub said goodbye: reason 12"), weaken.FrameBound, hugeFrame),
		wire("wire-implausible", "show a number that no patient can have", "an enrolled sensor with broken or malicious firmware",
			"a rightly sealed heart rate of 900 /min, encoded by hand", "rejected as malformed", attack.Reads(rogue.Acked(rogue.OutcomeRejected, 4)), weaken.Plausible, implausible),
		wire("wire-garbage", "crash the hub with malformed readings", "an enrolled sensor with broken firmware", "300 rightly sealed chunks of random bytes, and half-written frames",
			"each rejected as malformed; the hub goes on", attack.Reads(rogue.Acked(rogue.OutcomeRejected, 4)), weaken.None, garbage),
	}...)
}

func replay(ctx context.Context, t *attack.Target, k *rogue.Talk, me *overlay.Identity) (attack.Result, error) {
	m, err := rogue.Begin(me, me.ID().String(), rogue.NextEpoch(t))
	if err != nil {
		return attack.Result{}, err
	}
	if err := k.Announce(m.Announcement); err != nil {
		return attack.Result{}, err
	}
	b, err := m.Chunk(time.Now())
	if err != nil {
		return attack.Result{}, err
	}
	first, reason, err := k.Send(rogue.FrameEnvelope, b)
	if err != nil || first != rogue.OutcomeAccepted {
		return attack.Result{}, fmt.Errorf("the first time: outcome %d, reason %d: %w", first, reason, err)
	}
	again, r2, err := k.Send(rogue.FrameEnvelope, b)
	if err != nil {
		return attack.Result{}, err
	}
	_ = k.Conn.Close()
	k2, err := rogue.Dial(ctx, t, me)
	if err != nil {
		return attack.Result{}, err
	}
	defer func() { _ = k2.Conn.Close() }()
	third, r3, err := k2.Send(rogue.FrameEnvelope, b)
	if err != nil {
		return attack.Result{}, err
	}
	return attack.Judge(again == rogue.OutcomeAccepted || third == rogue.OutcomeAccepted, append(attack.Word("%s", rogue.Acked(again, r2)), attack.Word("%s", rogue.Acked(third, r3))...), "taken twice", "a duplicate", "outcomes %d, %d, %d (1 accepted, 2 duplicate)", first, again, third)
}

func staleEpoch(_ context.Context, t *attack.Target, k *rogue.Talk, me *overlay.Identity) (attack.Result, error) {
	old, next := rogue.NextEpoch(t), rogue.NextEpoch(t)
	m, err := rogue.Begin(me, me.ID().String(), next)
	if err != nil {
		return attack.Result{}, err
	}
	if err := k.Announce(m.Announcement); err != nil {
		return attack.Result{}, err
	}
	stale, err := rogue.Begin(me, me.ID().String(), old)
	if err != nil {
		return attack.Result{}, err
	}
	o, r, err := k.Send(rogue.FrameAnnouncement, stale.Announcement)
	if err != nil {
		return attack.Result{}, err
	}
	return attack.Judge(o == rogue.OutcomeAccepted, attack.Word("%s", rogue.Acked(o, r)), "an older epoch was taken", "rejected", "outcome %d, reason %d", o, r)
}

func sameEpoch(_ context.Context, t *attack.Target, k *rogue.Talk, me *overlay.Identity) (attack.Result, error) {
	number := rogue.NextEpoch(t)
	m, err := rogue.Begin(me, me.ID().String(), number)
	if err != nil {
		return attack.Result{}, err
	}
	if err := k.Announce(m.Announcement); err != nil {
		return attack.Result{}, err
	}
	again, err := rogue.Begin(me, me.ID().String(), number)
	if err != nil {
		return attack.Result{}, err
	}
	o, r, err := k.Send(rogue.FrameAnnouncement, again.Announcement)
	if err != nil {
		return attack.Result{}, err
	}
	b, err := again.Chunk(time.Now())
	if err != nil {
		return attack.Result{}, err
	}
	c, cr, err := k.Send(rogue.FrameEnvelope, b)
	if err != nil {
		return attack.Result{}, err
	}
	return attack.Judge(o == rogue.OutcomeAccepted || c == rogue.OutcomeAccepted, append(attack.Word("%s", rogue.Acked(o, r)), attack.Word("%s", rogue.Acked(c, cr))...), "both are taken", "rejected", "announcement: outcome %d, reason %d; chunk: outcome %d, reason %d", o, r, c, cr)
}

func clone(ctx context.Context, t *attack.Target) (attack.Result, error) {
	r, err := rogue.Shared(ctx, t)
	if err != nil {
		return attack.Result{}, err
	}
	first, err := rogue.Dial(ctx, t, r.IDs["two"])
	if err != nil {
		return attack.Result{}, err
	}
	defer func() { _ = first.Conn.Close() }()
	second, err := rogue.Dial(ctx, t, r.IDs["two"])
	if err != nil {
		return attack.Result{}, err
	}
	defer func() { _ = second.Conn.Close() }()
	// The hub's last word on the first connection, if it ends it.
	if err := first.Conn.SetReadDeadline(time.Now().Add(5 * time.Second)); err != nil {
		return attack.Result{}, err
	}
	kind, body, err := first.Read()
	var late net.Error
	stays := errors.As(err, &late) && late.Timeout()
	if err == nil && kind == rogue.FrameGoodbye && len(body) == 1 {
		err = fmt.Errorf("%w: reason %d", rogue.ErrGoodbye, body[0])
	}
	return attack.Judge(stays, attack.Failure(err), "both stay connected", "the first is ended", "the first: %v", err)
}

func speakForOther(ctx context.Context, t *attack.Target, k *rogue.Talk, me *overlay.Identity) (attack.Result, error) {
	r, err := rogue.Shared(ctx, t)
	if err != nil {
		return attack.Result{}, err
	}
	m, err := rogue.Begin(me, r.IDs["two"].ID().String(), rogue.NextEpoch(t))
	if err != nil {
		return attack.Result{}, err
	}
	o, why, err := k.Send(rogue.FrameAnnouncement, m.Announcement)
	if err != nil {
		return attack.Result{}, err
	}
	return attack.Judge(o == rogue.OutcomeAccepted, attack.Word("%s", rogue.Acked(o, why)), "taken on another's connection", "does not open", "outcome %d, reason %d", o, why)
}

func wrongClock(ctx context.Context, t *attack.Target, k *rogue.Talk, me *overlay.Identity) (attack.Result, error) {
	before, err := waiting(ctx, t, me)
	if err != nil {
		return attack.Result{}, err
	}
	m, err := rogue.Begin(me, me.ID().String(), rogue.NextEpoch(t))
	if err != nil {
		return attack.Result{}, err
	}
	if err := k.Announce(m.Announcement); err != nil {
		return attack.Result{}, err
	}
	var outcomes []byte
	var seen []string
	for _, off := range []time.Duration{365 * 24 * time.Hour, -730 * 24 * time.Hour} {
		b, err := m.Chunk(time.Now().Add(off))
		if err != nil {
			return attack.Result{}, err
		}
		o, r, err := k.Send(rogue.FrameEnvelope, b)
		if err != nil {
			return attack.Result{}, err
		}
		outcomes = append(outcomes, o)
		seen = append(seen, rogue.Acked(o, r))
	}
	after, err := waiting(ctx, t, me)
	if err != nil {
		return attack.Result{}, err
	}
	charted := outcomes[1] == rogue.OutcomeAccepted || outcomes[0] == rogue.OutcomeAccepted && after == before
	return attack.Judge(charted, attack.Word("%s; %s; %d waits", seen[0], seen[1], after-before), "on a chart", "one waits, one is rejected",
		"outcomes %v (1 accepted, 4 rejected), %d of them wait", outcomes, after-before)
}

// waiting is how many chunks of a sensor wait because their time is not sure.
func waiting(ctx context.Context, t *attack.Target, sensor *overlay.Identity) (int, error) {
	admin, err := t.Admin(ctx)
	if err != nil {
		return 0, err
	}
	var d struct {
		Clock struct {
			Waiting int `json:"waiting_chunks"`
		} `json:"clock"`
	}
	err = admin.Do(ctx, http.MethodGet, "/api/admin/identities/sensor/"+sensor.ID().Name, nil, &d)
	return d.Clock.Waiting, err
}

func hugeFrame(ctx context.Context, t *attack.Target, k *rogue.Talk, me *overlay.Identity) (attack.Result, error) {
	for try := 0; ; try++ {
		if err := k.Conn.SetDeadline(time.Now().Add(5 * time.Second)); err != nil {
			return attack.Result{}, err
		}
		kind, body := byte(0), []byte(nil)
		_, err := k.Conn.Write(append(binary.BigEndian.AppendUint32(nil, 48<<20), rogue.FrameEnvelope))
		if err == nil {
			kind, body, err = k.Read()
		}
		// A peer that has begun to wait for so much says nothing until it has come.
		var late net.Error
		if errors.As(err, &late) && late.Timeout() {
			return attack.Through("the hub waits for it", "%v", err)
		}
		if err == nil && kind == rogue.FrameGoodbye && len(body) == 1 {
			err = fmt.Errorf("%w: reason %d", rogue.ErrGoodbye, body[0])
		}
		if errors.Is(err, rogue.ErrGoodbye) || err == nil || try == 2 {
			return attack.RefusedWith(attack.Failure(err), "the connection ends", "frame %d %x, %v", kind, body, err)
		}
		// It ended without a word of the hub's: that may have been the network, so it does not
		// count yet.
		if k, err = rogue.Dial(ctx, t, me); err != nil {
			return attack.Result{}, err
		}
		defer func() { _ = k.Conn.Close() }()
	}
}

func garbage(ctx context.Context, t *attack.Target, k *rogue.Talk, me *overlay.Identity) (attack.Result, error) {
	m, err := rogue.Begin(me, me.ID().String(), rogue.NextEpoch(t))
	if err != nil {
		return attack.Result{}, err
	}
	if err := k.Announce(m.Announcement); err != nil {
		return attack.Result{}, err
	}
	taken, n := 0, 300
	var seen []attack.Seen
	for i := range n {
		plain := rogue.Noise(i)
		b, _, err := m.Sealer.Seal(time.Now(), plain)
		if err != nil {
			return attack.Result{}, err
		}
		o, r, err := k.Send(rogue.FrameEnvelope, b)
		if err != nil {
			return attack.Result{}, err
		}
		if o == rogue.OutcomeAccepted {
			taken++
		}
		seen = append(seen, attack.Word("%s", rogue.Acked(o, r))...)
	}
	for _, half := range [][]byte{{0, 0, 0}, {0, 0, 0, 9, rogue.FrameEnvelope, 1}, {0, 0, 0, 0}, {0, 0, 0, 1, 99}} {
		h, err := rogue.Dial(ctx, t, me)
		if err != nil {
			return attack.Result{}, err
		}
		_, _ = h.Conn.Write(half) // what comes back does not matter
		_ = h.Conn.Close()
	}
	a, err := t.Front().Send(ctx, attack.Request{Method: http.MethodGet, Path: "/api/session/ways"})
	if err != nil {
		return attack.Through("the hub does not answer any more", "%v", err)
	}
	return attack.Judge(taken > 0 || !a.OK(), seen, "garbage was stored", "rejected, and the hub goes on", "%d of %d chunks taken; the hub answers %d", taken, n, a.Status)
}

func implausible(_ context.Context, t *attack.Target, k *rogue.Talk, me *overlay.Identity) (attack.Result, error) {
	m, err := rogue.Begin(me, me.ID().String(), rogue.NextEpoch(t))
	if err != nil {
		return attack.Result{}, err
	}
	if err := k.Announce(m.Announcement); err != nil {
		return attack.Result{}, err
	}
	plain, at, err := rogue.HeartRate(time.Now())
	if err != nil {
		return attack.Result{}, err
	}
	binary.BigEndian.PutUint64(plain[len(plain)-8:], math.Float64bits(900))
	b, _, err := m.Sealer.Seal(at, plain)
	if err != nil {
		return attack.Result{}, err
	}
	o, r, err := k.Send(rogue.FrameEnvelope, b)
	if err != nil {
		return attack.Result{}, err
	}
	return attack.Judge(o == rogue.OutcomeAccepted, attack.Word("%s", rogue.Acked(o, r)), "stored", "rejected", "outcome %d, reason %d", o, r)
}
