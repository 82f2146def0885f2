// Package fleet is the life of a component: how it is invited, enrols, is disabled, deleted, let in
// again, rotated, and how what a person decided about it becomes true.
//
// An [Inventory] ties the two halves of a component together, its row in the directory and its
// identity on the overlay network. Our half changes first and is enough by itself; [Inventory.Run]
// brings the network after it, whatever fails in between, and reports what was changed there behind
// the hub's back. It keeps the one list of live connections: every listener of the hub is made by
// [Inventory.Watched], and a component that is cut off loses all of them with one call.
//
// It guarantees that a component that is not active in the inventory, or hangs on a gateway that is
// not, is refused here whatever the network says, and that a connection which races with its
// disabling is found and closed.
//
// It does not decide who may change the inventory: package view/admin asks access for that.
package fleet

import (
	"cmp"
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"vitalseal/internal/hub/access"
	"vitalseal/internal/hub/directory"
	"vitalseal/internal/hub/store"
	"vitalseal/internal/shared/audit"
	"vitalseal/internal/way/overlay"
	"vitalseal/internal/way/overlay/manage"
)

// errInactive is why a connection of an enrolled but not active component is refused.
var errInactive = errors.New("hub: identity is not active in the inventory")

// errNoRule is why a connection to a service that no rule lets the component reach is refused.
var errNoRule = errors.New("hub: no rule lets the identity reach this service")

// errOldKey is why a connection with a key that a rotation replaced is refused.
var errOldKey = errors.New("hub: the certificate's key is not the identity's any more")

// Administration is what the hub does on the overlay network: OpenZiti's management interface. [manage.Admin] is one.
type Administration interface {
	CreateIdentity(ctx context.Context, id overlay.ID, roles ...string) (zitiID, token string, err error)
	SetRoles(ctx context.Context, zitiID string, roles ...string) error
	Disable(ctx context.Context, zitiID string) error
	Enable(ctx context.Context, zitiID string) error
	Delete(ctx context.Context, zitiID string) error
	CreateAdministrator(ctx context.Context, hub overlay.ID) (zitiID, token string, err error)
	CreateRouter(ctx context.Context, id overlay.ID) (zitiID, token string, err error)
	SetRouterEnabled(ctx context.Context, zitiID string, enabled bool) error
	DeleteRouter(ctx context.Context, zitiID string) error
	Routers(ctx context.Context) ([]manage.RouterState, error)
	Reconcile(ctx context.Context, plan manage.Plan, apply bool) ([]manage.Change, error)
}

// Config is what an [Inventory] needs; all of it but Below and Drift is required.
type Config struct {
	Domain    string     // of the deployment
	Self      overlay.ID // this hub
	Store     *store.Store
	Network   Administration
	Below     overlay.Network // extends the administration's certificate, if it can
	Authority *overlay.Authority
	Recipient []byte        // the hub's recipient key, which tickets name
	TicketTTL time.Duration // how long a ticket can be redeemed
	Rules     *access.Engine
	Trail     *audit.Log
	Drift     func(manage.Change) // told of every change that the hub did not make; may be nil
	Every     time.Duration       // between two looks at the network; zero: five seconds
	Log       *slog.Logger
}

// Inventory ties the two halves of a component together, its place in our directory and its identity on the overlay,
// and makes sure that whatever happens to one happens to the other. Either half alone is enough to keep it out. Our
// half always changes first: the reconciler (reconcile.go) brings the other one after it, whatever fails in between.
type Inventory struct {
	domain    string
	self      overlay.ID
	store     *store.Store
	network   Administration
	below     overlay.Network
	authority *overlay.Authority
	recipient []byte
	ticketTTL time.Duration
	project   projection
	trail     *audit.Log
	drift     func(manage.Change)
	every     time.Duration
	log       *slog.Logger

	cut  []func(overlay.ID) // what services do besides when a component is cut off; set before anything is served
	live live
	poke pokes
	own  ownChanges

	// changing makes changes of state one after the other, both halves together: a component that is disabled while it
	// enrols stays disabled.
	changing sync.Mutex

	cached cachedDevices

	hubState map[string]string // of other hubs, when hubsOut last looked; reconcile's alone

	planned   manage.Plan // the last plan, and the store's change count then; reconcile's alone
	plannedAt uint64
}

// New makes the inventory of one hub. It does nothing by itself until [Inventory.Run].
func New(c Config) *Inventory {
	return &Inventory{domain: c.Domain, self: c.Self, store: c.Store, network: c.Network, below: c.Below, authority: c.Authority,
		recipient: c.Recipient, ticketTTL: c.TicketTTL, project: projectionOf(c.Rules), trail: c.Trail, drift: c.Drift,
		every: cmp.Or(c.Every, ReconcileEvery), poke: newPokes(), log: c.Log}
}

// OnCut has a service told when a component is cut off, before its connections are closed: it may say goodbye, and
// forgets what it keeps of the component. Call it before anything is served.
func (v *Inventory) OnCut(f func(overlay.ID)) { v.cut = append(v.cut, f) }

// cachedDevices is the inventory as of one of the store's change counts, so that asking who is active costs no query.
type cachedDevices struct {
	mu      sync.Mutex // guards the fields below; held while reading, so that one reads for all
	valid   bool
	changes uint64
	byID    map[string]directory.Device
}

// Devices is the inventory by SPIFFE id. The map is shared: do not change it. LastSeen, Bed and Version may be old.
func (v *Inventory) Devices(ctx context.Context) (map[string]directory.Device, error) {
	v.cached.mu.Lock()
	defer v.cached.mu.Unlock()
	now := v.store.DeviceChanges()
	if v.cached.valid && v.cached.changes == now {
		return v.cached.byID, nil
	}
	all, err := v.store.Devices(ctx)
	if err != nil {
		return nil, err
	}
	byID := make(map[string]directory.Device, len(all))
	for _, d := range all {
		byID[d.ID] = d
		// Whichever hub changed it: its other half is following, which is no drift.
		if old, ok := v.cached.byID[d.ID]; v.cached.valid && (!ok || old.State != d.State || old.ZitiID != d.ZitiID || old.Rotate != d.Rotate || !old.Enrolled.Equal(d.Enrolled)) {
			v.own.note(d.ZitiID)
		}
	}
	v.cached.valid, v.cached.changes, v.cached.byID = true, now, byID
	return byID, nil
}

// standing tells whether a component may be connected: it is active, and so is the gateway that it hangs on.
//
//defence:revocation a disabled component stays out
func standing(d directory.Device, all map[string]directory.Device) bool {
	return d.State == directory.DeviceActive && !keptOut(d, all)
}

// keptOut tells whether the gateway that a component hangs on is disabled or deleted.
func keptOut(d directory.Device, all map[string]directory.Device) bool {
	if d.Gateway == "" {
		return false
	}
	g, ok := all[d.Gateway]
	return !ok || g.State == directory.DeviceDisabled || g.State == directory.DeviceDeleted
}

// IssuedToSelf notes a certificate of the hub's own. Its key is new at every start, and in use at once.
func (v *Inventory) IssuedToSelf(ctx context.Context, svid *x509.Certificate) error {
	if err := v.Issued(ctx, v.self, svid); err != nil {
		return err
	}
	_, key := overlay.Fingerprint(svid)
	if err := v.store.UseKey(ctx, v.self.String(), key); err != nil && !errors.Is(err, store.ErrConflict) {
		return err
	}
	return v.store.TouchDevice(ctx, v.self.String())
}

// Issued notes a certificate in the inventory.
func (v *Inventory) Issued(ctx context.Context, id overlay.ID, svid *x509.Certificate) error {
	certificate, key := overlay.Fingerprint(svid)
	return v.store.NoteCertificate(ctx, id.String(), directory.Certificate{SHA256: certificate, KeySHA256: key,
		NotBefore: svid.NotBefore, NotAfter: svid.NotAfter})
}

// Invite creates components that may enrol once, and gives the ticket that lets them: JSON, shown once. It creates all of
// them or none.
func (v *Inventory) Invite(ctx context.Context, enrolledBy string, devices []directory.Device) (ticket json.RawMessage, err error) {
	now := time.Now()
	t := v.newTicket()
	var undo []func(context.Context) error
	defer func() {
		if err == nil {
			return
		}
		// What cannot be undone now, because the overlay is away, the reconciler removes later.
		ctx := context.WithoutCancel(ctx)
		for _, f := range undo {
			err = errors.Join(err, f(ctx))
		}
	}()
	for _, d := range devices {
		id, err := overlay.ParseID(d.ID)
		if err != nil {
			return nil, err
		}
		if old, err := v.store.Device(ctx, d.ID); err == nil && old.Forgettable() {
			if err := v.store.ForgetDevice(ctx, d.ID); err != nil {
				return nil, err
			}
		}
		d.State, d.EnrolledBy = directory.DeviceInvited, enrolledBy
		var token string
		remove := v.network.Delete
		if id.Kind == overlay.KindRouter {
			remove = v.network.DeleteRouter
		}
		if d.ZitiID, token, err = v.onNetwork(ctx, id, d); err != nil {
			return nil, fmt.Errorf("hub: invite %s: %w", id, err)
		}
		v.own.note(d.ZitiID)
		undo = append(undo, func(ctx context.Context) error { return remove(ctx, d.ZitiID) })
		if id.Kind == overlay.KindHub {
			back, err := v.inviteAdministrator(ctx, id)
			if back != nil {
				undo = append(undo, back)
			}
			if err != nil {
				return nil, fmt.Errorf("hub: invite %s: %w", id, err)
			}
		}
		if err := v.store.CreateDevice(ctx, d); err != nil {
			return nil, err
		}
		undo = append(undo, func(ctx context.Context) error { return v.store.ForgetDevice(ctx, d.ID) })
		if d.Bed != "" {
			if err := v.store.PlaceDevice(ctx, d.ID, d.Bed, now); err != nil {
				return nil, err
			}
		}
		if id.Kind == overlay.KindHub || id.Kind == overlay.KindRouter {
			t.Kind = id.Kind
		}
		t.Components = append(t.Components, overlay.TicketComponent{ID: d.ID, ZitiJWT: token})
	}
	return v.seal(ctx, t)
}

// Redeem is overlay.Enroller's. A ticket that covers a deleted component is worth nothing: no client gets a certificate for a
// name that was taken back.
func (v *Inventory) Redeem(ctx context.Context, secret string, ids []overlay.ID, svids []*x509.Certificate) error {
	v.changing.Lock()
	defer v.changing.Unlock()
	for _, id := range ids {
		d, err := v.store.Device(ctx, id.String())
		if errors.Is(err, store.ErrNotFound) || err == nil && d.State == directory.DeviceDeleted {
			return fmt.Errorf("%w: %s is not in the inventory", overlay.ErrTicketInvalid, id)
		}
		if err != nil {
			return err
		}
	}
	now := time.Now()
	_, err := v.store.RedeemTicket(ctx, sha256.Sum256([]byte(secret)), spiffeIDs(ids), now)
	switch {
	case errors.Is(err, directory.ErrTicketExpired):
		return fmt.Errorf("%w: %w", overlay.ErrTicketExpired, err)
	case errors.Is(err, directory.ErrTicketUsed):
		return fmt.Errorf("%w: %w", overlay.ErrTicketUsed, err)
	case errors.Is(err, store.ErrNotFound), errors.Is(err, directory.ErrTicketMismatch):
		return fmt.Errorf("%w: %w", overlay.ErrTicketInvalid, err)
	case err != nil:
		return err
	}
	for i, id := range ids {
		if err := errors.Join(v.store.MarkEnrolled(ctx, id.String(), now), v.Issued(ctx, id, svids[i])); err != nil {
			return err
		}
	}
	return nil
}

func spiffeIDs(ids []overlay.ID) []string {
	s := make([]string, len(ids))
	for i, id := range ids {
		s[i] = id.String()
	}
	return s
}

// Promote is overlay.Enroller's: from here on the components may do their work, except for those that an administrator
// disabled or deleted in the meantime. It may be called again.
func (v *Inventory) Promote(ctx context.Context, ids []overlay.ID) error {
	v.changing.Lock()
	defer v.changing.Unlock()
	for _, id := range ids {
		d, err := v.store.Device(ctx, id.String())
		if err != nil {
			return err
		}
		if d.State != directory.DeviceInvited && d.State != directory.DeviceActive {
			v.log.Warn("component enrolled but not let in", "identity", d.ID, "state", d.State)
			continue
		}
		d.State = directory.DeviceActive
		if err := v.store.AdmitDevice(ctx, d.ID); err != nil {
			return err
		}
		all, err := v.Devices(ctx)
		if err != nil {
			return err
		}
		if keptOut(d, all) {
			v.log.Warn("component enrolled, but its gateway is not let in", "identity", d.ID, "gateway", d.Gateway)
			continue
		}
		v.own.note(d.ZitiID)
		if err := v.network.SetRoles(ctx, d.ZitiID, v.project.roles(d)...); err != nil {
			return err
		}
		v.log.Info("component enrolled", "identity", d.ID, "enrolled_by", d.EnrolledBy)
	}
	return nil
}

// Active refuses a component that is not in the inventory, not active there, or depends on a gateway that is kept out.
func (v *Inventory) Active(ctx context.Context, id overlay.ID) error {
	all, err := v.Devices(ctx)
	if err != nil {
		return fmt.Errorf("%w: %w", access.ErrUndecided, err) // fail closed, and no refusal
	}
	if d, ok := all[id.String()]; !ok || !standing(d, all) {
		return errInactive
	}
	return nil
}

// Admit is Active for a component that stays connected here, and notes that it was seen. Ingest notes its own.
func (v *Inventory) Admit(ctx context.Context, id overlay.ID) error {
	if err := v.Active(ctx, id); err != nil {
		return err
	}
	if err := v.store.TouchDevice(ctx, id.String()); err != nil {
		v.log.Warn("last seen not noted", "identity", id.String(), "err", err) // no reason to keep it out
	}
	return nil
}

// refusedBy is why a component is kept out, in the terms of package overlay: that the inventory could
// not be read is no refusal, and the component asks again.
func refusedBy(err error) error {
	if errors.Is(err, access.ErrUndecided) {
		return err
	}
	return fmt.Errorf("%w: %w", overlay.ErrRefused, err)
}

// Renewable is Admit in the terms of overlay.ServeRenew.
func (v *Inventory) Renewable(ctx context.Context, c *overlay.Conn, software string) (newKey bool, err error) {
	id := c.Peer()
	if err := v.Admit(ctx, id); err != nil {
		return false, refusedBy(err)
	}
	if software != "" {
		if err := v.store.NoteVersion(ctx, id.String(), software); err != nil {
			v.log.Warn("version not noted", "identity", id.String(), "err", err)
		}
	}
	all, err := v.Devices(ctx)
	return all[id.String()].Rotate, err
}

// Disable keeps a component out for a person (id), here first and then on the overlay, and ends its live connections. With a gateway
// goes what hangs on it.
func (v *Inventory) Disable(ctx context.Context, spiffeID, by string) error {
	return v.change(ctx, spiffeID, directory.DeviceDisabled, by)
}

// Remove deletes a component from the overlay for good. Its place in the directory stays, as deleted: its readings
// still name it.
func (v *Inventory) Remove(ctx context.Context, spiffeID, by string) error {
	return v.change(ctx, spiffeID, directory.DeviceDeleted, by)
}

func (v *Inventory) change(ctx context.Context, spiffeID, state, by string) error {
	v.changing.Lock()
	defer v.changing.Unlock()
	id, err := overlay.ParseID(spiffeID)
	if err != nil {
		return err
	}
	d, err := v.store.Device(ctx, spiffeID)
	if err != nil {
		return err
	}
	if id == v.self {
		if err := v.mayLeave(ctx); err != nil {
			return err
		}
	}
	if err := v.keepsOne(ctx, spiffeID); err != nil {
		return err
	}
	if d.State == directory.DeviceDeleted && state != directory.DeviceDeleted { // deleting again is how the overlay catches up
		return fmt.Errorf("hub: %s: %w: it is deleted, which is for good", id, store.ErrConflict)
	}
	if err := v.store.SetDeviceStateBy(ctx, spiffeID, state, by); err != nil {
		return err
	}
	return v.cutOff(ctx, id, d, state)
}

// cutOff ends the connections of a component that was disabled or deleted, and of what hangs on it,
// here and on the overlay.
//
//defence:revocation a disabled component is cut at once
func (v *Inventory) cutOff(ctx context.Context, id overlay.ID, d directory.Device, state string) error {
	if id == v.self { // this process ends now (alive); the hub that reconciles then does the other half
		return nil
	}
	out := append([]directory.Device{d}, v.hanging(ctx, d.ID)...)
	v.sweep(ctx) // our half holds even if the overlay cannot be reached now
	var failed error
	for _, x := range out {
		v.own.note(x.ZitiID)
		failed = errors.Join(failed, v.keepOut(ctx, x, state == directory.DeviceDeleted && x.ID == d.ID))
		v.own.note(x.ZitiID) // the network may have taken its time
	}
	v.sweep(ctx)
	v.poke.reconcile()
	if failed != nil {
		return fmt.Errorf("hub: %s is %s and cut off here, but the overlay did not follow: %w: %w", id, state, access.ErrInForce, failed)
	}
	return nil
}

// keepOut is a component's other half being disabled or deleted.
func (v *Inventory) keepOut(ctx context.Context, d directory.Device, forGood bool) error {
	switch {
	case d.Kind == overlay.KindRouter && forGood:
		return v.network.DeleteRouter(ctx, d.ZitiID)
	case d.Kind == overlay.KindRouter:
		return v.network.SetRouterEnabled(ctx, d.ZitiID, false)
	}
	out := v.network.Disable
	if forGood {
		out = v.network.Delete
	}
	err := out(ctx, d.ZitiID)
	if d.Kind == overlay.KindHub {
		err = errors.Join(err, v.administratorOut(ctx, d, forGood))
	}
	return err
}

// mayLeave tells whether this hub may be disabled or deleted: another must be there to let it in again.
func (v *Inventory) mayLeave(ctx context.Context) error {
	all, err := v.Devices(ctx)
	if err != nil {
		return err
	}
	for _, d := range all {
		if d.Kind == overlay.KindHub && d.ID != v.self.String() && d.State == directory.DeviceActive {
			return nil
		}
	}
	return fmt.Errorf("hub: %s: %w: it is the only hub; stop it instead", v.self, store.ErrConflict)
}

// hanging are the components of a gateway that are not deleted.
func (v *Inventory) hanging(ctx context.Context, gateway string) (out []directory.Device) {
	all, err := v.Devices(ctx)
	if err != nil {
		v.log.Error("what hangs on a gateway is not known now; the reconciler follows", "identity", gateway, "err", err)
		return nil
	}
	for _, d := range all {
		if d.Gateway == gateway && d.State != directory.DeviceDeleted {
			out = append(out, d)
		}
	}
	return out
}

// Enable lets a disabled component back in: to its work if it ever enrolled, else to its enrolment.
func (v *Inventory) Enable(ctx context.Context, spiffeID string) error {
	v.changing.Lock()
	defer v.changing.Unlock()
	id, err := overlay.ParseID(spiffeID)
	if err != nil {
		return err
	}
	d, err := v.store.Device(ctx, spiffeID)
	if err != nil {
		return err
	}
	if d.State != directory.DeviceDisabled {
		return fmt.Errorf("hub: enable %s: %w: it is %s, not disabled", id, store.ErrConflict, d.State)
	}
	d.State = directory.DeviceActive
	if d.Enrolled.IsZero() || d.Certificate.SHA256 == "" { // it waits for its ticket, perhaps a second one, to be redeemed
		d.State = directory.DeviceInvited
	}
	if err := v.store.SetDeviceState(ctx, spiffeID, d.State); err != nil {
		return err
	}
	all, err := v.Devices(ctx)
	if err != nil {
		return err
	}
	defer v.poke.reconcile()
	for _, x := range append([]directory.Device{d}, v.hanging(ctx, spiffeID)...) {
		if x.State == directory.DeviceDisabled || keptOut(x, all) {
			continue
		}
		v.own.note(x.ZitiID)
		if x.Kind == overlay.KindRouter {
			err = v.network.SetRouterEnabled(ctx, x.ZitiID, true)
		} else if err = v.letIn(ctx, x); err == nil {
			err = v.network.SetRoles(ctx, x.ZitiID, v.project.roles(x)...)
		}
		if err != nil {
			return fmt.Errorf("hub: %s is enabled here, but the overlay did not follow yet: %w", id, err)
		}
	}
	return nil
}

// letIn enables a component on the network; with a hub, what it administers the network by.
func (v *Inventory) letIn(ctx context.Context, d directory.Device) error {
	err := v.network.Enable(ctx, d.ZitiID)
	if id, bad := overlay.ParseID(d.ID); err == nil && bad == nil && id.Kind == overlay.KindHub {
		var ziti string
		if ziti, err = v.administratorOf(ctx, id); ziti != "" && err == nil {
			err = v.network.Enable(ctx, ziti)
		}
	}
	return err
}

// Rotate makes a component bring a new key when it renews next; once it has used that key, the old one is worth nothing.
func (v *Inventory) Rotate(ctx context.Context, spiffeID string) error {
	id, err := overlay.ParseID(spiffeID)
	if err != nil {
		return err
	}
	if id == v.self || id.Kind == overlay.KindRouter {
		return fmt.Errorf("hub: rotate %s: %w: a hub has a new key at every start, and a router's is the network's matter", id, store.ErrConflict)
	}
	return v.store.DemandNewKey(ctx, spiffeID)
}

// AdmitHost is Admit for a component that hosts a service and was dialled, and asks for its key as takeKey does.
func (v *Inventory) AdmitHost(ctx context.Context, c *overlay.Conn) error {
	if err := v.Admit(ctx, c.Peer()); err != nil {
		return err
	}
	all, err := v.Devices(ctx)
	if err != nil {
		return err
	}
	d := all[c.Peer().String()]
	if !v.project.hosts(d, overlay.ServiceCloud) {
		return errNoRule
	}
	if _, key := overlay.Fingerprint(c.Certificate()); key != d.Certificate.KeySHA256 && key != d.NextKey {
		return errOldKey
	}
	return nil
}
