package admin_test

import (
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"vitalseal/internal/hub/access"
	"vitalseal/internal/hub/archive"
	"vitalseal/internal/hub/directory"
	"vitalseal/internal/measurement/vitals"
	"vitalseal/internal/shared/audit"
	"vitalseal/internal/way/delivery"
	"vitalseal/internal/way/seal"
)

const domain = "spiffe://demo.vitalseal.internal"

// twoWards are wards ward-a and ward-b with a bed each, a patient in each, and an oximeter with a gateway at a-1; the nurse is on ward-a.
func twoWards(t *testing.T) (w *world, a, b string) {
	t.Helper()
	w = newWorld(t)
	w.sign(access.RoleAdmin, "")
	w.sign(access.RoleStaff, "")
	nurse := w.sign(access.RoleNurse, "")
	ctx, past := t.Context(), time.Now().Add(-3*time.Hour)
	for _, x := range []struct {
		ward, bed string
		patient   *string
	}{{"ward-a", "a-1", &a}, {"ward-b", "b-1", &b}} {
		w.must(w.store.CreateWard(ctx, directory.Ward{ID: x.ward, Name: x.ward}))
		w.must(w.store.CreateBed(ctx, directory.Bed{ID: x.bed, Ward: x.ward, Name: x.bed}))
		var err error
		*x.patient, err = w.store.CreatePatient(ctx, "P")
		w.must(err)
		w.must(w.store.Admit(ctx, *x.patient, x.bed, past))
	}
	w.must(w.store.CreateBed(ctx, directory.Bed{ID: "a-2", Ward: "ward-a", Name: "a-2"}))
	w.must(w.store.SetWards(ctx, nurse, []string{"ward-a"}))
	w.must(w.store.CreateDevice(ctx, directory.Device{ID: domain + "/gateway/gw-1", Kind: "gateway", State: directory.DeviceActive}))
	w.must(w.store.CreateDevice(ctx, directory.Device{ID: domain + "/sensor/oxi-1", Kind: "sensor", Model: "MAX30100", Serial: "A17", State: directory.DeviceActive, Gateway: domain + "/gateway/gw-1"}))
	w.must(w.store.PlaceDevice(ctx, domain+"/sensor/oxi-1", "a-1", past))
	return w, a, b
}

// TestInvitationIsQuestioned: a second oximeter at a bed, a serial number twice and a model that is not known are asked about, each with
// what was found, and nothing is made; with "meant" it is.
func TestInvitationIsQuestioned(t *testing.T) {
	w, _, _ := twoWards(t)
	before := len(w.invited)
	for body, want := range map[string]string{
		`{"id":"gw-2","sensors":[{"id":"oxi-2","model":"MAX30100","serial":"B1","bed":"a-1"}]}`:                                                       "second oximeter",
		`{"id":"gw-2","sensors":[{"id":"oxi-2","model":"max30100","serial":"a17","bed":"a-2"}]}`:                                                      "serial number",
		`{"id":"gw-2","sensors":[{"id":"oxi-2","model":"MAX30102","serial":"B1","bed":"a-2"}]}`:                                                       "not known",
		`{"id":"gw-2","sensors":[{"id":"ard-1","model":"legacy","serial":"","bed":"a-1"}]}`:                                                           "legacy device",
		`{"id":"gw-2","sensors":[{"id":"x-1","model":"MAX30100","serial":"1","bed":"a-2"},{"id":"x-2","model":"MAX30100","serial":"2","bed":"a-2"}]}`: "second oximeter",
		`{"id":"gw-2","sensors":[{"id":"x-1","model":"MCP3008","serial":"1"},{"id":"x-2","model":"MPS20N0040D","serial":"1","bed":"a-2"}]}`:           "serial number",
	} {
		text := w.get("admin", "POST", "gateways", body, http.StatusConflict, nil)
		var p struct{ Questions []string }
		if err := json.Unmarshal([]byte(text), &p); err != nil || len(p.Questions) != 1 || !strings.Contains(p.Questions[0], want) {
			t.Errorf("%s: %s, want a question about %q", body, text, want)
		}
	}
	// The same questions about sensors for a gateway that is there.
	w.get("admin", "POST", "gateways/gw-1/sensors", `{"sensors":[{"id":"oxi-2","model":"MAX30100","serial":"B1","bed":"a-1"}]}`, http.StatusConflict, nil)
	if len(w.invited) != before {
		t.Fatalf("questioned, and yet %d were invited", len(w.invited)-before)
	}
	// What is no doubt is not asked about; what is meant is done; a replacement is no second one.
	w.get("admin", "POST", "gateways/gw-1/sensors", `{"sensors":[{"id":"cuff-1","model":"MPS20N0040D","serial":"C1","bed":"a-1"}]}`, http.StatusCreated, nil)
	w.get("admin", "POST", "gateways/gw-1/sensors", `{"meant":true,"sensors":[{"id":"oxi-2","model":"MAX30100","serial":"A17","bed":"a-1"}]}`, http.StatusCreated, nil)
	w.get("admin", "POST", "gateways/gw-1/sensors", `{"sensors":[{"id":"oxi-3","model":"MAX30100","serial":"B3","replaces":"oxi-1"}]}`, http.StatusCreated, nil)
	last := w.invited[len(w.invited)-1]
	if last.Bed != "a-1" || last.Gateway != domain+"/gateway/gw-1" {
		t.Errorf("the replacement: %+v", last)
	}
	w.get("admin", "POST", "gateways/none/sensors", `{"sensors":[{"id":"oxi-9","model":"MAX30100","serial":"9"}]}`, http.StatusNotFound, nil)
}

// TestMoveSensor: by a nurse within her wards, by staff anywhere; not to or from a ward that is not hers, not by a guess at time.
func TestMoveSensor(t *testing.T) {
	w, a, b := twoWards(t)
	const path = "identities/sensor/oxi-1/bed"
	at := func(want string) {
		t.Helper()
		d, err := w.store.Device(t.Context(), domain+"/sensor/oxi-1")
		if err != nil || d.Bed != want {
			t.Fatalf("at %q, %v; want %q", d.Bed, err, want)
		}
	}
	w.get("nurse", "POST", path, `{"bed":"b-1"}`, http.StatusForbidden, nil)
	at("a-1")
	w.get("nurse", "POST", path, `{"bed":"a-2"}`, http.StatusCreated, nil)
	at("a-2")
	w.get("staff", "POST", path, `{"bed":"b-1"}`, http.StatusCreated, nil)
	at("b-1")
	entries, err := w.trail.Recent(t.Context(), 1000)
	w.must(err)
	if !slices.ContainsFunc(entries, func(e audit.Entry) bool {
		return e.Reason == `moved from "a-1" to "a-2"` && e.Concerns(a) && !e.Concerns(b)
	}) || !slices.ContainsFunc(entries, func(e audit.Entry) bool { return e.Reason == `moved from "a-2" to "b-1"` && e.Concerns(b) }) {
		t.Errorf("the moves of a sensor are not found under the patients at its beds: %+v", entries)
	}
	w.get("nurse", "POST", path, `{"bed":"a-1"}`, http.StatusForbidden, nil) // away from another ward
	w.get("nurse", "POST", path, `{"bed":""}`, http.StatusForbidden, nil)
	at("b-1")
	for _, body := range []string{`{"bed":"none"}`, `{"bed":"a-1","at":"2020-01-01T00:00:00Z"}`, `{"bed":"a-1","at":"2099-01-01T00:00:00Z"}`,
		`{"bed":"a-1","at":"` + time.Now().Add(-time.Hour).UTC().Format(time.RFC3339) + `"}`} { // before it was moved last
		w.get("admin", "POST", path, body, http.StatusBadRequest, nil)
	}
	// A second oximeter at the bed is asked about.
	w.must(w.store.CreateDevice(t.Context(), directory.Device{ID: domain + "/sensor/oxi-2", Kind: "sensor", Model: "MAX30100", State: directory.DeviceActive}))
	text := w.get("staff", "POST", "identities/sensor/oxi-2/bed", `{"bed":"b-1"}`, http.StatusConflict, nil)
	if !strings.Contains(text, "second oximeter") {
		t.Error(text)
	}
	w.get("staff", "POST", "identities/sensor/oxi-2/bed", `{"bed":"b-1","meant":true}`, http.StatusCreated, nil)
	w.get("admin", "POST", "identities/gateway/gw-1/bed", `{"bed":"a-1"}`, http.StatusBadRequest, nil)
	w.get("admin", "POST", path, `{"bed":""}`, http.StatusCreated, nil)
	at("")
}

// TestMoveReadings: readings go from one patient to another only by who may see both, or an administrator; the log has it before and after.
func TestMoveReadings(t *testing.T) {
	w, a, b := twoWards(t)
	ctx := t.Context()
	begin := time.Now().Add(-time.Hour).UTC().Truncate(time.Second)
	g := w.engine.Standing("ingest", access.AppendVitals, access.ViewPatient)
	c := vitals.Chunk{Signal: vitals.Numerics, Start: begin, Bundles: []vitals.Bundle{{At: begin, Numerics: []vitals.Numeric{vitals.Checked(vitals.HeartRate, 71, vitals.Good)}}}}
	o, why, err := w.store.Append(ctx, g, archive.Arrival{Sensor: domain + "/sensor/oxi-1", Chunk: c, Received: time.Now(),
		Header: seal.Header{Sensor: domain + "/sensor/oxi-1", Signal: uint8(c.Signal), Epoch: seal.Epoch{ID: seal.EpochID{1}, Number: 1}, Start: begin}})
	if err != nil || o != delivery.Accepted {
		t.Fatal(o, why, err)
	}
	has := func(patient string) int {
		t.Helper()
		got, err := w.store.Numerics(context.Background(), g, patient, begin.Add(-time.Hour), time.Now(), 0)
		w.must(err)
		return len(got)
	}
	span := `"begin":"` + begin.Add(-time.Minute).Format(time.RFC3339) + `","end":"` + begin.Add(time.Minute).Format(time.RFC3339) + `"}`
	there, back := `{"from":"`+a+`","to":"`+b+`",`+span, `{"from":"`+b+`","to":"`+a+`",`+span
	w.get("nurse", "POST", "readings/move", there, http.StatusForbidden, nil) // the other patient is on another ward
	w.get("nurse", "POST", "readings/move", back, http.StatusForbidden, nil)
	w.get("staff", "POST", "readings/move", there, http.StatusForbidden, nil)
	w.get("nurse", "POST", "readings/move", `{"from":"unassigned","to":"`+a+`","sensor":"oxi-1",`+span, http.StatusForbidden, nil)
	if has(a) != 1 || has(b) != 0 {
		t.Fatalf("refused, and yet %d and %d", has(a), has(b))
	}
	if text := w.get("admin", "POST", "readings/move", there, http.StatusCreated, nil); !strings.Contains(text, `"done":true`) {
		t.Error(text)
	}
	if has(a) != 0 || has(b) != 1 {
		t.Errorf("moved: %d and %d", has(a), has(b))
	}
	// A span of which nothing is stored, and one in which the other patient has numbers of their own, are asked about.
	if text := w.get("admin", "POST", "readings/move", there, http.StatusConflict, nil); !strings.Contains(text, "no number of") || !strings.Contains(text, b+" has 1 numbers of their own") {
		t.Errorf("an empty span into one that is not: %s", text)
	}
	if has(a) != 0 || has(b) != 1 {
		t.Errorf("questioned, and yet %d and %d", has(a), has(b))
	}
	w.get("admin", "POST", "readings/move", strings.TrimSuffix(there, "}")+`,"meant":true}`, http.StatusCreated, nil)
	w.get("admin", "POST", "readings/move", `{"from":"`+a+`","to":"`+a+`",`+span, http.StatusBadRequest, nil)
	w.get("admin", "POST", "patients/"+a+"/discharge", `{"at":"`+begin.Format(time.RFC3339)+`"}`, http.StatusNoContent, nil)
	w.get("admin", "POST", "patients/"+a+"/admit", `{"bed":"a-1","at":"2020-01-01T00:00:00Z"}`, http.StatusBadRequest, nil)
	text := w.get("admin", "POST", "patients/"+a+"/admit", `{"bed":"b-1","at":"`+begin.Format(time.RFC3339)+`"}`, http.StatusConflict, nil)
	if !strings.Contains(text, b) || !strings.Contains(text, "b-1") {
		t.Errorf("a conflict says who lies where: %s", text)
	}
}
