package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"vitalseal/internal/hub/archive/days"
	"vitalseal/internal/hub/channel"
	"vitalseal/internal/hub/sealdb"
)

// Restore makes a store in dir, which must be empty or not exist, of a backup and its keys, or those of a newer backup of the same
// store: then a patient without a key in them is forgotten. Every file is compared with the list first. What came after the backup was taken is not in it, and is not sent again: gateways that were told it was stored have
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
		return m, fmt.Errorf("%w: version %d, this program knows %d", sealdb.ErrNewer, m.Version, backupVersion)
	}
	if err := compare(ctx, m, from, keys); err != nil {
		return m, err
	}
	if err := emptyFolder(dir); err != nil {
		return m, fmt.Errorf("store: restore: %w", err)
	}
	for _, f := range m.Files {
		progress(f.Name)
		if f.Name == keysBackup {
			continue
		}
		if err := copyFile(filepath.Join(from, f.Name), filepath.Join(dir, f.Name)); err != nil {
			return m, fmt.Errorf("store: restore: %w", err)
		}
	}
	if err := putBack(ctx, filepath.Join(dir, sealdb.DirectoryFile), filepath.Join(keys, keysBackup)); err != nil {
		return m, fmt.Errorf("store: restore: keys: %w", err)
	}
	if err := sealdb.SyncDir(dir); err != nil {
		return m, fmt.Errorf("store: restore: %w", err)
	}
	return m, nil
}

// compare finds every file of a backup as its list says. The keys may be newer ones.
func compare(ctx context.Context, m Manifest, from, keys string) error {
	seen := map[string]bool{}
	for _, f := range m.Files {
		seen[f.Name] = true
		folder := from
		if f.Name == keysBackup {
			folder = keys
		}
		if f.Name != filepath.Base(f.Name) || f.Name != keysBackup && f.Name != sealdb.DirectoryFile && f.Name != channel.ApartFile && !strings.HasPrefix(f.Name, days.PartitionPrefix) {
			return fmt.Errorf("%w: %s lists %q", ErrBackup, manifestName, f.Name)
		}
		got, err := fileOf(filepath.Join(folder, f.Name))
		if err != nil {
			return fmt.Errorf("%w: %w", ErrBackup, err)
		}
		if got == f {
			continue
		}
		if f.Name == keysBackup {
			newer, err := newerKeys(ctx, got, m, from, keys)
			if err != nil {
				return fmt.Errorf("%w: %w", ErrBackup, err)
			}
			if newer {
				continue
			}
		}
		return fmt.Errorf("%w: %s is not the file that was written: %d bytes, SHA-256 %s", ErrBackup, f.Name, got.Bytes, got.SHA256)
	}
	if !seen[sealdb.DirectoryFile] || !seen[keysBackup] {
		return fmt.Errorf("%w: %s lists no %s or no %s", ErrBackup, manifestName, sealdb.DirectoryFile, keysBackup)
	}
	return nil
}

// keysList is keys.json.
type keysList struct {
	Version int        `json:"version"`
	Taken   time.Time  `json:"taken"`
	Store   string     `json:"store"` // what storeOf says: keys of another store open nothing here, and would forget every patient
	File    BackupFile `json:"file"`
}

// newerKeys reports whether keys.db is that of a backup of the same store that was taken later than m.
func newerKeys(ctx context.Context, got BackupFile, m Manifest, from, keys string) (bool, error) {
	b, err := os.ReadFile(filepath.Join(keys, keysManifest)) // #nosec G304 -- the operator names the folder
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	var k keysList
	if err := json.Unmarshal(b, &k); err != nil {
		return false, fmt.Errorf("%s: %w", keysManifest, err)
	}
	of, err := storeOf(ctx, filepath.Join(from, sealdb.DirectoryFile))
	if err != nil {
		return false, err
	}
	return k.Version == backupVersion && k.File == got && k.Store == of && k.Taken.After(m.Taken), nil
}

// putBack puts those keys into a restored directory whose owner is in it, and erases the patients who have none any more.
func putBack(ctx context.Context, directory, keys string) (err error) {
	db, err := openDirectory(ctx, filepath.Dir(directory), 1)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	for _, q := range []struct {
		query string
		args  []any
	}{
		{"ATTACH ? AS apart", []any{keys}},
		{`INSERT INTO main.keys SELECT k.name, k.wrapped FROM apart.keys k WHERE
			k.name IN (SELECT 'patient/' || id FROM patients) OR k.name = ? OR
			k.name IN (SELECT 'channel/' || id FROM channels) OR
			k.name IN (SELECT 'talkback/' || id FROM talkbacks) OR
			k.name GLOB 'envelope/*' AND EXISTS (SELECT 1 FROM channels c WHERE k.name GLOB 'envelope/' || c.id || '/*')
			ON CONFLICT DO NOTHING`, []any{sealdb.PatientKey(sealdb.Unassigned)}},
		{"DETACH apart", nil},
		// Those that were deleted since, of whom the newer keys have none: they open no more, and would stop every list.
		{"DELETE FROM api_keys WHERE channel IN (SELECT id FROM channels WHERE patient IS NULL AND 'channel/' || id NOT IN (SELECT name FROM keys))", nil},
		{"DELETE FROM channels WHERE patient IS NULL AND 'channel/' || id NOT IN (SELECT name FROM keys)", nil},
		{"DELETE FROM talkbacks WHERE 'talkback/' || id NOT IN (SELECT name FROM keys)", nil},
	} {
		if _, err := db.ExecContext(ctx, q.query, q.args...); err != nil {
			return err
		}
	}
	type subject struct {
		id      string
		channel int64
	}
	gone, err := sealdb.List(ctx, db, func(r *sql.Rows) (s subject, err error) { return s, r.Scan(&s.id, &s.channel) },
		"SELECT p.id, c.id FROM patients p JOIN channels c ON c.patient = p.id WHERE 'patient/' || p.id NOT IN (SELECT name FROM keys)")
	if err != nil || len(gone) == 0 {
		return err
	}
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	for _, g := range gone {
		if err := erase(ctx, tx, g.id, g.channel, time.Now().UTC()); err != nil {
			return errors.Join(err, sealdb.Rollback(tx))
		}
		if _, err := tx.ExecContext(ctx, "UPDATE stays SET ends = max(begins, ?) WHERE patient = ? AND ends IS NULL", sealdb.Micro(time.Now().UTC()), g.id); err != nil {
			return errors.Join(err, sealdb.Rollback(tx))
		}
	}
	return tx.Commit()
}
