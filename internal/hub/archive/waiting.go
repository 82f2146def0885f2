package archive

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math"
	"sync"
	"time"

	"vitalseal/internal/hub/archive/attribution"
	"vitalseal/internal/hub/archive/days"
	"vitalseal/internal/hub/sealdb"
	"vitalseal/internal/measurement/vitals"
	"vitalseal/internal/way/delivery"
	"vitalseal/internal/way/seal"
)

// WaitingStep is the part of the directory's schema about gateways' clocks, and about chunks that wait for the chart because their
// time is not sure. clock is by how many µs a time is ahead of the hub's; low and high are epoch numbers, both included.
const WaitingStep = `
CREATE TABLE clocks (
  sensor TEXT PRIMARY KEY, known INTEGER NOT NULL, clock INTEGER NOT NULL, error INTEGER NOT NULL, at INTEGER NOT NULL,
  waiting INTEGER NOT NULL DEFAULT 0, bytes INTEGER NOT NULL DEFAULT 0) WITHOUT ROWID;
CREATE TABLE waiting (
  id INTEGER PRIMARY KEY AUTOINCREMENT, sensor TEXT NOT NULL, signal INTEGER NOT NULL, epoch BLOB NOT NULL, number INTEGER NOT NULL,
  seq INTEGER NOT NULL, start INTEGER NOT NULL, received INTEGER NOT NULL, known INTEGER NOT NULL, clock INTEGER NOT NULL,
  sealed BLOB NOT NULL, UNIQUE (sensor, signal, epoch, seq));
CREATE INDEX waiting_by_number ON waiting (sensor, number, id);
CREATE TABLE clock_settled (
  sensor TEXT NOT NULL, low INTEGER NOT NULL, high INTEGER NOT NULL, clock INTEGER NOT NULL, person TEXT NOT NULL, at INTEGER NOT NULL,
  PRIMARY KEY (sensor, low, high)) WITHOUT ROWID;
`

// PgWaiting is WaitingStep in PostgreSQL. A settlement changes where chunks on their way belong, as a placement does.
var PgWaiting = sealdb.Step{Up: sealdb.Collated(`
CREATE TABLE clocks (
  sensor TEXT PRIMARY KEY, known BOOLEAN NOT NULL, clock BIGINT NOT NULL, error BIGINT NOT NULL, at BIGINT NOT NULL,
  waiting BIGINT NOT NULL DEFAULT 0, bytes BIGINT NOT NULL DEFAULT 0);
CREATE TABLE waiting (
  id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY, sensor TEXT NOT NULL, signal BIGINT NOT NULL, epoch BYTEA NOT NULL, number BIGINT NOT NULL,
  seq BIGINT NOT NULL, start BIGINT NOT NULL, received BIGINT NOT NULL, known BOOLEAN NOT NULL, clock BIGINT NOT NULL,
  sealed BYTEA NOT NULL, UNIQUE (sensor, signal, epoch, seq));
CREATE INDEX waiting_by_number ON waiting (sensor, number, id);
CREATE TABLE clock_settled (
  sensor TEXT NOT NULL, low BIGINT NOT NULL, high BIGINT NOT NULL, clock BIGINT NOT NULL, person TEXT NOT NULL, at BIGINT NOT NULL,
  PRIMARY KEY (sensor, low, high));
CREATE TRIGGER moved AFTER INSERT OR UPDATE OR DELETE ON clock_settled FOR EACH STATEMENT EXECUTE FUNCTION vitalseal_moved();
`), Down: "DROP TABLE clocks, waiting, clock_settled;"}

const (
	// maxWaiting bounds the chunks of one sensor that wait, more than a day of them; maxWaitingBytes those of all. Beyond, a gateway keeps
	// its chunks (Retry).
	maxWaiting      = 600_000
	maxWaitingBytes = 2 << 30
	// waitingBatch is how many commit together, and how many are released together.
	waitingBatch = 256
	// maxSettled bounds the settlements kept of one sensor; the oldest go first.
	maxSettled = 1000
)

// ReasonClock is the reason of a Retry: the time of a chunk is not sure, and no more may wait for the chart.
const ReasonClock = "time not sure, and no more chunks may wait for that"

// waiter is the one goroutine that puts chunks into the waiting place, so that those whose time is sure never wait for it.
type waiter struct {
	s     *Archive
	queue chan *days.Pending
	stop  chan struct{}
	done  chan struct{}

	mu     sync.RWMutex // guards closed; held for reading while a chunk is queued
	closed bool
}

func newWaiter(s *Archive) *waiter {
	return &waiter{s: s, queue: make(chan *days.Pending, waitingBatch), stop: make(chan struct{}), done: make(chan struct{})}
}

func (w *waiter) enqueue(ctx context.Context, p *days.Pending) error {
	w.mu.RLock()
	defer w.mu.RUnlock()
	if w.closed {
		return sealdb.ErrClosed
	}
	select {
	case w.queue <- p:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// close answers everything that is queued and ends the goroutine.
func (w *waiter) close() {
	w.mu.Lock()
	w.closed = true
	w.mu.Unlock()
	close(w.stop)
	<-w.done
}

func (w *waiter) run(ctx context.Context) {
	defer close(w.done)
	for {
		var batch []*days.Pending
		select {
		case p := <-w.queue:
			batch = append(batch, p)
		case <-w.stop:
			for len(w.queue) > 0 {
				batch = append(batch, <-w.queue)
			}
			w.commit(ctx, batch)
			return
		}
		quiet := time.NewTimer(w.s.opt.Linger / 5)
		for more := true; more && len(batch) < waitingBatch; {
			select {
			case p := <-w.queue:
				batch = append(batch, p)
			case <-quiet.C:
				more = false
			}
		}
		quiet.Stop()
		w.commit(ctx, batch)
	}
}

// commit makes a batch durable, then shows what is of the present and tells the callers.
func (w *waiter) commit(ctx context.Context, batch []*days.Pending) {
	if len(batch) == 0 {
		return
	}
	err := w.s.db.MayStore()
	if err == nil {
		err = sealdb.Transact(ctx, w.s.db.DB, func(tx *sql.Tx) error { return w.insert(ctx, tx, batch) })
	}
	if err != nil {
		w.s.unkept.Say(w.s.db.Log, w.s.db.Now(), len(batch), "chunks whose time is not sure were not stored; gateways keep them", "err", w.s.db.Explain(err))
	}
	for _, p := range batch {
		w.s.showUnsure(p)
		switch {
		case err != nil:
			p.Settled(delivery.Retry, "", sealdb.Named("append", err))
		case p.Outcome == delivery.Retry:
			p.Settled(delivery.Retry, ReasonClock, nil)
		default:
			p.Settled(p.Outcome, "", nil)
		}
	}
}

// showUnsure shows live, once, what is of the present, whether it could be stored or not: a monitor must not fall silent.
func (s *Archive) showUnsure(p *days.Pending) {
	if p.Live == nil || p.Outcome == delivery.Duplicate || !s.FirstShown(attribution.StreamKey{Sensor: p.Sensor, Signal: uint8(p.Signal), Epoch: p.Epoch.ID}, p.Seq) {
		return
	}
	u := *p.Live
	u.Durable = s.db.Now()
	s.NoteShown(u)
	s.watch.publish(u)
}

func (w *waiter) insert(ctx context.Context, tx *sql.Tx, batch []*days.Pending) error {
	type amount struct{ chunks, bytes int64 }
	var total int64
	if err := tx.QueryRowContext(ctx, "SELECT CAST(coalesce(sum(bytes), 0) AS BIGINT) FROM clocks").Scan(&total); err != nil {
		return err
	}
	there, added := map[string]int64{}, map[string]amount{}
	for _, p := range batch {
		if _, ok := there[p.Sensor]; !ok {
			var n int64
			if err := tx.QueryRowContext(ctx, "SELECT waiting FROM clocks WHERE sensor = ?", p.Sensor).Scan(&n); err != nil && !errors.Is(err, sql.ErrNoRows) {
				return err
			}
			there[p.Sensor] = n
		}
		a := added[p.Sensor]
		if there[p.Sensor]+a.chunks >= w.s.opt.MaxWaiting || total >= maxWaitingBytes {
			p.Outcome = delivery.Retry
			continue
		}
		var id int64
		err := tx.QueryRowContext(ctx, `INSERT INTO waiting (sensor, signal, epoch, number, seq, start, received, known, clock, sealed)
			VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING RETURNING id`, p.Sensor, int64(p.Signal), p.Epoch.ID[:], int64(p.Epoch.Number), // #nosec G115 -- prepare checked
			int64(p.Seq), p.Start, p.Received, p.Clock.Known, p.Clock.Offset.Microseconds(), p.Sealed).Scan(&id) // #nosec G115 -- prepare checked
		switch {
		case errors.Is(err, sql.ErrNoRows):
			p.Outcome = delivery.Duplicate
		case err != nil:
			return err
		default:
			p.Outcome = delivery.Accepted
			added[p.Sensor] = amount{a.chunks + 1, a.bytes + int64(len(p.Sealed))}
			total += int64(len(p.Sealed))
		}
	}
	for sensor, a := range added {
		if _, err := tx.ExecContext(ctx, `INSERT INTO clocks (sensor, known, clock, error, at, waiting, bytes) VALUES (?, ?, 0, 0, 0, ?, ?) ON CONFLICT (sensor)
			DO UPDATE SET waiting = clocks.waiting + excluded.waiting, bytes = clocks.bytes + excluded.bytes`, sensor, false, a.chunks, a.bytes); err != nil {
			return err
		}
	}
	return nil
}

// wait puts an arrival into the waiting place, under the key of no patient: whose it is will be known when its time is.
func (s *Archive) wait(ctx context.Context, p *days.Pending, a attribution.Arrival, h attribution.SensorHistory) error {
	// What was stored before its clock was found out is stored.
	known, err := s.Days.Holds(ctx, p)
	if err != nil || known {
		p.Outcome = delivery.Duplicate
		return err
	}
	key, err := s.db.Key(ctx, sealdb.PatientKey(sealdb.Unassigned))
	if err != nil {
		return err
	}
	p.Clock, p.Sealed = a.Clock, key.Seal(p.Encoded, days.ChunkData(p.Row, "waiting"))
	if u, ok := h.Present(a, s.db.Now()); ok {
		u.NotConfirmed = s.Listen(ctx, h, u.Sensor, u.Patient, u.Chunk)
		p.Live = &u
	}
	return nil
}

// waits reports whether a chunk is in the waiting place.
func (s *Archive) waits(ctx context.Context, p *days.Pending) (bool, error) {
	var n int
	err := s.db.QueryRowContext(ctx, "SELECT count(*) FROM waiting WHERE sensor = ? AND signal = ? AND epoch = ? AND seq = ?",
		p.Sensor, int64(p.Signal), p.Epoch.ID[:], int64(p.Seq)).Scan(&n) // #nosec G115 -- prepare checked
	return n > 0, err
}

// Settlement says by how much the times of a sensor's epochs were ahead of the hub's.
type Settlement struct {
	Low, High uint64        // epoch numbers, both included
	Ahead     time.Duration // below zero: behind
	// Measured: what waits is corrected by what was measured when each chunk came, and Ahead does not count. Where nothing
	// was measured, chunks go on waiting.
	Measured bool
	// By is who or what says so: a person's id, or "clock".
	By string
}

// SettleClock says what was wrong with a sensor's clock: chunks of those epochs that wait are corrected and stored with the patients
// whose they are, and later ones likewise, as long as their clock is off by that much. What was settled before stays as it is. It
// gives how many chunks were released; after an error the rest still waits, and the same call goes on.
func (s *Archive) SettleClock(ctx context.Context, sensor string, x Settlement) (released int, err error) {
	if err := errors.Join(sealdb.CheckIdentity("sensor", sensor), sealdb.CheckText("by", x.By, 1, sealdb.MaxID)); err != nil {
		return 0, sealdb.Named("settle clock", err)
	}
	if x.Low > x.High || x.High > math.MaxInt64 {
		return 0, sealdb.Named("settle clock", fmt.Errorf("%w: epoch numbers", sealdb.ErrInvalid))
	}
	low, high := int64(x.Low), int64(x.High) // #nosec G115 -- checked
	x.Ahead = x.Ahead.Truncate(time.Microsecond)
	if !x.Measured {
		err := s.db.InTx(ctx, func(tx *sql.Tx) error {
			if _, err := tx.ExecContext(ctx, "INSERT INTO clock_settled (sensor, low, high, clock, person, at) VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
				sensor, low, high, x.Ahead.Microseconds(), x.By, sealdb.Micro(s.db.Now())); err != nil {
				return err
			}
			_, err := tx.ExecContext(ctx, `DELETE FROM clock_settled WHERE sensor = ?1 AND at <
				(SELECT at FROM clock_settled WHERE sensor = ?1 ORDER BY at DESC LIMIT 1 OFFSET ?2)`, sensor, maxSettled)
			return err
		})
		if err != nil {
			return 0, sealdb.Named("settle clock", err)
		}
		s.db.PlacesChanged()
	}
	s.releasing.Lock()
	defer s.releasing.Unlock()
	for after := int64(-1); ; {
		rows, err := s.waitingRows(ctx, "sensor = ? AND number >= ? AND number <= ? AND id > ? ORDER BY id LIMIT ?", sensor, low, high, after, waitingBatch)
		if err == nil && len(rows) == 0 && released > 0 {
			s.ForgetShown(sensor) // the chart has it now
		}
		if err != nil || len(rows) == 0 {
			return released, sealdb.Named("settle clock", err)
		}
		after = rows[len(rows)-1].id
		n, err := s.release(ctx, sensor, rows, x)
		released += n
		if err != nil {
			return released, sealdb.Named("settle clock", err)
		}
	}
}

// waitingRow is a chunk in the waiting place.
type waitingRow struct {
	id int64
	days.Row
	received int64
	known    bool
	clock    time.Duration
	sealed   []byte
}

// arrival is what it came as.
func (r waitingRow) arrival(c vitals.Chunk, clock attribution.Clock) attribution.Arrival {
	return attribution.Arrival{Sensor: r.Sensor, Chunk: c, Received: sealdb.FromMicro(r.received), Clock: clock,
		Header: seal.Header{Sensor: r.Sensor, Signal: uint8(r.Signal), Epoch: r.Epoch, Seq: r.Seq, Start: sealdb.FromMicro(r.Start)}}
}

// waitingRows are the chunks in the waiting place that a condition, a constant of the caller, picks.
func (s *Archive) waitingRows(ctx context.Context, where string, args ...any) (all []waitingRow, err error) {
	err = sealdb.Each(ctx, s.db, "SELECT id, sensor, signal, epoch, number, seq, start, received, known, clock, sealed FROM waiting WHERE "+where, func(rows *sql.Rows) error {
		var x waitingRow
		var signal uint8
		var epoch []byte
		var number, seq, clock int64
		if err := rows.Scan(&x.id, &x.Sensor, &signal, &epoch, &number, &seq, &x.Start, &x.received, &x.known, &clock, &x.sealed); err != nil {
			return err
		}
		copy(x.Epoch.ID[:], epoch)
		x.Signal, x.Epoch.Number, x.Seq = vitals.Signal(signal), uint64(number), uint64(seq) // #nosec G115 -- never stored negative
		x.clock = time.Duration(clock) * time.Microsecond
		all = append(all, x)
		return nil
	}, args...)
	return all, err
}

// release stores waiting chunks with their patients and takes them out of the waiting place. Interrupted, it is done again: the
// archive knows what it has.
func (s *Archive) release(ctx context.Context, sensor string, rows []waitingRow, x Settlement) (released int, err error) {
	key, err := s.db.Key(ctx, sealdb.PatientKey(sealdb.Unassigned))
	if err != nil {
		return 0, err
	}
	h, err := s.PlacesOf(ctx, sensor)
	if err != nil {
		return 0, err
	}
	type answer struct {
		outcome delivery.Outcome
		err     error
	}
	answers := make(chan answer, len(rows))
	var gone []int64
	var bytes int64
	waiting := 0
	for _, r := range rows {
		ahead := x.Ahead
		if x.Measured {
			ahead = r.clock
		} else if settled, ok := h.SettledFor(r.Epoch.Number); ok {
			ahead = settled // an older settlement counts
		}
		if x.Measured && !r.known {
			continue
		}
		c, err := days.OpenChunk(key, r.Row, "waiting", r.sealed)
		if err != nil {
			return 0, err
		}
		a := r.arrival(c, attribution.Clock{})
		gone, bytes = append(gone, r.id), bytes+int64(len(r.sealed))
		waiting++
		p, outcome, _, err := s.place(ctx, a, h, ahead)
		if p == nil {
			answers <- answer{outcome, err}
			continue
		}
		p.Settled = func(o delivery.Outcome, _ string, err error) { answers <- answer{o, err} }
		if err := s.write.enqueue(ctx, p); err != nil {
			answers <- answer{delivery.Retry, err}
		}
	}
	for range waiting {
		got := <-answers
		if got.err == nil && got.outcome == delivery.Retry {
			got.err = errors.New("the store puts it off")
		}
		err = errors.Join(err, got.err)
	}
	if err != nil {
		return 0, err
	}
	return len(gone), sealdb.Transact(ctx, s.db.DB, func(tx *sql.Tx) error {
		taken := int64(0)
		for _, id := range gone {
			r, err := tx.ExecContext(ctx, "DELETE FROM waiting WHERE id = ?", id)
			if err != nil {
				return err
			}
			n, err := r.RowsAffected()
			if err != nil {
				return err
			}
			taken += n
		}
		if taken < int64(len(gone)) {
			bytes = bytes * taken / int64(len(gone)) // another hub took some
		}
		_, err := tx.ExecContext(ctx, "UPDATE clocks SET waiting = waiting - ?, bytes = bytes - ? WHERE sensor = ?", taken, bytes, sensor)
		return err
	})
}

// Waiting tells how many chunks of a sensor wait, and which epochs they are of.
func (s *Archive) Waiting(ctx context.Context, sensor string) (w WaitingChunks, err error) {
	var low, high, first *int64
	err = s.db.QueryRowContext(ctx, `SELECT coalesce((SELECT waiting FROM clocks WHERE sensor = ?1), 0),
		(SELECT number FROM waiting WHERE sensor = ?1 ORDER BY number LIMIT 1), (SELECT number FROM waiting WHERE sensor = ?1 ORDER BY number DESC LIMIT 1),
		(SELECT start FROM waiting WHERE sensor = ?1 ORDER BY number, id LIMIT 1)`, sensor).Scan(&w.Chunks, &low, &high, &first)
	if err == nil && low != nil && high != nil && first != nil {
		w.Low, w.High, w.First = uint64(*low), uint64(*high), sealdb.FromMicro(*first) // #nosec G115 -- never stored negative
	}
	return w, sealdb.Named("waiting", err)
}

// WaitingChunks are the chunks of a sensor that wait for the chart.
type WaitingChunks struct {
	Chunks    int64
	Low, High uint64    // epoch numbers
	First     time.Time // the start of the first of the lowest epoch, by the gateway's clock
}
