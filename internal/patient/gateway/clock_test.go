package gateway_test

import (
	"context"
	"log/slog"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"vitalseal/internal/hub/access"
	"vitalseal/internal/hub/archive"
	"vitalseal/internal/hub/directory"
	"vitalseal/internal/hub/store"
	"vitalseal/internal/measurement/vitals"
	"vitalseal/internal/patient/gateway"
	"vitalseal/internal/patient/sensor/bench"
	"vitalseal/internal/way/overlay"
)

// TestSlowGatewayAfterADischarge is a real gateway 45 minutes slow, at a real hub, after its patient was discharged and another admitted:
// nothing goes to the one who left; the other's numbers stand live at once, marked; gateway and inventory say so in words; and once a
// person settles the clock all of it is on the right chart, at the right time, once.
func TestSlowGatewayAfterADischarge(t *testing.T) {
	now := func() time.Time { return time.Now().Add(45 * time.Minute) } // of the hub
	w := newWardAt(t, bench.Profile{Seed: 3, Start: time.Now()}, now)
	ctx, began := t.Context(), now()
	must(t, w.store.CreateWard(ctx, directory.Ward{ID: "a", Name: "Ward A"}))
	must(t, w.store.CreateBed(ctx, directory.Bed{ID: "a-1", Ward: "a", Name: "Bed"}))
	left, err := w.store.CreatePatient(ctx, "Ada Lovelace")
	must(t, err)
	here, err := w.store.CreatePatient(ctx, "Grace Hopper")
	must(t, err)
	for _, name := range []string{oximeter, adc, cuff} {
		id := spiffe(overlay.KindSensor, name).String()
		must(t, w.store.CreateDevice(ctx, directory.Device{ID: id, Kind: overlay.KindSensor, State: directory.DeviceActive}))
		must(t, w.store.PlaceDevice(ctx, id, "a-1", began.Add(-5*time.Hour)))
	}
	must(t, w.store.Admit(ctx, left, "a-1", began.Add(-4*time.Hour)))
	must(t, w.store.Discharge(ctx, left, began.Add(-30*time.Minute)))
	must(t, w.store.Admit(ctx, here, "a-1", began.Add(-20*time.Minute)))
	sub, err := w.store.Watch(ctx, []access.Grant{w.grant}, vitals.Numerics)
	must(t, err)
	defer sub.Close()

	net := overlay.NewLoopback(w.authority)
	hub, err := net.Endpoint(spiffe(overlay.KindHub, "hub"))
	must(t, err)
	w.serve(t, hub)
	buses, err := newBench(w.profile)
	must(t, err)
	stop := background(t, func(ctx context.Context) error {
		return gateway.Run(ctx, w.config(), gateway.Deps{Buses: buses, Network: net, Log: slog.New(slog.DiscardHandler)})
	})
	for n := 0; n < 5; n++ {
		u, err := sub.Next(ctx)
		must(t, err)
		late := now().Sub(u.Chunk.Bundles[0].At)
		if u.Patient != here || !u.TimeNotSure || late < -5*time.Second || late > 30*time.Second {
			t.Fatalf("live: patient %s (want %s), time not sure: %v, %v old", u.Patient, here, u.TimeNotSure, late)
		}
	}
	charted := func(patient string) int {
		t.Helper()
		got, err := w.store.Numerics(ctx, w.grant, patient, began.Add(-6*time.Hour), began.Add(6*time.Hour), 0)
		must(t, err)
		return len(got)
	}
	for _, patient := range []string{left, here, store.Unassigned} {
		if n := charted(patient); n != 0 {
			t.Errorf("%d readings on the chart of %s while the clock is wrong", n, patient)
		}
	}
	eventually(t, "the gateway's status says how far its clock is off", func() bool {
		st, err := readStatus(w.data)
		return err == nil && st.Clock.AheadSeconds != nil && *st.Clock.AheadSeconds < -2699 && *st.Clock.AheadSeconds > -2701 &&
			st.Clock.Problem == "the gateway's clock is 2,700 s behind the hub's"
	})
	sensor := spiffe(overlay.KindSensor, oximeter).String()
	clocks, err := w.store.Clocks(ctx)
	must(t, err)
	if c := clocks[sensor]; !c.Known || (c.Offset+45*time.Minute).Abs() > time.Second+c.Error || c.Waiting == 0 {
		t.Errorf("the inventory says of the clock: %+v", c)
	}

	stop()
	for _, name := range []string{oximeter, adc, cuff} {
		n, err := w.store.SettleClock(ctx, spiffe(overlay.KindSensor, name).String(), archive.Settlement{High: 1 << 40, Measured: true, By: "person"})
		must(t, err)
		if n == 0 {
			t.Errorf("nothing of %s waited", name)
		}
	}
	if n := charted(left); n != 0 {
		t.Errorf("%d readings on the chart of the patient who left", n)
	}
	if n := charted(here); n < 5 {
		t.Errorf("%d readings on the chart of the patient who is here, want those that waited", n)
	}
	d, err := w.store.Delivery(ctx)
	must(t, err)
	if d.Quarantined != 0 {
		t.Errorf("%d chunks in quarantine", d.Quarantined)
	}
}

// TestClockBehindTheCertificate: a machine that starts in the past, before its own certificate begins, measures and keeps, and says why the
// hub is not reached; when it starts with the right time, its record says when everything was measured.
func TestClockBehindTheCertificate(t *testing.T) {
	real := time.Now()
	w := newWard(t, bench.Profile{Seed: 3, Start: time.Now()})
	ctx := t.Context()
	must(t, w.store.CreateWard(ctx, directory.Ward{ID: "a", Name: "Ward A"}))
	must(t, w.store.CreateBed(ctx, directory.Bed{ID: "a-1", Ward: "a", Name: "Bed"}))
	patient, err := w.store.CreatePatient(ctx, "Ada Lovelace")
	must(t, err)
	must(t, w.store.Admit(ctx, patient, "a-1", real.Add(-time.Hour)))
	id := spiffe(overlay.KindSensor, oximeter).String()
	must(t, w.store.CreateDevice(ctx, directory.Device{ID: id, Kind: overlay.KindSensor, State: directory.DeviceActive}))
	must(t, w.store.PlaceDevice(ctx, id, "a-1", real.Add(-time.Hour)))

	var kept int64
	synctest.Test(t, func(t *testing.T) { // its clock stands at 2000-01-01
		buses, err := newBench(w.profile)
		must(t, err)
		var logs said
		net := overlay.NewLoopback(w.authority)
		stop := background(t, func(ctx context.Context) error {
			return gateway.Run(ctx, w.config(), gateway.Deps{Buses: buses, Network: net, Log: slog.New(slog.NewTextHandler(&logs, nil))})
		})
		time.Sleep(20 * time.Second)
		st, err := readStatus(w.data)
		must(t, err)
		if !strings.Contains(st.Clock.Problem, "clock is wrong: it says 2000-01-01T") || !strings.Contains(st.Clock.Problem, "certificate of "+spiffe(overlay.KindGateway, "gw-a").String()+" begins at") {
			t.Errorf("the status says %q", st.Clock.Problem)
		}
		if !strings.Contains(logs.String(), "THE HUB CANNOT BE REACHED until this machine's clock is set") || !strings.Contains(logs.String(), "hub not reached") {
			t.Errorf("the log does not say why: %s", logs.String())
		}
		if kept = st.OutboxRecords; producedIn(st) < 50 || kept < 50 {
			t.Errorf("%d chunks measured, %d kept; want those of 20 s", producedIn(st), kept)
		}
		stop()
	})

	net := overlay.NewLoopback(w.authority)
	hub, err := net.Endpoint(spiffe(overlay.KindHub, "hub"))
	must(t, err)
	w.serve(t, hub)
	buses, err := newBench(w.profile)
	must(t, err)
	background(t, func(ctx context.Context) error {
		return gateway.Run(ctx, w.config(), gateway.Deps{Buses: buses, Network: net, Log: quiet})
	})
	if runtime.GOOS != "linux" {
		t.Skip("the machine's uptime, by which a step between two starts is known, is read on Linux alone")
	}
	eventually(t, "what was measured in the past is on the chart of today", func() bool {
		clocks, err := w.store.Clocks(ctx)
		must(t, err)
		got, err := w.store.Numerics(ctx, w.grant, patient, real.Add(-time.Minute), time.Now().Add(time.Minute), 0)
		must(t, err)
		st, err := readStatus(w.data)
		return err == nil && st.BacklogAcked > 0 && st.Backlog.Records == 0 && clocks[id].Waiting == 0 && len(got) > 18
	})
	past, err := w.store.Numerics(ctx, w.grant, patient, time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC), real.Add(-2*time.Minute), 0)
	must(t, err)
	if len(past) != 0 {
		t.Errorf("%d readings of the year 2000", len(past))
	}
}
