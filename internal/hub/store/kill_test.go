package store_test

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"vitalseal/internal/hub/store"
	"vitalseal/internal/hub/store/storetest/pgserver"
	"vitalseal/internal/measurement/vitals"
	"vitalseal/internal/way/delivery"
)

const killDir, killDSN = "STORE_TEST_KILL_DIR", "STORE_TEST_KILL_DSN"

func TestMain(m *testing.M) {
	if dir := os.Getenv(killDir); dir != "" {
		if dsn := os.Getenv(killDSN); dsn != "" {
			databases.Store(dir, dsn)
		}
		if os.Getenv(killMoves) != "" {
			moveForever(dir)
		}
		appendForever(dir)
		os.Exit(1)
	}
	code := m.Run()
	if code == 0 {
		code = checkPlans()
	}
	pgserver.Stop()
	os.Exit(code)
}

// appendForever appends from several goroutines and prints what was acknowledged, until it is killed.
func appendForever(dir string) {
	t := &testing.T{}
	s := open(t, dir, store.WithCompaction(5*time.Millisecond)) // killed in the middle of that, too
	g := standing(t, s)
	base := epoch(uint64(time.Now().UnixNano()))
	var mu sync.Mutex
	for w := range 8 {
		go func() {
			sensor := sensorID(fmt.Sprintf("s%d", w))
			for seq := uint64(0); ; seq++ {
				o, _, err := s.Append(context.Background(), g, arrival(sensor, numerics(time.Now(), heart(70)), base, seq))
				if err != nil || o != delivery.Accepted {
					continue
				}
				mu.Lock()
				fmt.Printf("%s %d %d\n", sensor, base.Number, seq)
				mu.Unlock()
			}
		}()
	}
	time.Sleep(time.Hour) // however slow the disk: it is killed, or ends when its output is not read
}

// TestKill kills a process that appends, again and again, at no particular moment, and then accounts for everything it
// was told: there, once, counted once in the trends.
func TestKill(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	patients := ward(t, s, time.Now(), 8)
	must(t, s.Close())
	acked := 0
	for round := range 4 {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), killDir+"="+dir, killDSN+"="+dsnOf(dir))
		cmd.Stderr = os.Stderr
		out, err := cmd.StdoutPipe()
		must(t, err)
		must(t, cmd.Start())
		lines := bufio.NewScanner(out)
		for n := 0; n < 150+97*round && lines.Scan(); n++ {
			acked++
		}
		must(t, cmd.Process.Kill())
		for lines.Scan() { // what it still managed to say
			if strings.Count(lines.Text(), " ") == 2 {
				acked++
			}
		}
		_ = cmd.Wait()
	}
	s = open(t, dir)
	d, err := s.Delivery(t.Context())
	must(t, err)
	stored := 0
	for _, st := range d.Streams {
		if st.Doubled != 0 || st.Missing != 0 {
			t.Errorf("%+v", st)
		}
		stored += int(st.Chunks)
	}
	// Each of the 8 writers may have committed one more in each round that it did not live to tell.
	if acked < 400 || stored < acked || stored > acked+8*4 {
		t.Errorf("acknowledged %d, stored %d", acked, stored)
	}
	g, counted, opened := standing(t, s), 0, 0
	for _, p := range patients {
		from, to := time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
		points, err := s.Trends(t.Context(), g, p, vitals.HeartRate, from, to, time.Hour)
		must(t, err)
		for _, pt := range points {
			counted += pt.Count
		}
		b, err := s.Numerics(t.Context(), g, p, from, to, 0)
		must(t, err)
		opened += len(b)
	}
	if counted != stored || opened != stored {
		t.Errorf("stored %d, in trends %d, opened %d", stored, counted, opened)
	}
	t.Logf("acknowledged %d, stored %d", acked, stored)
}
