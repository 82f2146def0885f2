package access

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/cedar-policy/cedar-go"
	cedarast "github.com/cedar-policy/cedar-go/ast"
	"github.com/cedar-policy/cedar-go/x/exp/ast"
)

// Explanation is why a question is answered as it is.
type Explanation struct {
	Allowed  bool
	StepUp   bool     // refused, and a fresh proof of identity would change that
	Reason   string   // for a refusal, in fixed words
	Deciding []string // ids of the rules that decided
	Rules    []RuleExplanation
}

// RuleExplanation is what one rule has to say about a question.
type RuleExplanation struct {
	ID     string
	Line   int  // in the policy file
	Forbid bool // false: a permit
	Holds  bool // all its conditions do
	// Failed is the first of its conditions that does not hold, as it stands in the file ("when {...}"), or what cannot be
	// evaluated. Empty if the rule holds.
	Failed string
}

// Explain answers a question without acting on it or auditing it, with what each rule says. It looks persons and patients up
// as Decide does. An unknown person or resource is ErrNotFound. The caller decides first whether a person may ask
// (ExplainPolicy): the answer tells of relationships.
func (e *Engine) Explain(ctx context.Context, who Subject, a Action, r Resource) (Explanation, error) {
	now := time.Now()
	q, v, err := e.weigh(ctx, who, a, r, now)
	if err != nil {
		return Explanation{}, fmt.Errorf("%w: explain: %w", ErrUndecided, err)
	}
	if q.resource == (cedar.EntityUID{}) {
		return Explanation{}, fmt.Errorf("access: explain: %s: %w", v.reason, ErrNotFound)
	}
	return e.policies.explain(q, a, v), nil
}

func (p *policies) explain(q question, a Action, v verdict) Explanation {
	out := Explanation{Allowed: v.allowed, StepUp: v.stepUp, Reason: v.reason, Deciding: v.policies}
	request := cedar.Request{Principal: q.principal, Action: uid("Action", string(a)), Resource: q.resource, Context: cedar.NewRecord(q.asked)}
	for _, r := range p.all {
		x := RuleExplanation{ID: string(r.id), Line: r.policy.Position().Line, Forbid: r.policy.Effect() == cedar.Forbid}
		x.Failed = failed(r.policy, q.entities, request)
		x.Holds = x.Failed == ""
		out.Rules = append(out.Rules, x)
	}
	return out
}

// failed is the first part of a policy that does not hold, in the file's words; empty if all do.
func failed(policy *cedar.Policy, entities cedar.EntityMap, request cedar.Request) string {
	full := (*ast.Policy)(policy.AST())
	for _, part := range []struct {
		what string
		p    *ast.Policy
	}{
		{"action", &ast.Policy{Effect: ast.EffectPermit, Principal: ast.Scope{}.All(), Action: full.Action, Resource: ast.Scope{}.All()}},
		{"principal", &ast.Policy{Effect: ast.EffectPermit, Principal: full.Principal, Action: ast.Scope{}.All(), Resource: ast.Scope{}.All()}},
		{"resource", &ast.Policy{Effect: ast.EffectPermit, Principal: ast.Scope{}.All(), Action: ast.Scope{}.All(), Resource: full.Resource}},
	} {
		if ok, _ := holds(part.p, entities, request); !ok {
			return scopeText(part.p, part.what)
		}
	}
	for _, c := range full.Conditions {
		one := &ast.Policy{Effect: ast.EffectPermit, Principal: ast.Scope{}.All(), Action: ast.Scope{}.All(), Resource: ast.Scope{}.All(),
			Conditions: []ast.ConditionType{c}}
		ok, err := holds(one, entities, request)
		if err != nil {
			return conditionText(one) + " cannot be evaluated: " + err.Error()
		}
		if !ok {
			return conditionText(one)
		}
	}
	return ""
}

func holds(p *ast.Policy, entities cedar.EntityMap, request cedar.Request) (bool, error) {
	set := rules{{id: "x", policy: fromAST(p)}}
	decision, diagnostic := cedar.Authorize(set, entities, request)
	if len(diagnostic.Errors) > 0 {
		return false, errors.New(diagnostic.Errors[0].Message)
	}
	return decision == cedar.Allow, nil
}

// scopeText is a part of a policy's head: "principal in Role::"nurse"".
func scopeText(p *ast.Policy, what string) string {
	text := string(fromAST(p).MarshalCedar())
	head, _, _ := strings.Cut(text, ";")
	if i := strings.Index(head, what+" "); i >= 0 {
		head = head[i:]
		depth := 0
		for j, c := range head { // up to the comma or bracket that ends this part
			switch {
			case c == '[':
				depth++
			case c == ']':
				depth--
			case depth == 0 && (c == ',' || c == ')'):
				return tidy(head[:j])
			}
		}
	}
	return what
}

// conditionText is a policy's only condition: "when { ... }".
func conditionText(p *ast.Policy) string {
	text := string(fromAST(p).MarshalCedar())
	for _, word := range []string{"when", "unless"} {
		if i := strings.Index(text, word+" {"); i >= 0 {
			return tidy(strings.TrimSuffix(strings.TrimSpace(text[i:]), ";"))
		}
	}
	return tidy(text)
}

func tidy(s string) string { return strings.Join(strings.Fields(s), " ") }

func fromAST(p *ast.Policy) *cedar.Policy { return cedar.NewPolicyFromAST((*cedarast.Policy)(p)) }
