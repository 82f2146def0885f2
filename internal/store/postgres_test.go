package store_test

import (
	"database/sql"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"time"

	"vitalseal/internal/seal"
	"vitalseal/internal/store"
	"vitalseal/internal/store/storetest"
	"vitalseal/internal/store/storetest/pgserver"
)

// hubOn opens the store in the database of dsn as one more hub.
func hubOn(t testing.TB, dsn string, ks seal.KeyStore, o ...store.Option) *store.Store {
	t.Helper()
	s, err := store.Open(t.Context(), "", ks, slog.New(slog.DiscardHandler), append(o, store.WithPostgres(dsn))...)
	must(t, err)
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func TestConformance(t *testing.T) {
	t.Run("sqlite", func(t *testing.T) {
		storetest.Run(t, func(t *testing.T) *store.Store { return open(t, t.TempDir()) })
	})
	t.Run("postgres", func(t *testing.T) {
		storetest.Run(t, func(t *testing.T) *store.Store { return hubOn(t, pgserver.Database(t), keys(t, t.TempDir())) })
	})
}

// TestTwoHubs: two hubs take the same chunks of the same patients at once; each is there once and both show all of them live.
func TestTwoHubs(t *testing.T) {
	dsn, ks := pgserver.Database(t), keys(t, t.TempDir())
	hubs := []*store.Store{hubOn(t, dsn, ks), hubOn(t, dsn, ks)}
	now := time.Now().Truncate(time.Microsecond)
	patients := ward(t, hubs[0], now, 3)
	g := standing(t, hubs[0])
	const each = 40
	var live []*store.Subscription
	for _, h := range hubs {
		sub, err := h.Watch(t.Context(), []storetest.Grant{g})
		must(t, err)
		live = append(live, sub)
	}
	var wg sync.WaitGroup
	var mu sync.Mutex
	accepted := 0
	for _, h := range hubs { // each hub is sent every chunk
		for i := range patients {
			wg.Go(func() {
				for seq := range uint64(each) {
					at := now.Add(-time.Minute + time.Duration(seq)*time.Second)
					o, why, err := h.Append(t.Context(), g, arrival(sensorID([]string{"s0", "s1", "s2"}[i]), numerics(at, heart(60)), epoch(1), seq))
					for err != nil { // as a gateway does
						o, why, err = h.Append(t.Context(), g, arrival(sensorID([]string{"s0", "s1", "s2"}[i]), numerics(at, heart(60)), epoch(1), seq))
					}
					if why != "" {
						t.Error(why)
					}
					if o == store.Accepted {
						mu.Lock()
						accepted++
						mu.Unlock()
					}
				}
			})
		}
	}
	wg.Wait()
	if want := each * len(patients); accepted != want {
		t.Errorf("%d chunks accepted, want %d", accepted, want)
	}
	for i, sub := range live {
		got := map[string]int{}
		for range each * len(patients) {
			u, err := sub.Next(t.Context())
			must(t, err)
			got[u.Patient]++
		}
		for _, p := range patients {
			if got[p] != each {
				t.Errorf("hub %d showed %d chunks of a patient live, want %d", i, got[p], each)
			}
		}
	}
	for i, h := range hubs {
		d, err := h.Delivery(t.Context())
		must(t, err)
		for _, st := range d.Streams {
			if st.Chunks != each || st.Doubled != 0 || st.Missing != 0 {
				t.Errorf("hub %d counts %+v", i, st)
			}
		}
		for _, p := range patients {
			points, err := h.Trends(t.Context(), g, p, storetest.HeartRate, now.Add(-time.Hour), now.Add(time.Hour), time.Hour)
			must(t, err)
			n := 0
			for _, p := range points {
				n += p.Count
			}
			if n != each {
				t.Errorf("hub %d: trend of %d values, want %d", i, n, each)
			}
		}
	}
}

// TestHubsHearOfChanges: what one hub holds in memory goes when another changes it.
func TestHubsHearOfChanges(t *testing.T) {
	dsn, ks := pgserver.Database(t), keys(t, t.TempDir())
	a, b := hubOn(t, dsn, ks), hubOn(t, dsn, ks)
	now := time.Now().Truncate(time.Microsecond)
	ward(t, a, now, 1)
	g := standing(t, a)
	appendAs(t, b, g, arrival(sensorID("s0"), ppg(now, 1, 2), epoch(1), 0), store.Accepted, "")
	before := b.DeviceChanges()
	must(t, a.SetDeviceState(t.Context(), sensorID("s0"), store.DeviceDeleted))
	for b.DeviceChanges() == before {
		if err := t.Context().Err(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Millisecond)
	}
	appendAs(t, b, g, arrival(sensorID("s0"), ppg(now, 1, 2), epoch(1), 1), store.Rejected, store.ReasonDeleted)
}

// TestHubsShareSequences: numbers that must be given once are given once over all hubs.
func TestHubsShareSequences(t *testing.T) {
	dsn, ks := pgserver.Database(t), keys(t, t.TempDir())
	hubs := []*store.Store{hubOn(t, dsn, ks), hubOn(t, dsn, ks)}
	c, err := hubs[0].CreateChannel(t.Context(), store.Channel{Name: "free"})
	must(t, err)
	g := standing(t, hubs[0])
	var mu sync.Mutex
	var ids []int64
	announced := 0
	var wg sync.WaitGroup
	for i, h := range hubs {
		wg.Go(func() {
			for range 20 {
				e, err := h.AppendEntry(t.Context(), g, c.ID, store.Entry{})
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				ids = append(ids, e.ID)
				mu.Unlock()
			}
		})
		wg.Go(func() { // two gateways with the same identity: one of them is refused
			e := epoch(uint64(i) + 1)
			e.Number = 7
			switch err := h.SaveAnnouncement(t.Context(), "spiffe://test/sensor/x", e, 1, []byte{byte(i)}); {
			case err == nil:
				mu.Lock()
				announced++
				mu.Unlock()
			case !errors.Is(err, store.ErrConflict):
				t.Error(err)
			}
		})
	}
	wg.Wait()
	slices.Sort(ids)
	for i, id := range ids {
		if id != int64(i)+1 {
			t.Fatalf("entry ids %v", ids)
		}
	}
	if len(ids) != 40 || announced != 1 {
		t.Errorf("%d entries, %d announcements", len(ids), announced)
	}
}

// TestMigrateBothWays: every schema step goes up, back and up again.
func TestMigrateBothWays(t *testing.T) {
	dsn := pgserver.Database(t)
	for _, to := range []int{-1, 1, -1, 0, -1} {
		if err := store.MigratePostgres(t.Context(), dsn, to); err != nil {
			t.Fatalf("to %d: %v", to, err)
		}
	}
	if err := store.MigratePostgres(t.Context(), dsn, 99); !errors.Is(err, store.ErrInvalid) {
		t.Errorf("to an unknown version: %v", err)
	}
}

// TestLostNotices: a hub that loses the connection which tells it of others' work shows all of it live all the same.
func TestLostNotices(t *testing.T) {
	dsn, ks := pgserver.Database(t), keys(t, t.TempDir())
	a, b := hubOn(t, dsn, ks), hubOn(t, dsn, ks)
	now := time.Now().Truncate(time.Microsecond)
	ward(t, a, now, 1)
	g := standing(t, a)
	sub, err := b.Watch(t.Context(), []storetest.Grant{g})
	must(t, err)
	db, err := sql.Open("pgx", dsn)
	must(t, err)
	defer db.Close() //nolint:errcheck // nothing is pending
	for seq := range uint64(30) {
		if seq%10 == 5 {
			_, err := db.ExecContext(t.Context(), `SELECT pg_terminate_backend(pid) FROM pg_stat_activity
				WHERE application_name = 'vitalseal notices' AND datname = current_database()`)
			must(t, err)
		}
		appendAs(t, a, g, arrival(sensorID("s0"), ppg(now, 1, 2), epoch(1), seq), store.Accepted, "")
	}
	seen := map[uint64]int{}
	for range 30 {
		u, err := sub.Next(t.Context())
		must(t, err)
		seen[u.Header.Seq]++
	}
	if len(seen) != 30 {
		t.Errorf("%d of 30 chunks shown live: %v", len(seen), seen)
	}
}

func TestPlaceholders(t *testing.T) {
	for in, want := range map[string]string{
		"SELECT 1":                        "SELECT 1",
		"a = ? AND b = ?":                 "a = $1 AND b = $2",
		"a = ?2 OR b = ?1 OR c = ?12":     "a = $2 OR b = $1 OR c = $12",
		"a = 'what?' AND b = ?":           "a = 'what?' AND b = $1",
		"coalesce(a, '') = ? OR c = '?''": "coalesce(a, '') = $1 OR c = '?''",
	} {
		if got := store.Dollars(in); got != want {
			t.Errorf("%s became %s, want %s", in, got, want)
		}
	}
}
