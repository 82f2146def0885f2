package manage

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"vitalseal/internal/way/overlay"
	"vitalseal/internal/way/overlay/mgmt"
)

// RouterState is what the network says about one of its edge routers.
type RouterState struct {
	ZitiID      string
	Name        string
	Verified    bool // it has enrolled
	Online      bool
	Disabled    bool
	Version     string
	Certificate *x509.Certificate // nil before it enrolled
}

type zitiRouter struct {
	ID       string         `json:"id"`
	Name     string         `json:"name"`
	Verified bool           `json:"isVerified"`
	Online   bool           `json:"isOnline"`
	Disabled bool           `json:"disabled"`
	Cert     string         `json:"certPem"`
	Tags     map[string]any `json:"tags"`
	Info     struct {
		Version string `json:"version"`
	} `json:"versionInfo"`
}

// CreateRouter makes an edge router named by id and its one-time token, which is a secret. Error:
// ErrExists.
func (a *Admin) CreateRouter(ctx context.Context, id overlay.ID) (zitiID, jwt string, err error) {
	if err := id.Validate(); err != nil {
		return "", "", err
	}
	var created struct {
		ID string `json:"id"`
	}
	if err := a.client.Load().Call(ctx, http.MethodPost, mgmt.Edge+"/edge-routers",
		map[string]any{"name": id.String(), "isTunnelerEnabled": false, "tags": managed()}, &created); err != nil {
		if errors.Is(err, mgmt.ErrExists) {
			err = fmt.Errorf("%w: %s", ErrExists, id)
		}
		return "", "", wrap("create router", err)
	}
	var detail struct {
		JWT string `json:"enrollmentJwt"`
	}
	if err := a.router(ctx, http.MethodGet, created.ID, nil, &detail); err != nil {
		return "", "", wrap("create router", err)
	}
	return created.ID, detail.JWT, nil
}

// SetRouterEnabled lets a router take part in the network, or keeps it out and ends what it
// carries.
func (a *Admin) SetRouterEnabled(ctx context.Context, zitiID string, enabled bool) error {
	return wrap("set router", a.router(ctx, http.MethodPatch, zitiID, map[string]any{"disabled": !enabled}, nil))
}

// DeleteRouter removes a router for good. Deleting one that is not there is no error.
func (a *Admin) DeleteRouter(ctx context.Context, zitiID string) error {
	err := a.router(ctx, http.MethodDelete, zitiID, nil, nil)
	if errors.Is(err, mgmt.ErrNotFound) {
		err = nil
	}
	return wrap("delete router", err)
}

func (a *Admin) router(ctx context.Context, method, zitiID string, in, out any) error {
	if zitiID == "" {
		return errors.New("no router given") // an empty id would address the whole collection
	}
	return a.client.Load().Call(ctx, method, mgmt.Edge+"/edge-routers/"+url.PathEscape(zitiID), in, out)
}

// Routers lists the network's edge routers.
func (a *Admin) Routers(ctx context.Context) ([]RouterState, error) {
	all, err := mgmt.List[zitiRouter](ctx, a.client.Load(), mgmt.Edge+"/edge-routers", "")
	if err != nil {
		return nil, wrap("routers", err)
	}
	out := make([]RouterState, 0, len(all))
	for _, r := range all {
		s := RouterState{ZitiID: r.ID, Name: r.Name, Verified: r.Verified, Online: r.Online, Disabled: r.Disabled, Version: r.Info.Version}
		if block, _ := pem.Decode([]byte(r.Cert)); block != nil {
			s.Certificate, _ = x509.ParseCertificate(block.Bytes)
		}
		out = append(out, s)
	}
	return out, nil
}

// routers puts the routers of the inventory right, and removes those of ours that it does not know.
func (r *reconciler) routers(ctx context.Context) error {
	all, err := mgmt.List[zitiRouter](ctx, r.client, mgmt.Edge+"/edge-routers", "")
	if err != nil {
		return err
	}
	have := map[string]zitiRouter{}
	for _, x := range all {
		have[x.ID] = x
	}
	planned := map[string]bool{}
	for _, want := range r.plan.Routers {
		planned[want.ZitiID] = true
		x, ok := have[want.ZitiID]
		if !ok || x.Disabled == !want.Enabled {
			continue
		}
		c := Change{Action: "update", Kind: "router", Name: want.ID.String(), ZitiID: want.ZitiID,
			Detail: map[bool]string{true: "it was disabled", false: "it was enabled"}[x.Disabled]}
		if err := r.do(ctx, c, http.MethodPatch, "/edge-routers/"+url.PathEscape(want.ZitiID), map[string]any{"disabled": !want.Enabled}, nil); err != nil {
			return err
		}
	}
	if r.a.strangeRouters == nil {
		r.a.strangeRouters = map[string]time.Time{}
	}
	for _, x := range all {
		if planned[x.ID] || !ours(x.Tags) || !strings.HasPrefix(x.Name, "spiffe://"+r.plan.Domain+"/") {
			delete(r.a.strangeRouters, x.ID)
			continue
		}
		since, known := r.a.strangeRouters[x.ID]
		if !known {
			r.a.strangeRouters[x.ID] = time.Now()
		}
		if !known || time.Since(since) < orphanAge {
			continue
		}
		delete(r.a.strangeRouters, x.ID)
		c := Change{Action: "delete", Kind: "router", Name: x.Name, ZitiID: x.ID, Detail: "not in the inventory"}
		if err := r.do(ctx, c, http.MethodDelete, "/edge-routers/"+url.PathEscape(x.ID), nil, nil); err != nil {
			return err
		}
	}
	return nil
}
