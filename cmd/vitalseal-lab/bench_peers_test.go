package main_test

import (
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// TestBenchPeers: the short form of the comparison gets all patients' samples through one system of each kind, with a broker and without, as
// far as its programs are there; with VITALSEAL_SOAK through all of them.
func TestBenchPeers(t *testing.T) {
	t.Parallel() // mostly it waits
	if testing.Short() {
		t.Skip("starts databases")
	}
	var systems, missing []string
	for _, s := range []struct {
		system   string
		programs []string // each by one of its places
	}{
		{"mosquitto+influxdb", []string{"mosquitto|/usr/sbin/mosquitto", "influxd"}},
		{"mosquitto+victoria-metrics", []string{"mosquitto|/usr/sbin/mosquitto", "victoria-metrics"}},
		{"postgresql", []string{"initdb|/usr/lib/postgresql/15/bin/initdb", "postgres|/usr/lib/postgresql/15/bin/postgres"}},
		{"postgresql-chunks", []string{"initdb|/usr/lib/postgresql/15/bin/initdb", "postgres|/usr/lib/postgresql/15/bin/postgres"}},
	} {
		there := true
		for _, p := range s.programs {
			err := errors.New("nowhere")
			for at := range strings.SplitSeq(p, "|") {
				if _, e := exec.LookPath(at); e == nil {
					err = nil
				}
			}
			there = there && err == nil
		}
		if there {
			systems = append(systems, s.system)
		} else {
			missing = append(missing, s.system)
		}
	}
	if len(systems) == 0 {
		t.Skip("no program to compare with is installed (Debian: mosquitto influxdb victoria-metrics postgresql-15)")
	}
	if len(missing) > 0 {
		t.Logf("not compared, because not installed: %v", missing)
	}
	if os.Getenv("VITALSEAL_SOAK") == "" {
		kinds := map[bool]bool{}
		systems = slices.DeleteFunc(systems, func(s string) bool {
			broker := strings.HasPrefix(s, "mosquitto")
			had := kinds[broker]
			kinds[broker] = true
			return had
		})
	}
	r := command(t, "bench", "peers", "--patients", "5", "--for", "3s", "--json", "--systems", strings.Join(systems, ","))
	if r.code != 0 {
		t.Fatalf("%d\n%s", r.code, r.err)
	}
	var got struct {
		Rows []struct {
			System string
			CPU    map[string]float64 `json:"cpu_percent"`
			Sent   int64              `json:"messages_sent"`
			Lost   int64              `json:"messages_lost"`
			P99    float64            `json:"durable_latency_p99_ms"`
			Disk   float64            `json:"disk_bytes_per_waveform_sample"`
		}
	}
	if err := json.Unmarshal([]byte(r.out), &got); err != nil {
		t.Fatal(err)
	}
	if len(got.Rows) != len(systems) {
		t.Errorf("%d rows, want %d", len(got.Rows), len(systems))
	}
	for _, x := range got.Rows {
		// Five patients, five messages a second, while it warms up and measures.
		if _, ok := x.CPU["database"]; !ok || x.Sent < 5*5*10 || x.Lost != 0 || x.P99 <= 0 || x.Disk <= 0 {
			t.Errorf("%+v", x)
		}
	}
	r = command(t, "bench", "peers", "--systems", "abacus")
	if r.code != 2 || !strings.Contains(r.err, "abacus") || !strings.Contains(r.err, "postgresql") {
		t.Errorf("an unknown system: %d\n%s", r.code, r.err)
	}
}
