package dashboard_test

import (
	"context"
	"testing"
	"time"

	"vitalseal/internal/delivery"
	"vitalseal/internal/seal"
	"vitalseal/internal/store"
	"vitalseal/internal/vitals"
)

const newcomer = "spiffe://test.vitalseal.internal/sensor/new-9"

// measures stores what a second oximeter at Ada's bed says.
func (w *ward) measures(at time.Time, n ...vitals.Numeric) {
	w.t.Helper()
	c := numerics(at, n...)
	w.seq[newcomer]++
	o, why, err := w.store.Append(context.Background(), w.grant, store.Arrival{Sensor: newcomer, Chunk: c, Received: time.Now(), Header: seal.Header{
		Sensor: newcomer, Signal: uint8(c.Signal), Start: c.Start, Seq: w.seq[newcomer], Epoch: seal.Epoch{ID: seal.EpochID{4}, Number: 4}}})
	if err != nil || o != delivery.Accepted {
		w.t.Fatal(o, why, err)
	}
}

// TestTwoOximetersAtOneBed: in the middle of a swap both send. The list of beds, the patient's page, the wall and the live view name the
// second one with its value, and say whether the two disagree; once it is silent nothing is said.
func TestTwoOximetersAtOneBed(t *testing.T) {
	w := newWard(t)
	if err := w.store.CreateDevice(t.Context(), store.Device{ID: newcomer, Kind: "sensor", Model: "MAX30100", State: store.DeviceActive}); err != nil {
		t.Fatal(err)
	}
	if err := w.store.PlaceDevice(t.Context(), newcomer, "a-1", time.Now().Add(-time.Hour)); err != nil {
		t.Fatal(err)
	}
	nurse := w.signedIn("nurse")
	type other struct {
		Source   string
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
	live(96, 95, false)
	told("page", page()["spo2_percent"], 96, 95, false)
}
