package admin

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"time"

	"vitalseal/internal/hub/access"
	"vitalseal/internal/view/api"
)

// AuditQuestion asks for entries of the audit log, newest first. Empty members choose all.
type AuditQuestion struct {
	Size, Before            int64 // of the log's first Size entries (-1: all), those with a number below Before
	N                       int   // at most so many
	Person, Patient, Action string
	Answer                  string // allowed or refused
	From, To                time.Time
}

// AuditFound is an entry as it stands in the log, with the hashes that prove that it is in the log of the size that was asked about.
type AuditFound struct {
	Seq   int64    `json:"seq"`
	Line  string   `json:"line"`
	Proof []string `json:"proof"`
}

// AuditPage is an answer. Next is the number before which to go on; 0: the log's first entry has been looked at. Looked is the time of the
// oldest entry that was looked at or passed over.
type AuditPage struct {
	Entries []AuditFound `json:"entries"`
	Next    int64        `json:"next"`
	Looked  *time.Time   `json:"looked"`
}

// ErrAuditQuestion means that a question asks for what there is not; its text says what.
var ErrAuditQuestion = errors.New("admin: no such question")

// maxFound is how many entries one page has at most.
const maxFound = 100

// searchAudit answers ?size=&before=&n=&person=ID&patient=ID&action=ACTION&answer=allowed|refused|undecided&from=TIME&to=TIME.
func (h *handler) searchAudit(ctx context.Context, rq *api.Request) (any, error) {
	if h.Search == nil {
		return nil, errors.New("admin: no audit log to search")
	}
	get := rq.URL.Query().Get
	q := AuditQuestion{Size: -1, N: maxFound, Person: get("person"), Patient: get("patient"), Action: get("action"), Answer: get("answer")}
	for _, x := range []struct {
		name  string
		value string
	}{{"person", q.Person}, {"patient", q.Patient}, {"action", q.Action}} {
		if len(x.value) > 256 {
			return nil, api.Invalid(x.name, "at most 256 bytes")
		}
	}
	switch q.Answer {
	case "", "allowed", "refused", "undecided":
	default:
		return nil, api.Invalid("answer", "allowed, refused or undecided")
	}
	for _, x := range []struct {
		name string
		to   *int64
	}{{"size", &q.Size}, {"before", &q.Before}} {
		if s := get(x.name); s != "" {
			n, err := strconv.ParseInt(s, 10, 64)
			if err != nil || n < 0 {
				return nil, api.Invalid(x.name, "a number of entries")
			}
			*x.to = n
		} else if x.name == "before" {
			q.Before = 1<<63 - 1
		}
	}
	if s := get("n"); s != "" {
		n, err := strconv.Atoi(s)
		if err != nil || n < 1 || n > maxFound {
			return nil, api.Invalid("n", "1 to %d", maxFound)
		}
		q.N = n
	}
	for _, x := range []struct {
		name string
		to   *time.Time
	}{{"from", &q.From}, {"to", &q.To}} {
		if s := get(x.name); s != "" {
			t, err := time.Parse(time.RFC3339, s)
			if err != nil {
				return nil, api.Invalid(x.name, "a time such as 2026-01-31T08:15:00Z")
			}
			*x.to = t.UTC()
		}
	}
	if !q.From.IsZero() && !q.To.IsZero() && !q.To.After(q.From) {
		return nil, api.Invalid("to", "must be after from")
	}
	page, err := h.Search(ctx, q)
	if errors.Is(err, ErrAuditQuestion) {
		return nil, api.Invalid("size", "is larger than the log")
	}
	return page, err
}

// auditNames is what the ids of the audit log mean, for its reader: persons, wards and beds by their names; patients, and the persons that are
// patients' logins, by where they lie now, because their names are not the reader's to see.
func (h *handler) auditNames(ctx context.Context, _ *api.Request) (any, error) {
	type person struct {
		ID    string      `json:"id"`
		Login string      `json:"login"`
		Name  string      `json:"name"`
		Role  access.Role `json:"role"`
		Self  string      `json:"self,omitempty"` // the patient that it is; login and name are empty then
	}
	type patient struct {
		ID       string `json:"id"`
		BedName  string `json:"bed_name"` // empty: at no bed now
		WardName string `json:"ward_name"`
		// Forgotten says that there is nothing left by which the patient could be called.
		Forgotten bool `json:"forgotten,omitempty"`
	}
	out := struct {
		Persons  []person          `json:"persons"`
		Patients []patient         `json:"patients"`
		Wards    map[string]string `json:"wards"`
		Beds     map[string]string `json:"beds"`
		Actions  []access.Action   `json:"actions"`
	}{Persons: []person{}, Patients: []patient{}, Actions: append(access.Actions(), access.LookActions()...)}
	var err error
	if out.Beds, out.Wards, err = h.names(ctx); err != nil {
		return nil, err
	}
	persons, err := h.Store.Persons(ctx)
	if err != nil {
		return nil, err
	}
	for _, p := range persons {
		o := person{p.ID, p.Login, p.DisplayName, p.Role, p.Self}
		if p.Role == access.RolePatient || p.Self != "" {
			o.Login, o.Name = "", ""
		}
		out.Persons = append(out.Persons, o)
	}
	refs, err := h.Store.Patients(ctx)
	if err != nil {
		return nil, err
	}
	forgotten, err := h.Store.ForgottenPatients(ctx)
	if err != nil {
		return nil, err
	}
	for _, p := range refs {
		_, gone := slices.BinarySearch(forgotten, p.ID)
		out.Patients = append(out.Patients, patient{p.ID, out.Beds[p.Bed], out.Wards[p.Ward], gone})
	}
	slices.Sort(out.Actions)
	return out, nil
}
