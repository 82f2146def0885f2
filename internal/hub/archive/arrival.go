package archive

import (
	"context"
	"database/sql"
	"errors"
	"math"
	"time"

	"vitalseal/internal/hub/access"
	"vitalseal/internal/hub/archive/attribution"
	"vitalseal/internal/hub/archive/days"
	"vitalseal/internal/hub/directory"
	"vitalseal/internal/hub/sealdb"
	"vitalseal/internal/measurement/vitals"
	"vitalseal/internal/way/delivery"
	"vitalseal/internal/way/seal"
)

// The reasons of Rejected, and of the Retry that a disabled sensor gets.
const (
	ReasonTime     = "implausible time"
	ReasonSamples  = "samples too far from the chunk's start"
	ReasonHeader   = "chunk does not match its header"
	ReasonMalform  = "chunk cannot be encoded"
	ReasonDisabled = "sensor is disabled"
	ReasonDeleted  = "sensor is deleted"
)

// Append stores one chunk under the key of the patient it belongs to, together with its share of the minute trends, and
// returns when that is fsynced; concurrent calls share a commit. The grant must allow access.AppendVitals on the system.
// Each sample belongs to the patient who lay at its time in the bed where its sensor then was, else to Unassigned: a chunk that
// reaches over such a boundary is split there. An error comes with Retry only and says why.
func (s *Archive) Append(ctx context.Context, g access.Grant, a attribution.Arrival) (delivery.Outcome, string, error) {
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
func (s *Archive) Hand(ctx context.Context, g access.Grant, a attribution.Arrival, settled func(delivery.Outcome, string, error)) {
	p, outcome, reason, err := s.receive(ctx, g, a)
	if p == nil {
		settled(outcome, reason, err)
		return
	}
	p.Settled = settled
	enqueue := s.write.enqueue
	if p.Key == (seal.Key{}) { // no owner's yet
		enqueue = s.waiter.enqueue
	}
	if err := enqueue(ctx, p); err != nil {
		settled(delivery.Retry, "", sealdb.Named("append", err))
	}
}

// receive makes an arrival ready for the writer, or says what became of it.
func (s *Archive) receive(ctx context.Context, g access.Grant, a attribution.Arrival) (*days.Pending, delivery.Outcome, string, error) {
	if err := s.db.Allowed(g, access.AppendVitals, access.OnSystem()); err != nil {
		return nil, delivery.Retry, "", sealdb.Named("append", err)
	}
	if err := sealdb.CheckIdentity("sensor", a.Sensor); err != nil {
		return nil, delivery.Retry, "", sealdb.Named("append", err)
	}
	h, err := s.PlacesOf(ctx, a.Sensor)
	if err != nil {
		return nil, delivery.Retry, "", sealdb.Named("append: attribute", err)
	}
	ahead, wait := h.Judge(a)
	if !wait || h.State == directory.DeviceDisabled || h.State == directory.DeviceDeleted {
		p, outcome, reason, err := s.place(ctx, a, h, ahead)
		if p != nil && a.Clock.Judged && s.MayWait(a.Sensor) { // it may have come before its clock was found out
			if known, err := s.waits(ctx, p); known || err != nil {
				return nil, delivery.Duplicate, "", sealdb.Named("append", err)
			}
		}
		return p, outcome, reason, err
	}
	p, reason := s.prepare(a, 0, false)
	if reason != "" {
		return s.reject(ctx, a, reason)
	}
	if err := s.wait(ctx, p, a, h); err != nil {
		return nil, delivery.Retry, "", sealdb.Named("append: wait", err)
	}
	if p.Outcome == delivery.Duplicate {
		return nil, delivery.Duplicate, "", nil
	}
	s.NoteWaiting(a.Sensor)
	return p, 0, "", nil
}

// place makes an arrival whose times are ahead by so much ready for the writer, or says what became of it.
func (s *Archive) place(ctx context.Context, a attribution.Arrival, h attribution.SensorHistory, ahead time.Duration) (*days.Pending, delivery.Outcome, string, error) {
	p, reason := s.prepare(a, ahead, true)
	if reason == "" {
		switch h.State {
		case directory.DeviceDisabled:
			return nil, delivery.Retry, ReasonDisabled, nil
		case directory.DeviceDeleted:
			reason = ReasonDeleted
		}
	}
	if reason != "" {
		return s.reject(ctx, a, reason)
	}
	if err := s.seal(ctx, p, h); err != nil {
		return nil, delivery.Retry, "", sealdb.Named("append: key", err)
	}
	for _, x := range append([]*days.Pending{p}, p.Parts...) {
		x.InQuestion = s.Listen(ctx, h, x.Sensor, x.Subject, x.Chunk)
	}
	return p, 0, "", nil
}

// reject sets an arrival aside for good.
func (s *Archive) reject(ctx context.Context, a attribution.Arrival, reason string) (*days.Pending, delivery.Outcome, string, error) {
	if err := s.setAside(ctx, a, reason); err != nil {
		return nil, delivery.Retry, "", sealdb.Named("append: quarantine", err)
	}
	return nil, delivery.Rejected, reason, nil
}

// prepare checks an arrival and brings it into the form of its row, its times corrected by what they are ahead, or says why it can
// never be stored. Times that are not sure are not looked at.
func (s *Archive) prepare(a attribution.Arrival, ahead time.Duration, sure bool) (*days.Pending, string) {
	h, c := a.Header, a.Chunk
	if !c.Signal.Valid() || vitals.Signal(h.Signal) != c.Signal || h.Sensor != a.Sensor ||
		h.Start.UnixMicro() != c.Start.UnixMicro() || h.Seq > math.MaxInt64 || h.Epoch.Number > math.MaxInt64 {
		return nil, ReasonHeader
	}
	c = attribution.Shifted(c, ahead)
	start, now := h.Start.UTC().Add(-ahead), s.db.Now()
	//defence:clock implausible times are refused
	if sure && (start.Before(now.Add(-s.opt.MaxAge)) || start.After(now.Add(s.opt.MaxAhead))) {
		return nil, ReasonTime
	}
	first, last := attribution.SampleSpan(c)
	if first.Before(c.Start.Add(-attribution.MaxSpan)) || last.After(c.Start.Add(attribution.MaxSpan)) {
		return nil, ReasonSamples
	}
	encoded := a.Encoded
	if ahead != 0 || !encodes(encoded, c) { // moved in time, or made here
		var err error
		if encoded, err = vitals.Encode(c); err != nil {
			return nil, ReasonMalform
		}
	}
	return &days.Pending{
		Row:       days.Row{Sensor: a.Sensor, Signal: c.Signal, Epoch: h.Epoch, Seq: h.Seq, Start: sealdb.Micro(start)},
		Partition: days.PartitionOf(start),
		First:     sealdb.Micro(first), Last: sealdb.Micro(last), Received: sealdb.Micro(a.Received),
		Encoded: encoded, Chunk: c, Header: h,
	}, ""
}

// encodes says whether an encoding can be that of c, by what stands at its start. Decode takes the canonical encoding only, so that
// the chunk it returned need not be encoded again to get the same bytes; an encoding that is given with another chunk is a
// fault of the caller and not used.
func encodes(encoded []byte, c vitals.Chunk) bool {
	signal, start, err := vitals.Peek(encoded)
	return err == nil && signal == c.Signal && start.Equal(c.Start)
}

// maxQuarantine bounds what is set aside; the oldest goes first.
const maxQuarantine = 10_000

// setAside keeps a rejected chunk, durably, because its sender will now forget it. Sent again it is not kept again.
func (s *Archive) setAside(ctx context.Context, a attribution.Arrival, reason string) error {
	key, err := s.db.Key(ctx, sealdb.PatientKey(sealdb.Unassigned))
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
	where := days.ChunkData(days.Row{Sensor: a.Sensor, Signal: vitals.Signal(a.Header.Signal), Epoch: a.Header.Epoch, Seq: seq, Start: start}, "quarantine")
	var id int64
	err = s.db.InTx(ctx, func(tx *sql.Tx) error {
		return tx.QueryRowContext(ctx, `INSERT INTO quarantine (sensor, signal, epoch, seq, start, received, reason, sealed)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING RETURNING id`,
			a.Sensor, a.Header.Signal, epoch[:], int64(seq), start, sealdb.Micro(a.Received), reason, key.Seal(encoded, where)).Scan(&id) // #nosec G115 -- the bits are the key
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
func (s *Archive) Quarantine(ctx context.Context, limit int) ([]Quarantined, error) {
	rows, err := s.db.QueryContext(ctx, "SELECT sensor, signal, seq, start, received, reason FROM quarantine ORDER BY id DESC LIMIT ?",
		min(max(limit, 1), maxQuarantine))
	if err != nil {
		return nil, sealdb.Named("quarantine", err)
	}
	var all []Quarantined
	for rows.Next() {
		var q Quarantined
		var signal uint8
		var seq, start, received int64
		if err := rows.Scan(&q.Sensor, &signal, &seq, &start, &received, &q.Reason); err != nil {
			return nil, sealdb.Named("quarantine", errors.Join(err, rows.Close()))
		}
		q.Signal, q.Seq = vitals.Signal(signal).String(), uint64(seq) // #nosec G115 -- the bits are the key
		q.Start, q.Received = sealdb.FromMicro(start), sealdb.FromMicro(received)
		all = append(all, q)
	}
	return all, sealdb.Named("quarantine", rows.Err())
}
