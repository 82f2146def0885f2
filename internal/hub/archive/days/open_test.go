package days_test

import (
	"context"
	"testing"
	"time"

	"vitalseal/internal/hub/access"
	"vitalseal/internal/hub/archive"
	"vitalseal/internal/hub/directory"
	"vitalseal/internal/hub/store"
	"vitalseal/internal/measurement/vitals"
	"vitalseal/internal/way/delivery"
	"vitalseal/internal/way/seal"
)

func sensorID(name string) string { return "spiffe://test/sensor/" + name }

// ward makes a ward of one bed "a-0" with a patient and the sensor "s0" since an hour before now.
func ward(t testing.TB, s *store.Store, now time.Time) (patient string) {
	t.Helper()
	ctx, since := context.Background(), now.Add(-time.Hour)
	must(t, s.CreateWard(ctx, directory.Ward{ID: "a", Name: "Ward A"}))
	must(t, s.CreateBed(ctx, directory.Bed{ID: "a-0", Ward: "a", Name: "Bed"}))
	patient, err := s.CreatePatient(ctx, "Patient")
	must(t, err)
	must(t, s.Admit(ctx, patient, "a-0", since))
	must(t, s.CreateDevice(ctx, directory.Device{ID: sensorID("s0"), Kind: "sensor", State: directory.DeviceActive}))
	must(t, s.PlaceDevice(ctx, sensorID("s0"), "a-0", since))
	return patient
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func epoch(n uint64) seal.Epoch {
	return seal.Epoch{ID: seal.EpochID{byte(n), byte(n >> 8), 7}, Number: n}
}

func arrival(sensor string, c vitals.Chunk, e seal.Epoch, seq uint64) archive.Arrival {
	return archive.Arrival{Sensor: sensor, Chunk: c, Received: c.End(),
		Header: seal.Header{Sensor: sensor, Signal: uint8(c.Signal), Epoch: e, Seq: seq, Start: c.Start}}
}

func numerics(at time.Time, values ...vitals.Numeric) vitals.Chunk {
	at = at.UTC().Truncate(time.Microsecond)
	return vitals.Chunk{Signal: vitals.Numerics, Start: at, Bundles: []vitals.Bundle{{At: at, Numerics: values}}}
}

func heart(v float64) vitals.Numeric { return vitals.Checked(vitals.HeartRate, v, vitals.Good) }

func accept(t testing.TB, s *store.Store, g access.Grant, a archive.Arrival) {
	t.Helper()
	if got, why, err := s.Append(context.Background(), g, a); err != nil || got != delivery.Accepted {
		t.Fatalf("append: %v %q, %v", got, why, err)
	}
}
