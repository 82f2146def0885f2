package admin_test

import (
	"net/http"
	"strings"
	"testing"

	"vitalseal/internal/hub/access"
)

// TestClockThatNothingWaitsFor: settling the clock of a sensor of which nothing waits says so, in the answer and in the audit log, and is no
// settlement.
func TestClockThatNothingWaitsFor(t *testing.T) {
	w, _, _ := twoWards(t)
	for _, body := range []string{`{"as_measured":true}`, `{"ahead_seconds":-12.5}`} {
		var got struct {
			Released *int `json:"released_chunks"`
			Waiting  *int `json:"waiting_chunks"`
		}
		w.get(access.RoleAdmin, "POST", "identities/sensor/oxi-1/clock", body, http.StatusCreated, &got)
		if got.Released == nil || got.Waiting == nil || *got.Released != 0 || *got.Waiting != 0 {
			t.Errorf("%s: %+v", body, got)
		}
		if e := w.last(); !strings.HasPrefix(e.Reason, "clock not settled, nothing waits") {
			t.Errorf("%s: the log has %+v", body, e)
		}
	}
	w.get(access.RoleAdmin, "POST", "identities/sensor/none/clock", `{"as_measured":true}`, http.StatusNotFound, nil)
}
