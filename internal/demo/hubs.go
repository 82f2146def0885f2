package demo

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"

	"vitalseal/internal/workstation/client"
)

// MaxHubs is as many hubs as a demo starts.
const MaxHubs = 9

// startHubs starts the hubs beside the first one, on the same database. The first time an administrator invites each, and the root key
// is carried over by hand.
func (d *deploymentRun) startHubs(ctx context.Context) error {
	for n := 2; n <= d.cfg.Hubs; n++ {
		name := fmt.Sprintf("hub-%d", n)
		if _, err := os.Stat(d.path(name, "hub.openziti.json")); err != nil {
			d.say("%s: inviting it to the database of the first", name)
			if err := d.inviteHub(ctx, name); err != nil {
				return err
			}
		}
		if err := d.writeHubConfig(name, map[string]string{"ticket": d.path(name, "ticket.json")}); err != nil {
			return err
		}
		d.say("%s: starting", name)
		hub, err := d.super.Start(ctx, name, "hub", "--config", d.path(name+".yaml"))
		if err != nil {
			return err
		}
		d.hubs = append(d.hubs, hub)
	}
	return nil
}

func (d *deploymentRun) inviteHub(ctx context.Context, name string) error {
	c, err := client.New(d.address())
	if err != nil {
		return err
	}
	if err := c.SignIn(ctx, d.ward.Admin.Login, d.ward.Admin.Password); err != nil {
		return err
	}
	var ticket json.RawMessage
	err = c.Do(ctx, http.MethodPost, "/api/admin/hubs", map[string]any{"id": name}, &ticket)
	if err := errors.Join(err, c.SignOut(ctx)); err != nil {
		return err
	}
	root, err := os.ReadFile(d.path("hub", "root.key"))
	if err != nil {
		return fmt.Errorf("demo: %w", err)
	}
	if err := os.MkdirAll(d.path(name), 0o700); err != nil {
		return fmt.Errorf("demo: %w", err)
	}
	return errors.Join(writeFile(d.path(name, "root.key"), root), writeFile(d.path(name, "ticket.json"), ticket))
}

// writeHubConfig writes NAME.yaml.
func (d *deploymentRun) writeHubConfig(name string, overlay map[string]string) error {
	return writeYAML(d.path(name+".yaml"), map[string]any{
		"data": d.path(name), "deployment": deployment, "name": name, "database": d.cfg.Database, "overlay": overlay})
}
