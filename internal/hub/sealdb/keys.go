package sealdb

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"maps"
	"strconv"
	"sync"

	"vitalseal/internal/way/seal"
)

// DirectoryKey seals the names of persons.
const DirectoryKey = "directory"

// PatientKey is the name of a patient's key.
func PatientKey(id string) string { return "patient/" + id }

// ChannelKey is the name of a channel's key.
func ChannelKey(id int64) string    { return "channel/" + strconv.FormatInt(id, 10) }
func keyPurpose(name string) string { return "vitalseal store key: " + name }

// maxKeys bounds the keys held in memory; beyond it they are unwrapped again when needed.
const maxKeys = 1 << 16

// keyring caches unwrapped keys.
type keyring struct {
	mu   sync.RWMutex // guards all below
	m    map[string]seal.Key
	gone uint64 // how often keys were destroyed
}

func (r *keyring) init() { r.m = map[string]seal.Key{} }

func (r *keyring) get(name string) (seal.Key, bool) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	k, ok := r.m[name]
	return k, ok
}

// destroyed is how often keys were destroyed so far.
func (r *keyring) destroyed() uint64 {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.gone
}

// put keeps a key that was read when gone was what destroyed said: one that may have been destroyed since does not come back.
func (r *keyring) put(name string, k seal.Key, gone uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if gone != r.gone {
		return
	}
	if len(r.m) >= maxKeys {
		clear(r.m)
	}
	r.m[name] = k
}

// Key is an existing key, ErrNotFound if there is none of that name.
func (s *DB) Key(ctx context.Context, name string) (seal.Key, error) {
	if k, ok := s.keys.get(name); ok && !s.Deaf() {
		return k, nil
	}
	gone := s.keys.destroyed()
	var wrapped []byte
	err := s.QueryRowContext(ctx, "SELECT wrapped FROM keys WHERE name = ?", name).Scan(&wrapped)
	if errors.Is(err, sql.ErrNoRows) {
		err = ErrNotFound
	}
	if err != nil {
		return seal.Key{}, err
	}
	b, err := s.ks.Unwrap(keyPurpose(name), wrapped)
	if err != nil {
		return seal.Key{}, fmt.Errorf("unwrap key: %w", err)
	}
	defer clear(b)
	var k seal.Key
	if len(b) != len(k) {
		return seal.Key{}, fmt.Errorf("%w: a key of %d bytes", ErrSealed, len(b))
	}
	copy(k[:], b)
	s.keys.put(name, k, gone)
	return k, nil
}

// NewKey makes a key inside tx. It is not cached: only what has committed may be used.
func (s *DB) NewKey(ctx context.Context, tx *sql.Tx, name string) (seal.Key, error) {
	k := seal.NewKey()
	wrapped, err := s.ks.Wrap(keyPurpose(name), k[:])
	if err != nil {
		return seal.Key{}, fmt.Errorf("wrap key: %w", err)
	}
	if _, err := tx.ExecContext(ctx, "INSERT INTO keys (name, wrapped) VALUES (?, ?)", name, wrapped); err != nil {
		return seal.Key{}, err
	}
	return k, nil
}

func secretPurpose(name string) string { return "vitalseal store secret: " + name }

// SaveSecret stores a secret of the hub (authority key, recipient key), wrapped by the key store, replacing an older one.
func (s *DB) SaveSecret(ctx context.Context, name string, b []byte) error {
	if err := CheckID("secret name", name); err != nil {
		return Named("save secret", err)
	}
	wrapped, err := s.wrapSecret(name, b)
	if err != nil {
		return Named("save secret", err)
	}
	_, err = s.ExecContext(ctx, "INSERT INTO secrets (name, wrapped) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET wrapped = excluded.wrapped", name, wrapped)
	return Named("save secret", err)
}

// UpdateSecret gives change the stored secret of a name, nil if there is none, and stores what it returns; nil leaves what there is. It
// returns what is stored then. Of several hubs that do so at once, each sees what the one before made.
func (s *DB) UpdateSecret(ctx context.Context, name string, change func(old []byte) ([]byte, error)) (now []byte, err error) {
	if err := CheckID("secret name", name); err != nil {
		return nil, Named("update secret", err)
	}
	err = s.InTx(ctx, func(tx *sql.Tx) error {
		var old, wrapped []byte
		err := tx.QueryRowContext(ctx, "SELECT wrapped FROM secrets WHERE name = ?", name).Scan(&wrapped)
		if err == nil {
			old, err = s.unwrapSecret(name, wrapped)
		}
		if err != nil && !errors.Is(err, sql.ErrNoRows) {
			return err
		}
		fresh, err := change(old)
		if err != nil || fresh == nil {
			now = old
			return err
		}
		if wrapped, err = s.wrapSecret(name, fresh); err != nil {
			return err
		}
		now = fresh
		_, err = tx.ExecContext(ctx, "INSERT INTO secrets (name, wrapped) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET wrapped = excluded.wrapped", name, wrapped)
		return err
	})
	if err != nil {
		return nil, Named("update secret", err)
	}
	return now, nil
}

// DeleteSecret destroys a secret; none is no error.
func (s *DB) DeleteSecret(ctx context.Context, name string) error {
	_, err := s.ExecContext(ctx, "DELETE FROM secrets WHERE name = ?", name)
	return Named("delete secret", err)
}

func (s *DB) wrapSecret(name string, b []byte) ([]byte, error) {
	if len(b) > 1<<16 {
		return nil, fmt.Errorf("%w: a secret may have 65536 bytes", ErrInvalid)
	}
	return s.ks.Wrap(secretPurpose(name), b)
}

func (s *DB) unwrapSecret(name string, wrapped []byte) ([]byte, error) {
	return s.ks.Unwrap(secretPurpose(name), wrapped)
}

// Secret is a stored secret; ErrNotFound if there is none of that name.
func (s *DB) Secret(ctx context.Context, name string) ([]byte, error) {
	var wrapped []byte
	if err := s.QueryRowContext(ctx, "SELECT wrapped FROM secrets WHERE name = ?", name).Scan(&wrapped); err != nil {
		return nil, Named("secret", err)
	}
	b, err := s.unwrapSecret(name, wrapped)
	if err != nil {
		return nil, Named("secret", err)
	}
	return b, nil
}

// drop forgets a key that has been destroyed.
func (r *keyring) drop(name string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.gone++
	delete(r.m, name)
}

// forget drops keys that have been destroyed.
func (r *keyring) forget(which func(name string) bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.gone++
	maps.DeleteFunc(r.m, func(name string, _ seal.Key) bool { return which(name) })
}

// ForgetKeys drops keys that have been destroyed.
func (s *DB) ForgetKeys(which func(name string) bool) { s.keys.forget(which) }

// DropKey drops a key that has been destroyed.
func (s *DB) DropKey(name string) { s.keys.drop(name) }
