package storetest

import (
	"testing"
	"time"

	"vitalseal/internal/hub/archive"
	"vitalseal/internal/hub/directory"
	"vitalseal/internal/hub/store"
)

// movesWithinWard: a move stays within a ward if both were in that one alone, whatever is entered late; of readings of no patient, if the
// sensor stood there in all of the span.
func movesWithinWard(t *testing.T, b *bench) {
	ctx, at := t.Context(), b.now.Add(-24*time.Hour)
	must(t, b.CreateWard(ctx, directory.Ward{ID: "b", Name: "Ward B"}))
	for bed, ward := range map[string]string{"a-1": "a", "a-2": "a", "b-0": "b"} {
		must(t, b.CreateBed(ctx, directory.Bed{ID: bed, Ward: ward, Name: bed}))
	}
	patient := func(bed string) string {
		t.Helper()
		id, err := b.CreatePatient(ctx, "Grace Hopper")
		must(t, err)
		if bed != "" {
			must(t, b.Admit(ctx, id, bed, at))
		}
		return id
	}
	within := func(what, from, to, sensor string, want bool) {
		t.Helper()
		got, err := b.WithinWard(ctx, archive.Move{From: from, To: to, Sensor: sensor, Begin: b.now.Add(-2 * time.Hour), End: b.now.Add(-time.Hour)})
		if err != nil || got != want {
			t.Errorf("%s: within one ward: %v, %v; want %v", what, got, err, want)
		}
	}
	same, other, none := patient("a-1"), patient("b-0"), patient("")
	within("two of one ward", b.patient, same, "", true)
	within("another ward", b.patient, other, "", false)
	within("from another ward", other, b.patient, "", false)
	within("to one who was never admitted", b.patient, none, "", false)
	within("from one who was never admitted", none, b.patient, "", false)
	within("an unknown one", b.patient, "p-nobody", "", false)
	must(t, b.Discharge(ctx, same, b.now.Add(-90*time.Minute)))
	within("one who was discharged", same, b.patient, "", true)

	// A transfer, of now and entered late, leaves the stay in the other ward where it was.
	must(t, b.AdmitFrom(ctx, other, "a-2", b.now.Add(-3*time.Hour)))
	within("one who was transferred before the span", b.patient, other, "", false)
	must(t, b.DischargeFrom(ctx, other, b.now.Add(-30*time.Minute)))
	within("and discharged", b.patient, other, "", false)

	within("of no patient, at a bed of the ward", store.Unassigned, b.patient, b.sensor, true)
	must(t, b.CreateDevice(ctx, directory.Device{ID: "spiffe://test/sensor/s1", Kind: "sensor", State: directory.DeviceActive}))
	within("a sensor at no bed", store.Unassigned, b.patient, "spiffe://test/sensor/s1", false)
	must(t, b.PlaceDevice(ctx, "spiffe://test/sensor/s1", "a-1", b.now.Add(-90*time.Minute)))
	within("a sensor at a bed for a part of the span", store.Unassigned, b.patient, "spiffe://test/sensor/s1", false)
	must(t, b.PlaceDevice(ctx, b.sensor, "b-0", b.now.Add(-10*time.Minute)))
	within("a sensor that was elsewhere since", store.Unassigned, b.patient, b.sensor, false)
}
