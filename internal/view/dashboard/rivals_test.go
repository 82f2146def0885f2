package dashboard_test

import (
	"context"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"vitalseal/internal/hub/archive"
	"vitalseal/internal/hub/directory"
	"vitalseal/internal/measurement/vitals"
	"vitalseal/internal/way/delivery"
	"vitalseal/internal/way/seal"
)

const newcomer = "spiffe://test.vitalseal.internal/sensor/new-9"

// second puts a second oximeter to Ada's bed.
func (w *ward) second() {
	w.t.Helper()
	if err := w.store.CreateDevice(w.t.Context(), directory.Device{ID: newcomer, Kind: "sensor", Model: "MAX30100", State: directory.DeviceActive}); err != nil {
		w.t.Fatal(err)
	}
	if err := w.store.PlaceDevice(w.t.Context(), newcomer, "a-1", time.Now().Add(-time.Hour)); err != nil {
		w.t.Fatal(err)
	}
}

// measures stores what the second oximeter says.
func (w *ward) measures(at time.Time, n ...vitals.Numeric) {
	w.t.Helper()
	w.stores(newcomer, numerics(at, n...))
}

// stores a chunk of a sensor.
func (w *ward) stores(sensor string, c vitals.Chunk) {
	w.t.Helper()
	key := sensor + c.Signal.String()
	w.seq[key]++
	o, why, err := w.store.Append(context.Background(), w.grant, archive.Arrival{Sensor: sensor, Chunk: c, Received: time.Now(), Header: seal.Header{
		Sensor: sensor, Signal: uint8(c.Signal), Start: c.Start, Seq: w.seq[key], Epoch: seal.Epoch{ID: seal.EpochID{4}, Number: 4}}})
	if err != nil || o != delivery.Accepted {
		w.t.Fatal(o, why, err)
	}
}

// TestTwoOximetersAtOneBed: in the middle of a swap both send. The list of beds, the patient's page, the wall and the live view name the
// second one with its value, and say whether the two disagree; once it is silent nothing is said.
func TestTwoOximetersAtOneBed(t *testing.T) {
	w := newWard(t)
	w.second()
	nurse := w.signedIn("nurse")
	type other struct {
		Source   string
		Silent   bool
		Value    *float64
		Disagree bool
	}
	type word struct {
		Source   string
		Value    *float64
		Others   []other
		Disagree bool
	}
	told := func(face string, r word, value, second float64, disagree bool) {
		t.Helper()
		if r.Source != "oxi-a-1" && r.Source != "new-9" || len(r.Others) != 1 || r.Others[0].Source == r.Source || r.Value == nil || r.Others[0].Value == nil {
			t.Fatalf("%s: %+v", face, r)
		}
		mine, its := *r.Value, *r.Others[0].Value
		if r.Source == "new-9" {
			mine, its = its, mine
		}
		if mine != value || its != second || r.Disagree != disagree || r.Others[0].Disagree != disagree {
			t.Errorf("%s: %v and %v, disagree %v", face, mine, its, r.Disagree)
		}
	}
	page := func() map[string]word {
		t.Helper()
		var one struct{ Numerics map[string]word }
		nurse.get("/api/patients/"+w.ada, &one)
		return one.Numerics
	}
	w.append("a-1", numerics(time.Now(), good(vitals.SpO2, 97), good(vitals.HeartRate, 70)))
	if r := page()["spo2_percent"]; len(r.Others) != 0 || r.Disagree {
		t.Errorf("one alone: %+v", r)
	}
	w.measures(time.Now(), good(vitals.SpO2, 88), good(vitals.HeartRate, 72))
	n := page()
	told("page", n["spo2_percent"], 97, 88, true)
	told("page", n["heart_rate_bpm"], 70, 72, false)
	var beds struct {
		Beds []struct {
			Bed      string
			Numerics map[string]word
		}
	}
	nurse.get("/api/beds", &beds)
	for _, b := range beds.Beds {
		if b.Bed == "a-1" {
			told("list", b.Numerics["spo2_percent"], 97, 88, true)
		}
	}
	// Live: the second one's word comes with the first's, so that what differs shows as soon as it is said.
	conn := nurse.watch("patient=" + w.ada)
	next(t, conn) // hello
	live := func(first, second float64, disagree bool) {
		t.Helper()
		m, _ := next(t, conn)
		r := m.Numerics["spo2_percent"]
		if m.Type != "numerics" || r.Value == nil || len(r.Others) != 1 || r.Others[0].Value == nil {
			t.Fatalf("live: %+v", m)
		}
		if got := map[float64]bool{*r.Value: true, *r.Others[0].Value: true}; !got[first] || !got[second] || r.Disagree != disagree {
			t.Errorf("live: %v, disagree %v", got, r.Disagree)
		}
	}
	w.append("a-1", numerics(time.Now(), good(vitals.SpO2, 96)))
	live(96, 88, true)
	w.measures(time.Now(), good(vitals.SpO2, 95))
	live(96, 95, true) // one near value ends no doubt: vitals.TestOneCrossingEndsNoDoubt
	told("page", page()["spo2_percent"], 96, 95, true)
}

// TestTrendsOfTwoOximeters: each point of a chart is of one sensor, with its name; where another
// one measured too, the point says how many there are and what the other one's values are, and the
// mean is not that of both.
func TestTrendsOfTwoOximeters(t *testing.T) {
	w := newWard(t)
	w.second()
	at := time.Now().Truncate(time.Minute).Add(-10 * time.Minute)
	for i, rates := range [][2]float64{{70, 105}, {72, 107}} {
		when := at.Add(time.Duration(i) * time.Second)
		w.append("a-1", numerics(when, good(vitals.HeartRate, rates[0])))
		w.measures(when, good(vitals.HeartRate, rates[1]))
	}
	w.measures(at.Add(time.Minute), good(vitals.HeartRate, 80))
	type other struct {
		Source         string
		Min, Mean, Max float64
		Count          int
		Disagree       bool
	}
	type point struct {
		Min, Mean, Max float64
		Count          int
		Source         string
		Sensors        int
		Others         []other
		Disagree       bool
	}
	var got struct{ Series []struct{ Points []point } }
	second := other{"oxi-a-1", 70, 71, 72, 2, true}
	want := []point{{105, 106, 107, 2, "new-9", 2, []other{second}, true}, {80, 80, 80, 1, "new-9", 1, nil, false}}
	nurse := w.signedIn("nurse")
	for _, when := range []string{"as they came", "compacted"} {
		nurse.get("/api/patients/"+w.ada+"/trends?kind=heart_rate_bpm&minutes=60", &got)
		if d := cmp.Diff(want, got.Series[0].Points); d != "" {
			t.Errorf("%s (-want +got):\n%s", when, d)
		}
		if err := w.store.Compact(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}

// TestWaveOfOneSensor: the wave before the live one is that of the heart rate's source alone, and
// named.
func TestWaveOfOneSensor(t *testing.T) {
	w := newWard(t)
	w.second()
	at := time.Now().Add(-3 * time.Second)
	w.append("a-1", numerics(at, good(vitals.HeartRate, 70)))
	w.measures(at, good(vitals.HeartRate, 105))
	for i := range 3 {
		when := at.Add(time.Duration(i) * 10 * time.Millisecond)
		w.append("a-1", ppg(when, 1))
		w.stores(newcomer, ppg(when.Add(5*time.Millisecond), 2))
	}
	var got struct {
		Source string
		Chunks []struct{ Pulse []uint16 }
	}
	nurse := w.signedIn("nurse")
	nurse.get("/api/patients/"+w.ada+"/waveform?seconds=10", &got)
	if got.Source != "new-9" || len(got.Chunks) != 3 {
		t.Fatalf("%+v", got)
	}
	for _, c := range got.Chunks {
		if len(c.Pulse) != 1 || c.Pulse[0] != 65533 {
			t.Errorf("a chunk of the other sensor: %v", c.Pulse)
		}
	}
}

// TestDoubtStaysAtTheBed: two oximeters disagreed, and one said nothing for a minute. The faces
// that look anew and the live view keep it beside the other one as silent; once it is taken off the
// bed the other stands alone. Two cuffs are named too.
func TestDoubtStaysAtTheBed(t *testing.T) {
	w := newWard(t)
	const cuff1, cuff2 = "spiffe://test.vitalseal.internal/sensor/cuff-8", "spiffe://test.vitalseal.internal/sensor/cuff-9"
	for id, model := range map[string]string{newcomer: "MAX30100", cuff1: "MPS20N0040D", cuff2: "MPS20N0040D"} {
		if err := w.store.CreateDevice(t.Context(), directory.Device{ID: id, Kind: "sensor", Model: model, State: directory.DeviceActive}); err != nil {
			t.Fatal(err)
		}
		if err := w.store.PlaceDevice(t.Context(), id, "a-1", time.Now().Add(-time.Hour)); err != nil {
			t.Fatal(err)
		}
	}
	nurse := w.signedIn("nurse")
	type word struct {
		Source   string
		Value    *float64
		Disagree bool
		Others   []struct {
			Source           string
			Value            *float64
			Disagree, Silent bool
		}
	}
	page := func() map[string]word {
		t.Helper()
		var one struct{ Numerics map[string]word }
		nurse.get("/api/patients/"+w.ada, &one)
		return one.Numerics
	}
	spo2 := func() word { t.Helper(); return page()["spo2_percent"] }
	w.stores(cuff1, numerics(time.Now().Add(-30*time.Minute), good(vitals.Systolic, 123), good(vitals.Diastolic, 77)))
	w.stores(cuff2, numerics(time.Now().Add(-10*time.Minute), good(vitals.Systolic, 110), good(vitals.Diastolic, 66)))
	if r := page()["systolic_mmhg"]; r.Source != "cuff-9" || *r.Value != 110 || r.Disagree || len(r.Others) != 1 || r.Others[0].Source != "cuff-8" || *r.Others[0].Value != 123 {
		t.Errorf("two cuffs: %+v", r)
	}
	minute := time.Now().Add(-time.Minute)
	w.append("a-1", numerics(minute, good(vitals.SpO2, 97)))
	w.measures(minute, good(vitals.SpO2, 84))
	w.append("a-1", numerics(time.Now(), good(vitals.SpO2, 97)))
	silent := func(face string, r word) {
		t.Helper()
		if !r.Disagree || len(r.Others) != 1 || r.Others[0].Source != "new-9" || !r.Others[0].Silent || !r.Others[0].Disagree || r.Others[0].Value == nil || *r.Others[0].Value != 84 {
			t.Errorf("%s: the one that fell silent left no doubt: %+v", face, r)
		}
	}
	silent("page", spo2())
	conn := nurse.watch("patient=" + w.ada)
	next(t, conn) // hello
	live := func() (disagree bool, others int) {
		t.Helper()
		w.append("a-1", numerics(time.Now(), good(vitals.SpO2, 97)))
		m, _ := next(t, conn)
		r := m.Numerics["spo2_percent"]
		return r.Disagree, len(r.Others)
	}
	if disagree, others := live(); !disagree || others != 1 {
		t.Errorf("live: the one that fell silent left no doubt: %v, %d others", disagree, others)
	}
	if err := w.store.PlaceDevice(t.Context(), newcomer, "", time.Now()); err != nil {
		t.Fatal(err)
	}
	if r := spo2(); r.Disagree || len(r.Others) != 0 || r.Value == nil || *r.Value != 97 {
		t.Errorf("page: it was taken off the bed: %+v", r)
	}
	if disagree, others := live(); disagree || others != 0 {
		t.Errorf("live: it was taken off the bed: %v, %d others", disagree, others)
	}
}

// TestReturnBringsNoOldDoubt: of two oximeters that disagreed the one that fell silent is taken off
// the bed and put there again, and no sensor speaks meanwhile. A page that is loaded anew and a view
// that was open before say the same: no doubt, until the one that returned disagrees again.
func TestReturnBringsNoOldDoubt(t *testing.T) {
	w := newWard(t)
	if err := w.store.CreateDevice(t.Context(), directory.Device{ID: newcomer, Kind: "sensor", Model: "MAX30100", State: directory.DeviceActive}); err != nil {
		t.Fatal(err)
	}
	place := func(bed string, at time.Time) {
		t.Helper()
		if err := w.store.PlaceDevice(t.Context(), newcomer, bed, at); err != nil {
			t.Fatal(err)
		}
	}
	place("a-1", time.Now().Add(-time.Hour))
	nurse := w.signedIn("nurse")
	minute := time.Now().Add(-time.Minute)
	w.append("a-1", numerics(minute, good(vitals.SpO2, 97)))
	w.measures(minute, good(vitals.SpO2, 84))
	conn := nurse.watch("patient=" + w.ada)
	next(t, conn) // hello
	asks := func(when string, disagree bool) {
		t.Helper()
		w.append("a-1", numerics(time.Now(), good(vitals.SpO2, 97)))
		m, _ := next(t, conn)
		var one struct {
			Numerics map[string]struct{ Disagree bool }
		}
		nurse.get("/api/patients/"+w.ada, &one)
		if live, page := m.Numerics["spo2_percent"].Disagree, one.Numerics["spo2_percent"].Disagree; live != disagree || page != disagree {
			t.Errorf("%s: in doubt: the open view %v, the page %v; want %v", when, live, page, disagree)
		}
	}
	asks("it fell silent", true)
	off := time.Now()
	place("", off)
	place("a-1", off.Add(time.Millisecond))
	asks("it was put there again", false)
	w.measures(time.Now(), good(vitals.SpO2, 84))
	next(t, conn)
	asks("it disagrees again", true)
}
