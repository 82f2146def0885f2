package signin_test

import (
	"log/slog"
	"path/filepath"
	"testing"
	"time"

	"vitalseal/internal/hub/access"
	"vitalseal/internal/hub/access/accesstest"
	"vitalseal/internal/hub/signin"
	"vitalseal/internal/shared/audit"
)

const (
	station      = accesstest.Station
	otherStation = accesstest.OtherStation
)

type directory = accesstest.Directory

func newDirectory() *directory { return accesstest.New() }

func person(r access.Role) access.Person { return accesstest.Person(r) }

func subject(r access.Role) access.Subject { return accesstest.Subject(r) }

var quiet = slog.New(slog.DiscardHandler)

// hub is what a hub has: who it is, and what they may.
type hub struct {
	*access.Engine
	*signin.Service
}

// setup is a hub over d with a real audit log. Options are of access and of signin.
func setup(t testing.TB, d *directory, options ...any) (*hub, *audit.Log) {
	t.Helper()
	dir := t.TempDir()
	log, err := audit.Open(filepath.Join(dir, "log"), filepath.Join(dir, "key"), quiet)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := log.Close(); err != nil {
			t.Error(err)
		}
	})
	return newHub(t, d, log, options...), log
}

// newHub is another hub on the same directory.
func newHub(t testing.TB, d *directory, log *audit.Log, options ...any) *hub {
	t.Helper()
	var ofAccess []access.Option
	var ofSignIn []signin.Option
	for _, o := range options {
		switch o := o.(type) {
		case access.Option:
			ofAccess = append(ofAccess, o)
		case signin.Option:
			ofSignIn = append(ofSignIn, o)
		default:
			t.Fatalf("no option: %T", o)
		}
	}
	e, err := access.New(d, log, nil, quiet, ofAccess...)
	if err != nil {
		t.Fatal(err)
	}
	svc, err := signin.New(e, d, quiet, ofSignIn...)
	if err != nil {
		t.Fatal(err)
	}
	svc.SetUnknownPassword(cheapHash())
	return &hub{e, svc}
}

func last(t testing.TB, log *audit.Log) audit.Entry {
	t.Helper()
	got, err := log.Recent(t.Context(), 1)
	if err != nil || len(got) == 0 {
		t.Fatalf("no audit entry (%v)", err)
	}
	return got[0]
}

// browser is one person's tokens, refreshed when they must be, as a page does.
type browser struct {
	t       testing.TB
	e       *hub
	station string
	tokens  signin.Tokens
}

func signIn(t testing.TB, e *hub, login string) *browser {
	t.Helper()
	in, err := e.SignIn(t.Context(), login, password, station)
	if err != nil || in.Pending != nil {
		t.Fatalf("%s: %v, pending %v", login, err, in.Pending)
	}
	return &browser{t, e, station, in.Tokens}
}

// refresh changes the tokens for new ones.
func (b *browser) refresh() error {
	tokens, err := b.e.Refresh(b.t.Context(), b.tokens.Refresh, b.station)
	if err == nil {
		b.tokens = tokens
	}
	return err
}

// as is who the browser speaks for, with a fresh access token.
func (b *browser) as() (access.Subject, error) {
	if !time.Now().Before(b.tokens.AccessExpires) {
		if err := b.refresh(); err != nil {
			return access.Subject{}, err
		}
	}
	return b.e.Authenticate(b.t.Context(), b.tokens.Access, b.station)
}

func (b *browser) check() (access.Subject, error) {
	if !time.Now().Before(b.tokens.AccessExpires) {
		if err := b.refresh(); err != nil {
			return access.Subject{}, err
		}
	}
	return b.e.Check(b.t.Context(), b.tokens.Access, b.station)
}

func (b *browser) subject() access.Subject {
	b.t.Helper()
	s, err := b.as()
	if err != nil {
		b.t.Fatal(err)
	}
	return s
}
