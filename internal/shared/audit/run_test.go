package audit_test

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"vitalseal/internal/shared/audit"
)

// TestWitnessAsksAgain runs a witness through an hour: an outage at the start, regular questions, a
// rewritten log.
func TestWitnessAsksAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, other := newHome(t), newHome(t)
		honest := grown(t, h, 0, 5, "honest")
		defer closeLog(t, honest)
		forged := grown(t, home{other.dir, h.key}, 0, 9, "forged")
		defer closeLog(t, forged)
		w, err := audit.OpenWitnesses(filepath.Join(t.TempDir(), "w.note"), honest.VerifierKey())
		if err != nil {
			t.Fatal(err)
		}
		var said strings.Builder
		var mu sync.Mutex // guards the next three
		asked, up, log := 0, false, honest
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() {
			ended <- w.Run(ctx, func(_ context.Context, ask func(string) (audit.Ask, error)) (string, json.RawMessage, error) {
				mu.Lock()
				defer mu.Unlock()
				asked++
				if !up {
					return "", nil, errors.New("the hub is not reached")
				}
				have, err := ask("hub")
				if err != nil {
					return "", nil, err
				}
				c, err := log.Consistency(have.From, have.Also...)
				if err != nil {
					return "", nil, err
				}
				b, err := json.Marshal(c)
				return "hub", b, err
			}, slog.New(slog.NewTextHandler(&said, nil)))
		}()
		time.Sleep(30 * time.Minute)
		synctest.Wait()
		mu.Lock()
		if asked < 12 || asked > 25 || w.State().Size != 0 || w.State().Alarm != "" {
			t.Errorf("half an hour of outage: asked %d times, %+v", asked, w.State())
		}
		if strings.Contains(said.String(), "level=ERROR") {
			t.Error("an outage is no alarm")
		}
		up, asked = true, 0
		mu.Unlock()
		time.Sleep(31 * time.Minute)
		synctest.Wait()
		mu.Lock()
		if asked < 8 || asked > 13 || w.State().Size != 5 || w.State().Alarm != "" {
			t.Errorf("half an hour of work: asked %d times, %+v", asked, w.State())
		}
		log, asked = forged, 0
		mu.Unlock()
		time.Sleep(31 * time.Minute)
		synctest.Wait()
		mu.Lock()
		if n := strings.Count(said.String(), "AUDIT LOG NOT TO BE TRUSTED"); n != asked || n < 8 || w.State().Size != 5 || w.State().Alarm == "" {
			t.Errorf("rewritten: %d alarms for %d questions, %+v", n, asked, w.State())
		}
		mu.Unlock()
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

// TestWitnessOfALongOutage: a hub that is away for a week is asked for as seldom on the last day as
// on the first. The wait that doubled without bound was zero after half an hour, and a gateway
// beside a dead overlay wrote its log full.
func TestWitnessOfALongOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHome(t)
		log := grown(t, h, 0, 5, "seen")
		defer closeLog(t, log)
		w, err := audit.OpenWitnesses(filepath.Join(t.TempDir(), "w.note"), log.VerifierKey())
		must(t, err)
		ctx, cancel := context.WithTimeout(t.Context(), 7*24*time.Hour)
		defer cancel()
		var last time.Time
		asked, first := 0, true
		must(t, w.Run(ctx, func(_ context.Context, ask func(string) (audit.Ask, error)) (string, json.RawMessage, error) {
			asked++
			if !first && time.Since(last) < 100*time.Millisecond {
				t.Fatalf("question %d came %v after the one before it", asked, time.Since(last))
			}
			last = time.Now()
			if !first {
				return "", nil, errors.New("the hub is not reached")
			}
			first = false
			have, err := ask("hub")
			must(t, err)
			c, err := log.Consistency(have.From, have.Also...)
			must(t, err)
			b, err := json.Marshal(c)
			return "hub", b, err
		}, slog.New(slog.DiscardHandler)))
		most := int(7 * 24 * time.Hour / (audit.WitnessEvery / 9) * 5 / 4)
		if asked > most || asked < most/4 {
			t.Errorf("asked %d times in a week, want at most %d", asked, most)
		}
	})
}

// TestWitnessOfSeveralHubs: each hub's log is remembered by itself, over a restart too, and none
// passes for another.
func TestWitnessOfSeveralHubs(t *testing.T) {
	path := filepath.Join(t.TempDir(), "witness.note")
	w, err := audit.OpenWitnesses(path, "")
	must(t, err)
	statement := func(l *audit.Log, from int64) []byte {
		t.Helper()
		c, err := l.Consistency(from)
		must(t, err)
		b, err := json.Marshal(c)
		must(t, err)
		return b
	}
	for i, name := range []string{"hub", "hub-2", "hub-3"} {
		l := grown(t, newHome(t), 0, 3+i, name)
		defer closeLog(t, l)
		one, err := w.Of(name)
		must(t, err)
		must(t, one.Update(statement(l, 0)))
		if i == 1 {
			other, err := w.Of("hub")
			must(t, err)
			if err := other.Update(statement(l, 3)); err == nil {
				t.Error("one hub's log passes for another's")
			}
		}
	}
	if s := w.State(); s.Size != 3+4+5 || !strings.Contains(s.Alarm, "log of hub hub: ") {
		t.Errorf("together: %+v", s)
	}
	again, err := audit.OpenWitnesses(path, "")
	must(t, err)
	if s := again.State(); s.Size != 3+4+5 {
		t.Errorf("after a restart: %+v", s)
	}
	for _, bad := range []string{"", "../x", "a/b", "*"} {
		if _, err := again.Of(bad); err == nil {
			t.Errorf("a log of %q is remembered", bad)
		}
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
