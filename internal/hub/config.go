package hub

import (
	_ "embed"
	"errors"
	"fmt"
	"time"

	"vitalseal/internal/overlay"
)

// Example is hub.example.yaml: every key of Config with its meaning and default.
//
//go:embed hub.example.yaml
var Example []byte

// Config is a hub's configuration. hub.example.yaml documents every key.
type Config struct {
	// Data is the folder that holds everything the hub keeps.
	Data string `yaml:"data"`
	// Deployment is the trust domain of all SPIFFE ids, fixed at the first start.
	Deployment string `yaml:"deployment"`
	// Overlay says how to reach the OpenZiti network.
	Overlay OverlayConfig `yaml:"overlay"`
	// IdentityLifetime is how long a component's certificate lives; it is renewed at half of that.
	IdentityLifetime time.Duration `yaml:"identity_lifetime"`
	// TicketLifetime is how long an enrolment ticket may be used.
	TicketLifetime time.Duration `yaml:"ticket_lifetime"`
	// SecureCookies marks session cookies Secure: right whenever workstations serve TLS on loopback, wrong for plain HTTP.
	SecureCookies bool `yaml:"secure_cookies"`
	// Policies is a Cedar policy file that replaces the built-in one; empty for the built-in one.
	Policies string `yaml:"policies"`
}

// OverlayConfig names the one-time tokens that the overlay wrote for this hub; they are used at the first start.
type OverlayConfig struct {
	// HubToken enrols the hub itself, which may host its services and nothing more.
	HubToken string `yaml:"hub_token"`
	// AdminToken enrols the identity that administers the network: creates, disables and deletes identities.
	AdminToken string `yaml:"admin_token"`
}

// Default is the configuration that every file starts from.
func Default() Config {
	return Config{IdentityLifetime: 24 * time.Hour, TicketLifetime: 24 * time.Hour}
}

// Validate names the first key that is missing or out of range.
func (c Config) Validate() error {
	switch {
	case c.Data == "":
		return errors.New("hub: configuration: data: missing; name the folder that holds everything the hub keeps")
	case c.Deployment == "":
		return errors.New("hub: configuration: deployment: missing; give a domain of your own, such as ward.example.org")
	case !domain(c.Deployment):
		return fmt.Errorf("hub: configuration: deployment: %q is not a lower-case domain name, such as ward.example.org", c.Deployment)
	case c.IdentityLifetime < time.Minute || c.IdentityLifetime > 90*24*time.Hour:
		return fmt.Errorf("hub: configuration: identity_lifetime: %v is not within 1m to 2160h", c.IdentityLifetime)
	case c.TicketLifetime < time.Minute || c.TicketLifetime > 30*24*time.Hour:
		return fmt.Errorf("hub: configuration: ticket_lifetime: %v is not within 1m to 720h", c.TicketLifetime)
	}
	return nil
}

// domain reports whether name can be the trust domain of SPIFFE ids.
func domain(name string) bool {
	_, err := overlay.ParseID("spiffe://" + name + "/" + overlay.KindHub + "/hub")
	return err == nil
}
