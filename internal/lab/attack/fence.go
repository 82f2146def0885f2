package attack

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"vitalseal/internal/access"
	"vitalseal/internal/ingest"
	"vitalseal/internal/lab/weaken"
	"vitalseal/internal/overlay"
	"vitalseal/internal/seal"
	"vitalseal/internal/vitals"
)

// doorway is the hub's ingest in this process, with a real store, that can be started anew.
type doorway struct {
	*office
	net  *overlay.Loopback
	hub  overlay.ID
	key  *seal.RecipientKey
	stop func()
}

func newDoorway(ctx context.Context, t *Target) (d *doorway, err error) {
	o, err := newOffice(ctx, t)
	if err != nil {
		return nil, err
	}
	d = &doorway{office: o, hub: overlay.ID{Domain: officeDomain, Kind: overlay.KindHub, Name: "hub"}, stop: func() {}}
	a, err := overlay.NewAuthority(officeDomain)
	if err == nil {
		d.key, err = seal.GenerateRecipientKey()
	}
	if err == nil {
		d.net = overlay.NewLoopback(a)
		err = d.start(ctx)
	}
	if err != nil {
		return nil, errors.Join(err, o.close())
	}
	return d, nil
}

// start starts ingest, anew if it ran: what it had in memory is lost.
func (d *doorway) start(ctx context.Context) error {
	d.stop()
	s, err := ingest.NewServer(ingest.Config{Store: d.store, Recipient: d.key, Grant: d.engine.Standing("ingest", access.AppendVitals),
		Active: func(context.Context, overlay.ID) error { return nil }, Audit: d.trail, Log: quiet})
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
	return d.office.close()
}

// as connects as a sensor's start, or without one if boot is 0. goodbye is the reason with which the hub ended it.
func (d *doorway) as(ctx context.Context, boot uint64, instance byte) (k *talk, err error) {
	ep, err := d.net.Endpoint(overlay.ID{Domain: officeDomain, Kind: overlay.KindSensor, Name: "oxi"})
	if err != nil {
		return nil, err
	}
	c, err := ep.Dial(ctx, overlay.ServiceIngest)
	if err != nil {
		return nil, err
	}
	k = &talk{c: c}
	if err := c.SetDeadline(time.Now().Add(15 * time.Second)); err != nil {
		return nil, err
	}
	hello := append([]byte("vsin\x01"), 0, 0, 0x75, 0x30)
	if boot > 0 {
		hello = append(binary.BigEndian.AppendUint64(hello, boot), make([]byte, 16)...)
		hello[len(hello)-1] = instance
	}
	if err := k.write(frameHello, hello); err != nil {
		return nil, err
	}
	kind, body, err := k.read()
	switch {
	case err != nil:
		return nil, err
	case kind == frameGoodbye:
		return nil, fmt.Errorf("%w: reason %d", errGoodbye, body)
	}
	return k, nil
}

// begin is an epoch of the sensor.
func (d *doorway) begin(number uint64) (*made, error) {
	s, said, err := seal.NewSealer(d.key.Recipient(), overlay.ID{Domain: officeDomain, Kind: overlay.KindSensor, Name: "oxi"}.String(), uint8(vitals.Numerics), number)
	return &made{s, said}, err
}

// atTheDoor is an attack on ingest in this process.
func atTheDoor(a Attack, run func(ctx context.Context, d *doorway) (Result, error)) Attack {
	a.Fast = true
	a.Run = func(ctx context.Context, t *Target) (_ Result, err error) {
		d, err := newDoorway(ctx, t)
		if err != nil {
			return Result{}, err
		}
		defer func() { err = errors.Join(err, d.close()) }()
		return run(ctx, d)
	}
	return a
}

func fenceAttacks() []Attack {
	return []Attack{
		atTheDoor(Attack{ID: "fence-restored-gateway", Threat: "show readings of a copy beside those of the right gateway", Position: "a gateway restored from an old backup, after the hub was started anew",
			Does: "start 9 delivers, the hub is started anew, and start 4 connects", Expected: "turned away with goodbye 16, so that its outbox keeps what it measured",
			Right: says("the hub said goodbye: reason [16]"), Control: weaken.StartOrder}, restoredAfterRestart),
		atTheDoor(Attack{ID: "fence-epoch-jump", Threat: "silence a sensor for ever", Position: "a thief who holds a sensor's key for a minute",
			Does: "an epoch with the number 2^63-1 is announced, with and without a start, and a start with the counter 2^39 connects", Expected: "each is refused, and the right gateway goes on",
			Right: reads(acked(outcomeRejected, 17)).or(says("the hub said goodbye: reason [18]")), Control: weaken.EpochJump}, epochJump),
		atTheDoor(Attack{ID: "fence-other-content", Threat: "lose a reading without a word", Position: "a gateway's snapshot that was started twice",
			Does: "a second reading is sealed under the key and the number of one that is stored", Expected: "rejected and set aside: another chunk has this number",
			Right: reads(acked(outcomeRejected, 19)), Control: weaken.DuplicateContent}, otherContent),
	}
}

func restoredAfterRestart(ctx context.Context, d *doorway) (Result, error) {
	k, err := d.as(ctx, 9, 1)
	if err != nil {
		return Result{}, err
	}
	m, err := d.begin(9 << seal.CountBits)
	if err == nil {
		err = k.announce(m.said)
	}
	if err == nil {
		err = k.c.Close()
	}
	if err == nil {
		err = d.start(ctx)
	}
	if err != nil {
		return Result{}, err
	}
	_, err = d.as(ctx, 4, 2)
	return judge(err == nil, failure(err), "an older start delivers", "turned away", "%v", err)
}

func epochJump(ctx context.Context, d *doorway) (Result, error) {
	right, err := d.begin(7 << seal.CountBits)
	if err != nil {
		return Result{}, err
	}
	k, err := d.as(ctx, 7, 1)
	if err == nil {
		err = k.announce(right.said)
	}
	if err != nil {
		return Result{}, err
	}
	var seen []Seen
	for _, boot := range []uint64{7, 0} { // the same start, and none
		k, err := d.as(ctx, boot, 1)
		if err != nil {
			return Result{}, err
		}
		last, err := d.begin(1<<63 - 1)
		if err != nil {
			return Result{}, err
		}
		o, r, err := k.send(frameAnnouncement, last.said)
		if err != nil {
			return Result{}, err
		}
		if o == outcomeAccepted {
			return through("the highest number there is was taken", "outcome %d", o)
		}
		seen = append(seen, word("%s", acked(o, r))...)
	}
	if _, err = d.as(ctx, 1<<39, 3); err == nil {
		return through("a counter of 2^39 was taken", "after 7")
	}
	seen = append(seen, failure(err)...)
	next, err := d.begin(7<<seal.CountBits | 1)
	if err != nil {
		return Result{}, err
	}
	if k, err = d.as(ctx, 7, 1); err == nil {
		err = k.announce(next.said)
	}
	return judge(err != nil, seen, "the right gateway is silenced", "refused; the right gateway goes on", "%d refusals, then %v", len(seen), err)
}

func otherContent(ctx context.Context, d *doorway) (Result, error) {
	k, err := d.as(ctx, 3, 1)
	if err != nil {
		return Result{}, err
	}
	m, err := d.begin(3 << seal.CountBits)
	if err == nil {
		err = k.announce(m.said)
	}
	if err != nil {
		return Result{}, err
	}
	snapshot := *m.sealer
	b, err := m.chunk(time.Now())
	if err != nil {
		return Result{}, err
	}
	if o, r, err := k.send(frameEnvelope, b); err != nil || o != outcomeAccepted {
		return Result{}, fmt.Errorf("the first reading: outcome %d, reason %d: %w", o, r, err)
	}
	at := time.Now().UTC().Truncate(time.Millisecond)
	plain, err := vitals.Encode(vitals.Chunk{Signal: vitals.Numerics, Start: at, Bundles: []vitals.Bundle{{At: at,
		Numerics: []vitals.Numeric{{Kind: vitals.HeartRate, Value: 140, Quality: vitals.Good}}}}})
	if err != nil {
		return Result{}, err
	}
	other, _, err := snapshot.Seal(at, plain)
	if err != nil {
		return Result{}, err
	}
	o, r, err := k.send(frameEnvelope, other)
	if err != nil {
		return Result{}, err
	}
	delivery, err := d.store.Delivery(ctx)
	if err != nil {
		return Result{}, err
	}
	return judge(o != outcomeRejected || delivery.Quarantined != 1, word("%s", acked(o, r)), "the second reading is lost without a word", "rejected and set aside",
		"outcome %d, reason %d, %d set aside", o, r, delivery.Quarantined)
}
