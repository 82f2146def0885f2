package administer

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"vitalseal/internal/hub/channel"
	"vitalseal/internal/hub/sink"
	"vitalseal/internal/workstation/client"
)

// TestImportNamesRefusedRows: rows that the hub refuses are counted apart and named by their lines in the file, in every part that was sent.
func TestImportNamesRefusedRows(t *testing.T) {
	hub := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var in struct{ Entries []sink.ImportEntry }
		if err := json.NewDecoder(r.Body).Decode(&in); err != nil {
			t.Error(err)
		}
		var out sink.ImportAnswer
		for i, e := range in.Entries {
			if e.Created.Year() == 2099 {
				out.Refused = append(out.Refused, sink.ImportRefusal{Number: i + 1, Created: e.Created, Reason: "created_at is in the future"})
			} else {
				out.Added++
			}
		}
		w.Header().Set("Content-Type", "application/json")
		if err := json.NewEncoder(w).Encode(out); err != nil {
			t.Error(err)
		}
	}))
	defer hub.Close()
	c, err := client.New(hub.URL)
	if err != nil {
		t.Fatal(err)
	}
	im := importer{client: c, path: "/import", name: "f.csv"}
	v := "1"
	for line := 2; line <= 8; line++ {
		at := time.Date(2026, 1, 1, 0, 0, line, 0, time.UTC)
		if line == 3 || line == 7 {
			at = time.Date(2099, 1, 1, 0, 0, line, 0, time.UTC)
		}
		if err := im.take(context.Background(), line, channel.Entry{Created: at, Fields: [8]*string{&v}}); err != nil {
			t.Fatal(err)
		}
		if line == 5 {
			if err := im.flush(context.Background()); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := im.flush(context.Background()); err != nil {
		t.Fatal(err)
	}
	var out, errs bytes.Buffer
	err = im.say(&out, &errs, false)
	if err == nil || !strings.Contains(err.Error(), "f.csv: 2 rows refused") || out.String() != "5 entries, 5 of them new\n" {
		t.Errorf("%v\n%s", err, out.String())
	}
	if got := strings.Split(strings.TrimSpace(errs.String()), "\n"); !slices.Equal(got, []string{
		"f.csv: line 3: refused: created_at is in the future (2099-01-01T00:00:03Z)", "f.csv: line 7: refused: created_at is in the future (2099-01-01T00:00:07Z)"}) {
		t.Errorf("%q", got)
	}
	out.Reset()
	if err := im.say(&out, &errs, true); err == nil || !strings.Contains(out.String(), `"added":5,"empty":0,"entries":5,"refused":[{"line":3,"created_at":"2099-01-01T00:00:03Z"`) {
		t.Errorf("%v\n%s", err, out.String())
	}
	for range 2 * maxRefusedRows {
		im.refused = append(im.refused, refusedRow{Line: 9})
	}
	errs.Reset()
	if err := im.say(&out, &errs, false); err == nil || strings.Count(errs.String(), "\n") != maxRefusedRows+1 || !strings.Contains(errs.String(), "and 22 more") {
		t.Errorf("%v\n%s", err, errs.String())
	}
}
