package access

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"vitalseal/internal/shared/audit"
)

// Answer is what DecideAll says about one patient: a Grant, or why not (a *Denied).
type Answer struct {
	Patient string
	Grant   Grant
	Err     error
}

// DecideAll is Decide about several patients at once, for a list or a live view: each is decided by
// itself, and those that are allowed are one entry of the audit log that names them all (one for each
// set of policies, such as an emergency among patients of the ward, and for each 256 patients),
// durable before it returns. Refused ones have an entry each. An error, such as ErrUndecided about
// one of them, refuses all.
func (e *Engine) DecideAll(ctx context.Context, s Subject, a Action, patients []string) ([]Answer, error) {
	return e.decideAll(ctx, s, a, patients, joinNothing)
}

func (e *Engine) decideAll(ctx context.Context, s Subject, a Action, patients []string, j join) ([]Answer, error) {
	now := time.Now()
	answers := make([]Answer, len(patients))
	called := a
	if j == joinLooks {
		called = lookOf(a)
	}
	groups := map[string]*audit.Entry{}
	var order []*audit.Entry
	bytes := map[*audit.Entry]int{}
	of := map[*audit.Entry][]int{} // indices of answers
	for i, id := range patients {
		answers[i].Patient = id
		q, v, err := e.weigh(ctx, s, a, OnPatient(id), now)
		if err != nil || !v.allowed { // the one way of refusing
			answers[i].Grant, answers[i].Err = e.decide(ctx, s, a, OnPatient(id), decision{auditYes: true, join: j})
			if answers[i].Err != nil && !errors.Is(answers[i].Err, ErrDenied) {
				return nil, answers[i].Err
			}
			continue
		}
		key := strings.Join(v.policies, " ")
		entry := groups[key]
		if entry == nil || len(entry.Patients) >= audit.MaxPatients || bytes[entry]+len(id) > audit.MaxListed {
			entry = &audit.Entry{Time: now, Person: clip(s.holder()), Role: clip(string(q.person.Role)), Workstation: clip(s.Workstation),
				Action: clip(string(called)), Allowed: true, Policies: v.policies, Reason: v.reason}
			if s.Key != nil {
				entry.Reason = byKey
			}
			groups[key], order = entry, append(order, entry)
		}
		entry.Patients = append(entry.Patients, clip(id))
		bytes[entry] += len(id)
		of[entry] = append(of[entry], i)
		answers[i].Grant = Grant{holder: s.holder(), workstation: s.Workstation, actions: []Action{a}, resource: OnPatient(id), key: s.Key != nil,
			expires: now.Add(e.grantLife)}
	}
	for _, entry := range order {
		if len(entry.Patients) == 1 { // as if it had been asked about alone
			entry.Patient, entry.Resource, entry.Patients = entry.Patients[0], clip(OnPatient(entry.Patients[0]).String()), nil
		} else {
			slices.Sort(entry.Patients)
			entry.Resource = fmt.Sprintf("%s:%d of them", KindPatient, len(entry.Patients))
		}
		view, err := e.write(ctx, s, a, *entry, j, now)
		if err != nil {
			return nil, err
		}
		for _, i := range of[entry] {
			answers[i].Grant.view = view
		}
	}
	return answers, nil
}
