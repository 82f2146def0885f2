package access

// OverlayPolicy is one service policy that the overlay must have, and no others.
type OverlayPolicy struct {
	Name     string
	Dial     bool     // false: bind
	Roles    []string // role attributes of identities, without '#'
	Services []string // service names
}

// OverlayPolicies is the projection of the access rules onto the overlay: which kind of component may reach which
// service. Fixed for now: people are not overlay identities, and what a component may do inside a service is decided
// by the hub. Whatever is not listed is refused by the overlay.
func OverlayPolicies() []OverlayPolicy {
	return []OverlayPolicy{
		{Name: "vitalseal.hub.bind", Roles: []string{"hub"},
			Services: []string{"vitalseal.ingest", "vitalseal.faces", "vitalseal.enrol", "vitalseal.renew"}},
		{Name: "vitalseal.ingest.dial", Dial: true, Roles: []string{"sensor", "gateway"}, Services: []string{"vitalseal.ingest"}},
		{Name: "vitalseal.faces.dial", Dial: true, Roles: []string{"workstation"}, Services: []string{"vitalseal.faces"}},
		{Name: "vitalseal.enrol.dial", Dial: true, Roles: []string{"enrolling"}, Services: []string{"vitalseal.enrol"}},
		{Name: "vitalseal.renew.dial", Dial: true, Roles: []string{"sensor", "gateway", "workstation"}, Services: []string{"vitalseal.renew"}},
	}
}
