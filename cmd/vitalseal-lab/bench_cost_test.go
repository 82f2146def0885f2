package main_test

import (
	"bytes"
	"encoding/json"
	"os/exec"
	"testing"
)

// TestBenchCost: the test build measures itself without anything that protects, and loses nothing by that; the product cannot.
func TestBenchCost(t *testing.T) {
	t.Parallel() // mostly it waits
	if testing.Short() {
		t.Skip("starts a deployment, twice")
	}
	weak, err := weakened()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), weak, "bench", "cost", "--patients", "4", "--for", "2s", "--repeats", "1", "--without", "all four", "--json")
	var log bytes.Buffer
	cmd.Stderr = &log
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v\n%s", err, log.String())
	}
	var got struct {
		Rows []struct {
			Without string
			Hub     float64 `json:"hub_cpu_percent_per_100_patients"`
			P99     float64 `json:"durable_latency_p99_ms"`
			Lost    int64   `json:"chunks_lost"`
		}
	}
	if err := json.Unmarshal(out, &got); err != nil {
		t.Fatal(err)
	}
	if len(got.Rows) != 2 || got.Rows[0].Without != "" || got.Rows[1].Without != "all four" {
		t.Errorf("%s", out)
	}
	for _, x := range got.Rows {
		if x.Hub <= 0 || x.P99 < 250 || x.Lost != 0 {
			t.Errorf("%+v", x)
		}
	}
	if r := command(t, "bench", "cost", "--patients", "4"); r.code != 2 {
		t.Errorf("the product takes the command: %d\n%s", r.code, r.err)
	}
}
