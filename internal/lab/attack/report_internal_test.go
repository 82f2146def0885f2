package attack

import (
	"strings"
	"testing"
)

// TestSummaryWithoutControls: where no control was run, the summary does not say that none got
// through.
func TestSummaryWithoutControls(t *testing.T) {
	r := &Report{Attacks: 1, Refused: 1, Lines: []Line{{ID: "a", Without: "policy"}}}
	if got := r.summary(); !strings.Contains(got, "Controls not run.") || strings.Contains(got, "Without its defence") {
		t.Error(got)
	}
	r.Lines[0].ControlOutcome, r.ControlsGotThrough, r.ControlsEffective = GotThrough, 1, 100
	if got := r.summary(); !strings.Contains(got, "Without its defence 1 of them got through (100.0 % of all).") {
		t.Error(got)
	}
}
