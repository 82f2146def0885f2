package seal

import (
	"crypto/cipher"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// Key is an AES-256 key for what is stored. Random 96-bit nonces keep a key good for 2^32 seals;
// callers use one key a patient. The zero Key is no key: do not use it.
type Key [32]byte

const nonceBytes = 12

// NewKey makes a random key.
func NewKey() Key {
	var k Key
	_, _ = rand.Read(k[:]) // never fails: crypto/rand ends the process instead
	return k
}

// Seal encrypts plaintext and binds it to associated, which Open must be given again. Overhead: 28
// bytes.
func (k Key) Seal(plaintext, associated []byte) []byte {
	aead := k.aead()
	b := make([]byte, nonceBytes, nonceBytes+len(plaintext)+tagBytes)
	_, _ = rand.Read(b)
	return aead.Seal(b, b, plaintext, associated)
}

// Open is the inverse of Seal. The only error is ErrOpen.
func (k Key) Open(sealed, associated []byte) ([]byte, error) {
	if len(sealed) < nonceBytes+tagBytes {
		return nil, ErrOpen
	}
	plaintext, err := k.aead().Open(nil, sealed[:nonceBytes], sealed[nonceBytes:], associated)
	if err != nil {
		return nil, ErrOpen
	}
	return plaintext, nil
}

func (k Key) aead() cipher.AEAD {
	aead, err := newGCM(k[:])
	if err != nil {
		panic(err) // a 32-byte key is always good
	}
	return aead
}

// KeyStore wraps the keys of everything else under a root key that does not leave it.
type KeyStore interface {
	// Wrap encrypts secret for a purpose, which Unwrap must name again.
	Wrap(purpose string, secret []byte) ([]byte, error)
	// Unwrap is the inverse. Whatever is wrong is ErrOpen.
	Unwrap(purpose string, wrapped []byte) ([]byte, error)
}

// FileKeyStore keeps the root key in a file. It is only as safe as that file.
type FileKeyStore struct{ root Key }

// OpenFileKeyStore reads the root key, or makes it on the first run (created; the file is 0600 and
// durable before it returns). It refuses a file that others may read or write, and one that is not
// exactly a key.
func OpenFileKeyStore(path string) (ks *FileKeyStore, created bool, err error) {
	root, err := readKeyFile(path)
	if errors.Is(err, os.ErrNotExist) {
		createErr := createKeyFile(path, NewKey())
		if createErr != nil && !errors.Is(createErr, os.ErrExist) {
			return nil, false, fmt.Errorf("seal: root key: %w", createErr)
		}
		created = createErr == nil
		root, err = readKeyFile(path) // what is there, should another process have been first
	}
	if err != nil {
		return nil, false, fmt.Errorf("seal: root key: %w", err)
	}
	return &FileKeyStore{root}, created, nil
}

func readKeyFile(path string) (k Key, err error) {
	f, err := os.Open(path) // #nosec G304 -- the operator names the file
	if err != nil {
		return k, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return k, err
	}
	if perm := info.Mode().Perm(); perm&0o077 != 0 {
		return k, fmt.Errorf("%s has mode %04o: others can read it; make it 0600 (and assume that they have)", path, perm)
	}
	b, err := io.ReadAll(io.LimitReader(f, int64(len(k))+1))
	if err != nil {
		return k, err
	}
	defer clear(b)
	if len(b) != len(k) {
		return k, fmt.Errorf("%s does not hold a key of %d bytes", path, len(k))
	}
	copy(k[:], b)
	return k, nil
}

// createKeyFile makes the file appear whole: written under another name, synced, linked. An
// existing file is never replaced.
func createKeyFile(path string, k Key) (err error) {
	dir := filepath.Dir(path)
	f, err := os.CreateTemp(dir, ".key-*") // 0600
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.Remove(f.Name())) }()
	_, err = f.Write(k[:])
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Link(f.Name(), path); err != nil {
		return err
	}
	d, err := os.Open(dir) // #nosec G304 -- the folder of the operator's file
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// Wrap is KeyStore's.
func (s *FileKeyStore) Wrap(purpose string, secret []byte) ([]byte, error) {
	return s.root.Seal(secret, wrapPurpose(purpose)), nil
}

// Unwrap is KeyStore's.
func (s *FileKeyStore) Unwrap(purpose string, wrapped []byte) ([]byte, error) {
	return s.root.Open(wrapped, wrapPurpose(purpose))
}

func wrapPurpose(p string) []byte { return []byte("vitalseal key wrap v1\x00" + p) }
