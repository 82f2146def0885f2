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
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"vitalseal/internal/hub/archive/days"
	"vitalseal/internal/hub/channel"
	"vitalseal/internal/hub/sealdb"
)

// A backup is a folder with a copy of every file of a store, each whole at one moment, and backup.json, which says what must be
// there. It has no key of a patient, a channel, a TalkBack or an envelope: those are in a file of their own, keys.db, to be kept apart, with
// keys.json, which says what it is. Without it, and without the root key, a backup opens nothing. An older backup may be restored
// with the keys of a newer one of the same store; so where the older keys are destroyed, a patient forgotten since is forgotten in
// the older backups as well.
const (
	manifestName  = "backup.json"
	keysBackup    = "keys.db"
	keysManifest  = "keys.json"
	backupVersion = 1
	separateKeys  = "name LIKE 'patient/%' OR name LIKE 'channel/%' OR name LIKE 'envelope/%' OR name LIKE 'talkback/%'"
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
// exist, and neither in the other. The store may be in use meanwhile: the partitions and channels.db come first and the directory last,
// so that every chunk and entry in the copy has its patient or channel in it. progress is told of every file.
func Backup(ctx context.Context, dir, to, keys string, progress func(file string)) (m Manifest, err error) {
	m = Manifest{Version: backupVersion, Taken: time.Now().UTC().Truncate(time.Microsecond)}
	if _, err := os.Stat(filepath.Join(dir, sealdb.DirectoryFile)); err != nil {
		return m, fmt.Errorf("store: backup: %s holds no store: %w", dir, err)
	}
	if err := BackupFolders(to, keys); err != nil {
		return m, err
	}
	chunks, err := filepath.Glob(filepath.Join(dir, days.PartitionPrefix+"*"+days.PartitionSuffix))
	if err != nil {
		return m, fmt.Errorf("store: backup: %w", err)
	}
	slices.Sort(chunks)
	if _, err := os.Stat(filepath.Join(dir, channel.ApartFile)); err == nil { // none in a store that an older program wrote
		chunks = append(chunks, filepath.Join(dir, channel.ApartFile))
	}
	for _, path := range append(chunks, filepath.Join(dir, sealdb.DirectoryFile)) {
		name := filepath.Base(path)
		progress(name)
		if err := copyDatabase(ctx, path, filepath.Join(to, name)); err != nil {
			return m, fmt.Errorf("store: backup: %s: %w", name, err)
		}
	}
	progress(keysBackup)
	if err := separate(ctx, filepath.Join(to, sealdb.DirectoryFile), filepath.Join(keys, keysBackup)); err != nil {
		return m, fmt.Errorf("store: backup: keys: %w", err)
	}
	for _, path := range append(chunks, sealdb.DirectoryFile, keysBackup) {
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
	of, err := storeOf(ctx, filepath.Join(to, sealdb.DirectoryFile))
	if err == nil {
		err = writeJSON(filepath.Join(keys, keysManifest), keysList{backupVersion, m.Taken, of, m.Files[len(m.Files)-1]})
	}
	if err == nil {
		err = writeJSON(filepath.Join(to, manifestName), m)
	}
	if err == nil {
		err = errors.Join(sealdb.SyncDir(to), sealdb.SyncDir(keys))
	}
	if err != nil {
		return m, fmt.Errorf("store: backup: %w", err)
	}
	return m, nil
}

// copyDatabase writes a whole copy of a database as it is at one moment, also while another process writes to it.
func copyDatabase(ctx context.Context, from, to string) (err error) {
	name, err := sealdb.DSN(from, "")
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
	db, err := sealdb.OpenFile(ctx, directory, nil, 1, "&_pragma=secure_delete(ON)")
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

// storeOf names the store that a copy of a directory is of: by its own wrapped key, which no other store has.
func storeOf(ctx context.Context, directory string) (of string, err error) {
	abs, err := filepath.Abs(directory)
	if err != nil {
		return "", err
	}
	u := url.URL{Scheme: "file", Path: filepath.ToSlash(abs)}
	db, err := sql.Open("sqlite3", u.String()+"?mode=ro&immutable=1") // a backup is not touched
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	var wrapped []byte
	if err := db.QueryRowContext(ctx, "SELECT wrapped FROM keys WHERE name = ?", sealdb.DirectoryKey).Scan(&wrapped); err != nil {
		return "", err
	}
	sum := sha256.Sum256(wrapped)
	return hex.EncodeToString(sum[:]), nil
}

// Apart refuses two folders of which one is, or is in, the other: what must be kept apart would go into one backup.
func Apart(a, b string) error {
	var abs [2]string
	for i, d := range []string{a, b} {
		p, err := filepath.Abs(d)
		if err != nil {
			return err
		}
		if real, err := filepath.EvalSymlinks(p); err == nil {
			p = real
		}
		abs[i] = p + string(filepath.Separator)
	}
	if strings.HasPrefix(abs[0], abs[1]) || strings.HasPrefix(abs[1], abs[0]) {
		return fmt.Errorf("the keys must be kept apart: of %s and %s neither may be in the other", a, b)
	}
	return nil
}

func writeJSON(path string, v any) error {
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(b, '\n'), 0o600)
}

// BackupFolders makes the folder of a backup and that of its keys, which must be apart (Apart) and empty.
func BackupFolders(to, keys string) error {
	err := Apart(to, keys)
	for _, d := range []string{to, keys} {
		if err == nil {
			err = emptyFolder(d)
		}
	}
	if err != nil {
		return fmt.Errorf("store: backup: %w", err)
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
