package fleet

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"vitalseal/internal/hub/access"
	"vitalseal/internal/hub/directory"
	"vitalseal/internal/hub/store"
	"vitalseal/internal/shared/audit"
	"vitalseal/internal/way/overlay"
	"vitalseal/internal/way/overlay/manage"
)

const (
	// ReconcileEvery is how often the network is held against the inventory and the policies, if nothing is configured.
	ReconcileEvery = 5 * time.Second
	// ownFor is how long a difference on an identity that we changed ourselves is no drift: the other half is following.
	ownFor = 5 * time.Second
	// promoteAfter is when a component whose ticket was redeemed is let in although its enrolment was not finished.
	promoteAfter = time.Minute
)

// actionDrift is what the audit log calls a change on the overlay network that was made behind our back.
const actionDrift = "overlay:drift"

// projection is what the policies demand of the overlay: one source, of which the network is a copy.
type projection struct {
	services []string
	policies []manage.Policy
	// roles are the role attributes of a component as it stands now.
	roles func(directory.Device) []string
	// may tells whether the rules let a component reach a service, if it is active: the hub asks on every connection, so
	// that a rule holds where the overlay does not keep it.
	may func(d directory.Device, service string) bool
	// hosts is may for hosting a service.
	hosts func(d directory.Device, service string) bool
}

// ownChanges remembers which of the network's identities we changed lately.
type ownChanges struct {
	mu sync.Mutex // guards at
	at map[string]time.Time
}

func (o *ownChanges) note(zitiID string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.at == nil || len(o.at) > 4096 {
		o.at = map[string]time.Time{}
	}
	o.at[zitiID] = time.Now()
}

// recent tells whether we changed an identity lately, as of when the network was looked at: how long
// that look took on a slow machine is no matter.
func (o *ownChanges) recent(zitiID string, looked time.Time) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return looked.Sub(o.at[zitiID]) < ownFor
}

// plan is what the network must be now. As long as nothing changes in the inventory it is the same one: the policies do
// not change while the hub runs, and asking them about a thousand components takes a while.
func (v *Inventory) plan(ctx context.Context) (manage.Plan, error) {
	changes := v.store.DeviceChanges()
	if v.planned.Stale != nil && v.plannedAt == changes {
		return v.planned, nil
	}
	all, err := v.Devices(ctx)
	if err != nil {
		return manage.Plan{}, err
	}
	p := manage.Plan{Services: v.project.services, Policies: v.project.policies, Domain: v.domain, Removed: map[string]bool{},
		Stale: func() bool { return v.store.DeviceChanges() != changes }}
	for _, d := range all {
		id, err := overlay.ParseID(d.ID)
		if err != nil || d.ZitiID == "" {
			continue
		}
		out := barred(d, all)
		switch {
		case d.State == directory.DeviceDeleted:
			p.Removed[d.ZitiID] = true
		case d.Kind == overlay.KindRouter:
			p.Routers = append(p.Routers, manage.PlanRouter{ID: id, ZitiID: d.ZitiID, Enabled: !out})
		case out: // no role and no access: either alone would be enough
			p.Identities = append(p.Identities, manage.PlanIdentity{ID: id, ZitiID: d.ZitiID})
		default:
			p.Identities = append(p.Identities, manage.PlanIdentity{ID: id, ZitiID: d.ZitiID, Enabled: true, Roles: v.project.roles(d)})
		}
	}
	v.planned, v.plannedAt = p, changes
	return p, nil
}

// barred tells whether a component is to have no access: it, or the gateway that it hangs on, was
// disabled.
//
//defence:revocation a disabled component has no role and no access on the overlay
func barred(d directory.Device, all map[string]directory.Device) bool {
	return d.State == directory.DeviceDisabled || keptOut(d, all)
}

// putRight makes the overlay what the plan says, and gives what differed.
//
//defence:drift what differs on the overlay is put right
func (v *Inventory) putRight(ctx context.Context, plan manage.Plan) ([]manage.Change, error) {
	return v.network.Reconcile(ctx, plan, true)
}

// reconcile brings the network in line with the inventory and the policies, once. What differs although we did not change
// it is drift, which is reported after it has been put right. first is the first time since the start: policies may be new.
func (v *Inventory) reconcile(ctx context.Context, first bool) error {
	plan, err := v.plan(ctx)
	if err != nil {
		return err
	}
	looked := time.Now()
	changes, err := v.putRight(ctx, plan)
	for _, c := range changes {
		if first || c.ZitiID != "" && v.own.recent(c.ZitiID, looked) {
			v.log.Info("overlay follows", "change", c.String())
			continue
		}
		v.reportDrift(ctx, c)
	}
	if errors.Is(err, manage.ErrStale) {
		v.poke.reconcile()
		return nil
	}
	if err != nil {
		return err
	}
	if err := v.lookAtRouters(ctx); err != nil {
		return err
	}
	return errors.Join(v.finishEnrolments(ctx), v.hubsOut(ctx))
}

func (v *Inventory) reportDrift(ctx context.Context, c manage.Change) {
	v.log.Warn("the overlay was changed behind our back; put right", "change", c.String())
	e := audit.Entry{Person: "engine:reconcile", Workstation: v.self.String(), Action: actionDrift,
		Resource: clip("overlay:"+c.Kind+"/"+c.Name, audit.MaxField), Reason: clip("put right: "+c.String(), audit.MaxReason)}
	if _, err := v.trail.Append(context.WithoutCancel(ctx), e); err != nil {
		v.log.Error("drift could not be written to the audit log", "err", err)
	}
	if v.drift != nil {
		v.drift(c)
	}
}

func clip(s string, n int) string { return s[:min(len(s), n)] }

// lookAtRouters notes what the network knows of the routers in the inventory. A router has enrolled when the network says
// so: its ticket leads there, not to us.
func (v *Inventory) lookAtRouters(ctx context.Context) error {
	all, err := v.Devices(ctx)
	if err != nil {
		return err
	}
	byZiti := map[string]directory.Device{}
	for _, d := range all {
		if d.Kind == overlay.KindRouter && d.State != directory.DeviceDeleted {
			byZiti[d.ZitiID] = d
		}
	}
	if len(byZiti) == 0 {
		return nil
	}
	routers, err := v.network.Routers(ctx)
	if err != nil {
		return err
	}
	for _, r := range routers {
		d, ok := byZiti[r.ZitiID]
		if !ok || !r.Verified {
			continue
		}
		if err := v.noteRouter(ctx, d, r); err != nil {
			return err
		}
	}
	return nil
}

func (v *Inventory) noteRouter(ctx context.Context, d directory.Device, r manage.RouterState) error {
	if d.Enrolled.IsZero() || d.State == directory.DeviceInvited { // by its first ticket, or by another
		if err := v.store.MarkEnrolled(ctx, d.ID, time.Now()); err != nil {
			return err
		}
		if d.State == directory.DeviceInvited {
			if err := v.store.SetDeviceState(ctx, d.ID, directory.DeviceActive); err != nil {
				return err
			}
			v.log.Info("router enrolled", "identity", d.ID, "enrolled_by", d.EnrolledBy)
		}
	}
	if r.Certificate != nil {
		if certificate, key := overlay.Fingerprint(r.Certificate); certificate != d.Certificate.SHA256 {
			if err := v.store.NoteCertificate(ctx, d.ID, directory.Certificate{SHA256: certificate, KeySHA256: key,
				NotBefore: r.Certificate.NotBefore, NotAfter: r.Certificate.NotAfter}); err != nil {
				return err
			}
			if err := v.store.UseKey(ctx, d.ID, key); err != nil && !errors.Is(err, store.ErrConflict) {
				return err
			}
		}
	}
	if !r.Online {
		return nil
	}
	return errors.Join(v.store.NoteVersion(ctx, d.ID, r.Version), v.store.TouchDevice(ctx, d.ID))
}

// finishEnrolments lets in components whose ticket was redeemed a while ago and that were not promoted, because the hub
// ended in between.
func (v *Inventory) finishEnrolments(ctx context.Context) error {
	all, err := v.Devices(ctx)
	if err != nil {
		return err
	}
	var late []overlay.ID
	for _, d := range all {
		if d.State == directory.DeviceInvited && !d.Enrolled.IsZero() && d.Certificate.SHA256 != "" && time.Since(d.Enrolled) > promoteAfter {
			if id, err := overlay.ParseID(d.ID); err == nil && id.Kind != overlay.KindRouter {
				late = append(late, id)
			}
		}
	}
	if len(late) == 0 {
		return nil
	}
	return v.Promote(ctx, late)
}

// Run keeps the two halves of the inventory together until ctx ends: live connections each second and on change; the network, by one hub
// for all, every few seconds and on change. It never fails: a network that is away is tried again.
func (v *Inventory) Run(ctx context.Context) error {
	var beside sync.WaitGroup
	beside.Go(func() { v.guard(ctx) })
	beside.Go(func() { v.extending(ctx) })
	defer beside.Wait()
	return v.store.Lead(ctx, "reconcile", v.reconciling)
}

// reconciling holds the network against the inventory until ctx ends.
func (v *Inventory) reconciling(ctx context.Context) error {
	tick := time.NewTicker(v.every)
	defer tick.Stop()
	failing := false
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		case <-v.poke.reconcileNow:
		}
		err := v.reconcile(ctx, false)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil && !failing { // once, not every few seconds
			v.log.Warn("the overlay cannot be held against the inventory now; trying on", "err", err)
		}
		if err == nil && failing {
			v.log.Info("the overlay is held against the inventory again")
		}
		failing = err != nil
	}
}

// extending keeps the certificate of this hub's administration of the network going until ctx ends.
func (v *Inventory) extending(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(v.extendAdministration(ctx)):
		}
	}
}

// extendAdministration keeps the certificate of the network's administration from ending, and tells when to look again.
func (v *Inventory) extendAdministration(ctx context.Context) time.Duration {
	a, can := v.network.(interface {
		Extend(ctx context.Context, n overlay.Extender, now bool) error
	})
	n, ok := v.below.(overlay.Extender)
	if !can || !ok {
		return 24 * time.Hour
	}
	if err := a.Extend(ctx, n, false); err != nil {
		if ctx.Err() == nil {
			v.log.Warn("the certificate of the overlay's administration was not extended", "err", err)
		}
		return 10 * time.Minute
	}
	return 6 * time.Hour
}

// projectionOf is what the policies demand of the overlay.
//
//defence:peer-kind each kind of component has its own roles, and reaches its own services only
//defence:revocation a disabled component has no role
func projectionOf(engine *access.Engine) projection {
	p := projection{services: access.OverlayServices()}
	for _, o := range access.OverlayPolicies() {
		p.policies = append(p.policies, manage.Policy{Name: o.Name, Dial: o.Dial, Roles: o.Roles, Services: o.Services})
	}
	p.roles = func(d directory.Device) []string {
		return engine.OverlayRoles(access.Component{ID: d.ID, Kind: d.Kind, State: d.State})
	}
	p.may = func(d directory.Device, service string) bool {
		return engine.MayDial(access.Component{ID: d.ID, Kind: d.Kind, State: directory.DeviceActive}, service)
	}
	p.hosts = func(d directory.Device, service string) bool {
		return engine.MayBind(access.Component{ID: d.ID, Kind: d.Kind, State: directory.DeviceActive}, service)
	}
	return p
}

// FirstReconcile brings the network in line before anything is served.
func (v *Inventory) FirstReconcile(ctx context.Context) error {
	if err := v.reconcile(ctx, true); err != nil {
		return fmt.Errorf("hub: overlay: %w", err)
	}
	return nil
}
