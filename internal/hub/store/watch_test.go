package store_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"vitalseal/internal/hub/access"
	"vitalseal/internal/hub/archive"
	"vitalseal/internal/hub/store"
	"vitalseal/internal/measurement/vitals"
	"vitalseal/internal/way/delivery"
)

func next(t *testing.T, sub *archive.Subscription) (archive.Update, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	return sub.Next(ctx)
}

// view decides, as a face would, for a doctor who treats the patients.
func view(t *testing.T, s *store.Store, e *access.Engine, patient string) access.Grant {
	t.Helper()
	if _, err := s.Person(t.Context(), "doc"); err != nil {
		_, err := s.CreatePerson(t.Context(), access.Person{ID: "doc", Login: "doc", Role: access.RoleDoctor}, "x")
		must(t, err)
	}
	must(t, s.SetPatients(t.Context(), "doc", []string{patient}))
	g, err := e.Decide(t.Context(), access.Subject{Person: access.Person{ID: "doc"}, Workstation: station, SessionStarted: time.Now()},
		access.ViewPatient, access.OnPatient(patient))
	must(t, err)
	return g
}

func TestWatchSeesWhatIsGranted(t *testing.T) {
	s := open(t, t.TempDir())
	now := time.Now()
	e := engine(t, s)
	g := e.Standing("test", access.AppendVitals)
	p := ward(t, s, now, 2)
	all, err := s.Watch(t.Context(), []access.Grant{e.Standing("alarm", access.ViewPatient)})
	must(t, err)
	one, err := s.Watch(t.Context(), []access.Grant{view(t, s, e, p[1])}, vitals.Numerics)
	must(t, err)
	sent := []archive.Arrival{arrival(sensorID("s0"), ppg(now, 1), epoch(1), 0), arrival(sensorID("s1"), ppg(now, 2), epoch(1), 0),
		arrival(sensorID("s0"), numerics(now, heart(70)), epoch(2), 0), arrival(sensorID("s1"), numerics(now, heart(80)), epoch(2), 0),
		arrival(sensorID("nowhere"), ppg(now, 2), epoch(1), 0)}
	for _, a := range sent {
		appendAs(t, s, g, a, delivery.Accepted, "")
		appendAs(t, s, g, a, delivery.Duplicate, "") // not heard again
	}
	for i, who := range []string{p[0], p[1], p[0], p[1], store.Unassigned} {
		u, err := next(t, all)
		if err != nil || u.Patient != who || u.Sensor != sent[i].Sensor || u.Header != sent[i].Header || u.Durable.Before(now) {
			t.Errorf("update %d: %+v %v", i, u, err)
		}
	}
	if u, err := next(t, one); err != nil || u.Patient != p[1] || u.Chunk.Bundles[0].Numerics[0].Value != 80 {
		t.Errorf("the doctor's: %+v %v", u, err)
	}
	short, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if u, err := one.Next(short); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("more than granted: %+v %v", u, err)
	}
	one.Close()
	if _, err := next(t, one); !errors.Is(err, store.ErrClosed) {
		t.Errorf("after close: %v", err)
	}
	must(t, s.Close())
	if _, err := next(t, all); !errors.Is(err, store.ErrClosed) {
		t.Errorf("after the store's close: %v", err)
	}
}

func TestSlowReaderLosesOldest(t *testing.T) {
	s := open(t, t.TempDir(), store.WithWatchQueue(4))
	now := time.Now()
	g := standing(t, s)
	sub, err := s.Watch(t.Context(), []access.Grant{g})
	must(t, err)
	for seq := range uint64(10) {
		appendAs(t, s, g, arrival(sensorID("x"), ppg(now, 1), epoch(1), seq), delivery.Accepted, "")
	}
	if _, err := next(t, sub); !errors.Is(err, archive.ErrLagged) {
		t.Errorf("first: %v", err)
	}
	for want := uint64(6); want < 10; want++ {
		if u, err := next(t, sub); err != nil || u.Header.Seq != want {
			t.Errorf("got %d %v, want %d", u.Header.Seq, err, want)
		}
	}
	appendAs(t, s, g, arrival(sensorID("x"), ppg(now, 1), epoch(1), 10), delivery.Accepted, "")
	if u, err := next(t, sub); err != nil || u.Header.Seq != 10 {
		t.Errorf("after it caught up: %d %v", u.Header.Seq, err)
	}
}

func TestWatchEndsWithGrant(t *testing.T) {
	c := newClock(time.Now())
	s := open(t, t.TempDir(), store.WithClock(c.Now))
	now := c.Now()
	e := engine(t, s, access.WithGrantLife(time.Hour))
	ingest := e.Standing("ingest", access.AppendVitals)
	p := ward(t, s, now, 1)[0]
	g := view(t, s, e, p)
	sub, err := s.Watch(t.Context(), []access.Grant{g})
	must(t, err)
	c.Advance(g.Expires().Sub(c.Now()) + time.Minute) // the engine has the real clock, which goes on
	// Queued or not: what comes after the end is not seen.
	appendAs(t, s, ingest, arrival(sensorID("s0"), ppg(c.Now(), 1), epoch(1), 0), delivery.Accepted, "")
	if u, err := next(t, sub); !errors.Is(err, archive.ErrGrantExpired) {
		t.Errorf("%+v %v", u, err)
	}
	if _, err := s.Numerics(t.Context(), g, p, now, c.Now(), 1); !errors.Is(err, store.ErrNotAllowed) {
		t.Errorf("reading with the expired grant: %v", err)
	}
}

func TestWatchEndsWithContext(t *testing.T) {
	s := open(t, t.TempDir())
	ctx, cancel := context.WithCancel(t.Context())
	sub, err := s.Watch(ctx, []access.Grant{standing(t, s)})
	must(t, err)
	cancel()
	if _, err := next(t, sub); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}
