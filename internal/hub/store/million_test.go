package store_test

import (
	"context"
	"database/sql"
	"fmt"
	"math"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"vitalseal/internal/hub/access"
	"vitalseal/internal/hub/channel"
	"vitalseal/internal/hub/store"
	"vitalseal/internal/hub/store/storetest/pgserver"
)

// holds are how long write transactions were open.
type holds struct {
	mu  sync.Mutex // guards all below
	all map[bool][]time.Duration
}

func (h *holds) note(apart bool, d time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.all == nil {
		h.all = map[bool][]time.Duration{}
	}
	h.all[apart] = append(h.all[apart], d)
}

func (h *holds) take() map[bool][]time.Duration {
	h.mu.Lock()
	defer h.mu.Unlock()
	all := h.all
	h.all = nil
	return all
}

// BenchmarkMillionEntries has a channel of a million entries, and reports how long what people may ask takes, and how long it holds
// the write locks, with median and maximum. Choose the database with /sqlite or /postgres; -benchtime=5x asks five times.
func BenchmarkMillionEntries(b *testing.B) {
	quota := store.WithQuota(channel.Quota{HospitalEntries: math.MaxInt64 / 2, HospitalBytes: math.MaxInt64 / 2, PersonEntries: math.MaxInt64 / 2, PersonBytes: math.MaxInt64 / 2})
	b.Run("sqlite", func(b *testing.B) {
		millionEntries(b, open(b, b.TempDir(), quota), nullOf(b, "sqlite3", "file:"+filepath.Join(b.TempDir(), "null.db")+"?_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)"))
	})
	b.Run("postgres", func(b *testing.B) {
		dsn := pgserver.Database(b)
		millionEntries(b, hubOn(b, dsn, keys(b, b.TempDir()), quota), nullOf(b, "pgx", dsn))
	})
}

// nullOf is a write transaction that does nothing but be durable, one row of a table of its own: what it takes at the same time is the
// machine's part of what all others take.
func nullOf(b *testing.B, driver, dsn string) func() error {
	db, err := sql.Open(driver, dsn)
	must(b, err)
	b.Cleanup(func() { _ = db.Close() })
	_, err = db.ExecContext(b.Context(), "CREATE TABLE null_rows (n BIGINT)")
	must(b, err)
	return func() error {
		_, err := db.ExecContext(context.Background(), "INSERT INTO null_rows VALUES (1)")
		return err
	}
}

func millionEntries(b *testing.B, s *store.Store, null func() error) {
	ctx := context.Background()
	e := engine(b, s, access.WithGrantLife(24*time.Hour))
	g := e.Standing("test", access.Actions()...)
	owner, victim := nurse(b, s, "nora"), nurse(b, s, "vera")
	nora := access.Subject{Person: access.Person{ID: owner}, Workstation: station}
	channelID := func(name string) int64 {
		c, err := s.CreateChannel(ctx, channel.Channel{Name: name, Owner: owner})
		must(b, err)
		return c.ID
	}
	const million = 1_000_000
	fill := func(id int64, n int) {
		for from := 0; from < n; from += channel.MaxBulk {
			_, err := s.AppendEntries(ctx, g, id, bulkOf(from*10, min(channel.MaxBulk, n-from), "36.6")) // 14,400 seconds, then a gap
			must(b, err)
		}
	}
	big, side := channelID("big"), channelID("side")
	fill(big, million)
	next := int64(20 * million)
	scattered := func() []channel.Entry { // each to another page of the index by time
		all := make([]channel.Entry, channel.MaxBulk)
		for i := range all {
			v := "1"
			all[i] = channel.Entry{Created: time1(rand.Int64N(10 * million)).Add(time.Duration(1+rand.IntN(900_000)) * time.Microsecond), Fields: [8]*string{&v}}
		}
		return all
	}
	var h holds
	s.OnHeld(h.note)
	defer s.OnHeld(func(bool, time.Duration) {})
	measure := func(b *testing.B, do func() error) {
		h.take()
		var took, nothing []time.Duration
		var beside sync.WaitGroup
		over := make(chan struct{})
		beside.Go(func() {
			for {
				began := time.Now()
				if err := null(); err != nil {
					b.Error(err)
					return
				}
				nothing = append(nothing, time.Since(began))
				select {
				case <-over:
					return
				case <-time.After(20 * time.Millisecond):
				}
			}
		})
		for b.Loop() {
			began := time.Now()
			if err := do(); err != nil {
				b.Fatal(err)
			}
			took = append(took, time.Since(began))
		}
		close(over)
		beside.Wait()
		b.ReportMetric(0, "ns/op")
		report := func(name string, all []time.Duration) {
			if len(all) == 0 {
				return
			}
			slices.Sort(all)
			b.ReportMetric(float64(all[len(all)/2].Microseconds())/1000, name+"-p50-ms")
			b.ReportMetric(float64(all[len(all)-1].Microseconds())/1000, name+"-max-ms")
		}
		all := h.take()
		report("took", took)
		report("entries-held", all[true])
		report("directory-held", all[false])
		report("null", nothing)
	}
	b.Run("bulk-in-order", func(b *testing.B) {
		measure(b, func() error {
			next += channel.MaxBulk
			_, err := s.AppendEntries(ctx, g, big, bulkOf(int(next), channel.MaxBulk, "1"))
			return err
		})
	})
	b.Run("bulk-scattered", func(b *testing.B) {
		measure(b, func() error { _, err := s.AppendEntries(ctx, g, big, scattered()); return err })
	})
	b.Run("bulk-again", func(b *testing.B) {
		measure(b, func() error { _, err := s.AppendEntries(ctx, g, big, bulkOf(0, channel.MaxBulk, "36.6")); return err })
	})
	load := func(b *testing.B, do func() error) { // while bulk updates of the channel go on
		var done sync.WaitGroup
		under, stop := context.WithCancel(ctx)
		defer done.Wait()
		defer stop()
		done.Go(func() {
			for under.Err() == nil {
				if _, err := s.AppendEntries(ctx, g, big, scattered()); err != nil {
					b.Error(err)
					return
				}
			}
		})
		measure(b, do)
	}
	b.Run("update", func(b *testing.B) {
		measure(b, func() error { _, err := s.AppendEntry(ctx, g, big, channel.Entry{Status: "x"}); return err })
	})
	b.Run("update-elsewhere-under-load", func(b *testing.B) {
		load(b, func() error { _, err := s.AppendEntry(ctx, g, side, channel.Entry{Status: "x"}); return err })
	})
	b.Run("list-under-load", func(b *testing.B) {
		load(b, func() error { _, err := s.ChannelsOf(ctx, owner); return err })
	})
	b.Run("feeds-by-time-under-load", func(b *testing.B) {
		load(b, func() error {
			at := time1(rand.Int64N(10 * million))
			_, err := s.Entries(ctx, g, big, at, at.Add(24*time.Hour), 8000)
			return err
		})
	})
	b.Run("disable-under-load", func(b *testing.B) {
		off := false
		load(b, func() error { off = !off; return s.SetPersonDisabled(ctx, victim, off) })
	})
	b.Run("delete-channel", func(b *testing.B) {
		var ids []int64
		measure(b, func() error {
			id := big
			if len(ids) > 0 { // the first is the one of a million
				id = channelID(fmt.Sprint("c", len(ids)))
			}
			ids = append(ids, id)
			manage, err := e.Decide(ctx, nora, access.ManageChannel, access.OnChannel(id))
			if err == nil {
				err = s.DeleteChannel(ctx, manage, id)
			}
			return err
		})
	})
	b.Run("sweep-of-it", func(b *testing.B) {
		swept := false
		measure(b, func() error {
			if !swept {
				swept = true
				s.Swept(b)
			}
			return nil
		})
	})
}

// bulkOf are entries a second apart, with one value each.
func bulkOf(from, n int, value string) []channel.Entry {
	all := make([]channel.Entry, n)
	for i := range all {
		v := value
		all[i] = channel.Entry{Created: time1(int64(from + i)), Fields: [8]*string{&v}}
	}
	return all
}
