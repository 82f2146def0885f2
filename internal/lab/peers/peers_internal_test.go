package peers

import (
	"bytes"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"vitalseal/internal/lab/peers/wire"
	"vitalseal/internal/measurement/vitals"
)

var peerStart = time.UnixMilli(1_790_000_000_123).UTC()

func TestPeerLine(t *testing.T) {
	wave := peerChunk{sensor: 7, at: peerStart, red: []uint16{25000, 25001}, infrared: []uint16{30000, 65535}}
	rate := 72.5
	for _, c := range []struct {
		name  string
		chunk peerChunk
		want  string
	}{
		{"wave", wave, "ppg,sensor=7 red=25000i,infrared=30000i 1790000000123\nppg,sensor=7 red=25001i,infrared=65535i 1790000000133\n"},
		{"numbers", peerChunk{sensor: 7, at: peerStart, numbers: &peerNumbers{heartRate: &rate}}, "numbers,sensor=7 heart_rate_bpm=72.50,told=1 1790000000123\n"},
		{"no numbers", peerChunk{sensor: 7, at: peerStart, numbers: &peerNumbers{}}, "numbers,sensor=7 told=1 1790000000123\n"},
	} {
		got := c.chunk.line(nil)
		if string(got) != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
		points, oldest, ok := wire.Points(got)
		if !ok || points != c.chunk.points() || !oldest.Equal(c.chunk.at) {
			t.Errorf("%s read back: %d points of %v, %v", c.name, points, oldest, ok)
		}
	}
	for _, bad := range []string{"", "\n", "ppg 1790000000123", "ppg 179000000012x\n", "1790000000123\n"} {
		if _, _, ok := wire.Points([]byte(bad)); ok {
			t.Errorf("%q is taken", bad)
		}
	}
}

func TestPeerNumbers(t *testing.T) {
	n := newPeerNumbers([]vitals.Numeric{vitals.Checked(vitals.HeartRate, 60, vitals.Good), vitals.Absent(vitals.SpO2, vitals.ProbeOff), vitals.Checked(vitals.PerfusionIndex, 2, vitals.Good)})
	if n.heartRate == nil || *n.heartRate != 60 || n.spo2 != nil || n.perfusion == nil || *n.perfusion != 2 {
		t.Errorf("%+v", n)
	}
}

func TestPeerRows(t *testing.T) {
	batch := []peerChunk{{sensor: 3, at: peerStart, red: []uint16{1, 2}, infrared: []uint16{3, 4}}, {sensor: 3, at: peerStart, numbers: &peerNumbers{}}}
	waves, numbers := (&peerRows{}).rows(batch)
	if len(waves) != 2 || len(numbers) != 1 || !waves[1][1].(time.Time).Equal(peerStart.Add(peerPeriod)) || waves[1][2] != int32(2) || waves[1][3] != int32(4) {
		t.Errorf("a row a sample: %v, %v", waves, numbers)
	}
	waves, _ = (&peerRows{task: peerTask{Chunks: true}}).rows(batch)
	if len(waves) != 1 || len(waves[0][2].([]int32)) != 2 {
		t.Errorf("a row a chunk: %v", waves)
	}
}

// TestPeerMQTT speaks with a broker that is this test: what is sent is what MQTT 3.1.1 says, byte by byte.
func TestPeerMQTT(t *testing.T) {
	ours, theirs := net.Pipe()
	defer theirs.Close()
	said := make(chan []byte, 8)
	go func() {
		b := make([]byte, 1024)
		for _, answer := range [][]byte{{0x20, 2, 0, 0}, {0x90, 3, 0, 1, 1}, {0x32, 9, 0, 1, 'a', 0, 5, 'h', 'e', 'r', 'e'}, {}} {
			n, err := theirs.Read(b)
			if err != nil {
				close(said)
				return
			}
			said <- bytes.Clone(b[:n])
			if _, err := theirs.Write(answer); err != nil {
				close(said)
				return
			}
		}
	}()
	m, err := newPeerMQTT(ours, "id", "u", "p", true)
	if err != nil {
		t.Fatal(err)
	}
	if err := m.subscribe("a/#"); err != nil {
		t.Fatal(err)
	}
	if err := m.publish("t", 9, []byte("xy")); err != nil {
		t.Fatal(err)
	}
	kind, body, err := m.receive()
	if err != nil {
		t.Fatal(err)
	}
	id, payload, err := wire.Message(kind, body)
	if err != nil || id != 5 || string(payload) != "here" {
		t.Errorf("message %d %q, %v", id, payload, err)
	}
	if err := m.acknowledge([]uint16{5, 6}); err != nil {
		t.Fatal(err)
	}
	for _, want := range [][]byte{
		append([]byte{0x10, 20, 0, 4, 'M', 'Q', 'T', 'T', 4, 0xc2, 0, 0}, 0, 2, 'i', 'd', 0, 1, 'u', 0, 1, 'p'),
		{0x82, 8, 0, 1, 0, 3, 'a', '/', '#', 1},
		{0x32, 7, 0, 1, 't', 0, 9, 'x', 'y'},
		{0x40, 2, 0, 5, 0x40, 2, 0, 6},
	} {
		if got := <-said; !bytes.Equal(got, want) {
			t.Errorf("% x, want % x", got, want)
		}
	}
}

func TestPeerMQTTRefused(t *testing.T) {
	ours, theirs := net.Pipe()
	defer theirs.Close()
	go func() {
		b := make([]byte, 1024)
		if _, err := theirs.Read(b); err == nil {
			_, _ = theirs.Write([]byte{0x20, 2, 0, 5})
		}
	}()
	if _, err := newPeerMQTT(ours, "id", "u", "wrong", true); !errors.Is(err, wire.ErrBroker) {
		t.Errorf("a broker that refuses: %v", err)
	}
}

func TestMissingProgram(t *testing.T) {
	_, err := findProgram("vitalseal-has-no-such-program", "some-package")
	var missing *MissingProgram
	if !errors.As(err, &missing) || missing.Package != "some-package" || !strings.Contains(err.Error(), "vitalseal-has-no-such-program") {
		t.Errorf("%v", err)
	}
	if err := findPeers([]string{"abacus"}); !errors.Is(err, ErrNoPeer) {
		t.Errorf("an unknown system: %v", err)
	}
}

func TestPeersTable(t *testing.T) {
	rows := []Row{{System: ourSystem, Patients: 50, PatientsPer1: 300, ServerPer1: 600}, {System: "postgresql", Patients: 50, PatientsPer1: 200, ServerPer1: 1200, Versions: []string{"some 1.0"}}}
	compare(rows)
	if rows[0].Ours != 0 || rows[1].Ours != 1.5 || rows[1].OursServer != 0.5 {
		t.Errorf("%+v", rows)
	}
	var b strings.Builder
	if err := (Report{Rows: rows, Batch: 250}).Print(&b); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"vitalseal", "postgresql", "1.50", "0.50", "some 1.0", "250 ms"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("no %q in\n%s", want, b.String())
		}
	}
	alone := []Row{{System: "postgresql", PatientsPer1: 1, ServerPer1: 1}}
	if compare(alone); alone[0].Ours != 0 {
		t.Errorf("a ratio to nothing: %+v", alone)
	}
}

func TestPeerTally(t *testing.T) {
	file := filepath.Join(t.TempDir(), "state")
	if s, err := readPeerState(file); err != nil || s.Messages != 0 {
		t.Errorf("before the first: %+v, %v", s, err)
	}
	var tally peerTally
	now := peerStart
	tally.stored(26, []time.Time{now.Add(-300 * time.Millisecond), now.Add(-time.Hour), now.Add(time.Second)}, now)
	if err := tally.write(file, true); err != nil {
		t.Fatal(err)
	}
	s, err := readPeerState(file)
	if err != nil {
		t.Fatal(err)
	}
	want := [][2]float64{{1, 1}, {301, 1}, {peerLongest, 1}}
	if !s.Ended || s.Messages != 3 || s.Points != 26 || len(s.Latency) != 3 || s.Latency[0] != want[0] || s.Latency[1] != want[1] || s.Latency[2] != want[2] {
		t.Errorf("%+v", s)
	}
	if err := os.WriteFile(file, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := readPeerState(file); err == nil {
		t.Error("half a file is taken")
	}
}
