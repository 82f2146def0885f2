package store_test

import (
	"crypto/sha256"
	"errors"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"vitalseal/internal/hub/directory"
	"vitalseal/internal/hub/store"
	"vitalseal/internal/way/delivery"
	"vitalseal/internal/way/seal"
)

// TestInventoryOfKeys: a component's first key is in use at once, another waits until it is used, and the old one is gone then.
func TestInventoryOfKeys(t *testing.T) {
	ctx := t.Context()
	dir := t.TempDir()
	s := open(t, dir)
	must(t, s.CreateWard(ctx, directory.Ward{ID: "w", Name: "W"}))
	d := directory.Device{ID: "spiffe://x.internal/workstation/wall", Kind: "workstation", Mode: directory.ModeDisplay, Wards: []string{"w"}, State: directory.DeviceInvited}
	must(t, s.CreateDevice(ctx, d))
	for name, bad := range map[string]directory.Device{
		"no ward":          {ID: d.ID + "2", Kind: "workstation", Mode: directory.ModeDisplay, Wards: []string{"zz"}},
		"no such mode":     {ID: d.ID + "2", Kind: "workstation", Mode: "zz"},
		"not a display":    {ID: d.ID + "2", Kind: "workstation", Wards: []string{"w"}},
		"a sensor display": {ID: d.ID + "2", Kind: "sensor", Mode: directory.ModeDisplay, Wards: []string{"w"}},
	} {
		if err := s.CreateDevice(ctx, bad); !errors.Is(err, store.ErrInvalid) && !errors.Is(err, store.ErrNotFound) {
			t.Errorf("%s: %v", name, err)
		}
	}
	key := func(b byte) directory.Certificate {
		return directory.Certificate{SHA256: strings.Repeat(string(b), 64), KeySHA256: strings.Repeat(string(b+1), 64),
			NotBefore: time.UnixMilli(1000).UTC(), NotAfter: time.UnixMilli(2000).UTC()}
	}
	if err := s.DemandNewKey(ctx, d.ID); !errors.Is(err, store.ErrConflict) {
		t.Errorf("a new key of what never enrolled: %v", err)
	}
	at := time.Now().UTC().Truncate(time.Microsecond)
	must(t, s.MarkEnrolled(ctx, d.ID, at))
	must(t, s.NoteCertificate(ctx, d.ID, key('a')))
	must(t, s.NoteVersion(ctx, d.ID, "v1"))
	must(t, s.NoteVersion(ctx, d.ID, "v1"))
	must(t, s.DemandNewKey(ctx, d.ID))
	must(t, s.NoteCertificate(ctx, d.ID, key('c')))
	d.Enrolled, d.Version, d.Rotate = at, "v1", true
	d.Certificate = key('c')
	d.Certificate.KeySHA256, d.NextKey = key('a').KeySHA256, key('c').KeySHA256
	for range 2 { // the second time after a restart
		got, err := s.Device(ctx, d.ID)
		must(t, err)
		if diff := cmp.Diff(d, got); diff != "" {
			t.Errorf("while both keys are good:\n%s", diff)
		}
		must(t, s.Close())
		s = open(t, dir)
	}
	if err := s.UseKey(ctx, d.ID, key('a').KeySHA256); !errors.Is(err, store.ErrConflict) {
		t.Errorf("the old key as the next one: %v", err)
	}
	changes := s.DeviceChanges()
	must(t, s.UseKey(ctx, d.ID, d.NextKey))
	got, err := s.Device(ctx, d.ID)
	must(t, err)
	if got.Certificate.KeySHA256 != key('c').KeySHA256 || got.NextKey != "" || got.Rotate {
		t.Errorf("after the new key was used: %+v", got)
	}
	if changes == s.DeviceChanges() {
		t.Error("nothing counted")
	}
	if err := s.ForgetDevice(ctx, d.ID); !errors.Is(err, store.ErrConflict) {
		t.Errorf("what enrolled was forgotten: %v", err)
	}
	for name, err := range map[string]error{
		"certificate": s.NoteCertificate(ctx, d.ID, directory.Certificate{SHA256: "x"}), "of nobody": s.NoteCertificate(ctx, "spiffe://x", key('a')),
		"key of nobody": s.DemandNewKey(ctx, "spiffe://x"), "enrolled nobody": s.MarkEnrolled(ctx, "spiffe://x", at), "forget nobody": s.ForgetDevice(ctx, "spiffe://x"),
	} {
		if err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

// TestForgottenTakesItsTicket: a component that never enrolled goes with every ticket that names it, and its name is free.
func TestForgottenTakesItsTicket(t *testing.T) {
	ctx := t.Context()
	s := open(t, t.TempDir())
	id, other := "spiffe://x.internal/sensor/a", "spiffe://x.internal/sensor/b"
	must(t, s.CreateDevice(ctx, directory.Device{ID: id, Kind: "sensor"}))
	must(t, s.CreateDevice(ctx, directory.Device{ID: other, Kind: "sensor"}))
	both, alone := sha256.Sum256([]byte("both")), sha256.Sum256([]byte("alone"))
	end := time.Now().Add(time.Hour)
	must(t, s.CreateTicket(ctx, both, []string{id, other}, end))
	must(t, s.CreateTicket(ctx, alone, []string{other}, end))
	must(t, s.ForgetDevice(ctx, id))
	if _, err := s.RedeemTicket(ctx, both, []string{id, other}, time.Now()); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("the ticket of a forgotten component: %v", err)
	}
	if _, err := s.RedeemTicket(ctx, alone, []string{other}, time.Now()); err != nil {
		t.Errorf("another's ticket: %v", err)
	}
	must(t, s.CreateDevice(ctx, directory.Device{ID: id, Kind: "sensor"}))
}

// TestSilencedBefore: a store of the version before numbers were bounded holds the highest number that there is. Its gateway is let in
// when it is alone, its readings' keys are taken, and a reset lets it in at once.
func TestSilencedBefore(t *testing.T) {
	ctx := t.Context()
	for _, how := range []string{"alone", "reset"} {
		t.Run(how, func(t *testing.T) {
			dir := t.TempDir()
			s := open(t, dir)
			ward(t, s, time.Now(), 1)
			id := sensorID("s0")
			must(t, store.ExecDirectory(ctx, s, "INSERT INTO newest_epochs (sensor, signal, number, epoch) VALUES (?, 1, ?, ?)", id, int64(math.MaxInt64), make([]byte, 16)))
			mine := delivery.Start{Boot: 7, Instance: [16]byte{1}}
			v, err := s.TakeStart(ctx, id, mine, false)
			if err != nil || v.Taken || v.Highest != math.MaxInt64>>seal.CountBits {
				t.Fatalf("%+v, %v", v, err)
			}
			if how == "alone" {
				if v, err = s.TakeStart(ctx, id, mine, true); err != nil || !v.Taken || !v.Older {
					t.Fatalf("alone: %+v, %v", v, err)
				}
			} else {
				if _, err := s.ResetNumbers(ctx, id); err != nil {
					t.Fatal(err)
				}
				if v, err = s.TakeStart(ctx, id, mine, false); err != nil || !v.Taken || v.Older {
					t.Fatalf("after the reset: %+v, %v", v, err)
				}
			}
			for n := range uint64(3) {
				e := seal.Epoch{ID: seal.EpochID{byte(n), 1}, Number: 7<<seal.CountBits | n}
				must(t, s.SaveAnnouncement(ctx, id, mine, e, uint8(n%2)+1, []byte{1}))
			}
			next := delivery.Start{Boot: 8, Instance: [16]byte{2}} // and it starts again
			if v, err = s.TakeStart(ctx, id, next, false); err != nil || !v.Taken {
				t.Fatalf("its next start: %+v, %v", v, err)
			}
			must(t, s.SaveAnnouncement(ctx, id, next, seal.Epoch{ID: seal.EpochID{9, 9}, Number: 8 << seal.CountBits}, 1, []byte{1}))
		})
	}
}
