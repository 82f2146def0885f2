package store_test

import (
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"vitalseal/internal/hub/access"
	"vitalseal/internal/hub/channel"
	"vitalseal/internal/hub/store"
	"vitalseal/internal/hub/store/storetest/pgserver"
)

// TestEntriesMoveApart: a store of an older program, whose directory holds entries and commands, keeps all of them, also when the
// move was killed between its two halves.
func TestEntriesMoveApart(t *testing.T) {
	filesOnly(t)
	for _, killed := range []bool{false, true} {
		t.Run(fmt.Sprint("killed=", killed), func(t *testing.T) {
			ctx, dir := t.Context(), t.TempDir()
			s := open(t, dir)
			e, nora := engineOn(t, s)
			c, err := s.CreateChannel(ctx, channel.Channel{Name: "old", Owner: nora.Person.ID})
			must(t, err)
			q, err := s.CreateTalkBack(ctx, nora.Person.ID, "queue")
			must(t, err)
			use, err := e.Decide(ctx, nora, access.UseTalkBack, access.OnTalkBack(q.ID))
			must(t, err)
			g := standing(t, s)
			for i := range int64(3) {
				v := fmt.Sprint(i)
				_, err := s.AppendEntry(ctx, g, c.ID, channel.Entry{Created: time1(i), Fields: [8]*string{&v}})
				must(t, err)
				_, err = s.AddCommand(ctx, use, q.ID, "do "+v, 0)
				must(t, err)
			}
			before, err := s.Usages(ctx, 10)
			must(t, err)
			must(t, s.Close())
			older(t, filepath.Join(dir, "store"), killed)

			s = open(t, dir)
			got, err := s.Entries(ctx, g, c.ID, time1(0), time1(9), 0)
			if err != nil || len(got) != 3 || *got[2].Fields[0] != "2" {
				t.Fatalf("%d entries, %v", len(got), err)
			}
			commands, err := s.Commands(ctx, use, q.ID)
			if err != nil || len(commands) != 3 || commands[0].Text != "do 0" {
				t.Fatalf("%d commands, %v", len(commands), err)
			}
			after, err := s.Usages(ctx, 10)
			if err != nil || len(after) != 1 || after[0] != before[0] || after[0].Entries != 6 {
				t.Errorf("usage was %+v, is %+v, %v", before, after, err)
			}
			next, err := s.AppendEntry(ctx, g, c.ID, channel.Entry{Status: "new"})
			if err != nil || next.ID != 4 {
				t.Errorf("the next entry is %d, %v", next.ID, err)
			}
			command, err := s.AddCommand(ctx, use, q.ID, "more", 0)
			if err != nil || command.ID != 4 {
				t.Errorf("the next command is %d, %v", command.ID, err)
			}
			must(t, s.Close())
			db, err := sql.Open("sqlite3", "file:"+filepath.Join(dir, "store", "directory.db"))
			must(t, err)
			var n int
			err = db.QueryRow("SELECT count(*) FROM sqlite_master WHERE name IN ('entries', 'commands')").Scan(&n)
			if must(t, errors.Join(err, db.Close())); n != 0 {
				t.Errorf("%d tables stay in the directory", n)
			}
		})
	}
}

// older makes a store what the program before wrote: entries and commands in the directory. killed leaves what was copied already.
func older(t *testing.T, dir string, killed bool) {
	t.Helper()
	ctx, path := t.Context(), filepath.Join(dir, "directory.db")
	db, err := store.DirectoryBeforeApart(ctx, filepath.Join(dir, "old.db"))
	must(t, err)
	run := func(q string) {
		t.Helper()
		if _, err := db.ExecContext(ctx, q); err != nil {
			t.Fatalf("%s: %v", q, err)
		}
	}
	run("PRAGMA foreign_keys = OFF")
	run(fmt.Sprintf("ATTACH '%s' AS new", path))
	run(fmt.Sprintf("ATTACH '%s' AS apart", filepath.Join(dir, "channels.db")))
	rows, err := db.QueryContext(ctx, `SELECT m.name, group_concat(c.name) FROM main.sqlite_master m, pragma_table_info(m.name, 'main') c
		WHERE m.type = 'table' AND m.name NOT LIKE 'sqlite_%' AND m.name NOT IN ('entries', 'commands') GROUP BY m.name`)
	must(t, err)
	columns := map[string]string{}
	for rows.Next() {
		var table, all string
		must(t, rows.Scan(&table, &all))
		columns[table] = all
	}
	must(t, errors.Join(rows.Err(), rows.Close()))
	for table, all := range columns {
		run("DELETE FROM main." + table)
		run(fmt.Sprintf("INSERT INTO main.%s (%s) SELECT %s FROM new.%s", table, all, all, table))
	}
	run("INSERT INTO main.entries SELECT * FROM apart.entries")
	run("INSERT INTO main.commands SELECT * FROM apart.commands")
	run("UPDATE channels SET last_entry = (SELECT last FROM apart.stock s WHERE s.kind = 'channel' AND s.id = channels.id) WHERE patient IS NULL")
	run("UPDATE talkbacks SET last_command = (SELECT last FROM apart.stock s WHERE s.kind = 'talkback' AND s.id = talkbacks.id)")
	run("DETACH new")
	run("DETACH apart")
	must(t, db.Close())
	for _, end := range []string{"-wal", "-shm"} {
		if err := os.Remove(path + end); err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Fatal(err)
		}
	}
	must(t, os.Rename(filepath.Join(dir, "old.db"), path))
	if killed {
		return
	}
	for _, end := range []string{"", "-wal", "-shm"} {
		if err := os.Remove(filepath.Join(dir, "channels.db"+end)); err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Fatal(err)
		}
	}
}

// TestServerEntriesMoveApart is the same in PostgreSQL, there and back.
func TestServerEntriesMoveApart(t *testing.T) {
	onAnyRun(t)
	ctx, dsn, ks := t.Context(), pgserver.Database(t), keys(t, t.TempDir())
	s := hubOn(t, dsn, ks)
	g := standing(t, s)
	c, err := s.CreateChannel(ctx, channel.Channel{Name: "old"})
	must(t, err)
	for i := range int64(3) {
		_, err := s.AppendEntry(ctx, g, c.ID, channel.Entry{Created: time1(i), Status: fmt.Sprint(i)})
		must(t, err)
	}
	must(t, s.Close())
	must(t, store.MigratePostgres(ctx, dsn, store.ServerApartVersion()))
	s = hubOn(t, dsn, ks)
	got, err := s.Entries(ctx, g, c.ID, time1(0), time1(9), 0)
	if err != nil || len(got) != 3 {
		t.Fatalf("%d entries, %v", len(got), err)
	}
	next, err := s.AppendEntry(ctx, g, c.ID, channel.Entry{Status: "new"})
	if err != nil || next.ID != 4 {
		t.Errorf("the next entry is %d, %v", next.ID, err)
	}
	if all, err := s.Usages(ctx, 10); err != nil || len(all) != 1 || all[0].Entries != 4 {
		t.Errorf("usage %+v, %v", all, err)
	}
}

// TestQuotaAndSpace: who has stored as much as they may is refused with words that say of what; what is deleted is gone at once, counts
// no more, and gives its space back to the disk; no other is concerned.
func TestQuotaAndSpace(t *testing.T) {
	ctx, dir := t.Context(), t.TempDir()
	s := open(t, dir, store.WithQuota(channel.Quota{PersonEntries: 3000, PersonBytes: 1 << 20}))
	e, nora := engineOn(t, s)
	g, other := standing(t, s), nurse(t, s, "olga")
	channelID := func(owner string) int64 {
		c, err := s.CreateChannel(ctx, channel.Channel{Name: "c", Owner: owner})
		must(t, err)
		return c.ID
	}
	mine, second, theirs := channelID(nora.Person.ID), channelID(nora.Person.ID), channelID(other)
	v := strings.Repeat("x", 200)
	many := func(from, n int) []channel.Entry {
		all := make([]channel.Entry, n)
		for i := range all {
			all[i] = channel.Entry{Created: time1(int64(from + i)), Status: v}
		}
		return all
	}
	_, err := s.AppendEntries(ctx, g, mine, many(0, 600))
	must(t, err)
	usage := func() channel.Usage {
		all, err := s.Usages(ctx, 10)
		must(t, err)
		for _, u := range all {
			if u.Owner == nora.Person.ID {
				return u
			}
		}
		return channel.Usage{}
	}
	if u := usage(); u.Entries != 600 || u.Bytes < 600*200 {
		t.Errorf("usage %+v", u)
	}
	if _, err := s.AppendEntries(ctx, g, mine, many(600, 3000)); !errors.Is(err, channel.ErrQuota) {
		t.Errorf("beyond the quota: %v", err)
	}
	if u := usage(); u.Entries != 600 {
		t.Errorf("what was refused counts: %+v", u)
	}
	for i := 0; err == nil; i++ { // another channel of the same person shares the quota
		if _, err = s.AppendEntry(ctx, g, second, channel.Entry{Status: v}); i > 3000 {
			t.Fatal("no bound")
		}
		if i > 5 {
			_, err = s.AppendEntries(ctx, g, second, many(10_000+i*600, 600))
		}
	}
	if !errors.Is(err, channel.ErrQuota) {
		t.Fatal(err)
	}
	if _, err := s.AppendEntry(ctx, g, theirs, channel.Entry{Status: v}); err != nil {
		t.Errorf("another person: %v", err)
	}
	_, full := s.Swept(t)
	for _, id := range []int64{mine, second} {
		grant, err := e.Decide(ctx, nora, access.ManageChannel, access.OnChannel(id))
		must(t, err)
		must(t, s.ClearChannel(ctx, grant, id))
		if got, err := s.Entries(ctx, g, id, time1(-100_000), time1(1_000_000), 0); err != nil || len(got) != 0 {
			t.Errorf("%d entries are read after all were deleted, %v", len(got), err)
		}
		if got, err := s.EntriesByID(ctx, g, id, 0, 1<<40, 0, false); err != nil || len(got) != 0 {
			t.Errorf("%d entries are read by id after all were deleted, %v", len(got), err)
		}
	}
	first, err := s.AppendEntries(ctx, g, mine, many(0, 1)) // its time was taken by one that is deleted
	if err != nil || first[0].ID != 601 {
		t.Errorf("after the deletion: entry %d, %v", first[0].ID, err)
	}
	free, pages := s.Swept(t)
	if u := usage(); u.Entries != 1 || u.Bytes > 1000 {
		t.Errorf("usage after the deletion %+v", u)
	}
	if full > 0 && (free > 0 || pages > full/2) {
		t.Errorf("of %d pages %d stay, %d of them free", full, pages, free)
	}
}

// TestGoneChannelsLeaveNothing: what a kill between the two halves of a deletion has left is swept at the next start.
func TestGoneChannelsLeaveNothing(t *testing.T) {
	filesOnly(t)
	ctx, dir := t.Context(), t.TempDir()
	s := open(t, dir)
	c, err := s.CreateChannel(ctx, channel.Channel{Name: "c"})
	must(t, err)
	_, err = s.AppendEntry(ctx, standing(t, s), c.ID, channel.Entry{Status: "x"})
	must(t, err)
	must(t, s.Close())
	db, err := sql.Open("sqlite3", "file:"+filepath.Join(dir, "store", "directory.db"))
	must(t, err)
	_, err = db.Exec("DELETE FROM channels")
	must(t, errors.Join(err, db.Close()))
	s = open(t, dir)
	for u := []channel.Usage{{Entries: 1}}; u[0].Entries > 0; { // the sweeper runs by itself
		if u, err = s.Usages(ctx, 1); err != nil || ctx.Err() != nil {
			t.Fatal(err, ctx.Err())
		}
		time.Sleep(time.Millisecond)
	}
}
