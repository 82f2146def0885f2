package delivery

import (
	"encoding/binary"
	"fmt"
	"io"
	"time"

	"vitalseal/internal/way/seal"
)

// MaxFrame bounds a frame's body in bytes: the largest envelope and the frame's own fields.
const MaxFrame = seal.MaxEnvelopeBytes + 16

// MaxMessage bounds an outbox record's data in bytes: what goes into a frame beside the message's
// number.
const MaxMessage = MaxFrame - numberBytes

// The bounds that both ends keep.
const (
	MaxInflight  = 64               // messages sent and not yet settled
	IdleTimeout  = 15 * time.Second // without a frame from the other end, the connection is given up
	WriteTimeout = 10 * time.Second
	HelloTimeout = 10 * time.Second
	BufferBytes  = 32 << 10
)

// FrameType says what a frame holds. A frame is a big-endian uint32 with the length of the body,
// and the body: one byte type, then the type's fields. doc/formats/ingest.md describes them.
type FrameType uint8

// The types. The numbers are part of the protocol.
const (
	FrameHello        FrameType = 1 // both ends, first: magic, version, idle timeout
	FrameAnnouncement FrameType = 2 // sender: number, announcement
	FrameEnvelope     FrameType = 3 // sender: number, envelope
	FrameAck          FrameType = 4 // server: number, outcome, reason
	FrameDirective    FrameType = 5 // server: what it wants, argument
	FramePing         FrameType = 6 // sender
	FramePong         FrameType = 7 // server
	FrameGoodbye      FrameType = 8 // server, last: reason
	FrameClock        FrameType = 9 // both, if both speak version 2: times, and of the sender its clock's record
)

const (
	helloMagic = "vsin"
	headBytes  = 4 // length
	// numberBytes is how much of a message's body its number takes.
	numberBytes = 8

	directiveReannounce = 1 // argument: epoch id
	directiveExceed     = 2 // argument: a boot counter; the gateway's own must be above it
)

// Hello is the first frame of either end.
type Hello struct {
	Version uint8
	Idle    time.Duration // how long the speaker waits for any frame before it gives up
	Start   Start         // a sender's; zero if it does not say
	Clock   HelloClock    // of version 2
}

// Ack is the hub's answer to one message.
type Ack struct {
	Number  uint64 // of the message on this connection, counted from 0
	Outcome Outcome
	Reason  Reason
}

// Numbered is an announcement or an envelope on the wire. Data aliases the frame.
type Numbered struct {
	Kind   FrameType
	Number uint64
	Data   []byte
}

// AppendFrame appends a frame with the given body parts.
func AppendFrame(b []byte, t FrameType, parts ...[]byte) []byte {
	n := 1
	for _, p := range parts {
		n += len(p)
	}
	b = binary.BigEndian.AppendUint32(b, uint32(n)) // #nosec G115 -- callers keep bodies within MaxFrame
	b = append(b, byte(t))
	for _, p := range parts {
		b = append(b, p...)
	}
	return b
}

// AppendHello appends the frame.
func AppendHello(b []byte, h Hello) []byte {
	body := append([]byte(helloMagic), h.Version)
	body = binary.BigEndian.AppendUint32(body, uint32(h.Idle.Milliseconds())) // #nosec G115 -- minutes at most
	if h.Start.Boot != 0 || h.Clock.Speaks {
		body = append(binary.BigEndian.AppendUint64(body, h.Start.Boot), h.Start.Instance[:]...)
	}
	if h.Clock.Speaks {
		body = h.Clock.append(body)
	}
	return AppendFrame(b, FrameHello, body)
}

// AppendNumbered frames an outbox record's data under a number.
func AppendNumbered(b []byte, number uint64, data []byte) []byte {
	var n [numberBytes]byte
	binary.BigEndian.PutUint64(n[:], number)
	return AppendFrame(b, FrameType(data[0]), n[:], data[1:])
}

// The outcomes' numbers on the wire, apart from the store's own.
var outcomes = [...]Outcome{1: Accepted, 2: Duplicate, 3: Retry, 4: Rejected}

// AppendAck appends the frame.
func AppendAck(b []byte, a Ack) []byte {
	var body [numberBytes + 2]byte
	binary.BigEndian.PutUint64(body[:], a.Number)
	for i := 1; i < len(outcomes); i++ {
		if outcomes[i] == a.Outcome {
			body[numberBytes] = byte(i)
		}
	}
	body[numberBytes+1] = byte(a.Reason)
	return AppendFrame(b, FrameAck, body[:])
}

// AppendReannounce appends the directive to announce an epoch again.
func AppendReannounce(b []byte, id seal.EpochID) []byte {
	return AppendFrame(b, FrameDirective, []byte{directiveReannounce}, id[:])
}

// AppendGoodbye appends the frame.
func AppendGoodbye(b []byte, r Reason) []byte { return AppendFrame(b, FrameGoodbye, []byte{byte(r)}) }

// ReadHead reads a frame's length in bytes and checks it. It wraps ErrFrame, and ErrBroken where
// the connection ended inside the head; between frames it is the connection's own error.
func ReadHead(r io.Reader) (int, error) {
	var head [headBytes]byte
	if got, err := io.ReadFull(r, head[:]); err != nil {
		if got > 0 {
			err = fmt.Errorf("%w: %w", ErrBroken, err)
		}
		return 0, err
	}
	n := binary.BigEndian.Uint32(head[:])
	//defence:frame-bound frames are bounded
	if n < 1 || n > MaxFrame {
		return 0, fmt.Errorf("%w: body of %d bytes, allowed is 1 to %d", ErrFrame, n, MaxFrame)
	}
	return int(n), nil
}

// ReadFrame reads one frame; it allocates at most MaxFrame bytes.
func ReadFrame(r io.Reader) (FrameType, []byte, error) {
	n, err := ReadHead(r)
	if err != nil {
		return 0, nil, err
	}
	return ReadBody(r, n)
}

// ReadBody reads the n bytes behind a head. Its error wraps ErrBroken.
func ReadBody(r io.Reader, n int) (FrameType, []byte, error) {
	body := make([]byte, n)
	if _, err := io.ReadFull(r, body); err != nil {
		return 0, nil, fmt.Errorf("%w: %w", ErrBroken, err)
	}
	return FrameType(body[0]), body[1:], nil
}

// ParseHello reads a hello. It wraps ErrFrame and ErrVersion.
func ParseHello(t FrameType, body []byte) (Hello, error) {
	// Later versions may add fields behind these.
	if t != FrameHello || len(body) < len(helloMagic)+5 || string(body[:len(helloMagic)]) != helloMagic {
		return Hello{}, fmt.Errorf("%w: no hello", ErrFrame)
	}
	body = body[len(helloMagic):]
	h := Hello{Version: body[0], Idle: time.Duration(binary.BigEndian.Uint32(body[1:])) * time.Millisecond}
	if h.Version != Version {
		return h, fmt.Errorf("%w: %d, this end speaks %d", ErrVersion, h.Version, Version)
	}
	if rest := body[5:]; len(rest) >= 8+len(h.Start.Instance) {
		h.Start.Boot = binary.BigEndian.Uint64(rest)
		copy(h.Start.Instance[:], rest[8:])
		h.Clock = parseHelloClock(rest[8+len(h.Start.Instance):])
	}
	return h, nil
}

// ParseNumbered reads a FrameAnnouncement or FrameEnvelope. It wraps ErrFrame.
func ParseNumbered(t FrameType, body []byte) (Numbered, error) {
	if len(body) <= numberBytes {
		return Numbered{}, fmt.Errorf("%w: message of %d bytes", ErrFrame, len(body))
	}
	return Numbered{Kind: t, Number: binary.BigEndian.Uint64(body), Data: body[numberBytes:]}, nil
}

// ParseAck reads a FrameAck. It wraps ErrFrame.
func ParseAck(body []byte) (Ack, error) {
	if len(body) != numberBytes+2 {
		return Ack{}, fmt.Errorf("%w: ack of %d bytes", ErrFrame, len(body))
	}
	o := int(body[numberBytes])
	if o < 1 || o >= len(outcomes) {
		return Ack{}, fmt.Errorf("%w: outcome %d", ErrFrame, o)
	}
	return Ack{Number: binary.BigEndian.Uint64(body), Outcome: outcomes[o], Reason: Reason(body[numberBytes+1])}, nil
}

// Directive is what the hub asks of a gateway. The zero Directive asks for nothing: a later version
// may know it.
type Directive struct {
	Reannounce *seal.EpochID // announce this epoch again
	Exceed     uint64        // number starts above this; 0: does not say
}

// AppendExceed appends the directive to number starts above boot.
func AppendExceed(b []byte, boot uint64) []byte {
	var n [8]byte
	binary.BigEndian.PutUint64(n[:], boot)
	return AppendFrame(b, FrameDirective, []byte{directiveExceed}, n[:])
}

// ParseDirective reads a FrameDirective. It wraps ErrFrame.
func ParseDirective(body []byte) (d Directive, err error) {
	if len(body) < 1 {
		return d, fmt.Errorf("%w: empty directive", ErrFrame)
	}
	switch argument := body[1:]; body[0] {
	case directiveReannounce:
		var id seal.EpochID
		if len(argument) != len(id) {
			return d, fmt.Errorf("%w: directive of %d bytes", ErrFrame, len(body))
		}
		copy(id[:], argument)
		d.Reannounce = &id
	case directiveExceed:
		if len(argument) != 8 {
			return d, fmt.Errorf("%w: directive of %d bytes", ErrFrame, len(body))
		}
		d.Exceed = binary.BigEndian.Uint64(argument)
	}
	return d, nil
}

// ParseGoodbye reads the last frame of a hub that ends the connection, as an error: a *Refusal or
// ErrFrame.
func ParseGoodbye(body []byte) error {
	if len(body) != 1 {
		return fmt.Errorf("%w: goodbye of %d bytes", ErrFrame, len(body))
	}
	return &Refusal{Reason(body[0])}
}

// Refusal is a goodbye, which is an ErrRefused.
type Refusal struct{ Reason Reason }

func (r *Refusal) Error() string { return ErrRefused.Error() + ": " + r.Reason.String() }

// Is reports whether target is ErrRefused.
func (r *Refusal) Is(target error) bool { return target == ErrRefused }
