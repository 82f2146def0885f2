package store_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"vitalseal/internal/hub/access"
	"vitalseal/internal/hub/archive"
	"vitalseal/internal/hub/channel"
	"vitalseal/internal/hub/directory"
	"vitalseal/internal/hub/store"
	"vitalseal/internal/hub/store/storetest"
	"vitalseal/internal/hub/store/storetest/pgserver"
	"vitalseal/internal/way/delivery"
	"vitalseal/internal/way/seal"
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
	onAnyRun(t)
	t.Run("sqlite", func(t *testing.T) {
		storetest.Run(t, func(t *testing.T) *store.Store { return open(t, t.TempDir()) })
	})
	t.Run("postgres", func(t *testing.T) {
		storetest.Run(t, func(t *testing.T) *store.Store { return hubOn(t, pgserver.Database(t), keys(t, t.TempDir())) })
	})
}

// TestStrangersAreBounded: logins that belong to no person do not fill the store, and push out no person's count.
func TestStrangersAreBounded(t *testing.T) {
	onAnyRun(t)
	for name, s := range map[string]*store.Store{"sqlite": open(t, t.TempDir()), "postgres": hubOn(t, pgserver.Database(t), keys(t, t.TempDir()))} {
		now := time.Now().UTC().Truncate(time.Microsecond)
		must(t, s.SwapTryCount(t.Context(), "person", access.TryCount{}, access.TryCount{Failures: 1, At: now, Person: "u1"}))
		for i := range 30 {
			must(t, s.SwapTryCount(t.Context(), fmt.Sprintf("stranger %02d", i), access.TryCount{}, access.TryCount{Failures: 1, At: now.Add(time.Duration(i) * time.Second)}))
		}
		must(t, s.SweepTries(t.Context(), 10))
		for count, want := range map[string]int{"person": 1, "stranger 29": 1, "stranger 20": 1, "stranger 19": 0, "stranger 00": 0} {
			if c, err := s.TryCount(t.Context(), count); err != nil || c.Failures != want {
				t.Errorf("%s: %s: %+v, %v", name, count, c, err)
			}
		}
	}
}

// TestTwoHubs: two hubs take the same chunks of the same patients at once; each is there once and both show all of them live.
func TestTwoHubs(t *testing.T) {
	onAnyRun(t)
	dsn, ks := pgserver.Database(t), keys(t, t.TempDir())
	hubs := []*store.Store{hubOn(t, dsn, ks), hubOn(t, dsn, ks)}
	now := time.Now().Truncate(time.Microsecond)
	patients := ward(t, hubs[0], now, 3)
	g := standing(t, hubs[0])
	const each = 40
	var live []*archive.Subscription
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
					if o == delivery.Accepted {
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
	onAnyRun(t)
	dsn, ks := pgserver.Database(t), keys(t, t.TempDir())
	a, b := hubOn(t, dsn, ks), hubOn(t, dsn, ks)
	now := time.Now().Truncate(time.Microsecond)
	ward(t, a, now, 1)
	g := standing(t, a)
	appendAs(t, b, g, arrival(sensorID("s0"), ppg(now, 1, 2), epoch(1), 0), delivery.Accepted, "")
	before := b.DeviceChanges()
	must(t, a.SetDeviceState(t.Context(), sensorID("s0"), directory.DeviceDeleted))
	for b.DeviceChanges() == before {
		if err := t.Context().Err(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Millisecond)
	}
	appendAs(t, b, g, arrival(sensorID("s0"), ppg(now, 1, 2), epoch(1), 1), delivery.Rejected, archive.ReasonDeleted)
}

// TestHubsShareSequences: numbers that must be given once are given once over all hubs.
func TestHubsShareSequences(t *testing.T) {
	onAnyRun(t)
	dsn, ks := pgserver.Database(t), keys(t, t.TempDir())
	hubs := []*store.Store{hubOn(t, dsn, ks), hubOn(t, dsn, ks)}
	c, err := hubs[0].CreateChannel(t.Context(), channel.Channel{Name: "free"})
	must(t, err)
	g := standing(t, hubs[0])
	var mu sync.Mutex
	var ids []int64
	announced := 0
	var wg sync.WaitGroup
	for i, h := range hubs {
		wg.Go(func() {
			for range 20 {
				e, err := h.AppendEntry(t.Context(), g, c.ID, channel.Entry{})
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
			switch err := h.SaveAnnouncement(t.Context(), "spiffe://test/sensor/x", delivery.Start{}, e, 1, []byte{byte(i)}); {
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
	onAnyRun(t)
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
	onAnyRun(t)
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
		appendAs(t, a, g, arrival(sensorID("s0"), ppg(now, 1, 2), epoch(1), seq), delivery.Accepted, "")
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
	onAnyRun(t)
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

// TestServerMustBeProven: a database on another machine is reached over verified TLS or not at all, and no error repeats a password.
func TestServerMustBeProven(t *testing.T) {
	onAnyRun(t)
	for _, dsn := range []string{
		"postgres://hub:geheim@db.example.org/vitalseal", "postgres://hub:geheim@db.example.org/vitalseal?sslmode=require",
		"postgres://hub:geheim@db.example.org/vitalseal?sslmode=prefer", "host=192.0.2.1 password=geheim sslmode=disable",
		"host=127.0.0.1,db.example.org password=geheim sslmode=disable", "postgres://hub:geheim@[::1/x", "postgres://hub:geheim@db.example.org:no/x",
	} {
		err := store.MigratePostgres(t.Context(), dsn, -1)
		if !errors.Is(err, store.ErrNoDatabase) {
			t.Errorf("%s: %v", dsn, err)
		}
		if strings.Contains(fmt.Sprint(err), "geheim") {
			t.Errorf("the error has the password: %v", err)
		}
	}
	// Verified, or on this machine: taken, though no server answers.
	for _, dsn := range []string{"postgres://hub:geheim@127.0.0.1:1/x?sslmode=disable&connect_timeout=1", "host=/nowhere password=geheim dbname=x"} {
		err := store.MigratePostgres(t.Context(), dsn, -1)
		if err == nil || strings.Contains(err.Error(), "verify-full") || strings.Contains(err.Error(), "geheim") {
			t.Errorf("%s: %v", dsn, err)
		}
	}
}

// TestWrongRootKey: with another root key nothing is opened, and the error says so.
func TestWrongRootKey(t *testing.T) {
	onAnyRun(t)
	dsn := pgserver.Database(t)
	hubOn(t, dsn, keys(t, t.TempDir()))
	s, err := store.Open(t.Context(), "", keys(t, t.TempDir()), slog.New(slog.DiscardHandler), store.WithPostgres(dsn))
	if !errors.Is(err, seal.ErrOpen) {
		t.Errorf("another root key: %v, %v", s, err)
	}
}

// TestForgottenKeyLeavesTheTable: the wrapped key of a patient who was forgotten is in no file of the table any more.
func TestForgottenKeyLeavesTheTable(t *testing.T) {
	onAnyRun(t)
	dsn := pgserver.Database(t)
	s := hubOn(t, dsn, keys(t, t.TempDir()))
	now := time.Now().Truncate(time.Microsecond)
	patient := ward(t, s, now.Add(-time.Hour), 1)[0]
	wrapped := s.WrappedKey(t, patient)
	db, err := sql.Open("pgx", dsn)
	must(t, err)
	defer db.Close() //nolint:errcheck // nothing is pending
	inFile := func() (found bool) {
		t.Helper()
		_, err := db.ExecContext(t.Context(), "CHECKPOINT")
		must(t, err)
		must(t, db.QueryRowContext(t.Context(), "SELECT position($1::bytea IN pg_read_binary_file(pg_relation_filepath('keys'))) > 0", wrapped).Scan(&found))
		return found
	}
	if !inFile() {
		t.Fatal("the test does not find the wrapped key while it is there")
	}
	must(t, s.Discharge(t.Context(), patient, now))
	must(t, s.Forget(t.Context(), patient))
	if inFile() {
		t.Error("the wrapped key is still in the table's file")
	}
}

// TestMovedSensorWhileStoring: chunks that were prepared before a patient left the bed, and would be stored after it, go to no patient's
// name but the one who lay there: their sender sends them again.
func TestMovedSensorWhileStoring(t *testing.T) {
	onAnyRun(t)
	dsn, ks := pgserver.Database(t), keys(t, t.TempDir())
	a, b := hubOn(t, dsn, ks), hubOn(t, dsn, ks)
	now := time.Now().Truncate(time.Microsecond)
	patient := ward(t, a, now.Add(-time.Hour), 1)[0]
	g := standing(t, b)
	left := now.Add(-time.Minute)
	stop, ended := make(chan struct{}), make(chan struct{})
	go func() { // chunks of after the patient left
		defer close(ended)
		for seq := uint64(0); ; seq++ {
			select {
			case <-stop:
				return
			default:
			}
			for {
				o, _, err := b.Append(context.Background(), g, arrival(sensorID("s0"), numerics(left.Add(time.Duration(seq+1)*time.Millisecond), heart(60)), epoch(1), seq))
				if o == delivery.Accepted || o == delivery.Duplicate {
					break
				}
				if err != nil {
					t.Error(err)
					return
				}
			}
		}
	}()
	time.Sleep(20 * time.Millisecond) // any moment will do
	must(t, a.Discharge(t.Context(), patient, left))
	db, err := sql.Open("pgx", dsn)
	must(t, err)
	defer db.Close() //nolint:errcheck // nothing is pending
	count := func() (n int) {
		t.Helper()
		must(t, db.QueryRowContext(t.Context(), "SELECT count(*) FROM recent r JOIN subjects s ON s.id = r.subject WHERE s.name = $1", patient).Scan(&n))
		return n
	}
	before := count()
	time.Sleep(100 * time.Millisecond)
	close(stop)
	<-ended
	if after := count(); after != before {
		t.Errorf("%d chunks under the patient's name when the discharge was stored, %d later", before, after)
	}
}

// TestLead: one hub at a time, and another when it is gone.
func TestLead(t *testing.T) {
	onAnyRun(t)
	dsn, ks := pgserver.Database(t), keys(t, t.TempDir())
	a, b := hubOn(t, dsn, ks), hubOn(t, dsn, ks)
	ctx, cancel := context.WithCancel(t.Context())
	leads := make(chan string)
	var wg sync.WaitGroup
	lead := func(ctx context.Context, name string, s *store.Store) {
		wg.Go(func() {
			err := s.Lead(ctx, "work", func(ctx context.Context) error {
				select {
				case leads <- name:
				case <-ctx.Done():
				}
				<-ctx.Done()
				return nil
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	first, stop := context.WithCancel(ctx)
	lead(first, "a", a)
	if got := <-leads; got != "a" {
		t.Fatal(got)
	}
	lead(ctx, "b", b)
	select {
	case got := <-leads:
		t.Fatalf("%s leads as well", got)
	case <-time.After(1500 * time.Millisecond): // it tried
	}
	stop()
	if got := <-leads; got != "b" {
		t.Fatal(got)
	}
	// Its connection breaks: it stops, and leads again.
	db, err := sql.Open("pgx", dsn)
	must(t, err)
	defer db.Close() //nolint:errcheck // nothing is pending
	_, err = db.ExecContext(t.Context(), "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND classid = $1 AND pid <> pg_backend_pid()", 0x76697461+2)
	must(t, err)
	if got := <-leads; got != "b" {
		t.Fatal(got)
	}
	cancel()
	wg.Wait()
}
