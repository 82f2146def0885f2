package delivery

import "fmt"

// Outcome is what became of a chunk at the hub. The zero Outcome is none of them.
type Outcome uint8

// The outcomes. All but Retry are final: the sender may forget the chunk.
const (
	Accepted  Outcome = 1 // stored now, durably
	Duplicate Outcome = 2 // was stored before, durably
	Retry     Outcome = 3 // not known to be stored: send it again later
	Rejected  Outcome = 4 // never stored as data; set aside in quarantine, with the reason
)

// String is the outcome's name: "accepted".
func (o Outcome) String() string {
	switch o {
	case Accepted:
		return "accepted"
	case Duplicate:
		return "duplicate"
	case Retry:
		return "retry"
	case Rejected:
		return "rejected"
	}
	return fmt.Sprintf("outcome(%d)", uint8(o))
}

// Start is one run of a gateway, as it says when it connects. The zero Start is a gateway that does
// not say.
type Start struct {
	Boot     uint64   // its boot counter
	Instance [16]byte // random: two copies of one gateway may have the same counter
}
