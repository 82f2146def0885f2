package main_test

import (
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"vitalseal/internal/hub/directory"
	"vitalseal/internal/hub/store"
	"vitalseal/internal/shared/audit"
	"vitalseal/internal/way/seal"
)

// hubData makes a hub's data folder with a ward and an audit log, and leaves it as a stopped hub does.
func hubData(t *testing.T) string {
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	data, quiet := t.TempDir(), slog.New(slog.DiscardHandler)
	keys, _, err := seal.OpenFileKeyStore(filepath.Join(data, "root.key"))
	must(err)
	s, err := store.Open(t.Context(), filepath.Join(data, "store"), keys, quiet)
	must(err)
	must(s.CreateWard(t.Context(), directory.Ward{ID: "a", Name: "A"}))
	_, err = s.CreatePatient(t.Context(), "Ada Brandt")
	must(err)
	must(s.Close())
	l, err := audit.Open(filepath.Join(data, "audit"), filepath.Join(data, "audit.key"), quiet)
	must(err)
	_, err = l.Append(t.Context(), audit.Entry{Person: "p", Action: "patient:view", Resource: "patient:x", Allowed: true})
	must(err)
	must(l.Close())
	must(os.WriteFile(filepath.Join(data, "audit.pub"), []byte(l.VerifierKey()+"\n"), 0o600))
	return data
}

// TestBackupCommands: what is backed up comes back, audit log included; keys do not go where the backup goes; a backup that an attacker
// changed, lists and all, is refused before anything is written.
func TestBackupCommands(t *testing.T) {
	data, dir := hubData(t), t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	backup := func(to, keys string) ran {
		return command(t, "backup", "--data", data, "--to", to, "--keys", keys, "--overlay", "none")
	}
	restore := func(to string, more ...string) ran {
		return command(t, append([]string{"restore", "--from", at("b"), "--keys", at("k"), "--root-key", filepath.Join(data, "root.key"), "--data", to}, more...)...)
	}
	if got := backup(at("x"), at("x/keys")); got.code != 2 || !strings.Contains(got.err, "apart") {
		t.Errorf("keys in the backup: %+v", got)
	}
	if got := backup(at("b"), at("k")); got.code != 0 {
		t.Fatalf("%+v", got)
	}
	if got := restore(at("r")); got.code != 0 {
		t.Fatalf("%+v", got)
	}
	// Without a word on the overlay the backup is made, and says what it lacks; what lies beside the keys is listed and sealed.
	if got := command(t, "backup", "--data", data, "--to", at("b2"), "--keys", at("k2")); got.code != 1 || !strings.Contains(got.err, "overlay's folder is not in it") || !strings.Contains(got.out, "keys, without an overlay, in ") {
		t.Errorf("no overlay: %+v", got)
	}
	if err := os.WriteFile(filepath.Join(at("k2"), "hub.openziti.json"), []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := command(t, "restore", "--from", at("b2"), "--keys", at("k2"), "--root-key", filepath.Join(data, "root.key"), "--data", at("r4")); got.code != 1 || !strings.Contains(got.err, "hub.openziti.json") {
		t.Errorf("a hub's identity that is not on the list: %+v", got)
	}
	// A backup of a version that listed nothing but the store.
	for _, name := range []string{"server.json", "server.json.seal"} {
		if err := os.Remove(filepath.Join(at("k2"), name)); err != nil {
			t.Fatal(err)
		}
	}
	if got := command(t, "restore", "--from", at("b2"), "--keys", at("k2"), "--root-key", filepath.Join(data, "root.key"), "--data", at("r5")); got.code != 0 || !strings.Contains(got.err, "no overlay's folder was restored") {
		t.Errorf("a backup of before: %+v", got)
	}
	// check finds an audit log that was changed.
	logs, err := filepath.Glob(filepath.Join(at("r"), "audit", "*.jsonl"))
	if err != nil || len(logs) != 1 {
		t.Fatal(logs, err)
	}
	b, err := os.ReadFile(logs[0])
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(logs[0], []byte(strings.Replace(string(b), "patient:x", "patient:y", 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := command(t, "check", "--data", at("r")); got.code != 1 || !strings.Contains(got.out, "tampered") {
		t.Errorf("a changed audit log: %+v", got)
	}
	list := filepath.Join(at("b"), "store", "backup.json")
	b, err = os.ReadFile(list)
	if err == nil {
		err = os.WriteFile(list, append(b, '\n'), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	if got := restore(at("r2")); got.code != 1 || !strings.Contains(got.err, "not sealed") {
		t.Errorf("a changed list: %+v", got)
	}
	if _, err := os.Stat(at("r2")); !os.IsNotExist(err) {
		t.Error("something was written:", err)
	}
	if got := restore(at("r3"), "--unsealed"); got.code != 0 {
		t.Errorf("a backup without a seal, as somebody insists: %+v", got)
	}
}

// TestBackupOfADatabaseHub: what a hub keeps beside a store in PostgreSQL is backed up and comes back; a list that does not say so
// makes no hub without its store.
func TestBackupOfADatabaseHub(t *testing.T) {
	data, dir := hubData(t), t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(os.RemoveAll(filepath.Join(data, "store")))
	if got := command(t, "backup", "--data", data, "--to", at("x"), "--keys", at("y"), "--overlay", "none"); got.code != 2 || !strings.Contains(got.err, "no hub's data folder") {
		t.Errorf("a folder that lost its store and never had an identity: %+v", got)
	}
	must(os.WriteFile(filepath.Join(data, "hub.openziti.json"), []byte("{}"), 0o600))
	if got := command(t, "backup", "--data", data, "--to", at("b"), "--keys", at("k"), "--overlay", "none"); got.code != 0 || !strings.Contains(got.out, "PostgreSQL") {
		t.Fatalf("%+v", got)
	}
	secretsApart(t, at("b"))
	restore := func(to string) ran {
		return command(t, "restore", "--from", at("b"), "--keys", at("k"), "--root-key", filepath.Join(data, "root.key"), "--data", to)
	}
	if got := restore(at("r")); got.code != 0 || !strings.Contains(got.err, "PostgreSQL") {
		t.Fatalf("%+v", got)
	}
	for _, name := range []string{"root.key", "audit.key", "audit.pub", "hub.openziti.json"} {
		if string(mustBytes(t, filepath.Join(at("r"), name))) != string(mustBytes(t, filepath.Join(data, name))) {
			t.Error(name, "is not what it was")
		}
	}
	if got := restore(at("r")); got.code != 2 || !strings.Contains(got.err, "not empty") {
		t.Errorf("over a hub that is there: %+v", got)
	}
	list := filepath.Join(at("k"), "server.json")
	must(os.WriteFile(list, []byte(strings.Replace(string(mustBytes(t, list)), `"database": true`, `"database": false`, 1)), 0o600))
	if got := restore(at("r2")); got.code != 1 || !strings.Contains(got.err, "not sealed") {
		t.Errorf("a changed list: %+v", got)
	}
	if _, err := os.Stat(at("r2")); !os.IsNotExist(err) {
		t.Error("something was written:", err)
	}
}
