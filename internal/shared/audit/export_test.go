package audit

import (
	"log/slog"
	"os"
	"testing"

	"golang.org/x/mod/sumdb/tlog"

	"vitalseal/internal/shared/form"
)

// OpenWith is Open with small segments and an fsync of the test's own.
func OpenWith(dir, keyFile string, logger *slog.Logger, segmentBytes int64, sync func(*os.File) error) (*Log, error) {
	return open(dir, keyFile, logger, segmentBytes, fileOps{write: (*os.File).Write, sync: sync})
}

// OpenOn is Open with small segments and a disk whose writes are the test's own.
func OpenOn(dir, keyFile string, logger *slog.Logger, segmentBytes int64, write func(*os.File, []byte) (int, error)) (*Log, error) {
	return open(dir, keyFile, logger, segmentBytes, fileOps{write: write, sync: func(*os.File) error { return nil }})
}

// TestRootIsRFC6962's compares the frontier with tlog's own tree for every size up to several
// powers of two.
func TestRootIsRFC6962(t *testing.T) {
	var f frontier
	var stored []tlog.Hash
	reader := tlog.HashReaderFunc(func(indexes []int64) ([]tlog.Hash, error) {
		var out []tlog.Hash
		for _, i := range indexes {
			out = append(out, stored[i])
		}
		return out, nil
	})
	for n := range int64(140) {
		want, err := tlog.TreeHash(n, reader)
		if err != nil {
			t.Fatal(err)
		}
		if n > 0 && f.root() != want {
			t.Fatalf("root of %d entries is %v, want %v", n, f.root(), want)
		}
		line := []byte{byte(n), 'x'}
		hashes, err := tlog.StoredHashes(n, line, reader)
		if err != nil {
			t.Fatal(err)
		}
		stored = append(stored, hashes...)
		f.add(line)
	}
}

// FuzzDecode holds the reader of an entry to its word: whatever it takes is spelled exactly as it
// would be written.
func FuzzDecode(f *testing.F) {
	for _, e := range []Entry{{}, {Person: "p1", Policies: []string{"a", "b"}, Reason: "\x7f\u202e\"\\\n\U000e0001"}} {
		line, err := e.encode()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(line)
	}
	f.Add([]byte(`{"seq":0,"seq":0}`))
	f.Fuzz(func(t *testing.T, line []byte) {
		e, err := decode(line, 0)
		if err != nil {
			return
		}
		again, err := e.encode()
		if err != nil || string(again) != string(line) {
			t.Fatalf("%q decoded, but is written %q (%v)", line, again, err)
		}
	})
}

// FuzzParseBook: what a witness takes for what it remembered of a log is whole, and names a hub and
// a key.
func FuzzParseBook(f *testing.F) {
	f.Add([]byte(`{"version":1,"hub":"hub","key":"vitalseal-audit+00000000+AA"}`))
	f.Add([]byte(`{"version":2}`))
	f.Add([]byte(`{"version":1,"hub":"hub","key":"vitalseal-audit+00000000+AA","Key":"vitalseal-audit+00000001+AA"}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		out, err := parseBook(b)
		if err == nil && (!hubName(out.Hub) || out.Key == "" || out.Version != bookVersion || form.Twice(b) != "") {
			t.Fatalf("%+v", out)
		}
	})
}
