package dashboard_test

import (
	"context"
	"net/http"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"vitalseal/internal/hub/archive"
	"vitalseal/internal/hub/directory"
	"vitalseal/internal/measurement/vitals"
	"vitalseal/internal/way/delivery"
	"vitalseal/internal/way/seal"
)

const legacySensor = "spiffe://test.vitalseal.internal/sensor/ard-1"

// legacy puts a legacy device at Ada's bed.
func (w *ward) legacy() {
	w.t.Helper()
	if err := w.store.CreateDevice(w.t.Context(), directory.Device{ID: legacySensor, Kind: "sensor", Model: "legacy", State: directory.DeviceActive}); err != nil {
		w.t.Fatal(err)
	}
	if err := w.store.PlaceDevice(w.t.Context(), legacySensor, "a-1", time.Now().Add(-time.Hour)); err != nil {
		w.t.Fatal(err)
	}
}

// asserts stores what the legacy device says.
func (w *ward) asserts(at time.Time, k vitals.Kind, v float64) {
	w.t.Helper()
	c := numerics(at, vitals.Checked(k, v, vitals.Asserted))
	w.seq[legacySensor]++
	o, why, err := w.store.Append(context.Background(), w.grant, archive.Arrival{Sensor: legacySensor, Chunk: c, Received: time.Now(), Header: seal.Header{
		Sensor: legacySensor, Signal: uint8(c.Signal), Start: c.Start, Seq: w.seq[legacySensor], Epoch: seal.Epoch{ID: seal.EpochID{2}, Number: 2}}})
	if err != nil || o != delivery.Accepted {
		w.t.Fatal(o, why, err)
	}
}

type sourced struct {
	Quality, Source string
	Value           *float64
	Unverified      bool
	TimeNotSure     bool `json:"time_not_sure"`
}

func (s sourced) is(v float64, source string, unverified bool) bool {
	return s.Value != nil && *s.Value == v && s.Source == source && s.Unverified == unverified
}

// TestOneSource: in the bed list, on the patient's page and in the live view a proven 91 stands, whatever a legacy device at the
// same bed asserts after it; once the better is stale the asserted value stands, by its name and with its mark.
func TestOneSource(t *testing.T) {
	w := newWard(t)
	w.legacy()
	nurse := w.signedIn("nurse")
	now := time.Now()
	w.append("a-1", numerics(now, good(vitals.SpO2, 91)))
	w.asserts(now.Add(time.Millisecond), vitals.SpO2, 60)
	shown := func() (list, page sourced) {
		t.Helper()
		var beds struct {
			Beds []struct {
				Bed      string
				Numerics map[string]sourced
			}
		}
		nurse.get("/api/beds", &beds)
		for _, b := range beds.Beds {
			if b.Bed == "a-1" {
				list = b.Numerics["spo2_percent"]
			}
		}
		var one struct{ Numerics map[string]sourced }
		nurse.get("/api/patients/"+w.ada, &one)
		return list, one.Numerics["spo2_percent"]
	}
	if list, page := shown(); !list.is(91, "oxi-a-1", false) || !page.is(91, "oxi-a-1", false) {
		t.Errorf("beside a fresh proven value: %+v, %+v", list, page)
	}
	// Live: what the legacy device says is not shown, from the first message on; the next that is shown is the oximeter's.
	conn := nurse.watch("patient=" + w.ada)
	next(t, conn) // hello
	w.asserts(time.Now(), vitals.SpO2, 61)
	w.append("a-1", numerics(time.Now(), good(vitals.SpO2, 92)))
	if m, _ := next(t, conn); m.Type != "numerics" || *m.Numerics["spo2_percent"].Value != 92 {
		t.Errorf("live: %+v", m)
	}
}

// TestOneSourceOfAWrongClock: what comes over a gateway whose clock is wrong waits for the chart and is shown live by the same rule:
// what a legacy device asserts does not stand in the place of a proven value, be that one's clock right or wrong.
func TestOneSourceOfAWrongClock(t *testing.T) {
	w := newWard(t)
	w.legacy()
	const ahead = 4 * time.Minute
	late := func(sensor string, at time.Time, n vitals.Numeric) {
		t.Helper()
		c := numerics(at.Add(ahead), n)
		w.seq[sensor]++
		o, why, err := w.store.Append(t.Context(), w.grant, archive.Arrival{Sensor: sensor, Chunk: c, Received: at,
			Clock: archive.Clock{Judged: true, Known: true, Offset: ahead, Error: time.Millisecond}, Header: seal.Header{
				Sensor: sensor, Signal: uint8(c.Signal), Start: c.Start, Seq: w.seq[sensor], Epoch: seal.Epoch{ID: seal.EpochID{3}, Number: 3}}})
		if err != nil || o != delivery.Accepted {
			t.Fatal(o, why, err)
		}
	}
	nurse := w.signedIn("nurse")
	page := func() sourced {
		t.Helper()
		var one struct{ Numerics map[string]sourced }
		nurse.get("/api/patients/"+w.ada, &one)
		return one.Numerics["spo2_percent"]
	}
	late(legacySensor, time.Now().Add(-time.Second), vitals.Checked(vitals.SpO2, 99, vitals.Asserted))
	if r := page(); !r.is(99, "ard-1", true) || !r.TimeNotSure {
		t.Errorf("a legacy device alone: %+v", r)
	}
	late(sensorOf("a-1"), time.Now().Add(-time.Second), good(vitals.SpO2, 91))
	late(legacySensor, time.Now(), vitals.Checked(vitals.SpO2, 98, vitals.Asserted))
	if r := page(); !r.is(91, "oxi-a-1", false) || !r.TimeNotSure {
		t.Errorf("both clocks are wrong: %+v", r)
	}
	conn := nurse.watch("patient=" + w.ada)
	next(t, conn) // hello
	late(legacySensor, time.Now(), vitals.Checked(vitals.SpO2, 97, vitals.Asserted))
	w.append("a-1", numerics(time.Now(), good(vitals.SpO2, 92)))
	if m, _ := next(t, conn); m.Type != "numerics" || *m.Numerics["spo2_percent"].Value != 92 {
		t.Errorf("live: %+v", m)
	}
	late(legacySensor, time.Now(), vitals.Checked(vitals.SpO2, 96, vitals.Asserted))
	if r := page(); !r.is(92, "oxi-a-1", false) || r.TimeNotSure {
		t.Errorf("beside a clock that is right: %+v", r)
	}
}

// TestTrendsKeepAssertedApart: a chart sums up what was measured, and what a legacy device says only where nothing was; then it says so.
func TestTrendsKeepAssertedApart(t *testing.T) {
	w := newWard(t)
	w.legacy()
	at := time.Now().Truncate(time.Minute).Add(-10 * time.Minute)
	w.append("a-1", numerics(at.Add(time.Second), good(vitals.HeartRate, 118)))
	w.asserts(at.Add(2*time.Second), vitals.HeartRate, 40)
	w.asserts(at.Add(time.Minute), vitals.HeartRate, 40)
	w.append("a-1", numerics(at.Add(2*time.Minute), vitals.Checked(vitals.HeartRate, 119, vitals.Questionable)))
	type point struct {
		Min, Mean, Max   float64
		Count, Uncertain int
		Asserted         bool
	}
	var got struct{ Series []struct{ Points []point } }
	nurse := w.signedIn("nurse")
	want := []point{{118, 118, 118, 1, 0, false}, {40, 40, 40, 1, 1, true}, {119, 119, 119, 1, 1, false}}
	for _, when := range []string{"as they came", "compacted"} {
		nurse.get("/api/patients/"+w.ada+"/trends?kind=heart_rate_bpm&minutes=60", &got)
		if d := cmp.Diff(want, got.Series[0].Points); d != "" {
			t.Error(when, d)
		}
		if err := w.store.Compact(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}

// TestSourceSwitchesWhenStale is the other half: alone, or beside what is stale, the legacy device's value stands with its name.
func TestSourceSwitchesWhenStale(t *testing.T) {
	w := newWard(t)
	w.legacy()
	nurse := w.signedIn("nurse")
	w.append("a-1", numerics(time.Now().Add(-10*time.Second), good(vitals.SpO2, 91)))
	w.asserts(time.Now().Add(-time.Second), vitals.SpO2, 88)
	var one struct{ Numerics map[string]sourced }
	nurse.get("/api/patients/"+w.ada, &one)
	if r := one.Numerics["spo2_percent"]; !r.is(88, "ard-1", true) || r.Quality != "asserted" {
		t.Errorf("%+v", r)
	}
	conn := nurse.watch("patient=" + w.ada)
	next(t, conn) // hello
	w.asserts(time.Now(), vitals.SpO2, 87)
	if m, _ := next(t, conn); m.Type != "numerics" || *m.Numerics["spo2_percent"].Value != 87 {
		t.Errorf("live: %+v", m)
	}
}

// TestWallOneSource: the wall screen chooses as the other pages do.
func TestWallOneSource(t *testing.T) {
	w := newWard(t)
	w.legacy()
	if err := w.store.CreateDevice(t.Context(), directory.Device{ID: station, Kind: "workstation", State: directory.DeviceActive, Mode: directory.ModeDisplay, Wards: []string{"ward-a"}}); err != nil {
		t.Fatal(err)
	}
	w.append("a-1", numerics(time.Now().Add(-2*time.Second), good(vitals.SpO2, 91)))
	w.asserts(time.Now().Add(-time.Second), vitals.SpO2, 60)
	var wall struct {
		Beds []struct {
			Bed      string
			Numerics map[string]sourced
		}
	}
	w.browser().get("/api/display", &wall)
	for _, b := range wall.Beds {
		if b.Bed == "Bed a-1" {
			if !b.Numerics["spo2_percent"].is(91, "oxi-a-1", false) {
				t.Errorf("%+v", b)
			}
			return
		}
	}
	t.Errorf("no such bed in %+v (status %d)", wall, http.StatusOK)
}
