package storetest

import (
	"fmt"
	"testing"
	"time"

	"vitalseal/internal/hub/archive"
	"vitalseal/internal/hub/directory"
	"vitalseal/internal/hub/store"
	"vitalseal/internal/measurement/vitals"
	"vitalseal/internal/way/delivery"
	"vitalseal/internal/way/seal"
)

func numbered(boot, count uint64) seal.Epoch {
	return seal.Epoch{ID: seal.EpochID{byte(boot), byte(boot >> 8), byte(count), 9}, Number: boot<<seal.CountBits | count} // #nosec G115 -- small numbers of the tests
}

// starts: the newest start of a gateway delivers, whatever is forgotten in memory; an older one that is let in anyway is told how high
// the counter was, and nothing that it or the other measured is refused.
func starts(t *testing.T, b *bench) {
	ctx := t.Context()
	first, clone, old := delivery.Start{Boot: 7, Instance: [16]byte{1}}, delivery.Start{Boot: 7, Instance: [16]byte{2}}, delivery.Start{Boot: 2, Instance: [16]byte{3}}
	take := func(s delivery.Start, anyway bool, want directory.StartVerdict) {
		t.Helper()
		got, err := b.TakeStart(ctx, b.sensor, s, anyway)
		must(t, err)
		got.Seen = time.Time{}
		if got != want {
			t.Errorf("start %d: %+v, want %+v", s.Boot, got, want)
		}
	}
	take(first, false, directory.StartVerdict{Taken: true, Newest: first, Highest: 7})
	take(first, false, directory.StartVerdict{Taken: true, Newest: first, Highest: 7}) // connects again
	must(t, b.SaveAnnouncement(ctx, b.sensor, first, numbered(7, 2), 1, []byte("a")))
	must(t, b.SaveAnnouncement(ctx, b.sensor, first, numbered(7, 1), 2, []byte("b"))) // asked for again after the hub's restore
	must(t, b.SaveAnnouncement(ctx, b.sensor, first, numbered(6, 9), 2, []byte("c"))) // the backlog of its last start
	again := numbered(7, 2)
	again.ID[9] = 1
	is(t, b.SaveAnnouncement(ctx, b.sensor, first, again, 2, []byte("d")), store.ErrConflict)                // a snapshot started twice
	is(t, b.SaveAnnouncement(ctx, b.sensor, delivery.Start{}, numbered(7, 1<<19), 2, nil), store.ErrInvalid) // empty
	is(t, b.SaveAnnouncement(ctx, b.sensor, delivery.Start{}, numbered(6, 10), 3, []byte("e")), store.ErrConflict)

	take(clone, false, directory.StartVerdict{Newest: first, Highest: 7})
	take(old, false, directory.StartVerdict{Newest: first, Highest: 7})
	take(old, true, directory.StartVerdict{Taken: true, Newest: old, Older: true, Highest: 7})
	take(old, false, directory.StartVerdict{Taken: true, Newest: old, Older: true, Highest: 7}) // it is told again
	must(t, b.SaveAnnouncement(ctx, b.sensor, old, numbered(2, 1), 1, []byte("f")))
	told := delivery.Start{Boot: 8, Instance: old.Instance}
	take(told, false, directory.StartVerdict{Taken: true, Newest: told, Highest: 8})
	must(t, b.SaveAnnouncement(ctx, b.sensor, told, numbered(2, 2), 1, []byte("g")))
	must(t, b.SaveAnnouncement(ctx, b.sensor, told, numbered(8, 3), 1, []byte("h")))
	take(first, false, directory.StartVerdict{Newest: told, Highest: 8})
}

// jumps: no number can silence a sensor.
func jumps(t *testing.T, b *bench) {
	ctx := t.Context()
	const forever = 1<<63 - 1
	end := seal.Epoch{ID: seal.EpochID{1}, Number: forever}
	is(t, b.SaveAnnouncement(ctx, b.sensor, delivery.Start{}, end, 1, []byte("x")), directory.ErrEpochJump)
	mine := delivery.Start{Boot: 5, Instance: [16]byte{1}}
	v, err := b.TakeStart(ctx, b.sensor, mine, false)
	must(t, err)
	if !v.Taken {
		t.Fatalf("%+v", v)
	}
	is(t, b.SaveAnnouncement(ctx, b.sensor, mine, end, 1, []byte("x")), directory.ErrEpochJump)
	is(t, b.SaveAnnouncement(ctx, b.sensor, mine, numbered(6, 1), 1, []byte("x")), directory.ErrEpochJump)
	must(t, b.SaveAnnouncement(ctx, b.sensor, mine, numbered(5, 1), 1, []byte("y")))
	thief := delivery.Start{Boot: 1 << 39, Instance: [16]byte{2}}
	if v, err = b.TakeStart(ctx, b.sensor, thief, false); err != nil || v.Taken || !v.Jump || v.Newest != mine {
		t.Errorf("a counter of 2^39 after 5: %+v, %v", v, err)
	}
	// An administrator who wrote a number above the last into the gateway's file is let in.
	if v, err = b.TakeStart(ctx, b.sensor, delivery.Start{Boot: 100, Instance: [16]byte{3}}, false); err != nil || !v.Taken {
		t.Errorf("a counter of 100 after 5: %+v, %v", v, err)
	}
	// A sensor that was silenced all the same: the reset lets its gateway in with the counter that it has.
	if v, err = b.TakeStart(ctx, b.sensor, thief, true); err != nil || !v.Taken {
		t.Fatalf("%+v, %v", v, err)
	}
	if v, err = b.TakeStart(ctx, b.sensor, mine, false); err != nil || v.Taken {
		t.Fatalf("%+v, %v", v, err)
	}
	must(t, b.CreateDevice(ctx, directory.Device{ID: "spiffe://test/gateway/g", Kind: "gateway", State: directory.DeviceActive}))
	must(t, b.CreateDevice(ctx, directory.Device{ID: "spiffe://test/sensor/s9", Kind: "sensor", Gateway: "spiffe://test/gateway/g", State: directory.DeviceActive}))
	ids, err := b.ResetNumbers(ctx, "spiffe://test/gateway/g")
	if err != nil || len(ids) != 2 || ids[1] != "spiffe://test/sensor/s9" {
		t.Errorf("a gateway's reset: %v, %v", ids, err)
	}
	if ids, err = b.ResetNumbers(ctx, b.sensor); err != nil || len(ids) != 1 {
		t.Errorf("reset: %v, %v", ids, err)
	}
	if v, err = b.TakeStart(ctx, b.sensor, mine, false); err != nil || !v.Taken || v.Newest != mine {
		t.Errorf("after the reset: %+v, %v", v, err)
	}
	must(t, b.SaveAnnouncement(ctx, b.sensor, mine, numbered(5, 2), 1, []byte("z")))
	_, err = b.ResetNumbers(ctx, "spiffe://test/sensor/none")
	is(t, err, store.ErrNotFound)
}

// content: what comes again with another content is set aside with its reason, wherever the first one lies; the same is a duplicate.
func content(t *testing.T, b *bench) {
	wave := func(seq uint64, sample uint16) archive.Arrival {
		at := b.now.Add(time.Duration(seq) * 250 * time.Millisecond) // #nosec G115 -- a handful
		c := vitals.Chunk{Signal: vitals.PPG, Start: at, Rate: 100, Red: []uint16{1, 2, 3}, Infrared: []uint16{4, 5, sample}}
		return archive.Arrival{Sensor: b.sensor, Chunk: c, Received: b.now,
			Header: seal.Header{Sensor: b.sensor, Signal: uint8(c.Signal), Epoch: epoch(1), Seq: seq, Start: at}}
	}
	for seq := range uint64(6) {
		b.append(t, wave(seq, 9), delivery.Accepted)
		b.append(t, b.beat(b.now.Add(time.Duration(seq)*time.Second), 60, 1, seq), delivery.Accepted) // #nosec G115 -- a handful
	}
	differs := func(when string, a archive.Arrival, held int64) {
		t.Helper()
		if got, why, err := b.Append(t.Context(), b.g, a); err != nil || got != delivery.Rejected || why != archive.ReasonContent {
			t.Errorf("%s: %v %q, %v; want it rejected for its content", when, got, why, err)
		}
		if d, err := b.Delivery(t.Context()); err != nil || d.Quarantined != held {
			t.Errorf("%s: %d set aside, %v; want %d", when, d.Quarantined, err, held)
		}
	}
	differs("while it is recent", wave(1, 10), 1)
	later := b.beat(b.now.Add(time.Minute), 61, 1, 2) // a snapshot that went on a minute later
	differs("another time", later, 2)
	b.append(t, wave(2, 9), delivery.Duplicate)
	must(t, b.Compact(t.Context()))
	for seq := range uint64(6) {
		b.append(t, wave(seq, 9), delivery.Duplicate)
		b.append(t, b.beat(b.now.Add(time.Duration(seq)*time.Second), 60, 1, seq), delivery.Duplicate) // #nosec G115 -- a handful
	}
	differs("in a block", wave(4, 11), 3)
	differs("a number in a block", b.beat(b.now.Add(3*time.Second), 99, 1, 3), 4)
	reasons := map[string]int{}
	q, err := b.Quarantine(t.Context(), 10)
	must(t, err)
	for _, x := range q {
		reasons[fmt.Sprint(x.Signal, " ", x.Reason)]++
	}
	if reasons["ppg "+archive.ReasonContent] != 2 || reasons["numerics "+archive.ReasonContent] != 2 {
		t.Errorf("quarantine: %v", reasons)
	}
}

// troubles: what a sensor says of its gateway's disk stands at both until it says otherwise; what comes late changes nothing.
func troubles(t *testing.T, b *bench) {
	ctx := t.Context()
	const gateway, sensor = "spiffe://test/gateway/g", "spiffe://test/sensor/s9"
	must(t, b.CreateDevice(ctx, directory.Device{ID: gateway, Kind: "gateway", State: directory.DeviceActive}))
	must(t, b.CreateDevice(ctx, directory.Device{ID: sensor, Kind: "sensor", Gateway: gateway, State: directory.DeviceActive}))
	must(t, b.NoteTrouble(ctx, sensor, "disk full", b.now))
	must(t, b.NoteTrouble(ctx, sensor, "", b.now.Add(-time.Minute))) // late
	must(t, b.NoteAlert(ctx, sensor, "epoch number reused", b.now))
	for _, id := range []string{gateway, sensor} {
		if d, err := b.Device(ctx, id); err != nil || d.Trouble != "disk full" || !d.TroubledSince.Equal(b.now) {
			t.Errorf("%s: %q since %v, %v", id, d.Trouble, d.TroubledSince, err)
		}
	}
	if d, err := b.Device(ctx, b.sensor); err != nil || d.Trouble != "" || d.Alert != "" {
		t.Errorf("another sensor: %+v, %v", d, err)
	}
	must(t, b.NoteTrouble(ctx, sensor, "", b.now.Add(time.Minute)))
	if d, err := b.Device(ctx, sensor); err != nil || d.Trouble != "" || d.Alert != "epoch number reused" || !d.LastAlerted.Equal(b.now) {
		t.Errorf("afterwards: %+v, %v", d, err)
	}
}
