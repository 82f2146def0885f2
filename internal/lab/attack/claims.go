package attack

import (
	"context"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"time"

	"vitalseal/internal/access"
	"vitalseal/internal/audit"
	"vitalseal/internal/seal"
	"vitalseal/internal/signin"
	"vitalseal/internal/store"
)

// office is a hub's inside in this process: a store, an audit log and what decides between them.
type office struct {
	dir    string
	store  *store.Store
	trail  *audit.Log
	engine *access.Engine
	signin *signin.Service
	log    *slog.Logger
}

const officeDesk = "spiffe://" + officeDomain + "/workstation/desk"
const officeDomain = "attack.vitalseal.internal"

// officePassword is that of every person there.
const officePassword = "a-Passw0rd-of-the-office" // #nosec G101 -- of people who are made for an attack

func newOffice(ctx context.Context, t *Target) (*office, error) { return newOfficeWith(ctx, t, nil) }

// newOfficeWith opens the store with options, and the engine with others.
func newOfficeWith(ctx context.Context, t *Target, stored []store.Option, options ...access.Option) (o *office, err error) {
	dir, err := os.MkdirTemp(t.dir, "hub-")
	if err != nil {
		return nil, err
	}
	o = &office{dir: dir, log: t.log}
	keys, _, err := seal.OpenFileKeyStore(filepath.Join(dir, "root.key"))
	if err != nil {
		return nil, err
	}
	if o.store, err = store.Open(ctx, filepath.Join(dir, "store"), keys, t.log, stored...); err != nil {
		return nil, err
	}
	if o.trail, err = audit.Open(filepath.Join(dir, "audit"), filepath.Join(dir, "audit.key"), t.log); err != nil {
		return nil, errors.Join(err, o.store.Close())
	}
	if o.engine, err = access.New(o.store, o.trail, nil, t.log, options...); err != nil {
		return nil, errors.Join(err, o.close())
	}
	if o.signin, err = signin.New(o.engine, o.store, t.log, signin.WithIssuer(officeDomain)); err != nil {
		return nil, errors.Join(err, o.close())
	}
	return o, nil
}

// inOffice is an attack in an office of its own.
func inOffice(attack func(ctx context.Context, o *office) (Result, error)) func(ctx context.Context, t *Target) (Result, error) {
	return func(ctx context.Context, t *Target) (_ Result, err error) {
		o, err := newOffice(ctx, t)
		if err != nil {
			return Result{}, err
		}
		defer func() { err = errors.Join(err, o.close()) }()
		return attack(ctx, o)
	}
}

func (o *office) close() error { return errors.Join(o.trail.Close(), o.store.Close()) }

// signIn makes a person of a role and signs it in.
func (o *office) signIn(ctx context.Context, role access.Role) (signin.SignedIn, error) {
	hash, err := o.signin.HashPassword(ctx, officePassword)
	if err != nil {
		return signin.SignedIn{}, err
	}
	if _, err := o.store.CreatePerson(ctx, access.Person{Login: string(role), Role: role, DisplayName: "Somebody"}, hash); err != nil {
		return signin.SignedIn{}, err
	}
	return o.signin.SignIn(ctx, string(role), officePassword, officeDesk)
}

// sign makes tokens with the hub's real key, as a thief of one could.
func (o *office) sign(ctx context.Context) (func(head, body map[string]any) (string, error), error) {
	b, err := o.store.Secret(ctx, "token-keys")
	if err != nil {
		return nil, err
	}
	var keys []struct {
		PKCS8 []byte `json:"pkcs8"`
	}
	if err := json.Unmarshal(b, &keys); err != nil || len(keys) == 0 {
		return nil, fmt.Errorf("the token keys: %w", err)
	}
	parsed, err := x509.ParsePKCS8PrivateKey(keys[len(keys)-1].PKCS8)
	if err != nil {
		return nil, err
	}
	key, ok := parsed.(*ecdsa.PrivateKey)
	if !ok {
		return nil, errors.New("the token key is of another kind")
	}
	return func(head, body map[string]any) (string, error) {
		return signed(head, body, func(text string) ([]byte, error) {
			sum := sha256.Sum256([]byte(text))
			r, s, err := ecdsa.Sign(rand.Reader, key, sum[:])
			if err != nil {
				return nil, err
			}
			out := make([]byte, 64)
			r.FillBytes(out[:32])
			s.FillBytes(out[32:])
			return out, nil
		})
	}, nil
}

func foreignClaims(ctx context.Context, o *office) (_ Result, err error) {
	in, err := o.signIn(ctx, access.RoleDoctor)
	if err != nil {
		return Result{}, err
	}
	sign, err := o.sign(ctx)
	if err != nil {
		return Result{}, err
	}
	head, body, err := opened(in.Tokens.Access)
	if err != nil {
		return Result{}, err
	}
	same, err := sign(head, body)
	if err != nil {
		return Result{}, err
	}
	if _, err := o.signin.Check(ctx, same, officeDesk); err != nil {
		return Result{}, fmt.Errorf("a token that is as it should be: %w", err)
	}
	now := time.Now().Unix()
	var accepted []string
	var seen []Seen
	changes := map[string]map[string]any{
		"audience":  {"aud": "somewhere-else"},
		"issuer":    {"iss": "other.vitalseal.internal"},
		"expired":   {"iat": now - 900, "nbf": now - 900, "exp": now - 600},
		"future":    {"iat": now + 600, "nbf": now + 600, "exp": now + 900},
		"long-life": {"exp": now + 86400},
		"no-proof":  {"auth_time": nil},
	}
	for what, change := range changes {
		b := maps.Clone(body)
		maps.Copy(b, change)
		token, err := sign(head, b)
		if err != nil {
			return Result{}, err
		}
		if _, err := o.signin.Check(ctx, token, officeDesk); err == nil {
			accepted = append(accepted, what)
		} else {
			seen = append(seen, failure(err)...)
		}
	}
	return judge(len(accepted) > 0, seen, "taken for good", "each refused", "%d tokens tried, accepted: %v", len(changes), accepted)
}
