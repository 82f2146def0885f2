package sink_test

import (
	"errors"
	"io"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"vitalseal/internal/hub/channel"
	"vitalseal/internal/hub/sink"
)

func str(s string) *string { return &s }

// TestImportExports reads exports in each of the forms that ThingSpeak documents.
func TestImportExports(t *testing.T) {
	want := []channel.Entry{
		{Created: time.Date(2014, 2, 26, 21, 27, 21, 0, time.UTC), Fields: [8]*string{str("21.50"), nil, str("open, \"wide\"")}, Status: "first", Latitude: "48.1"},
		{Created: time.Date(2014, 2, 26, 21, 27, 36, 0, time.UTC), Fields: [8]*string{str("-3")}, Status: "null"},
	}
	for name, read := range map[string]func(io.Reader, func(int, channel.Entry) error) error{
		"export.csv": sink.ReadCSV, "export-zone.csv": sink.ReadCSV, "export.json": sink.ReadJSON, "export-feeds.json": sink.ReadJSON} {
		t.Run(name, func(t *testing.T) {
			f, err := os.Open("testdata/" + name)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			var got []channel.Entry
			if err := read(f, func(_ int, e channel.Entry) error { got = append(got, e); return nil }); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// TestImportTakesExports: what ThingSpeak and our own face export comes in: rows without values are
// told apart, entries of one second keep their order and their number, and times are written as
// they all are.
func TestImportTakesExports(t *testing.T) {
	for name, c := range map[string]struct {
		text  string
		empty int
		want  []string // time and field1
	}{
		"a row without values": {"created_at,entry_id,field1,field2\n2026-01-01 00:00:00 UTC,1,36.5,97\n2026-01-01 00:01:00 UTC,2,,\n2026-01-01 00:02:00 UTC,3,36.6,98\n", 1,
			[]string{"2026-01-01T00:00:00Z 36.5", "2026-01-01T00:02:00Z 36.6"}},
		"two of one second": {"created_at,entry_id,field1,field2\n2026-01-01 00:00:00 UTC,1,36.5,97\n2026-01-01 00:00:00 UTC,2,99.9,50\n", 0,
			[]string{"2026-01-01T00:00:00Z 36.5", "2026-01-01T00:00:00.000001Z 99.9"}},
		"our own free channel": {"created_at,entry_id,field1,field2,field3,status\n2026-11-29 17:17:52 UTC,1,21.5,,,\n2026-11-29 17:17:52 UTC,2,22.2,5,,\n2026-11-29 17:17:52 UTC,3,21.5,,,\n2026-11-29 17:17:52 UTC,4,\"22.4\n\",,,\n", 0,
			[]string{"2026-11-29T17:17:52Z 21.5", "2026-11-29T17:17:52.000001Z 22.2", "2026-11-29T17:17:52.000002Z 21.5", "2026-11-29T17:17:52.000003Z 22.4"}},
		"our own patient, probe off": {"created_at,entry_id,field1,field2,field3,field4,field5,field6,field7,field8\n2026-11-29 17:21:44 UTC,1795972904,,,,,,,,\n2026-11-29 17:21:45 UTC,1795972905,,,,,,,,\n", 2, nil},
		"times": {"created_at,field1\n2026-11-28 10:00:00-05,1\n2026-11-28T10:00:00-0600,2\n2026-11-28 17:00:00Z,3\n", 0,
			[]string{"2026-11-28T15:00:00Z 1", "2026-11-28T16:00:00Z 2", "2026-11-28T17:00:00Z 3"}},
	} {
		var got []string
		empty, seconds := 0, sink.Seconds{}
		if err := sink.ReadCSV(strings.NewReader(c.text), func(_ int, e channel.Entry) error {
			if sink.Empty(e) {
				empty++
				return nil
			}
			e = seconds.Apart(e)
			got = append(got, e.Created.Format(time.RFC3339Nano)+" "+*e.Fields[0])
			return nil
		}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if diff := cmp.Diff(c.want, got); diff != "" || empty != c.empty {
			t.Errorf("%s: %d empty (-want +got):\n%s", name, empty, diff)
		}
	}
}

func TestImportErrorsNameTheLine(t *testing.T) {
	long := strings.Repeat("x", 256)
	for _, c := range []struct {
		json bool
		text string
		line int
		what string
	}{
		{text: "", line: 1, what: "empty"},
		{text: "a,b\n", line: 1, what: "unknown column"},
		{text: "entry_id,field1\n", line: 1, what: "no column created_at"},
		{text: "created_at,created_at\n", line: 1, what: "stands twice"},
		{text: "created_at,field9\n", line: 1, what: "unknown column"},
		{text: "created_at,field1\n2014-02-26 21:27:21 UTC,1\nyesterday,2\n", line: 3, what: "is not a time"},
		{text: "created_at,field1\n2014-02-26 21:27:21 EST,1\n", line: 2, what: "is not a time"},
		{text: "created_at,field1\n2014-02-26 21:27:21 UTC\n", line: 2, what: "1 values, but 2 columns"},
		{text: "created_at,field1\n2014-02-26 21:27:21 UTC,\"1\n", line: 2, what: "quote"},
		{text: "created_at,field1\n2014-02-26 21:27:21 UTC,1\n\n2014-02-26 21:27:21 UTC," + long + "\n", line: 4, what: "at most 255 bytes"},
		{text: "created_at,field1\n1814-02-26 21:27:21 UTC,1\n", line: 2, what: "is not a time"},
		{text: "created_at,field1,entry_id\n2014-02-26 21:27:21 UTC,1,x\n", line: 2, what: "entry_id"},
		{json: true, text: "", line: 1, what: "too early"},
		{json: true, text: "{\n\"channel\":{},\n\"feeds\":[\n{\"created_at\":\"x\"}]}", line: 4, what: "is not a time"},
		{json: true, text: "{\n\"channel\":{}}", line: 2, what: "no feeds"},
		{json: true, text: "{\"feeds\":[\n{\"created_at\":\"2014-02-26T21:27:21Z\",\"field1\":\"1\"},\n{\"created_at\":\"2014-02-26T21:27:22Z\",\"field1\":{}}]}", line: 3, what: "neither a text nor a number"},
		{json: true, text: "{\"feeds\":[\n{\"created_at\":\"2014-02-26T21:27:21Z\",\"field1\":\"1\"},\n{\"created_at\"", line: 3, what: "too early"},
		{json: true, text: "{\"feeds\":\n[{\"x\":1}]}", line: 2, what: "unknown name"},
		{json: true, text: "{\"feeds\":7}", line: 1, what: "not an array"},
		{json: true, text: "7", line: 1, what: "neither an object nor an array"},
		{json: true, text: "{\"feeds\":[]x", line: 0},
		// Which of two values counts would be chance: it was another one each time.
		{json: true, text: "{\"feeds\":[\n{\"created_at\":\"2014-02-26T21:27:21Z\",\"field1\":\"97\",\"FIELD1\":\"40\"}]}", line: 2, what: `field "field1" is given twice`},
		{json: true, text: "{\"feeds\":[\n{\"created_at\":\"2014-02-26T21:27:21Z\",\"field1\":\"97\",\"field1\":\"40\"}]}", line: 2, what: `field "field1" is given twice`},
		{json: true, text: "[\n{\"created_at\":\"2014-02-26T21:27:21Z\",\n\"Created_At\":\"2014-02-26T21:27:22Z\",\"field1\":\"1\"}]", line: 3, what: `field "created_at" is given twice`},
		{json: true, text: "{\"feeds\":[],\n\"channel\":{},\"Feeds\":[]}", line: 2, what: `"Feeds" is given twice`},
		{json: true, text: "{\"feeds\":[]\n}{}", line: 2, what: "stands behind"},
		{json: true, text: "[]\n[]", line: 2, what: "stands behind"},
		{json: true, text: "{\"feeds\":[7]}", line: 1, what: "not a JSON object"},
	} {
		read := sink.ReadCSV
		if c.json {
			read = sink.ReadJSON
		}
		err := read(strings.NewReader(c.text), func(int, channel.Entry) error { return nil })
		if c.line == 0 {
			continue
		}
		var at *sink.LineError
		if !errors.As(err, &at) || at.Line != c.line || !strings.Contains(at.What, c.what) {
			t.Errorf("%.80q: %v, want line %d and %q", c.text, err, c.line, c.what)
		}
	}
}

func fuzzImport(f *testing.F, read func(io.Reader, func(int, channel.Entry) error) error, seeds ...string) {
	for _, name := range seeds {
		b, err := os.ReadFile("testdata/" + name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		n := strings.Count(string(b), "\n") + 1
		err := read(strings.NewReader(string(b)), func(line int, e channel.Entry) error {
			if line < 1 || line > n || e.Created.Year() < 1970 || e.Created.Year() > 9999 {
				t.Fatalf("entry of line %d of %d, created %v", line, n, e.Created)
			}
			for i, x := range e.Fields {
				if x != nil && (*x == "" || len(*x) > 255) {
					t.Fatal("field " + strconv.Itoa(i+1) + " is out of its range")
				}
			}
			return nil
		})
		var at *sink.LineError
		if err != nil && (!errors.As(err, &at) || at.Line < 1 || at.Line > n+1) {
			t.Fatalf("%v (%d lines)", err, n)
		}
	})
}

func FuzzReadCSV(f *testing.F) { fuzzImport(f, sink.ReadCSV, "export.csv", "export-zone.csv") }
func FuzzReadJSON(f *testing.F) {
	f.Add([]byte(`{"feeds":[{"created_at":"2014-02-26T21:27:21Z","field1":"97","FIELD1":"40"}]}`))
	f.Add([]byte(`{"feeds":[],"FEEDS":[]}`))
	fuzzImport(f, sink.ReadJSON, "export.json", "export-feeds.json")
}
