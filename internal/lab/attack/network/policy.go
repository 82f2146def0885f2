package network

import (
	"context"
	"crypto/x509"
	"errors"
	"net/http"
	"os"
	"strings"
	"time"

	"vitalseal/internal/lab/attack"
	"vitalseal/internal/lab/attack/rogue"
	"vitalseal/internal/way/overlay"
	"vitalseal/internal/way/overlay/mgmt"
)

func noPolicy(ctx context.Context, t *attack.Target) (attack.Result, error) {
	s, err := t.NewStation(ctx) // a new one: what it may reach is decided when it enrols
	if err != nil {
		return attack.Result{}, err
	}
	trying, cancel := context.WithTimeout(ctx, 6*time.Second)
	defer cancel()
	for {
		c, err := s.Endpoint.Dial(trying, overlay.ServiceIngest)
		if err == nil {
			k := &rogue.Talk{Conn: c}
			_ = c.SetDeadline(time.Now().Add(5 * time.Second))
			err = k.Write(rogue.FrameHello, append([]byte("vsin\x01"), 0, 0, 0x75, 0x30))
			var kind byte
			var body []byte
			if err == nil {
				kind, body, err = k.Read()
			}
			_ = c.Close()
			return attack.Judge(err == nil && kind == rogue.FrameHello, attack.Failure(err), "the hub's ingest answers a workstation", "ended by the hub", "frame %d %x, %v", kind, body, err)
		}
		if trying.Err() != nil || errors.Is(err, overlay.ErrPeer) {
			// The dial's own error may as well be a network that is down: the controller's list
			// says what this one may reach.
			listed, lerr := servicesOf(ctx, s)
			if lerr != nil {
				return attack.Result{}, lerr
			}
			return attack.RefusedWith(attack.Word("faces %s, ingest %s", yes(listed[overlay.ServiceFaces]), yes(listed[overlay.ServiceIngest])), "not connected", "%v", err)
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
func servicesOf(ctx context.Context, s *attack.Station) (map[string]bool, error) {
	c, err := controller(s.Identity, nil)
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

func behindBack(ctx context.Context, t *attack.Target) (attack.Result, error) {
	info, err := overlay.ReadNode(t.Path("overlay"))
	if err != nil {
		return attack.Result{}, err
	}
	password, err := os.ReadFile(t.Path("overlay", "admin.password"))
	if err != nil {
		return attack.Result{}, err
	}
	root, err := os.ReadFile(t.Path("overlay", overlay.NodeRoot))
	if err != nil {
		return attack.Result{}, err
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(root)
	m, err := mgmt.New(mgmt.Config{URL: info.Controller, Roots: pool, User: overlayAdmin, Password: strings.TrimSpace(string(password))})
	if err != nil {
		return attack.Result{}, err
	}
	defer m.Close()
	name := t.Name("everybody-")
	if err := m.Call(ctx, http.MethodPost, mgmt.Edge+"/service-policies", map[string]any{"name": name, "type": "Dial", "semantic": "AnyOf",
		"identityRoles": []string{"#all"}, "serviceRoles": []string{"#all"}}, nil); err != nil {
		return attack.Result{}, err
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
				if found, _, err = attack.Search(t.Path("hub", "audit"), name); err != nil {
					return attack.Result{}, err
				}
				if found == "" {
					select {
					case <-looking.Done():
					case <-time.After(100 * time.Millisecond):
					}
				}
			}
			return attack.Judge(found == "", attack.Word("put right and told"), "put right, but not told", "put right, and told", "after %v; in the audit log: %v", took.Round(100*time.Millisecond), found != "")
		case looking.Err() != nil && ctx.Err() == nil:
			return attack.Through("it stays", "still there after %v", time.Since(began).Round(time.Second))
		case err != nil:
			return attack.Result{}, err
		}
		select {
		case <-looking.Done():
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// overlayAdmin is the name of the overlay's offline administrator.
const overlayAdmin = "offline-admin"
