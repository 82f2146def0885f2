package access

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/cedar-policy/cedar-go"
)

// Scenario is a small imagined hospital with expectations of who may do what in it: the text that `vitalseal policy test` reads,
// and that a person can write without knowing the policy language. doc/policy.md describes the lines.
type Scenario struct {
	Expectations []Expectation

	Directory  // nil: what decisions do not ask for is not there
	persons    map[string]Person
	patients   map[string]PatientRef
	channels   map[int64]ChannelRef
	talkBacks  map[int64]string // their owners
	components map[string]Component
}

// Expectation is one line: who may, may not, or may after a fresh proof of identity.
type Expectation struct {
	Line     int
	Want     string // "allow", "refuse" or "step-up"
	Who      string
	Action   Action
	Resource Resource
	With     []string // circumstances
	By       []string // ids of the rules that must decide; empty: whichever
	text     string
}

// Outcome is what the policies say to an expectation.
type Outcome struct {
	Expectation
	Got         string // "allow", "refuse" or "step-up"
	Explanation Explanation
	OK          bool
}

const (
	maxWorldLines = 10_000
	maxWorldLine  = 4 << 10
	anonymousName = "anonymous" // in a table: a program without a key
	homeStation   = "spiffe://policy.test/workstation/ward"
)

// ReadScenario reads a table. An error names its line, and what is allowed there.
func ReadScenario(r io.Reader) (*Scenario, error) {
	w := &Scenario{persons: map[string]Person{}, patients: map[string]PatientRef{}, channels: map[int64]ChannelRef{}, talkBacks: map[int64]string{}, components: map[string]Component{}}
	s := bufio.NewScanner(r)
	s.Buffer(nil, maxWorldLine)
	for n := 1; s.Scan(); n++ {
		if n > maxWorldLines {
			return nil, fmt.Errorf("access: table: more than %d lines", maxWorldLines)
		}
		text, _, _ := strings.Cut(s.Text(), "#")
		f := strings.Fields(text)
		if len(f) == 0 {
			continue
		}
		if err := w.line(n, f); err != nil {
			return nil, fmt.Errorf("access: table: line %d: %w", n, err)
		}
	}
	if err := s.Err(); err != nil {
		return nil, fmt.Errorf("access: table: %w (a line may have %d bytes)", err, maxWorldLine)
	}
	return w, w.check()
}

func (w *Scenario) line(n int, f []string) error {
	switch f[0] {
	case "person":
		return w.person(f[1:])
	case "patient":
		return w.patient(f[1:])
	case "channel":
		return w.channel(f[1:])
	case "talkback":
		return w.talkBack(f[1:])
	case "component":
		if len(f) != 4 {
			return fmt.Errorf("a component is: component NAME KIND STATE")
		}
		w.components[f[1]] = Component{ID: f[1], Kind: f[2], State: f[3]}
		return nil
	case "allow", "refuse", "step-up":
		return w.expect(n, f)
	}
	return fmt.Errorf("begins with %.40q; a line begins with person, patient, channel, talkback, component, allow, refuse or step-up", f[0])
}

func (w *Scenario) person(f []string) error {
	if len(f) < 2 || !Role(f[1]).Valid() {
		return fmt.Errorf("a person is: person NAME ROLE [wards A,B] [treats P,Q] [self P] [disabled] [one-time-password]; roles are %v", Roles())
	}
	p := Person{ID: f[0], Login: f[0], Role: Role(f[1])}
	for i := 2; i < len(f); i++ {
		switch f[i] {
		case "disabled":
			p.Disabled = true
		case "one-time-password":
			p.MustChangePassword = true
		case "wards", "treats", "self":
			if i+1 == len(f) {
				return fmt.Errorf("%s needs a name behind it", f[i])
			}
			switch list := strings.Split(f[i+1], ","); f[i] {
			case "wards":
				p.Wards = list
			case "treats":
				p.Patients = list
			default:
				p.Self = f[i+1]
			}
			i++
		default:
			return fmt.Errorf("%.40q is none of wards, treats, self, disabled, one-time-password", f[i])
		}
	}
	w.persons[p.ID] = p
	return nil
}

func (w *Scenario) patient(f []string) error {
	const form = "a patient is: patient NAME [on WARD] [excludes PERSON,PERSON]"
	if len(f) == 0 || len(f)%2 == 0 {
		return fmt.Errorf("%s", form)
	}
	p := PatientRef{ID: f[0]}
	for i := 1; i < len(f); i += 2 {
		switch f[i] {
		case "on":
			p.Ward, p.Bed = f[i+1], "bed of "+f[0]
		case "excludes":
			p.Excluded = strings.Split(f[i+1], ",")
		default:
			return fmt.Errorf("%s", form)
		}
	}
	w.patients[p.ID] = p
	return nil
}

func (w *Scenario) channel(f []string) error {
	const form = "a channel is: channel NUMBER [of PATIENT | by PERSON] [public]"
	if len(f) == 0 {
		return fmt.Errorf("%s", form)
	}
	id, err := strconv.ParseInt(f[0], 10, 64)
	if err != nil || id < 1 {
		return fmt.Errorf("%.40q is not a channel's number", f[0])
	}
	c := ChannelRef{ID: id}
	rest := f[1:]
	if len(rest) > 0 && rest[len(rest)-1] == "public" {
		c.Public, rest = true, rest[:len(rest)-1]
	}
	switch {
	case len(rest) == 2 && rest[0] == "of" && !c.Public: // a patient's is never public
		c.Patient = rest[1]
	case len(rest) == 2 && rest[0] == "by":
		c.Owner = rest[1]
	case len(rest) != 0:
		return fmt.Errorf("%s", form)
	}
	w.channels[id] = c
	return nil
}

func (w *Scenario) talkBack(f []string) error {
	if len(f) != 3 || f[1] != "by" {
		return fmt.Errorf("a TalkBack is: talkback NUMBER by PERSON")
	}
	id, err := strconv.ParseInt(f[0], 10, 64)
	if err != nil || id < 1 {
		return fmt.Errorf("%.40q is not a TalkBack's number", f[0])
	}
	w.talkBacks[id] = f[2]
	return nil
}

func (w *Scenario) expect(n int, f []string) error {
	if len(f) < 4 {
		return fmt.Errorf("an expectation is: %s WHO ACTION THING [with CIRCUMSTANCE,...] [by RULE,...]", f[0])
	}
	e := Expectation{Line: n, Want: f[0], Who: f[1], Action: Action(f[2]), text: strings.Join(f, " ")}
	if !slices.Contains(append(Actions(), DialService, BindService), e.Action) {
		return fmt.Errorf("%.40q is no action; there are %v, %s and %s", f[2], Actions(), DialService, BindService)
	}
	r, err := ParseResource(f[3])
	if err != nil {
		return err
	}
	e.Resource = r
	for i := 4; i < len(f); i += 2 {
		if i+1 == len(f) || f[i] != "with" && f[i] != "by" {
			return fmt.Errorf("behind the thing stands: with CIRCUMSTANCE,... or by RULE,... and nothing else")
		}
		if list := strings.Split(f[i+1], ","); f[i] == "with" {
			e.With = list
		} else {
			e.By = list
		}
	}
	if _, _, err := circumstances(Subject{}, e.With, time.Time{}); err != nil {
		return err
	}
	w.Expectations = append(w.Expectations, e)
	return nil
}

// check refuses names that nothing in the table has: a typing error would be "refused" for the wrong reason.
func (w *Scenario) check() error {
	for _, e := range w.Expectations {
		_, person := w.persons[e.Who]
		_, component := w.components[e.Who]
		if !person && !component && !strings.HasPrefix(e.Who, "display:") && e.Who != anonymousName {
			return fmt.Errorf("access: table: line %d: nobody is called %.40q; add a line \"person %s ROLE\" (or write display:WARD, or anonymous)", e.Line, e.Who, e.Who)
		}
		_, patient := w.patients[e.Resource.ID]
		if e.Resource.Kind == KindPatient && !patient {
			return fmt.Errorf("access: table: line %d: no patient is called %.40q; add a line \"patient %s\"", e.Line, e.Resource.ID, e.Resource.ID)
		}
	}
	for name, p := range w.persons {
		for _, id := range append(slices.Clone(p.Patients), p.Self) {
			if _, ok := w.patients[id]; id != "" && !ok {
				return fmt.Errorf("access: table: person %s: no patient is called %.40q", name, id)
			}
		}
	}
	for id, c := range w.channels {
		if _, ok := w.patients[c.Patient]; c.Patient != "" && !ok {
			return fmt.Errorf("access: table: channel %d: no patient is called %.40q", id, c.Patient)
		}
		if _, ok := w.persons[c.Owner]; c.Owner != "" && !ok {
			return fmt.Errorf("access: table: channel %d: nobody is called %.40q", id, c.Owner)
		}
	}
	for id, owner := range w.talkBacks {
		if _, ok := w.persons[owner]; !ok {
			return fmt.Errorf("access: table: talkback %d: nobody is called %.40q", id, owner)
		}
	}
	return nil
}

// ParseResource reads "patient:ID", "ward:ID", "channel:NUMBER", "talkback:NUMBER", "service:NAME" or "system".
func ParseResource(s string) (Resource, error) {
	kind, id, _ := strings.Cut(s, ":")
	ok := kind == KindSystem && id == "" || (kind == KindPatient || kind == KindWard || kind == KindService || kind == KindChannel || kind == KindTalkBack) && id != ""
	if ok && (kind == KindChannel || kind == KindTalkBack) {
		_, err := strconv.ParseInt(id, 10, 64)
		ok = err == nil
	}
	if !ok {
		return Resource{}, fmt.Errorf("%w: %.60q is not patient:ID, ward:ID, channel:NUMBER, talkback:NUMBER, service:NAME or system", ErrInvalid, s)
	}
	return Resource{Kind: kind, ID: id}, nil
}

// circumstances applies words to a subject: second-factor, proven=10m, session=2h, no-workstation, broken-glass, hour=3,
// risk=90, read-key=N, write-key=N, talkback-key=N, account-key.
func circumstances(s Subject, words []string, now time.Time) (Subject, map[string]int64, error) {
	more := map[string]int64{}
	for _, w := range words {
		name, value, _ := strings.Cut(w, "=")
		d, derr := time.ParseDuration(value)
		n, nerr := strconv.ParseInt(value, 10, 64)
		bad := false
		switch name {
		case "second-factor":
			s.SecondFactor = true
		case "no-workstation":
			s.Workstation = ""
		case "broken-glass":
			more[name] = 1
		case "proven":
			s.Proven, bad = now.Add(-d), derr != nil
		case "session":
			s.SessionStarted, bad = now.Add(-d), derr != nil
		case "hour", "risk":
			more[name], bad = n, nerr != nil
		case "read-key", "write-key":
			s.Key, bad = &APIKey{PersonID: s.Person.ID, Channel: n, Write: name == "write-key"}, nerr != nil
			s.Session, s.Proven, s.SessionStarted = "", time.Time{}, time.Time{}
		case "talkback-key":
			s.Key, bad = &APIKey{PersonID: s.Person.ID, TalkBack: n}, nerr != nil
			s.Session, s.Proven, s.SessionStarted = "", time.Time{}, time.Time{}
		case "account-key":
			s.Key = &APIKey{PersonID: s.Person.ID}
			s.Session, s.Proven, s.SessionStarted = "", time.Time{}, time.Time{}
		default:
			return s, nil, fmt.Errorf("%.40q is none of second-factor, proven=10m, session=2h, no-workstation, broken-glass, hour=3, risk=90, read-key=5, write-key=5, talkback-key=5, account-key", w)
		}
		if bad {
			return s, nil, fmt.Errorf("%.40q: the value cannot be read", w)
		}
	}
	return s, more, nil
}

// TestPolicies asks a table's questions of a policy text (nil: the built-in one).
func TestPolicies(ctx context.Context, name string, text []byte, w *Scenario) ([]Outcome, error) {
	e, err := offline(name, text, w)
	if err != nil {
		return nil, err
	}
	var out []Outcome
	for _, x := range w.Expectations {
		got, err := e.expected(ctx, w, x)
		if err != nil {
			return nil, fmt.Errorf("access: table: line %d: %w", x.Line, err)
		}
		out = append(out, got)
	}
	return out, nil
}

// String is the expectation as it stands in the table.
func (x Expectation) String() string { return x.text }

// offline is an engine over a table, which can weigh and explain and nothing else.
func offline(name string, text []byte, w *Scenario) (*Engine, error) {
	if text == nil {
		name, text = "default.cedar", defaultPolicies
	}
	set, err := parsePolicies(name, text)
	if err != nil {
		return nil, err
	}
	return &Engine{dir: w, log: slog.New(slog.DiscardHandler), policies: set, persons: newPersonEntities(), patients: newPatientEntities(), risks: newRisks(), events: func(Event) {}}, nil
}

func (e *Engine) expected(ctx context.Context, w *Scenario, x Expectation) (Outcome, error) {
	now := time.Now()
	s := Subject{Person: Person{ID: x.Who}, Workstation: homeStation, Session: "table", SessionStarted: now, Proven: now}
	if ward, ok := strings.CutPrefix(x.Who, "display:"); ok {
		s = Display(homeStation, []string{ward})
	}
	if _, person := w.persons[x.Who]; x.Who == anonymousName && !person {
		s = Subject{Anonymous: true, Workstation: homeStation}
	}
	s, more, err := circumstances(s, x.With, now)
	if err != nil {
		return Outcome{}, err
	}
	var q question
	var v verdict
	if c, ok := w.components[x.Who]; ok {
		q, v = e.componentQuestion(c, x.Action, x.Resource.ID)
	} else {
		if q, v, err = e.weigh(ctx, s, x.Action, x.Resource, now); err != nil {
			return Outcome{}, err
		}
		if len(more) > 0 && v.reason != "unknown resource" {
			q.circumstances(more)
			v = e.policies.ask(q.entities, q.principal, x.Action, q.resource, q.record())
		}
	}
	o := Outcome{Expectation: x, Explanation: e.policies.explain(q, x.Action, v)}
	switch {
	case v.allowed:
		o.Got = "allow"
	case v.stepUp:
		o.Got = "step-up"
	default:
		o.Got = "refuse"
	}
	o.OK = o.Got == x.Want && (len(x.By) == 0 || slices.Equal(slices.Sorted(slices.Values(x.By)), v.policies))
	return o, nil
}

// circumstances puts what a table imagines into a question's context.
func (q *question) circumstances(more map[string]int64) {
	for name, n := range more {
		if name == "broken-glass" {
			q.asked["break_glass"] = cedar.True
			continue
		}
		q.asked[cedar.String(name)] = cedar.Long(n)
	}
}

func (q *question) record() cedar.Record { return cedar.NewRecord(q.asked) }

// The methods below make a Scenario the part of a Directory that decisions need.

var _ Directory = (*Scenario)(nil)

func of[K comparable, V any](m map[K]V, k K) (V, error) {
	v, ok := m[k]
	if !ok {
		return v, ErrNotFound
	}
	return v, nil
}

// Person is as in Directory.
func (w *Scenario) Person(_ context.Context, id string) (Person, error) { return of(w.persons, id) }

// Patient is as in Directory.
func (w *Scenario) Patient(_ context.Context, id string) (PatientRef, error) {
	return of(w.patients, id)
}

// ChannelRef is as in Directory.
func (w *Scenario) ChannelRef(_ context.Context, id int64) (ChannelRef, error) {
	return of(w.channels, id)
}

// TalkBackOwner is as in Directory.
func (w *Scenario) TalkBackOwner(_ context.Context, id int64) (string, error) {
	return of(w.talkBacks, id)
}

// Emergencies is as in Directory: a table has no emergencies but those of its circumstances.
func (w *Scenario) Emergencies(context.Context, time.Time, string, string) ([]EmergencyAccess, error) {
	return nil, nil
}

// MatrixRow is what each role may do with one thing: cells in the order of Roles.
type MatrixRow struct {
	Action Action
	Thing  string
	Cells  []MatrixCell
}

// MatrixCell is one answer and the rules that gave it.
type MatrixCell struct {
	Got   string // "allow", "refuse" or "step-up"
	Rules []string
}

// matrixWorld has one person of each role on ward 1, treating and being patient "own", so that a relationship of the wrong
// kind would show.
const matrixWorld = `
patient own on ward-1
patient same-ward on ward-1
patient other-ward on ward-2
patient excluding-them on ward-1 excludes patient,nurse,doctor,staff,auditor,admin
patient nobody
channel 1 of own
channel 2 of other-ward
channel 9
`

// Matrix is roles x resources x actions for a policy text (nil: the built-in one), for people who have just signed in at a
// workstation. Lines in which every role is refused are left out.
func Matrix(ctx context.Context, name string, text []byte) ([]MatrixRow, error) {
	var table strings.Builder
	table.WriteString(matrixWorld)
	for _, r := range Roles() {
		fmt.Fprintf(&table, "person %s %s wards ward-1 treats own,excluding-them self own\n", r, r)
	}
	things := []struct{ name, resource string }{
		{"own patient", "patient:own"}, {"same ward", "patient:same-ward"}, {"other ward", "patient:other-ward"},
		{"excluding them", "patient:excluding-them"}, {"nobody's patient", "patient:nobody"}, {"own ward", "ward:ward-1"},
		{"other ward", "ward:ward-2"}, {"own channel", "channel:1"}, {"other channel", "channel:2"}, {"free channel", "channel:9"},
		{"the system", "system"},
	}
	w, err := ReadScenario(strings.NewReader(table.String()))
	if err != nil {
		return nil, err
	}
	e, err := offline(name, text, w)
	if err != nil {
		return nil, err
	}
	var out []MatrixRow
	for _, a := range Actions() {
		for _, t := range things {
			r, err := ParseResource(t.resource)
			if err != nil {
				return nil, err
			}
			row, some := MatrixRow{Action: a, Thing: t.name}, false
			for _, role := range Roles() {
				o, err := e.expected(ctx, w, Expectation{Who: string(role), Action: a, Resource: r})
				if err != nil {
					return nil, err
				}
				row.Cells = append(row.Cells, MatrixCell{Got: o.Got, Rules: o.Explanation.Deciding})
				some = some || o.Got != "refuse"
			}
			if some {
				out = append(out, row)
			}
		}
	}
	return out, nil
}

// ExplainIn answers a question in a table's hospital: one line as in a table, without what is expected
// ("nina patient:view patient:anna with broken-glass").
func ExplainIn(ctx context.Context, name string, text []byte, w *Scenario, question string) (Explanation, error) {
	f := strings.Fields("allow " + question)
	asked := &Scenario{persons: w.persons, patients: w.patients, channels: w.channels, components: w.components}
	if err := asked.line(1, f); err != nil {
		return Explanation{}, fmt.Errorf("access: question: %w", err)
	}
	if err := asked.check(); err != nil {
		return Explanation{}, err
	}
	e, err := offline(name, text, asked)
	if err != nil {
		return Explanation{}, err
	}
	o, err := e.expected(ctx, asked, asked.Expectations[0])
	return o.Explanation, err
}
