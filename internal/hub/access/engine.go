package access

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/cedar-policy/cedar-go"

	"vitalseal/internal/shared/audit"
)

// Engine decides. Its fields are set once, by New; what changes has its own lock.
type Engine struct {
	dir      Directory
	audit    *audit.Log
	log      *slog.Logger
	policies *policies
	persons  *entityCache[Person]
	patients *entityCache[PatientRef]

	grantLife     time.Duration
	events        func(Event)
	risks         *risks
	budgets       *budgets
	looks         *lookBook
	approvals     Approvals
	twoPersonsOff bool // by the operator
	witness       func(context.Context) error
}

// Option changes a default of New.
type Option func(*Engine)

// WithGrantLife sets how long a Grant of Decide lasts; one minute by default. Live views renew theirs (Renew).
func WithGrantLife(d time.Duration) Option { return func(e *Engine) { e.grantLife = d } }

// New makes an engine. A nil text means the embedded default.cedar; an error in the text names its
// line. Every decision goes to log.
func New(dir Directory, log *audit.Log, text []byte, logger *slog.Logger, options ...Option) (*Engine, error) {
	name := "policies"
	if text == nil {
		name, text = "default.cedar", defaultPolicies
	}
	set, err := parsePolicies(name, text)
	if err != nil {
		return nil, err
	}
	e := &Engine{
		dir: dir, audit: log, log: logger, policies: set, persons: newPersonEntities(), patients: newPatientEntities(),
		grantLife: time.Minute, events: func(Event) {}, risks: newRisks(),
		budgets: newBudgets(), looks: newLookBook(),
	}
	for _, o := range options {
		o(e)
	}
	if e.grantLife <= 0 {
		return nil, errors.New("access: new: the life of a grant must be positive")
	}
	return e, nil
}

// ClockLeeway is how far a proof of identity may lie in the future, for clocks that differ: more
// proves nothing. Package signin allows as much for the times in a token.
const ClockLeeway = 5 * time.Second

// question is one Subject asking one thing, with what the directory knows about both.
type question struct {
	person    Person // as the directory has it now, not as the subject was made
	patient   string // concerned, for the audit log
	entities  cedar.EntityMap
	principal cedar.EntityUID
	resource  cedar.EntityUID
	asked     cedar.RecordMap
}

// Decide answers whether s may do a on r. The person is looked up again, so that what changed since the subject was
// authenticated counts. Allowed or refused, the answer is durable in the audit log before Decide returns. A refusal is
// a *Denied; any other error (directory or audit log failing) refuses as well. A resource that does not exist is
// refused like one that may not be seen.
func (e *Engine) Decide(ctx context.Context, s Subject, a Action, r Resource) (Grant, error) {
	return e.decide(ctx, s, a, r, decision{auditYes: true})
}

// DecideFor is Decide with words for the audit log about what exactly it is for: at most 512 bytes, never a name,
// reading or secret.
func (e *Engine) DecideFor(ctx context.Context, s Subject, a Action, r Resource, purpose string) (Grant, error) {
	return e.decide(ctx, s, a, r, decision{purpose: purpose, auditYes: true})
}

// DecideAsked is DecideFor for a request that is not done in any case: why says what is wrong with it, or that the requester was asked
// whether it is meant. What the policies refuse is refused for that. What they permit is one entry, which says "not done" and why,
// counts nowhere against the person, and is nil.
func (e *Engine) DecideAsked(ctx context.Context, s Subject, a Action, r Resource, purpose, why string) error {
	_, err := e.decideUnless(ctx, s, a, r, purpose, clipTo("not done: "+why, audit.MaxReason/2))
	if errors.Is(err, errVeto) {
		return nil
	}
	return err
}

// errVeto is the refusal of decideUnless for its veto.
var errVeto = errors.New("access: not done")

// decideUnless is DecideFor for an act that will not be done for a reason of its own, the veto; empty: it will. What the policies
// refuse is refused for that; what they permit stands in the audit log as refused, with the veto, and is errVeto.
func (e *Engine) decideUnless(ctx context.Context, s Subject, a Action, r Resource, purpose, veto string) (Grant, error) {
	return e.decide(ctx, s, a, r, decision{purpose: purpose, veto: veto, auditYes: true})
}

// Record adds to the audit log what came of a granted action: the thing that was made or changed, and in one or two
// words how. It returns when that is durable. The entry is found under r, where that is a patient, and under each of the
// patients, by id: all whom the text concerns.
func (e *Engine) Record(ctx context.Context, g Grant, r Resource, what string, patients ...string) error {
	if len(g.actions) == 0 {
		return ErrDenied
	}
	entry := audit.Entry{
		Person: clip(g.holder), Workstation: clip(g.workstation), Action: string(g.actions[0]), Resource: clip(r.String()),
		Allowed: true, Reason: clipTo(what, audit.MaxReason),
	}
	entry.Patient, entry.Patients = concerned(r, patients)
	_, err := e.audit.Append(context.WithoutCancel(ctx), entry)
	if err != nil {
		return fmt.Errorf("access: record: %w", err)
	}
	return nil
}

// WithWitness has f show the audit log, as it is, to a witness elsewhere before a dangerous act is answered; f returns soon.
func WithWitness(f func(context.Context) error) Option { return func(e *Engine) { e.witness = f } }

// Witness shows the audit log to a witness elsewhere, before an act of the grant's holder on r is answered: what is in the log then
// cannot be cut off unnoticed. Where no witness is connected, or none answers in time, the act goes on: the log says so.
func (e *Engine) Witness(ctx context.Context, holder, workstation string, a Action, r Resource) error {
	if e.witness == nil {
		return nil
	}
	ctx = context.WithoutCancel(ctx)
	err := e.witness(ctx)
	if err == nil {
		return nil
	}
	e.log.WarnContext(ctx, "A DANGEROUS ACT IS ANSWERED WITHOUT A WITNESS: whoever holds this hub's disk and key could cut it out of the audit log unnoticed; keep a workstation connected",
		"action", string(a), "person", holder, "err", err)
	_, err = e.audit.Append(ctx, audit.Entry{Person: clip(holder), Workstation: clip(workstation), Action: clip(string(a)), Resource: clip(r.String()), Allowed: true,
		Reason: clip("answered without a witness: " + strings.TrimPrefix(err.Error(), "audit: no witness: "))})
	if err != nil {
		return fmt.Errorf("access: witness: %w", err)
	}
	return nil
}

// May reports whether the policies permit s something, without an entry in the audit log: for what a
// page shows by itself and that names no patient. Where that cannot be found out, it is false.
func (e *Engine) May(ctx context.Context, s Subject, a Action, r Resource) bool {
	_, v, err := e.weigh(ctx, s, a, r, time.Now())
	if err != nil && ctx.Err() == nil {
		e.log.Error("access: a notice is left out because the directory could not be asked", "err", err)
	}
	return err == nil && v.allowed
}

// RecordAll is Record for a text that may not fit into one entry: it goes on in the next, each with by at its end, and not one word
// is left out.
func (e *Engine) RecordAll(ctx context.Context, g Grant, r Resource, what, by string, patients ...string) error {
	most := audit.MaxReason - len(by) - len("; part 999 of 999")
	if len(what) <= most {
		return e.Record(ctx, g, r, what+by, patients...)
	}
	var parts []string
	for len(what) > most {
		cut := strings.LastIndexByte(what[:most], ' ')
		if cut <= 0 {
			cut = most
		}
		parts, what = append(parts, what[:cut]), strings.TrimPrefix(what[cut:], " ")
	}
	parts = append(parts, what)
	for i, p := range parts {
		if err := e.Record(ctx, g, r, fmt.Sprintf("%s%s; part %d of %d", p, by, i+1, len(parts)), patients...); err != nil {
			return err
		}
	}
	return nil
}

// concerned is whom an entry on r that also concerns some patients is found under: one, or several (audit.Entry).
func concerned(r Resource, patients []string) (one string, several []string) {
	if r.Kind == KindPatient {
		patients = append([]string{r.ID}, patients...)
	}
	for _, id := range patients {
		if id = clip(id); id != "" && !slices.Contains(several, id) && len(several) < audit.MaxPatients {
			several = append(several, id)
		}
	}
	switch len(several) {
	case 0:
		return "", nil
	case 1:
		return several[0], nil
	}
	slices.Sort(several)
	return "", several
}

// RecordRefused adds to the audit log that a granted action was not done after all, and in fixed
// words why not: for a mistake in the request.
func (e *Engine) RecordRefused(ctx context.Context, g Grant, r Resource, why string) error {
	return e.recordUndone(ctx, g, r, "not done: "+why)
}

// RecordFailed is RecordRefused for an act that the hub could not do: no refusal of the person.
func (e *Engine) RecordFailed(ctx context.Context, g Grant, r Resource, why string) error {
	return e.recordUndone(ctx, g, r, audit.NotDecided+"not done, the hub failed: "+why)
}

func (e *Engine) recordUndone(ctx context.Context, g Grant, r Resource, reason string) error {
	if len(g.actions) == 0 {
		return ErrDenied
	}
	one, several := concerned(r, nil)
	_, err := e.audit.Append(context.WithoutCancel(ctx), audit.Entry{
		Person: clip(g.holder), Workstation: clip(g.workstation), Action: string(g.actions[0]), Resource: clip(r.String()),
		Patient: one, Patients: several, Reason: clipTo(reason, audit.MaxReason),
	})
	if err != nil {
		return fmt.Errorf("access: record: %w", err)
	}
	return nil
}

// Renew is Decide for a live view that goes on: the same person, at the same workstation, for what g
// is about. A refusal is audited; a yes is not, unless g has been expired for longer than it lasted. A view (DecideView, ViewAll) that
// goes on is an entry again every WatchEvery.
func (e *Engine) Renew(ctx context.Context, s Subject, g Grant) (Grant, error) {
	if g.standing || g.holder == "" || g.holder != s.holder() || g.workstation != s.Workstation || g.key != (s.Key != nil) {
		return Grant{}, &Denied{Action: "", Resource: g.resource, Reason: "not this subject's grant"}
	}
	n, err := e.decide(ctx, s, g.actions[0], g.resource, decision{auditYes: time.Since(g.expires) > e.grantLife})
	if err == nil && g.view != "" {
		n.view = g.view
		e.goesOn(ctx, g.view, time.Now())
	}
	return n, err
}

// subject starts a question: person and context.
func (e *Engine) subject(ctx context.Context, s Subject, now time.Time) (question, error) {
	q := question{entities: cedar.EntityMap{}, asked: cedar.RecordMap{
		"second_factor": cedar.Boolean(s.SecondFactor), "must_change_password": cedar.False, "break_glass": cedar.False,
		"hour": cedar.Long(now.Local().Hour()), "weekday": cedar.Long(now.Local().Weekday()),
		"risk": cedar.Long(e.risks.of(s, now)),
	}}
	if IsWorkstation(s.Workstation) {
		q.asked["workstation"] = uid("Workstation", s.Workstation)
	}
	if s.isDisplay() {
		q.principal = uid("Display", s.Workstation)
		q.entities[q.principal] = cedar.Entity{UID: q.principal,
			Attributes: cedar.NewRecord(cedar.RecordMap{"wards": uids("Ward", s.Wards)})}
		return q, nil
	}
	if s.isAnonymous() {
		q.principal = uid("Anonymous", s.Workstation)
		q.entities[q.principal] = cedar.Entity{UID: q.principal}
		return q, nil
	}
	if s.Person.ID == "" {
		return q, ErrNotFound
	}
	person, err := e.dir.Person(ctx, s.Person.ID)
	if err != nil {
		return q, err
	}
	q.person = person
	entity := e.persons.entity(person)
	q.principal = entity.UID
	q.entities[entity.UID] = entity
	q.asked["must_change_password"] = cedar.Boolean(person.MustChangePassword)
	if !s.SessionStarted.IsZero() {
		q.asked["session_age_seconds"] = cedar.Long(now.Sub(s.SessionStarted) / time.Second)
	}
	proven := s.Proven
	//defence:future-proof a proof of the future, as after a clock set back, proves nothing
	if proven.After(now.Add(ClockLeeway)) {
		proven = time.Time{}
	}
	if !proven.IsZero() {
		q.asked["proven_age_seconds"] = cedar.Long(now.Sub(proven) / time.Second)
	}
	if s.Key != nil {
		return q, e.key(ctx, &q, *s.Key)
	}
	return q, nil
}

// key adds to a question that a key asks. A key that is for no channel is one for channel 0, which does not exist: rules
// that know of channels' keys only thereby let it do nothing.
func (e *Engine) key(ctx context.Context, q *question, k APIKey) error {
	entity := channelEntity(ChannelRef{})
	channel, write := entity.UID, k.Write
	switch {
	case k.Account():
		q.entities[channel], write = entity, false
		q.asked["account_key"] = cedar.True
	case k.TalkBack != 0:
		talkBack, err := e.talkBack(ctx, q, k.TalkBack)
		if err != nil {
			return err
		}
		q.entities[channel], write = entity, false
		q.asked["talkback"] = talkBack
	default:
		var err error
		if channel, err = e.channel(ctx, q, k.Channel); err != nil {
			return err
		}
	}
	q.asked["key"] = cedar.NewRecord(cedar.RecordMap{"channel": channel, "write": cedar.Boolean(write)})
	return nil
}

// holder is whom a grant is for and the audit log names: the person's id, or the display.
func (s Subject) holder() string {
	switch {
	case s.isDisplay():
		return "display"
	case s.isAnonymous():
		return "anonymous"
	}
	return s.Person.ID
}

// resource completes a question.
func (e *Engine) resource(ctx context.Context, q *question, r Resource) error {
	var err error
	switch r.Kind {
	case KindSystem:
		q.resource = uid("System", "")
	case KindWard:
		q.resource = uid("Ward", r.ID)
	case KindPatient:
		q.patient = r.ID
		q.resource, err = e.patient(ctx, q, r.ID)
	case KindChannel:
		n, perr := strconv.ParseInt(r.ID, 10, 64)
		if perr != nil {
			return ErrNotFound
		}
		q.resource, err = e.channel(ctx, q, n)
	case KindTalkBack:
		n, perr := strconv.ParseInt(r.ID, 10, 64)
		if perr != nil {
			return ErrNotFound
		}
		q.resource, err = e.talkBack(ctx, q, n)
	default:
		return ErrNotFound
	}
	return err
}

func (e *Engine) patient(ctx context.Context, q *question, id string) (cedar.EntityUID, error) {
	ref, err := e.dir.Patient(ctx, id)
	if err != nil {
		return cedar.EntityUID{}, err
	}
	entity := e.patients.entity(ref)
	q.entities[entity.UID] = entity
	return entity.UID, nil
}

func (e *Engine) channel(ctx context.Context, q *question, id int64) (cedar.EntityUID, error) {
	ref, err := e.dir.ChannelRef(ctx, id)
	if err != nil {
		return cedar.EntityUID{}, err
	}
	if ref.Patient != "" {
		q.patient = ref.Patient
		if _, err := e.patient(ctx, q, ref.Patient); err != nil {
			return cedar.EntityUID{}, err
		}
	}
	entity := channelEntity(ref)
	q.entities[entity.UID] = entity
	return entity.UID, nil
}

func (e *Engine) talkBack(ctx context.Context, q *question, id int64) (cedar.EntityUID, error) {
	owner, err := e.dir.TalkBackOwner(ctx, id)
	if err != nil {
		return cedar.EntityUID{}, err
	}
	entity := cedar.Entity{UID: uid("TalkBack", OnTalkBack(id).ID),
		Attributes: cedar.NewRecord(cedar.RecordMap{"owner": uid("Person", owner)})}
	q.entities[entity.UID] = entity
	return entity.UID, nil
}

// Filter is those of refs on which s may do a, for lists. Opening what is listed takes a Decide of
// its own. The error is an ErrUndecided: a list that is empty because the directory did not answer
// would look like an empty ward.
func (e *Engine) Filter(ctx context.Context, s Subject, a Action, refs []PatientRef) ([]PatientRef, error) {
	now := time.Now()
	q, err := e.subject(ctx, s, now)
	if errors.Is(err, ErrNotFound) {
		return nil, nil
	}
	var broken []string
	if err == nil {
		broken, err = e.broken(ctx, q, a, s, now)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: a list: %w", ErrUndecided, err)
	}
	usual := cedar.NewRecord(q.asked)
	q.asked["break_glass"] = cedar.True
	emergency := cedar.NewRecord(q.asked)
	var out []PatientRef
	for _, ref := range refs {
		entity := e.patients.entity(ref)
		q.entities[entity.UID] = entity
		asked := usual
		if slices.Contains(broken, ref.ID) {
			asked = emergency
		}
		if e.policies.ask(q.entities, q.principal, a, entity.UID, asked).allowed {
			out = append(out, ref)
		}
		delete(q.entities, entity.UID)
	}
	return out, nil
}

// Standing is a grant for an engine of the hub (such as "ingest"), on every resource and without expiry, of those
// actions that the policies permit an Engine. It is made once, at assembly, and audited; what is refused is logged and
// missing from the grant.
func (e *Engine) Standing(engine string, actions ...Action) Grant {
	g := Grant{holder: "engine:" + engine, standing: true}
	principal := uid("Engine", engine)
	for _, a := range actions {
		resource := uid("Patient", "")
		if a == ViewChannel || a == WriteChannel {
			resource = uid("Channel", "")
		}
		entities := cedar.EntityMap{principal: {UID: principal}, resource: {UID: resource}}
		v := e.policies.ask(entities, principal, a, resource, cedar.Record{})
		_, err := e.audit.Append(context.Background(), audit.Entry{
			Person: clip(g.holder), Action: clip(string(a)), Resource: "every", Allowed: v.allowed, Policies: v.policies, Reason: v.reason,
		})
		if err != nil || !v.allowed {
			e.log.Error("access: standing grant refused", "engine", engine, "action", string(a), "reason", v.reason, "err", err)
			continue
		}
		g.actions = append(g.actions, a)
	}
	if len(g.actions) == 0 {
		return Grant{}
	}
	return g
}

// IsWorkstation reports whether id is the SPIFFE id of a workstation: spiffe://DOMAIN/workstation/NAME.
func IsWorkstation(id string) bool {
	rest, ok1 := strings.CutPrefix(id, "spiffe://")
	domain, name, ok2 := strings.Cut(rest, "/workstation/")
	return ok1 && ok2 && len(domain) <= 128 && len(name) <= 63 && plain(domain) && plain(name) && edges(name)
}

// plain reports whether s has only what domains and names are made of.
func plain(s string) bool {
	for _, c := range []byte(s) {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '.' && c != '-' {
			return false
		}
	}
	return s != ""
}

// edges reports whether s begins and ends with a letter or digit.
func edges(s string) bool { return !strings.ContainsAny(s[:1]+s[len(s)-1:], ".-") }

// clip keeps what a client sent within the bounds of an audit entry.
func clip(s string) string { return clipTo(s, audit.MaxField) }

func clipTo(s string, most int) string {
	if len(s) > most {
		return s[:most-3] + "..."
	}
	return s
}
