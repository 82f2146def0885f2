package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"vitalseal/internal/gateway"
)

// TestGatewayStatusText: what an engineer at the bed needs is there, in words.
func TestGatewayStatusText(t *testing.T) {
	now := time.Date(2026, 11, 23, 10, 0, 0, 0, time.UTC)
	oldest, left := now.Add(-90*time.Minute), 125.0
	st := gateway.Status{Gateway: "gw-a1", Time: now, Boot: 7, OutboxBytes: 3 << 20,
		Sensors: []gateway.SensorStatus{
			{Sensor: "oxi-1", Device: "working", Connected: true, Since: now.Add(-time.Minute)},
			{Sensor: "cuff-1", Since: now.Add(-time.Hour), Refused: "identity not active"}},
		Streams: []gateway.StreamStatus{{Rejected: 2, Lost: 1}},
		Backlog: gateway.BacklogStatus{Records: 5000, Bytes: 3 << 20, Oldest: &oldest, OldestAgeSeconds: 5400, RecordsPerSecond: 40, LeftSeconds: &left},
		Gaps:    gateway.GapStatus{Told: 3, Dropped: 700},
		Clock:   gateway.ClockStatus{Synchronised: true, ErrorSeconds: 0.012, Steps: 1, LastStep: &oldest, LastStepBy: -3600}}
	var b strings.Builder
	if err := printGatewayStatus(&b, st, now.Add(time.Second)); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"gw-a1, start 7", "1 of 2 sensors connected", "connected for 1m0s; chip working", "NOT CONNECTED for 1h0m0s; the hub says: identity not active",
		"5000 records, 3.0 MiB on disk, the oldest 1h30m0s old", "40 records a second, about 2m5s left", "700 chunks dropped (outbox full), 1 not written",
		"3 told, 0 waiting", "2 chunks set aside", "right within 0.012 s; set 1 times, last by -3600.000 s"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("%q is missing in\n%s", want, b.String())
		}
	}
	// The file as the gateway writes it, and what is no such file.
	path := filepath.Join(t.TempDir(), "status.json")
	text, err := json.Marshal(st)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	if raw, got, err := readGatewayStatus(path); err != nil || string(raw) != string(text) || got.Backlog.Records != 5000 {
		t.Errorf("read %+v, %v", got, err)
	}
	if err := os.WriteFile(path, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, err := readGatewayStatus(path); err == nil {
		t.Error("half a file is taken for a status")
	}
}
