package manage

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"vitalseal/internal/way/overlay/mgmt"
)

const (
	// fullEvery is how often all identities are read; in between only those that changed.
	fullEvery = time.Minute
	// orphanAge is how long an identity of ours may be missing in the plan before it is removed: an
	// invitation makes it on the network before it is in the inventory.
	orphanAge = time.Minute
)

// Reconcile returns the differences between the network and the plan, and makes them go away if
// apply is true. What matches already is left alone, so that open connections stay and the
// controller's database does not grow. Whatever may do less than before loses its circuits. Calls
// follow one another; the first reads everything, later ones what changed.
func (a *Admin) Reconcile(ctx context.Context, p Plan, apply bool) ([]Change, error) {
	if err := p.validate(); err != nil {
		return nil, err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	r := &reconciler{a: a, client: a.client.Load(), plan: p, apply: apply}
	if err := r.run(ctx); err != nil {
		if a.seen != nil {
			a.seen.full = time.Time{} // whatever failed: look at everything next time
		}
		return r.changes, fmt.Errorf("overlay: apply plan: %w", err)
	}
	return r.changes, nil
}

// reconciler is one call of Reconcile.
type reconciler struct {
	a       *Admin
	client  *mgmt.Client
	plan    Plan
	apply   bool
	changes []Change
}

type zitiService struct {
	ID         string         `json:"id"`
	Name       string         `json:"name"`
	Encrypted  bool           `json:"encryptionRequired"`
	Attributes []string       `json:"roleAttributes"`
	Tags       map[string]any `json:"tags"`
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

func (r *reconciler) run(ctx context.Context) error {
	services, err := mgmt.List[zitiService](ctx, r.client, mgmt.Edge+"/services", "")
	if err != nil {
		return err
	}
	ids := map[string]string{}
	for _, name := range r.plan.Services {
		if ids[name], err = r.service(ctx, services, name); err != nil {
			return err
		}
	}
	policies, err := mgmt.List[zitiPolicy](ctx, r.client, mgmt.Edge+"/service-policies", "")
	if err != nil {
		return err
	}
	for _, policy := range r.plan.Policies {
		if err := r.policy(ctx, policies, policy, ids); err != nil {
			return err
		}
	}
	// Removal comes last and policies before services: at no moment is more allowed than before or
	// after.
	if err := r.surplusPolicies(ctx, policies, ids); err != nil {
		return err
	}
	for _, have := range services {
		if ours(have.Tags) && !slices.Contains(r.plan.Services, have.Name) {
			if err := r.do(ctx, Change{Action: "delete", Kind: "service", Name: have.Name}, http.MethodDelete, "/services/"+url.PathEscape(have.ID), nil, nil); err != nil {
				return err
			}
		}
	}
	if err := r.routing(ctx); err != nil || r.plan.Domain == "" {
		return err
	}
	if err := r.routers(ctx); err != nil {
		return err
	}
	return r.identities(ctx)
}

func (r *reconciler) service(ctx context.Context, have []zitiService, name string) (string, error) {
	for _, s := range have {
		if s.Name != name {
			continue
		}
		// A role attribute would put the service within reach of others' policies.
		if s.Encrypted && len(s.Attributes) == 0 {
			return s.ID, nil
		}
		return s.ID, r.do(ctx, Change{Action: "update", Kind: "service", Name: name, Detail: "encryption or role attributes"},
			http.MethodPatch, "/services/"+url.PathEscape(s.ID), map[string]any{"encryptionRequired": true, "roleAttributes": []string{}}, nil)
	}
	var created struct {
		ID string `json:"id"`
	}
	err := r.do(ctx, Change{Action: "create", Kind: "service", Name: name}, http.MethodPost, "/services",
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
		var differs []string
		for what, same := range map[string]bool{"type": p.Type == kind, "semantic": p.Semantic == "AnyOf", "roles": sameSet(p.IdentityRoles, roles),
			"services": sameSet(p.ServiceRoles, targets), "posture checks": len(p.PostureRoles) == 0, "tags": ours(p.Tags)} {
			if !same {
				differs = append(differs, what)
			}
		}
		if len(differs) == 0 {
			return nil
		}
		slices.Sort(differs)
		c := Change{Action: "update", Kind: "policy", Name: want.Name, Detail: strings.Join(differs, ", ")}
		if p.Type != kind { // OpenZiti does not change a policy's type
			if err := r.removePolicy(ctx, p, c); err != nil {
				return err
			}
			return r.call(ctx, http.MethodPost, "/service-policies", body, nil)
		}
		if err := r.do(ctx, c, http.MethodPut, "/service-policies/"+url.PathEscape(p.ID), body, nil); err != nil {
			return err
		}
		return r.cutPolicy(ctx, p, func(identity string) bool {
			i, known := r.holder(identity)
			return known && slices.ContainsFunc(i.Attributes, func(role string) bool { return slices.Contains(roles, "#"+role) })
		})
	}
	return r.do(ctx, Change{Action: "create", Kind: "policy", Name: want.Name}, http.MethodPost, "/service-policies", body, nil)
}

// surplusPolicies removes the policies that we made once and want no more, and those of others that
// reach our services.
func (r *reconciler) surplusPolicies(ctx context.Context, have []zitiPolicy, services map[string]string) error {
	own := map[string]bool{}
	for _, id := range services {
		own["@"+id] = true
	}
	for _, p := range have {
		if slices.ContainsFunc(r.plan.Policies, func(want Policy) bool { return want.Name == p.Name }) {
			continue
		}
		c := Change{Action: "delete", Kind: "policy", Name: p.Name}
		reaches := slices.ContainsFunc(p.ServiceRoles, func(role string) bool { return role == "#all" || own[role] })
		if !ours(p.Tags) && !reaches {
			continue
		}
		if !ours(p.Tags) {
			c.Detail = "a foreign policy that reaches our services"
			// Those who are entitled by a policy of ours come back at once.
			if others := slices.DeleteFunc(slices.Clone(p.ServiceRoles), func(role string) bool { return own[role] }); len(others) > 0 && !slices.Contains(others, "#all") {
				c.Action = "update" // the rest of it is not ours to judge
				if err := r.do(ctx, c, http.MethodPatch, "/service-policies/"+url.PathEscape(p.ID), map[string]any{"serviceRoles": others}, nil); err != nil {
					return err
				}
				if err := r.cutPolicy(ctx, p, func(string) bool { return false }); err != nil {
					return err
				}
				continue
			}
		}
		if err := r.removePolicy(ctx, p, c); err != nil {
			return err
		}
	}
	return nil
}

func (r *reconciler) removePolicy(ctx context.Context, p zitiPolicy, c Change) error {
	if err := r.do(ctx, c, http.MethodDelete, "/service-policies/"+url.PathEscape(p.ID), nil, nil); err != nil && !errors.Is(err, mgmt.ErrNotFound) {
		return err
	}
	return r.cutPolicy(ctx, p, func(string) bool { return false })
}

// cutPolicy deletes the circuits that a policy allowed and that nothing may allow any more: of its
// services, but for those whose identity at the policy's end (the dialler, or the host) is still
// entitled. OpenZiti by itself ends most of those that lost the right to dial, now and then one
// late, and none whose host lost the right to host.
func (r *reconciler) cutPolicy(ctx context.Context, p zitiPolicy, entitled func(identity string) bool) error {
	if !r.apply {
		return nil
	}
	end := "clientId"
	if p.Type == "Bind" {
		end = "hostId"
	}
	return r.a.cutCircuits(ctx, "services of policy "+p.Name, func(c circuit) bool {
		if !slices.Contains(p.ServiceRoles, "@"+c.Service.ID) && !slices.Contains(p.ServiceRoles, "#all") {
			return false
		}
		identity, _ := c.Tags[end].(string)
		return !entitled(identity)
	})
}

// holder is an identity as it was last read.
func (r *reconciler) holder(zitiID string) (zitiIdentity, bool) {
	if r.a.seen == nil {
		return zitiIdentity{}, false
	}
	i, ok := r.a.seen.identities[zitiID]
	return i, ok
}

// everything is the name of the two policies that let every identity and every service use every
// router of the network: who reaches which service is the service policies' matter, and a router is
// kept out by disabling it.
const everything = "vitalseal-all"

// routing looks after the edge-router policy and the service-edge-router policy.
func (r *reconciler) routing(ctx context.Context) error {
	for path, side := range map[string]string{"/edge-router-policies": "identityRoles", "/service-edge-router-policies": "serviceRoles"} {
		have, err := mgmt.List[struct {
			ID       string   `json:"id"`
			Semantic string   `json:"semantic"`
			Routers  []string `json:"edgeRouterRoles"`
			Identity []string `json:"identityRoles"`
			Service  []string `json:"serviceRoles"`
		}](ctx, r.client, mgmt.Edge+path, "name="+mgmt.Quote(everything))
		if err != nil {
			return err
		}
		all := []string{"#all"}
		body := map[string]any{"name": everything, "semantic": "AnyOf", side: all, "edgeRouterRoles": all, "tags": managed()}
		name := everything + " of " + strings.TrimPrefix(path, "/")
		switch {
		case len(have) == 0:
			err = r.do(ctx, Change{Action: "create", Kind: "routing", Name: name}, http.MethodPost, path, body, nil)
		case have[0].Semantic != "AnyOf" || !slices.Equal(have[0].Routers, all) || !slices.Equal(slices.Concat(have[0].Identity, have[0].Service), all):
			err = r.do(ctx, Change{Action: "update", Kind: "routing", Name: name, Detail: "roles"}, http.MethodPut, path+"/"+url.PathEscape(have[0].ID), body, nil)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (r *reconciler) do(ctx context.Context, c Change, method, path string, in, out any) error {
	r.changes = append(r.changes, c)
	return r.call(ctx, method, path, in, out)
}

func (r *reconciler) call(ctx context.Context, method, path string, in, out any) error {
	if !r.apply {
		return nil
	}
	return r.client.Call(ctx, method, mgmt.Edge+path, in, out)
}

type zitiIdentity struct {
	ID         string         `json:"id"`
	Name       string         `json:"name"`
	Admin      bool           `json:"isAdmin"`
	Disabled   bool           `json:"disabled"`
	Attributes []string       `json:"roleAttributes"`
	Tags       map[string]any `json:"tags"`
	Updated    time.Time      `json:"updatedAt"`
}

// seen is what the last calls of Reconcile read of the network's identities.
type seen struct {
	identities map[string]zitiIdentity
	newest     time.Time // the latest change among them, by the controller's clock
	full       time.Time // when all were read, by ours
	orphans    map[string]time.Time
	gone       map[string]bool // reported as missing
}

// look brings a.seen up to date with as little reading as possible: what changed since, and
// everything once a minute or when the number does not fit.
func (r *reconciler) look(ctx context.Context) (*seen, error) {
	s := r.a.seen
	if s == nil {
		s = &seen{orphans: map[string]time.Time{}, gone: map[string]bool{}}
	}
	full := time.Since(s.full) > fullEvery || s.identities == nil
	if !full {
		changed, err := mgmt.List[zitiIdentity](ctx, r.client, mgmt.Edge+"/identities",
			"updatedAt >= datetime("+s.newest.UTC().Format(time.RFC3339Nano)+")")
		if err != nil {
			return nil, err
		}
		s.take(changed)
		n, err := mgmt.Count(ctx, r.client, mgmt.Edge+"/identities")
		if err != nil {
			return nil, err
		}
		full = n != len(s.identities)
	}
	if full {
		all, err := mgmt.List[zitiIdentity](ctx, r.client, mgmt.Edge+"/identities", "")
		if err != nil {
			return nil, err
		}
		s.identities, s.full = map[string]zitiIdentity{}, time.Now()
		s.take(all)
	}
	r.a.seen = s
	return s, nil
}

func (s *seen) take(read []zitiIdentity) {
	for _, i := range read {
		s.identities[i.ID] = i
		if i.Updated.After(s.newest) {
			s.newest = i.Updated
		}
	}
}

func (r *reconciler) identities(ctx context.Context) error {
	s, err := r.look(ctx)
	if err != nil {
		return err
	}
	planned := map[string]bool{}
	for _, want := range r.plan.Identities {
		if want.ZitiID == "" {
			continue
		}
		planned[want.ZitiID] = true
		have, ok := s.identities[want.ZitiID]
		if !ok {
			if !s.gone[want.ZitiID] { // nothing can be done about it: its key is gone there; say so once
				s.gone[want.ZitiID] = true
				r.changes = append(r.changes, Change{Action: "delete", Kind: "identity", Name: want.ID.String(), ZitiID: want.ZitiID,
					Detail: "it is gone from the network; a new ticket is needed"})
			}
			continue
		}
		delete(s.gone, want.ZitiID)
		if err := r.identity(ctx, s, want, have); err != nil {
			return err
		}
	}
	roles := r.plan.roles()
	for _, id := range slices.Sorted(maps.Keys(s.identities)) {
		have := s.identities[id]
		if planned[id] {
			delete(s.orphans, id)
			continue
		}
		if err := r.stranger(ctx, s, have, roles); err != nil {
			return err
		}
	}
	return nil
}

// identity puts one component right.
func (r *reconciler) identity(ctx context.Context, s *seen, want PlanIdentity, have zitiIdentity) error {
	c := Change{Action: "update", Kind: "identity", Name: want.ID.String(), ZitiID: want.ZitiID}
	patch := map[string]any{}
	var differs []string
	lost := false
	if !sameSet(have.Attributes, want.Roles) {
		differs = append(differs, "role attributes")
		patch["roleAttributes"] = append([]string{}, want.Roles...)
		lost = slices.ContainsFunc(have.Attributes, func(role string) bool { return !slices.Contains(want.Roles, role) })
	}
	if have.Admin {
		differs = append(differs, "it was made an administrator")
		patch["isAdmin"] = false
	}
	if have.Disabled == want.Enabled {
		differs = append(differs, map[bool]string{true: "it was disabled", false: "it was enabled"}[have.Disabled])
	}
	if len(differs) == 0 {
		return nil
	}
	if r.plan.Stale != nil && r.plan.Stale() {
		return ErrStale
	}
	c.Detail = strings.Join(differs, ", ")
	r.changes = append(r.changes, c)
	if !r.apply {
		return nil
	}
	// Taking away comes before giving.
	if have.Disabled == want.Enabled && !want.Enabled {
		if err := r.a.Disable(ctx, want.ZitiID); err != nil {
			return err
		}
	}
	if len(patch) > 0 {
		if err := r.client.Call(ctx, http.MethodPatch, mgmt.Edge+"/identities/"+url.PathEscape(want.ZitiID), patch, nil); err != nil {
			return err
		}
	}
	if have.Disabled == want.Enabled && want.Enabled {
		if err := r.a.Enable(ctx, want.ZitiID); err != nil {
			return err
		}
	}
	if lost || have.Admin {
		if err := r.a.CutCircuits(ctx, want.ZitiID); err != nil {
			return err
		}
	}
	have.Attributes, have.Admin, have.Disabled = want.Roles, false, !want.Enabled
	s.identities[want.ZitiID] = have
	return nil
}

// stranger looks at an identity that the inventory does not know: one of ours is an orphan and
// goes, one of others keeps what it has but for roles that lead to our services.
func (r *reconciler) stranger(ctx context.Context, s *seen, have zitiIdentity, roles map[string]bool) error {
	c := Change{Kind: "identity", Name: have.Name, ZitiID: have.ID}
	if ours(have.Tags) && strings.HasPrefix(have.Name, "spiffe://"+r.plan.Domain+"/") {
		since, known := s.orphans[have.ID]
		if !known {
			s.orphans[have.ID] = time.Now()
		}
		if !r.plan.Removed[have.ID] && (!known || time.Since(since) < orphanAge) {
			return nil
		}
		c.Action, c.Detail = "delete", "not in the inventory"
		r.changes = append(r.changes, c)
		if !r.apply {
			return nil
		}
		delete(s.orphans, have.ID)
		delete(s.identities, have.ID)
		return r.a.Delete(ctx, have.ID)
	}
	kept := slices.DeleteFunc(slices.Clone(have.Attributes), func(role string) bool { return roles[role] })
	if len(kept) == len(have.Attributes) {
		return nil
	}
	c.Action, c.Detail = "update", "a foreign identity held roles of ours"
	r.changes = append(r.changes, c)
	if !r.apply {
		return nil
	}
	if err := r.client.Call(ctx, http.MethodPatch, mgmt.Edge+"/identities/"+url.PathEscape(have.ID), map[string]any{"roleAttributes": append([]string{}, kept...)}, nil); err != nil {
		return err
	}
	have.Attributes = kept
	s.identities[have.ID] = have
	return r.a.CutCircuits(ctx, have.ID)
}

func ours(tags map[string]any) bool { return tags["managedBy"] == "vitalseal" }

func sameSet(a, b []string) bool {
	a, b = slices.Sorted(slices.Values(a)), slices.Sorted(slices.Values(b))
	return slices.Equal(slices.Compact(a), slices.Compact(b))
}
