package access

import (
	_ "embed"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/cedar-policy/cedar-go"
	"github.com/cedar-policy/cedar-go/x/exp/ast"
	"github.com/cedar-policy/cedar-go/x/exp/schema"
	"github.com/cedar-policy/cedar-go/x/exp/schema/resolved"
	"github.com/cedar-policy/cedar-go/x/exp/schema/validate"
)

//go:embed default.cedar
var defaultPolicies []byte

//go:embed schema.cedarschema
var schemaText []byte

// DefaultPolicies is the text of the built-in policies.
func DefaultPolicies() string { return string(defaultPolicies) }

// maxPolicyText bounds a policy file.
const maxPolicyText = 1 << 20

var policyID = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,63}$`)

// CheckPolicies says what is wrong with a policy file, with its line: syntax, a reference that the schema does not
// know, a missing or doubled @id.
func CheckPolicies(name string, text []byte) error {
	_, err := parsePolicies(name, text)
	return err
}

// policies are the rules, and the questions that the schema knows.
type policies struct {
	*cedar.PolicySet
	asks map[cedar.EntityUID]resolved.Action // by action
}

// knows reports whether such a principal may ask such an action about such a resource at all. Rules with an open
// scope ("resource") would otherwise answer questions that nobody had in mind when writing them.
func (p *policies) knows(principal, action, resource cedar.EntityUID) bool {
	to := p.asks[action].AppliesTo
	return to != nil && slices.Contains(to.Principals, principal.Type) && slices.Contains(to.Resources, resource.Type)
}

func parsePolicies(name string, text []byte) (*policies, error) {
	if len(text) > maxPolicyText {
		return nil, fmt.Errorf("access: policies: %s has %d bytes, at most %d", name, len(text), maxPolicyText)
	}
	list, err := cedar.NewPolicyListFromBytes(name, text)
	if err != nil {
		return nil, fmt.Errorf("access: policies: %s: %w", located(name, err), err)
	}
	if len(list) == 0 {
		return nil, fmt.Errorf("access: policies: %s has no policy: nobody could do anything", name)
	}
	var s schema.Schema
	if err := s.UnmarshalCedar(schemaText); err != nil {
		return nil, fmt.Errorf("access: schema: %w", err)
	}
	known, err := s.Resolve()
	if err != nil {
		return nil, fmt.Errorf("access: schema: %w", err)
	}
	validator := validate.New(known)
	set := cedar.NewPolicySet()
	for _, p := range list {
		line := p.Position().Line
		id := cedar.PolicyID(p.Annotations()["id"])
		switch {
		case !policyID.MatchString(string(id)):
			return nil, fmt.Errorf("access: policies: %s:%d: a policy needs an @id(\"...\") of a-z, 0-9 and -", name, line)
		case set.Get(id) != nil:
			return nil, fmt.Errorf("access: policies: %s:%d: @id(%q) is used twice", name, line, id)
		}
		if err := validator.Policy(string(id), (*ast.Policy)(p.AST())); err != nil {
			first, _, _ := strings.Cut(err.Error(), "\n") // the same again for every action it covers
			return nil, fmt.Errorf("access: policies: %s:%d: %s", name, line, first)
		}
		set.Add(id, p)
	}
	return &policies{set, known.Actions}, nil
}

var position = regexp.MustCompile(`:(\d+):\d+ `)

// located is name:line, with the line found in a parser's message, which has it in the middle.
func located(name string, err error) string {
	if m := position.FindStringSubmatch(err.Error()); m != nil {
		return name + ":" + m[1]
	}
	return name
}

// verdict is what the policies say.
type verdict struct {
	allowed  bool
	policies []string // those that decided
	reason   string   // for a refusal
}

func (e *Engine) ask(entities cedar.EntityMap, principal cedar.EntityUID, a Action, resource cedar.EntityUID, context cedar.Record) verdict {
	action := uid("Action", string(a))
	if !e.policies.knows(principal, action, resource) {
		return verdict{reason: "not a question of this system"}
	}
	decision, diagnostic := cedar.Authorize(e.policies, entities, cedar.Request{
		Principal: principal, Action: action, Resource: resource, Context: context,
	})
	var v verdict
	for _, r := range diagnostic.Reasons {
		v.policies = append(v.policies, string(r.PolicyID))
	}
	slices.Sort(v.policies)
	switch {
	case len(diagnostic.Errors) > 0:
		// Cedar passes over a policy that it cannot evaluate. That may be the forbid that mattered.
		v.policies = []string{string(diagnostic.Errors[0].PolicyID)}
		v.reason = "a policy could not be evaluated"
	case decision == cedar.Allow:
		v.allowed = true
	case len(v.policies) > 0:
		v.reason = "a policy forbids it"
	default:
		v.reason = "no policy permits it"
	}
	if len(v.policies) > maxAudited {
		v.policies = v.policies[:maxAudited]
	}
	return v
}

// maxAudited is how many policy ids go into one audit entry; an entry takes no more.
const maxAudited = 32

// The entities below are what schema.cedarschema declares.

func uid(kind, id string) cedar.EntityUID {
	return cedar.NewEntityUID(cedar.EntityType(kind), cedar.String(id))
}

func uids(kind string, ids []string) cedar.Set {
	values := make([]cedar.Value, len(ids))
	for i, id := range ids {
		values[i] = uid(kind, id)
	}
	return cedar.NewSet(values...)
}

func personEntity(p Person) cedar.Entity {
	attributes := cedar.RecordMap{
		"wards":    uids("Ward", p.Wards),
		"treats":   uids("Patient", p.Patients),
		"disabled": cedar.Boolean(p.Disabled),
	}
	if p.Self != "" {
		attributes["self"] = uid("Patient", p.Self)
	}
	return cedar.Entity{
		UID:        uid("Person", p.ID),
		Parents:    cedar.NewEntityUIDSet(uid("Role", string(p.Role))),
		Attributes: cedar.NewRecord(attributes),
	}
}

func patientEntity(p PatientRef) cedar.Entity {
	attributes := cedar.RecordMap{}
	if p.Ward != "" {
		attributes["ward"] = uid("Ward", p.Ward)
	}
	return cedar.Entity{UID: uid("Patient", p.ID), Attributes: cedar.NewRecord(attributes)}
}

func channelEntity(c ChannelRef) cedar.Entity {
	attributes := cedar.RecordMap{}
	if c.Patient != "" {
		attributes["patient"] = uid("Patient", c.Patient)
	}
	return cedar.Entity{UID: uid("Channel", OnChannel(c.ID).ID), Attributes: cedar.NewRecord(attributes)}
}
