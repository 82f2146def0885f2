package main

import (
	"fmt"
	"slices"
	"strings"

	"vitalseal/internal/hub/access"
	"vitalseal/internal/shared/audit"
	"vitalseal/internal/shared/cli"
)

// auditTerms are what an export asks for, and whether the log knows it at all: "no entries" is no
// answer about a misspelt action or a patient's name.
type auditTerms struct {
	asked   audit.Filter
	actions map[string]bool
	person  bool
	patient bool
}

func newAuditTerms(f audit.Filter) *auditTerms {
	t := &auditTerms{asked: f, actions: map[string]bool{}}
	for _, a := range slices.Concat(access.Actions(), access.LookActions()) {
		t.actions[string(a)] = true
	}
	return t
}

func (t *auditTerms) see(e audit.Entry) {
	t.actions[e.Action] = true
	t.person = t.person || audit.Filter{Person: t.asked.Person}.Match(e)
	t.patient = t.patient || audit.Filter{Patient: t.asked.Patient}.Match(e)
}

// missing is an error where nothing was found because what was asked for is no such thing.
func (t *auditTerms) missing() error {
	switch {
	case t.asked.Action != "" && !t.actions[t.asked.Action]:
		var like []string
		for a := range t.actions {
			if kind, _, _ := strings.Cut(t.asked.Action, ":"); kind != "" && strings.Contains(a, kind) || a != "" && strings.Contains(t.asked.Action, a) {
				like = append(like, a)
			}
		}
		slices.Sort(like)
		hint := "an action is written as patient:view; `vitalseal audit export` without --action shows those of the log"
		if len(like) > 0 {
			hint = "these are alike: " + strings.Join(like, ", ")
		}
		return cli.Usage(fmt.Errorf("--action %q: there is no such action, in the log or elsewhere", t.asked.Action), hint)
	case t.asked.Patient != "" && !t.patient && !strings.HasPrefix(t.asked.Patient, "p-"):
		return cli.Usage(fmt.Errorf("--patient %q: not the id of a patient", t.asked.Patient), "an id is written as p-x5m2c7aa; --text --login NAME shows whose it is")
	case t.asked.Person != "" && !t.person && !strings.HasPrefix(t.asked.Person, "u-"):
		return cli.Usage(fmt.Errorf("--person %q: not the id of a person", t.asked.Person), "an id is written as u-k3v7q2ab; --text --login NAME shows whose it is")
	}
	return nil
}
