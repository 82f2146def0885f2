package store_test

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"vitalseal/internal/hub/access"
	"vitalseal/internal/hub/archive"
	"vitalseal/internal/hub/store"
	"vitalseal/internal/measurement/vitals"
	"vitalseal/internal/way/delivery"
)

// killMoves names the two patients and the begin of the span that the process to be killed moves to and fro.
const killMoves = "STORE_TEST_KILL_MOVES"

// moveForever moves a span to and fro and says each time before it does, until it is killed.
func moveForever(dir string) {
	t := &testing.T{}
	s := open(t, dir, store.WithCompaction(5*time.Millisecond))
	e := engine(t, s)
	id, err := s.CreatePerson(context.Background(), access.Person{Login: fmt.Sprintf("u%d", time.Now().UnixNano()), Role: access.RoleAdmin}, "hash")
	must(t, err)
	may := func(patient string) access.Grant {
		g, err := e.Decide(context.Background(), access.Subject{Person: access.Person{ID: id}, Workstation: station, Session: "s",
			SessionStarted: time.Now(), Proven: time.Now()}, access.MoveReadings, access.OnPatient(patient))
		must(t, err)
		return g
	}
	f := strings.Fields(os.Getenv(killMoves))
	begin, err := time.Parse(time.RFC3339Nano, f[2])
	must(t, err)
	for i := 0; ; i++ {
		m := archive.Move{From: f[i%2], To: f[1-i%2], Begin: begin.Add(2 * time.Minute), End: begin.Add(18 * time.Minute), Person: "u"}
		fmt.Println("moving", i)
		if _, err := s.MoveReadings(context.Background(), may(m.From), may(m.To), m); err != nil {
			fmt.Println("failed:", err)
			os.Exit(2)
		}
	}
}

// TestKillMoves kills a process in the middle of moving readings between two patients, again and again: each reading is one
// patient's, once, and the sums are those of the readings; what was begun is finished by the next start.
func TestKillMoves(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	patients := ward(t, s, time.Now(), 2)
	begin := time.Now().Add(-40 * time.Minute).UTC().Truncate(time.Second)
	g := standing(t, s)
	var want []float64
	for i := range 120 {
		appendAs(t, s, g, arrival(sensorID("s0"), numerics(begin.Add(time.Duration(i)*10*time.Second), heart(60+float64(i))), epoch(1), uint64(i)), delivery.Accepted, "")
		want = append(want, 60+float64(i))
	}
	must(t, s.Close())
	for round := range 4 {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), killDir+"="+dir, killDSN+"="+dsnOf(dir), killMoves+"="+patients[0]+" "+patients[1]+" "+begin.Format(time.RFC3339Nano))
		cmd.Stderr = os.Stderr
		out, err := cmd.StdoutPipe()
		must(t, err)
		must(t, cmd.Start())
		lines := bufio.NewScanner(out)
		for n := 0; n < 1+round && lines.Scan(); n++ {
			if strings.HasPrefix(lines.Text(), "failed") {
				t.Fatal(lines.Text())
			}
		}
		must(t, cmd.Process.Kill())
		_ = cmd.Wait()

		s := open(t, dir, store.WithCompaction(5*time.Millisecond))
		g := standing(t, s)
		from, to := begin.Add(-time.Hour), begin.Add(2*time.Hour)
		for deadline := time.Now().Add(time.Minute); ; {
			left, err := s.OpenMoves(t.Context())
			must(t, err)
			if left == 0 {
				break
			}
			if time.Now().After(deadline) {
				t.Fatalf("round %d: %d moves are not finished", round, left)
			}
		}
		var got []float64
		for _, p := range patients {
			bundles, err := s.Numerics(t.Context(), g, p, from, to, 0)
			must(t, err)
			sum, counted := 0.0, 0
			points, err := s.Trends(t.Context(), g, p, vitals.HeartRate, from, to, time.Hour)
			must(t, err)
			for _, pt := range points {
				counted += pt.Count
			}
			inside := 0
			for _, b := range bundles {
				got = append(got, b.Numerics[0].Value)
				sum += b.Numerics[0].Value
				if !b.At.Before(begin.Add(2*time.Minute)) && b.At.Before(begin.Add(18*time.Minute)) {
					inside++
				}
			}
			if counted != len(bundles) {
				t.Errorf("round %d: %d readings, %d in the sums", round, len(bundles), counted)
			}
			if inside != 0 && inside != 96 {
				t.Errorf("round %d: a move is half done: %d of 96", round, inside)
			}
		}
		slices.Sort(got)
		if !slices.Equal(got, want) {
			t.Fatalf("round %d: %d readings of %d: %v", round, len(got), len(want), got)
		}
		must(t, s.Close())
	}
}
