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
