package archive

import (
	"context"
	"database/sql"
	"errors"
	"strconv"
	"strings"
	"time"

	"vitalseal/internal/hub/archive/attribution"
	"vitalseal/internal/hub/archive/days"
	"vitalseal/internal/hub/sealdb"
	"vitalseal/internal/measurement/vitals"
	"vitalseal/internal/way/seal"
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
	followLag   = days.Settled - 5*time.Second
)

// NewFollower makes what a sealdb.Listener tells of other hubs' chunks; hub is this hub's number.
func NewFollower(ctx context.Context, s *Archive, hub int64) (*follower, error) {
	f := &follower{s: s, hub: hub, cursors: map[source]int64{}, fresh: map[source]bool{}, last: time.Now()}
	err := s.db.QueryRowContext(ctx, "SELECT CASE WHEN is_called THEN last_value ELSE last_value - 1 END FROM recent_ids").Scan(&f.base)
	return f, err
}

// Begin implements noticed: any day may have chunks.
func (f *follower) Begin(ctx context.Context) error { return f.discover(ctx, f.s.opt.MaxAge) }

// Idle implements noticed: a notice may have got lost.
func (f *follower) Idle(ctx context.Context) error {
	if time.Since(f.looked) > followEvery {
		return f.discover(ctx, 24*time.Hour)
	}
	return nil
}

// discover finds who has stored chunks of the days that began so long ago or later.
func (f *follower) discover(ctx context.Context, age time.Duration) error {
	f.looked = time.Now()
	names, err := f.s.Days.Between(ctx, f.s.db.Now().Add(-age), f.s.db.Now().Add(24*time.Hour))
	if err != nil {
		return err
	}
	for _, name := range names {
		table := "recent_" + days.Suffix(name)
		hubs, err := sealdb.List(ctx, f.s.db.DB, func(r *sql.Rows) (hub int64, err error) { return hub, r.Scan(&hub) },
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

// Stale implements noticed.
func (f *follower) Stale() { f.s.SilencesChanged() }

// Heed implements noticed.
func (f *follower) Heed(what, rest string) bool {
	switch what {
	case "chunks":
		number, day, _ := strings.Cut(rest, " ")
		hub, err := strconv.ParseInt(number, 10, 64)
		if _, bad := time.Parse(time.DateOnly, day); err == nil && bad == nil { // the day becomes part of SQL
			f.fresh[source{day, hub}] = true
		}
	case "silences":
		f.s.SilencesChanged()
		f.s.db.Changed()
	default:
		return false
	}
	return true
}

// Read publishes what other hubs have committed since, of each hub in the order that it committed it in: a hub has one writer, so its
// ids grow with its commits.
func (f *follower) Read(ctx context.Context) error {
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
	rows, err := f.s.waitingRows(ctx, "id > ? AND received >= ? ORDER BY id LIMIT ?", f.unsure-lateCommits, sealdb.Micro(f.s.db.Now().Add(-attribution.PresentFor)), followBatch)
	if err != nil || len(rows) == 0 {
		return err
	}
	key, err := f.s.db.Key(ctx, sealdb.PatientKey(sealdb.Unassigned))
	if err != nil {
		return err
	}
	for _, r := range rows {
		f.unsure = max(f.unsure, r.id)
		if !f.s.FirstShown(attribution.StreamKey{Sensor: r.Sensor, Signal: uint8(r.Signal), Epoch: r.Epoch.ID}, r.Seq) {
			continue
		}
		c, err := days.OpenChunk(key, r.Row, "waiting", r.sealed)
		if err != nil { // one damaged chunk must not hold up the others
			f.s.db.Log.Error("a chunk whose time is not sure cannot be shown live", "seq", r.Seq, "err", err)
			continue
		}
		h, err := f.s.PlacesOf(ctx, r.Sensor)
		if err != nil {
			return err
		}
		if u, ok := h.Present(r.arrival(c, attribution.Clock{Judged: true, Known: r.known, Offset: r.clock}), f.s.db.Now()); ok {
			u.NotConfirmed = f.s.Listen(ctx, h, u.Sensor, u.Patient, u.Chunk)
			f.s.NoteShown(u)
			f.s.watch.publish(u)
		}
	}
	return nil
}

func (f *follower) readAll(ctx context.Context, from source) error {
	d, err := f.s.Days.Open(ctx, from.day)
	if errors.Is(err, sealdb.ErrNotFound) { // dropped
		return nil
	}
	if err != nil {
		return err
	}
	defer d.Release()
	for {
		if n, err := f.batch(ctx, d, from); err != nil || n < followBatch {
			return err
		}
	}
}

// stranger is a chunk that another hub stored.
type stranger struct {
	days.RecentRow
	subject string
	signal  uint8
	sealed  []byte
}

// batch publishes the next chunks of a hub and gives how many there were.
func (f *follower) batch(ctx context.Context, d days.Day, from source) (n int, err error) {
	rows, err := sealdb.List(ctx, f.s.db.DB, func(r *sql.Rows) (c stranger, err error) {
		return c, r.Scan(&c.ID, &c.Stream, &c.Seq, &c.Start, &c.subject, &c.signal, &c.sealed)
	}, "SELECT r.id, r.stream, r.seq, r.start, b.name, r.signal, r.sealed FROM "+d.Table("recent")+` r JOIN subjects b ON b.id = r.subject
		WHERE r.hub = ? AND r.id > ? ORDER BY r.id LIMIT ?`, from.hub, max(f.cursors[from], f.base), followBatch)
	if err != nil {
		return 0, err
	}
	for _, c := range rows {
		if f.s.watch.wants(c.subject, vitals.Signal(c.signal), f.s.db.Now()) {
			u, err := f.open(ctx, d, c)
			if ctx.Err() != nil {
				return 0, ctx.Err()
			}
			if err != nil { // one damaged chunk must not hold up the others
				f.s.db.Log.Error("a chunk that another hub stored cannot be shown live", "seq", c.Seq, "err", err)
			} else {
				f.s.watch.publish(u)
			}
		}
		f.cursors[from] = c.ID
	}
	return len(rows), nil
}

func (f *follower) open(ctx context.Context, d days.Day, c stranger) (attribution.Update, error) {
	t, err := d.Stream(ctx, c.Stream)
	if err == nil && t == nil {
		err = sealdb.ErrSealed
	}
	if err != nil {
		return attribution.Update{}, err
	}
	key, err := f.s.db.Key(ctx, sealdb.PatientKey(c.subject))
	if err != nil {
		return attribution.Update{}, err
	}
	r := t.RowOf(vitals.Signal(c.signal), c.RecentRow)
	chunk, err := days.OpenChunk(key, r, c.subject, c.sealed)
	if err != nil {
		return attribution.Update{}, err
	}
	marks, err := f.s.MarksOf(ctx, c.subject) // the hub that stored it put the question before
	if err != nil {
		return attribution.Update{}, err
	}
	_, last := attribution.SampleSpan(chunk)
	return attribution.Update{Patient: c.subject, Sensor: t.Key.Sensor, Chunk: chunk, Durable: f.s.db.Now(), NotConfirmed: marks.Cover(t.Key.Sensor, last),
		Header: seal.Header{Sensor: t.Key.Sensor, Signal: c.signal, Epoch: r.Epoch, Seq: r.Seq, Start: sealdb.FromMicro(r.Start)}}, nil
}
