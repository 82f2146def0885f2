package access

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/cedar-policy/cedar-go"

	"vitalseal/internal/shared/audit"
)

// An emergency ("breaking the glass") opens one patient to one clinician, in one session, for a short time.
const (
	EmergencyLife        = 15 * time.Minute // how long it lasts, from its opening or its last renewal
	EmergencyLongest     = 4 * time.Hour    // from the opening to the last end that renewals can give it; then it is opened anew, to be judged anew
	MinEmergencyReason   = 10               // characters of the typed reason
	MaxEmergencyReason   = 500
	emergenciesPerPerson = 3  // different patients an hour
	manyEmergencies      = 20 // an hour, of all persons together: more are loud, not refused, because an emergency of many is one too
	emergencyRateWindow  = time.Hour
)

// Verdicts of a reviewer.
const (
	Justified   = "justified"
	Unjustified = "unjustified"
)

// ErrEmergencyRate means that the person has opened too many different patients in emergencies lately.
var ErrEmergencyRate = errors.New("access: too many emergency accesses in an hour")

// EmergencyAccess is one emergency access. Reason and Note may hold what people write about a patient: they are sealed in the store and
// shown to reviewers (and the reason to the patient), never logged apart from the audit log.
type EmergencyAccess struct {
	ID          string
	PersonID    string
	PatientID   string
	Workstation string // SPIFFE id
	Session     string // id of the sign-in it is bound to
	Reason      string
	Opened      time.Time // UTC
	Expires     time.Time
	ReviewedBy  string // person id; empty: not reviewed yet
	Reviewed    time.Time
	Outcome     string // Justified or Unjustified
	Note        string
}

// Emergencies is the part of a Directory about emergency access and consent.
type Emergencies interface {
	SaveEmergency(ctx context.Context, g EmergencyAccess) error
	// OpenEmergency is SaveEmergency within a limit, in one step over all hubs. If g's person has the patient open at g.Opened already, in g's
	// session at g's workstation and not judged yet, that one lasts until g.Expires now, and is what it answers: but not longer than
	// EmergencyLongest. A patient whom the person opened or renewed since then is opened in any case; one more than most different ones
	// is ErrEmergencyRate.
	OpenEmergency(ctx context.Context, g EmergencyAccess, since time.Time, most int) (EmergencyAccess, error)
	// CountEmergencies says how things stand before OpenEmergency with the same g and since.
	CountEmergencies(ctx context.Context, g EmergencyAccess, since time.Time) (EmergencyCount, error)
	// Emergencies are those opened since then, newest first; of one person if personID is not empty, of one patient likewise.
	Emergencies(ctx context.Context, since time.Time, personID, patientID string) ([]EmergencyAccess, error)
	// UnreviewedEmergencies are those without a judgement, oldest first, however old.
	UnreviewedEmergencies(ctx context.Context) ([]EmergencyAccess, error)
	Emergency(ctx context.Context, id string) (EmergencyAccess, error)
	// ReviewEmergency writes a verdict; a second one is ErrNotFound.
	ReviewEmergency(ctx context.Context, id, reviewer, outcome, note string, at time.Time) error
	// Exclude adds or takes away a person whom the patient does not let see the values.
	Exclude(ctx context.Context, patientID, personID string, excluded bool) error
}

// EmergencyCount is what counts before a patient is opened.
type EmergencyCount struct {
	Same   bool   // the person opened or renewed this patient lately
	Others int    // how many other patients the person opened or renewed lately
	Open   string // id of the emergency that would be renewed; empty: none
	All    int    // emergencies that were opened lately, by anyone
}

// over reports whether one more patient would be too many.
func (c EmergencyCount) over() bool {
	return !c.Same && c.Others >= emergenciesPerPerson
}

// Event is something that people must be told of at once.
type Event struct {
	Kind    string // one of the Event constants
	Patient string // id, or empty
	Person  string // id, or empty
	Where   string // SPIFFE id of the component or workstation, or empty
	Until   time.Time
	Detail  string // no name, reading or secret
}

// Kinds of Event.
const (
	EventEmergency    = "break-glass"         // a patient was opened in an emergency
	EventMany         = "many-emergencies"    // unusually many were opened in an hour, by whomever
	EventUncounted    = "emergency-uncounted" // a patient was opened in an emergency although the hub could not count how many were
	EventForgery      = "forgery"             // a chunk that cannot be what it says
	EventDrift        = "drift"               // the overlay was changed behind our back, and put right
	EventRecovery     = "recovery"            // an operator with the root key let an administrator or a workstation in while the hub was stopped
	EventApproval     = "approval-waits"      // an act of administration waits for a second person
	EventGuessing     = "guessing"            // wrong proofs of identity that look like guessing
	EventSpray        = "password-spray"      // many different logins failed at one workstation, or over all of them
	EventTheft        = "token-reuse"         // a used refresh token, or a token from another workstation, was shown
	EventCopy         = "gateway-copy"        // a gateway delivers twice: a clone, or one restored from a backup
	EventNonce        = "nonce-reused"        // another content came under a number that is taken
	EventJump         = "number-jump"         // a start or an epoch was numbered beyond what can have been counted to
	EventNoEmergency  = "break-glass-refused" // an emergency access that was refused
	EventTampered     = "audit-tampered"      // the audit log on disk is not what was signed
	EventUnproven     = "audit-unproven"      // no witness has asked the audit log for a proof for long
	EventWitnessGone  = "witness-gone"        // a workstation works at the hub but follows its audit log no more
	EventOnePerson    = "one-person"          // one administrator alone is enough for dangerous acts; it lasts until that is switched on
	EventSplitView    = "split-view"          // one hub's audit log was shown to witnesses in two forms
	EventFalseWitness = "false-witness"       // a component shows a checkpoint that no log signed
	EventMoved        = "readings-moved"      // one person alone moved readings to a patient of another ward
	EventDisplay      = "display-let-in"      // a wall display got a ticket, or was enabled: it shows live numbers without a person
)

// WithEvents hands every Event to f, which must return at once.
func WithEvents(f func(Event)) Option { return func(e *Engine) { e.events = f } }

// Tell has people told of an event that a face knows of; it returns at once.
func (e *Engine) Tell(ev Event) { e.events(ev) }

// BreakGlass opens a patient to s for EmergencyLife, with a typed reason; if s has the patient open already, the end moves to EmergencyLife
// from now. It is audited with the reason before anything opens, and announced. Where the hub cannot count how many were opened it
// opens, and says so. Errors: *Denied (ErrStepUp where a fresh proof is missing), ErrInvalid for the reason, ErrEmergencyRate.
func (e *Engine) BreakGlass(ctx context.Context, s Subject, patientID, reason string) (EmergencyAccess, error) {
	ctx, done := outliveRequest(ctx)
	defer done()
	reason = strings.Join(strings.Fields(reason), " ")
	n := utf8.RuneCountInString(reason)
	valid := n >= MinEmergencyReason && n <= MaxEmergencyReason && utf8.ValidString(reason)
	now := time.Now().UTC()
	since := now.Add(-emergencyRateWindow)
	g := EmergencyAccess{ID: "bg-" + strings.ToLower(rand.Text()[:16]), PersonID: s.Person.ID, PatientID: patientID, Workstation: s.Workstation,
		Session: s.Session, Reason: reason, Opened: now, Expires: now.Add(EmergencyLife)}
	count, uncounted := e.dir.CountEmergencies(ctx, g, since)
	// What is not opened must not stand in the log as allowed.
	purpose, veto, against := "reason: "+reason, "", error(nil)
	switch {
	//defence:glass-rate a person opens few different patients in emergencies within an hour
	case uncounted == nil && count.over():
		veto, against = emergencyRateVeto, ErrEmergencyRate
	case !valid:
		veto = "without a valid reason: not opened"
		against = fmt.Errorf("%w: reason: has %d characters, %d to %d are needed", ErrInvalid, n, MinEmergencyReason, MaxEmergencyReason)
	case s.Session == "":
		veto, against = "no session: not opened", &Denied{Action: BreakGlass, Resource: OnPatient(patientID), Reason: "no session"}
	case count.Open != "":
		purpose = "renews " + count.Open + ": " + purpose
	}
	if veto != "" {
		purpose = ""
	}
	switch _, err := e.decideUnless(ctx, s, BreakGlass, OnPatient(patientID), purpose, veto); {
	case errors.Is(err, errVeto):
		if !errors.Is(against, ErrInvalid) { // a reason that is too short is a mistake
			e.events(Event{Kind: EventNoEmergency, Person: s.Person.ID, Where: s.Workstation, Patient: patientID, Detail: veto})
		}
		return EmergencyAccess{}, against
	case errors.Is(err, ErrDenied) && !errors.Is(err, ErrStepUp):
		e.events(Event{Kind: EventNoEmergency, Person: s.Person.ID, Where: s.Workstation, Patient: patientID, Detail: "not permitted"})
		return EmergencyAccess{}, err
	case err != nil:
		return EmergencyAccess{}, err
	}
	if err := e.Witness(ctx, s.Person.ID, s.Workstation, BreakGlass, OnPatient(patientID)); err != nil {
		return EmergencyAccess{}, err
	}
	g, err := e.openEmergency(ctx, s, g, since, uncounted)
	if err != nil {
		return EmergencyAccess{}, err
	}
	e.log.WarnContext(ctx, "a patient was opened in an emergency", "emergency", g.ID, "person", g.PersonID, "patient", g.PatientID, "until", g.Expires)
	e.events(Event{Kind: EventEmergency, Patient: patientID, Person: s.Person.ID, Until: g.Expires})
	if g.Opened.Equal(now) && count.All+1 >= manyEmergencies {
		e.events(Event{Kind: EventMany, Person: s.Person.ID, Detail: fmt.Sprintf("%d in an hour", count.All+1)})
	}
	return g, nil
}

const emergencyRateVeto = "too many in an hour: not opened"

// mostGlasses is how many different patients the directory lets a person open within emergencyRateWindow,
// whatever was counted before.
//
//defence:glass-rate the directory counts again as it opens
func mostGlasses() int { return emergenciesPerPerson }

// openEmergency writes what was allowed: within the limit, or without one where it cannot be counted. uncounted is why it could not be so far.
func (e *Engine) openEmergency(ctx context.Context, s Subject, g EmergencyAccess, since time.Time, uncounted error) (EmergencyAccess, error) {
	if uncounted == nil {
		opened, err := e.dir.OpenEmergency(ctx, g, since, mostGlasses())
		switch {
		case err == nil:
			return opened, nil
		case errors.Is(err, ErrEmergencyRate): // others were opened since it was counted, perhaps at another hub
			if _, noted := e.decideUnless(ctx, s, BreakGlass, OnPatient(g.PatientID), "", emergencyRateVeto); !errors.Is(noted, errVeto) && !errors.Is(noted, ErrDenied) {
				return EmergencyAccess{}, errors.Join(err, noted)
			}
			e.events(Event{Kind: EventNoEmergency, Person: s.Person.ID, Where: s.Workstation, Patient: g.PatientID, Detail: emergencyRateVeto})
			return EmergencyAccess{}, err
		}
		uncounted = err
	}
	if err := e.dir.SaveEmergency(ctx, g); err != nil {
		return EmergencyAccess{}, fmt.Errorf("access: break glass: %w", errors.Join(uncounted, err))
	}
	e.log.ErrorContext(ctx, "EMERGENCY ACCESS IS NOT COUNTED: a patient was opened, although the hub cannot read how many this person has opened", "emergency", g.ID, "err", uncounted)
	e.events(Event{Kind: EventUncounted, Person: s.Person.ID, Where: s.Workstation, Patient: g.PatientID, Detail: "opened without a limit; the hub's log says why"})
	return g, nil
}

// emergencyPossible reports whether an open emergency can matter for the action, so that the directory is asked only then.
func (q *question) emergencyPossible(a Action) bool {
	return a == ViewPatient && (q.person.Role == RoleNurse || q.person.Role == RoleDoctor)
}

// look fills break_glass.
func (e *Engine) look(ctx context.Context, q *question, s Subject, patientID string, now time.Time) error {
	if s.Session == "" {
		return nil
	}
	open, err := e.dir.Emergencies(ctx, now.Add(-EmergencyLongest), s.Person.ID, patientID)
	if slices.ContainsFunc(open, func(g EmergencyAccess) bool { return g.covers(s, now) }) {
		q.asked["break_glass"] = cedar.True
	}
	return err
}

// covers reports whether an emergency holds for s now: in the same session, at the same workstation.
func (g EmergencyAccess) covers(s Subject, now time.Time) bool {
	return g.PersonID == s.Person.ID && g.Session == s.Session && g.Session != "" && g.Workstation == s.Workstation && now.Before(g.Expires)
}

// broken are the patients that s has open in an emergency, for lists.
func (e *Engine) broken(ctx context.Context, q question, a Action, s Subject, now time.Time) ([]string, error) {
	if !q.emergencyPossible(a) || s.Session == "" {
		return nil, nil
	}
	open, err := e.dir.Emergencies(ctx, now.Add(-EmergencyLongest), s.Person.ID, "")
	var out []string
	for _, g := range open {
		if g.covers(s, now) {
			out = append(out, g.PatientID)
		}
	}
	return out, err
}

// OpenEmergencies are the emergencies that last, for banners: no reasons in them.
func (e *Engine) OpenEmergencies(ctx context.Context) ([]EmergencyAccess, error) {
	now := time.Now()
	all, err := e.dir.Emergencies(ctx, now.Add(-EmergencyLongest), "", "")
	out := slices.DeleteFunc(all, func(g EmergencyAccess) bool { return !now.Before(g.Expires) })
	for i := range out {
		out[i].Reason = ""
	}
	return out, err
}

// Emergencies are emergencies for a reviewer: those without a judgement, or all of the last 90 days.
func (e *Engine) Emergencies(ctx context.Context, s Subject, unreviewed bool) ([]EmergencyAccess, error) {
	if _, err := e.DecideLook(ctx, s, ReviewAccess, OnSystem(), ""); err != nil {
		return nil, err
	}
	if unreviewed {
		return e.dir.UnreviewedEmergencies(ctx)
	}
	return e.dir.Emergencies(ctx, time.Now().AddDate(0, 0, -90), "", "")
}

// ReviewEmergency judges an emergency: Justified or Unjustified, and why. A person may not judge their own. ErrNotFound for one that is
// not there or has been judged.
func (e *Engine) ReviewEmergency(ctx context.Context, s Subject, id, outcome, note string) error {
	ctx, done := outliveRequest(ctx)
	defer done()
	if outcome != Justified && outcome != Unjustified {
		return fmt.Errorf("%w: outcome: %s or %s", ErrInvalid, Justified, Unjustified)
	}
	if utf8.RuneCountInString(note) > MaxEmergencyReason || !utf8.ValidString(note) {
		return fmt.Errorf("%w: note: at most %d characters", ErrInvalid, MaxEmergencyReason)
	}
	g, found := e.dir.Emergency(ctx, id)
	if found != nil && !errors.Is(found, ErrNotFound) {
		return fmt.Errorf("%w: %w", ErrUndecided, found)
	}
	veto, against := "", found
	switch {
	case found != nil:
		veto = "no such emergency: not judged"
	case g.PersonID == s.Person.ID:
		veto, against = "one's own emergency: not judged", &Denied{Action: ReviewAccess, Resource: OnSystem(), Reason: "nobody judges their own"}
	case !g.Reviewed.IsZero():
		veto, against = "judged already: not judged again", ErrNotFound
	}
	grant, err := e.decideUnless(ctx, s, ReviewAccess, OnSystem(), id[:min(len(id), 40)]+" "+outcome, veto)
	switch {
	case errors.Is(err, errVeto):
		return against
	case err != nil:
		return err
	}
	if err := e.dir.ReviewEmergency(ctx, id, s.Person.ID, outcome, note, time.Now().UTC()); err != nil {
		// The entry above says what was meant; without this one it would say what did not happen.
		return errors.Join(err, e.RecordFailed(ctx, grant, Resource{Kind: "emergency", ID: id}, "not judged"))
	}
	_, err = e.audit.Append(context.WithoutCancel(ctx), audit.Entry{Person: clip(grant.holder), Role: clip(string(s.Person.Role)),
		Workstation: clip(s.Workstation), Action: string(ReviewAccess), Resource: "emergency:" + clip(id), Patient: clip(g.PatientID),
		Allowed: true, Reason: outcome})
	if err != nil {
		return fmt.Errorf("access: review: %w", err)
	}
	return nil
}

// EmergencyAccesses are the emergencies of the last year in which a person opened this patient, for the patient.
func (e *Engine) EmergencyAccesses(ctx context.Context, s Subject, patientID string) ([]EmergencyAccess, error) {
	if _, err := e.Decide(ctx, s, ViewAccesses, OnPatient(patientID)); err != nil {
		return nil, err
	}
	all, err := e.dir.Emergencies(ctx, time.Now().AddDate(-1, 0, 0), "", patientID)
	for i := range all {
		all[i].Note = "" // between reviewer and hospital
	}
	return all, err
}

// Exclude lets a patient say that a person may not see the values, or may again. It takes effect at once, on live views
// within a second. The person must be someone who could see them: ErrInvalid for the patient itself.
func (e *Engine) Exclude(ctx context.Context, s Subject, patientID, personID string, excluded bool) error {
	p, found := e.dir.Person(ctx, personID)
	if found != nil && !errors.Is(found, ErrNotFound) {
		return fmt.Errorf("%w: %w", ErrUndecided, found)
	}
	now, err := e.dir.Patient(ctx, patientID)
	if err != nil && !errors.Is(err, ErrNotFound) {
		return fmt.Errorf("%w: %w", ErrUndecided, err)
	}
	say := map[bool]string{true: "excluded", false: "not excluded"}
	what := "person:" + personID[:min(len(personID), 100)] + ": " + say[slices.Contains(now.Excluded, personID)] + " -> " + say[excluded]
	veto, against := "", found
	switch {
	case found != nil:
		veto = "no such person"
	case p.Role == RolePatient:
		veto, against = "only someone of the staff can be excluded", fmt.Errorf("%w: person: only someone of the staff can be excluded", ErrInvalid)
	}
	switch _, err := e.decideUnless(ctx, s, ManageConsent, OnPatient(patientID), what, veto); {
	case errors.Is(err, errVeto):
		return against
	case err != nil:
		return err
	}
	if err := e.dir.Exclude(ctx, patientID, personID, excluded); err != nil {
		return fmt.Errorf("access: consent: %w", err)
	}
	return nil
}

// Exclusions are the persons whom a patient has excluded.
func (e *Engine) Exclusions(ctx context.Context, s Subject, patientID string) ([]string, error) {
	if _, err := e.Decide(ctx, s, ViewAccesses, OnPatient(patientID)); err != nil {
		return nil, err
	}
	p, err := e.dir.Patient(ctx, patientID)
	return p.Excluded, err
}

// Display is who asks when a wall screen does: the workstation alone, for the wards that the inventory gives it.
func Display(workstation string, wards []string) Subject {
	return Subject{Workstation: workstation, Wards: wards}
}
