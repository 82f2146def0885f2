package audit

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// Bounds of an entry, in bytes of UTF-8.
const (
	MaxField    = 256  // each of the short texts and each policy id
	MaxReason   = 1024 // Reason
	MaxPolicies = 32   // number of policy ids
	MaxPatients = 256  // number of Patients
	MaxListed   = 8192 // Patients together

	// maxLine bounds what a reader takes: every byte of every field as a six-byte escape, and the
	// names around them.
	maxLine = 6*(6*MaxField+MaxReason+MaxPolicies*(MaxField+3)+MaxListed+3*MaxPatients) + 576
)

// Entry is one thing that someone did or was refused. It holds ids, never names, readings, tokens
// or keys.
type Entry struct {
	Seq         int64     `json:"seq"`         // set by the log: 0, 1, 2, ...
	Time        time.Time `json:"time"`        // UTC in microseconds; set by the log if zero
	Person      string    `json:"person"`      // person id, or "engine:NAME"; empty when not known
	Role        string    `json:"role"`        // the person's role at that moment
	Workstation string    `json:"workstation"` // SPIFFE id
	Action      string    `json:"action"`      // such as "patient:view"
	Resource    string    `json:"resource"`    // "kind:id"
	Patient     string    `json:"patient"`     // id of the patient concerned, if any
	// Patients are the ids of all patients concerned, where one request was about several: a list,
	// a live view. Then Patient is empty.
	Patients []string `json:"patients,omitempty"`
	Allowed  bool     `json:"allowed"`  // false: refused, or Undecided
	Policies []string `json:"policies"` // ids of the policies that decided
	Reason   string   `json:"reason"`   // in words, when there is more to say
	// Count says that this entry stands for so many refusals, or things not decided, that were
	// like it in everything but the time, the last of them at Time. 0 means one.
	Count int64 `json:"count,omitempty"`
}

// NotDecided begins the reason of an entry that says neither yes nor no: the hub could not finish a
// decision, or do what it had allowed. Such an entry has Allowed false, so that a reader of before
// this takes it for the refusal that its hub would have written. No other reason begins like it.
const NotDecided = "not decided: "

// formerlyNotDecided is how earlier versions began the reason of such an entry.
const formerlyNotDecided = "the directory could not be asked"

// Undecided reports whether the entry is of something that was not decided: no refusal.
func (e Entry) Undecided() bool {
	if e.Allowed {
		return false
	}
	first, _, _ := strings.Cut(e.Reason, "; ")
	return strings.HasPrefix(e.Reason, NotDecided) || first == formerlyNotDecided
}

// times is how many things the entry stands for.
func (e Entry) times() int64 { return max(1, e.Count) }

func (e Entry) clone() Entry {
	e.Policies, e.Patients = slices.Clone(e.Policies), slices.Clone(e.Patients)
	return e
}

// check holds e against the bounds.
func (e Entry) check() error {
	for _, f := range []struct {
		name, value string
		most        int
	}{
		{"person", e.Person, MaxField}, {"role", e.Role, MaxField}, {"workstation", e.Workstation, MaxField},
		{"action", e.Action, MaxField}, {"resource", e.Resource, MaxField}, {"patient", e.Patient, MaxField},
		{"reason", e.Reason, MaxReason},
	} {
		if len(f.value) > f.most {
			return fmt.Errorf("%w: %s has %d bytes, at most %d", ErrEntry, f.name, len(f.value), f.most)
		}
	}
	if len(e.Policies) > MaxPolicies {
		return fmt.Errorf("%w: %d policies, at most %d", ErrEntry, len(e.Policies), MaxPolicies)
	}
	for _, p := range e.Policies {
		if len(p) > MaxField {
			return fmt.Errorf("%w: a policy id has %d bytes, at most %d", ErrEntry, len(p), MaxField)
		}
	}
	listed := 0
	for _, p := range e.Patients {
		listed += len(p)
		if len(p) > MaxField {
			return fmt.Errorf("%w: a patient's id has %d bytes, at most %d", ErrEntry, len(p), MaxField)
		}
	}
	if len(e.Patients) > MaxPatients || listed > MaxListed {
		return fmt.Errorf("%w: %d patients in %d bytes, at most %d in %d", ErrEntry, len(e.Patients), listed, MaxPatients, MaxListed)
	}
	if e.Count < 0 || e.Count > 0 && e.Allowed {
		return fmt.Errorf("%w: a count of %d; only refusals are counted", ErrEntry, e.Count)
	}
	if y := e.Time.Year(); y < 1 || y > 9999 {
		return fmt.Errorf("%w: the year %d is outside 1 to 9999", ErrEntry, y)
	}
	return nil
}

// encode is the one spelling of an entry: a line of JSON without the newline. Whatever a terminal
// or a log viewer could obey (control and invisible formatting characters) is written as an escape.
func (e Entry) encode() ([]byte, error) {
	for _, s := range []*string{&e.Person, &e.Role, &e.Workstation, &e.Action, &e.Resource, &e.Patient, &e.Reason} {
		*s = strings.ToValidUTF8(*s, "\uFFFD")
	}
	policies := make([]string, len(e.Policies)) // never null
	for i, p := range e.Policies {
		policies[i] = strings.ToValidUTF8(p, "\uFFFD")
	}
	e.Policies = policies
	if len(e.Patients) > 0 {
		patients := make([]string, len(e.Patients))
		for i, p := range e.Patients {
			patients[i] = strings.ToValidUTF8(p, "\uFFFD")
		}
		e.Patients = patients
	}
	b, err := json.Marshal(e)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrEntry, err)
	}
	return escapeControls(b), nil
}

// escapeControls replaces what encoding/json leaves as it is: DEL, the C1 controls, and format
// characters such as those that reverse the direction of text. All of them can only stand inside
// strings.
func escapeControls(b []byte) []byte {
	hidden := func(r rune) bool { return unicode.In(r, unicode.Cc, unicode.Cf) }
	if bytes.IndexFunc(b, hidden) < 0 {
		return b
	}
	var out []byte
	for len(b) > 0 {
		r, n := utf8.DecodeRune(b)
		switch {
		case !hidden(r):
			out = append(out, b[:n]...)
		case r > 0xFFFF: // as a UTF-16 surrogate pair
			r -= 0x10000
			out = fmt.Appendf(out, `\u%04x\u%04x`, 0xD800+(r>>10), 0xDC00+(r&0x3FF))
		default:
			out = fmt.Appendf(out, `\u%04x`, r)
		}
		b = b[n:]
	}
	return out
}

// unknownMember is a member of a line's object that no entry of this version has; empty if there is
// none.
func unknownMember(line []byte) string {
	var members map[string]json.RawMessage
	if json.Unmarshal(line, &members) != nil {
		return ""
	}
	for _, name := range slices.Sorted(maps.Keys(members)) {
		switch name {
		case "seq", "time", "person", "role", "workstation", "action", "resource", "patient", "patients", "allowed", "policies", "reason", "count":
		default:
			return name
		}
	}
	return ""
}

// decode is the strict inverse of encode: any other spelling of the same entry is refused, so that
// a line is either what this package wrote or not.
func decode(line []byte, seq int64) (Entry, error) {
	var e Entry
	if err := json.Unmarshal(line, &e); err != nil {
		return Entry{}, fmt.Errorf("%w: entry %d is not readable", ErrTampered, seq)
	}
	if e.Seq != seq {
		return Entry{}, fmt.Errorf("%w: entry %d where %d was expected", ErrTampered, e.Seq, seq)
	}
	if name := unknownMember(line); name != "" {
		return Entry{}, fmt.Errorf("%w: entry %d has the member %.40q, which this version does not know: a newer vitalseal wrote it (verify with that one), or it was changed", ErrTampered, seq, name)
	}
	again, err := e.encode()
	if err != nil || !bytes.Equal(again, line) || e.check() != nil {
		return Entry{}, fmt.Errorf("%w: entry %d was not written by this log", ErrTampered, seq)
	}
	return e, nil
}
