// Package office is the inside of a hub in this process, for attacks whose place is not on the
// wire: a store, an audit log, the engine that decides and the service that signs persons in.
//
// [Office] is empty: an attack makes the persons that it needs. [Bureau] has an administrator, a
// doctor, an auditor and a patient, and the faces of the administration. It hides how the parts are
// opened, and in which folder. It guarantees that the product's own parts answer; it does not show
// what the hub's process does between them.
package office

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
	"os"
	"path/filepath"
	"time"

	"vitalseal/internal/hub/access"
	"vitalseal/internal/hub/directory"
	"vitalseal/internal/hub/signin"
	"vitalseal/internal/hub/store"
	"vitalseal/internal/lab/attack"
	"vitalseal/internal/shared/audit"
	"vitalseal/internal/way/seal"
)

// Office is a hub's inside in this process: a store, an audit log and what decides between them.
type Office struct {
	Dir    string
	Store  *store.Store
	Trail  *audit.Log
	Engine *access.Engine
	SignIn *signin.Service
	Log    *slog.Logger
}

// Desk is the workstation of an [Office].
const Desk = "spiffe://" + Domain + "/workstation/desk"

// Domain is the deployment of an [Office].
const Domain = "attack.vitalseal.internal"

// Password is the password of every person of an [Office].
const Password = "a-Passw0rd-of-the-office" // #nosec G101 -- of people who are made for an attack

// New opens an [Office] in a folder of its own.
func New(ctx context.Context, t *attack.Target) (*Office, error) { return NewWith(ctx, t, nil) }

// NewWith is [New], with options of the store and of the engine.
func NewWith(ctx context.Context, t *attack.Target, stored []store.Option, options ...access.Option) (o *Office, err error) {
	dir, err := os.MkdirTemp(t.Dir, "hub-")
	if err != nil {
		return nil, err
	}
	o = &Office{Dir: dir, Log: t.Log}
	keys, _, err := seal.OpenFileKeyStore(filepath.Join(dir, "root.key"))
	if err != nil {
		return nil, err
	}
	if o.Store, err = store.Open(ctx, filepath.Join(dir, "store"), keys, t.Log, stored...); err != nil {
		return nil, err
	}
	if o.Trail, err = audit.Open(filepath.Join(dir, "audit"), filepath.Join(dir, "audit.key"), t.Log); err != nil {
		return nil, errors.Join(err, o.Store.Close())
	}
	if o.Engine, err = access.New(o.Store, o.Trail, nil, t.Log, options...); err != nil {
		return nil, errors.Join(err, o.Close())
	}
	if o.SignIn, err = signin.New(o.Engine, o.Store, t.Log, signin.WithIssuer(Domain)); err != nil {
		return nil, errors.Join(err, o.Close())
	}
	return o, nil
}

// In is an attack in an [Office] of its own.
func In(run func(ctx context.Context, o *Office) (attack.Result, error)) func(ctx context.Context, t *attack.Target) (attack.Result, error) {
	return func(ctx context.Context, t *attack.Target) (_ attack.Result, err error) {
		o, err := New(ctx, t)
		if err != nil {
			return attack.Result{}, err
		}
		defer func() { err = errors.Join(err, o.Close()) }()
		return run(ctx, o)
	}
}

// Close closes the audit log and the store.
func (o *Office) Close() error { return errors.Join(o.Trail.Close(), o.Store.Close()) }

// SignedIn makes a person of a role and signs it in.
func (o *Office) SignedIn(ctx context.Context, role access.Role) (signin.SignedIn, error) {
	hash, err := o.SignIn.HashPassword(ctx, Password)
	if err != nil {
		return signin.SignedIn{}, err
	}
	if _, err := o.Store.CreatePerson(ctx, access.Person{Login: string(role), Role: role, DisplayName: "Somebody"}, hash); err != nil {
		return signin.SignedIn{}, err
	}
	return o.SignIn.SignIn(ctx, string(role), Password, Desk)
}

// Sign makes tokens with the hub's real key, as a thief of one could.
func (o *Office) Sign(ctx context.Context) (func(head, body map[string]any) (string, error), error) {
	b, err := o.Store.Secret(ctx, "token-keys")
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
		return SignToken(head, body, func(text string) ([]byte, error) {
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

// Nurse makes a nurse of the ward that [Office.Bed] makes.
func (o *Office) Nurse(ctx context.Context, login string) (access.Subject, error) {
	if err := o.Store.CreateWard(ctx, directory.Ward{ID: "ward", Name: "Ward"}); err != nil && !errors.Is(err, store.ErrExists) {
		return access.Subject{}, err
	}
	id, err := o.Store.CreatePerson(ctx, access.Person{Login: login, DisplayName: "Somebody", Role: access.RoleNurse, Wards: []string{"ward"}}, "none")
	return access.Subject{Person: access.Person{ID: id}, Workstation: Desk, SessionStarted: time.Now(), Proven: time.Now(), SecondFactor: true}, err
}

// Bed makes a ward with one bed, in which a patient has lain for an hour.
func (o *Office) Bed(ctx context.Context) (patient string, err error) {
	if err := o.Store.CreateWard(ctx, directory.Ward{ID: "ward", Name: "Ward"}); err != nil && !errors.Is(err, store.ErrExists) {
		return "", err
	}
	if err := errors.Join(o.Store.CreateBed(ctx, directory.Bed{ID: "bed", Ward: "ward", Name: "Bed"})); err != nil {
		return "", err
	}
	if patient, err = o.Store.CreatePatient(ctx, "Somebody"); err != nil {
		return "", err
	}
	return patient, o.Store.Admit(ctx, patient, "bed", time.Now().Add(-time.Hour))
}
