package access

import (
	"slices"

	"github.com/cedar-policy/cedar-go"
)

// Component is an enrolled component of the deployment as policies see one.
type Component struct {
	ID    string // SPIFFE id
	Kind  string // "hub", "gateway", "sensor", "workstation", "router"
	State string // "invited", "active", "disabled", "deleted"
}

// OverlayPolicy is one service policy that the overlay must have, and no others.
type OverlayPolicy struct {
	Name     string
	Dial     bool     // false: bind
	Roles    []string // role attributes of identities, without '#'
	Services []string // service names
}

// overlayServices are the hub's services, and the way out that an egress hosts. What a component may do inside one is decided by the hub.
var overlayServices = []string{"vitalseal.cloud", "vitalseal.enrol", "vitalseal.faces", "vitalseal.ingest", "vitalseal.renew"}

// OverlayServices are the services that the overlay must have.
func OverlayServices() []string { return slices.Clone(overlayServices) }

// OverlayPolicies is one service policy for each service and way of using it. Who may is in the role attributes of each
// identity (OverlayRoles), so that a change of the rules changes identities and leaves all other connections alone.
func OverlayPolicies() []OverlayPolicy {
	var out []OverlayPolicy
	for _, s := range overlayServices {
		out = append(out,
			OverlayPolicy{Name: s + ".dial", Dial: true, Roles: []string{"dial." + s}, Services: []string{s}},
			OverlayPolicy{Name: s + ".bind", Roles: []string{"bind." + s}, Services: []string{s}})
	}
	return out
}

// OverlayRoles are the role attributes that a component must have on the overlay: one for each service that the rules let
// it dial or bind. None means that it can reach nothing.
func (e *Engine) OverlayRoles(c Component) []string {
	out := []string{}
	for _, s := range overlayServices {
		if e.MayDial(c, s) {
			out = append(out, "dial."+s)
		}
		if e.MayBind(c, s) {
			out = append(out, "bind."+s)
		}
	}
	return out
}

// MayDial reports whether the rules let a component reach a service. It is not audited: connections are many, and the
// inventory's changes, which decide it, are.
func (e *Engine) MayDial(c Component, service string) bool { return e.may(c, DialService, service) }

// MayBind reports whether the rules let a component host a service.
func (e *Engine) MayBind(c Component, service string) bool { return e.may(c, BindService, service) }

func (e *Engine) may(c Component, a Action, service string) bool {
	_, v := e.componentQuestion(c, a, service)
	return v.allowed
}

func (e *Engine) componentQuestion(c Component, a Action, service string) (question, verdict) {
	q := question{principal: uid("Component", c.ID), resource: uid("Service", service), asked: cedar.RecordMap{}}
	q.entities = cedar.EntityMap{
		q.principal: {UID: q.principal, Parents: cedar.NewEntityUIDSet(uid("Kind", c.Kind)),
			Attributes: cedar.NewRecord(cedar.RecordMap{"state": cedar.String(c.State)})},
		q.resource: {UID: q.resource},
	}
	return q, e.policies.ask(q.entities, q.principal, a, q.resource, cedar.Record{})
}
