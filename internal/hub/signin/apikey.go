package signin

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"regexp"
	"time"

	"vitalseal/internal/hub/access"
)

const (
	keyAlphabet = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"
	keyLength   = 16 // 82 bits, and what ThingSpeak clients expect
	// MaxKeys is how many API keys a person may have.
	MaxKeys = 1000
)

var keyText = regexp.MustCompile(`^[0-9A-Z]{16}$`)

// NewKey makes a key of 16 characters 0-9 A-Z for one channel in s's own name, and what is stored of it. Channel 0 makes the
// key of s's account. The key itself exists only in what is returned. No person makes a key in another's name. It needs a
// fresh proof of identity.
func (svc *Service) NewKey(ctx context.Context, s access.Subject, channel int64, write bool) (key string, stored access.APIKey, err error) {
	if s.Key != nil {
		return "", access.APIKey{}, &access.Denied{Action: access.ManageOwnKeys, Resource: access.OnChannel(channel), Reason: "a key makes no keys"}
	}
	what, on := "read key", access.OnChannel(channel)
	switch {
	case channel == 0:
		what, on, write = "account key", access.OnSystem(), false
	case write:
		what = "write key"
		// A key is made only for what its owner may do by key.
		if _, err := svc.access.Decide(ctx, s, access.WriteChannel, access.OnChannel(channel)); err != nil {
			return "", access.APIKey{}, err
		}
	}
	if _, err := svc.access.DecideFor(ctx, s, access.ManageOwnKeys, on, what); err != nil {
		return "", access.APIKey{}, err
	}
	return svc.issue(ctx, access.APIKey{PersonID: s.Person.ID, Channel: channel, Write: write})
}

// IssueKey makes a key for a free channel or a TalkBack that the grant's holder manages: k says for which, and whether to write.
// Unlike NewKey, a program may ask for it, with the key of its person's account; the key it gets can do less than that one.
func (svc *Service) IssueKey(ctx context.Context, g access.Grant, k access.APIKey) (key string, err error) {
	on, may, what := access.OnChannel(k.Channel), access.ManageChannel, "read key"
	switch {
	case k.Account():
		return "", fmt.Errorf("%w: a key makes no key of an account", access.ErrInvalid)
	case k.TalkBack != 0:
		on, may, what, k.Channel, k.Write = access.OnTalkBack(k.TalkBack), access.UseTalkBack, "talkback key", 0, false
	case k.Write:
		what = "write key"
	}
	if g.Standing() || !g.Allows(may, on, time.Now()) {
		return "", &access.Denied{Action: may, Resource: on, Reason: "not this resource's grant"}
	}
	if err := svc.access.Record(ctx, g, on, what); err != nil {
		return "", err
	}
	k.PersonID = g.Holder()
	key, _, err = svc.issue(ctx, k)
	return key, err
}

func (svc *Service) issue(ctx context.Context, k access.APIKey) (key string, stored access.APIKey, err error) {
	have, err := svc.dir.APIKeysOf(ctx, k.PersonID)
	if err != nil {
		return "", access.APIKey{}, fmt.Errorf("signin: key: %w", err)
	}
	if len(have) >= MaxKeys {
		return "", access.APIKey{}, fmt.Errorf("%w: at most %d keys a person; delete one first", access.ErrInvalid, MaxKeys)
	}
	key = newKey()
	k.Hash = sha256.Sum256([]byte(key))
	if err := svc.dir.SaveAPIKey(ctx, k); err != nil {
		return "", access.APIKey{}, fmt.Errorf("signin: key: %w", err)
	}
	return key, k, nil
}

// Keys are s's own API keys.
func (svc *Service) Keys(ctx context.Context, s access.Subject) ([]access.APIKey, error) {
	if s.Session == "" {
		return nil, access.ErrNoSession
	}
	return svc.dir.APIKeysOf(ctx, s.Person.ID)
}

// DeleteKey takes one of s's own API keys out of use.
func (svc *Service) DeleteKey(ctx context.Context, s access.Subject, hash [32]byte) error {
	if s.Session == "" {
		return access.ErrNoSession
	}
	if err := svc.record(ctx, s.Person, s.Workstation, string(access.ManageOwnKeys), true, "delete"); err != nil {
		return err
	}
	return svc.dir.DeleteAPIKey(ctx, s.Person.ID, hash)
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

// AuthenticateKey is who an API key speaks for. Everything that is not a key of an enabled person, at
// a workstation, is ErrNoSession. What the key may do is for Decide to say: never more than its
// person, and only on its channel. An access.ErrUndecided is the directory's.
//
//defence:own-keys an API key is compared
func (svc *Service) AuthenticateKey(ctx context.Context, key, workstation string) (access.Subject, access.APIKey, error) {
	if !keyText.MatchString(key) || !access.IsWorkstation(workstation) {
		return access.Subject{}, access.APIKey{}, access.ErrNoSession
	}
	k, err := svc.dir.APIKey(ctx, sha256.Sum256([]byte(key)))
	if err == nil {
		var p access.Person
		if p, err = svc.dir.Person(ctx, k.PersonID); err == nil && !p.Disabled {
			return access.Subject{Person: p, Workstation: workstation, Key: &k}, k, nil
		}
	}
	if err == nil || errors.Is(err, access.ErrNotFound) {
		return access.Subject{}, access.APIKey{}, access.ErrNoSession
	}
	return access.Subject{}, access.APIKey{}, fmt.Errorf("%w: signin: key: %w", access.ErrUndecided, err)
}
