package seal_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"vitalseal/internal/way/seal"
)

const sensor = "spiffe://test.example/sensor/oxi-1"

var start = time.Date(2026, 3, 4, 5, 6, 7, 123456000, time.UTC)

func sealed(t testing.TB) (k *seal.RecipientKey, s *seal.Sealer, announcement []byte) {
	t.Helper()
	k, err := seal.GenerateRecipientKey()
	if err != nil {
		t.Fatal(err)
	}
	s, announcement, err = seal.NewSealer(k.Recipient(), sensor, 1, 7<<20)
	if err != nil {
		t.Fatal(err)
	}
	return k, s, announcement
}

func TestRoundTrip(t *testing.T) {
	k, s, announcement := sealed(t)
	k, err := seal.ParseRecipientKey(k.Bytes()) // as after a restart of the hub
	if err != nil {
		t.Fatal(err)
	}
	o, err := seal.OpenAnnouncement(k, announcement, sensor, 1)
	if err != nil {
		t.Fatal(err)
	}
	for seq := range uint64(5) {
		plaintext := bytes.Repeat([]byte{byte(seq)}, int(seq)*100)
		at := start.Add(time.Duration(seq) * 250 * time.Millisecond)
		envelope, h, err := s.Seal(at.Add(999*time.Nanosecond), plaintext)
		if err != nil {
			t.Fatal(err)
		}
		want := seal.Header{Sensor: sensor, Signal: 1, Epoch: s.Epoch(), Seq: seq, Start: at}
		if h != want {
			t.Fatalf("header = %+v, want %+v", h, want)
		}
		if len(plaintext) > 0 && bytes.Contains(envelope, plaintext) {
			t.Fatal("the envelope holds the plaintext")
		}
		got, b, err := o.Open(envelope)
		if err != nil || got != want || !bytes.Equal(b, plaintext) {
			t.Fatalf("Open = %+v, %d bytes, %v", got, len(b), err)
		}
		if parsed, err := seal.ParseHeader(envelope, sensor); err != nil || parsed != want {
			t.Fatalf("ParseHeader = %+v, %v", parsed, err)
		}
	}
	if s.Epoch().Number != 7<<20 || s.Epoch() != o.Epoch() {
		t.Errorf("epochs %+v and %+v", s.Epoch(), o.Epoch())
	}
}

func TestEveryBitCounts(t *testing.T) {
	k, s, announcement := sealed(t)
	o, err := seal.OpenAnnouncement(k, announcement, sensor, 1)
	if err != nil {
		t.Fatal(err)
	}
	envelope, _, err := s.Seal(start, []byte("71 bpm"))
	if err != nil {
		t.Fatal(err)
	}
	for i := range len(envelope) * 8 {
		b := bytes.Clone(envelope)
		b[i/8] ^= 1 << (i % 8)
		if _, _, err := o.Open(b); !errors.Is(err, seal.ErrOpen) || err.Error() != seal.ErrOpen.Error() {
			t.Fatalf("envelope with bit %d flipped: %v", i, err)
		}
	}
	for i := range len(envelope) {
		if _, _, err := o.Open(envelope[:i]); !errors.Is(err, seal.ErrOpen) {
			t.Fatalf("envelope cut to %d bytes: %v", i, err)
		}
	}
	for i := range len(announcement) * 8 {
		b := bytes.Clone(announcement)
		b[i/8] ^= 1 << (i % 8)
		if _, err := seal.OpenAnnouncement(k, b, sensor, 1); !errors.Is(err, seal.ErrOpen) {
			t.Fatalf("announcement with bit %d flipped: %v", i, err)
		}
	}
}

func TestNothingOpensInAnotherPlace(t *testing.T) {
	k, s, announcement := sealed(t)
	other, otherSealer, otherAnnouncement := sealed(t)
	if _, err := seal.OpenAnnouncement(k, announcement, "spiffe://test.example/sensor/oxi-2", 1); !errors.Is(err, seal.ErrOpen) {
		t.Errorf("another sensor's announcement: %v", err)
	}
	if _, err := seal.OpenAnnouncement(k, announcement, sensor, 2); !errors.Is(err, seal.ErrOpen) {
		t.Errorf("another signal's announcement: %v", err)
	}
	if _, err := seal.OpenAnnouncement(other, announcement, sensor, 1); !errors.Is(err, seal.ErrOpen) {
		t.Errorf("another hub: %v", err)
	}
	o, err := seal.OpenAnnouncement(other, otherAnnouncement, sensor, 1)
	if err != nil {
		t.Fatal(err)
	}
	envelope, _, err := s.Seal(start, []byte("x"))
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := o.Open(envelope); !errors.Is(err, seal.ErrOpen) {
		t.Errorf("another epoch's chunk: %v", err)
	}
	// The other epoch's key, with this epoch's name written over the header.
	mine, _, err := otherSealer.Seal(start, []byte("x"))
	if err != nil {
		t.Fatal(err)
	}
	o, err = seal.OpenAnnouncement(k, announcement, sensor, 1)
	if err != nil {
		t.Fatal(err)
	}
	copy(mine[2:26], envelope[2:26])
	if _, _, err := o.Open(mine); !errors.Is(err, seal.ErrOpen) {
		t.Errorf("spliced chunk: %v", err)
	}
}

// TestTheSealerCannotOpen: what the gateway holds has no way back, neither by method nor by what it
// wrote.
func TestTheSealerCannotOpen(t *testing.T) {
	typ := reflect.TypeFor[*seal.Sealer]()
	for i := range typ.NumMethod() {
		if name := typ.Method(i).Name; name != "Seal" && name != "Epoch" {
			t.Errorf("Sealer has a method %s", name)
		}
	}
	k, s, announcement := sealed(t)
	envelope, _, err := s.Seal(start, []byte("a reading that is long enough to find"))
	if err != nil {
		t.Fatal(err)
	}
	for name, b := range map[string][]byte{"announcement": announcement, "envelope": envelope} {
		if bytes.Contains(b, []byte("a reading")) || bytes.Contains(b, k.Bytes()) {
			t.Errorf("the %s gives it away", name)
		}
	}
	// The public key is all the gateway has of the hub.
	if _, err := seal.ParseRecipientKey(k.Recipient().Bytes()); err == nil {
		t.Error("a public key passed for a private one")
	}
}

func TestRefusesWhatDoesNotFit(t *testing.T) {
	_, s, _ := sealed(t)
	if _, _, err := s.Seal(start, make([]byte, seal.MaxEnvelopeBytes)); err == nil {
		t.Error("an oversized chunk was sealed")
	}
	for _, at := range []time.Time{{}, time.Unix(-1, 0), time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC)} {
		if _, _, err := s.Seal(at, []byte("x")); err == nil {
			t.Errorf("a chunk that starts at %v was sealed", at)
		}
	}
	if _, h, err := s.Seal(start, []byte("x")); err != nil || h.Seq != 0 {
		t.Errorf("after refusals: sequence %d, %v", h.Seq, err)
	}
	if _, _, err := seal.NewSealer(seal.Recipient{}, sensor, 1, 1); !errors.Is(err, seal.ErrMalformed) {
		t.Errorf("no recipient: %v", err)
	}
	if _, err := seal.ParseRecipient([]byte("short")); !errors.Is(err, seal.ErrMalformed) {
		t.Errorf("short recipient key: %v", err)
	}
}

func TestEpochEnds(t *testing.T) {
	k, s, announcement := sealed(t)
	o, err := seal.OpenAnnouncement(k, announcement, sensor, 1)
	if err != nil {
		t.Fatal(err)
	}
	seal.SetNext(s, seal.MaxSequence)
	envelope, h, err := s.Seal(start, []byte("the last"))
	if err != nil || h.Seq != seal.MaxSequence {
		t.Fatalf("last of the epoch: %d, %v", h.Seq, err)
	}
	if _, b, err := o.Open(envelope); err != nil || string(b) != "the last" {
		t.Errorf("Open = %q, %v", b, err)
	}
	for range 2 {
		if _, _, err := s.Seal(start, []byte("one too many")); !errors.Is(err, seal.ErrEpochExhausted) {
			t.Errorf("beyond the last: %v", err)
		}
	}
}

func TestKey(t *testing.T) {
	k := seal.NewKey()
	a, b := k.Seal([]byte("secret"), []byte("for p-1")), k.Seal([]byte("secret"), []byte("for p-1"))
	if bytes.Equal(a, b) {
		t.Error("two seals are equal: the nonce repeats")
	}
	if got, err := k.Open(a, []byte("for p-1")); err != nil || string(got) != "secret" {
		t.Errorf("Open = %q, %v", got, err)
	}
	if _, err := k.Open(a, []byte("for p-2")); !errors.Is(err, seal.ErrOpen) {
		t.Errorf("other associated data: %v", err)
	}
	if _, err := seal.NewKey().Open(a, []byte("for p-1")); !errors.Is(err, seal.ErrOpen) {
		t.Errorf("other key: %v", err)
	}
	for i := range a {
		if _, err := k.Open(a[:i], []byte("for p-1")); !errors.Is(err, seal.ErrOpen) {
			t.Errorf("cut to %d: %v", i, err)
		}
	}
}

func TestFileKeyStore(t *testing.T) {
	path := filepath.Join(t.TempDir(), "root.key")
	ks, created, err := seal.OpenFileKeyStore(path)
	if err != nil || !created {
		t.Fatalf("first open: created %v, %v", created, err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	wrapped, err := ks.Wrap("patient p-1", []byte("key"))
	if err != nil {
		t.Fatal(err)
	}
	ks, created, err = seal.OpenFileKeyStore(path)
	if err != nil || created {
		t.Fatalf("second open: created %v, %v", created, err)
	}
	if b, err := ks.Unwrap("patient p-1", wrapped); err != nil || string(b) != "key" {
		t.Errorf("Unwrap = %q, %v", b, err)
	}
	if _, err := ks.Unwrap("patient p-2", wrapped); !errors.Is(err, seal.ErrOpen) {
		t.Errorf("other purpose: %v", err)
	}
	if left, _ := filepath.Glob(filepath.Join(filepath.Dir(path), ".key-*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	if err := os.Chmod(path, 0o640); err != nil {
		t.Fatal(err)
	}
	if _, _, err := seal.OpenFileKeyStore(path); err == nil || !strings.Contains(err.Error(), "0600") {
		t.Errorf("a key that others can read: %v", err)
	}
	short := filepath.Join(t.TempDir(), "short.key")
	if err := os.WriteFile(short, []byte("abc"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, err := seal.OpenFileKeyStore(short); err == nil {
		t.Error("a short key file was taken")
	}
}

func FuzzOpen(f *testing.F) {
	k, s, announcement := sealed(f)
	o, err := seal.OpenAnnouncement(k, announcement, sensor, 1)
	if err != nil {
		f.Fatal(err)
	}
	envelope, _, err := s.Seal(start, []byte("seed"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(envelope)
	f.Add(announcement)
	f.Add([]byte{1, 1})
	f.Fuzz(func(t *testing.T, b []byte) {
		if info, err := seal.ParseAnnouncement(b); err == nil && len(b) < 1000 {
			t.Errorf("an announcement of %d bytes: %+v", len(b), info)
		}
		h, headErr := seal.ParseHeader(b, sensor)
		if headErr == nil && (h.Seq > seal.MaxSequence || h.Start.Year() > 9999) {
			t.Errorf("out of bounds: %+v", h)
		}
		if _, _, err := o.Open(b); err == nil && !bytes.Equal(b, envelope) {
			t.Error("forged")
		}
	})
}
