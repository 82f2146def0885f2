package overlay

import (
	"fmt"
	"net/url"
	"strings"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
)

// The kinds of component. Each MAX30100, MCP3008 and MPS20N0040D is a sensor.
const (
	KindHub         = "hub"
	KindGateway     = "gateway"
	KindSensor      = "sensor"
	KindWorkstation = "workstation"
	KindEgress      = "egress" // the way out to one address of the internet
	KindRouter      = "router" // an edge router of the network below; it has no SVID
)

// ID names a component: spiffe://<Domain>/<Kind>/<Name>. It is comparable. The zero ID names no
// component.
type ID struct {
	Domain string // the deployment's trust domain, like demo.vitalseal.internal
	Kind   string // one of the Kind constants
	Name   string // [a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?
}

// maxDomain is the longest trust domain, as in DNS and in the SPIFFE standard.
const maxDomain = 253

// ParseID parses and checks a SPIFFE id of ours. Nothing is normalised: an id has exactly one
// spelling.
func ParseID(s string) (ID, error) {
	rest, ok := strings.CutPrefix(s, "spiffe://")
	if !ok {
		return ID{}, fmt.Errorf("overlay: parse id: %.80q does not start with spiffe://", s)
	}
	parts := strings.Split(rest, "/")
	if len(parts) != 3 {
		return ID{}, fmt.Errorf("overlay: parse id: %.80q is not spiffe://<domain>/<kind>/<name>", s)
	}
	id := ID{Domain: parts[0], Kind: parts[1], Name: parts[2]}
	if err := id.Validate(); err != nil {
		return ID{}, err
	}
	return id, nil
}

// Validate reports the first field that is out of its range.
func (id ID) Validate() error {
	if err := validDomain(id.Domain); err != nil {
		return err
	}
	switch id.Kind {
	case KindHub, KindGateway, KindSensor, KindWorkstation, KindEgress, KindRouter:
	default:
		return fmt.Errorf("overlay: id: kind %.40q is not hub, gateway, sensor, workstation, egress or router", id.Kind)
	}
	if !validName(id.Name) {
		return fmt.Errorf("overlay: id: name %.80q is not 1 to 63 of a-z, 0-9, '.' and '-' with a letter or digit at both ends", id.Name)
	}
	return nil
}

// String returns the SPIFFE id, or "" for the zero ID.
func (id ID) String() string {
	if id == (ID{}) {
		return ""
	}
	return "spiffe://" + id.Domain + "/" + id.Kind + "/" + id.Name
}

func (id ID) url() *url.URL {
	return &url.URL{Scheme: "spiffe", Host: id.Domain, Path: "/" + id.Kind + "/" + id.Name}
}

func validDomain(d string) error {
	if len(d) == 0 || len(d) > maxDomain {
		return fmt.Errorf("overlay: id: trust domain has %d characters; 1 to %d are allowed", len(d), maxDomain)
	}
	for label := range strings.SplitSeq(d, ".") {
		if !validName(label) {
			return fmt.Errorf("overlay: id: trust domain %.80q is not a lower-case domain name", d)
		}
	}
	// One more opinion, so that no domain of ours is one that a SPIFFE verifier refuses later.
	if _, err := spiffeid.TrustDomainFromString(d); err != nil {
		return fmt.Errorf("overlay: id: trust domain: %w", err)
	}
	return nil
}

func validName(s string) bool {
	if len(s) == 0 || len(s) > 63 {
		return false
	}
	for i := range len(s) {
		c := s[i]
		switch {
		case c >= 'a' && c <= 'z', c >= '0' && c <= '9':
		case (c == '.' || c == '-') && i > 0 && i < len(s)-1:
		default:
			return false
		}
	}
	// "." and ".." never pass (both ends are letters or digits), but ".." inside could be read as a
	// path elsewhere.
	return !strings.Contains(s, "..")
}
