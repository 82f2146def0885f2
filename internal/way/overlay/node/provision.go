package node

import (
	"context"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"vitalseal/internal/way/overlay"
	"vitalseal/internal/way/overlay/manage"
	"vitalseal/internal/way/overlay/mgmt"
)

const (
	marker       = "provisioned"    // written when the first start is complete
	passwordFile = "admin.password" // #nosec G101 -- a file's name
	routerName   = "vitalseal-router"
	hubName      = "vitalseal-hub"
	adminName    = "vitalseal-hub-admin"
	retryPeriod  = 50 * time.Millisecond
)

// password returns the random password of the offline administrator, made at the first start.
func (n *running) password() (string, error) {
	path := filepath.Join(n.c.Dir, passwordFile)
	b, err := os.ReadFile(path) // #nosec G304 -- below our own directory
	if err == nil {
		return strings.TrimSpace(string(b)), nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("node: administrator password: %w", err)
	}
	password := rand.Text()
	return password, overlay.WriteSecretFile(path, []byte(password+"\n"))
}

func (n *running) provisioned() bool {
	_, err := os.Stat(filepath.Join(n.c.Dir, marker))
	return err == nil
}

// provision waits for the controller and does what the first start needs. Each step can be done
// again.
func (n *running) provision(ctx context.Context, password string) error {
	pem, err := os.ReadFile(filepath.Join(n.c.Dir, overlay.NodeRoot)) // #nosec G304 -- below our own directory
	if err != nil {
		return err
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	c, err := mgmt.New(mgmt.Config{URL: n.controllerURL(), Roots: roots, User: AdminUser, Password: password})
	if err != nil {
		return err
	}
	defer c.Close()
	for {
		if err = c.Login(ctx); err == nil {
			break
		}
		select {
		case <-ctx.Done():
			return err
		case ended := <-n.ended:
			n.ended <- ended
			return fmt.Errorf("the controller ended: %w", ended)
		case <-time.After(retryPeriod):
		}
	}
	if n.provisioned() {
		return errors.Join(n.renewToken(ctx, c, overlay.HubTokenFile, hubName, false, "hub"),
			n.renewToken(ctx, c, overlay.AdminTokenFile, adminName, true))
	}
	if err := n.everyone(ctx, c, "/edge-router-policies", "identityRoles", "edgeRouterRoles"); err != nil {
		return err
	}
	if err := n.everyone(ctx, c, "/service-edge-router-policies", "serviceRoles", "edgeRouterRoles"); err != nil {
		return err
	}
	if err := n.newRouter(ctx, c); err != nil {
		return fmt.Errorf("router: %w", err)
	}
	if err := n.newToken(ctx, c, overlay.HubTokenFile, hubName, false, "hub"); err != nil {
		return err
	}
	if err := n.newToken(ctx, c, overlay.AdminTokenFile, adminName, true); err != nil {
		return err
	}
	return overlay.WriteSecretFile(filepath.Join(n.c.Dir, marker), []byte("1\n"))
}

type entity struct {
	ID   string `json:"id"`
	Name string `json:"name"`
}

// everyone lets everything use the one router there is; who reaches which service is the service
// policies' matter.
func (n *running) everyone(ctx context.Context, c *mgmt.Client, path string, sides ...string) error {
	have, err := mgmt.List[entity](ctx, c, mgmt.Edge+path, "name="+mgmt.Quote("vitalseal-all"))
	if err != nil || len(have) > 0 {
		return err
	}
	body := map[string]any{"name": "vitalseal-all", "semantic": "AnyOf"}
	for _, side := range sides {
		body[side] = []string{"#all"}
	}
	return c.Call(ctx, http.MethodPost, mgmt.Edge+path, body, nil)
}

func remove(ctx context.Context, c *mgmt.Client, path, name string) error {
	have, err := mgmt.List[entity](ctx, c, mgmt.Edge+path, "name="+mgmt.Quote(name))
	if err != nil {
		return err
	}
	for _, e := range have {
		if err := c.Call(ctx, http.MethodDelete, mgmt.Edge+path+"/"+url.PathEscape(e.ID), nil, nil); err != nil {
			return err
		}
	}
	return nil
}

func (n *running) newRouter(ctx context.Context, c *mgmt.Client) error {
	if err := remove(ctx, c, "/edge-routers", routerName); err != nil {
		return err
	}
	var created entity
	if err := c.Call(ctx, http.MethodPost, mgmt.Edge+"/edge-routers", map[string]any{"name": routerName, "isTunnelerEnabled": false}, &created); err != nil {
		return err
	}
	var detail struct {
		JWT string `json:"enrollmentJwt"`
	}
	if err := c.Call(ctx, http.MethodGet, mgmt.Edge+"/edge-routers/"+url.PathEscape(created.ID), nil, &detail); err != nil {
		return err
	}
	return n.enrolRouter(detail.JWT)
}

func (n *running) newToken(ctx context.Context, c *mgmt.Client, file, name string, isAdmin bool, roles ...string) error {
	if err := remove(ctx, c, "/identities", name); err != nil {
		return err
	}
	_, jwt, err := manage.CreateNetworkIdentity(ctx, c, name, isAdmin, roles...)
	if err != nil {
		return err
	}
	return overlay.WriteSecretFile(filepath.Join(n.c.Dir, file), []byte(jwt))
}

// renewToken replaces a one-time token that was not redeemed and has expired. One that was redeemed
// it removes: a new one would take the place of an identity that is in use.
func (n *running) renewToken(ctx context.Context, c *mgmt.Client, file, name string, isAdmin bool, roles ...string) error {
	path := filepath.Join(n.c.Dir, file)
	b, err := os.ReadFile(path) // #nosec G304 -- below our own directory
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if tokenExpires(string(b)).After(time.Now().Add(time.Hour)) {
		return nil
	}
	have, err := mgmt.List[struct {
		Authenticators struct {
			Cert *struct{} `json:"cert"`
		} `json:"authenticators"`
	}](ctx, c, mgmt.Edge+"/identities", "name="+mgmt.Quote(name))
	if err != nil {
		return err
	}
	if len(have) > 0 && have[0].Authenticators.Cert != nil {
		return os.Remove(path)
	}
	return n.newToken(ctx, c, file, name, isAdmin, roles...)
}

// tokenExpires reads the expiry of a token of our own; the zero time if there is none.
func tokenExpires(jwt string) time.Time {
	parts := strings.Split(jwt, ".")
	if len(parts) != 3 {
		return time.Time{}
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return time.Time{}
	}
	var claims struct {
		Expires int64 `json:"exp"`
	}
	if json.Unmarshal(payload, &claims) != nil {
		return time.Time{}
	}
	return time.Unix(claims.Expires, 0)
}
