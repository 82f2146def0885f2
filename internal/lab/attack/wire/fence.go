package wire

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"vitalseal/internal/hub/access"
	"vitalseal/internal/hub/ingest"
	"vitalseal/internal/lab/attack"
	"vitalseal/internal/lab/attack/office"
	"vitalseal/internal/lab/attack/rogue"
	"vitalseal/internal/lab/weaken"
	"vitalseal/internal/measurement/vitals"
	"vitalseal/internal/way/overlay"
	"vitalseal/internal/way/seal"
)

// doorway is the hub's ingest in this process, with a real store, that can be started anew.
type doorway struct {
	*office.Office
	net  *overlay.Loopback
	hub  overlay.ID
	key  *seal.RecipientKey
	stop func()
}

func newDoorway(ctx context.Context, t *attack.Target) (d *doorway, err error) {
	o, err := office.New(ctx, t)
	if err != nil {
		return nil, err
	}
	d = &doorway{Office: o, hub: overlay.ID{Domain: office.Domain, Kind: overlay.KindHub, Name: "hub"}, stop: func() {}}
	a, err := overlay.NewAuthority(office.Domain)
	if err == nil {
		d.key, err = seal.GenerateRecipientKey()
	}
	if err == nil {
		d.net = overlay.NewLoopback(a)
		err = d.start(ctx)
	}
	if err != nil {
		return nil, errors.Join(err, o.Close())
	}
	return d, nil
}

// start starts ingest, anew if it ran: what it had in memory is lost.
func (d *doorway) start(ctx context.Context) error {
	d.stop()
	s, err := ingest.NewServer(ingest.Config{Store: d.Store, Recipient: d.key, Grant: d.Engine.Standing("ingest", access.AppendVitals),
		Active: func(context.Context, overlay.ID) error { return nil }, Audit: d.Trail, Log: attack.Quiet})
	if err != nil {
		return err
	}
	ep, err := d.net.Endpoint(d.hub)
	if err != nil {
		return err
	}
	ln, err := ep.Listen(ctx, overlay.ServiceIngest)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = s.Serve(ctx, ln)
	}()
	d.stop = func() {
		cancel()
		<-ended
		_ = ep.Close()
	}
	return nil
}

func (d *doorway) close() error {
	d.stop()
	return d.Office.Close()
}

// as connects as a sensor's start, or without one if boot is 0. goodbye is the reason with which
// the hub ended it.
func (d *doorway) as(ctx context.Context, boot uint64, instance byte) (k *rogue.Talk, err error) {
	ep, err := d.net.Endpoint(overlay.ID{Domain: office.Domain, Kind: overlay.KindSensor, Name: "oxi"})
	if err != nil {
		return nil, err
	}
	c, err := ep.Dial(ctx, overlay.ServiceIngest)
	if err != nil {
		return nil, err
	}
	k = &rogue.Talk{Conn: c}
	if err := c.SetDeadline(time.Now().Add(15 * time.Second)); err != nil {
		return nil, err
	}
	hello := append([]byte("vsin\x01"), 0, 0, 0x75, 0x30)
	if boot > 0 {
		hello = append(binary.BigEndian.AppendUint64(hello, boot), make([]byte, 16)...)
		hello[len(hello)-1] = instance
	}
	if err := k.Write(rogue.FrameHello, hello); err != nil {
		return nil, err
	}
	kind, body, err := k.Read()
	switch {
	case err != nil:
		return nil, err
	case kind == rogue.FrameGoodbye:
		return nil, fmt.Errorf("%w: reason %d", rogue.ErrGoodbye, body)
	}
	return k, nil
}

// begin is an epoch of the sensor.
func (d *doorway) begin(number uint64) (*rogue.Stream, error) {
	s, said, err := seal.NewSealer(d.key.Recipient(), overlay.ID{Domain: office.Domain, Kind: overlay.KindSensor, Name: "oxi"}.String(), uint8(vitals.Numerics), number)
	return &rogue.Stream{Sealer: s, Announcement: said}, err
}

// atTheDoor is an attack on ingest in this process.
func atTheDoor(a attack.Attack, run func(ctx context.Context, d *doorway) (attack.Result, error)) attack.Attack {
	a.Fast = true
	a.Run = func(ctx context.Context, t *attack.Target) (_ attack.Result, err error) {
		d, err := newDoorway(ctx, t)
		if err != nil {
			return attack.Result{}, err
		}
		defer func() { err = errors.Join(err, d.close()) }()
		return run(ctx, d)
	}
	return a
}

// Fence are the attacks of a gateway that was restored from a copy.
func Fence() []attack.Attack {
	return []attack.Attack{
		atTheDoor(attack.Attack{ID: "fence-restored-gateway", Threat: "show readings of a copy beside those of the right gateway", Position: "a gateway restored from an old backup, after the hub was started anew",
			Does: "start 9 delivers, the hub is started anew, and start 4 connects", Expected: "turned away with goodbye 16, so that its outbox keeps what it measured",
			Right: attack.Says("the hub said goodbye: reason [16]"), Control: weaken.StartOrder}, restoredAfterRestart),
		atTheDoor(attack.Attack{ID: "fence-epoch-jump", Threat: "silence a sensor for ever", Position: "a thief who holds a sensor's key for a minute",
			Does: "an epoch with the number 2^63-1 is announced, with and without a start, and a start with the counter 2^39 connects", Expected: "each is refused, and the right gateway goes on",
			Right: attack.Reads(rogue.Acked(rogue.OutcomeRejected, 17)).Or(attack.Says("the hub said goodbye: reason [18]")), Control: weaken.EpochJump}, epochJump),
		atTheDoor(attack.Attack{ID: "fence-other-content", Threat: "lose a reading without a word", Position: "a gateway's snapshot that was started twice",
			Does: "a second reading is sealed under the key and the number of one that is stored", Expected: "rejected and set aside: another chunk has this number",
			Right: attack.Reads(rogue.Acked(rogue.OutcomeRejected, 19)), Control: weaken.DuplicateContent}, otherContent),
	}
}

func restoredAfterRestart(ctx context.Context, d *doorway) (attack.Result, error) {
	k, err := d.as(ctx, 9, 1)
	if err != nil {
		return attack.Result{}, err
	}
	m, err := d.begin(9 << seal.CountBits)
	if err == nil {
		err = k.Announce(m.Announcement)
	}
	if err == nil {
		err = k.Conn.Close()
	}
	if err == nil {
		err = d.start(ctx)
	}
	if err != nil {
		return attack.Result{}, err
	}
	_, err = d.as(ctx, 4, 2)
	return attack.Judge(err == nil, attack.Failure(err), "an older start delivers", "turned away", "%v", err)
}

func epochJump(ctx context.Context, d *doorway) (attack.Result, error) {
	right, err := d.begin(7 << seal.CountBits)
	if err != nil {
		return attack.Result{}, err
	}
	k, err := d.as(ctx, 7, 1)
	if err == nil {
		err = k.Announce(right.Announcement)
	}
	if err != nil {
		return attack.Result{}, err
	}
	var seen []attack.Seen
	for _, boot := range []uint64{7, 0} { // the same start, and none
		k, err := d.as(ctx, boot, 1)
		if err != nil {
			return attack.Result{}, err
		}
		last, err := d.begin(1<<63 - 1)
		if err != nil {
			return attack.Result{}, err
		}
		o, r, err := k.Send(rogue.FrameAnnouncement, last.Announcement)
		if err != nil {
			return attack.Result{}, err
		}
		if o == rogue.OutcomeAccepted {
			return attack.Through("the highest number there is was taken", "outcome %d", o)
		}
		seen = append(seen, attack.Word("%s", rogue.Acked(o, r))...)
	}
	if _, err = d.as(ctx, 1<<39, 3); err == nil {
		return attack.Through("a counter of 2^39 was taken", "after 7")
	}
	seen = append(seen, attack.Failure(err)...)
	next, err := d.begin(7<<seal.CountBits | 1)
	if err != nil {
		return attack.Result{}, err
	}
	if k, err = d.as(ctx, 7, 1); err == nil {
		err = k.Announce(next.Announcement)
	}
	return attack.Judge(err != nil, seen, "the right gateway is silenced", "refused; the right gateway goes on", "%d refusals, then %v", len(seen), err)
}

func otherContent(ctx context.Context, d *doorway) (attack.Result, error) {
	k, err := d.as(ctx, 3, 1)
	if err != nil {
		return attack.Result{}, err
	}
	m, err := d.begin(3 << seal.CountBits)
	if err == nil {
		err = k.Announce(m.Announcement)
	}
	if err != nil {
		return attack.Result{}, err
	}
	snapshot := *m.Sealer
	b, err := m.Chunk(time.Now())
	if err != nil {
		return attack.Result{}, err
	}
	if o, r, err := k.Send(rogue.FrameEnvelope, b); err != nil || o != rogue.OutcomeAccepted {
		return attack.Result{}, fmt.Errorf("the first reading: outcome %d, reason %d: %w", o, r, err)
	}
	at := time.Now().UTC().Truncate(time.Millisecond)
	plain, err := vitals.Encode(vitals.Chunk{Signal: vitals.Numerics, Start: at, Bundles: []vitals.Bundle{{At: at,
		Numerics: []vitals.Numeric{{Kind: vitals.HeartRate, Value: 140, Quality: vitals.Good}}}}})
	if err != nil {
		return attack.Result{}, err
	}
	other, _, err := snapshot.Seal(at, plain)
	if err != nil {
		return attack.Result{}, err
	}
	o, r, err := k.Send(rogue.FrameEnvelope, other)
	if err != nil {
		return attack.Result{}, err
	}
	delivery, err := d.Store.Delivery(ctx)
	if err != nil {
		return attack.Result{}, err
	}
	return attack.Judge(o != rogue.OutcomeRejected || delivery.Quarantined != 1, attack.Word("%s", rogue.Acked(o, r)), "the second reading is lost without a word", "rejected and set aside",
		"outcome %d, reason %d, %d set aside", o, r, delivery.Quarantined)
}
