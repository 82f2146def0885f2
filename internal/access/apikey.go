package access

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"regexp"
)

const (
	keyAlphabet = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"
	keyLength   = 16 // 82 bits, and what ThingSpeak clients expect
)

var keyText = regexp.MustCompile(`^[0-9A-Z]{16}$`)

// NewAPIKey makes a key of 16 characters 0-9 A-Z for one channel in the name of a person, and what is stored of it.
// The key itself exists only in what is returned.
func NewAPIKey(personID string, channel int64, write bool) (key string, stored APIKey) {
	out := make([]byte, 0, keyLength)
	for len(out) < keyLength {
		var b [32]byte
		rand.Read(b[:]) // never fails
		for _, c := range b {
			// 252 is the largest multiple of 36 in a byte: the rest would make some characters likelier.
			if c < 252 && len(out) < keyLength {
				out = append(out, keyAlphabet[c%36])
			}
		}
	}
	key = string(out)
	return key, APIKey{Hash: sha256.Sum256(out), PersonID: personID, Channel: channel, Write: write}
}

// AuthenticateKey is who an API key speaks for. Everything that is not a key of an enabled person, at a workstation,
// is ErrNoSession. What the key may do is for Decide to say: never more than its person, and only on its channel.
func (e *Engine) AuthenticateKey(ctx context.Context, key, workstation string) (Subject, APIKey, error) {
	if !keyText.MatchString(key) || !IsWorkstation(workstation) {
		return Subject{}, APIKey{}, ErrNoSession
	}
	k, err := e.dir.APIKey(ctx, sha256.Sum256([]byte(key)))
	if err == nil {
		var p Person
		if p, err = e.dir.Person(ctx, k.PersonID); err == nil && !p.Disabled {
			return Subject{Person: p, Workstation: workstation, Key: &k}, k, nil
		}
	}
	if err == nil || errors.Is(err, ErrNotFound) {
		return Subject{}, APIKey{}, ErrNoSession
	}
	return Subject{}, APIKey{}, fmt.Errorf("access: key: %w", err)
}
