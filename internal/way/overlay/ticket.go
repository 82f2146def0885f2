package overlay

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"time"

	"vitalseal/internal/shared/disk"
	"vitalseal/internal/shared/form"
)

const (
	// MaxTicketComponents bounds what one ticket enrols: a gateway and its sensors.
	MaxTicketComponents = 64
	maxTicketBytes      = 512 << 10
	maxTokenBytes       = 8 << 10
	minSecretBytes      = 20
	maxSecretBytes      = 128
)

// Ticket lets the components it names enrol, once, until it expires. Its holder can do so: hand it
// over like a key. It is a JSON file; doc/formats/ticket.md describes it.
type Ticket struct {
	Version         int               `json:"version"`          // 1
	Kind            string            `json:"kind,omitempty"`   // KindHub or KindRouter for a ticket of one hub or router; else empty
	Deployment      string            `json:"deployment"`       // trust domain
	RootSHA256      string            `json:"root_sha256"`      // of the authority's root, hex
	RecipientSHA256 string            `json:"recipient_sha256"` // of the hub's recipient key, hex
	Secret          string            `json:"secret"`           // presented to the hub only after it has proven itself
	Expires         time.Time         `json:"expires"`
	Components      []TicketComponent `json:"components"` // the first one dials
}

// TicketComponent is one identity that a ticket enrols.
type TicketComponent struct {
	ID      string `json:"id"`       // SPIFFE id
	ZitiJWT string `json:"ziti_jwt"` // OpenZiti's one-time token
}

// NewTicketSecret returns a secret of 130 random bits, for Ticket.Secret.
func NewTicketSecret() string { return rand.Text() }

// ParseTicket reads and checks a ticket; ErrTicketInvalid names the field. It does not look at the
// clock.
func ParseTicket(b []byte) (Ticket, error) {
	if len(b) > maxTicketBytes {
		return Ticket{}, fmt.Errorf("%w: longer than %d bytes", ErrTicketInvalid, maxTicketBytes)
	}
	if twice := form.Twice(b); twice != "" { // which of two roots or secrets counted would be chance
		return Ticket{}, fmt.Errorf("%w: %s", ErrTicketInvalid, twice)
	}
	var t Ticket
	if err := json.Unmarshal(b, &t); err != nil {
		return Ticket{}, fmt.Errorf("%w: not a ticket's JSON", ErrTicketInvalid) // the cause could quote the secret
	}
	if t.Version == 0 {
		return Ticket{}, fmt.Errorf("%w: %s", ErrTicketInvalid, otherFile(b))
	}
	if _, err := t.check(); err != nil {
		return Ticket{}, err
	}
	return t, nil
}

// otherFile says what JSON is that is no ticket: the hub's first start writes a sign-in and a
// ticket beside each other.
func otherFile(b []byte) string {
	var signIn struct {
		Login    json.RawMessage `json:"login"`
		Password json.RawMessage `json:"password"`
	}
	if json.Unmarshal(b, &signIn) == nil && signIn.Login != nil && signIn.Password != nil {
		return "this is not a ticket (it holds a sign-in); a ticket's name ends in .ticket, as in first-workstation.ticket"
	}
	return "this is not a ticket: it has no version"
}

// ReadTicket reads a ticket file.
func ReadTicket(path string) (Ticket, error) {
	b, err := disk.ReadPrivate(path, maxTicketBytes)
	if err != nil {
		return Ticket{}, fmt.Errorf("overlay: read ticket: %w", err)
	}
	t, err := ParseTicket(b)
	if err != nil {
		return Ticket{}, fmt.Errorf("%s: %w", path, err)
	}
	return t, nil
}

// WriteTicket checks a ticket and writes it to path with mode 0600.
func WriteTicket(path string, t Ticket) error {
	if _, err := t.check(); err != nil {
		return err
	}
	b, err := json.MarshalIndent(t, "", "\t") // #nosec G117 -- a ticket is a secret, in a 0600 file
	if err != nil {
		return fmt.Errorf("overlay: write ticket: %w", err)
	}
	return WriteSecretFile(path, b)
}

// Expired returns ErrTicketExpired when the ticket's time is over.
func (t Ticket) Expired(now time.Time) error {
	if now.After(t.Expires) {
		return fmt.Errorf("%w at %s", ErrTicketExpired, t.Expires.UTC().Format(time.RFC3339))
	}
	return nil
}

// checkedTicket is what a ticket means.
type checkedTicket struct {
	root, recipient [32]byte
	ids             []ID
}

func (t Ticket) check() (checkedTicket, error) {
	var c checkedTicket
	refuse := func(format string, args ...any) (checkedTicket, error) {
		return checkedTicket{}, fmt.Errorf("%w: "+format, append([]any{ErrTicketInvalid}, args...)...)
	}
	if t.Version != 1 {
		return refuse("version %d is not 1", t.Version)
	}
	if err := validDomain(t.Deployment); err != nil {
		return refuse("deployment: %w", err)
	}
	if !parseHash(t.RootSHA256, &c.root) {
		return refuse("root_sha256 is not 64 hexadecimal digits")
	}
	if !parseHash(t.RecipientSHA256, &c.recipient) {
		return refuse("recipient_sha256 is not 64 hexadecimal digits")
	}
	if n := len(t.Secret); n < minSecretBytes || n > maxSecretBytes {
		return refuse("secret has %d characters; %d to %d are allowed", n, minSecretBytes, maxSecretBytes)
	}
	if t.Expires.IsZero() {
		return refuse("expires is missing")
	}
	if n := len(t.Components); n == 0 || n > MaxTicketComponents {
		return refuse("%d components; 1 to %d are allowed", n, MaxTicketComponents)
	}
	seen := map[ID]bool{}
	for n, comp := range t.Components {
		id, err := ParseID(comp.ID)
		if err != nil {
			return refuse("components[%d].id: %w", n, err)
		}
		switch {
		case id.Domain != t.Deployment:
			return refuse("components[%d].id is not in trust domain %s", n, t.Deployment)
		case (id.Kind == KindHub || id.Kind == KindRouter) && (t.Kind != id.Kind || len(t.Components) != 1):
			return refuse("components[%d].id is a %s, which enrols by a ticket of that kind and alone", n, id.Kind)
		case t.Kind != "" && t.Kind != id.Kind:
			return refuse("components[%d].id is not of the ticket's kind %.20q", n, t.Kind)
		case seen[id]:
			return refuse("components[%d].id stands twice", n)
		case comp.ZitiJWT == "" || len(comp.ZitiJWT) > maxTokenBytes:
			return refuse("components[%d].ziti_jwt has %d characters; 1 to %d are allowed", n, len(comp.ZitiJWT), maxTokenBytes)
		}
		seen[id] = true
		c.ids = append(c.ids, id)
	}
	return c, nil
}

func parseHash(s string, out *[32]byte) bool {
	b, err := hex.DecodeString(s)
	if err != nil || len(b) != len(out) {
		return false
	}
	copy(out[:], b)
	return true
}

// HexSHA256 returns the fingerprint of b as tickets carry it.
func HexSHA256(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}
