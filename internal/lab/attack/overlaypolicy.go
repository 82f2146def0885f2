package attack

import (
	"context"
	"crypto/x509"
	"errors"
	"net/http"
	"os"
	"strings"
	"time"

	"vitalseal/internal/overlay"
	"vitalseal/internal/overlay/mgmt"
)

func noPolicy(ctx context.Context, t *Target) (Result, error) {
	s, err := t.newStation(ctx) // a new one: what it may reach is decided when it enrols
	if err != nil {
		return Result{}, err
	}
	trying, cancel := context.WithTimeout(ctx, 6*time.Second)
	defer cancel()
	for {
		c, err := s.ep.Dial(trying, overlay.ServiceIngest)
		if err == nil {
			k := &talk{c: c}
			_ = c.SetDeadline(time.Now().Add(5 * time.Second))
			err = k.write(frameHello, append([]byte("vsin\x01"), 0, 0, 0x75, 0x30))
			var kind byte
			var body []byte
			if err == nil {
				kind, body, err = k.read()
			}
			_ = c.Close()
			return judge(err == nil && kind == frameHello, failure(err), "the hub's ingest answers a workstation", "ended by the hub", "frame %d %x, %v", kind, body, err)
		}
		if trying.Err() != nil || errors.Is(err, overlay.ErrPeer) {
			// The dial's own error may as well be a network that is down: the controller's list says what this one may reach.
			listed, lerr := s.services(ctx)
			if lerr != nil {
				return Result{}, lerr
			}
			return refused(word("faces %s, ingest %s", yes(listed[overlay.ServiceFaces]), yes(listed[overlay.ServiceIngest])), "not connected", "%v", err)
		}
		select {
		case <-trying.Done():
		case <-time.After(500 * time.Millisecond):
		}
	}
}

func yes(is bool) string {
	if is {
		return "yes"
	}
	return "no"
}

// services are the services that OpenZiti's controller lists for the workstation.
func (s *station) services(ctx context.Context) (map[string]bool, error) {
	c, err := controller(s.id, nil)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	if err := c.LoginAt(ctx, clientAPI); err != nil {
		return nil, err
	}
	all, err := mgmt.List[struct {
		Name string `json:"name"`
	}](ctx, c, clientAPI+"/services", "")
	if err != nil {
		return nil, err
	}
	out := map[string]bool{}
	for _, service := range all {
		out[service.Name] = true
	}
	return out, nil
}

func behindBack(ctx context.Context, t *Target) (Result, error) {
	info, err := overlay.ReadNode(t.path("overlay"))
	if err != nil {
		return Result{}, err
	}
	password, err := os.ReadFile(t.path("overlay", "admin.password"))
	if err != nil {
		return Result{}, err
	}
	root, err := os.ReadFile(t.path("overlay", overlay.NodeRoot))
	if err != nil {
		return Result{}, err
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(root)
	m, err := mgmt.New(mgmt.Config{URL: info.Controller, Roots: pool, User: overlayAdmin, Password: strings.TrimSpace(string(password))})
	if err != nil {
		return Result{}, err
	}
	defer m.Close()
	name := t.name("everybody-")
	if err := m.Call(ctx, http.MethodPost, mgmt.Edge+"/service-policies", map[string]any{"name": name, "type": "Dial", "semantic": "AnyOf",
		"identityRoles": []string{"#all"}, "serviceRoles": []string{"#all"}}, nil); err != nil {
		return Result{}, err
	}
	began := time.Now()
	looking, cancel := context.WithTimeout(ctx, 15*time.Second)
	defer cancel()
	for {
		there, err := mgmt.List[struct {
			ID string `json:"id"`
		}](looking, m, mgmt.Edge+"/service-policies", `name="`+name+`"`)
		switch {
		case err == nil && len(there) == 0:
			took := time.Since(began)
			// The entry follows what was done.
			var found string
			for found == "" && looking.Err() == nil {
				if found, _, err = search(t.path("hub", "audit"), name); err != nil {
					return Result{}, err
				}
				if found == "" {
					select {
					case <-looking.Done():
					case <-time.After(100 * time.Millisecond):
					}
				}
			}
			return judge(found == "", word("put right and told"), "put right, but not told", "put right, and told", "after %v; in the audit log: %v", took.Round(100*time.Millisecond), found != "")
		case looking.Err() != nil && ctx.Err() == nil:
			return through("it stays", "still there after %v", time.Since(began).Round(time.Second))
		case err != nil:
			return Result{}, err
		}
		select {
		case <-looking.Done():
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// overlayAdmin is the name of the overlay's offline administrator.
const overlayAdmin = "offline-admin"
