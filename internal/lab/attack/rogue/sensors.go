// Package rogue is sensors that an attacker has enrolled honestly, and what they say to ingest.
//
// [Dial] connects as an enrolled identity, a [Talk] writes and reads the frames of
// doc/formats/ingest.md by hand, and a [Stream] seals chunks as a gateway does. A [Liar] is a
// changed OpenZiti client. It hides nothing from the attack that uses it: each frame can be a wrong
// one.
package rogue

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"vitalseal/internal/lab/attack"
	"vitalseal/internal/measurement/vitals"
	"vitalseal/internal/way/overlay"
	"vitalseal/internal/way/overlay/openziti"
	"vitalseal/internal/way/seal"
)

// Sensors are two sensors that the attacker has enrolled honestly, on a gateway of their own, each
// dialled as itself: "one", "two" and "gateway".
type Sensors struct {
	IDs map[string]*overlay.Identity
}

// Shared are the sensors that all attacks on t use, enrolled once.
func Shared(ctx context.Context, t *attack.Target) (*Sensors, error) {
	return attack.Shared(t, func() (*Sensors, error) { return Enrol(ctx, t) })
}

// Enrol enrols a gateway with two sensors.
func Enrol(ctx context.Context, t *attack.Target) (*Sensors, error) {
	gw := t.Name("gw-rogue-")
	sensor := func(id string) map[string]string {
		return map[string]string{"id": gw + "-" + id, "model": "MAX30100", "serial": "rogue-" + gw + id}
	}
	ids, err := t.Enrol(ctx, "gateways", map[string]any{"id": gw, "sensors": []map[string]string{sensor("one"), sensor("two")}})
	if err != nil {
		return nil, err
	}
	r := &Sensors{IDs: map[string]*overlay.Identity{}}
	for _, id := range ids {
		name := id.ID().Name
		switch name {
		case gw:
			r.IDs["gateway"] = id
		case gw + "-one":
			r.IDs["one"] = id
		default:
			r.IDs["two"] = id
		}
	}
	if len(r.IDs) != 3 {
		return nil, fmt.Errorf("%d identities enrolled, want 3", len(r.IDs))
	}
	return r, nil
}

// Dial connects as an enrolled identity, as far as the hub's hello.
func Dial(ctx context.Context, t *attack.Target, id *overlay.Identity) (*Talk, error) {
	ep, err := openziti.Connect(ctx, id, t.Log)
	if err != nil {
		return nil, err
	}
	return Greet(ctx, t, ep)
}

// Greet dials ingest, as far as the hub's hello. The endpoint is closed at the end.
func Greet(ctx context.Context, t *attack.Target, ep overlay.Endpoint) (*Talk, error) {
	t.AtEnd(ep.Close)
	var c *overlay.Conn
	if err := attack.Await(ctx, func() (err error) { // what it may reach takes the overlay a moment to learn
		c, err = ep.Dial(ctx, overlay.ServiceIngest)
		return err
	}); err != nil {
		return nil, err
	}
	k := &Talk{Conn: c}
	if err := c.SetDeadline(time.Now().Add(15 * time.Second)); err != nil {
		return nil, err
	}
	if err := k.Write(FrameHello, append([]byte("vsin\x01"), 0, 0, 0x75, 0x30)); err != nil {
		return nil, err
	}
	kind, body, err := k.Read()
	if err != nil {
		return nil, fmt.Errorf("hello: %w", err)
	}
	if kind != FrameHello {
		return nil, fmt.Errorf("%w: frame %d, %x", ErrGoodbye, kind, body)
	}
	return k, nil
}

// Stream is one stream of a rogue sensor: what it announces and a way to seal.
type Stream struct {
	Sealer       *seal.Sealer
	Announcement []byte
}

// Begin begins a stream in the name as, sealed to the hub's key as the identity holds it.
func Begin(id *overlay.Identity, as string, number uint64) (*Stream, error) {
	to, err := seal.ParseRecipient(id.Recipient())
	if err != nil {
		return nil, err
	}
	s, said, err := seal.NewSealer(to, as, uint8(vitals.Numerics), number)
	return &Stream{s, said}, err
}

// HeartRate is a chunk with a heart rate of 66 /min, whose last eight bytes are that number.
func HeartRate(at time.Time) (plain []byte, start time.Time, err error) {
	return HeartRateAs(at, vitals.Good)
}

// HeartRateAs is [HeartRate] of another quality.
func HeartRateAs(at time.Time, quality vitals.Quality) (plain []byte, start time.Time, err error) {
	at = at.UTC().Truncate(time.Millisecond)
	plain, err = vitals.Encode(vitals.Chunk{Signal: vitals.Numerics, Start: at, Bundles: []vitals.Bundle{{At: at,
		Numerics: []vitals.Numeric{{Kind: vitals.HeartRate, Value: 66, Quality: quality}}}}})
	return plain, at, err
}

// Chunk is a sealed heart rate.
func (m *Stream) Chunk(when time.Time) ([]byte, error) {
	plain, at, err := HeartRate(when)
	if err != nil {
		return nil, err
	}
	b, _, err := m.Sealer.Seal(at, plain)
	return b, err
}

// NextEpoch is a number that no epoch had before.
func NextEpoch(t *attack.Target) uint64 {
	return uint64(t.Next()) << 20 // #nosec G115 -- counts from 1
}

// Noise are the same random bytes each time.
func Noise(seed int) []byte {
	r := rand.New(rand.NewPCG(1, uint64(seed))) // #nosec G404 G115 -- repeatable noise, no secret
	b := make([]byte, 1+r.IntN(400))
	for i := range b {
		b[i] = byte(r.Uint32()) // #nosec G115 -- eight of the bits
	}
	return b
}
