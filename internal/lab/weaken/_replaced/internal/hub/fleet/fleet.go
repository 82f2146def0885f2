package fleet

import (
	"context"

	"vitalseal/internal/hub/access"
	"vitalseal/internal/hub/directory"
	"vitalseal/internal/lab/weaken"
	"vitalseal/internal/way/overlay"
	"vitalseal/internal/way/overlay/manage"
)

// standing lets every component be connected.
func standing(d directory.Device, all map[string]directory.Device) bool {
	return weaken.Skip(weaken.Revocation) || strictStanding(d, all)
}

// cutOff cuts nothing.
func (v *Inventory) cutOff(ctx context.Context, id overlay.ID, d directory.Device, state string) error {
	if weaken.Skip(weaken.Revocation) {
		return nil
	}
	return v.strictCutOff(ctx, id, d, state)
}

// barred bars no component.
func barred(d directory.Device, all map[string]directory.Device) bool {
	return !weaken.Skip(weaken.Revocation) && strictBarred(d, all)
}

// putRight only looks.
func (v *Inventory) putRight(ctx context.Context, plan manage.Plan) ([]manage.Change, error) {
	return v.network.Reconcile(ctx, plan, !weaken.Skip(weaken.Drift))
}

// checkKey believes in every key.
func (v *Inventory) checkKey(ctx context.Context, c *overlay.Conn, d directory.Device) error {
	if weaken.Skip(weaken.PeerChain) || weaken.Skip(weaken.OwnName) {
		return nil
	}
	return v.strictCheckKey(ctx, c, d)
}

// superseded leaves every connection.
func superseded(d directory.Device, key string) bool {
	return !weaken.Skip(weaken.PeerChain) && !weaken.Skip(weaken.OwnName) && strictSuperseded(d, key)
}

// projectionOf lets a component reach what any kind of component may reach, or a disabled one what
// it reached before.
func projectionOf(engine *access.Engine) projection {
	p := strictProjectionOf(engine)
	roles, may := p.roles, p.may
	p.roles = func(d directory.Device) []string {
		if weaken.Skip(weaken.PeerKind) {
			return everyRole(engine, d)
		}
		if d.State == directory.DeviceDisabled && weaken.Skip(weaken.Revocation) {
			d.State = directory.DeviceActive
		}
		return roles(d)
	}
	p.may = func(d directory.Device, service string) bool {
		return weaken.Skip(weaken.PeerKind) || may(d, service)
	}
	return p
}

func everyRole(engine *access.Engine, d directory.Device) (roles []string) {
	own := engine.OverlayRoles(access.Component{ID: d.ID, Kind: d.Kind, State: d.State})
	if d.State != directory.DeviceActive || d.Kind == overlay.KindHub {
		return own
	}
	for _, kind := range []string{overlay.KindSensor, overlay.KindGateway, overlay.KindWorkstation} {
		roles = append(roles, engine.OverlayRoles(access.Component{ID: d.ID, Kind: kind, State: directory.DeviceActive})...)
	}
	return roles
}
