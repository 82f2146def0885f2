package main

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"vitalseal/internal/patient/gateway"
	"vitalseal/internal/patient/gateway/legacy"
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
	if err := printGatewayStatus(&b, st, now.Add(time.Second), false); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"gw-a1, start 7", "1 of 2 sensors connected", "connected for 1m0s; chip working", "NOT CONNECTED for 1h0m0s; the hub says: identity not active",
		"5000 records, 3.0 MiB on disk, the oldest 1h30m0s old", "40 records a second, about 2m5s left", "700 chunks dropped (outbox full), 1 not written",
		"3 told, 0 waiting", "2 chunks set aside", "right within 0.012 s; set 1 times, last by -3600.000 s"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("%q is missing in\n%s", want, b.String())
		}
	}
	st.Clock.Problem = "the gateway's clock is 3,600 s ahead of the hub's"
	b.Reset()
	if err := printGatewayStatus(&b, st, now, false); err != nil || !strings.Contains(b.String(), "WRONG") || !strings.Contains(b.String(), st.Clock.Problem) {
		t.Errorf("%v: a clock that is wrong is not said in\n%s", err, b.String())
	}
	// A disk that takes nothing, and a file of a gateway that is gone, are not told as if all were well.
	st.Storage = gateway.StorageStatus{Failing: true, Problem: "the disk is full", HeldRecords: 12}
	b.Reset()
	if err := printGatewayStatus(&b, st, now.Add(time.Hour), true); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"NOT RUNNING", "wrote 1h0m0s ago", "DOES NOT TAKE READINGS: the disk is full", "12 records so far"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("%q is missing in\n%s", want, b.String())
		}
	}
	// A file written by a clock that was ahead is not told with a negative age.
	b.Reset()
	last := now.Add(time.Minute)
	st.Legacy = &legacy.Status{Devices: map[string]legacy.Counts{"ard-1": {Last: &last}}}
	if err := printGatewayStatus(&b, st, now.Add(-186*time.Second), true); err != nil {
		t.Fatal(err)
	}
	if text := b.String(); strings.Contains(text, "-3m6s") || strings.Contains(text, "-1m0s") || strings.Count(text, "3m6s ahead of this machine's clock") != 2 ||
		!strings.Contains(text, "the last 1m0s ahead of") {
		t.Errorf("written by a clock that was ahead:\n%s", text)
	}
	if wrong := strings.Join(st.Troubles(), "\n"); !strings.Contains(wrong, "disk") || !strings.Contains(wrong, "turns sensor cuff-1 away") || strings.Contains(wrong, "oxi-1") {
		t.Errorf("troubles: %s", wrong)
	}
}

// TestGatewayStatusAnswers: a running gateway's socket is believed, a dead one's file is told as old, half a file is no status.
func TestGatewayStatusAnswers(t *testing.T) {
	dir := t.TempDir()
	write := func(text []byte) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, "status.json"), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	old, err := json.Marshal(gateway.Status{Gateway: "gw-a1", Boot: 7, Time: time.Now()})
	if err != nil {
		t.Fatal(err)
	}
	write(old)
	if _, st, err := gateway.ReadStatus(t.Context(), dir); !errors.Is(err, gateway.ErrNotRunning) || st.Boot != 7 {
		t.Errorf("nothing answers: %+v, %v", st, err)
	}
	ln, err := gateway.ListenStatus(filepath.Join(dir, "status.sock"))
	if err != nil {
		t.Fatal(err)
	}
	if i, err := os.Stat(filepath.Join(dir, "status.sock")); err != nil || i.Mode().Perm() != 0o600 {
		t.Errorf("socket: %v, %v", i, err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			_, _ = c.Write([]byte(`{"gateway":"gw-a1","boot":8}`))
			_ = c.Close()
		}
	}()
	if raw, st, err := gateway.ReadStatus(t.Context(), dir); err != nil || st.Boot != 8 || len(raw) == 0 {
		t.Errorf("it answers: %+v, %v", st, err)
	}
	if err := ln.Close(); err != nil {
		t.Fatal(err)
	}
	<-done
	write([]byte("{"))
	if _, _, err := gateway.ReadStatus(t.Context(), dir); err == nil || errors.Is(err, gateway.ErrNotRunning) {
		t.Errorf("half a file is taken for a status: %v", err)
	}
}

// TestGatewayStatusOfAChip: a chip that does not work makes the command fail, and its last lines and
// its JSON say so, whatever the version of the gateway that answers; one that works or was not looked
// at yet does not.
func TestGatewayStatusOfAChip(t *testing.T) {
	for device, want := range map[string]string{"working": "", "": "", "brown_out": "brown out", "not_connected": "not connected", "a_later_state": "a later state"} {
		dir := t.TempDir()
		raw, err := json.Marshal(map[string]any{"gateway": "gw-a1", "boot": 7, "time": time.Now(), "later": 1 << 60,
			"sensors": []map[string]any{{"sensor": "oxi-1", "device": device, "connected": true}}})
		if err != nil {
			t.Fatal(err)
		}
		ln, err := gateway.ListenStatus(filepath.Join(dir, "status.sock"))
		if err != nil {
			t.Fatal(err)
		}
		done := make(chan struct{})
		go func() {
			defer close(done)
			for {
				c, err := ln.Accept()
				if err != nil {
					return
				}
				_, _ = c.Write(raw)
				_ = c.Close()
			}
		}()
		c := gatewayStatusCommand()
		c.SetArgs([]string{"--data", dir})
		c.SilenceErrors, c.SilenceUsage = true, true
		if err := c.ExecuteContext(t.Context()); (err != nil) != (want != "") || want != "" && !strings.Contains(err.Error(), "the chip of sensor oxi-1 does not work: "+want) {
			t.Errorf("%q: %v", device, err)
		}
		answer, st, err := gateway.ReadStatus(t.Context(), dir)
		if err != nil {
			t.Fatal(err)
		}
		if err := ln.Close(); err != nil {
			t.Fatal(err)
		}
		<-done
		var text, asJSON strings.Builder
		if err := errors.Join(printGatewayStatus(&text, st, time.Now(), false), printStatusJSON(&asJSON, answer, st, false)); err != nil {
			t.Fatal(err)
		}
		lines := strings.Split(strings.TrimSpace(text.String()), "\n")
		if last := lines[len(lines)-1]; want == "" && !strings.Contains(last, "nothing needs a person") || want != "" && (!strings.HasPrefix(last, "NEEDS A PERSON") || !strings.HasSuffix(last, want)) {
			t.Errorf("%q: the last line is %q", device, last)
		}
		var out struct {
			Running bool
			Wrong   []string
			Later   int64
		}
		if err := json.Unmarshal([]byte(asJSON.String()), &out); err != nil || !out.Running || (len(out.Wrong) > 0) != (want != "") || out.Later != 1<<60 {
			t.Errorf("%q: %+v, %v", device, out, err)
		}
	}
}
