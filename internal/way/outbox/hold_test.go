package outbox_test

import (
	"errors"
	"strings"
	"syscall"
	"testing"

	"vitalseal/internal/way/outbox"
)

// TestHold: what a full disk does not take is handed out from memory in its turn, and once
// acknowledged it is gone; what the disk takes later follows it.
func TestHold(t *testing.T) {
	var d disk
	dir := t.TempDir()
	q := openOn(t, &d, dir)
	appendAll(t, q, record("a", outbox.Event, "one"))
	d.failWrite.Store(true)
	two := record("a", outbox.Event, "two")
	if err := q.Append(t.Context(), two); !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("Append to a full disk: %v", err)
	}
	if err := q.Hold(two, record("a", outbox.Control, "key")); err != nil {
		t.Fatal(err)
	}
	d.failWrite.Store(false)
	appendAll(t, q, record("a", outbox.Event, "three"))
	if s := q.Stats(); s.Held != 2 || s.HeldBytes == 0 || s.Records != 4 {
		t.Errorf("%+v", s)
	}
	got := drain(t, q.Lane("a"))
	if text := texts(got); text != "one two three key" { // as they were appended; control records are a part of their own
		t.Errorf("holds %q", text)
	}
	for _, r := range got {
		if err := q.Ack(r.ID); err != nil {
			t.Fatal(err)
		}
	}
	if s := q.Stats(); s.HeldBytes != 0 || s.Records != 0 {
		t.Errorf("after the acknowledgement: %+v", s)
	}
	if err := q.Close(); err != nil {
		t.Fatal(err)
	}
	q = open(t, dir, outbox.Options{})
	if got := texts(drain(t, q.Lane("a"))); strings.Contains(got, "two") || strings.Contains(got, "key") {
		t.Errorf("memory came back from the disk: %q", got)
	}
}

// TestHoldIsBounded: waveforms go first, oldest first, and are reported; what may not be dropped is
// refused.
func TestHoldIsBounded(t *testing.T) {
	var dropped []string
	q := open(t, t.TempDir(), outbox.Options{HoldBytes: 400, OnDrop: func(recs []outbox.Record) {
		for _, r := range recs {
			dropped = append(dropped, string(r.Data))
		}
	}})
	big := strings.Repeat("x", 70)
	for _, r := range []outbox.Record{record("a", outbox.Waveform, "w1"+big), record("a", outbox.Numeric, "n1"+big), record("a", outbox.Waveform, "w2"+big),
		record("a", outbox.Numeric, "n2"+big), record("a", outbox.Event, "e1"+big), record("a", outbox.Event, "e2"+big)} {
		if err := q.Hold(r); err != nil {
			t.Fatal(err)
		}
		if s := q.Stats(); s.HeldBytes > 400 {
			t.Fatalf("%d bytes are held", s.HeldBytes)
		}
	}
	if len(dropped) != 2 || dropped[0] != "w1"+big || dropped[1] != "w2"+big {
		t.Errorf("dropped %q", dropped)
	}
	if err := q.Hold(record("a", outbox.Control, strings.Repeat("c", 500))); !errors.Is(err, outbox.ErrHoldFull) {
		t.Errorf("a control record that does not fit: %v", err)
	}
}
