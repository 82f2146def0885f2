package admin_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"vitalseal/internal/hub/access"
	"vitalseal/internal/hub/archive"
	"vitalseal/internal/hub/directory"
	"vitalseal/internal/measurement/vitals"
	"vitalseal/internal/way/delivery"
	"vitalseal/internal/way/seal"
)

// TestSensorsOfMyWards: a person gets the sensors and beds of the wards in which the policies let that person move sensors, the sensors
// at no bed, and no other; one entry of the audit log says which wards. Who may move sensors in no ward is refused.
func TestSensorsOfMyWards(t *testing.T) {
	w, _, _ := twoWards(t)
	w.sign(access.RoleDoctor, "")
	ctx := t.Context()
	for _, d := range []struct{ name, model, bed string }{{"oxi-b", "MAX30100", "b-1"}, {"spare", "MAX30100", ""}, {"adc-1", "MCP3008", ""}, {"gone", "MAX30100", ""}, {"cuff-a", "MPS20N0040D", "a-2"}} {
		id := domain + "/sensor/" + d.name
		w.must(w.store.CreateDevice(ctx, directory.Device{ID: id, Kind: "sensor", Model: d.model, Serial: "S-" + d.name, State: directory.DeviceActive, Gateway: domain + "/gateway/gw-1"}))
		if d.bed != "" {
			w.must(w.store.PlaceDevice(ctx, id, d.bed, time.Now().Add(-time.Hour)))
		}
	}
	w.must(w.store.SetDeviceState(ctx, domain+"/sensor/gone", directory.DeviceDeleted))
	for role, want := range map[access.Role][2]string{
		access.RoleNurse: {"a-1 a-2", "oxi-1@a-1 cuff-a@a-2 spare@"},
		access.RoleStaff: {"a-1 a-2 b-1", "oxi-1@a-1 cuff-a@a-2 oxi-b@b-1 spare@"},
	} {
		var got struct {
			Beds    []struct{ ID string }
			Sensors []struct{ ID, Bed, Purpose, Ward string }
		}
		text := w.get(role, "GET", "sensors", "", http.StatusOK, &got)
		var beds, sensors []string
		for _, b := range got.Beds {
			beds = append(beds, b.ID)
		}
		for _, s := range got.Sensors {
			sensors = append(sensors, s.ID+"@"+s.Bed)
			if s.ID == "cuff-a" && (s.Purpose != "cuff" || s.Ward != "ward-a") {
				t.Errorf("the cuff: %+v", s)
			}
		}
		if b, s := strings.Join(beds, " "), strings.Join(sensors, " "); b != want[0] || s != want[1] {
			t.Errorf("%s: beds %q, sensors %q; want %q and %q", role, b, s, want[0], want[1])
		}
		if role == access.RoleNurse {
			for _, never := range []string{"oxi-b", "b-1", "ward-b", "gone"} {
				if strings.Contains(text, never) {
					t.Errorf("a nurse of ward-a is told of %s: %s", never, text)
				}
			}
		}
		e := w.last()
		w.get(role, "GET", "sensors", "", http.StatusOK, nil) // as the page does every ten seconds
		if again := w.last(); again.Seq != e.Seq {
			t.Errorf("%s: the page that asks again made another entry: %+v", role, again)
		}
		if !e.Allowed || e.Action != "sensor:read" || !strings.Contains(e.Reason, "wards: ward-a") || role == access.RoleNurse && strings.Contains(e.Reason, "ward-b") {
			t.Errorf("%s: the log says %+v", role, e)
		}
	}
	w.get("doctor", "GET", "sensors", "", http.StatusForbidden, nil)
	if e := w.last(); e.Allowed || e.Action != "sensor:read" {
		t.Errorf("the refusal in the log: %+v", e)
	}
}

// TestPreviewOfAMove: what would be moved, and what the other patient has, are counted with the first and the last time; by the same
// decision as the move, and without moving anything.
func TestPreviewOfAMove(t *testing.T) {
	w, a, b := twoWards(t)
	ctx := t.Context()
	w.must(w.store.CreateDevice(ctx, directory.Device{ID: domain + "/sensor/oxi-2", Kind: "sensor", Model: "MAX30100", State: directory.DeviceActive, Gateway: domain + "/gateway/gw-1"}))
	other, err := w.store.CreatePatient(ctx, "Q")
	w.must(err)
	w.must(w.store.Admit(ctx, other, "a-2", time.Now().Add(-3*time.Hour)))
	w.must(w.store.PlaceDevice(ctx, domain+"/sensor/oxi-2", "a-2", time.Now().Add(-3*time.Hour)))
	begin := time.Now().Add(-time.Hour).UTC().Truncate(time.Second)
	g := w.engine.Standing("ingest", access.AppendVitals, access.ViewPatient)
	say := func(sensor string, n uint64, at time.Time, quality vitals.Quality) {
		t.Helper()
		value := vitals.Checked(vitals.HeartRate, 71, quality)
		if quality != vitals.Good {
			value = vitals.Absent(vitals.HeartRate, quality)
		}
		id := domain + "/sensor/" + sensor
		c := vitals.Chunk{Signal: vitals.Numerics, Start: at, Bundles: []vitals.Bundle{{At: at, Numerics: []vitals.Numeric{value}}}}
		o, why, err := w.store.Append(ctx, g, archive.Arrival{Sensor: id, Chunk: c, Received: time.Now(),
			Header: seal.Header{Sensor: id, Signal: uint8(c.Signal), Seq: n, Epoch: seal.Epoch{ID: seal.EpochID{1}, Number: 1}, Start: at}})
		if err != nil || o != delivery.Accepted {
			t.Fatal(o, why, err)
		}
	}
	for i := range 3 {
		say("oxi-1", uint64(i), begin.Add(time.Duration(i)*time.Minute), vitals.Good)
	}
	say("oxi-1", 3, begin.Add(10*time.Minute), vitals.ProbeOff) // no value
	say("oxi-2", 0, begin.Add(time.Minute), vitals.Good)
	type found struct {
		Count       int
		First, Last *time.Time
		More        bool
	}
	ask := func(role access.Role, from, to, sensor string, begin, end time.Time, status int) (got struct{ From, To found }) {
		t.Helper()
		q := url.Values{"from": {from}, "to": {to}, "sensor": {sensor}, "begin": {begin.Format(time.RFC3339)}, "end": {end.Format(time.RFC3339)}}
		var out any = &got
		if status != http.StatusOK {
			out = nil
		}
		w.get(role, "GET", "readings?"+q.Encode(), "", status, out)
		return got
	}
	end := begin.Add(30 * time.Minute)
	got := ask("nurse", a, other, "oxi-1", begin, end, http.StatusOK)
	if f := got.From; f.Count != 3 || !f.First.Equal(begin) || !f.Last.Equal(begin.Add(2*time.Minute)) || f.More {
		t.Errorf("what would be moved: %+v", f)
	}
	if e := w.last(); !e.Allowed || e.Action != "readings:read" || e.Patient != other {
		t.Errorf("the log has the look as %+v", e)
	}
	if f := got.To; f.Count != 1 || !f.First.Equal(begin.Add(time.Minute)) {
		t.Errorf("what the other patient has: %+v", f)
	}
	if got = ask("nurse", a, other, "oxi-1", begin.Add(time.Second), begin.Add(2*time.Minute), http.StatusOK); got.From.Count != 1 {
		t.Errorf("of a part of the span: %+v", got.From)
	}
	if got = ask("nurse", other, a, "oxi-1", begin, end, http.StatusOK); got.From.Count != 0 || got.From.First != nil {
		t.Errorf("of a sensor that was not there: %+v", got.From)
	}
	ask("nurse", a, b, "oxi-1", begin, end, http.StatusForbidden) // the other patient is on another ward
	ask("nurse", b, a, "", begin, end, http.StatusForbidden)
	ask("staff", a, other, "", begin, end, http.StatusForbidden)
	ask("nurse", "unassigned", a, "oxi-1", begin, end, http.StatusForbidden)
	ask("nurse", a, other, "", end, begin, http.StatusBadRequest)
	ask("nurse", a, other, "", begin, begin.Add(25*time.Hour), http.StatusBadRequest)
	ask("nurse", a, a, "", begin, end, http.StatusBadRequest)
	w.get("nurse", "GET", "readings?from="+a+"&to="+other+"&begin=yesterday&end=now", "", http.StatusBadRequest, nil)
	if n, err := w.store.Numerics(ctx, g, a, begin.Add(-time.Hour), time.Now(), 0); err != nil || len(n) != 4 {
		t.Errorf("looking moved something: %d bundles, %v", len(n), err)
	}
}

// TestMoveComparesTheSameKinds: what the other patient's own cuff measured is no doubt about an oximeter's readings, in the preview and in
// the question; what an oximeter of theirs measured is, and both name its kind and the sensor.
func TestMoveComparesTheSameKinds(t *testing.T) {
	w, a, _ := twoWards(t)
	ctx := t.Context()
	past := time.Now().Add(-3 * time.Hour)
	other, err := w.store.CreatePatient(ctx, "Q")
	w.must(err)
	w.must(w.store.Admit(ctx, other, "a-2", past))
	for _, s := range []struct{ name, model string }{{"cuff-2", "MPS20N0040D"}, {"oxi-2", "MAX30100"}} {
		w.must(w.store.CreateDevice(ctx, directory.Device{ID: domain + "/sensor/" + s.name, Kind: "sensor", Model: s.model, State: directory.DeviceActive, Gateway: domain + "/gateway/gw-1"}))
		w.must(w.store.PlaceDevice(ctx, domain+"/sensor/"+s.name, "a-2", past))
	}
	begin := time.Now().Add(-time.Hour).UTC().Truncate(time.Second)
	g := w.engine.Standing("ingest", access.AppendVitals, access.ViewPatient)
	say := func(sensor string, values ...vitals.Numeric) {
		t.Helper()
		id := domain + "/sensor/" + sensor
		c := vitals.Chunk{Signal: vitals.Numerics, Start: begin, Bundles: []vitals.Bundle{{At: begin, Numerics: values}}}
		o, why, err := w.store.Append(ctx, g, archive.Arrival{Sensor: id, Chunk: c, Received: time.Now(),
			Header: seal.Header{Sensor: id, Signal: uint8(c.Signal), Epoch: seal.Epoch{ID: seal.EpochID{1}, Number: 1}, Start: begin}})
		if err != nil || o != delivery.Accepted {
			t.Fatal(o, why, err)
		}
	}
	temperature := vitals.Checked(vitals.DieTemperature, 31, vitals.Good) // of the sensor: no two people
	say("oxi-1", vitals.Checked(vitals.HeartRate, 71, vitals.Good), temperature)
	say("cuff-2", vitals.Checked(vitals.Systolic, 121, vitals.Good), vitals.Checked(vitals.Diastolic, 79, vitals.Good))
	from, to := begin.Add(-time.Minute).Format(time.RFC3339), begin.Add(time.Minute).Format(time.RFC3339)
	q := url.Values{"from": {a}, "to": {other}, "sensor": {"oxi-1"}, "begin": {from}, "end": {to}}.Encode()
	type found struct {
		Count          int
		Kinds, Sensors []string
	}
	var got struct{ From, To found }
	w.get("nurse", "GET", "readings?"+q, "", http.StatusOK, &got)
	if got.From.Count != 1 || strings.Join(got.From.Kinds, " ") != "heart_rate_bpm" || got.To.Count != 0 {
		t.Errorf("beside a cuff: %+v", got)
	}
	say("oxi-2", vitals.Checked(vitals.HeartRate, 64, vitals.Good))
	w.get("nurse", "GET", "readings?"+q, "", http.StatusOK, &got)
	if got.To.Count != 1 || strings.Join(got.To.Kinds, " ") != "heart_rate_bpm" || strings.Join(got.To.Sensors, " ") != "oxi-2" {
		t.Errorf("beside an oximeter: %+v", got.To)
	}
	body := `{"from":"` + a + `","to":"` + other + `","sensor":"oxi-1","begin":"` + from + `","end":"` + to + `"}`
	if text := w.get("nurse", "POST", "readings/move", body, http.StatusConflict, nil); !strings.Contains(text, "has 1 numbers of their own") || !strings.Contains(text, "(heart rate by oxi-2)") {
		t.Error(text)
	}
	// Moved the other way, all that stands at that bed: a cuff's, of which a has none, and the oximeter's.
	w.get("nurse", "POST", "readings/move", `{"from":"`+other+`","to":"`+a+`","sensor":"cuff-2","begin":"`+from+`","end":"`+to+`"}`, http.StatusCreated, nil)
}
