//go:build weaken

package hub

import (
	"vitalseal/internal/access"
	"vitalseal/internal/overlay"
	"vitalseal/internal/store"
)

// everyRole lets a component reach what any kind of component may reach.
func everyRole(engine *access.Engine, d store.Device) (roles []string) {
	own := engine.OverlayRoles(access.Component{ID: d.ID, Kind: d.Kind, State: d.State})
	if d.State != store.DeviceActive || d.Kind == overlay.KindHub {
		return own
	}
	for _, kind := range []string{overlay.KindSensor, overlay.KindGateway, overlay.KindWorkstation} {
		roles = append(roles, engine.OverlayRoles(access.Component{ID: d.ID, Kind: kind, State: store.DeviceActive})...)
	}
	return roles
}
