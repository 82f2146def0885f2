package store

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"vitalseal/internal/hub/sealdb"
	"vitalseal/internal/way/seal"
)

// serverManifest lists what lies beside the keys of a backup: the hub's own secrets, the overlay's folder, configuration.
const serverManifest = "server.json"

// ErrNoServerList means that a backup holds no list of the server's other files: a version before that list made it.
var ErrNoServerList = errors.New("store: the backup lists nothing but the store")

// ServerList is server.json.
type ServerList struct {
	Version int       `json:"version"` // 1
	Taken   time.Time `json:"taken"`
	// Database says that the store is in PostgreSQL: it is in no backup of the server, and PostgreSQL's tools copy it.
	Database bool         `json:"database,omitempty"`
	Files    []BackupFile `json:"files"` // names with slashes, relative to the folder
}

// SealServer lists every file in the folder of a backup's keys that keys.json does not list, and seals the list with the root
// key: a user who can write to the folder, but has no root key, can put no other overlay and no other hub into it.
func SealServer(root seal.KeyStore, keys string, taken time.Time, database bool) error {
	names, err := serverFiles(keys)
	if err != nil {
		return fmt.Errorf("store: seal backup: %w", err)
	}
	l := ServerList{Version: backupVersion, Taken: taken, Database: database, Files: []BackupFile{}}
	for _, name := range names {
		f, err := fileOf(filepath.Join(keys, filepath.FromSlash(name)))
		if err != nil {
			return fmt.Errorf("store: seal backup: %w", err)
		}
		f.Name = name
		l.Files = append(l.Files, f)
	}
	path := filepath.Join(keys, serverManifest)
	if err := writeJSON(path, l); err != nil {
		return fmt.Errorf("store: seal backup: %w", err)
	}
	if err := sealList(root, path); err != nil {
		return fmt.Errorf("store: seal backup: %w", err)
	}
	return sealdb.SyncDir(keys)
}

// CheckServer finds every file as SealServer listed it, and no other beside them. A backup of a version that made no such list
// gives ErrNoServerList. Other errors: ErrBackup, ErrUnsealed.
func CheckServer(root seal.KeyStore, keys string) (l ServerList, err error) {
	path := filepath.Join(keys, serverManifest)
	b, err := os.ReadFile(path) // #nosec G304 -- the operator names the folder
	if errors.Is(err, fs.ErrNotExist) {
		return l, ErrNoServerList
	}
	if err != nil {
		return l, fmt.Errorf("%w: %w", ErrBackup, err)
	}
	if err := checkList(root, path); err != nil {
		return l, err
	}
	if err := json.Unmarshal(b, &l); err != nil {
		return l, fmt.Errorf("%w: %s: %w", ErrBackup, serverManifest, err)
	}
	if l.Version != backupVersion {
		return l, fmt.Errorf("%w: %s: version %d, this program knows %d", sealdb.ErrNewer, serverManifest, l.Version, backupVersion)
	}
	names, err := serverFiles(keys)
	if err != nil {
		return l, fmt.Errorf("%w: %w", ErrBackup, err)
	}
	listed := map[string]bool{}
	for _, f := range l.Files {
		if !filepath.IsLocal(filepath.FromSlash(f.Name)) {
			return l, fmt.Errorf("%w: %s lists %q", ErrBackup, serverManifest, f.Name)
		}
		listed[f.Name] = true
		got, err := fileOf(filepath.Join(keys, filepath.FromSlash(f.Name)))
		if err != nil {
			return l, fmt.Errorf("%w: %w", ErrBackup, err)
		}
		if got.Name = f.Name; got != f {
			return l, fmt.Errorf("%w: %s is not the file that was written: %d bytes, SHA-256 %s", ErrBackup, f.Name, got.Bytes, got.SHA256)
		}
	}
	if i := slices.IndexFunc(names, func(name string) bool { return !listed[name] }); i >= 0 {
		return l, fmt.Errorf("%w: %s does not list %s", ErrBackup, serverManifest, names[i])
	}
	return l, nil
}

// serverFiles are the files below keys that server.json is to list.
func serverFiles(keys string) (names []string, err error) {
	others := []string{keysBackup, keysManifest, keysManifest + sealSuffix, serverManifest, serverManifest + sealSuffix}
	err = filepath.WalkDir(keys, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		name, err := filepath.Rel(keys, path)
		if err == nil && !d.Type().IsRegular() {
			err = fmt.Errorf("%s is no regular file", name)
		}
		if err == nil && !slices.Contains(others, name) {
			names = append(names, filepath.ToSlash(name))
		}
		return err
	})
	return names, err
}

// sealList seals one list, in a file beside it.
func sealList(root seal.KeyStore, path string) error {
	sum, err := sumOf(path)
	if err != nil {
		return err
	}
	sealed, err := root.Wrap(sealPurpose(path), sum)
	if err != nil {
		return err
	}
	return os.WriteFile(path+sealSuffix, sealed, 0o600)
}

// checkList is ErrUnsealed unless a list is as sealList sealed it with this root key.
func checkList(root seal.KeyStore, path string) error {
	sum, err := sumOf(path)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrBackup, err)
	}
	sealed, err := os.ReadFile(path + sealSuffix) // #nosec G304 -- the operator names the folder
	if err != nil {
		return fmt.Errorf("%w: %w", ErrUnsealed, err)
	}
	if want, err := root.Unwrap(sealPurpose(path), sealed); err != nil || !bytes.Equal(want, sum) {
		return fmt.Errorf("%w: %s", ErrUnsealed, filepath.Base(path))
	}
	return nil
}
