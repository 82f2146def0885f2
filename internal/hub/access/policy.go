package access

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"iter"
	"maps"
	"regexp"
	"slices"
	"strings"
	"sync"

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

// rule is one policy with what is asked about it again and again.
type rule struct {
	id     cedar.PolicyID
	policy *cedar.Policy
	stepUp bool // annotated @stepup("true"): a fresh proof of identity satisfies it
}

// rules are policies in the order of the file; Cedar's own sets are maps, which are slower to walk.
type rules []rule

// All makes rules a cedar.PolicyIterator.
func (r rules) All() iter.Seq2[cedar.PolicyID, *cedar.Policy] {
	return func(yield func(cedar.PolicyID, *cedar.Policy) bool) {
		for _, p := range r {
			if !yield(p.id, p.policy) {
				return
			}
		}
	}
}

func (r rules) without(stepUp bool) rules {
	return slices.DeleteFunc(slices.Clone(r), func(p rule) bool { return p.stepUp == stepUp })
}

// question is what can be asked: an action by a kind of principal about a kind of resource.
type questionKind struct {
	action              cedar.EntityUID
	principal, resource cedar.EntityType
}

// policies are the rules, sorted by the questions that the schema knows. Only rules that can have a say in a question are
// asked about it.
type policies struct {
	all    rules
	asks   map[cedar.EntityUID]resolved.Action // by action
	byKind map[questionKind]rules
	// unproven are the rules of byKind without those that a fresh proof of identity satisfies.
	unproven map[questionKind]rules
}

// sort fills byKind. Rules with an open scope ("resource") thereby answer only questions that the schema knows: no author had
// others in mind when writing them.
func (p *policies) sort() {
	p.byKind, p.unproven = map[questionKind]rules{}, map[questionKind]rules{}
	for action, known := range p.asks {
		if known.AppliesTo == nil {
			continue
		}
		for _, principal := range known.AppliesTo.Principals {
			for _, resource := range known.AppliesTo.Resources {
				k := questionKind{action, principal, resource}
				p.byKind[k] = rules{}
				for _, r := range p.all {
					if concerns(r.policy, k) {
						p.byKind[k] = append(p.byKind[k], r)
					}
				}
				p.unproven[k] = p.byKind[k].without(true)
			}
		}
	}
}

// concerns reports whether a policy's scope leaves it a say in a question. In doubt it does.
func concerns(policy *cedar.Policy, k questionKind) bool {
	p := (*ast.Policy)(policy.AST())
	switch scope := p.Action.(type) {
	case ast.ScopeTypeEq:
		if scope.Entity != k.action {
			return false
		}
	case ast.ScopeTypeInSet:
		if !slices.Contains(scope.Entities, k.action) {
			return false
		}
	}
	switch scope := p.Principal.(type) {
	case ast.ScopeTypeIs:
		if scope.Type != k.principal {
			return false
		}
	case ast.ScopeTypeIsIn:
		if scope.Type != k.principal {
			return false
		}
	case ast.ScopeTypeEq:
		if scope.Entity.Type != k.principal {
			return false
		}
	case ast.ScopeTypeIn:
		// Only persons have roles and only components have kinds, so "principal in Role" says what the principal is.
		if scope.Entity.Type == "Role" && k.principal != "Person" || scope.Entity.Type == "Kind" && k.principal != "Component" {
			return false
		}
	}
	switch scope := p.Resource.(type) {
	case ast.ScopeTypeIs:
		return scope.Type == k.resource
	case ast.ScopeTypeIsIn:
		return scope.Type == k.resource
	case ast.ScopeTypeEq:
		return scope.Entity.Type == k.resource
	}
	return true
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
	out := &policies{asks: known.Actions}
	seen := map[cedar.PolicyID]bool{}
	for _, p := range list {
		line := p.Position().Line
		id := cedar.PolicyID(p.Annotations()["id"])
		switch {
		case !policyID.MatchString(string(id)):
			return nil, fmt.Errorf("access: policies: %s:%d: a policy needs an @id(\"...\") of a-z, 0-9 and -", name, line)
		case seen[id]:
			return nil, fmt.Errorf("access: policies: %s:%d: @id(%q) is used twice", name, line, id)
		}
		//defence:policy-strict a policy that the schema does not allow is an error of the file
		if err := validator.Policy(string(id), (*ast.Policy)(p.AST())); err != nil {
			first, _, _ := strings.Cut(err.Error(), "\n") // the same again for every action it covers
			return nil, fmt.Errorf("access: policies: %s:%d: %s", name, line, first)
		}
		//defence:policy-strict so is one about a group that there is not
		if err := knownGroups(p); err != nil {
			return nil, fmt.Errorf("access: policies: %s:%d: @id(%q): %w", name, line, id, err)
		}
		seen[id] = true
		out.all = append(out.all, rule{id: id, policy: p, stepUp: p.Annotations()["stepup"] == "true" && p.Effect() == cedar.Forbid})
	}
	out.sort()
	return out, nil
}

// componentKinds are those that a rule about components may name.
var componentKinds = []string{"egress", "gateway", "hub", "router", "sensor", "workstation"}

// knownGroups refuses a rule about a role, a kind of component or a service that is none. The schema knows their types only, and such a rule
// would be good and never hold: a permit that permits nothing, or a forbid that forbids nothing.
func knownGroups(p *cedar.Policy) error {
	b, err := p.MarshalJSON()
	if err != nil {
		return err
	}
	var tree any
	if err := json.Unmarshal(b, &tree); err != nil {
		return err
	}
	roles := make([]string, 0, len(Roles()))
	for _, r := range Roles() {
		roles = append(roles, string(r))
	}
	return knownIn(tree, map[string][]string{"Role": roles, "Kind": componentKinds, "Service": overlayServices})
}

// knownIn looks through a policy as JSON, where an entity is an object of a type and an id.
func knownIn(tree any, closed map[string][]string) error {
	switch v := tree.(type) {
	case []any:
		for _, x := range v {
			if err := knownIn(x, closed); err != nil {
				return err
			}
		}
	case map[string]any:
		kind, isEntity := v["type"].(string)
		id, hasID := v["id"].(string)
		if known, ok := closed[kind]; ok && isEntity && hasID && !slices.Contains(known, id) {
			return fmt.Errorf("no %s::%q; there are %s", kind, id, strings.Join(known, ", "))
		}
		for _, name := range slices.Sorted(maps.Keys(v)) {
			if err := knownIn(v[name], closed); err != nil {
				return err
			}
		}
	}
	return nil
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
	stepUp   bool     // a refusal for want of nothing but a fresh proof of identity
}

// ask is what the policies say to a question.
//
//defence:policy the policies decide
func (p *policies) ask(entities cedar.EntityMap, principal cedar.EntityUID, a Action, resource cedar.EntityUID, context cedar.Record) verdict {
	k := questionKind{uid("Action", string(a)), principal.Type, resource.Type}
	list, known := p.byKind[k]
	if !known {
		return verdict{reason: "not a question of this system"}
	}
	request := cedar.Request{Principal: principal, Action: k.action, Resource: resource, Context: context}
	decision, diagnostic := cedar.Authorize(list, entities, request)
	var v verdict
	for _, r := range diagnostic.Reasons {
		v.policies = append(v.policies, string(r.PolicyID))
	}
	slices.Sort(v.policies)
	switch {
	//defence:policy-strict a policy that cannot be evaluated refuses
	case len(diagnostic.Errors) > 0:
		// Cedar passes over a policy that it cannot evaluate. That may be the forbid that mattered.
		v.policies = []string{string(diagnostic.Errors[0].PolicyID)}
		v.reason = "a policy could not be evaluated"
	case decision == cedar.Allow:
		v.allowed = true
	case len(v.policies) > 0:
		v.reason = "a policy forbids it"
		if fewer := p.unproven[k]; len(fewer) < len(list) {
			again, problem := cedar.Authorize(fewer, entities, request)
			if v.stepUp = again == cedar.Allow && len(problem.Errors) == 0; v.stepUp {
				v.reason = "a fresh proof of identity is needed"
			}
		}
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

// mostEntities bounds how many entities of a kind are kept ready.
const mostEntities = 8192

// entityCache are entities of persons or patients, kept ready because making the sets in them costs more than deciding. One is
// used only while the directory says the same of whom it stands for, so none is ever out of date.
type entityCache[T any] struct {
	id   func(T) string
	same func(T, T) bool
	make func(T) cedar.Entity

	mu  sync.Mutex
	all map[string]cachedEntity[T]
}

type cachedEntity[T any] struct {
	of     T
	entity cedar.Entity
}

func newPersonEntities() *entityCache[Person] {
	return &entityCache[Person]{all: map[string]cachedEntity[Person]{}, make: personEntity,
		id: func(p Person) string { return p.ID },
		same: func(p, q Person) bool {
			return p.Role == q.Role && p.Self == q.Self && p.Disabled == q.Disabled && slices.Equal(p.Wards, q.Wards) && slices.Equal(p.Patients, q.Patients)
		}}
}

func newPatientEntities() *entityCache[PatientRef] {
	return &entityCache[PatientRef]{all: map[string]cachedEntity[PatientRef]{}, make: patientEntity,
		id:   func(p PatientRef) string { return p.ID },
		same: func(p, q PatientRef) bool { return p.Ward == q.Ward && slices.Equal(p.Excluded, q.Excluded) }}
}

// entity is that of x. What x refers to must not be changed afterwards.
func (f *entityCache[T]) entity(x T) cedar.Entity {
	id := f.id(x)
	f.mu.Lock()
	have, ok := f.all[id]
	f.mu.Unlock()
	if ok && f.same(have.of, x) {
		return have.entity
	}
	made := cachedEntity[T]{x, f.make(x)}
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.all) >= mostEntities {
		clear(f.all)
	}
	f.all[id] = made
	return made.entity
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
	attributes := cedar.RecordMap{"excludes": uids("Person", p.Excluded)}
	if p.Ward != "" {
		attributes["ward"] = uid("Ward", p.Ward)
	}
	return cedar.Entity{UID: uid("Patient", p.ID), Attributes: cedar.NewRecord(attributes)}
}

func channelEntity(c ChannelRef) cedar.Entity {
	attributes := cedar.RecordMap{"public": cedar.Boolean(c.Public)}
	if c.Patient != "" {
		attributes["patient"] = uid("Patient", c.Patient)
	}
	if c.Owner != "" {
		attributes["owner"] = uid("Person", c.Owner)
	}
	return cedar.Entity{UID: uid("Channel", OnChannel(c.ID).ID), Attributes: cedar.NewRecord(attributes)}
}
