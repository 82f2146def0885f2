// Package manage administers an OpenZiti network for a hub: it makes and removes identities, and
// reconciles the network's identities, policies, services and routers with what the hub's inventory
// wants ([Admin.Reconcile]); what it finds different it puts right and reports.
//
// It hides the management interface (package overlay/mgmt) and the renewal of the administration's
// own certificate. Only the hub and the embedded node import it: a gateway and a workstation cannot
// administer the network that they use.
package manage

import (
	"cmp"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"vitalseal/internal/shared/disk"
	"vitalseal/internal/way/overlay"
	"vitalseal/internal/way/overlay/mgmt"
)

// ErrExists says that the network knows an identity of that name already.
var ErrExists = errors.New("overlay: identity exists already")

// ErrStranger says that a controller does not know the identity that signs in, or is not of the
// authority that the identity trusts: it is the controller of another network.
var ErrStranger = errors.New("overlay: the controller is another network's")

// Admin administers an OpenZiti network, the embedded one or an external one, over its REST
// interface as a certificate-authenticated identity. Its methods take OpenZiti's own identity ids,
// as CreateIdentity returned them. It is safe for concurrent use.
type Admin struct {
	path   string // of the identity file
	client atomic.Pointer[mgmt.Client]
	log    *slog.Logger

	mu             sync.Mutex           // makes Reconcile and Extend calls follow one another; guards the fields below
	seen           *seen                // of the identities; nil: nothing yet
	strangeRouters map[string]time.Time // routers that the inventory does not know, since when
}

// ConnectAdmin signs in with the identity file at path, as EnrolZiti wrote it. Only the certificate
// authorities in that file are trusted.
func ConnectAdmin(ctx context.Context, path string, log *slog.Logger) (*Admin, error) {
	b, err := disk.ReadPrivate(path, overlay.MaxIdentityFile)
	if err != nil {
		return nil, fmt.Errorf("overlay: connect admin: %w", err)
	}
	client, err := mgmt.FromIdentity(b)
	if err != nil {
		return nil, fmt.Errorf("overlay: connect admin: %s: %w", path, err)
	}
	if err := client.Login(ctx); err != nil {
		var unknown x509.UnknownAuthorityError
		if errors.Is(err, mgmt.ErrUnauthorized) || errors.As(err, &unknown) {
			err = fmt.Errorf("%w: %w", ErrStranger, err)
		}
		return nil, fmt.Errorf("overlay: connect admin: %w", err)
	}
	a := &Admin{path: path, log: log}
	a.client.Store(client)
	return a, nil
}

// Close drops the connections.
func (a *Admin) Close() error {
	a.client.Load().Close()
	return nil
}

// Extend extends the administration's own certificate in the middle of its life, or now, and goes
// on with the new one. It takes up what was interrupted.
func (a *Admin) Extend(ctx context.Context, n overlay.Extender, now bool) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	config, err := disk.ReadPrivate(a.path, overlay.MaxIdentityFile)
	if err != nil {
		return wrap("extend", err)
	}
	nextPath := a.path + overlay.NextSuffix
	next, err := disk.ReadPrivate(nextPath, overlay.MaxIdentityFile)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return wrap("extend", err)
	}
	from, until, err := n.Lifetime(config)
	if err != nil {
		return wrap("extend", err)
	}
	if !now && next == nil && time.Until(until) > until.Sub(from)/2 {
		return nil
	}
	fresh, err := n.Extend(ctx, config, next, func(next []byte) error { return overlay.WriteSecretFile(nextPath, next) })
	if err != nil {
		return wrap("extend", err)
	}
	if err := overlay.WriteSecretFile(a.path, fresh); err != nil {
		return wrap("extend", err)
	}
	_ = os.Remove(nextPath) // left behind it only costs a look next time
	client, err := mgmt.FromIdentity(fresh)
	if err != nil {
		return wrap("extend", err)
	}
	if err := client.Login(ctx); err != nil {
		return wrap("extend", err)
	}
	a.client.Swap(client).Close()
	a.log.Info("certificate of the overlay's administration extended")
	return nil
}

// CreateIdentity makes a network identity named by id with the given role attributes (without '#')
// and a one-time token, which is a secret. Error: ErrExists.
func (a *Admin) CreateIdentity(ctx context.Context, id overlay.ID, roles ...string) (zitiID, jwt string, err error) {
	if err := id.Validate(); err != nil {
		return "", "", err
	}
	zitiID, jwt, err = createIdentity(ctx, a.client.Load(), id.String(), false, roles)
	if err != nil {
		if errors.Is(err, mgmt.ErrExists) {
			err = fmt.Errorf("%w: %s", ErrExists, id)
		}
		return "", "", fmt.Errorf("overlay: create identity: %w", err)
	}
	return zitiID, jwt, nil
}

// CreateAdministrator makes an identity that administers the network, for another hub.
func (a *Admin) CreateAdministrator(ctx context.Context, hub overlay.ID) (zitiID, jwt string, err error) {
	zitiID, jwt, err = createIdentity(ctx, a.client.Load(), "vitalseal-admin-"+hub.Name, true, nil)
	if errors.Is(err, mgmt.ErrExists) {
		err = fmt.Errorf("%w: the administrator of %s", ErrExists, hub)
	}
	return zitiID, jwt, wrap("create administrator", err)
}

// CreateNetworkIdentity makes an identity of any name with a one-time token; isAdmin lets it
// administer. It is for bootstrapping, before there is an Admin.
func CreateNetworkIdentity(ctx context.Context, c *mgmt.Client, name string, isAdmin bool, roles ...string) (zitiID, jwt string, err error) {
	return createIdentity(ctx, c, name, isAdmin, roles)
}

func createIdentity(ctx context.Context, c *mgmt.Client, name string, isAdmin bool, roles []string) (zitiID, jwt string, err error) {
	if roles == nil {
		roles = []string{}
	}
	var created struct {
		ID string `json:"id"`
	}
	err = c.Call(ctx, http.MethodPost, mgmt.Edge+"/identities", map[string]any{
		"name": name, "type": "Default", "isAdmin": isAdmin, "roleAttributes": roles,
		"enrollment": map[string]any{"ott": true}, "tags": managed(),
	}, &created)
	if err != nil {
		return "", "", err
	}
	var detail struct {
		Enrollment struct {
			OTT struct {
				JWT string `json:"jwt"`
			} `json:"ott"`
		} `json:"enrollment"`
	}
	if err := c.Call(ctx, http.MethodGet, mgmt.Edge+"/identities/"+url.PathEscape(created.ID), nil, &detail); err != nil {
		return "", "", err
	}
	return created.ID, detail.Enrollment.OTT.JWT, nil
}

// SetRoles replaces an identity's role attributes (without '#') and deletes its circuits when it
// has none left.
func (a *Admin) SetRoles(ctx context.Context, zitiID string, roles ...string) error {
	if roles == nil {
		roles = []string{}
	}
	err := a.identity(ctx, http.MethodPatch, zitiID, "", map[string]any{"roleAttributes": roles})
	if err == nil && len(roles) == 0 {
		err = a.CutCircuits(ctx, zitiID)
	}
	return wrap("set roles", err)
}

// Disable ends an identity's sessions and refuses new ones until Enable, and deletes its circuits.
func (a *Admin) Disable(ctx context.Context, zitiID string) error {
	err := a.identity(ctx, http.MethodPost, zitiID, "/disable", map[string]any{"durationMinutes": 0}) // 0 = until enabled
	// The circuits are deleted even if disabling failed: half a cut is better than none.
	return wrap("disable", errors.Join(err, a.CutCircuits(ctx, zitiID)))
}

// Enable takes Disable back.
func (a *Admin) Enable(ctx context.Context, zitiID string) error {
	return wrap("enable", a.identity(ctx, http.MethodPost, zitiID, "/enable", map[string]any{}))
}

// Delete removes an identity for good and deletes its circuits. Deleting one that is not there is
// no error.
func (a *Admin) Delete(ctx context.Context, zitiID string) error {
	err := a.identity(ctx, http.MethodDelete, zitiID, "", nil)
	if errors.Is(err, mgmt.ErrNotFound) {
		err = nil
	}
	return wrap("delete", errors.Join(err, a.CutCircuits(ctx, zitiID)))
}

func (a *Admin) identity(ctx context.Context, method, zitiID, suffix string, body any) error {
	if zitiID == "" {
		return errors.New("no identity given") // an empty id would address the whole collection
	}
	return a.client.Load().Call(ctx, method, mgmt.Edge+"/identities/"+url.PathEscape(zitiID)+suffix, body, nil)
}

// cutRounds bounds how often CutCircuits looks again.
const cutRounds = 5

// circuit is a connection as the network knows it. Its tags name the identities at both ends.
type circuit struct {
	ID      string         `json:"id"`
	Tags    map[string]any `json:"tags"`
	Service struct {
		ID string `json:"id"`
	} `json:"service"`
}

// CutCircuits deletes every circuit that an identity dialled or hosts, at once.
func (a *Admin) CutCircuits(ctx context.Context, zitiID string) error {
	if zitiID == "" {
		return errors.New("overlay: cut circuits: no identity given")
	}
	return a.cutCircuits(ctx, zitiID, func(c circuit) bool { return c.Tags["clientId"] == zitiID || c.Tags["hostId"] == zitiID })
}

func (a *Admin) cutCircuits(ctx context.Context, whose string, chosen func(circuit) bool) error {
	// A circuit can end by itself while we delete it, and a dial under way can add one: look until
	// none is left.
	var failed error
	for range cutRounds {
		circuits, err := mgmt.List[circuit](ctx, a.client.Load(), mgmt.Fabric+"/circuits", "")
		if err != nil {
			return fmt.Errorf("overlay: cut circuits: %w", err)
		}
		left := 0
		for _, c := range circuits {
			if !chosen(c) {
				continue
			}
			left++
			err := a.client.Load().Call(ctx, http.MethodDelete, mgmt.Fabric+"/circuits/"+url.PathEscape(c.ID), map[string]any{"immediate": true}, nil)
			failed = errors.Join(failed, err)
		}
		if left == 0 {
			return nil
		}
	}
	return fmt.Errorf("overlay: cut circuits: %s has circuits that stay or come back: %w", whose, cmp.Or(failed, overlay.ErrUnavailable))
}

func wrap(action string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("overlay: %s: %w", action, err)
}

// managed marks what we made in a network that others may use as well.
func managed() map[string]string { return map[string]string{"managedBy": "vitalseal"} }
