package main_test

import (
	"bytes"
	"encoding/json"
	"os/exec"
	"testing"
)

// TestBench runs the load measurement in its short form: it says what it promises to say, and nothing is lost or doubled.
func TestBench(t *testing.T) {
	if testing.Short() {
		t.Skip("starts a deployment")
	}
	cmd := exec.CommandContext(t.Context(), vitalseal(t), "bench", "--patients", "40", "--for", "5s", "--json", "--data", t.TempDir())
	var log bytes.Buffer
	cmd.Stderr = &log
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v\n%s", err, log.String())
	}
	var got map[string]any
	if err := json.Unmarshal(out, &got); err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"patients", "chunks_sent", "chunks_stored", "chunks_lost", "chunks_doubled", "durable_latency_p50_ms", "durable_latency_p99_ms",
		"screen_latency_p99_ms", "hub_cpu_percent_per_100_patients", "gateway_cpu_percent_per_patient", "disk_bytes_per_waveform_sample"} {
		if _, ok := got[key].(float64); !ok {
			t.Errorf("%s: %v", key, got[key])
		}
	}
	sent, stored, waiting := got["chunks_sent"].(float64), got["chunks_stored"].(float64), got["chunks_pending"].(float64)
	if got["chunks_lost"] != 0.0 || got["chunks_doubled"] != 0.0 || sent != stored+waiting || sent < 40*5*5 {
		t.Errorf("%s", out)
	}
}

// TestBenchThingSpeak: the short form of the measurement of channels: every way gets through, nothing fails.
func TestBenchThingSpeak(t *testing.T) {
	if _, err := exec.LookPath("mosquitto"); err != nil {
		if _, err := exec.LookPath("/usr/sbin/mosquitto"); err != nil {
			t.Fatalf("%v: make deps installs it (Debian: mosquitto)", err)
		}
	}
	r := command(t, "bench", "thingspeak", "--for", "1s", "--clients", "2", "--json")
	if r.code != 0 {
		t.Fatalf("%d\n%s", r.code, r.err)
	}
	var got struct {
		Rows []struct {
			System, Way string
			PerSecond   float64 `json:"entries_per_second"`
			Failed      int
		}
	}
	if err := json.Unmarshal([]byte(r.out), &got); err != nil {
		t.Fatal(err)
	}
	if len(got.Rows) != 6 {
		t.Errorf("%d rows, want 4 of ours and 2 of mosquitto's", len(got.Rows))
	}
	for _, x := range got.Rows {
		if x.PerSecond <= 0 || x.Failed != 0 {
			t.Errorf("%+v", x)
		}
	}
}
