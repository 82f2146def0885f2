package store_test

import (
	"database/sql"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"vitalseal/internal/hub/access"
	"vitalseal/internal/hub/channel"
	"vitalseal/internal/hub/store"
	"vitalseal/internal/hub/store/storetest/pgserver"
	"vitalseal/internal/way/delivery"
)

// fullServer has a PostgreSQL server answer every write of some tables as it does when its disk is full, until room is called.
func fullServer(t *testing.T, dsn string, tables ...string) (room func()) {
	t.Helper()
	db, err := sql.Open("pgx", dsn)
	must(t, err)
	t.Cleanup(func() { _ = db.Close() })
	exec := func(query string) {
		t.Helper()
		_, err := db.ExecContext(t.Context(), query)
		must(t, err)
	}
	exec(`CREATE FUNCTION no_room() RETURNS trigger AS $$ BEGIN
		RAISE EXCEPTION 'could not extend file "base/16384/16423": No space left on device' USING ERRCODE = 'disk_full', HINT = 'Check free disk space.';
	END $$ LANGUAGE plpgsql`)
	for _, table := range tables {
		exec(fmt.Sprintf("CREATE TRIGGER no_room BEFORE INSERT OR UPDATE OR DELETE ON %s FOR EACH ROW EXECUTE FUNCTION no_room()", table))
	}
	return func() { exec("DROP FUNCTION no_room() CASCADE") }
}

// TestFullServerIsShownLive: a database server without room is a full disk: what is of the present is shown live once and put off, entries of channels are
// refused as such, the error and the log name the server's disk, and who is locked out is so at once. Once there is room all of it is stored.
func TestFullServerIsShownLive(t *testing.T) {
	onAnyRun(t)
	dsn, said := pgserver.Database(t), &lines{}
	s, err := store.Open(t.Context(), "", keys(t, t.TempDir()), slog.New(slog.NewTextHandler(said, nil)), store.WithPostgres(dsn))
	must(t, err)
	t.Cleanup(func() { must(t, s.Close()) })
	now := time.Now()
	e := engine(t, s)
	g := e.Standing("test", access.AppendVitals)
	patient := ward(t, s, now, 1)[0]
	person := nurse(t, s, "nora")
	channelID, err := s.CreateChannel(t.Context(), channel.Channel{Name: "c", Owner: person})
	must(t, err)
	appendAs(t, s, g, arrival(sensorID("s0"), numerics(now.Add(-time.Second), heart(70)), epoch(1), 0), delivery.Accepted, "") // the day's tables
	sub, err := s.Watch(t.Context(), []access.Grant{e.Standing("screen", access.ViewPatient)})
	must(t, err)
	day := now.UTC().Format("20060102")
	room := fullServer(t, dsn, "recent_"+day, "entries", "persons")

	a := arrival(sensorID("s0"), numerics(now, heart(71)), epoch(1), 1)
	for range 2 {
		o, _, err := s.Append(t.Context(), g, a)
		if o != delivery.Retry || !store.Full(err) || !strings.Contains(err.Error(), "the disk of the database server") || !strings.Contains(err.Error(), "53100") {
			t.Fatalf("%v, %v", o, err)
		}
	}
	if u, err := next(t, sub); err != nil || u.Patient != patient || u.Chunk.Bundles[0].Numerics[0].Value != 71 {
		t.Fatalf("a screen sees %+v, %v", u, err)
	}
	if _, err := s.AppendEntry(t.Context(), standing(t, s), channelID.ID, channel.Entry{Status: "x"}); !store.Full(err) {
		t.Errorf("an entry: %v", err)
	}
	if n := said.count("the disk of the database server"); n != 1 {
		t.Errorf("the log names the server's disk %d times, want once in ten seconds", n)
	}
	var written atomic.Bool
	done := make(chan error, 1)
	go func() {
		err := s.SetPersonDisabled(t.Context(), person, true)
		written.Store(true)
		done <- err
	}()
	for {
		p, err := s.Person(t.Context(), person)
		must(t, err)
		if p.Disabled {
			break
		}
	}
	if written.Load() {
		t.Error("what a full server cannot write is called written")
	}
	room()
	must(t, <-done)
	appendAs(t, s, g, a, delivery.Accepted, "")
	appendAs(t, s, g, a, delivery.Duplicate, "")
	if _, err := s.AppendEntry(t.Context(), standing(t, s), channelID.ID, channel.Entry{Status: "x"}); err != nil {
		t.Errorf("an entry, with room again: %v", err)
	}
}
