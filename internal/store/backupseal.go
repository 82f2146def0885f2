package store

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"vitalseal/internal/seal"
)

const sealSuffix = ".seal"

// ErrUnsealed means that a backup's list has no seal, or one that the root key did not make: somebody else wrote the list.
var ErrUnsealed = errors.New("store: the backup's list is not sealed by this root key")

// SealBackup seals the lists of a backup and of its keys with the root key, in files beside them. A list has the hash of every
// file, so that nobody without the root key can put other people, relationships or readings into a backup unnoticed.
func SealBackup(root seal.KeyStore, to, keys string) error {
	for _, path := range lists(to, keys) {
		sum, err := sumOf(path)
		if err != nil {
			return fmt.Errorf("store: seal backup: %w", err)
		}
		sealed, err := root.Wrap(sealPurpose(path), sum)
		if err == nil {
			err = os.WriteFile(path+sealSuffix, sealed, 0o600)
		}
		if err != nil {
			return fmt.Errorf("store: seal backup: %w", err)
		}
	}
	return errors.Join(syncDir(to), syncDir(keys))
}

// CheckSeal is ErrUnsealed unless both lists are as SealBackup sealed them with this root key. It does not say that the two belong
// together, nor that no newer backup exists: Restore and whoever keeps them do.
func CheckSeal(root seal.KeyStore, from, keys string) error {
	for _, path := range lists(from, keys) {
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
