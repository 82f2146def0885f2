package main

import (
	"testing"

	"vitalseal/internal/shared/audit"
)

// TestAuditTerms: an export that finds nothing says when it was asked for what does not exist.
func TestAuditTerms(t *testing.T) {
	log := []audit.Entry{{Action: "patient:view", Person: "u-k3v7q2ab", Patient: "p-x5m2c7aa", Allowed: true}, {Action: "session:sign-in", Person: "root"}}
	for _, tc := range []struct {
		name  string
		asked audit.Filter
		wrong bool
	}{
		{"a misspelt action", audit.Filter{Action: "lookpatient"}, true},
		{"an action of the log alone", audit.Filter{Action: "session:sign-in", Person: "u-k3v7q2ab"}, false},
		{"an action that was never taken", audit.Filter{Action: "patient:print"}, true},
		{"a known action that was never taken", audit.Filter{Action: "patient:break-glass"}, false},
		{"a patient's name", audit.Filter{Patient: "Ada"}, true},
		{"a patient without entries", audit.Filter{Patient: "p-zzzzzzzz"}, false},
		{"a login", audit.Filter{Person: "doctor"}, true},
		{"a person whose id has no prefix", audit.Filter{Person: "root", Patient: "p-x5m2c7aa"}, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			terms := newAuditTerms(tc.asked)
			for _, e := range log {
				terms.see(e)
			}
			if err := terms.missing(); (err != nil) != tc.wrong {
				t.Errorf("%v", err)
			}
		})
	}
}
