package store

import (
	"context"
	"crypto/rand"
	"database/sql"
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"

	"vitalseal/internal/seal"
	"vitalseal/internal/vitals"
)

// follower listens to what other hubs on the same database do. It drops copies of what they change and publishes the chunks
// they commit to this hub's subscriptions. It reads on from where it was, so that a notice that got lost costs time, no chunk; what it
// could not read before it went into a block is told to the subscriptions as lag.
type follower struct {
	s      *Store
	cfg    *pgx.ConnConfig
	hub    int64
	cancel context.CancelFunc
	ctx    context.Context // of run, which close ends
	done   chan struct{}
	hears  atomic.Bool // notices arrive; while they do not, nothing that they keep fresh may be taken from memory

	// Only run's goroutine touches these.
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
	followEvery    = time.Second // without a notice
	followPatience = 3 * time.Second
	followBatch    = 2000 // chunks a reading; more follow at once
	followLag      = settled - 5*time.Second
)

func noticeOfChunks(hub int64, day string) string { return fmt.Sprintf("chunks %d %s", hub, day) }

// openServer opens the store in PostgreSQL.
func (s *Store) openServer(ctx context.Context) error {
	db, cfg, err := openPostgres(ctx, s.opt.postgres)
	if err != nil {
		return err
	}
	s.db = &directoryDB{DB: db, shared: true}
	if s.db.writes, _, err = openPostgres(ctx, s.opt.postgres); err != nil {
		return err
	}
	s.db.writes.SetMaxOpenConns(1)
	if err := migratePostgres(ctx, db, -1); err != nil {
		return err
	}
	s.apart = &apartDB{DB: db, writes: db, shared: true}
	var b [8]byte
	if _, err := rand.Read(b[:]); err != nil {
		return err
	}
	hub := int64(binary.BigEndian.Uint64(b[:]) >> 1) // #nosec G115 -- 63 bits
	s.archive = newTables(s, hub)
	run, cancel := context.WithCancel(context.WithoutCancel(ctx))
	f := &follower{s: s, cfg: cfg.Copy(), hub: hub, ctx: run, cancel: cancel, done: make(chan struct{}),
		cursors: map[source]int64{}, fresh: map[source]bool{}, last: time.Now()}
	if err := db.QueryRowContext(ctx, "SELECT CASE WHEN is_called THEN last_value ELSE last_value - 1 END FROM recent_ids").Scan(&f.base); err != nil {
		cancel()
		return err
	}
	f.cfg.RuntimeParams["application_name"] = "vitalseal notices"
	s.others = f
	return nil
}

// deaf says that changes of other hubs are not heard of at the moment: what is remembered may not be true any more.
func (s *Store) deaf() bool { return s.others != nil && !s.others.hears.Load() }

func (f *follower) close() {
	f.cancel()
	<-f.done
}

// run listens until close, and connects again when the connection breaks.
func (f *follower) run() {
	defer close(f.done)
	for wait := 100 * time.Millisecond; ; wait = min(2*wait, 5*time.Second) {
		began := time.Now()
		err := f.listen()
		if f.ctx.Err() != nil {
			return
		}
		f.s.log.Warn("lost the notices of other hubs; connecting again", "err", err)
		if time.Since(began) > time.Minute {
			wait = 100 * time.Millisecond
		}
		select {
		case <-time.After(wait):
		case <-f.ctx.Done():
			return
		}
	}
}

func (f *follower) listen() error {
	ctx, cancel := context.WithTimeout(f.ctx, followPatience)
	conn, err := pgx.ConnectConfig(ctx, f.cfg)
	cancel()
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(f.ctx)) //nolint:errcheck // nothing was written on it
	defer f.hears.Store(false)
	if _, err := conn.Exec(f.ctx, "LISTEN vitalseal"); err != nil {
		return err
	}
	// Whatever was missed before this moment: copies are stale, and any day may have chunks.
	f.stale()
	if err := f.discover(f.s.opt.maxAge); err != nil {
		return err
	}
	f.hears.Store(true)
	for {
		if err := f.read(); err != nil {
			return err
		}
		ctx, cancel := context.WithTimeout(f.ctx, followEvery)
		notice, err := conn.WaitForNotification(ctx)
		cancel()
		switch {
		case err == nil:
			f.heed(notice.Payload)
		case f.ctx.Err() != nil || !errors.Is(err, context.DeadlineExceeded) || conn.IsClosed():
			return err
		default:
			// Silence. One that is cut without a word would be silent for ever.
			if err := f.alive(conn); err != nil {
				return err
			}
		}
		if time.Since(f.looked) > followEvery { // a notice may have got lost
			if err := f.discover(24 * time.Hour); err != nil {
				return err
			}
		}
	}
}

// discover finds who has stored chunks of the days that began so long ago or later.
func (f *follower) discover(age time.Duration) error {
	f.looked = time.Now()
	names, err := f.s.archive.between(f.ctx, f.s.now().Add(-age), f.s.now().Add(24*time.Hour))
	if err != nil {
		return err
	}
	for _, name := range names {
		table := "recent_" + suffix(name)
		hubs, err := list(f.ctx, f.s.db.DB, func(r *sql.Rows) (hub int64, err error) { return hub, r.Scan(&hub) },
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

// alive asks the server on the connection that notices come by.
func (f *follower) alive(conn *pgx.Conn) error {
	ctx, cancel := context.WithTimeout(f.ctx, followPatience)
	defer cancel()
	return conn.Ping(ctx)
}

// stale drops all copies.
func (f *follower) stale() {
	f.s.keys.forget(func(string) bool { return true })
	f.s.deviceChanged()
	f.s.voices.changed()
	f.s.db.changed()
}

// heed does what a notice says; one it does not know is of a newer hub, and everything may have changed.
func (f *follower) heed(payload string) {
	what, rest, _ := strings.Cut(payload, " ")
	switch what {
	case "chunks":
		number, day, _ := strings.Cut(rest, " ")
		hub, err := strconv.ParseInt(number, 10, 64)
		if _, bad := time.Parse(time.DateOnly, day); err == nil && bad == nil { // the day becomes part of SQL
			f.fresh[source{day, hub}] = true
		}
	case "places":
		f.s.where.changed()
		f.s.db.changed()
	case "devices":
		f.s.deviceChanged()
		f.s.db.changed()
	case "silences":
		f.s.voices.changed()
		f.s.db.changed()
	case "directory":
		f.s.db.changed()
	default:
		f.stale()
	}
}

// read publishes what other hubs have committed since, of each hub in the order that it committed it in: a hub has one writer, so its
// ids grow with its commits.
func (f *follower) read() error {
	for from := range f.fresh {
		if from.hub != f.hub {
			if err := f.readAll(from); err != nil {
				return err
			}
		}
		delete(f.fresh, from)
	}
	if time.Since(f.asked) >= followEvery {
		if err := f.readUnsure(); err != nil {
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
func (f *follower) readUnsure() error {
	first := f.asked.IsZero()
	f.asked = time.Now()
	if first { // what was there before is no news
		return f.s.db.QueryRowContext(f.ctx, "SELECT coalesce(max(id), 0) FROM waiting").Scan(&f.unsure)
	}
	rows, err := f.s.waitingRows(f.ctx, "id > ? AND received >= ? ORDER BY id LIMIT ?", f.unsure-lateCommits, micro(f.s.now().Add(-presentFor)), followBatch)
	if err != nil || len(rows) == 0 {
		return err
	}
	key, err := f.s.key(f.ctx, patientKey(Unassigned))
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
			f.s.log.Error("a chunk whose time is not sure cannot be shown live", "seq", r.seq, "err", err)
			continue
		}
		h, err := f.s.placesOf(f.ctx, r.sensor)
		if err != nil {
			return err
		}
		if u, ok := h.present(r.arrival(c, Clock{Judged: true, Known: r.known, Offset: r.clock}), f.s.now()); ok {
			u.NotConfirmed = f.s.listen(f.ctx, h, u.Sensor, u.Patient, u.Chunk)
			f.s.unsure.note(u)
			f.s.watch.publish(u)
		}
	}
	return nil
}

func (f *follower) readAll(from source) error {
	d, err := f.s.archive.open(f.ctx, from.day)
	if errors.Is(err, ErrNotFound) { // dropped
		return nil
	}
	if err != nil {
		return err
	}
	defer d.release()
	for {
		if n, err := f.batch(d, from); err != nil || n < followBatch {
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
func (f *follower) batch(d day, from source) (n int, err error) {
	rows, err := list(f.ctx, f.s.db.DB, func(r *sql.Rows) (c stranger, err error) {
		return c, r.Scan(&c.id, &c.stream, &c.seq, &c.start, &c.subject, &c.signal, &c.sealed)
	}, "SELECT r.id, r.stream, r.seq, r.start, b.name, r.signal, r.sealed FROM "+d.table("recent")+` r JOIN subjects b ON b.id = r.subject
		WHERE r.hub = ? AND r.id > ? ORDER BY r.id LIMIT ?`, from.hub, max(f.cursors[from], f.base), followBatch)
	if err != nil {
		return 0, err
	}
	for _, c := range rows {
		if f.s.watch.wants(c.subject, vitals.Signal(c.signal), f.s.now()) {
			u, err := f.open(d, c)
			if f.ctx.Err() != nil {
				return 0, f.ctx.Err()
			}
			if err != nil { // one damaged chunk must not hold up the others
				f.s.log.Error("a chunk that another hub stored cannot be shown live", "seq", c.seq, "err", err)
			} else {
				f.s.watch.publish(u)
			}
		}
		f.cursors[from] = c.id
	}
	return len(rows), nil
}

func (f *follower) open(d day, c stranger) (Update, error) {
	t, err := d.stream(f.ctx, c.stream)
	if err == nil && t == nil {
		err = ErrSealed
	}
	if err != nil {
		return Update{}, err
	}
	key, err := f.s.key(f.ctx, patientKey(c.subject))
	if err != nil {
		return Update{}, err
	}
	r := t.rowOf(vitals.Signal(c.signal), c.recentRow)
	chunk, err := openChunk(key, r, c.subject, c.sealed)
	if err != nil {
		return Update{}, err
	}
	marks, err := f.s.marksOf(f.ctx, c.subject) // the hub that stored it put the question before
	if err != nil {
		return Update{}, err
	}
	_, last := sampleSpan(chunk)
	return Update{Patient: c.subject, Sensor: t.key.sensor, Chunk: chunk, Durable: f.s.now(), NotConfirmed: marks.cover(t.key.sensor, last),
		Header: seal.Header{Sensor: t.key.sensor, Signal: c.signal, Epoch: r.epoch, Seq: r.seq, Start: fromMicro(r.start)}}, nil
}
