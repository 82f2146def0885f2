package access

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/cedar-policy/cedar-go"

	"vitalseal/internal/shared/audit"
)

// ErrUndecided means that the hub could not finish a decision: its directory did not answer, or the
// request ended before. Nothing is answered with data then, and it is no refusal of the person: it
// counts nowhere as one, and the same request may be sent again. It is never an ErrDenied.
var ErrUndecided = errors.New("access: not decided")

// ErrInForce is in the error of an act that did not finish and holds all the same: what was taken
// from a person or a component is taken at this hub. It must not stand in the log as not done.
var ErrInForce = errors.New("in force at this hub")

// actWithin bounds an act that goes on although its request has ended.
const actWithin = 30 * time.Second

// outliveRequest is a context for an act that is decided, written down and done in steps: a client that
// leaves between two of them must not leave the log with a yes and no act, or a refusal unwritten.
// It ends by actWithin.
//
//defence:whole-act an act that was begun goes on when its client leaves
func outliveRequest(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), actWithin)
}

// byKey begins the reason of what an API key or an MQTT client was allowed.
const byKey = "by API key"

// decision is how decide answers, and what the audit log says of it.
type decision struct {
	purpose, veto string
	auditYes      bool // a yes is an entry, too
	join          join
}

func (e *Engine) decide(ctx context.Context, s Subject, a Action, r Resource, d decision) (Grant, error) {
	now := time.Now()
	q, v, err := e.weigh(ctx, s, a, r, now)
	called := a
	if d.join == joinLooks {
		called = lookOf(a)
	}
	entry := audit.Entry{
		Time: now, Person: clip(s.holder()), Role: clip(string(q.person.Role)), Workstation: clip(s.Workstation),
		Action: clip(string(called)), Resource: clip(r.String()), Patient: clip(q.patient),
	}
	purpose := strings.ToValidUTF8(d.purpose[:min(len(d.purpose), 512)], "") // cut, perhaps in the middle of a letter
	if err != nil {
		return Grant{}, e.undecided(ctx, s, entry, purpose, err)
	}
	vetoed := d.veto != "" && v.allowed
	if vetoed {
		v = verdict{reason: d.veto, policies: v.policies}
	}
	entry.Allowed, entry.Policies, entry.Reason = v.allowed, v.policies, v.reason
	if s.Key != nil && v.allowed {
		entry.Reason = byKey
	}
	entry.Reason = strings.TrimPrefix(entry.Reason+"; "+purpose, "; ")
	entry.Reason = strings.TrimSuffix(entry.Reason, "; ")
	paused := (&Denied{Policies: v.policies}).Paused() // counting it again would keep a person out who tries again
	if !v.allowed && !v.stepUp && !vetoed && !paused {
		e.risks.note(s, now)
	}
	key := ""
	if !v.allowed || d.auditYes {
		if key, err = e.write(ctx, s, a, entry, d.join, now); err != nil {
			return Grant{}, err
		}
	}
	if vetoed {
		return Grant{}, errVeto
	}
	if !v.allowed {
		return Grant{}, &Denied{Action: a, Resource: r, Policies: v.policies, Reason: v.reason, StepUp: v.stepUp}
	}
	return Grant{holder: s.holder(), workstation: s.Workstation, actions: []Action{a}, resource: r, key: s.Key != nil,
		expires: now.Add(e.grantLife), view: key}, nil
}

// undecided writes down that a decision was not finished, and is the ErrUndecided. A request whose
// client has left, or that the hub's stop has ended, is no entry: nothing was answered.
func (e *Engine) undecided(ctx context.Context, s Subject, entry audit.Entry, purpose string, cause error) error {
	if errors.Is(ctx.Err(), context.Canceled) {
		return fmt.Errorf("%w: %w", ErrUndecided, cause)
	}
	why := "the directory could not be asked"
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		why = "the time for it was over"
	}
	if entry.Role == "" {
		entry.Role = clip(string(s.Person.Role))
	}
	entry.Reason = strings.TrimSuffix(audit.NotDecided+why+"; "+purpose, "; ")
	if _, err := e.audit.Append(context.WithoutCancel(ctx), entry); err != nil {
		cause = errors.Join(err, cause)
	}
	return fmt.Errorf("%w: %w", ErrUndecided, cause)
}

// write appends the entry of a decision, before it is answered, unless it is allowed and joined with
// one that stands in the log. What is written is charged to the person's quota. key is that of a
// view, for Grant.
func (e *Engine) write(ctx context.Context, s Subject, a Action, entry audit.Entry, j join, now time.Time) (key string, err error) {
	if !entry.Allowed {
		j = joinNothing
	}
	if j != joinNothing {
		key = lookKey(s, entry, j)
		if e.looks.stands(key, now) {
			return j.viewKey(key), nil
		}
	}
	if entry.Allowed {
		if err := e.afford(ctx, s, a, entry, now); err != nil {
			return "", err
		}
	}
	// A request that was cancelled still leaves its trace.
	done, err := e.audit.Append(context.WithoutCancel(ctx), entry)
	if err != nil {
		return "", fmt.Errorf("access: refused, the audit log cannot be written: %w", err)
	}
	if j != joinNothing {
		e.looks.written(key, done, j, now)
	}
	e.writeJoined(ctx, now, false)
	return j.viewKey(key), nil
}

// weigh asks directory and policies. The question it returns is filled as far as it got. An error is
// no verdict: the directory did not answer.
func (e *Engine) weigh(ctx context.Context, s Subject, a Action, r Resource, now time.Time) (question, verdict, error) {
	q, err := e.subject(ctx, s, now)
	if r.Kind == KindPatient {
		q.patient = r.ID
	}
	if errors.Is(err, ErrNotFound) {
		return q, verdict{reason: "unknown person"}, nil
	}
	if err != nil {
		return q, verdict{}, err
	}
	err = e.resource(ctx, &q, r)
	if err == nil && r.Kind == KindPatient && q.emergencyPossible(a) {
		err = e.look(ctx, &q, s, r.ID, now)
	}
	switch {
	case errors.Is(err, ErrNotFound):
		return q, verdict{reason: "unknown resource"}, nil
	case err != nil:
		return q, verdict{}, err
	}
	return q, e.policies.ask(q.entities, q.principal, a, q.resource, cedar.NewRecord(q.asked)), nil
}
