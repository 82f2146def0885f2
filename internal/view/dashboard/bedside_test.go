package dashboard_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"vitalseal/internal/hub/directory"
	"vitalseal/internal/measurement/vitals"
)

type tried struct {
	Quality string
	Value   *float64
	Source  string
	Attempt *struct{ Why, Cause, Source string }
}

// TestCuffAttempt: a cuff's attempt without a value stands beside the last value, in the list, on the
// page, live and on the chart, in answers that are made from what is on disk; a value since then ends
// it.
func TestCuffAttempt(t *testing.T) {
	w := newWard(t)
	nurse := w.signedIn("nurse")
	now := time.Now()
	failed := func(at time.Time, c vitals.Cause) { w.append("a-1", numerics(at, c.Numerics()...)) }
	see := func(when, why string, values ...float64) {
		t.Helper()
		var beds struct {
			Beds []struct {
				Bed      string
				Numerics map[string]tried
			}
		}
		var page struct{ Numerics map[string]tried }
		nurse.get("/api/beds", &beds)
		nurse.get("/api/patients/"+w.ada, &page)
		for face, n := range map[string]map[string]tried{"list": beds.Beds[0].Numerics, "page": page.Numerics} {
			sys := n["systolic_mmhg"]
			var got []float64
			for _, k := range []string{"systolic_mmhg", "diastolic_mmhg"} {
				if v := n[k].Value; v != nil {
					got = append(got, *v)
				}
			}
			if d := cmp.Diff(values, got); d != "" {
				t.Errorf("%s, %s: values (-want +got):\n%s", when, face, d)
			}
			if (why != "") != (sys.Attempt != nil) || sys.Attempt != nil && (sys.Attempt.Why+" "+sys.Attempt.Cause != why || sys.Attempt.Source != "oxi-a-1") {
				t.Errorf("%s, %s: attempt %+v, want %q", when, face, sys.Attempt, why)
			}
		}
	}
	failed(now.Add(-60*time.Minute), vitals.CauseTooLow)
	see("an attempt alone", "out_of_range not_inflated_enough")
	w.append("a-1", numerics(now.Add(-31*time.Minute), good(vitals.Systolic, 128), good(vitals.Diastolic, 79)))
	see("a value since", "", 128, 79)
	conn := nurse.watch("waveforms=none&patient=" + w.ada)
	next(t, conn) // hello
	failed(now.Add(-4*time.Minute), vitals.CauseNotDeflated)
	see("an attempt after a value", "motion not_deflated", 128, 79)
	m, _ := next(t, conn)
	if sys := m.Numerics["systolic_mmhg"]; m.Type != "numerics" || sys.Value == nil || *sys.Value != 128 || sys.Attempt == nil || sys.Attempt.Why != "motion" || sys.Attempt.Cause != "not_deflated" {
		t.Errorf("live: %+v", m)
	}
	if err := w.store.Compact(t.Context()); err != nil {
		t.Fatal(err)
	}
	see("compacted", "motion not_deflated", 128, 79)
	var trends struct {
		Attempts []struct {
			At          time.Time
			Why, Source string
			Count       int
		}
	}
	nurse.get("/api/patients/"+w.ada+"/trends?kind=systolic_mmhg&minutes=120", &trends)
	if got := trends.Attempts; len(got) != 2 || got[0].Why != "out_of_range" || got[1].Why != "motion" || got[1].Count != 1 || got[1].Source != "oxi-a-1" ||
		!got[1].At.Equal(now.Add(-4*time.Minute).UTC().Truncate(time.Minute)) {
		t.Errorf("chart: %+v", got)
	}
	w.append("a-1", numerics(now, good(vitals.Systolic, 131), good(vitals.Diastolic, 82)))
	see("a value again", "", 131, 82)
}

// TestMovedOximeter: a bed whose oximeter was moved says where it is, since when and by whom, to a
// reader who may know of the other bed; to another one, when it left, and no more. The wall names no
// person.
func TestMovedOximeter(t *testing.T) {
	w := newWard(t)
	ctx := t.Context()
	type bedside struct {
		Sensors []struct {
			Sensor, Purpose, State string
			KeptOutSince           *time.Time `json:"kept_out_since"`
			KeptOutBy              string     `json:"kept_out_by"`
		}
		Left []struct {
			Sensor, By string
			BedName    string `json:"bed_name"`
			WardName   string `json:"ward_name"`
			Off        bool
		}
	}
	of := func(login string) bedside {
		t.Helper()
		var page struct {
			AtBed bedside `json:"at_bed"`
		}
		w.signedIn(login).get("/api/patients/"+w.ada, &page)
		return page.AtBed
	}
	if b := of("nurse"); len(b.Sensors) != 1 || b.Sensors[0].Sensor != "oxi-a-1" || b.Sensors[0].Purpose != "oximeter" || len(b.Left) != 0 {
		t.Errorf("at the bed: %+v", b)
	}
	move := func(bed string, ago time.Duration) {
		t.Helper()
		if err := w.store.PlaceDeviceBy(ctx, sensorOf("a-1"), bed, w.nurse, time.Now().Add(-ago)); err != nil {
			t.Fatal(err)
		}
	}
	move("a-10", 20*time.Minute)
	b := of("nurse")
	if len(b.Sensors) != 0 || len(b.Left) != 1 || b.Left[0].Sensor != "oxi-a-1" || b.Left[0].BedName != "Bed a-10" || b.Left[0].WardName != "Cardiology" || b.Left[0].By == "" {
		t.Errorf("moved on the ward: %+v", b)
	}
	move("b-1", 10*time.Minute)
	if b := of("nurse"); len(b.Left) != 1 || b.Left[0].BedName+b.Left[0].WardName+b.Left[0].By != "" || b.Left[0].Off {
		t.Errorf("moved to a ward that the nurse does not know of: %+v", b)
	}
	// Bela lies there, whom the doctor treats; of the bed of Emil, a patient of another one, the
	// doctor is not told, nor of an empty one.
	if b := of("doctor"); len(b.Left) != 1 || b.Left[0].BedName != "Bed b-1" || b.Left[0].WardName != "Surgery" || b.Left[0].By == "" {
		t.Errorf("moved to the bed of a patient whom the doctor treats: %+v", b)
	}
	for i, bed := range []string{"a-2", "a-10"} {
		move(bed, time.Duration(9-i)*time.Minute)
		if b := of("doctor"); len(b.Left) != 1 || b.Left[0].BedName+b.Left[0].WardName+b.Left[0].By != "" || b.Left[0].Off {
			t.Errorf("moved to %s, of which the doctor does not know: %+v", bed, b)
		}
	}
	move("", 5*time.Minute)
	if b := of("nurse"); len(b.Left) != 1 || !b.Left[0].Off || b.Left[0].By == "" {
		t.Errorf("taken off: %+v", b)
	}
	move("a-10", time.Minute)
	if err := w.store.CreateDevice(ctx, directory.Device{ID: station + "-wall", Kind: "workstation", State: directory.DeviceActive, Mode: directory.ModeDisplay, Wards: []string{"ward-a"}}); err != nil {
		t.Fatal(err)
	}
	w.at(station + "-wall")
	status, body := w.browser().do("GET", "/api/display", nil, nil)
	var wall struct {
		Beds []struct {
			Bed   string
			AtBed bedside `json:"at_bed"`
		}
	}
	if err := json.Unmarshal([]byte(body), &wall); err != nil || status != 200 {
		t.Fatal(status, err, body)
	}
	if l := wall.Beds[0].AtBed.Left; wall.Beds[0].Bed != "Bed a-1" || len(l) != 1 || l[0].BedName != "Bed a-10" || l[0].By != "" {
		t.Errorf("the wall: %+v", wall.Beds[0])
	}
	// A sensor that is kept out says since when to all, and by whom to a person.
	move("a-1", 0)
	if err := w.store.SetDeviceStateBy(ctx, sensorOf("a-1"), directory.DeviceDisabled, w.nurse); err != nil {
		t.Fatal(err)
	}
	if s := of("nurse").Sensors; len(s) != 1 || s[0].State != directory.DeviceDisabled || s[0].KeptOutSince == nil || s[0].KeptOutBy == "" {
		t.Errorf("a sensor that is kept out, to a nurse: %+v", s)
	}
	w.at(station + "-wall")
	if _, body = w.browser().do("GET", "/api/display", nil, nil); !strings.Contains(body, "kept_out_since") || strings.Contains(body, "kept_out_by") {
		t.Errorf("a sensor that is kept out, on the wall: %s", body)
	}
}

// TestSilentGateway: a gateway that is not heard is told with the time when it last was, also by a
// live view that was open before.
func TestSilentGateway(t *testing.T) {
	w := newWard(t)
	type at struct {
		Sensors []struct {
			Gateway       string
			GatewaySilent bool       `json:"gateway_silent"`
			GatewayHeard  *time.Time `json:"gateway_heard"`
		}
	}
	const gateway, sensor = "spiffe://test.vitalseal.internal/gateway/gw-9", "spiffe://test.vitalseal.internal/sensor/oxi-9"
	for _, d := range []directory.Device{{ID: gateway, Kind: "gateway", State: directory.DeviceActive}, {ID: sensor, Kind: "sensor", Model: "MAX30100", Gateway: gateway, State: directory.DeviceActive}} {
		if err := w.store.CreateDevice(t.Context(), d); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.store.PlaceDevice(t.Context(), sensor, "a-2", time.Now().Add(-time.Hour)); err != nil {
		t.Fatal(err)
	}
	nurse := w.signedIn("nurse")
	its := func() (silent bool, heard *time.Time) {
		t.Helper()
		var page struct {
			AtBed at `json:"at_bed"`
		}
		nurse.get("/api/patients/"+w.emil, &page)
		for _, s := range page.AtBed.Sensors {
			if s.Gateway == "gw-9" {
				return s.GatewaySilent, s.GatewayHeard
			}
		}
		t.Fatalf("the sensor is not at the bed: %+v", page)
		return false, nil
	}
	if silent, heard := its(); !silent || heard != nil {
		t.Errorf("a gateway that was never heard: %v %v", silent, heard)
	}
	// What a sensor's connection says, its gateway says.
	if err := w.store.TouchDevice(t.Context(), sensor); err != nil {
		t.Fatal(err)
	}
	if err := w.store.CreateWard(t.Context(), directory.Ward{ID: "other", Name: "Other"}); err != nil { // so that the inventory is read anew at once
		t.Fatal(err)
	}
	if silent, _ := its(); silent {
		t.Error("a gateway that was heard just now is silent")
	}
}
