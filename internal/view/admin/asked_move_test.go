package admin_test

import (
	"net/http"
	"strings"
	"testing"

	"vitalseal/internal/hub/access"
	"vitalseal/internal/hub/directory"
	"vitalseal/internal/shared/audit"
)

// TestMoveThatIsAskedAbout: a move of a sensor that is answered with a question, or that is a mistake,
// is one entry of the audit log, which does not say that it was allowed; of a person who may not move
// it the entry is the refusal, and the answer no question.
func TestMoveThatIsAskedAbout(t *testing.T) {
	w, _, _ := twoWards(t)
	w.must(w.store.CreateDevice(t.Context(), directory.Device{ID: domain + "/sensor/oxi-2", Kind: "sensor", Model: "MAX30100", State: directory.DeviceActive}))
	const path = "identities/sensor/oxi-2/bed"
	moves := func() (out []audit.Entry) {
		t.Helper()
		all, err := w.trail.Recent(t.Context(), 1000)
		w.must(err)
		for _, e := range all {
			if e.Action == string(access.MoveSensor) {
				out = append(out, e)
			}
		}
		return out
	}
	for _, x := range []struct {
		who    access.Role
		path   string
		body   string
		status int
		why    string // the entry's reason begins so; empty: a refusal by the policies
	}{
		{"staff", path, `{"bed":"a-1"}`, http.StatusConflict, "not done: the requester was asked whether it is meant"},
		{"staff", path, `{"bed":"a-1","at":"2099-01-01T00:00:00Z"}`, http.StatusBadRequest, "not done: a mistake in the request"},
		{"admin", path, `{"bed":"none"}`, http.StatusBadRequest, "not done: a mistake in the request"},
		{"admin", "identities/sensor/none/bed", `{"bed":"a-1"}`, http.StatusNotFound, "not done: a mistake in the request"},
		{"nurse", path, `{"bed":"b-1"}`, http.StatusForbidden, ""}, // there is another sensor, which is none of hers to know
	} {
		before := len(moves())
		w.get(x.who, "POST", x.path, x.body, x.status, nil)
		got := moves()
		if len(got) != before+1 {
			t.Errorf("%s %s: %d entries, want one", x.who, x.body, len(got)-before)
			continue
		}
		if e := got[0]; e.Allowed || !strings.HasPrefix(e.Reason, x.why) || x.why == "" && strings.HasPrefix(e.Reason, "not done") || e.Undecided() {
			t.Errorf("%s %s: %+v, want %q", x.who, x.body, e, x.why)
		}
	}
	w.get("staff", "POST", path, `{"bed":"a-1","meant":true}`, http.StatusCreated, nil)
	if e := moves()[0]; !e.Allowed {
		t.Errorf("meant: %+v", e)
	}
}

// TestReadingsMoveThatIsNotDone: each grant that a move of readings took is followed by an entry
// that says that the move was not done, where it was a question, a mistake, or refused for the
// other patient; a move that is done has no such entry.
func TestReadingsMoveThatIsNotDone(t *testing.T) {
	w, a, b, body, has := twoCharts(t)
	for name, x := range map[string]struct {
		who    access.Role
		from   string
		to     string
		change func(string) string
		status int
		why    string
		taken  int // grants
	}{
		"a question": {"admin", b, a, nil, http.StatusConflict, "not done: the requester was asked whether it is meant", 2},
		"a mistake":  {"admin", a, b, func(s string) string { return strings.Replace(s, `"end":"20`, `"end":"19`, 1) }, http.StatusBadRequest, "not done: ", 2},
		"refused":    {"nurse", a, b, nil, http.StatusForbidden, "not done: another part of it was refused", 1},
	} {
		t.Run(name, func(t *testing.T) {
			text := body(x.from, x.to)
			if x.change != nil {
				text = x.change(text)
			}
			old := len(w.readingMoves(t))
			w.get(x.who, "POST", "readings/move", text, x.status, nil)
			all := w.readingMoves(t)
			var allowed, undone int
			for _, e := range all[:len(all)-old] { // the newest come first
				switch {
				case e.Allowed:
					allowed++
				case strings.HasPrefix(e.Reason, x.why):
					undone++
				}
			}
			if allowed != x.taken || undone != x.taken || has(a) != 1 || has(b) != 0 {
				t.Errorf("%d allowed and %d not done, want %d; %d and %d numbers: %+v", allowed, undone, x.taken, has(a), has(b), all[:len(all)-old])
			}
		})
	}
	old := len(w.readingMoves(t))
	w.get("admin", "POST", "readings/move", body(a, b), http.StatusCreated, nil)
	all := w.readingMoves(t)
	for _, e := range all[:len(all)-old] {
		if !e.Allowed {
			t.Errorf("done: %+v", e)
		}
	}
}

// readingMoves are the audit log's entries about moves of readings, the newest first.
func (w *world) readingMoves(t *testing.T) (out []audit.Entry) {
	t.Helper()
	all, err := w.trail.Recent(t.Context(), 1000)
	w.must(err)
	for _, e := range all {
		if e.Action == string(access.MoveReadings) {
			out = append(out, e)
		}
	}
	return out
}
