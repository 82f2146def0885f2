package access

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"vitalseal/internal/shared/audit"
)

const (
	// ApprovalLife is how long a request for approval waits.
	ApprovalLife = 24 * time.Hour
	// MinApprovers is how many eligible approvers a deployment needs before acts can take two persons: one may be away,
	// and one may be the person whom the act concerns.
	MinApprovers = 2
	// maxWaiting bounds the requests that wait, of one requester.
	maxWaiting = 100
	maxAct     = 32 << 10
	maxRefusal = 300 // characters of the reason of a refusal

	secretTwoPersons = "two-persons"
)

// Outcomes of an Approval. The empty one means that it waits, until Expires.
const (
	ApprovalApproved  = "approved"  // decided, and being carried out; it stays so if the hub died in between
	ApprovalDone      = "done"      // carried out
	ApprovalFailed    = "failed"    // approved, but what it was about had changed
	ApprovalRefused   = "refused"   // by an approver
	ApprovalWithdrawn = "withdrawn" // by the requester
)

var (
	// ErrApprovalOver means that a request is decided already, or has expired.
	ErrApprovalOver = errors.New("access: the request is decided already, or has expired")
	// ErrApprover means that this person cannot be the approver of this request; the message says why.
	ErrApprover = errors.New("access: this approver does not count")
	// ErrFewApprovers means that too few persons could approve.
	ErrFewApprovers = errors.New("access: too few approvers")
)

// Approval is an act that one person asks for and a second person, of another duty, approves. It is carried out as it stands in
// Act, once, when it is approved.
type Approval struct {
	ID          string // "ap-" and 16 letters
	Kind        string // what the face that carries it out calls it, such as "person.create"
	Target      string // "kind:id" of what it changes, for the audit log
	Act         []byte // JSON of what is carried out; it may hold names and secrets: a store seals it
	Requester   string // person id
	Role        Role   // the requester's at the time of the request
	Workstation string // SPIFFE id
	Requested   time.Time
	Expires     time.Time
	Decider     string // person id; empty while it waits
	Decided     time.Time
	Outcome     string // one of the Approval constants; empty while it waits
	Note        string // why it was refused
}

// Waits reports whether a can still be decided at now.
func (a Approval) Waits(now time.Time) bool { return a.Outcome == "" && now.Before(a.Expires) }

// Approvals is what an Engine needs to know about acts that take two persons; package store implements it.
type Approvals interface {
	Persons(ctx context.Context) ([]Person, error)
	SaveApproval(ctx context.Context, a Approval) error
	// Approval is ErrNotFound for one that does not exist.
	Approval(ctx context.Context, id string) (Approval, error)
	// Approvals are those requested since then, newest first, at most 1,000.
	Approvals(ctx context.Context, since time.Time) ([]Approval, error)
	// DecideApproval writes an outcome where there is none. Of two decisions one is ErrNotFound.
	DecideApproval(ctx context.Context, id, decider, outcome, note string, at time.Time) error
	// FinishApproval replaces the outcome ApprovalApproved by another.
	FinishApproval(ctx context.Context, id, outcome string) error
}

// WithApprovals lets acts take two persons. allowed false means that the operator switched that off for this hub.
func WithApprovals(a Approvals, allowed bool) Option {
	return func(e *Engine) { e.approvals, e.twoPersonsOff = a, !allowed }
}

// TwoPersons is whether dangerous acts of administration take two persons, and if not, why not.
type TwoPersons struct {
	On bool
	// Off says that the operator has switched it off in the hub's configuration.
	Off bool
	// Approvers are the ids of those who could approve what an administrator asks for.
	Approvers []string
	Since     time.Time // when it was switched so; zero: not known
}

// twoPersonsSetting is what is kept of it.
type twoPersonsSetting struct {
	On    bool      `json:"on"`
	By    string    `json:"by"`
	Since time.Time `json:"since"`
}

// NeedsTwo reports whether an act of administration has to wait for an approver. Where that cannot be found out it does.
func (e *Engine) NeedsTwo(ctx context.Context) (bool, error) {
	if e.approvals == nil || e.twoPersonsOff {
		return false, nil
	}
	s, _, err := e.twoPersonsSetting(ctx)
	//defence:two-persons what gives access to patients waits for a second person
	if s.On {
		return true, err
	}
	return false, err
}

func (e *Engine) twoPersonsSetting(ctx context.Context) (s twoPersonsSetting, known bool, err error) {
	b, err := e.dir.Secret(ctx, secretTwoPersons)
	if errors.Is(err, ErrNotFound) {
		return s, false, nil
	}
	if err == nil {
		err = json.Unmarshal(b, &s)
	}
	if err != nil {
		return twoPersonsSetting{On: true}, true, fmt.Errorf("access: two persons: %w", err)
	}
	return s, true, nil
}

// TwoPersons is the state, with those who could approve.
func (e *Engine) TwoPersons(ctx context.Context) (t TwoPersons, err error) {
	if t.On, err = e.NeedsTwo(ctx); err != nil {
		return t, err
	}
	t.Off = e.twoPersonsOff
	if e.approvals != nil && !t.Off {
		setting, _, err := e.twoPersonsSetting(ctx)
		if err != nil {
			return t, err
		}
		t.Since = setting.Since
	}
	t.Approvers, err = e.approvers(ctx)
	return t, err
}

// approvers are those who could approve what an administrator asks for, if they signed in now: let in, with a password of
// their own, of another duty, and permitted by the policies.
func (e *Engine) approvers(ctx context.Context) ([]string, error) {
	if e.approvals == nil {
		return nil, nil
	}
	all, err := e.approvals.Persons(ctx)
	if err != nil {
		return nil, fmt.Errorf("access: approvers: %w", err)
	}
	out := []string{}
	now := time.Now()
	for _, p := range all {
		if p.Disabled || p.MustChangePassword || p.Role == RoleAdmin || p.Role == RolePatient {
			continue
		}
		// A workstation that is not enrolled, so that the risk of a real one plays no part.
		s := Subject{Person: p, Workstation: "spiffe://eligible.invalid/workstation/any", SessionStarted: now, Proven: now, SecondFactor: true}
		_, v, err := e.weigh(ctx, s, GiveApproval, OnSystem(), now)
		if err != nil {
			return nil, fmt.Errorf("access: approvers: %w", err)
		}
		if v.allowed {
			out = append(out, p.ID)
		}
	}
	return out, nil
}

// BeginTwoPersons decides at the first start of a hub that knows of it: on where there are approvers enough, else off until
// SwitchTwoPersons. It says in the log how it stands, at every start.
func (e *Engine) BeginTwoPersons(ctx context.Context) error {
	if e.approvals == nil {
		return nil
	}
	approvers, err := e.approvers(ctx)
	if err != nil {
		return err
	}
	_, known, err := e.twoPersonsSetting(ctx)
	if err != nil {
		return err
	}
	if !known {
		s := twoPersonsSetting{On: len(approvers) >= MinApprovers, By: "engine:hub", Since: time.Now().UTC()}
		if err := e.keepTwoPersons(ctx, s, "at the first start of this version"); err != nil {
			return err
		}
	}
	e.SayTwoPersons(ctx)
	return nil
}

// SayTwoPersons logs a warning while one administrator alone can make persons and displays and change what they may see.
func (e *Engine) SayTwoPersons(ctx context.Context) {
	t, err := e.TwoPersons(ctx)
	switch {
	case err != nil:
		e.log.ErrorContext(ctx, "access: whether acts take two persons cannot be read", "err", err)
	case t.Off:
		e.log.WarnContext(ctx, "ONE ADMINISTRATOR ALONE CAN MAKE CLINICIANS, AUDITORS, PATIENTS' LOGINS AND DISPLAYS, AND MOVE READINGS TO ANOTHER WARD: the configuration says two_persons: off; take that line away")
	case !t.On && len(t.Approvers) < MinApprovers:
		e.log.WarnContext(ctx, "ONE ADMINISTRATOR ALONE CAN MAKE CLINICIANS, AUDITORS, PATIENTS' LOGINS AND DISPLAYS, AND MOVE READINGS TO ANOTHER WARD: there are too few who could approve; once two auditors, doctors or staff have passwords of their own, run `vitalseal approval switch on`",
			"approvers", len(t.Approvers))
	case !t.On:
		e.log.WarnContext(ctx, "ONE ADMINISTRATOR ALONE CAN MAKE CLINICIANS, AUDITORS, PATIENTS' LOGINS AND DISPLAYS, AND MOVE READINGS TO ANOTHER WARD: run `vitalseal approval switch on`",
			"approvers", len(t.Approvers))
	}
}

// SwitchTwoPersons switches it on or off in the name of who holds g. On takes MinApprovers: ErrFewApprovers. Whether off has been
// approved is the caller's to see to.
func (e *Engine) SwitchTwoPersons(ctx context.Context, g Grant, on bool, why string) error {
	if on {
		approvers, err := e.approvers(ctx)
		if err != nil {
			return err
		}
		if len(approvers) < MinApprovers {
			return fmt.Errorf("%w: %d of %d", ErrFewApprovers, len(approvers), MinApprovers)
		}
	}
	return e.keepTwoPersons(ctx, twoPersonsSetting{On: on, By: g.Holder(), Since: time.Now().UTC()}, why)
}

func (e *Engine) keepTwoPersons(ctx context.Context, s twoPersonsSetting, why string) error {
	old, _, err := e.twoPersonsSetting(ctx)
	if err != nil {
		return err
	}
	say := map[bool]string{true: "on", false: "off"}
	_, err = e.audit.Append(context.WithoutCancel(ctx), audit.Entry{Person: clip(s.By), Action: string(ManagePeople), Resource: "two-persons", Allowed: true,
		Reason: clip("two persons for dangerous acts: " + say[old.On] + " -> " + say[s.On] + "; " + why)})
	if err != nil {
		return fmt.Errorf("access: two persons: %w", err)
	}
	b, err := json.Marshal(s)
	if err != nil {
		return fmt.Errorf("access: two persons: %w", err)
	}
	if _, err = e.dir.UpdateSecret(ctx, secretTwoPersons, func([]byte) ([]byte, error) { return b, nil }); err != nil {
		return fmt.Errorf("access: two persons: %w", err)
	}
	return nil
}

// EnoughWithout reports whether enough approvers stay when one person cannot approve any more. It is always true for someone
// who could not before.
func (e *Engine) EnoughWithout(ctx context.Context, personID string) (bool, error) {
	approvers, err := e.approvers(ctx)
	return len(approvers) > MinApprovers || !slices.Contains(approvers, personID), err
}

// RequestApproval has an act wait for a second person. g is the decision that the requester may do it; what says in the audit log,
// without names, what will change, and patients, by id, under whom that is found.
func (e *Engine) RequestApproval(ctx context.Context, s Subject, g Grant, kind, target string, act []byte, what string, patients ...string) (Approval, error) {
	if len(g.actions) == 0 || g.holder != s.Person.ID || g.holder == "" {
		return Approval{}, ErrDenied
	}
	if len(act) > maxAct {
		return Approval{}, fmt.Errorf("%w: the act has %d bytes, at most %d", ErrInvalid, len(act), maxAct)
	}
	now := time.Now().UTC().Truncate(time.Microsecond)
	requester, err := e.dir.Person(ctx, g.holder)
	if err != nil {
		return Approval{}, fmt.Errorf("access: approval: %w", err)
	}
	recent, err := e.approvals.Approvals(ctx, now.Add(-ApprovalLife))
	if err != nil {
		return Approval{}, fmt.Errorf("access: approval: %w", err)
	}
	waiting := 0
	for _, a := range recent {
		if a.Requester == g.holder && a.Waits(now) {
			waiting++
		}
	}
	if waiting >= maxWaiting {
		return Approval{}, fmt.Errorf("%w: %d of your requests wait already; withdraw some, or have them decided", ErrInvalid, waiting)
	}
	a := Approval{ID: "ap-" + strings.ToLower(rand.Text()[:16]), Kind: kind, Target: target, Act: act, Requester: g.holder, Role: requester.Role,
		Workstation: s.Workstation, Requested: now, Expires: now.Add(ApprovalLife)}
	if err := e.RecordAll(ctx, g, Resource{Kind: "approval", ID: a.ID}, "asks for approval: "+kind+" "+target+": "+what, "", patients...); err != nil {
		return Approval{}, err
	}
	if err := e.approvals.SaveApproval(ctx, a); err != nil {
		return Approval{}, fmt.Errorf("access: approval: %w", err)
	}
	e.events(Event{Kind: EventApproval, Person: a.Requester, Until: a.Expires, Detail: a.ID + " " + kind})
	return a, nil
}

// ListApprovals are the requests of the last 30 days, newest first.
func (e *Engine) ListApprovals(ctx context.Context, s Subject) ([]Approval, error) {
	if _, err := e.DecideLook(ctx, s, ReadApprovals, OnSystem(), ""); err != nil {
		return nil, err
	}
	if e.approvals == nil {
		return nil, nil
	}
	return e.approvals.Approvals(ctx, time.Now().AddDate(0, 0, -30))
}

// Approve takes a request as s's to carry out, once: the caller does what Act says and then calls Finish. Errors: *Denied,
// ErrApprover, ErrApprovalOver, ErrNotFound.
func (e *Engine) Approve(ctx context.Context, s Subject, id string) (Approval, Grant, error) {
	return e.decideApproval(ctx, s, id, ApprovalApproved, "")
}

// RefuseApproval ends a request, with a reason for the requester, whose lines become one. ErrInvalid: the reason is too long, or no text.
func (e *Engine) RefuseApproval(ctx context.Context, s Subject, id, reason string) error {
	reason = strings.Join(strings.Fields(reason), " ")
	if strings.ContainsFunc(reason, func(r rune) bool { return unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r) }) {
		return fmt.Errorf("%w: reason: it contains a control character", ErrInvalid)
	}
	if utf8.RuneCountInString(reason) > maxRefusal || !utf8.ValidString(reason) {
		return fmt.Errorf("%w: reason: at most %d characters", ErrInvalid, maxRefusal)
	}
	_, _, err := e.decideApproval(ctx, s, id, ApprovalRefused, reason)
	return err
}

func (e *Engine) decideApproval(ctx context.Context, s Subject, id, outcome, note string) (Approval, Grant, error) {
	ctx, done := outliveRequest(ctx)
	defer done()
	var a Approval
	err := ErrNotFound
	if e.approvals != nil {
		a, err = e.approvals.Approval(ctx, id)
	}
	if err != nil && !errors.Is(err, ErrNotFound) {
		return a, Grant{}, fmt.Errorf("%w: approval: %w", ErrUndecided, err)
	}
	now := time.Now()
	action := GiveApproval
	if err == nil && outcome == ApprovalRefused && a.Requester == s.Person.ID { // one's own request is one's own to take back
		outcome, action = ApprovalWithdrawn, ReadApprovals
	}
	against := err
	switch {
	case err != nil:
	case !a.Waits(now):
		against = ErrApprovalOver
	case outcome == ApprovalApproved:
		against = e.counts(ctx, a, s.Person.ID)
	}
	veto := ""
	if against != nil {
		veto = "not " + outcome + ": " + strings.TrimPrefix(against.Error(), "access: ")
	}
	words := strings.TrimSpace(outcome + " " + id[:min(len(id), 40)] + " " + a.Kind + " " + a.Target)
	if a.Requester != "" {
		words += ", asked for by " + a.Requester
	}
	g, err := e.decideUnless(ctx, s, action, OnSystem(), words, veto)
	if against != nil && errors.Is(err, errVeto) {
		return a, Grant{}, against
	}
	if err != nil {
		return a, Grant{}, err
	}
	switch err := e.approvals.DecideApproval(ctx, id, s.Person.ID, outcome, note, now.UTC()); {
	case errors.Is(err, ErrNotFound):
		return a, Grant{}, ErrApprovalOver
	case err != nil:
		// The entry above says what was meant; without this one it would say what did not happen.
		_, noted := e.decideUnless(ctx, s, action, OnSystem(), words, audit.NotDecided+"not "+outcome+", the hub could not write it down")
		if errors.Is(noted, errVeto) {
			noted = nil
		}
		return a, Grant{}, fmt.Errorf("access: approval: %w", errors.Join(err, noted))
	}
	a.Decider, a.Decided, a.Outcome, a.Note = s.Person.ID, now.UTC(), outcome, note
	return a, g, nil
}

// GrantApproved is the decision, now, that the requester of an act which a second person has just approved may do a on r: what the rules
// permitted at the request may be refused by now. Session and proof of identity are those of the request, which was decided with
// them. ErrApprovalOver: the act is not approved, or is over.
func (e *Engine) GrantApproved(ctx context.Context, id string, a Action, r Resource) (Grant, error) {
	if e.approvals == nil {
		return Grant{}, ErrApprovalOver
	}
	x, err := e.approvals.Approval(ctx, id)
	if err != nil {
		return Grant{}, fmt.Errorf("access: approval: %w", err)
	}
	now := time.Now()
	if x.Outcome != ApprovalApproved || now.Sub(x.Decided) > e.grantLife {
		return Grant{}, ErrApprovalOver
	}
	s := Subject{Person: Person{ID: x.Requester}, Workstation: x.Workstation, SessionStarted: x.Requested, Proven: now, SecondFactor: true}
	return e.decide(ctx, s, a, r, decision{purpose: "asked for in " + x.ID + ", approved by " + x.Decider, auditYes: true})
}

// FinishApproval notes what came of an act that was approved.
func (e *Engine) FinishApproval(ctx context.Context, id string, failed error) error {
	outcome := ApprovalDone
	if failed != nil {
		outcome = ApprovalFailed
	}
	return e.approvals.FinishApproval(context.WithoutCancel(ctx), id, outcome)
}

// counts is nil if the person can be the approver of a.
func (e *Engine) counts(ctx context.Context, a Approval, approverID string) error {
	if err := e.SecondPerson(ctx, a.Requester, a.Role, approverID, a.Requested); err != nil {
		return err
	}
	if a.Target == "person:"+approverID {
		return fmt.Errorf("%w: the act concerns this person", ErrApprover)
	}
	return nil
}

// SecondPerson is the rule of every approval: the approver is another person than the requester and
// of another duty, both are let in, and both are as they were when it was asked for: neither was
// made, given another role, let in again or given new means to sign in since. role is the requester's
// at that time; the empty one means that two of one duty will do. The error is ErrApprover and says
// what does not hold.
//
//defence:second-person the approver is another person, of another duty, and was there before the request
func (e *Engine) SecondPerson(ctx context.Context, requesterID string, role Role, approverID string, requested time.Time) error {
	if requesterID == approverID {
		return fmt.Errorf("%w: it takes another person than the one who asked", ErrApprover)
	}
	requester, err := e.dir.Person(ctx, requesterID)
	if err != nil {
		return fmt.Errorf("access: approval: %w", err)
	}
	approver, err := e.dir.Person(ctx, approverID)
	if err != nil {
		return fmt.Errorf("access: approval: %w", err)
	}
	switch {
	case requester.Disabled || approver.Disabled:
		return fmt.Errorf("%w: one of the two is disabled", ErrApprover)
	case role != "" && (approver.Role == role || approver.Role == requester.Role):
		return fmt.Errorf("%w: it takes a person of another duty than %s", ErrApprover, role)
	case !approver.Created.Before(requested):
		return fmt.Errorf("%w: the approver was made after the request", ErrApprover)
	case !approver.Changed.Before(requested):
		return fmt.Errorf("%w: the approver's account was changed after the request", ErrApprover)
	case !requester.Changed.Before(requested):
		return fmt.Errorf("%w: the requester's account was changed after the request; ask again", ErrApprover)
	}
	return nil
}
