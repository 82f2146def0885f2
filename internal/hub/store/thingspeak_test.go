package store_test

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"vitalseal/internal/hub/access"
	"vitalseal/internal/hub/channel"
	"vitalseal/internal/hub/store"
	"vitalseal/internal/shared/audit"
)

// TestOldKeysStayValid: a store that was written before there were keys for no channel keeps its keys, and gains the new kinds.
func TestOldKeysStayValid(t *testing.T) {
	filesOnly(t)
	ctx, dir := t.Context(), t.TempDir()
	file := filepath.Join(dir, "store", "directory.db")
	must(t, os.MkdirAll(filepath.Dir(file), 0o700))
	db, err := store.OldDirectory(ctx, file)
	must(t, err)
	for _, q := range []string{
		"INSERT INTO persons VALUES ('n', 'nora', 'x', x'00', 'nurse', '[]', '[]', NULL, 0, 0, '', '')",
		"INSERT INTO channels VALUES (7, NULL, 1000000, 3, x'00')",
		"INSERT INTO patients VALUES ('p', x'00', 1)",
		"INSERT INTO channels VALUES (8, 'p', 1000000, 0, x'00')",
		"INSERT INTO entries VALUES (7, 3, 5, x'00')",
		"INSERT INTO api_keys VALUES (x'" + "0102030405060708091011121314151617181920212223242526272829303132" + "', 'n', 7, 1)",
	} {
		if _, err := db.ExecContext(ctx, q); err != nil {
			t.Fatalf("%s: %v", q, err)
		}
	}
	must(t, db.Close())
	s := open(t, dir)
	keys, err := s.APIKeysOf(ctx, "n")
	must(t, err)
	if len(keys) != 1 || keys[0].Channel != 7 || !keys[0].Write || keys[0].TalkBack != 0 || keys[0].Hash[0] != 1 || keys[0].Account() {
		t.Errorf("%+v", keys)
	}
	ref, err := s.ChannelRef(ctx, 7)
	must(t, err)
	if diff := cmp.Diff(access.ChannelRef{ID: 7}, ref); diff != "" {
		t.Error(diff)
	}
	must(t, s.SaveAPIKey(ctx, access.APIKey{Hash: [32]byte{9}, PersonID: "n"}))
	if k, err := s.APIKey(ctx, [32]byte{9}); err != nil || !k.Account() {
		t.Errorf("%+v %v", k, err)
	}
	if err := s.SaveAPIKey(ctx, access.APIKey{Hash: [32]byte{8}, PersonID: "n", TalkBack: 5}); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("a key of no TalkBack: %v", err)
	}
	must(t, s.Close())
	// The database itself keeps a patient's channel from being public.
	db, err = store.NewDirectory(ctx, file)
	must(t, err)
	defer db.Close()
	if _, err := db.ExecContext(ctx, "UPDATE channels SET public = 1 WHERE id = 8"); err == nil {
		t.Error("a patient's channel was made public")
	}
	if _, err := db.ExecContext(ctx, "UPDATE channels SET public = 1 WHERE id = 7"); err != nil {
		t.Error(err)
	}
}

// engineOn is an engine whose nurse "n" may use what is hers, with the key of her account.
func engineOn(t *testing.T, s *store.Store) (*access.Engine, access.Subject) {
	t.Helper()
	dir := t.TempDir()
	log := slog.New(slog.DiscardHandler)
	trail, err := audit.Open(filepath.Join(dir, "audit"), filepath.Join(dir, "audit.key"), log)
	must(t, err)
	t.Cleanup(func() { _ = trail.Close() })
	e, err := access.New(s, trail, nil, log)
	must(t, err)
	id, err := s.CreatePerson(context.Background(), access.Person{Login: "nora", Role: access.RoleNurse, DisplayName: "N"}, "x")
	must(t, err)
	k := access.APIKey{Hash: [32]byte{1}, PersonID: id}
	must(t, s.SaveAPIKey(context.Background(), k))
	return e, access.Subject{Person: access.Person{ID: id}, Workstation: station, Key: &k}
}

// TestQueueSurvives: commands keep their places through closing and opening, and the bounds hold without a grant.
func TestQueueSurvives(t *testing.T) {
	ctx, dir := t.Context(), t.TempDir()
	s := open(t, dir)
	e, nora := engineOn(t, s)
	tb, err := s.CreateTalkBack(ctx, nora.Person.ID, "Doors")
	must(t, err)
	other, err := s.CreateTalkBack(ctx, nora.Person.ID, "Lamps")
	must(t, err)
	g, err := e.Decide(ctx, nora, access.UseTalkBack, access.OnTalkBack(tb.ID))
	must(t, err)
	for _, text := range []string{"a", "b", "c"} {
		if _, err := s.AddCommand(ctx, g, tb.ID, text, 1); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.AddCommand(ctx, g, other.ID, "x", 0); !errors.Is(err, store.ErrNotAllowed) {
		t.Errorf("another queue: %v", err)
	}
	if _, err := s.Commands(ctx, access.Grant{}, tb.ID); !errors.Is(err, store.ErrNotAllowed) {
		t.Errorf("no grant: %v", err)
	}
	if _, err := s.AddCommand(ctx, g, tb.ID, "", 0); !errors.Is(err, store.ErrInvalid) {
		t.Errorf("an empty command: %v", err)
	}
	must(t, s.Close())
	s = open(t, dir)
	c, err := s.ExecuteCommand(ctx, g, tb.ID)
	if err != nil || c.Text != "c" {
		t.Errorf("%+v %v", c, err)
	}
	all, err := s.Commands(ctx, g, tb.ID)
	if err != nil || len(all) != 2 || all[0].Text != "b" || all[0].Position != 1 || all[1].Position != 2 {
		t.Errorf("%+v %v", all, err)
	}
	must(t, s.DeleteTalkBack(ctx, g, tb.ID))
	if _, err := s.Commands(ctx, g, tb.ID); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("deleted: %v", err)
	}
}

// TestBulkIsWhole: of many entries all are stored or none, and a repetition stores nothing.
func TestBulkIsWhole(t *testing.T) {
	ctx := t.Context()
	s := open(t, t.TempDir())
	e, nora := engineOn(t, s)
	c, err := s.CreateChannel(ctx, channel.Channel{Name: "x", Owner: nora.Person.ID})
	must(t, err)
	write := access.APIKey{Hash: [32]byte{2}, PersonID: nora.Person.ID, Channel: c.ID, Write: true}
	g, err := e.Decide(ctx, access.Subject{Person: nora.Person, Workstation: station, Key: &write}, access.WriteChannel, access.OnChannel(c.ID))
	must(t, err)
	at := func(second int64, v string) channel.Entry {
		return channel.Entry{Created: time1(second), Fields: [8]*string{&v}}
	}
	first, err := s.AppendEntries(ctx, g, c.ID, []channel.Entry{at(1, "a"), at(2, "b")})
	must(t, err)
	again, err := s.AppendEntries(ctx, g, c.ID, []channel.Entry{at(1, "a"), at(2, "b")})
	must(t, err)
	if diff := cmp.Diff(first, again); diff != "" {
		t.Error(diff)
	}
	if _, err := s.AppendEntries(ctx, g, c.ID, []channel.Entry{at(3, "c"), at(2, "z")}); !errors.Is(err, channel.ErrTaken) {
		t.Errorf("a conflict: %v", err)
	}
	got, err := s.Channel(ctx, c.ID)
	if err != nil || got.LastEntryID != 2 {
		t.Errorf("%+v %v", got, err)
	}
	if _, err := s.AppendEntries(ctx, g, c.ID, make([]channel.Entry, channel.MaxBulk+1)); !errors.Is(err, store.ErrInvalid) {
		t.Errorf("too many: %v", err)
	}
	for i := range channel.MaxOwned {
		if _, err = s.CreateChannel(ctx, channel.Channel{Name: "x", Owner: nora.Person.ID}); err != nil {
			if i != channel.MaxOwned-1 || !errors.Is(err, store.ErrInvalid) {
				t.Errorf("channel %d: %v", i, err)
			}
			return
		}
	}
	t.Error("no bound on channels")
}

func time1(second int64) time.Time { return time.Unix(1_700_000_000+second, 0).UTC() }

// TestMQTTDevices: a device is found by its client id and among its person's own, with its rights, and is gone once deleted.
func TestMQTTDevices(t *testing.T) {
	ctx := t.Context()
	s := open(t, t.TempDir())
	defer func() { must(t, s.Close()) }()
	person, err := s.CreatePerson(ctx, access.Person{Login: "mia", Role: access.RoleNurse, DisplayName: "Mia"}, "hash")
	must(t, err)
	if _, err := s.MQTTDevice(ctx, "none"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("a device that does not exist: %v", err)
	}
	if all, err := s.MQTTDevicesOf(ctx, person); err != nil || len(all) != 0 {
		t.Errorf("%v %v", all, err)
	}
	want := access.MQTTDevice{ClientID: "dev-1", Hash: [32]byte{1}, PersonID: person}
	must(t, s.SaveMQTTDevice(ctx, want))
	got, err := s.MQTTDevice(ctx, "dev-1")
	must(t, err)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	must(t, s.DeleteMQTTDevice(ctx, person, "dev-1"))
	if _, err := s.MQTTDevice(ctx, "dev-1"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("a deleted device: %v", err)
	}
}
