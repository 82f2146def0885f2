package store

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// A backup is a folder with a copy of every file of a store, each whole at one moment, and backup.json, which says what must be
// there. It has no key of a patient or channel: those are in a file of their own, keys.db, to be kept apart. Without it, and without
// the root key, a backup opens nothing; a patient who is forgotten is forgotten in every backup whose keys.db was renewed since.
const (
	manifestName  = "backup.json"
	keysBackup    = "keys.db"
	backupVersion = 1
	directoryFile = "directory.db"
	separateKeys  = "name LIKE 'patient/%' OR name LIKE 'channel/%'"
)

// ErrBackup means that a backup is not what its list says, or not whole.
var ErrBackup = errors.New("store: not a whole backup")

// Manifest lists a backup's files.
type Manifest struct {
	Version int          `json:"version"`
	Taken   time.Time    `json:"taken"`
	Files   []BackupFile `json:"files"` // keys.db is the last one
}

// BackupFile is one file of a backup.
type BackupFile struct {
	Name   string `json:"name"`
	Bytes  int64  `json:"bytes"`
	SHA256 string `json:"sha256"`
}

// Backup copies the store in dir into the folder to, and its patients' keys into the folder keys, both of which must be empty or not
// exist. The store may be in use meanwhile: the partitions come first and the directory last, so that every chunk in the copy has its
// patient in it. progress is told of every file.
func Backup(ctx context.Context, dir, to, keys string, progress func(file string)) (m Manifest, err error) {
	m = Manifest{Version: backupVersion, Taken: time.Now().UTC().Truncate(time.Second)}
	if _, err := os.Stat(filepath.Join(dir, directoryFile)); err != nil {
		return m, fmt.Errorf("store: backup: %s holds no store: %w", dir, err)
	}
	for _, d := range []string{to, keys} {
		if err := emptyFolder(d); err != nil {
			return m, fmt.Errorf("store: backup: %w", err)
		}
	}
	chunks, err := filepath.Glob(filepath.Join(dir, partitionPrefix+"*"+partitionSuffix))
	if err != nil {
		return m, fmt.Errorf("store: backup: %w", err)
	}
	slices.Sort(chunks)
	for _, path := range append(chunks, filepath.Join(dir, directoryFile)) {
		name := filepath.Base(path)
		progress(name)
		if err := copyDatabase(ctx, path, filepath.Join(to, name)); err != nil {
			return m, fmt.Errorf("store: backup: %s: %w", name, err)
		}
	}
	progress(keysBackup)
	if err := separate(ctx, filepath.Join(to, directoryFile), filepath.Join(keys, keysBackup)); err != nil {
		return m, fmt.Errorf("store: backup: keys: %w", err)
	}
	for _, path := range append(chunks, directoryFile, keysBackup) {
		name, folder := filepath.Base(path), to
		if name == keysBackup {
			folder = keys
		}
		f, err := fileOf(filepath.Join(folder, name))
		if err != nil {
			return m, fmt.Errorf("store: backup: %w", err)
		}
		m.Files = append(m.Files, f)
	}
	b, err := json.MarshalIndent(m, "", "  ")
	if err == nil {
		err = os.WriteFile(filepath.Join(to, manifestName), append(b, '\n'), 0o600)
	}
	if err == nil {
		err = errors.Join(syncDir(to), syncDir(keys))
	}
	if err != nil {
		return m, fmt.Errorf("store: backup: %w", err)
	}
	return m, nil
}

// copyDatabase writes a whole copy of a database as it is at one moment, also while another process writes to it.
func copyDatabase(ctx context.Context, from, to string) (err error) {
	name, err := dsn(from, "")
	if err != nil {
		return err
	}
	db, err := sql.Open("sqlite3", name)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	f, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600) // #nosec G304 -- the operator names the folder
	if err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	_, err = db.ExecContext(ctx, "VACUUM INTO ?", to)
	return err
}

// separate moves the keys of patients and channels out of a copy of the directory.
func separate(ctx context.Context, directory, keys string) (err error) {
	db, err := openFile(ctx, directory, nil, 1, "&_pragma=secure_delete(ON)")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	f, err := os.OpenFile(keys, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600) // #nosec G304 -- the operator names the folder
	if err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	for _, q := range []struct {
		query string
		args  []any
	}{
		{"ATTACH ? AS apart", []any{keys}},
		{"CREATE TABLE apart.keys (name TEXT PRIMARY KEY, wrapped BLOB NOT NULL) WITHOUT ROWID", nil},
		{"INSERT INTO apart.keys SELECT name, wrapped FROM main.keys WHERE " + separateKeys, nil},
		{"DETACH apart", nil},
		{"DELETE FROM keys WHERE " + separateKeys, nil},
		{"PRAGMA journal_mode(DELETE)", nil}, // and with it everything in the log
		{"VACUUM", nil},
	} {
		if _, err := db.ExecContext(ctx, q.query, q.args...); err != nil {
			return err
		}
	}
	return nil
}

// Restore makes a store in dir, which must be empty or not exist, of a backup and its keys. Every file is compared with the list
// first. What came after the backup was taken is not in it, and nobody sends it again: gateways that were told it was stored have
// forgotten it. It shows as missing in Delivery.
func Restore(ctx context.Context, from, keys, dir string, progress func(file string)) (m Manifest, err error) {
	b, err := os.ReadFile(filepath.Join(from, manifestName)) // #nosec G304 -- the operator names the folder
	if err != nil {
		return m, fmt.Errorf("%w: %w", ErrBackup, err)
	}
	if err := json.Unmarshal(b, &m); err != nil {
		return m, fmt.Errorf("%w: %s: %w", ErrBackup, manifestName, err)
	}
	if m.Version != backupVersion {
		return m, fmt.Errorf("%w: version %d, this program knows %d", ErrNewer, m.Version, backupVersion)
	}
	if err := emptyFolder(dir); err != nil {
		return m, fmt.Errorf("store: restore: %w", err)
	}
	seen := map[string]bool{}
	for _, f := range m.Files {
		seen[f.Name] = true
		folder := from
		if f.Name == keysBackup {
			folder = keys
		}
		if f.Name != filepath.Base(f.Name) || f.Name != keysBackup && f.Name != directoryFile && !strings.HasPrefix(f.Name, partitionPrefix) {
			return m, fmt.Errorf("%w: %s lists %q", ErrBackup, manifestName, f.Name)
		}
		progress(f.Name)
		got, err := fileOf(filepath.Join(folder, f.Name))
		if err != nil {
			return m, fmt.Errorf("%w: %w", ErrBackup, err)
		}
		if got != f {
			return m, fmt.Errorf("%w: %s is not the file that was written: %d bytes, SHA-256 %s", ErrBackup, f.Name, got.Bytes, got.SHA256)
		}
		if f.Name == keysBackup {
			continue
		}
		if err := copyFile(filepath.Join(folder, f.Name), filepath.Join(dir, f.Name)); err != nil {
			return m, fmt.Errorf("store: restore: %w", err)
		}
	}
	if !seen[directoryFile] || !seen[keysBackup] {
		return m, fmt.Errorf("%w: %s lists no %s or no %s", ErrBackup, manifestName, directoryFile, keysBackup)
	}
	if err := putBack(ctx, filepath.Join(dir, directoryFile), filepath.Join(keys, keysBackup)); err != nil {
		return m, fmt.Errorf("store: restore: keys: %w", err)
	}
	if err := syncDir(dir); err != nil {
		return m, fmt.Errorf("store: restore: %w", err)
	}
	return m, nil
}

func putBack(ctx context.Context, directory, keys string) (err error) {
	db, err := openFile(ctx, directory, nil, 1, "")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	for _, q := range []struct {
		query string
		args  []any
	}{
		{"ATTACH ? AS apart", []any{keys}},
		// Whoever was forgotten since these keys were copied stays forgotten.
		{"INSERT INTO main.keys SELECT name, wrapped FROM apart.keys WHERE true ON CONFLICT DO NOTHING", nil},
		{"DETACH apart", nil},
	} {
		if _, err := db.ExecContext(ctx, q.query, q.args...); err != nil {
			return err
		}
	}
	return nil
}

// emptyFolder makes a folder, or finds it empty.
func emptyFolder(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	in, err := os.ReadDir(dir)
	if err == nil && len(in) > 0 {
		err = fmt.Errorf("%s is not empty: it has %s", dir, in[0].Name())
	}
	return err
}

func fileOf(path string) (f BackupFile, err error) {
	in, err := os.Open(path) // #nosec G304 -- the operator names the folder
	if err != nil {
		return f, err
	}
	defer func() { err = errors.Join(err, in.Close()) }()
	h := sha256.New()
	n, err := io.Copy(h, in)
	return BackupFile{Name: filepath.Base(path), Bytes: n, SHA256: hex.EncodeToString(h.Sum(nil))}, err
}

func copyFile(from, to string) (err error) {
	in, err := os.Open(from) // #nosec G304 -- the operator names the folder
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, in.Close()) }()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600) // #nosec G304 -- the operator names the folder
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	if err == nil {
		err = out.Sync()
	}
	return errors.Join(err, out.Close())
}
