package overlay

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"vitalseal/internal/shared/form"
)

// maxFrame bounds a message of the enrolment and renewal protocols: 64 components with some 2 KiB
// each.
const maxFrame = 256 << 10

// Enrolment: the client sends an enrolRequest, the hub an enrolResponse, the client an enrolSaved,
// the hub an enrolSaved, each behind its length in four bytes, big endian. Renewal: a renewRequest
// and its renewResponse, up to maxRenewFrames times on one connection. doc/formats/enrolment.md
// describes them.
type enrolRequest struct {
	Version  int            `json:"version"`
	Kind     string         `json:"kind,omitempty"` // as in Ticket.Kind
	Secret   string         `json:"secret"`
	Requests []enrolElement `json:"requests"`
	// Now is the client's clock as it sends this: the hub refuses one that is wrong before it
	// redeems the ticket. Absent from clients of older versions.
	Now *time.Time `json:"now,omitempty"`
}

type enrolElement struct {
	ID  string `json:"id"`
	CSR []byte `json:"csr"` // PKCS#10, DER; only its public key and signature are used
}

type enrolResponse struct {
	Version   int      `json:"version"`
	Error     string   `json:"error,omitempty"` // one of the codes below
	SVIDs     [][]byte `json:"svids,omitempty"` // DER, in the order of the requests
	Recipient []byte   `json:"recipient,omitempty"`
}

// enrolSaved is sent by the client once its identities are on disk, and by the hub once they have
// their roles. The hub's may be missing, because the network ends the connection of an identity
// that loses the role to enrol.
type enrolSaved struct {
	Version int `json:"version"`
}

// renewRequest is a question on the renew service; its kind says which.
type renewRequest struct {
	Version  int    `json:"version"`
	Kind     string `json:"kind,omitempty"`     // "" = renew; frameHello; frameWitness (see witness.go)
	Software string `json:"software,omitempty"` // version of what the component runs, for the inventory
	CSR      []byte `json:"csr,omitempty"`      // renew with a new key: PKCS#10, DER; only its public key and signature are used
	From     int64  `json:"from,omitempty"`     // frameWitness
	// Said is what else a witness has to say, frameWitness; a hub of before this does not look at
	// it.
	Said json.RawMessage `json:"said,omitempty"`
	// Wait asks for the answer when there is something to see, frameWitness; a hub of before this
	// answers at once.
	Wait bool `json:"wait,omitempty"`
}

// The kinds of renewRequest.
const (
	frameRenew   = ""
	frameHello   = "hello"   // "I am here, and run this"; the answer says whether a new key is wanted
	frameWitness = "witness" // asks for the audit log's checkpoint
)

// maxRenewFrames bounds the questions on one connection to the renew service.
const maxRenewFrames = 8

type renewResponse struct {
	Version int             `json:"version"`
	Error   string          `json:"error,omitempty"`
	SVID    []byte          `json:"svid,omitempty"`
	Rotate  bool            `json:"rotate,omitempty"`  // frameHello: renew with a new key
	Witness json.RawMessage `json:"witness,omitempty"` // frameWitness
	Waits   bool            `json:"waits,omitempty"`   // frameWitness: the hub knows what Wait is
}

// The codes by which the hub refuses. The client learns no more than these; the cause is in the
// hub's log.
const (
	codeInvalid  = "invalid"
	codeExpired  = "expired"
	codeUsed     = "used"
	codeRefused  = "refused"
	codeInternal = "internal"
	codeNewKey   = "new-key" // renewal: only with a new key
	codeClock    = "clock"   // enrolment: the client's clock is wrong; the ticket is still good
)

func errorCode(err error) string {
	switch {
	case errors.Is(err, ErrTicketExpired):
		return codeExpired
	case errors.Is(err, ErrTicketUsed):
		return codeUsed
	case errors.Is(err, ErrTicketInvalid):
		return codeInvalid
	case errors.Is(err, ErrRefused):
		return codeRefused
	case errors.Is(err, ErrNewKey):
		return codeNewKey
	case errors.Is(err, ErrClock):
		return codeClock
	}
	return codeInternal
}

func codeError(code string) error {
	switch code {
	case "":
		return nil
	case codeExpired:
		return ErrTicketExpired
	case codeUsed:
		return ErrTicketUsed
	case codeInvalid:
		return ErrTicketInvalid
	case codeRefused:
		return ErrRefused
	case codeNewKey:
		return ErrNewKey
	case codeClock:
		return ErrClock
	}
	return fmt.Errorf("%w: the hub has an internal error", ErrUnavailable)
}

func writeFrame(w io.Writer, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("overlay: frame: %w", err)
	}
	if len(b) > maxFrame {
		return fmt.Errorf("overlay: frame: %d bytes; %d are allowed", len(b), maxFrame)
	}
	_, err = w.Write(append(binary.BigEndian.AppendUint32(nil, uint32(len(b))), b...)) // #nosec G115 -- bounded above
	return err
}

func readFrame(r io.Reader, v any) error {
	var head [4]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return fmt.Errorf("overlay: frame: %w", err)
	}
	n := binary.BigEndian.Uint32(head[:])
	if n > maxFrame {
		return fmt.Errorf("overlay: frame: %d bytes announced; %d are allowed", n, maxFrame)
	}
	// Grows with what arrives, so that announcing a long frame costs the peer as much as us.
	b, err := io.ReadAll(io.LimitReader(r, int64(n)))
	if err != nil {
		return fmt.Errorf("overlay: frame: %w", err)
	}
	if len(b) != int(n) {
		return fmt.Errorf("overlay: frame: %w", io.ErrUnexpectedEOF)
	}
	if twice := form.Twice(b); twice != "" { // which of two values counted would be chance
		return fmt.Errorf("overlay: frame: %s", twice)
	}
	if err := json.Unmarshal(b, v); err != nil {
		return errors.New("overlay: frame: malformed JSON") // the cause could quote a secret
	}
	return nil
}
