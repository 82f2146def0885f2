package storetest

import (
	"fmt"
	"testing"
	"time"

	"vitalseal/internal/hub/directory"
)

// securityEvents: what comes again is the same event; one that was acknowledged is shown again when it comes again, one that lasts an hour
// later; there is a bound on them; a gateway's disk names the beds of its sensors.
func securityEvents(t *testing.T, b *bench) {
	ctx := t.Context()
	const gateway, sensor = "spiffe://test/gateway/g5", "spiffe://test/sensor/s5"
	now := b.now
	find := func(kind, place string) directory.SecurityEvent {
		t.Helper()
		all, err := b.SecurityEvents(ctx, now)
		must(t, err)
		for _, e := range all {
			if e.ID == directory.SecurityID(kind, place, "") {
				return e
			}
		}
		t.Fatalf("no event %s at %s among %d", kind, place, len(all))
		return directory.SecurityEvent{}
	}
	forged := directory.SecurityEvent{Kind: "forgery", Place: sensor, Detail: "does not open", Last: now}
	must(t, b.NoteSecurity(ctx, forged))
	forged.Last, forged.Times = now.Add(time.Minute), 3
	must(t, b.NoteSecurity(ctx, forged))
	e := find("forgery", sensor)
	if e.Times != 4 || !e.First.Equal(now) || !e.Last.Equal(now.Add(time.Minute)) || !e.Open(now) {
		t.Errorf("noted twice: %+v", e)
	}
	must(t, b.AcknowledgeSecurity(ctx, e, "p-1", e.Last))
	if e = find("forgery", sensor); e.Open(now) || e.SeenBy != "p-1" {
		t.Errorf("acknowledged: %+v", e)
	}
	forged.Last = now.Add(2 * time.Minute)
	must(t, b.NoteSecurity(ctx, forged))
	if e = find("forgery", sensor); !e.Open(now) || !e.First.Equal(now) {
		t.Errorf("came again: %+v", e)
	}

	must(t, b.CreateDevice(ctx, directory.Device{ID: gateway, Kind: "gateway", State: directory.DeviceActive}))
	must(t, b.CreateDevice(ctx, directory.Device{ID: sensor, Kind: "sensor", Gateway: gateway, State: directory.DeviceActive}))
	must(t, b.PlaceDevice(ctx, sensor, "a-0", now))
	must(t, b.NoteTrouble(ctx, sensor, "disk full", now))
	e = find(directory.SecurityTrouble, gateway)
	if !e.Lasts || !e.Open(now) || e.Detail != "disk full" || fmt.Sprint(e.Beds) != "[a-0]" {
		t.Errorf("a full disk: %+v", e)
	}
	must(t, b.AcknowledgeSecurity(ctx, e, "p-1", now.Add(time.Second)))
	e = find(directory.SecurityTrouble, gateway)
	if e.Open(now.Add(50*time.Minute)) || !e.Open(now.Add(62*time.Minute)) {
		t.Errorf("an acknowledged full disk, 50 and 62 minutes later: %v, %v", e.Open(now.Add(50*time.Minute)), e.Open(now.Add(62*time.Minute)))
	}
	must(t, b.NoteTrouble(ctx, sensor, "", now.Add(time.Minute)))
	all, err := b.SecurityEvents(ctx, now)
	must(t, err)
	for _, e := range all {
		if e.Kind == directory.SecurityTrouble {
			t.Errorf("after the disk works again: %+v", e)
		}
	}
	for i := range 520 {
		must(t, b.NoteSecurity(ctx, directory.SecurityEvent{Kind: "guessing", Place: fmt.Sprintf("spiffe://test/workstation/w%d", i), Last: now.Add(time.Hour)}))
	}
	if all, err = b.SecurityEvents(ctx, now); err != nil || len(all) != 500 {
		t.Errorf("%d events are kept, %v", len(all), err)
	}
	if e = find("forgery", sensor); !e.Open(now) {
		t.Errorf("many guesses later: %+v", e)
	}
}
