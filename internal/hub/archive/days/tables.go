package days

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"hash/fnv"
	"slices"
	"strings"
	"sync"
	"time"

	"vitalseal/internal/hub/archive/attribution"
	"vitalseal/internal/hub/sealdb"
	"vitalseal/internal/measurement/vitals"
	"vitalseal/internal/way/delivery"
)

// tables is the archive in PostgreSQL: partitions by day, so that forgetting a day is dropping its tables. Any number of hubs
// write at once, in the order of their keys, so that they wait for each other in one direction only. Storing chunks of
// a day shares its lock; replacing chunks by blocks holds it alone, for milliseconds, so that a chunk is
// always seen in one of the two places.
type tables struct {
	s   *Days
	hub int64 // this process

	mu    sync.Mutex // guards all below; what the maps hold has committed and never changes
	days  map[string]struct{}
	known map[int64]*StreamTaken // streams, without their sequences

	// Only the writer goroutine touches these.
	streamIDs map[attribution.StreamKey]int64
	subjects  map[string]int64
}

func newTables(s *Days, hub int64) *tables {
	return &tables{s: s, hub: hub, days: map[string]struct{}{}, known: map[int64]*StreamTaken{}, streamIDs: map[attribution.StreamKey]int64{}, subjects: map[string]int64{}}
}

func (t *tables) Close() error { return nil } // the pool is the store's

// Suffix is what the names of a day's tables end in.
func Suffix(day string) string { return strings.ReplaceAll(day, "-", "") }

// dayNumber is the day's lock.
func dayNumber(day string) int64 {
	at, err := time.Parse(time.DateOnly, day)
	if err != nil {
		return 0
	}
	return at.Unix() / 86400
}

// Between implements database.
func (t *tables) Between(ctx context.Context, from, to time.Time) ([]string, error) {
	return sealdb.List(ctx, t.s.db.DB, func(r *sql.Rows) (day string, err error) { return day, r.Scan(&day) },
		"SELECT day::text FROM days WHERE day BETWEEN CAST(? AS date) AND CAST(? AS date) ORDER BY day", PartitionOf(from.Add(-attribution.MaxSpan)), PartitionOf(to.Add(attribution.MaxSpan)))
}

// All implements database. Chunks that come change how many are recent or, if they are in blocks by the time of the next read, the newest block.
func (t *tables) All(ctx context.Context) (names []string, gens []uint64, err error) {
	names, err = sealdb.List(ctx, t.s.db.DB, func(r *sql.Rows) (day string, err error) { return day, r.Scan(&day) }, "SELECT day::text FROM days ORDER BY day")
	if err != nil {
		return nil, nil, err
	}
	for _, name := range names {
		var count, newest, block int64
		x := Suffix(name)
		if err := t.s.db.QueryRowContext(ctx, "SELECT (SELECT count(*) FROM recent_"+x+"), (SELECT coalesce(max(id), 0) FROM recent_"+x+
			"), (SELECT coalesce(max(id), 0) FROM blocks_"+x+")").Scan(&count, &newest, &block); err != nil {
			return nil, nil, err
		}
		h := fnv.New64a()
		fmt.Fprint(h, count, newest, block)
		gens = append(gens, h.Sum64())
	}
	return names, gens, nil
}

// addDay makes the partitions of a day.
func (t *tables) addDay(ctx context.Context, day string) error {
	t.mu.Lock()
	_, ok := t.days[day]
	t.mu.Unlock()
	if ok {
		return nil
	}
	if _, err := time.Parse(time.DateOnly, day); err != nil { // it becomes part of SQL
		return err
	}
	err := sealdb.Transact(ctx, t.s.db.DB, func(tx *sql.Tx) error {
		if _, err := tx.ExecContext(ctx, "SELECT pg_advisory_xact_lock(?, ?)", sealdb.LockClass, sealdb.LockSchema); err != nil {
			return err
		}
		var there bool
		if err := tx.QueryRowContext(ctx, "SELECT EXISTS (SELECT 1 FROM days WHERE day = CAST(? AS date))", day).Scan(&there); err != nil || there {
			return err
		}
		_, err := tx.ExecContext(ctx, fmt.Sprintf(dayTables, Suffix(day), day))
		return err
	})
	if err != nil {
		return err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.days[day] = struct{}{}
	return nil
}

// Write implements database.
func (t *tables) Write(ctx context.Context, name string, group []*Pending) error {
	if err := t.addDay(ctx, name); err != nil {
		return err
	}
	if len(t.subjects) >= sealdb.MaxCached || len(t.streamIDs) >= sealdb.MaxCached { // before, not while, the group's are gathered
		clear(t.subjects)
		clear(t.streamIDs)
	}
	for _, p := range group { // each in a commit of its own, once a stream: an id in the cache has surely committed
		for _, x := range append([]*Pending{p}, p.Parts...) {
			if err := t.identify(ctx, x); err != nil {
				return err
			}
		}
	}
	err := sealdb.Transact(ctx, t.s.db.DB, func(tx *sql.Tx) error {
		// Two statements: what is read must be of a moment after the locks were got.
		if _, err := tx.ExecContext(ctx, "SELECT pg_advisory_xact_lock_shared(?, ?), pg_advisory_xact_lock_shared(?, ?)",
			sealdb.LockClass, sealdb.LockPlaces, sealdb.DayClass, dayNumber(name)); err != nil {
			return err
		}
		var places int64
		if err := tx.QueryRowContext(ctx, attribution.SelectPlaces).Scan(&places); err != nil {
			return err
		}
		var now []*Pending
		for _, p := range group {
			p.Outcome = delivery.Retry // whose the sensor is has changed since it was asked
			if p.Places == places {
				now = append(now, p)
			}
		}
		if len(now) < len(group) {
			t.s.db.PlacesChanged()
		}
		if err := t.insert(ctx, tx, Suffix(name), now); err != nil {
			return err
		}
		var parts []*Pending // of those that are new: what is there already is there whole
		for _, p := range now {
			if p.Outcome == delivery.Accepted {
				parts = append(parts, p.Parts...)
			}
		}
		return t.insert(ctx, tx, Suffix(name), parts)
	})
	if err != nil {
		// The day may have been dropped, or the database restored: look again.
		t.mu.Lock()
		clear(t.days)
		t.mu.Unlock()
		clear(t.streamIDs)
		clear(t.subjects)
		return err
	}
	// Not inside: commits that notify wait for each other. Should this get lost, the others look by themselves soon.
	if _, err := t.s.db.DB.ExecContext(ctx, "SELECT pg_notify('vitalseal', ?)", noticeOfChunks(t.hub, name)); err != nil {
		t.s.db.Log.Warn("other hubs were not told of new chunks; they look by themselves", "err", err)
	}
	return nil
}

// identify sees to it that the short numbers of a chunk's subject and stream are known.
func (t *tables) identify(ctx context.Context, p *Pending) error {
	if _, ok := t.subjects[p.Subject]; !ok {
		id, err := t.number(ctx, "SELECT id FROM subjects WHERE name = ?", "INSERT INTO subjects (name) VALUES (?) ON CONFLICT DO NOTHING", []any{p.Subject})
		if err != nil {
			return err
		}
		t.subjects[p.Subject] = id
	}
	k := attribution.StreamKey{Sensor: p.Sensor, Signal: uint8(p.Signal), Epoch: p.Epoch.ID}
	if _, ok := t.streamIDs[k]; !ok {
		id, err := t.number(ctx, "SELECT id FROM streams WHERE sensor = ? AND signal = ? AND epoch = ?",
			"INSERT INTO streams (sensor, signal, epoch, number) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING",
			[]any{k.Sensor, int64(k.Signal), k.Epoch[:]}, int64(p.Epoch.Number)) // #nosec G115 -- prepare checked
		if err != nil {
			return err
		}
		t.streamIDs[k] = id
	}
	return nil
}

// number finds an id by its name, or gives one.
func (t *tables) number(ctx context.Context, find, add string, name []any, more ...any) (id int64, err error) {
	err = t.s.db.QueryRowContext(ctx, find, name...).Scan(&id)
	if !errors.Is(err, sql.ErrNoRows) {
		return id, err
	}
	if _, err := t.s.db.DB.ExecContext(ctx, add, slices.Concat(name, more)...); err != nil {
		return 0, err
	}
	err = t.s.db.QueryRowContext(ctx, find, name...).Scan(&id)
	return id, err
}

// place is a chunk's primary key within a day.
type place struct{ stream, seq int64 }

// insert adds a group in one statement and learns which of it is new.
func (t *tables) insert(ctx context.Context, tx *sql.Tx, suffix string, group []*Pending) error {
	byPlace := map[place]*Pending{}
	for _, p := range group {
		p.Outcome = delivery.Duplicate                                                                                              // also of the second of two that are the same
		at := place{t.streamIDs[attribution.StreamKey{Sensor: p.Sensor, Signal: uint8(p.Signal), Epoch: p.Epoch.ID}], int64(p.Seq)} // #nosec G115 -- prepare checked
		if byPlace[at] == nil {
			byPlace[at] = p
		}
	}
	places := make([]place, 0, len(byPlace))
	for at := range byPlace {
		places = append(places, at)
	}
	slices.SortFunc(places, func(a, b place) int { return cmp.Or(cmp.Compare(a.stream, b.stream), cmp.Compare(a.seq, b.seq)) })
	var columns [8][]int64
	sealed := make([][]byte, len(places))
	for i, at := range places {
		p := byPlace[at]
		for c, v := range [8]int64{at.stream, at.seq, t.subjects[p.Subject], int64(p.Signal), p.Start, p.First, p.Last, p.Received} {
			columns[c] = append(columns[c], v)
		}
		sealed[i] = p.Sealed
	}
	if len(places) == 0 {
		return nil
	}
	return sealdb.Each(ctx, tx, "INSERT INTO recent_"+suffix+` (hub, stream, seq, subject, signal, start, first, last, received, sealed)
		SELECT CAST(? AS bigint), u.* FROM unnest(CAST(? AS bigint[]), CAST(? AS bigint[]), CAST(? AS bigint[]), CAST(? AS smallint[]),
		CAST(? AS bigint[]), CAST(? AS bigint[]), CAST(? AS bigint[]), CAST(? AS bigint[]), CAST(? AS bytea[])) u (stream, seq)
		WHERE NOT EXISTS (SELECT 1 FROM taken_`+suffix+` t WHERE t.stream = u.stream AND t.low <= u.seq AND t.high >= u.seq)
		ON CONFLICT DO NOTHING RETURNING stream, seq`, func(rows *sql.Rows) error {
		var at place
		if err := rows.Scan(&at.stream, &at.seq); err != nil {
			return err
		}
		if p := byPlace[at]; p != nil {
			p.Outcome = delivery.Accepted
		}
		return nil
	}, t.hub, columns[0], columns[1], columns[2], columns[3], columns[4], columns[5], columns[6], columns[7], sealed)
}

// Compact implements database. One hub does it at a time.
func (t *tables) Compact(ctx context.Context, before time.Time) error {
	return t.Alone(ctx, func(ctx context.Context) error {
		// A chunk comes for a day that its time lets it come for.
		names, err := t.Between(ctx, t.s.db.Now().Add(-t.s.maxAge-24*time.Hour), t.s.db.Now().Add(24*time.Hour))
		if err != nil {
			return err
		}
		var failed error // a day that is damaged does not hold up the others
		for _, name := range names {
			if err := t.compactDay(ctx, name, before); err != nil {
				if ctx.Err() != nil {
					return ctx.Err()
				}
				failed = errors.Join(failed, fmt.Errorf("day %s: %w", name, err))
			}
		}
		return failed
	})
}

func (t *tables) compactDay(ctx context.Context, name string, before time.Time) error {
	d := tableDay{t, name}
	names := map[int64]string{}
	for {
		spans, err := d.ripe(ctx, before)
		if err != nil || len(spans) == 0 {
			return err
		}
		for len(spans) > 0 {
			some := few(spans)
			blocks, err := t.s.makeBlocks(ctx, d, some, names)
			if err != nil {
				return err
			}
			spans = spans[len(some):]
			for some := range slices.Chunk(blocks, maxSwap) {
				if err := sealdb.Transact(ctx, t.s.db.DB, func(tx *sql.Tx) error { return d.swap(ctx, tx, some) }); err != nil {
					return err
				}
			}
		}
	}
}

// maxRipe is how many spans one look finds.
const maxRipe = 4000

// ripe are spans whose newest chunk came before.
func (d tableDay) ripe(ctx context.Context, before time.Time) (spans []blockSpan, err error) {
	rows := map[subjectSignal][]RecentRow{}
	err = sealdb.Each(ctx, d.reader(), `SELECT r.id, r.stream, r.seq, r.subject, r.signal, r.start, r.first, r.last FROM `+d.Table("recent")+` r
		JOIN (SELECT stream, start / ?1 AS slot FROM `+d.Table("recent")+` GROUP BY stream, start / ?1 HAVING max(received) < ?2 LIMIT ?3) s
		ON s.stream = r.stream AND s.slot = r.start / ?1`, func(r *sql.Rows) error {
		var of subjectSignal
		var row RecentRow
		if err := r.Scan(&row.ID, &row.Stream, &row.Seq, &of.subject, &of.signal, &row.Start, &row.first, &row.last); err != nil {
			return err
		}
		rows[of] = append(rows[of], row)
		return nil
	}, blockLasting.Microseconds(), sealdb.Micro(before), maxRipe)
	for of, all := range rows {
		spans = append(spans, ripeOf(of, all, 1)...)
	}
	return spans, err
}

// swap puts blocks in the place of their chunks, and what they say into the sums.
func (d tableDay) swap(ctx context.Context, tx *sql.Tx, blocks []*block) error {
	if _, err := tx.ExecContext(ctx, "SELECT pg_advisory_xact_lock(?, ?)", sealdb.DayClass, dayNumber(d.name)); err != nil {
		return err
	}
	var streams, seqs []int64
	for _, b := range blocks {
		if err := b.insert(ctx, tx, d); err != nil {
			return err
		}
		for _, r := range slices.Concat(b.rows, b.damaged) {
			streams, seqs = append(streams, r.Stream), append(seqs, r.Seq)
		}
	}
	r, err := tx.ExecContext(ctx, "DELETE FROM "+d.Table("recent")+` r USING unnest(CAST(? AS bigint[]), CAST(? AS bigint[])) u (stream, seq)
		WHERE r.stream = u.stream AND r.seq = u.seq`, streams, seqs) // #nosec G202 -- the tables' names are ours
	if err != nil {
		return err
	}
	if n, err := r.RowsAffected(); err != nil || n != int64(len(seqs)) {
		return errors.Join(err, fmt.Errorf("%w: %d of %d chunks were still there; another hub makes blocks as well?", sealdb.ErrConflict, n, len(seqs)))
	}
	return nil
}

// Drop implements database.
func (t *tables) Drop(ctx context.Context, name string) error {
	x := Suffix(name)
	err := sealdb.Transact(ctx, t.s.db.DB, func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, fmt.Sprintf("SELECT pg_advisory_xact_lock(%d, %d); DROP TABLE recent_%[3]s, damaged_%[3]s, blocks_%[3]s, taken_%[3]s, sums_%[3]s;"+
			" DELETE FROM days WHERE day = '%[4]s'", sealdb.LockClass, sealdb.LockSchema, x, name))
		return err
	})
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.days, name)
	return err
}

// size implements database.
func (t *tables) size(ctx context.Context) (s Size, err error) {
	err = t.s.db.QueryRowContext(ctx, `SELECT coalesce(sum(pg_total_relation_size(i.inhrelid)), 0)::bigint FROM pg_inherits i
		WHERE i.inhparent IN ('recent'::regclass, 'damaged'::regclass, 'blocks'::regclass, 'taken'::regclass, 'sums'::regclass)`).Scan(&s.Used)
	return s, err
}

// Check implements database. What PostgreSQL can check of itself (amcheck, data checksums) is its operator's.
func (t *tables) Check(_ context.Context, c *Checked, progress func(string)) error {
	progress("database")
	c.Files++
	return nil
}

// Open implements database.
func (t *tables) Open(ctx context.Context, name string) (Day, error) {
	t.mu.Lock()
	_, ok := t.days[name]
	t.mu.Unlock()
	if !ok {
		if err := t.s.db.QueryRowContext(ctx, "SELECT EXISTS (SELECT 1 FROM days WHERE day = CAST(? AS date))", name).Scan(&ok); err != nil {
			return nil, err
		}
	}
	if !ok {
		return nil, fmt.Errorf("day %s: %w", name, sealdb.ErrNotFound)
	}
	return tableDay{t, name}, nil
}

// tableDay is a day in PostgreSQL.
type tableDay struct {
	t    *tables
	name string
}

func (d tableDay) label() string   { return d.name }
func (d tableDay) reader() *sql.DB { return d.t.s.db.DB }
func (d tableDay) writer() *sql.DB { return d.t.s.db.DB }
func (d tableDay) Release()        {}

func (d tableDay) Table(name string) string {
	name, _, _ = strings.Cut(name, " ") // PostgreSQL finds its indexes alone
	return name + "_" + Suffix(d.name)
}

// Stream implements day.
func (d tableDay) Stream(ctx context.Context, id int64) (*StreamTaken, error) {
	d.t.mu.Lock()
	known := d.t.known[id]
	d.t.mu.Unlock()
	if known != nil {
		return known, nil
	}
	var s StreamTaken
	var epoch []byte
	err := d.reader().QueryRowContext(ctx, "SELECT sensor, signal, epoch, number FROM streams WHERE id = ?", id).Scan(&s.Key.Sensor, &s.Key.Signal, &epoch, &s.number)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	copy(s.Key.Epoch[:], epoch)
	d.t.mu.Lock()
	defer d.t.mu.Unlock()
	if len(d.t.known) >= sealdb.MaxCached {
		clear(d.t.known)
	}
	d.t.known[id] = &s
	return &s, nil
}

// moment runs f in a read-only transaction that sees one moment.
func (d tableDay) moment(ctx context.Context) (*sql.Tx, error) {
	return d.reader().BeginTx(ctx, &sql.TxOptions{Isolation: sql.LevelRepeatableRead, ReadOnly: true})
}

// holds implements day.
func (d tableDay) holds(ctx context.Context, k attribution.StreamKey, seq int64) (there bool, err error) {
	err = d.reader().QueryRowContext(ctx, "SELECT EXISTS (SELECT 1 FROM streams s JOIN "+d.Table("recent")+` r ON r.stream = s.id
		WHERE s.sensor = ?1 AND s.signal = ?2 AND s.epoch = ?3 AND r.seq = ?4) OR EXISTS (SELECT 1 FROM streams s JOIN `+d.Table("taken")+` t ON t.stream = s.id
		WHERE s.sensor = ?1 AND s.signal = ?2 AND s.epoch = ?3 AND t.low <= ?4 AND t.high >= ?4)`, k.Sensor, int64(k.Signal), k.Epoch[:], seq).Scan(&there)
	return there, err
}

// streams implements day.
func (d tableDay) streams(ctx context.Context) (all []StreamTaken, err error) {
	tx, err := d.moment(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, sealdb.Rollback(tx)) }()
	at := map[int64]int{}
	err = sealdb.Each(ctx, tx, "SELECT id, sensor, signal, epoch, number FROM streams WHERE id IN (SELECT stream FROM "+d.Table("taken")+" UNION SELECT stream FROM "+d.Table("recent")+")",
		func(rows *sql.Rows) error {
			var id int64
			var s StreamTaken
			var epoch []byte
			if err := rows.Scan(&id, &s.Key.Sensor, &s.Key.Signal, &epoch, &s.number); err != nil {
				return err
			}
			copy(s.Key.Epoch[:], epoch)
			at[id] = len(all)
			all = append(all, s)
			return nil
		})
	if err != nil {
		return nil, err
	}
	// Of recent, rows that follow each other are a stretch.
	err = sealdb.Each(ctx, tx, "SELECT stream, low, high FROM "+d.Table("taken")+` UNION ALL SELECT stream, min(seq), max(seq)
		FROM (SELECT stream, seq, seq - row_number() OVER (PARTITION BY stream ORDER BY seq) AS stretch FROM `+d.Table("recent")+`) x GROUP BY stream, stretch
		ORDER BY 1, 2`, func(rows *sql.Rows) error {
		var id int64
		var x Stretch
		if err := rows.Scan(&id, &x.Low, &x.High); err != nil {
			return err
		}
		if i, ok := at[id]; ok {
			all[i].Taken = all[i].Add(x)
		}
		return nil
	})
	return all, err
}

// snapshot implements day.
func (d tableDay) snapshot(ctx context.Context, patient string, signal uint8) (sn *snapshot, err error) {
	sn = &snapshot{day: d, signal: vitals.Signal(signal), held: map[int64][]byte{}, known: map[int64]*StreamTaken{}}
	if sn.tx, err = d.moment(ctx); err != nil {
		return nil, err
	}
	err = sn.tx.QueryRowContext(ctx, "SELECT id FROM subjects WHERE name = ?", patient).Scan(&sn.subject)
	if errors.Is(err, sql.ErrNoRows) {
		sn.subject, err = -1, nil
	}
	if err == nil {
		err = sealdb.Each(ctx, sn.tx, "SELECT id, stream, seq, start, first, last, sealed FROM "+d.Table("recent")+" WHERE subject = ? AND signal = ? ORDER BY id", func(rows *sql.Rows) error {
			var r RecentRow
			var sealed []byte
			if err := rows.Scan(&r.ID, &r.Stream, &r.Seq, &r.Start, &r.first, &r.last, &sealed); err != nil {
				return err
			}
			sn.recent, sn.held[r.ID] = append(sn.recent, r), sealed
			return nil
		}, sn.subject, int64(signal))
	}
	if err != nil {
		return nil, errors.Join(err, sn.close())
	}
	return sn, nil
}

// sealed implements day.
func (d tableDay) sealed(ctx context.Context, spans []blockSpan) ([][][]byte, error) {
	type cell struct{ span, row int }
	cells := map[place]cell{}
	var streams, seqs []int64
	sealed := make([][][]byte, len(spans))
	for i, sp := range spans {
		sealed[i] = make([][]byte, len(sp.rows))
		for k, r := range sp.rows {
			cells[place{r.Stream, r.Seq}] = cell{i, k}
			streams, seqs = append(streams, r.Stream), append(seqs, r.Seq)
		}
	}
	return sealed, sealdb.Each(ctx, d.reader(), "SELECT r.stream, r.seq, r.sealed FROM "+d.Table("recent")+` r
		JOIN unnest(CAST(? AS bigint[]), CAST(? AS bigint[])) u (stream, seq) ON r.stream = u.stream AND r.seq = u.seq`, func(rows *sql.Rows) error {
		var at place
		var b []byte
		if err := rows.Scan(&at.stream, &at.seq, &b); err != nil {
			return err
		}
		if c, ok := cells[at]; ok {
			sealed[c.span][c.row] = b
		}
		return nil
	}, streams, seqs)
}

// shrink implements day.
func (d tableDay) shrink(ctx context.Context) error {
	_, err := d.writer().ExecContext(ctx, "VACUUM "+d.Table("blocks"))
	return err
}

// Alone implements database: the hub that leads does it.
func (t *tables) Alone(ctx context.Context, f func(context.Context) error) error {
	_, err := t.s.db.TryLead(ctx, "archive", f)
	return err
}
