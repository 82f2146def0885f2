package manage

import (
	"errors"
	"fmt"
	"strings"

	"vitalseal/internal/way/overlay"
)

// Plan is what a network must be as far as it is ours: services, policies, and the components that
// the inventory knows.
type Plan struct {
	Services []string
	Policies []Policy
	// Domain is the trust domain whose identities are ours: one that we made there and that is not
	// among Identities is removed. Empty: identities and routers are left alone.
	Domain     string
	Identities []PlanIdentity
	Routers    []PlanRouter
	// Removed are network identities that must not be there any more: they go at once, not after a
	// while.
	Removed map[string]bool
	// Stale tells whether the plan has been overtaken. It is asked before each change to an
	// identity; Reconcile then stops with ErrStale, to be called again with a new plan. nil: never.
	Stale func() bool
}

// ErrStale says that a Plan was overtaken while it was applied.
var ErrStale = errors.New("overlay: the plan was overtaken")

// Policy lets identities with any of Roles reach (Dial) or host any of Services.
type Policy struct {
	Name     string
	Dial     bool     // false = bind, that is, host
	Roles    []string // role attributes, with or without '#'
	Services []string // names from Plan.Services
}

// PlanIdentity is what the network must know of one component.
type PlanIdentity struct {
	ID      overlay.ID
	ZitiID  string
	Roles   []string // role attributes without '#'; no more and no fewer
	Enabled bool
}

// PlanRouter is an edge router in the inventory.
type PlanRouter struct {
	ID      overlay.ID
	ZitiID  string
	Enabled bool
}

// Change is one difference between a network and a Plan, and what was done about it.
type Change struct {
	Action string // "create", "update" or "delete"
	Kind   string // "service", "policy", "routing", "identity" or "router"
	Name   string // for an identity its SPIFFE id where it has one
	ZitiID string // of an identity or router; empty otherwise
	Detail string // what was different, in words; empty for what was or was not there
}

// String reads like "update policy ingest-dial: roles".
func (c Change) String() string {
	s := c.Action + " " + c.Kind + " " + c.Name
	if c.Detail != "" {
		s += ": " + c.Detail
	}
	return s
}

func (p Plan) validate() error {
	services, policies := map[string]bool{}, map[string]bool{}
	for _, s := range p.Services {
		if s == "" || services[s] {
			return fmt.Errorf("overlay: plan: service %q is empty or stands twice", s)
		}
		services[s] = true
	}
	for _, policy := range p.Policies {
		if policy.Name == "" || policies[policy.Name] {
			return fmt.Errorf("overlay: plan: policy %q is without a name or stands twice", policy.Name)
		}
		policies[policy.Name] = true
		// An empty list would match nothing today and everything after a careless edit of this
		// code: refuse it.
		if len(policy.Roles) == 0 || len(policy.Services) == 0 {
			return fmt.Errorf("overlay: plan: policy %q names no role or no service", policy.Name)
		}
		for _, role := range policy.Roles {
			if role = strings.TrimPrefix(role, "#"); role == "" || role == "all" {
				return fmt.Errorf("overlay: plan: policy %q: role %q is not allowed", policy.Name, role)
			}
		}
		for _, s := range policy.Services {
			if !services[s] {
				return fmt.Errorf("overlay: plan: policy %q: service %q is not in the plan", policy.Name, s)
			}
		}
	}
	for _, i := range p.Identities {
		for _, role := range i.Roles {
			if role == "" || role == "all" || strings.HasPrefix(role, "#") {
				return fmt.Errorf("overlay: plan: identity %s: role %q is not allowed", i.ID, role)
			}
		}
	}
	return nil
}

// roles are all role attributes that give something, without '#'.
func (p Plan) roles() map[string]bool {
	m := map[string]bool{}
	for _, policy := range p.Policies {
		for _, role := range policy.Roles {
			m[strings.TrimPrefix(role, "#")] = true
		}
	}
	return m
}
