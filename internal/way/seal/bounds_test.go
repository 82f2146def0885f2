package seal_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"vitalseal/internal/way/seal"
)

// overhead is what an envelope adds to a chunk: the header of 42 bytes and the tag of 16.
const overhead = 42 + 16

// lastStart is the last time that an envelope may name: the last second of the year 9999.
var lastStart = time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC)

// TestBoundsAreExact: the largest, latest and last that the format allows pass, one more does not.
// Foreign bytes are bounded before anything is proven.
func TestBoundsAreExact(t *testing.T) {
	k, s, announcement := sealed(t)
	o, err := seal.OpenAnnouncement(k, announcement, sensor, 1)
	if err != nil {
		t.Fatal(err)
	}
	if seal.MaxEnvelopeBytes != 81920 || seal.MaxSequence != 4294967295 {
		t.Errorf("bounds are %d bytes, sequence %d", seal.MaxEnvelopeBytes, uint64(seal.MaxSequence))
	}
	largest := make([]byte, seal.MaxEnvelopeBytes-overhead)
	envelope, _, err := s.Seal(lastStart, largest)
	if err != nil || len(envelope) != seal.MaxEnvelopeBytes {
		t.Fatalf("the largest chunk: %d bytes, %v", len(envelope), err)
	}
	if h, b, err := o.Open(envelope); err != nil || len(b) != len(largest) || !h.Start.Equal(lastStart) {
		t.Errorf("the largest chunk opens as %d bytes of %v, %v", len(b), h.Start, err)
	}
	if _, _, err := s.Seal(start, append(largest, 0)); err == nil {
		t.Error("one byte more was sealed")
	}
	if _, err := seal.ParseHeader(append(envelope, 0), sensor); !errors.Is(err, seal.ErrMalformed) {
		t.Errorf("one byte more was read: %v", err)
	}
	if _, _, err := s.Seal(lastStart.Add(time.Microsecond), nil); err == nil {
		t.Error("a start beyond the last was sealed")
	}
	first, _, err := s.Seal(time.Unix(0, 0), nil)
	if err != nil || len(first) != overhead {
		t.Fatalf("an empty chunk of 1970: %d bytes, %v", len(first), err)
	}
	if h, err := seal.ParseHeader(first, sensor); err != nil || !h.Start.Equal(time.Unix(0, 0)) {
		t.Errorf("an empty chunk of 1970: %+v, %v", h, err)
	}
	if _, err := seal.ParseHeader(first[:overhead-1], sensor); !errors.Is(err, seal.ErrMalformed) {
		t.Errorf("one byte less was read: %v", err)
	}
	for name, set := range map[string]struct {
		at    int
		value uint64
		ok    bool
	}{
		"the last sequence": {26, seal.MaxSequence, true},
		"one beyond it":     {26, seal.MaxSequence + 1, false},
		"the last start":    {34, uint64(lastStart.UnixMicro()), true},
		"one beyond that":   {34, uint64(lastStart.UnixMicro()) + 1, false},
	} {
		b := bytes.Clone(first)
		binary.BigEndian.PutUint64(b[set.at:], set.value)
		if _, err := seal.ParseHeader(b, sensor); set.ok != (err == nil) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, version := range []byte{0, 2} {
		b, a := bytes.Clone(first), bytes.Clone(announcement)
		b[0], a[0] = version, version
		if _, err := seal.ParseHeader(b, sensor); !errors.Is(err, seal.ErrMalformed) {
			t.Errorf("an envelope of version %d: %v", version, err)
		}
		if _, err := seal.ParseAnnouncement(a); !errors.Is(err, seal.ErrMalformed) {
			t.Errorf("an announcement of version %d: %v", version, err)
		}
	}
	for _, a := range [][]byte{announcement[:len(announcement)-1], append(bytes.Clone(announcement), 0)} {
		if _, err := seal.ParseAnnouncement(a); !errors.Is(err, seal.ErrMalformed) {
			t.Errorf("an announcement of %d bytes: %v", len(a), err)
		}
	}
}

// TestSmallestSealed: an empty secret is the smallest that Key.Seal makes, of 28 bytes.
func TestSmallestSealed(t *testing.T) {
	k := seal.NewKey()
	sealed := k.Seal(nil, nil)
	if len(sealed) != 28 {
		t.Errorf("an empty secret takes %d bytes", len(sealed))
	}
	if b, err := k.Open(sealed, nil); err != nil || len(b) != 0 {
		t.Errorf("an empty secret opens as %q, %v", b, err)
	}
}

// TestKeyFileErrors: each refusal says what is wrong, and no file that is there is replaced.
func TestKeyFileErrors(t *testing.T) {
	dir := t.TempDir()
	write := func(name string, size int, mode os.FileMode) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, make([]byte, size), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	for _, tc := range []struct{ path, want string }{
		{write("short", 31, 0o600), "does not hold a key of 32 bytes"},
		{write("long", 33, 0o600), "does not hold a key of 32 bytes"},
		{write("group", 32, 0o640), "has mode 0640"},
		{write("others", 32, 0o601), "has mode 0601"},
		{filepath.Join(dir, "no such folder", "key"), "no such file"},
		{dir, ""},
	} {
		before, _ := os.ReadFile(tc.path)
		ks, created, err := seal.OpenFileKeyStore(tc.path)
		if ks != nil || created || err == nil || !strings.Contains(err.Error(), tc.want) || !strings.HasPrefix(err.Error(), "seal: root key: ") {
			t.Errorf("%s: created %v, %v", filepath.Base(tc.path), created, err)
		}
		if after, _ := os.ReadFile(tc.path); !bytes.Equal(before, after) {
			t.Errorf("%s was changed", filepath.Base(tc.path))
		}
	}
	if _, created, err := seal.OpenFileKeyStore(write("exact", 32, 0o400)); created || err != nil {
		t.Errorf("a key of 32 bytes: created %v, %v", created, err)
	}
}
