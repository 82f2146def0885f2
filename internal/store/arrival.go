package store

import (
	"context"
	"database/sql"
	"encoding/binary"
	"errors"
	"math"
	"time"

	"vitalseal/internal/access"
	"vitalseal/internal/delivery"
	"vitalseal/internal/seal"
	"vitalseal/internal/vitals"
)

// Arrival is a chunk that ingest has authenticated and opened.
type Arrival struct {
	Sensor   string // SPIFFE id of the peer that sent it
	Header   seal.Header
	Chunk    vitals.Chunk
	Encoded  []byte // what vitals.Decode made Chunk of, not changed afterwards; nil: Chunk was made here and is encoded here
	Received time.Time
	Clock    Clock // by which its times were read
}

// The reasons of Rejected, and of the Retry that a disabled sensor gets.
const (
	ReasonTime     = "implausible time"
	ReasonSamples  = "samples too far from the chunk's start"
	ReasonHeader   = "chunk does not match its header"
	ReasonMalform  = "chunk cannot be encoded"
	ReasonDisabled = "sensor is disabled"
	ReasonDeleted  = "sensor is deleted"
)

// maxSpan bounds how far samples lie from their chunk's start, and so which partitions a range of time concerns.
const maxSpan = 10 * time.Minute

// Append stores one chunk under the key of the patient it belongs to, together with its share of the minute trends, and
// returns when that is fsynced; concurrent calls share a commit. The grant must allow access.AppendVitals on the system.
// Each sample belongs to the patient who lay at its time in the bed where its sensor then was, else to Unassigned: a chunk that
// reaches over such a boundary is split there. An error comes with Retry only and says why.
func (s *Store) Append(ctx context.Context, g access.Grant, a Arrival) (delivery.Outcome, string, error) {
	type result struct {
		outcome delivery.Outcome
		reason  string
		err     error
	}
	done := make(chan result, 1)
	s.Hand(ctx, g, a, func(o delivery.Outcome, reason string, err error) { done <- result{o, reason, err} })
	select {
	case r := <-done:
		return r.outcome, r.reason, r.err
	case <-ctx.Done():
		// It may commit all the same; the sender sends again and hears Duplicate.
		return delivery.Retry, "", ctx.Err()
	}
}

// Hand is Append for who does not wait: settled is called once, with what Append would return, from this goroutine or from
// the store's writer. It must not block.
func (s *Store) Hand(ctx context.Context, g access.Grant, a Arrival, settled func(delivery.Outcome, string, error)) {
	p, outcome, reason, err := s.receive(ctx, g, a)
	if p == nil {
		settled(outcome, reason, err)
		return
	}
	p.settled = settled
	enqueue := s.write.enqueue
	if p.key == (seal.Key{}) { // no owner's yet
		enqueue = s.waiter.enqueue
	}
	if err := enqueue(ctx, p); err != nil {
		settled(delivery.Retry, "", named("append", err))
	}
}

// receive makes an arrival ready for the writer, or says what became of it.
func (s *Store) receive(ctx context.Context, g access.Grant, a Arrival) (*pending, delivery.Outcome, string, error) {
	if err := s.allowed(g, access.AppendVitals, access.OnSystem()); err != nil {
		return nil, delivery.Retry, "", named("append", err)
	}
	if err := checkIdentity("sensor", a.Sensor); err != nil {
		return nil, delivery.Retry, "", named("append", err)
	}
	h, err := s.placesOf(ctx, a.Sensor)
	if err != nil {
		return nil, delivery.Retry, "", named("append: attribute", err)
	}
	ahead, wait := h.judge(a)
	if !wait || h.state == DeviceDisabled || h.state == DeviceDeleted {
		p, outcome, reason, err := s.place(ctx, a, h, ahead)
		if p != nil && a.Clock.Judged && s.unsure.waiting(a.Sensor) { // it may have come before its clock was found out
			if known, err := s.waits(ctx, p); known || err != nil {
				return nil, delivery.Duplicate, "", named("append", err)
			}
		}
		return p, outcome, reason, err
	}
	p, reason := s.prepare(a, 0, false)
	if reason != "" {
		return s.reject(ctx, a, reason)
	}
	if err := s.wait(ctx, p, a, h); err != nil {
		return nil, delivery.Retry, "", named("append: wait", err)
	}
	if p.outcome == delivery.Duplicate {
		return nil, delivery.Duplicate, "", nil
	}
	s.unsure.waits(a.Sensor)
	return p, 0, "", nil
}

// place makes an arrival whose times are ahead by so much ready for the writer, or says what became of it.
func (s *Store) place(ctx context.Context, a Arrival, h sensorHistory, ahead time.Duration) (*pending, delivery.Outcome, string, error) {
	p, reason := s.prepare(a, ahead, true)
	if reason == "" {
		switch h.state {
		case DeviceDisabled:
			return nil, delivery.Retry, ReasonDisabled, nil
		case DeviceDeleted:
			reason = ReasonDeleted
		}
	}
	if reason != "" {
		return s.reject(ctx, a, reason)
	}
	if err := s.seal(ctx, p, h); err != nil {
		return nil, delivery.Retry, "", named("append: key", err)
	}
	for _, x := range append([]*pending{p}, p.parts...) {
		x.inQuestion = s.listen(ctx, h, x.sensor, x.subject, x.chunk)
	}
	return p, 0, "", nil
}

// reject sets an arrival aside for good.
func (s *Store) reject(ctx context.Context, a Arrival, reason string) (*pending, delivery.Outcome, string, error) {
	if err := s.setAside(ctx, a, reason); err != nil {
		return nil, delivery.Retry, "", named("append: quarantine", err)
	}
	return nil, delivery.Rejected, reason, nil
}

// row is what identifies a stored chunk; all of it is bound to the sealed bytes.
type row struct {
	sensor string
	signal vitals.Signal
	epoch  seal.Epoch
	seq    uint64
	start  int64
}

// pending is an arrival on its way through the writer.
type pending struct {
	row
	partition   string
	first, last int64 // µs of the earliest and the latest sample
	received    int64
	subject     string
	places      int64 // the generation that says so
	key         seal.Key
	encoded     []byte
	sealed      []byte
	chunk       vitals.Chunk
	header      seal.Header
	clock       Clock      // of one that waits
	live        *Update    // what of one that waits is shown now
	parts       []*pending // later shares of a chunk that was split, stored with it or not at all
	inQuestion  bool       // whether it is of the patient is not confirmed
	outcome     delivery.Outcome
	settled     func(delivery.Outcome, string, error) // called by the writer, once
}

// prepare checks an arrival and brings it into the form of its row, its times corrected by what they are ahead, or says why it can
// never be stored. Times that are not sure are not looked at.
func (s *Store) prepare(a Arrival, ahead time.Duration, sure bool) (*pending, string) {
	h, c := a.Header, a.Chunk
	if !c.Signal.Valid() || vitals.Signal(h.Signal) != c.Signal || h.Sensor != a.Sensor ||
		h.Start.UnixMicro() != c.Start.UnixMicro() || h.Seq > math.MaxInt64 || h.Epoch.Number > math.MaxInt64 {
		return nil, ReasonHeader
	}
	c = shifted(c, ahead)
	start, now := h.Start.UTC().Add(-ahead), s.now()
	//defence:clock implausible times are refused
	if sure && (start.Before(now.Add(-s.opt.maxAge)) || start.After(now.Add(s.opt.maxAhead))) {
		return nil, ReasonTime
	}
	first, last := sampleSpan(c)
	if first.Before(c.Start.Add(-maxSpan)) || last.After(c.Start.Add(maxSpan)) {
		return nil, ReasonSamples
	}
	encoded := a.Encoded
	if ahead != 0 || !encodes(encoded, c) { // moved in time, or made here
		var err error
		if encoded, err = vitals.Encode(c); err != nil {
			return nil, ReasonMalform
		}
	}
	return &pending{
		row:       row{a.Sensor, c.Signal, h.Epoch, h.Seq, micro(start)},
		partition: partitionOf(start),
		first:     micro(first), last: micro(last), received: micro(a.Received),
		encoded: encoded, chunk: c, header: h,
	}, ""
}

// encodes says whether an encoding can be that of c, by what stands at its start. Decode takes the canonical encoding only, so that
// the chunk it returned need not be encoded again to get the same bytes; an encoding that is given with another chunk is a
// fault of the caller and not used.
func encodes(encoded []byte, c vitals.Chunk) bool {
	signal, start, err := vitals.Peek(encoded)
	return err == nil && signal == c.Signal && start.Equal(c.Start)
}

// sampleSpan is the time of the earliest and the latest sample; a waveform's end is just after its last one.
func sampleSpan(c vitals.Chunk) (first, last time.Time) {
	first, last = c.Start, c.End()
	for _, b := range c.Bundles {
		first, last = earlier(first, b.At), later(last, b.At)
	}
	for _, e := range c.Events {
		first, last = earlier(first, e.At), later(last, e.At)
	}
	return first, later(first, last)
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// chunkData is the associated data of a stored chunk: moved to another row or patient, it does not open.
func chunkData(r row, subject string) []byte {
	b := associated("chunk", r.sensor, subject)
	b = append(b, byte(r.signal))
	b = append(b, r.epoch.ID[:]...)
	b = binary.BigEndian.AppendUint64(b, r.epoch.Number)
	b = binary.BigEndian.AppendUint64(b, r.seq)
	return binary.BigEndian.AppendUint64(b, uint64(r.start)) // #nosec G115 -- the bits, not the number
}

// associated spells what a sealed value is and where it belongs; lengths in front keep two lists apart.
func associated(what string, where ...string) []byte {
	b := append([]byte("vitalseal store v1 "), what...)
	for _, w := range where {
		b = binary.BigEndian.AppendUint16(b, uint16(len(w))) // #nosec G115 -- ids are bounded by validation
		b = append(b, w...)
	}
	return b
}

// maxQuarantine bounds what is set aside; the oldest goes first.
const maxQuarantine = 10_000

// setAside keeps a rejected chunk, durably, because its sender will now forget it. Sent again it is not kept again.
func (s *Store) setAside(ctx context.Context, a Arrival, reason string) error {
	key, err := s.key(ctx, patientKey(Unassigned))
	if err != nil {
		return err
	}
	encoded := a.Encoded
	if !encodes(encoded, a.Chunk) {
		encoded, err = vitals.Encode(a.Chunk)
	}
	if err != nil {
		encoded = nil // it cannot be kept in our format; that it came, and why it was refused, can
	}
	epoch, seq, start := a.Header.Epoch.ID, a.Header.Seq, a.Header.Start.UnixMicro()
	where := chunkData(row{a.Sensor, vitals.Signal(a.Header.Signal), a.Header.Epoch, seq, start}, "quarantine")
	var id int64
	err = s.inTx(ctx, func(tx *sql.Tx) error {
		return tx.QueryRowContext(ctx, `INSERT INTO quarantine (sensor, signal, epoch, seq, start, received, reason, sealed)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING RETURNING id`,
			a.Sensor, a.Header.Signal, epoch[:], int64(seq), start, micro(a.Received), reason, key.Seal(encoded, where)).Scan(&id) // #nosec G115 -- the bits are the key
	})
	if errors.Is(err, sql.ErrNoRows) { // it is there
		return nil
	}
	if err != nil || id%64 != 0 { // trimming now and then is enough for a bound
		return err
	}
	_, err = s.db.ExecContext(ctx, "DELETE FROM quarantine WHERE id <= ?", id-maxQuarantine)
	return err
}

// Quarantined is one rejected chunk that was set aside.
type Quarantined struct {
	Sensor, Signal  string
	Seq             uint64
	Start, Received time.Time
	Reason          string
}

// Quarantine lists what was set aside, newest first, at most limit (1 to 10,000).
func (s *Store) Quarantine(ctx context.Context, limit int) ([]Quarantined, error) {
	rows, err := s.db.QueryContext(ctx, "SELECT sensor, signal, seq, start, received, reason FROM quarantine ORDER BY id DESC LIMIT ?",
		min(max(limit, 1), maxQuarantine))
	if err != nil {
		return nil, named("quarantine", err)
	}
	var all []Quarantined
	for rows.Next() {
		var q Quarantined
		var signal uint8
		var seq, start, received int64
		if err := rows.Scan(&q.Sensor, &signal, &seq, &start, &received, &q.Reason); err != nil {
			return nil, named("quarantine", errors.Join(err, rows.Close()))
		}
		q.Signal, q.Seq = vitals.Signal(signal).String(), uint64(seq) // #nosec G115 -- the bits are the key
		q.Start, q.Received = fromMicro(start), fromMicro(received)
		all = append(all, q)
	}
	return all, named("quarantine", rows.Err())
}
