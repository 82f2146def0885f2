package overlay

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"vitalseal/internal/overlay/mgmt"
)

// Plan is what a network's services and service policies must be. Whatever else we made there is removed; what others
// made stays.
type Plan struct {
	Services []string
	Policies []Policy
}

// Policy lets identities with any of Roles reach (Dial) or host any of Services.
type Policy struct {
	Name     string
	Dial     bool     // false = bind, that is, host
	Roles    []string // role attributes, with or without '#'
	Services []string // names from Plan.Services
}

// Change is one difference between a network and a Plan.
type Change struct {
	Action string // "create", "update" or "delete"
	Kind   string // "service" or "policy"
	Name   string
}

// String reads like "update policy ingest-dial".
func (c Change) String() string { return c.Action + " " + c.Kind + " " + c.Name }

// Apply makes the network match the plan. What matches already is left alone, so that open connections stay and the
// controller's database does not grow.
func (a *Admin) Apply(ctx context.Context, p Plan) error {
	_, err := a.Reconcile(ctx, p, true)
	return err
}

// Reconcile returns the differences between the network and the plan, and makes them go away if apply is true.
func (a *Admin) Reconcile(ctx context.Context, p Plan, apply bool) ([]Change, error) {
	if err := p.validate(); err != nil {
		return nil, err
	}
	r := &reconciler{client: a.client, apply: apply}
	if err := r.run(ctx, p); err != nil {
		return r.changes, fmt.Errorf("overlay: apply plan: %w", err)
	}
	for _, c := range r.changes {
		a.log.Info("overlay plan", "change", c.String(), "applied", apply)
	}
	return r.changes, nil
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
		// An empty list would match nothing today and everything after a careless edit of this code: refuse it.
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
	return nil
}

type reconciler struct {
	client  *mgmt.Client
	apply   bool
	changes []Change
}

type zitiService struct {
	ID        string         `json:"id"`
	Name      string         `json:"name"`
	Encrypted bool           `json:"encryptionRequired"`
	Tags      map[string]any `json:"tags"`
}

type zitiPolicy struct {
	ID            string         `json:"id"`
	Name          string         `json:"name"`
	Type          string         `json:"type"`
	Semantic      string         `json:"semantic"`
	IdentityRoles []string       `json:"identityRoles"`
	ServiceRoles  []string       `json:"serviceRoles"`
	PostureRoles  []string       `json:"postureCheckRoles"`
	Tags          map[string]any `json:"tags"`
}

func (r *reconciler) run(ctx context.Context, p Plan) error {
	services, err := mgmt.List[zitiService](ctx, r.client, mgmt.Edge+"/services", "")
	if err != nil {
		return err
	}
	ids := map[string]string{}
	for _, name := range p.Services {
		if ids[name], err = r.service(ctx, services, name); err != nil {
			return err
		}
	}
	policies, err := mgmt.List[zitiPolicy](ctx, r.client, mgmt.Edge+"/service-policies", "")
	if err != nil {
		return err
	}
	for _, policy := range p.Policies {
		if err := r.policy(ctx, policies, policy, ids); err != nil {
			return err
		}
	}
	// Removal comes last and policies before services: at no moment is more allowed than before or after.
	for _, have := range policies {
		if ours(have.Tags) && !slices.ContainsFunc(p.Policies, func(want Policy) bool { return want.Name == have.Name }) {
			if err := r.do(ctx, Change{"delete", "policy", have.Name}, http.MethodDelete, "/service-policies/"+url.PathEscape(have.ID), nil, nil); err != nil {
				return err
			}
		}
	}
	for _, have := range services {
		if ours(have.Tags) && !slices.Contains(p.Services, have.Name) {
			if err := r.do(ctx, Change{"delete", "service", have.Name}, http.MethodDelete, "/services/"+url.PathEscape(have.ID), nil, nil); err != nil {
				return err
			}
		}
	}
	return nil
}

func (r *reconciler) service(ctx context.Context, have []zitiService, name string) (string, error) {
	for _, s := range have {
		if s.Name != name {
			continue
		}
		if s.Encrypted {
			return s.ID, nil
		}
		return s.ID, r.do(ctx, Change{"update", "service", name}, http.MethodPatch, "/services/"+url.PathEscape(s.ID),
			map[string]any{"encryptionRequired": true}, nil)
	}
	var created struct {
		ID string `json:"id"`
	}
	err := r.do(ctx, Change{"create", "service", name}, http.MethodPost, "/services",
		map[string]any{"name": name, "encryptionRequired": true, "roleAttributes": []string{}, "tags": managed()}, &created)
	return created.ID, err
}

func (r *reconciler) policy(ctx context.Context, have []zitiPolicy, want Policy, services map[string]string) error {
	kind := "Bind"
	if want.Dial {
		kind = "Dial"
	}
	roles, targets := []string{}, []string{}
	for _, role := range want.Roles {
		roles = append(roles, "#"+strings.TrimPrefix(role, "#"))
	}
	for _, s := range want.Services {
		targets = append(targets, "@"+services[s])
	}
	body := map[string]any{"name": want.Name, "type": kind, "semantic": "AnyOf", "identityRoles": roles,
		"serviceRoles": targets, "postureCheckRoles": []string{}, "tags": managed()}
	for _, p := range have {
		if p.Name != want.Name {
			continue
		}
		if p.Type == kind && p.Semantic == "AnyOf" && sameSet(p.IdentityRoles, roles) && sameSet(p.ServiceRoles, targets) && len(p.PostureRoles) == 0 {
			return nil
		}
		return r.do(ctx, Change{"update", "policy", want.Name}, http.MethodPut, "/service-policies/"+url.PathEscape(p.ID), body, nil)
	}
	return r.do(ctx, Change{"create", "policy", want.Name}, http.MethodPost, "/service-policies", body, nil)
}

func (r *reconciler) do(ctx context.Context, c Change, method, path string, in, out any) error {
	r.changes = append(r.changes, c)
	if !r.apply {
		return nil
	}
	return r.client.Call(ctx, method, mgmt.Edge+path, in, out)
}

func ours(tags map[string]any) bool { return tags["managedBy"] == "vitalseal" }

func sameSet(a, b []string) bool {
	a, b = slices.Sorted(slices.Values(a)), slices.Sorted(slices.Values(b))
	return slices.Equal(slices.Compact(a), slices.Compact(b))
}
