package access

import (
	"slices"
	"time"
)

// Grant is the proof of a decision: its holder may do one action on one resource until it expires, or, for a
// standing grant, some actions on every resource. Only an Engine makes one; the zero Grant allows nothing. It is a
// value, immutable and safe for concurrent use.
type Grant struct {
	holder      string // person id, or engine name
	workstation string
	actions     []Action // never changed once made
	resource    Resource
	standing    bool
	key         bool // an API key asked
	expires     time.Time
	view        string // of a view that is joined with like ones (DecideView); empty: of no view
}

// Allows reports whether the grant covers a on r at the moment now.
func (g Grant) Allows(a Action, r Resource, now time.Time) bool {
	if a == "" || !slices.Contains(g.actions, a) {
		return false
	}
	if g.standing {
		return true
	}
	return g.resource == r && !now.IsZero() && now.Before(g.expires)
}

// Expires is when the grant ends. The zero time means never for a standing grant, and nothing for the zero Grant.
func (g Grant) Expires() time.Time { return g.expires }

// Standing reports whether the grant is a standing one, of an engine of the hub.
func (g Grant) Standing() bool { return g.standing }

// Holder is the id of the person who was granted, or "engine:NAME". It is empty for the zero Grant.
func (g Grant) Holder() string { return g.holder }
