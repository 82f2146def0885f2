package attack

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"time"

	"vitalseal/internal/lab/weaken"
	"vitalseal/internal/overlay"
	"vitalseal/internal/overlay/openziti"
	"vitalseal/internal/seal"
	"vitalseal/internal/vitals"
)

// The frames of doc/formats/ingest.md, as an attacker writes them.
const (
	frameHello        = 1
	frameAnnouncement = 2
	frameEnvelope     = 3
	frameAck          = 4
	frameDirective    = 5
	frameGoodbye      = 8

	outcomeAccepted  = 1
	outcomeDuplicate = 2
	outcomeRetry     = 3
	outcomeRejected  = 4
)

// acked is what became of a message, in one word for [Right].
func acked(outcome, reason byte) string { return fmt.Sprintf("outcome %d, reason %d", outcome, reason) }

// rogueSensors are two sensors that the attacker has enrolled honestly, on a gateway of their own, each dialled as itself.
type rogueSensors struct {
	ids map[string]*overlay.Identity
}

// sensors enrols them once.
func (t *Target) sensors(ctx context.Context) (*rogueSensors, error) {
	if t.rogues != nil {
		return t.rogues, nil
	}
	r, err := t.newSensors(ctx)
	if err == nil {
		t.rogues = r
	}
	return r, err
}

func (t *Target) newSensors(ctx context.Context) (*rogueSensors, error) {
	gw := t.name("gw-rogue-")
	sensor := func(id string) map[string]string {
		return map[string]string{"id": gw + "-" + id, "model": "MAX30100", "serial": "rogue-" + gw + id}
	}
	ids, err := t.enrol(ctx, "gateways", map[string]any{"id": gw, "sensors": []map[string]string{sensor("one"), sensor("two")}})
	if err != nil {
		return nil, err
	}
	r := &rogueSensors{ids: map[string]*overlay.Identity{}}
	for _, id := range ids {
		name := id.ID().Name
		switch name {
		case gw:
			r.ids["gateway"] = id
		case gw + "-one":
			r.ids["one"] = id
		default:
			r.ids["two"] = id
		}
	}
	if len(r.ids) != 3 {
		return nil, fmt.Errorf("%d identities enrolled, want 3", len(r.ids))
	}
	return r, nil
}

// talk is one connection to ingest after its hello.
type talk struct {
	c      net.Conn
	number uint64
}

// dial connects as an enrolled identity, as far as the hub's hello.
func (t *Target) dial(ctx context.Context, id *overlay.Identity) (*talk, error) {
	ep, err := openziti.Connect(ctx, id, t.log)
	if err != nil {
		return nil, err
	}
	return t.greet(ctx, ep)
}

// greet dials ingest, as far as the hub's hello. The endpoint is closed at the end.
func (t *Target) greet(ctx context.Context, ep overlay.Endpoint) (*talk, error) {
	t.closers = append(t.closers, ep.Close)
	var c *overlay.Conn
	if err := await(ctx, func() (err error) { // what it may reach takes the overlay a moment to learn
		c, err = ep.Dial(ctx, overlay.ServiceIngest)
		return err
	}); err != nil {
		return nil, err
	}
	k := &talk{c: c}
	if err := c.SetDeadline(time.Now().Add(15 * time.Second)); err != nil {
		return nil, err
	}
	if err := k.write(frameHello, append([]byte("vsin\x01"), 0, 0, 0x75, 0x30)); err != nil {
		return nil, err
	}
	kind, body, err := k.read()
	if err != nil {
		return nil, fmt.Errorf("hello: %w", err)
	}
	if kind != frameHello {
		return nil, fmt.Errorf("%w: frame %d, %x", errGoodbye, kind, body)
	}
	return k, nil
}

// errGoodbye says that the hub ended the connection by its own word.
var errGoodbye = errors.New("the hub said goodbye")

func (k *talk) write(kind byte, body []byte) error {
	b := binary.BigEndian.AppendUint32(nil, uint32(len(body)+1)) // #nosec G115 -- short frames of our own
	_, err := k.c.Write(append(append(b, kind), body...))
	return err
}

func (k *talk) read() (kind byte, body []byte, err error) {
	var head [4]byte
	if _, err := io.ReadFull(k.c, head[:]); err != nil {
		return 0, nil, err
	}
	n := binary.BigEndian.Uint32(head[:])
	if n < 1 || n > 1<<17 {
		return 0, nil, fmt.Errorf("a frame of %d bytes", n)
	}
	body = make([]byte, n)
	_, err = io.ReadFull(k.c, body)
	return body[0], body[1:], err
}

// send sends an announcement or envelope and waits for what becomes of it: outcome and reason.
func (k *talk) send(kind byte, data []byte) (outcome, reason byte, err error) {
	if err := k.c.SetDeadline(time.Now().Add(15 * time.Second)); err != nil {
		return 0, 0, err
	}
	n := k.number
	k.number++
	if err := k.write(kind, append(binary.BigEndian.AppendUint64(nil, n), data...)); err != nil {
		return 0, 0, err
	}
	for {
		kind, body, err := k.read()
		switch {
		case err != nil:
			return 0, 0, err
		case kind == frameGoodbye:
			return 0, 0, fmt.Errorf("%w: reason %d", errGoodbye, body)
		case kind == frameAck && len(body) == 10 && binary.BigEndian.Uint64(body) == n:
			return body[8], body[9], nil
		}
	}
}

// made is one stream of a rogue sensor: what it announces and a way to seal.
type made struct {
	sealer *seal.Sealer
	said   []byte
}

func begin(id *overlay.Identity, as string, number uint64) (*made, error) {
	to, err := seal.ParseRecipient(id.Recipient())
	if err != nil {
		return nil, err
	}
	s, said, err := seal.NewSealer(to, as, uint8(vitals.Numerics), number)
	return &made{s, said}, err
}

// heartRate is a chunk with a heart rate of 66 /min, whose last eight bytes are that number.
func heartRate(at time.Time) (plain []byte, start time.Time, err error) {
	return heartRateAs(at, vitals.Good)
}

// heartRateAs is heartRate of another quality.
func heartRateAs(at time.Time, quality vitals.Quality) (plain []byte, start time.Time, err error) {
	at = at.UTC().Truncate(time.Millisecond)
	plain, err = vitals.Encode(vitals.Chunk{Signal: vitals.Numerics, Start: at, Bundles: []vitals.Bundle{{At: at,
		Numerics: []vitals.Numeric{{Kind: vitals.HeartRate, Value: 66, Quality: quality}}}}})
	return plain, at, err
}

// chunk is a sealed heart rate.
func (m *made) chunk(when time.Time) ([]byte, error) {
	plain, at, err := heartRate(when)
	if err != nil {
		return nil, err
	}
	b, _, err := m.sealer.Seal(at, plain)
	return b, err
}

// nextEpoch is a number that no epoch had before.
func (t *Target) nextEpoch() uint64 {
	t.serial++
	return uint64(t.serial) << 20 // #nosec G115 -- counts from 1
}

// wire is an attack with a connection of rogue sensor one.
func wire(id, threat, position, does, expected string, right Right, control weaken.Defence, run func(ctx context.Context, t *Target, k *talk, me *overlay.Identity) (Result, error)) Attack {
	return Attack{ID: id, Threat: threat, Position: position, Does: does, Expected: expected, Right: right, Control: control,
		Run: func(ctx context.Context, t *Target) (Result, error) {
			r, err := t.sensors(ctx)
			if err != nil {
				return Result{}, err
			}
			k, err := t.dial(ctx, r.ids["one"])
			if err != nil {
				return Result{}, err
			}
			defer func() { _ = k.c.Close() }()
			return run(ctx, t, k, r.ids["one"])
		}}
}

// announce sends an announcement that must be taken.
func (k *talk) announce(said []byte) error {
	o, r, err := k.send(frameAnnouncement, said)
	if err == nil && o != outcomeAccepted && o != outcomeDuplicate {
		err = fmt.Errorf("the announcement: outcome %d, reason %d", o, r)
	}
	return err
}

func chunkAttacks() []Attack {
	return append(clockAttacks(), []Attack{
		wire("wire-replay", "show a reading twice", "an attacker who holds an enrolled sensor and what it sent", "a chunk that was taken is sent again, on the same and on a new connection",
			"answered as a duplicate; stored once", reads(acked(outcomeDuplicate, 0)), weaken.Dedupe, replay),
		wire("wire-stale-epoch", "put old readings in the place of new ones", "a gateway restored from an old backup", "an epoch with a number below the newest is announced",
			"rejected for good: epoch number reused", reads(acked(outcomeRejected, 6)), weaken.EpochOrder, staleEpoch),
		wire("wire-restored-gateway", "repeat sequence numbers under another key", "two gateways with one identity, or one restored and started again",
			"the same epoch number is announced with another key, and its chunk sent", "rejected; the first one's readings stay", reads(acked(outcomeRejected, 6), acked(outcomeRetry, 2)), weaken.EpochOrder, sameEpoch),
		{ID: "wire-clone", Threat: "be a second source of one sensor's readings", Position: "an attacker who copied a gateway's folder", Does: "a second connection with the same identity delivers beside the first",
			Expected: "the first one is ended with goodbye 9 (replaced): two cannot stay unnoticed", Right: says("the hub said goodbye: reason 9"), Control: weaken.OneConnection, Run: clone},
		wire("wire-other-sensor", "speak for another sensor", "an enrolled sensor that turned bad", "a chunk sealed in a victim's name is sent on the attacker's own connection",
			"does not open", reads(acked(outcomeRejected, 3)), weaken.SealSensor, speakForOther),
		wire("wire-future", "show a reading of tomorrow", "a gateway with its clock set wrong", "chunks of next year and of two years ago",
			"on no chart: next year's waits until a person says when it was measured, the other is rejected", reads(acked(outcomeAccepted, 0)+"; "+acked(outcomeRejected, 7)+"; 1 waits"), weaken.Clock, wrongClock),
		wire("wire-huge-frame", "fill the hub's memory", "an enrolled sensor that turned bad", "a frame that announces 48 MiB", "the connection ends with goodbye 12 (bad frame)", says("the hub said goodbye: reason 12"), weaken.FrameBound, hugeFrame),
		wire("wire-implausible", "show a number that no patient can have", "an enrolled sensor with broken or malicious firmware",
			"a rightly sealed heart rate of 900 /min, encoded by hand", "rejected as malformed", reads(acked(outcomeRejected, 4)), weaken.Plausible, implausible),
		wire("wire-garbage", "crash the hub with malformed readings", "an enrolled sensor with broken firmware", "300 rightly sealed chunks of random bytes, and half-written frames",
			"each rejected as malformed; the hub goes on", reads(acked(outcomeRejected, 4)), weaken.None, garbage),
	}...)
}

func replay(ctx context.Context, t *Target, k *talk, me *overlay.Identity) (Result, error) {
	m, err := begin(me, me.ID().String(), t.nextEpoch())
	if err != nil {
		return Result{}, err
	}
	if err := k.announce(m.said); err != nil {
		return Result{}, err
	}
	b, err := m.chunk(time.Now())
	if err != nil {
		return Result{}, err
	}
	first, reason, err := k.send(frameEnvelope, b)
	if err != nil || first != outcomeAccepted {
		return Result{}, fmt.Errorf("the first time: outcome %d, reason %d: %w", first, reason, err)
	}
	again, r2, err := k.send(frameEnvelope, b)
	if err != nil {
		return Result{}, err
	}
	_ = k.c.Close()
	k2, err := t.dial(ctx, me)
	if err != nil {
		return Result{}, err
	}
	defer func() { _ = k2.c.Close() }()
	third, r3, err := k2.send(frameEnvelope, b)
	if err != nil {
		return Result{}, err
	}
	return judge(again == outcomeAccepted || third == outcomeAccepted, append(word("%s", acked(again, r2)), word("%s", acked(third, r3))...), "taken twice", "a duplicate", "outcomes %d, %d, %d (1 accepted, 2 duplicate)", first, again, third)
}

func staleEpoch(_ context.Context, t *Target, k *talk, me *overlay.Identity) (Result, error) {
	old, next := t.nextEpoch(), t.nextEpoch()
	m, err := begin(me, me.ID().String(), next)
	if err != nil {
		return Result{}, err
	}
	if err := k.announce(m.said); err != nil {
		return Result{}, err
	}
	stale, err := begin(me, me.ID().String(), old)
	if err != nil {
		return Result{}, err
	}
	o, r, err := k.send(frameAnnouncement, stale.said)
	if err != nil {
		return Result{}, err
	}
	return judge(o == outcomeAccepted, word("%s", acked(o, r)), "an older epoch was taken", "rejected", "outcome %d, reason %d", o, r)
}

func sameEpoch(_ context.Context, t *Target, k *talk, me *overlay.Identity) (Result, error) {
	number := t.nextEpoch()
	m, err := begin(me, me.ID().String(), number)
	if err != nil {
		return Result{}, err
	}
	if err := k.announce(m.said); err != nil {
		return Result{}, err
	}
	again, err := begin(me, me.ID().String(), number)
	if err != nil {
		return Result{}, err
	}
	o, r, err := k.send(frameAnnouncement, again.said)
	if err != nil {
		return Result{}, err
	}
	b, err := again.chunk(time.Now())
	if err != nil {
		return Result{}, err
	}
	c, cr, err := k.send(frameEnvelope, b)
	if err != nil {
		return Result{}, err
	}
	return judge(o == outcomeAccepted || c == outcomeAccepted, append(word("%s", acked(o, r)), word("%s", acked(c, cr))...), "both are taken", "rejected", "announcement: outcome %d, reason %d; chunk: outcome %d, reason %d", o, r, c, cr)
}

func clone(ctx context.Context, t *Target) (Result, error) {
	r, err := t.sensors(ctx)
	if err != nil {
		return Result{}, err
	}
	first, err := t.dial(ctx, r.ids["two"])
	if err != nil {
		return Result{}, err
	}
	defer func() { _ = first.c.Close() }()
	second, err := t.dial(ctx, r.ids["two"])
	if err != nil {
		return Result{}, err
	}
	defer func() { _ = second.c.Close() }()
	// The hub's last word on the first connection, if it ends it.
	if err := first.c.SetReadDeadline(time.Now().Add(5 * time.Second)); err != nil {
		return Result{}, err
	}
	kind, body, err := first.read()
	var late net.Error
	stays := errors.As(err, &late) && late.Timeout()
	if err == nil && kind == frameGoodbye && len(body) == 1 {
		err = fmt.Errorf("%w: reason %d", errGoodbye, body[0])
	}
	return judge(stays, failure(err), "both stay connected", "the first is ended", "the first: %v", err)
}

func speakForOther(ctx context.Context, t *Target, k *talk, me *overlay.Identity) (Result, error) {
	r, err := t.sensors(ctx)
	if err != nil {
		return Result{}, err
	}
	m, err := begin(me, r.ids["two"].ID().String(), t.nextEpoch())
	if err != nil {
		return Result{}, err
	}
	o, why, err := k.send(frameAnnouncement, m.said)
	if err != nil {
		return Result{}, err
	}
	return judge(o == outcomeAccepted, word("%s", acked(o, why)), "taken on another's connection", "does not open", "outcome %d, reason %d", o, why)
}

func wrongClock(ctx context.Context, t *Target, k *talk, me *overlay.Identity) (Result, error) {
	before, err := t.waiting(ctx, me)
	if err != nil {
		return Result{}, err
	}
	m, err := begin(me, me.ID().String(), t.nextEpoch())
	if err != nil {
		return Result{}, err
	}
	if err := k.announce(m.said); err != nil {
		return Result{}, err
	}
	var outcomes []byte
	var seen []string
	for _, off := range []time.Duration{365 * 24 * time.Hour, -730 * 24 * time.Hour} {
		b, err := m.chunk(time.Now().Add(off))
		if err != nil {
			return Result{}, err
		}
		o, r, err := k.send(frameEnvelope, b)
		if err != nil {
			return Result{}, err
		}
		outcomes = append(outcomes, o)
		seen = append(seen, acked(o, r))
	}
	after, err := t.waiting(ctx, me)
	if err != nil {
		return Result{}, err
	}
	charted := outcomes[1] == outcomeAccepted || outcomes[0] == outcomeAccepted && after == before
	return judge(charted, word("%s; %s; %d waits", seen[0], seen[1], after-before), "on a chart", "one waits, one is rejected",
		"outcomes %v (1 accepted, 4 rejected), %d of them wait", outcomes, after-before)
}

// waiting is how many chunks of a sensor wait because their time is not sure.
func (t *Target) waiting(ctx context.Context, sensor *overlay.Identity) (int, error) {
	admin, err := t.admin(ctx)
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

func hugeFrame(ctx context.Context, t *Target, k *talk, me *overlay.Identity) (Result, error) {
	for try := 0; ; try++ {
		if err := k.c.SetDeadline(time.Now().Add(5 * time.Second)); err != nil {
			return Result{}, err
		}
		kind, body := byte(0), []byte(nil)
		_, err := k.c.Write(append(binary.BigEndian.AppendUint32(nil, 48<<20), frameEnvelope))
		if err == nil {
			kind, body, err = k.read()
		}
		// A peer that has begun to wait for so much says nothing until it has come.
		var late net.Error
		if errors.As(err, &late) && late.Timeout() {
			return through("the hub waits for it", "%v", err)
		}
		if err == nil && kind == frameGoodbye && len(body) == 1 {
			err = fmt.Errorf("%w: reason %d", errGoodbye, body[0])
		}
		if errors.Is(err, errGoodbye) || err == nil || try == 2 {
			return refused(failure(err), "the connection ends", "frame %d %x, %v", kind, body, err)
		}
		// It ended without a word of the hub's: that may have been the network, so it does not count yet.
		if k, err = t.dial(ctx, me); err != nil {
			return Result{}, err
		}
		defer func() { _ = k.c.Close() }()
	}
}

func garbage(ctx context.Context, t *Target, k *talk, me *overlay.Identity) (Result, error) {
	m, err := begin(me, me.ID().String(), t.nextEpoch())
	if err != nil {
		return Result{}, err
	}
	if err := k.announce(m.said); err != nil {
		return Result{}, err
	}
	taken, n := 0, 300
	var seen []Seen
	for i := range n {
		plain := noise(i)
		b, _, err := m.sealer.Seal(time.Now(), plain)
		if err != nil {
			return Result{}, err
		}
		o, r, err := k.send(frameEnvelope, b)
		if err != nil {
			return Result{}, err
		}
		if o == outcomeAccepted {
			taken++
		}
		seen = append(seen, word("%s", acked(o, r))...)
	}
	for _, half := range [][]byte{{0, 0, 0}, {0, 0, 0, 9, frameEnvelope, 1}, {0, 0, 0, 0}, {0, 0, 0, 1, 99}} {
		h, err := t.dial(ctx, me)
		if err != nil {
			return Result{}, err
		}
		_, _ = h.c.Write(half) // what comes back does not matter
		_ = h.c.Close()
	}
	a, err := t.front().send(ctx, request{method: http.MethodGet, path: "/api/session/ways"})
	if err != nil {
		return through("the hub does not answer any more", "%v", err)
	}
	return judge(taken > 0 || !a.ok(), seen, "garbage was stored", "rejected, and the hub goes on", "%d of %d chunks taken; the hub answers %d", taken, n, a.Status)
}

func implausible(_ context.Context, t *Target, k *talk, me *overlay.Identity) (Result, error) {
	m, err := begin(me, me.ID().String(), t.nextEpoch())
	if err != nil {
		return Result{}, err
	}
	if err := k.announce(m.said); err != nil {
		return Result{}, err
	}
	plain, at, err := heartRate(time.Now())
	if err != nil {
		return Result{}, err
	}
	binary.BigEndian.PutUint64(plain[len(plain)-8:], math.Float64bits(900))
	b, _, err := m.sealer.Seal(at, plain)
	if err != nil {
		return Result{}, err
	}
	o, r, err := k.send(frameEnvelope, b)
	if err != nil {
		return Result{}, err
	}
	return judge(o == outcomeAccepted, word("%s", acked(o, r)), "stored", "rejected", "outcome %d, reason %d", o, r)
}
