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

	"vitalseal/internal/audit"
)

// TestWitnessAsksAgain runs a witness through an hour: an outage at the start, regular questions, a rewritten log.
func TestWitnessAsksAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, other := newHome(t), newHome(t)
		honest := grown(t, h, 0, 5, "honest")
		defer closeLog(t, honest)
		forged := grown(t, home{other.dir, h.key}, 0, 9, "forged")
		defer closeLog(t, forged)
		w, err := audit.OpenWitness(filepath.Join(t.TempDir(), "w"), honest.VerifierKey())
		if err != nil {
			t.Fatal(err)
		}
		var said strings.Builder
		var mu sync.Mutex // guards the next three
		asked, up, log := 0, false, honest
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() {
			ended <- w.Run(ctx, func(_ context.Context, from int64) (json.RawMessage, error) {
				mu.Lock()
				defer mu.Unlock()
				asked++
				if !up {
					return nil, errors.New("the hub is not reached")
				}
				c, err := log.Consistency(from)
				if err != nil {
					return nil, err
				}
				return json.Marshal(c)
			}, slog.New(slog.NewTextHandler(&said, nil)))
		}()
		time.Sleep(30 * time.Minute)
		synctest.Wait()
		mu.Lock()
		if asked < 12 || asked > 25 || w.Size() != 0 || w.State().Alarm != "" {
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
		if asked < 8 || asked > 13 || w.Size() != 5 || w.State().Alarm != "" {
			t.Errorf("half an hour of work: asked %d times, %+v", asked, w.State())
		}
		log, asked = forged, 0
		mu.Unlock()
		time.Sleep(31 * time.Minute)
		synctest.Wait()
		mu.Lock()
		if n := strings.Count(said.String(), "AUDIT LOG NOT TO BE TRUSTED"); n != asked || n < 8 || w.Size() != 5 || w.State().Alarm == "" {
			t.Errorf("rewritten: %d alarms for %d questions, %+v", n, asked, w.State())
		}
		mu.Unlock()
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}
