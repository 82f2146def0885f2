package store

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"vitalseal/internal/hub/sealdb"
	"vitalseal/internal/way/seal"
)

const sealSuffix = ".seal"

// ErrUnsealed means that a backup's list has no seal, or one that the root key did not make: the list is forged.
var ErrUnsealed = errors.New("store: the backup's list is not sealed by this root key")

// SealBackup seals the lists of a backup and of its keys with the root key, in files beside them. A list has the hash of every
// file, so that an attacker without the root key cannot put other people, relationships or readings into a backup unnoticed.
func SealBackup(root seal.KeyStore, to, keys string) error {
	for _, path := range lists(to, keys) {
		if err := sealList(root, path); err != nil {
			return fmt.Errorf("store: seal backup: %w", err)
		}
	}
	return errors.Join(sealdb.SyncDir(to), sealdb.SyncDir(keys))
}

// CheckSeal is ErrUnsealed unless both lists are as SealBackup sealed them with this root key. It does not say that the two belong
// together, nor that no newer backup exists: Restore and their keeper do.
func CheckSeal(root seal.KeyStore, from, keys string) error {
	for _, path := range lists(from, keys) {
		if err := checkList(root, path); err != nil {
			return err
		}
	}
	return nil
}

func lists(backup, keys string) []string {
	return []string{filepath.Join(backup, manifestName), filepath.Join(keys, keysManifest)}
}

func sealPurpose(path string) string { return "vitalseal backup list: " + filepath.Base(path) }

func sumOf(path string) ([]byte, error) {
	b, err := os.ReadFile(path) // #nosec G304 -- the operator names the folder
	sum := sha256.Sum256(b)
	return sum[:], err
}
