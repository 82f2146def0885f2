package store_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"
	"unicode/utf16"

	"github.com/google/go-cmp/cmp"

	"vitalseal/internal/hub/access"
	"vitalseal/internal/hub/archive"
	"vitalseal/internal/hub/channel"
	"vitalseal/internal/hub/directory"
	"vitalseal/internal/hub/store"
	"vitalseal/internal/measurement/vitals"
	"vitalseal/internal/way/delivery"
)

var noon = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

func TestOutcomes(t *testing.T) {
	c := newClock(noon)
	s := open(t, t.TempDir(), store.WithClock(c.Now))
	g := standing(t, s)
	ward(t, s, noon, 2)
	a := arrival(sensorID("s0"), ppg(noon, 1, 2, 3), epoch(1), 0)
	appendAs(t, s, g, a, delivery.Accepted, "")
	appendAs(t, s, g, a, delivery.Duplicate, "")
	if o, _, err := s.Append(t.Context(), access.Grant{}, a); o != delivery.Retry || !errors.Is(err, store.ErrNotAllowed) {
		t.Errorf("the zero Grant appended: %v %v", o, err)
	}
	wrong := a
	wrong.Header.Start = noon.Add(time.Second)
	appendAs(t, s, g, wrong, delivery.Rejected, archive.ReasonHeader)
	for seq, at := range []time.Time{noon.Add(6 * time.Minute), noon.Add(-32 * 24 * time.Hour)} {
		appendAs(t, s, g, arrival(sensorID("s0"), ppg(at, 1), epoch(2), uint64(seq)), delivery.Rejected, archive.ReasonTime)
	}
	appendAs(t, s, g, arrival(sensorID("s0"), ppg(noon.Add(6*time.Minute), 1), epoch(2), 0), delivery.Rejected, archive.ReasonTime)
	far := numerics(noon, heart(70))
	far.Bundles[0].At = noon.Add(11 * time.Minute)
	appendAs(t, s, g, arrival(sensorID("s0"), far, epoch(2), 2), delivery.Rejected, archive.ReasonSamples)
	appendAs(t, s, g, arrival(sensorID("s0"), ppg(noon), epoch(2), 3), delivery.Rejected, archive.ReasonMalform)

	must(t, s.SetDeviceState(t.Context(), sensorID("s1"), directory.DeviceDisabled))
	b := arrival(sensorID("s1"), ppg(noon, 1), epoch(3), 0)
	appendAs(t, s, g, b, delivery.Retry, archive.ReasonDisabled)
	must(t, s.SetDeviceState(t.Context(), sensorID("s1"), directory.DeviceActive))
	appendAs(t, s, g, b, delivery.Accepted, "")
	must(t, s.SetDeviceState(t.Context(), sensorID("s1"), directory.DeviceDeleted))
	b.Header.Seq = 1
	appendAs(t, s, g, b, delivery.Rejected, archive.ReasonDeleted)

	q, err := s.Quarantine(t.Context(), 100)
	must(t, err)
	d, err := s.Delivery(t.Context())
	must(t, err)
	if len(q) != 6 || d.Quarantined != 6 || q[0].Reason != archive.ReasonDeleted {
		t.Errorf("quarantine has %d (%d counted), want 6: %+v", len(q), d.Quarantined, q)
	}
	must(t, s.Close())
	if o, _, err := s.Append(t.Context(), g, a); o != delivery.Retry || err == nil {
		t.Errorf("after close: %v %v", o, err)
	}
}

func TestDeliveryCounts(t *testing.T) {
	c := newClock(noon)
	s := open(t, t.TempDir(), store.WithClock(c.Now))
	g := standing(t, s)
	midnight := noon.Add(-12 * time.Hour)
	for _, seq := range []uint64{9, 0, 1, 2, 5, 7} { // out of order, with holes, over midnight
		at := midnight.Add(time.Duration(int(seq)-5) * time.Second)
		appendAs(t, s, g, arrival(sensorID("x"), ppg(at, 1), epoch(1), seq), delivery.Accepted, "")
	}
	appendAs(t, s, g, arrival(sensorID("x"), ppg(noon, 1), epoch(2), 0), delivery.Accepted, "")
	// The same sequence under another start time lies in another partition: only a forging sensor does that, and it shows.
	appendAs(t, s, g, arrival(sensorID("y"), ppg(midnight.Add(-time.Second), 1), epoch(1), 0), delivery.Accepted, "")
	appendAs(t, s, g, arrival(sensorID("y"), ppg(midnight, 1), epoch(1), 0), delivery.Accepted, "")
	for range 2 { // the second time from the remembered counts
		d, err := s.Delivery(t.Context())
		must(t, err)
		want := []archive.StreamDelivery{{Sensor: sensorID("x"), Signal: "ppg", Chunks: 7, Missing: 4}, {Sensor: sensorID("y"), Signal: "ppg", Chunks: 2, Doubled: 1}}
		if diff := cmp.Diff(want, d.Streams); diff != "" {
			t.Error(diff)
		}
		if d.Measured != 9 || d.LatencyP99 < 12*time.Hour || d.LatencyP99 > 13*time.Hour || d.LatencyP50 > d.LatencyP99 {
			t.Errorf("latency %v %v of %d", d.LatencyP50, d.LatencyP99, d.Measured)
		}
	}
}

func TestAttributionByTime(t *testing.T) {
	c := newClock(noon)
	s := open(t, t.TempDir(), store.WithClock(c.Now))
	ctx, g := t.Context(), standing(t, s)
	p := ward(t, s, noon, 2) // p0 in a-0 with s0, p1 in a-1 with s1, since 11:00
	must(t, s.Discharge(ctx, p[0], noon.Add(-30*time.Minute)))
	must(t, s.Admit(ctx, p[1], "a-0", noon.Add(-20*time.Minute)))
	must(t, s.PlaceDevice(ctx, sensorID("s1"), "a-0", noon.Add(-10*time.Minute)))
	cases := []struct {
		sensor string
		ago    time.Duration
		want   string
	}{
		{"s0", 61 * time.Minute, store.Unassigned}, {"s0", time.Hour, p[0]}, {"s0", 31 * time.Minute, p[0]},
		{"s0", 30 * time.Minute, store.Unassigned}, {"s0", 20 * time.Minute, p[1]}, {"s0", 0, p[1]},
		{"s1", 21 * time.Minute, p[1]}, {"s1", 15 * time.Minute, store.Unassigned}, {"s1", 10 * time.Minute, p[1]},
		{"unknown", 0, store.Unassigned},
	}
	for i, tc := range cases {
		appendAs(t, s, g, arrival(sensorID(tc.sensor), ppg(noon.Add(-tc.ago), uint16(1000+i)), epoch(1), uint64(i)), delivery.Accepted, "")
	}
	got := map[uint16]string{}
	for _, who := range append(p, store.Unassigned) {
		chunks, err := s.Waveform(ctx, g, who, vitals.PPG, noon.Add(-2*time.Hour), noon.Add(time.Minute))
		must(t, err)
		for _, c := range chunks {
			got[c.Infrared[0]] = who
		}
	}
	for i, tc := range cases {
		if got[uint16(1000+i)] != tc.want {
			t.Errorf("%s %v ago: %q, want %q", tc.sensor, tc.ago, got[uint16(1000+i)], tc.want)
		}
	}
}

// TestSealedAtRest looks for what was written on every file, in every spelling it might have leaked in.
func TestSealedAtRest(t *testing.T) {
	filesOnly(t)
	dir := t.TempDir()
	now := time.Now()
	s := open(t, dir)
	ctx, g := t.Context(), standing(t, s)
	p := ward(t, s, now, 1)
	const name, person, entry, fridge = "Zebediah Quartermaine", "Dr Xanthippe Holloway", "field-value-8712", "Corridor fridge 77"
	who, err := s.CreatePatient(ctx, name)
	must(t, err)
	_, err = s.CreatePerson(ctx, access.Person{Login: "x", DisplayName: person, Role: access.RoleDoctor}, "hash")
	must(t, err)
	ch, err := s.CreateChannel(ctx, channel.Channel{Name: fridge})
	must(t, err)
	text := entry
	_, err = s.AppendEntry(ctx, g, ch.ID, channel.Entry{Fields: [8]*string{&text}})
	must(t, err)
	const value = 87.6543210987
	wave := []uint16{40001, 50021, 60013, 40111, 50129, 60101, 40127, 50147}
	appendAs(t, s, g, arrival(sensorID("s0"), numerics(now, heart(value)), epoch(1), 0), delivery.Accepted, "")
	chunk := ppg(now, wave...)
	appendAs(t, s, g, arrival(sensorID("s0"), chunk, epoch(2), 0), delivery.Accepted, "")
	far := ppg(now.Add(time.Hour), wave...)
	appendAs(t, s, g, arrival(sensorID("s0"), far, epoch(2), 1), delivery.Rejected, archive.ReasonTime)
	secret := []byte("the authority's very private key")
	must(t, s.SaveSecret(ctx, "authority", secret))

	encoded, err := vitals.Encode(chunk)
	must(t, err)
	bits := math.Float64bits(value)
	needles := map[string][]byte{
		"float LE": binary.LittleEndian.AppendUint64(nil, bits), "float BE": binary.BigEndian.AppendUint64(nil, bits),
		"decimal": []byte("87.654"), "codec": encoded[len(encoded)-16:], "secret": secret,
	}
	for _, v := range []string{name, person, entry, fridge} {
		needles[v] = []byte(v)
		var le, be []byte
		for _, u := range utf16.Encode([]rune(v)) {
			le, be = binary.LittleEndian.AppendUint16(le, u), binary.BigEndian.AppendUint16(be, u)
		}
		needles[v+" UTF-16LE"], needles[v+" UTF-16BE"] = le, be
	}
	var le, be []byte
	for _, v := range wave {
		le, be = binary.LittleEndian.AppendUint16(le, v), binary.BigEndian.AppendUint16(be, v)
	}
	needles["samples LE"], needles["samples BE"] = le, be
	look := func(when string) {
		files := 0
		must(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			files++
			b, err := os.ReadFile(path)
			for what, n := range needles {
				if bytes.Contains(b, n) {
					t.Errorf("%s: %s holds %s in plain", when, filepath.Base(path), what)
				}
			}
			return err
		}))
		if files < 4 {
			t.Errorf("%s: only %d files looked at", when, files)
		}
	}
	look("open, with the WAL")
	// It is there all the same.
	if n, err := s.PatientName(ctx, g, who); err != nil || n != name {
		t.Errorf("%q, %v", n, err)
	}
	if b, err := s.Numerics(ctx, g, p[0], now.Add(-time.Hour), now.Add(time.Hour), 0); err != nil || len(b) != 1 || b[0].Numerics[0].Value != value {
		t.Errorf("%v, %v", b, err)
	}
	must(t, s.Close())
	look("closed")
}

func TestConcurrentAppends(t *testing.T) {
	s := open(t, t.TempDir())
	now := time.Now()
	g := standing(t, s)
	p := ward(t, s, now, 4)
	var wg sync.WaitGroup
	for w := range 16 {
		wg.Go(func() {
			for i := range 40 {
				// Four writers send the same chunks of each sensor: one is accepted, three hear duplicate.
				a := arrival(sensorID(fmt.Sprintf("s%d", w%4)), numerics(now.Add(time.Duration(i)*time.Second), heart(70)), epoch(1), uint64(i))
				if o, why, err := s.Append(context.Background(), g, a); err != nil || o != delivery.Accepted && o != delivery.Duplicate {
					t.Errorf("%v %q %v", o, why, err)
				}
			}
		})
	}
	wg.Wait()
	d, err := s.Delivery(t.Context())
	must(t, err)
	for _, st := range d.Streams {
		if st.Chunks != 40 || st.Doubled != 0 || st.Missing != 0 {
			t.Errorf("%+v", st)
		}
	}
	for _, who := range p {
		points, err := s.Trends(t.Context(), g, who, vitals.HeartRate, now.Add(-time.Hour), now.Add(time.Hour), time.Minute)
		must(t, err)
		n := 0
		for _, pt := range points {
			n += pt.Count
		}
		if n != 40 {
			t.Errorf("trends count %d values, want 40", n)
		}
	}
}
