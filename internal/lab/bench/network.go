package bench

import (
	"context"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"strconv"
	"time"

	"vitalseal/internal/way/overlay"
	"vitalseal/internal/way/overlay/manage"
	"vitalseal/internal/way/overlay/openziti"
)

// withoutHub measures what the network does by itself and by what the reconciler calls: no hub is there to help. The host
// is an echo of our own.
func (b *bench) withoutHub(ctx context.Context) (err error) {
	b.say("the network alone")
	if b.admin == nil {
		file := filepath.Join(b.cfg.Dir, "admin.ziti.json")
		if err := openziti.EnrolZiti(ctx, filepath.Join(b.dir, overlay.AdminTokenFile), file, b.cfg.Log); err != nil {
			return fmt.Errorf("measure: %w", err)
		}
		if b.admin, err = manage.ConnectAdmin(ctx, file, b.cfg.Log); err != nil {
			return fmt.Errorf("measure: %w", err)
		}
	}
	defer func() { _ = b.admin.Close() }()
	authority, err := overlay.NewAuthority(domain)
	if err != nil {
		return err
	}
	w := &echoWorld{b: b, authority: authority}
	defer w.close()
	if err := w.start(ctx); err != nil {
		return fmt.Errorf("measure: %w", err)
	}
	for _, kind := range []struct {
		name           string
		revoke, resume func(context.Context) error
		host           bool // the host has to come back by itself
	}{
		{"role attribute removed", func(ctx context.Context) error { return b.admin.SetRoles(ctx, w.dialler.ziti) },
			func(ctx context.Context) error { return b.admin.SetRoles(ctx, w.dialler.ziti, "dial") }, false},
		{"dial policy removed", func(ctx context.Context) error { return w.plan(ctx, w.bindPolicy()) },
			func(ctx context.Context) error { return w.plan(ctx, w.bindPolicy(), w.dialPolicy()) }, false},
		{"bind policy removed", func(ctx context.Context) error { return w.plan(ctx, w.dialPolicy()) },
			func(ctx context.Context) error { return w.plan(ctx, w.bindPolicy(), w.dialPolicy()) }, true},
		{"host disabled", func(ctx context.Context) error { return b.admin.Disable(ctx, w.host.ziti) },
			func(ctx context.Context) error { return b.admin.Enable(ctx, w.host.ziti) }, true},
	} {
		err := b.measure(ctx, kind.name, func(ctx context.Context, _ int) (trial, error) {
			open, err := w.dial(ctx)
			if err != nil {
				return trial{}, err
			}
			return trial{
				open:   func() error { return ends(open) },
				dial:   func() error { return w.tryDial(ctx) },
				revoke: kind.revoke,
				after: func(ctx context.Context) error {
					_ = open.Close()
					if err := kind.resume(ctx); err != nil {
						return err
					}
					if kind.host {
						if err := w.rehost(ctx); err != nil {
							return err
						}
					}
					return w.redial(ctx)
				},
			}, nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// echoWorld is a service of the network with one host and one dialler.
type echoWorld struct {
	b             *bench
	authority     *overlay.Authority
	made          int
	host, dialler *party
}

// party is one identity with its connection to the network.
type party struct {
	ziti     string
	identity *overlay.Identity
	ep       overlay.Endpoint
}

const echoService = "vitalseal.measure"

func (w *echoWorld) dialPolicy() manage.Policy {
	return manage.Policy{Name: "measure.dial", Dial: true, Roles: []string{"dial"}, Services: []string{echoService}}
}

func (w *echoWorld) bindPolicy() manage.Policy {
	return manage.Policy{Name: "measure.bind", Roles: []string{"bind"}, Services: []string{echoService}}
}

func (w *echoWorld) plan(ctx context.Context, policies ...manage.Policy) error {
	_, err := w.b.admin.Reconcile(ctx, manage.Plan{Services: []string{echoService}, Policies: policies}, true)
	return err
}

func (w *echoWorld) start(ctx context.Context) (err error) {
	if err := w.plan(ctx, w.bindPolicy(), w.dialPolicy()); err != nil {
		return err
	}
	if w.host, err = w.join(ctx, overlay.KindHub, "bind"); err != nil {
		return err
	}
	if w.dialler, err = w.join(ctx, overlay.KindSensor, "dial"); err != nil {
		return err
	}
	if err := w.rehost(ctx); err != nil {
		return err
	}
	return w.redial(ctx)
}

func (w *echoWorld) join(ctx context.Context, kind, role string) (*party, error) {
	w.made++
	id := overlay.ID{Domain: domain, Kind: kind, Name: "echo-" + strconv.Itoa(w.made)}
	ziti, token, err := w.b.admin.CreateIdentity(ctx, id, role)
	if err != nil {
		return nil, err
	}
	config, err := w.b.network.Enrol(ctx, token)
	if err != nil {
		return nil, err
	}
	identity, err := overlay.IssueIdentity(w.authority, id, config, nil, time.Hour)
	if err != nil {
		return nil, err
	}
	return &party{ziti: ziti, identity: identity}, nil
}

// connect gives a party a fresh connection to the network: what the last trial did to the old one is not what we measure.
func (w *echoWorld) connect(ctx context.Context, p *party) (err error) {
	if p.ep != nil {
		_ = p.ep.Close()
	}
	p.ep, err = openziti.Connect(ctx, p.identity, w.b.cfg.Log)
	return err
}

// rehost hosts the echo anew.
func (w *echoWorld) rehost(ctx context.Context) error {
	return until(ctx, "host the service", func() error {
		if err := w.connect(ctx, w.host); err != nil {
			return err
		}
		ln, err := w.host.ep.Listen(ctx, echoService)
		if err != nil {
			return err
		}
		go func() { // ends with the endpoint
			for {
				c, err := ln.Accept()
				if err != nil {
					return
				}
				go func() {
					defer func() { _ = c.Close() }()
					_, _ = io.Copy(c, c)
				}()
			}
		}()
		return nil
	})
}

// redial gives the dialler a fresh connection that has been used once.
func (w *echoWorld) redial(ctx context.Context) error {
	return until(ctx, "dial the service", func() error {
		if err := w.connect(ctx, w.dialler); err != nil {
			return err
		}
		return w.tryDial(ctx)
	})
}

func (w *echoWorld) dial(ctx context.Context) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, attempt)
	defer cancel()
	c, err := w.dialler.ep.Dial(ctx, echoService)
	if err != nil {
		return nil, err
	}
	if _, err := io.WriteString(c, "x"); err != nil {
		_ = c.Close()
		return nil, err
	}
	if _, err := io.ReadFull(c, make([]byte, 1)); err != nil {
		_ = c.Close()
		return nil, err
	}
	return c, nil
}

func (w *echoWorld) tryDial(ctx context.Context) error {
	c, err := w.dial(ctx)
	if err != nil {
		return err
	}
	return c.Close()
}

func (w *echoWorld) close() {
	for _, p := range []*party{w.host, w.dialler} {
		if p != nil && p.ep != nil {
			_ = p.ep.Close()
		}
	}
}
