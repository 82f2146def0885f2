package access

import (
	"context"
	"math"
	"time"

	"github.com/cedar-policy/cedar-go"

	"vitalseal/internal/lab/weaken"
)

// ask allows every question that there is.
func (p *policies) ask(entities cedar.EntityMap, principal cedar.EntityUID, a Action, resource cedar.EntityUID, context cedar.Record) verdict {
	_, known := p.byKind[questionKind{uid("Action", string(a)), principal.Type, resource.Type}]
	if known && weaken.Skip(weaken.Policy) {
		return verdict{allowed: true}
	}
	return p.strictAsk(entities, principal, a, resource, context)
}

// SecondPerson takes every approver.
func (e *Engine) SecondPerson(ctx context.Context, requesterID string, role Role, approverID string, requested time.Time) error {
	if weaken.Skip(weaken.SecondPerson) {
		return nil
	}
	return e.strictSecondPerson(ctx, requesterID, role, approverID, requested)
}

// outliveRequest ends with the request.
func outliveRequest(ctx context.Context) (context.Context, context.CancelFunc) {
	if weaken.Skip(weaken.WholeAct) {
		return context.WithCancel(ctx)
	}
	return strictOutliveRequest(ctx)
}

// mostGlasses has the directory open any number.
func mostGlasses() int {
	if weaken.Skip(weaken.GlassRate) {
		return math.MaxInt32
	}
	return strictMostGlasses()
}
