package main

import (
	"bytes"
	"strings"
	"testing"

	"vitalseal/internal/shared/audit"
)

// TestEntriesAboutSeveralPatients: the text says whom, for a list and for an act that concerns two.
func TestEntriesAboutSeveralPatients(t *testing.T) {
	for want, e := range map[string]audit.Entry{
		"patient:view on 2 patients  patients p-1,p-2  by":     {Action: "patient:view", Resource: "patient:2 of them", Patients: []string{"p-1", "p-2"}, Allowed: true},
		"readings:move on patient:p-1  patients p-1,p-2  by":   {Action: "readings:move", Resource: "patient:p-1", Patients: []string{"p-1", "p-2"}, Allowed: true},
		"patient:view on patient:p-1  patient p-1  by":         {Action: "patient:view", Resource: "patient:p-1", Patient: "p-1"},
		"sensor:move on ward:a  patient -  by":                 {Action: "sensor:move", Resource: "ward:a"},
		`patient:view on 2 patients  patients \x1b[2J,p-2  by`: {Action: "patient:view", Resource: "patient:2 of them", Patients: []string{"\x1b[2J", "p-2"}},
	} {
		var b bytes.Buffer
		if err := printEntry(&b, e, nil); err != nil || !strings.Contains(b.String(), want) || strings.Contains(b.String(), "of them") {
			t.Errorf("%q, %v; want %q in it", b.String(), err, want)
		}
	}
}
