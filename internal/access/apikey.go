package access

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"regexp"
	"time"

	"vitalseal/internal/lab/weaken"
)

const (
	keyAlphabet = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"
	keyLength   = 16 // 82 bits, and what ThingSpeak clients expect
	// MaxKeys is how many API keys a person may have.
	MaxKeys = 1000
)

var keyText = regexp.MustCompile(`^[0-9A-Z]{16}$`)

// NewKey makes a key of 16 characters 0-9 A-Z for one channel in s's own name, and what is stored of it. Channel 0 makes the
// key of s's account. The key itself exists only in what is returned. Nobody makes a key in another's name. It needs a
// fresh proof of identity.
func (e *Engine) NewKey(ctx context.Context, s Subject, channel int64, write bool) (key string, stored APIKey, err error) {
	if s.Key != nil {
		return "", APIKey{}, &Denied{Action: ManageOwnKeys, Resource: OnChannel(channel), Reason: "a key makes no keys"}
	}
	what, on := "read key", OnChannel(channel)
	switch {
	case channel == 0:
		what, on, write = "account key", OnSystem(), false
	case write:
		what = "write key"
		// What nobody may do by key is not worth a key.
		if _, err := e.Decide(ctx, s, WriteChannel, OnChannel(channel)); err != nil {
			return "", APIKey{}, err
		}
	}
	if _, err := e.DecideFor(ctx, s, ManageOwnKeys, on, what); err != nil {
		return "", APIKey{}, err
	}
	return e.issue(ctx, APIKey{PersonID: s.Person.ID, Channel: channel, Write: write})
}

// IssueKey makes a key for a free channel or a TalkBack that the grant's holder manages: k says for which, and whether to write.
// Unlike NewKey, a program may ask for it, with the key of its person's account; the key it gets can do less than that one.
func (e *Engine) IssueKey(ctx context.Context, g Grant, k APIKey) (key string, err error) {
	on, may, what := OnChannel(k.Channel), ManageChannel, "read key"
	switch {
	case k.Account():
		return "", fmt.Errorf("%w: a key makes no key of an account", ErrInvalid)
	case k.TalkBack != 0:
		on, may, what, k.Channel, k.Write = OnTalkBack(k.TalkBack), UseTalkBack, "talkback key", 0, false
	case k.Write:
		what = "write key"
	}
	if g.standing || !g.Allows(may, on, time.Now()) {
		return "", &Denied{Action: may, Resource: on, Reason: "not this resource's grant"}
	}
	if err := e.Record(ctx, g, on, what); err != nil {
		return "", err
	}
	k.PersonID = g.holder
	key, _, err = e.issue(ctx, k)
	return key, err
}

func (e *Engine) issue(ctx context.Context, k APIKey) (key string, stored APIKey, err error) {
	have, err := e.dir.APIKeysOf(ctx, k.PersonID)
	if err != nil {
		return "", APIKey{}, fmt.Errorf("access: key: %w", err)
	}
	if len(have) >= MaxKeys {
		return "", APIKey{}, fmt.Errorf("%w: at most %d keys a person; delete one first", ErrInvalid, MaxKeys)
	}
	key = newKey()
	k.Hash = sha256.Sum256([]byte(key))
	if err := e.dir.SaveAPIKey(ctx, k); err != nil {
		return "", APIKey{}, fmt.Errorf("access: key: %w", err)
	}
	return key, k, nil
}

// Keys are s's own API keys.
func (e *Engine) Keys(ctx context.Context, s Subject) ([]APIKey, error) {
	if s.Session == "" {
		return nil, ErrNoSession
	}
	return e.dir.APIKeysOf(ctx, s.Person.ID)
}

// DeleteKey takes one of s's own API keys out of use.
func (e *Engine) DeleteKey(ctx context.Context, s Subject, hash [32]byte) error {
	if s.Session == "" {
		return ErrNoSession
	}
	if err := e.record(ctx, s.Person, s.Workstation, string(ManageOwnKeys), true, "delete"); err != nil {
		return err
	}
	return e.dir.DeleteAPIKey(ctx, s.Person.ID, hash)
}

func newKey() string {
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
	return string(out)
}

// AuthenticateKey is who an API key speaks for. Everything that is not a key of an enabled person, at a workstation,
// is ErrNoSession. What the key may do is for Decide to say: never more than its person, and only on its channel.
func (e *Engine) AuthenticateKey(ctx context.Context, key, workstation string) (Subject, APIKey, error) {
	if !keyText.MatchString(key) || !IsWorkstation(workstation) {
		return Subject{}, APIKey{}, ErrNoSession
	}
	k, err := e.dir.APIKey(ctx, sha256.Sum256([]byte(key)))
	if err != nil && weaken.Skip(weaken.OwnKeys) {
		k, err = e.anyKey(ctx)
	}
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
