package store

import (
	"context"
	"database/sql"
	"errors"
	"strconv"
	"strings"
	"time"

	"vitalseal/internal/seal"
	"vitalseal/internal/vitals"
)

// follower publishes the chunks that other hubs on the same database commit to this hub's subscriptions. It reads on from where it was, so that a notice that got lost costs time, no chunk; what it
// could not read before it went into a block is told to the subscriptions as lag.
type follower struct {
	s   *Archive
	hub int64

	// Only the goroutine that listens touches these.
	base    int64            // ids up to it were given before we looked
	cursors map[source]int64 // the newest ids that were read
	fresh   map[source]bool  // what a notice named
	last    time.Time        // when all was read last
	looked  time.Time        // when discover looked last
	unsure  int64            // the newest chunk in the waiting place that was looked at
	asked   time.Time        // when that was
}

// source is what a hub stores of a day.
type source struct {
	day string
	hub int64
}

const (
	followEvery = time.Second // without a notice
	followBatch = 2000        // chunks a reading; more follow at once
	followLag   = settled - 5*time.Second
)

func newFollower(ctx context.Context, s *Archive, hub int64) (*follower, error) {
	f := &follower{s: s, hub: hub, cursors: map[source]int64{}, fresh: map[source]bool{}, last: time.Now()}
	err := s.db.QueryRowContext(ctx, "SELECT CASE WHEN is_called THEN last_value ELSE last_value - 1 END FROM recent_ids").Scan(&f.base)
	return f, err
}

// begin implements noticed: any day may have chunks.
func (f *follower) begin(ctx context.Context) error { return f.discover(ctx, f.s.opt.MaxAge) }

// idle implements noticed: a notice may have got lost.
func (f *follower) idle(ctx context.Context) error {
	if time.Since(f.looked) > followEvery {
		return f.discover(ctx, 24*time.Hour)
	}
	return nil
}

// discover finds who has stored chunks of the days that began so long ago or later.
func (f *follower) discover(ctx context.Context, age time.Duration) error {
	f.looked = time.Now()
	names, err := f.s.days.between(ctx, f.s.db.now().Add(-age), f.s.db.now().Add(24*time.Hour))
	if err != nil {
		return err
	}
	for _, name := range names {
		table := "recent_" + suffix(name)
		hubs, err := list(ctx, f.s.db.DB, func(r *sql.Rows) (hub int64, err error) { return hub, r.Scan(&hub) },
			"WITH RECURSIVE h (hub) AS (SELECT min(hub) FROM "+table+" UNION ALL SELECT (SELECT min(hub) FROM "+table+" WHERE hub > h.hub) FROM h WHERE h.hub IS NOT NULL) "+
				"SELECT hub FROM h WHERE hub IS NOT NULL")
		if err != nil {
			return err
		}
		for _, hub := range hubs {
			f.fresh[source{name, hub}] = true
		}
	}
	return nil
}

// stale implements noticed.
func (f *follower) stale() { f.s.voices.changed() }

// heed implements noticed.
func (f *follower) heed(what, rest string) bool {
	switch what {
	case "chunks":
		number, day, _ := strings.Cut(rest, " ")
		hub, err := strconv.ParseInt(number, 10, 64)
		if _, bad := time.Parse(time.DateOnly, day); err == nil && bad == nil { // the day becomes part of SQL
			f.fresh[source{day, hub}] = true
		}
	case "silences":
		f.s.voices.changed()
		f.s.db.changed()
	default:
		return false
	}
	return true
}

// read publishes what other hubs have committed since, of each hub in the order that it committed it in: a hub has one writer, so its
// ids grow with its commits.
func (f *follower) read(ctx context.Context) error {
	for from := range f.fresh {
		if from.hub != f.hub {
			if err := f.readAll(ctx, from); err != nil {
				return err
			}
		}
		delete(f.fresh, from)
	}
	if time.Since(f.asked) >= followEvery {
		if err := f.readUnsure(ctx); err != nil {
			return err
		}
	}
	if time.Since(f.last) > followLag { // some of it may be in blocks already
		f.s.watch.lag()
	}
	f.last = time.Now()
	return nil
}

// lateCommits is how many chunks before the newest may have committed after it.
const lateCommits = 500

// readUnsure shows live what other hubs have put into the waiting place of the present.
func (f *follower) readUnsure(ctx context.Context) error {
	first := f.asked.IsZero()
	f.asked = time.Now()
	if first { // what was there before is no news
		return f.s.db.QueryRowContext(ctx, "SELECT coalesce(max(id), 0) FROM waiting").Scan(&f.unsure)
	}
	rows, err := f.s.waitingRows(ctx, "id > ? AND received >= ? ORDER BY id LIMIT ?", f.unsure-lateCommits, micro(f.s.db.now().Add(-presentFor)), followBatch)
	if err != nil || len(rows) == 0 {
		return err
	}
	key, err := f.s.db.key(ctx, patientKey(Unassigned))
	if err != nil {
		return err
	}
	for _, r := range rows {
		f.unsure = max(f.unsure, r.id)
		if !f.s.unsure.first(streamKey{r.sensor, uint8(r.signal), r.epoch.ID}, r.seq) {
			continue
		}
		c, err := openChunk(key, r.row, "waiting", r.sealed)
		if err != nil { // one damaged chunk must not hold up the others
			f.s.db.log.Error("a chunk whose time is not sure cannot be shown live", "seq", r.seq, "err", err)
			continue
		}
		h, err := f.s.placesOf(ctx, r.sensor)
		if err != nil {
			return err
		}
		if u, ok := h.present(r.arrival(c, Clock{Judged: true, Known: r.known, Offset: r.clock}), f.s.db.now()); ok {
			u.NotConfirmed = f.s.listen(ctx, h, u.Sensor, u.Patient, u.Chunk)
			f.s.unsure.note(u)
			f.s.watch.publish(u)
		}
	}
	return nil
}

func (f *follower) readAll(ctx context.Context, from source) error {
	d, err := f.s.days.open(ctx, from.day)
	if errors.Is(err, ErrNotFound) { // dropped
		return nil
	}
	if err != nil {
		return err
	}
	defer d.release()
	for {
		if n, err := f.batch(ctx, d, from); err != nil || n < followBatch {
			return err
		}
	}
}

// stranger is a chunk that another hub stored.
type stranger struct {
	recentRow
	subject string
	signal  uint8
	sealed  []byte
}

// batch publishes the next chunks of a hub and gives how many there were.
func (f *follower) batch(ctx context.Context, d day, from source) (n int, err error) {
	rows, err := list(ctx, f.s.db.DB, func(r *sql.Rows) (c stranger, err error) {
		return c, r.Scan(&c.id, &c.stream, &c.seq, &c.start, &c.subject, &c.signal, &c.sealed)
	}, "SELECT r.id, r.stream, r.seq, r.start, b.name, r.signal, r.sealed FROM "+d.table("recent")+` r JOIN subjects b ON b.id = r.subject
		WHERE r.hub = ? AND r.id > ? ORDER BY r.id LIMIT ?`, from.hub, max(f.cursors[from], f.base), followBatch)
	if err != nil {
		return 0, err
	}
	for _, c := range rows {
		if f.s.watch.wants(c.subject, vitals.Signal(c.signal), f.s.db.now()) {
			u, err := f.open(ctx, d, c)
			if ctx.Err() != nil {
				return 0, ctx.Err()
			}
			if err != nil { // one damaged chunk must not hold up the others
				f.s.db.log.Error("a chunk that another hub stored cannot be shown live", "seq", c.seq, "err", err)
			} else {
				f.s.watch.publish(u)
			}
		}
		f.cursors[from] = c.id
	}
	return len(rows), nil
}

func (f *follower) open(ctx context.Context, d day, c stranger) (Update, error) {
	t, err := d.stream(ctx, c.stream)
	if err == nil && t == nil {
		err = ErrSealed
	}
	if err != nil {
		return Update{}, err
	}
	key, err := f.s.db.key(ctx, patientKey(c.subject))
	if err != nil {
		return Update{}, err
	}
	r := t.rowOf(vitals.Signal(c.signal), c.recentRow)
	chunk, err := openChunk(key, r, c.subject, c.sealed)
	if err != nil {
		return Update{}, err
	}
	marks, err := f.s.marksOf(ctx, c.subject) // the hub that stored it put the question before
	if err != nil {
		return Update{}, err
	}
	_, last := sampleSpan(chunk)
	return Update{Patient: c.subject, Sensor: t.key.sensor, Chunk: chunk, Durable: f.s.db.now(), NotConfirmed: marks.cover(t.key.sensor, last),
		Header: seal.Header{Sensor: t.key.sensor, Signal: c.signal, Epoch: r.epoch, Seq: r.seq, Start: fromMicro(r.start)}}, nil
}
