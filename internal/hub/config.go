package hub

import (
	_ "embed"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"vitalseal/internal/hub/access"
	"vitalseal/internal/hub/archive"
	"vitalseal/internal/hub/channel"
	"vitalseal/internal/hub/fleet"
	"vitalseal/internal/hub/signin"
	"vitalseal/internal/hub/sink"
	"vitalseal/internal/view/thingspeak"
	"vitalseal/internal/way/overlay"
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
	// Name is this hub's, the last part of its SPIFFE id. Hubs on one database have names of their own.
	Name string `yaml:"name"`
	// Database is PostgreSQL's connection string, or file:PATH of a file that holds it; empty for files in Data.
	Database string `yaml:"database"`
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
	// TwoPersons says whether what gives access to patients may take two persons: auto (or empty), or off.
	TwoPersons string `yaml:"two_persons"`
	// ConfirmAfter is how long a sensor must have been silent for the bed to ask, when it speaks again, whether it is still on the
	// same patient; store.DefaultConfirmAfter if zero.
	ConfirmAfter time.Duration `yaml:"confirm_after"`
	// Host is the one name under which workstations open the dashboard; passkeys are bound to it.
	Host string `yaml:"host"`
	// OpenID lets people sign in at the hospital's own provider; without an issuer this is off.
	OpenID OpenIDConfig `yaml:"openid"`
	// Retention is how long readings stay.
	Retention RetentionConfig `yaml:"retention"`
	// ThingSpeak is about the face that speaks like it.
	ThingSpeak ThingSpeakConfig `yaml:"thingspeak"`
	// Quotas bound what one person and one workstation may take.
	Quotas QuotaConfig `yaml:"quotas"`
	// Disk is about the disk of Data.
	Disk DiskConfig `yaml:"disk"`
	// Cloud is about forwarding channels to a cloud.
	Cloud CloudConfig `yaml:"cloud"`
	// Version is the software's, for the inventory; it is no key of the file.
	Version string `yaml:"-"`
}

// RetentionConfig is how many days readings stay, by their day; 0 for ever.
type RetentionConfig struct {
	WaveformDays int `yaml:"waveform_days"`
	NumericDays  int `yaml:"numeric_days"`
	TrendDays    int `yaml:"trend_days"`
}

func (c RetentionConfig) retention() archive.Retention {
	const day = 24 * time.Hour
	return archive.Retention{Waveforms: time.Duration(c.WaveformDays) * day, Numerics: time.Duration(c.NumericDays) * day, Sums: time.Duration(c.TrendDays) * day}
}

func (c RetentionConfig) validate() error {
	const most = 36500
	for _, x := range []struct {
		key       string
		days, low int
	}{{"waveform_days", c.WaveformDays, 1}, {"numeric_days", c.NumericDays, 1}, {"trend_days", c.TrendDays, int(archive.MinRetention / (24 * time.Hour))}} {
		if x.days != 0 && (x.days < x.low || x.days > most) {
			return fmt.Errorf("hub: configuration: retention: %s: %d is not 0 (for ever) or %d to %d", x.key, x.days, x.low, most)
		}
	}
	return nil
}

// OpenIDConfig is the hospital's OpenID Connect provider and what its claims mean here.
type OpenIDConfig struct {
	Issuer   string `yaml:"issuer"`    // https://...
	ClientID string `yaml:"client_id"` // as registered there, with the redirect address https://HOST:PORT/api/session/oidc/callback
	// ClientSecretFile holds the client's secret; empty for a public client.
	ClientSecretFile string `yaml:"client_secret_file"`
	// NoAuthTime takes the word of a provider that does not say when a person proved who they are (the claim auth_time).
	NoAuthTime bool `yaml:"no_auth_time"`
	// RoleClaim is the claim that says the role, with dots for one within others (realm_access.roles), and Roles what its values mean.
	RoleClaim string                 `yaml:"role_claim"`
	Roles     map[string]access.Role `yaml:"roles"`
}

// ThingSpeakConfig is about the ThingSpeak-compatible face.
type ThingSpeakConfig struct {
	// Profile is how often and how much a channel may be written: generous, thingspeak or thingspeak-paid.
	Profile string `yaml:"profile"`
}

// CloudConfig is how the hub speaks to clouds that channels are forwarded to. The way there is an egress.
type CloudConfig struct {
	// CAFile holds the certificate authorities of the cloud, in PEM; empty: the system's.
	CAFile string `yaml:"ca_file"`
	// Interval is the time between two requests about one channel.
	Interval time.Duration `yaml:"interval"`
	// Rescan is how late something may arrive and still be forwarded.
	Rescan time.Duration `yaml:"rescan"`
}

func (c CloudConfig) validate() error {
	switch {
	case c.Interval != 0 && (c.Interval < time.Second || c.Interval > time.Hour):
		return fmt.Errorf("hub: configuration: cloud: interval: %v is not within 1s to 1h", c.Interval)
	case c.Rescan != 0 && (c.Rescan < time.Minute || c.Rescan > channel.MaxRescan):
		return fmt.Errorf("hub: configuration: cloud: rescan: %v is not within 1m to %v", c.Rescan, channel.MaxRescan)
	}
	return nil
}

// OverlayConfig names the one-time tokens that the overlay wrote for this hub; they are used at the first start.
type OverlayConfig struct {
	// HubToken enrols the hub itself, which may host its services and nothing more.
	HubToken string `yaml:"hub_token"`
	// Ticket is of a hub that joins others on a database, in place of both tokens.
	Ticket string `yaml:"ticket"`
	// AdminToken enrols the identity that administers the network: creates, disables and deletes identities.
	AdminToken string `yaml:"admin_token"`
	// ReconcileEvery is how often the network is held against the inventory and the policies; 5 s if zero.
	ReconcileEvery time.Duration `yaml:"reconcile_every"`
}

// Default is the configuration that every file starts from.
func Default() Config {
	return Config{Name: "hub", IdentityLifetime: 24 * time.Hour, TicketLifetime: 24 * time.Hour, ConfirmAfter: archive.DefaultConfirmAfter, Host: signin.DefaultHost, TwoPersons: TwoPersonsAuto, Overlay: OverlayConfig{ReconcileEvery: fleet.ReconcileEvery},
		ThingSpeak: ThingSpeakConfig{Profile: "generous"}, Quotas: defaultQuotas(), Disk: DiskConfig{}.orDefault(), Cloud: CloudConfig{Interval: sink.MinInterval, Rescan: 24 * time.Hour}}
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
	case !hubName(c.Name):
		return fmt.Errorf("hub: configuration: name: %q is not the last part of a SPIFFE id, such as hub-2", c.Name)
	case c.Name != "hub" && c.Database == "":
		return errors.New("hub: configuration: name: only hubs that share a database have names of their own; give database, or leave name out")
	case c.IdentityLifetime < time.Minute || c.IdentityLifetime > 90*24*time.Hour:
		return fmt.Errorf("hub: configuration: identity_lifetime: %v is not within 1m to 2160h", c.IdentityLifetime)
	case c.Overlay.ReconcileEvery != 0 && (c.Overlay.ReconcileEvery < time.Second || c.Overlay.ReconcileEvery > time.Hour):
		return fmt.Errorf("hub: configuration: overlay: reconcile_every: %v is not within 1s to 1h", c.Overlay.ReconcileEvery)
	case c.TicketLifetime < time.Minute || c.TicketLifetime > 30*24*time.Hour:
		return fmt.Errorf("hub: configuration: ticket_lifetime: %v is not within 1m to 720h", c.TicketLifetime)
	case c.ConfirmAfter != 0 && (c.ConfirmAfter < archive.MinConfirmAfter || c.ConfirmAfter > archive.MaxConfirmAfter):
		return fmt.Errorf("hub: configuration: confirm_after: %v is not within %v to %v", c.ConfirmAfter, archive.MinConfirmAfter, archive.MaxConfirmAfter)
	case c.Host == "" || strings.ContainsAny(c.Host, ":/ "):
		return fmt.Errorf("hub: configuration: host: %q is not a host name, such as %s", c.Host, signin.DefaultHost)
	}
	return errors.Join(c.Retention.validate(), c.OpenID.validate(), c.ThingSpeak.validate(), c.Quotas.validate(), c.Disk.validate(), c.Cloud.validate(), c.validateTwoPersons())
}

func (c ThingSpeakConfig) validate() error {
	if _, err := thingspeak.Profile(c.Profile); err != nil {
		return fmt.Errorf("hub: configuration: thingspeak: profile: %w", err)
	}
	return nil
}

func (c OpenIDConfig) validate() error {
	if c.Issuer == "" {
		return nil
	}
	u, err := url.Parse(c.Issuer)
	switch {
	case err != nil || u.Host == "" || u.Scheme != "https" && u.Hostname() != "127.0.0.1" && u.Hostname() != "localhost":
		return fmt.Errorf("hub: configuration: openid: issuer: %q is not an https address", c.Issuer)
	case c.ClientID == "":
		return errors.New("hub: configuration: openid: client_id: missing; the provider gave it when this hub was registered there")
	case c.RoleClaim == "" || len(c.Roles) == 0:
		return errors.New("hub: configuration: openid: role_claim and roles: missing; no user would get a role")
	}
	for value, role := range c.Roles {
		if !role.Valid() {
			return fmt.Errorf("hub: configuration: openid: roles: %s: %q is none of %v", value, role, access.Roles())
		}
	}
	return nil
}

// hubName reports whether name can be a hub's.
func hubName(name string) bool {
	id, err := overlay.ParseID("spiffe://ward.example.org/" + overlay.KindHub + "/" + name)
	return err == nil && id.Name == name && len(name) <= 48
}

// domain reports whether name can be the trust domain of SPIFFE ids.
func domain(name string) bool {
	_, err := overlay.ParseID("spiffe://" + name + "/" + overlay.KindHub + "/hub")
	return err == nil
}
