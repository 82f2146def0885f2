package ingest

import (
	"encoding/binary"
	"fmt"
	"io"
	"time"

	"vitalseal/internal/seal"
	"vitalseal/internal/store"
	"vitalseal/internal/weaken"
)

// MaxFrame bounds a frame's body in bytes: the largest envelope and the frame's own fields.
const MaxFrame = seal.MaxEnvelopeBytes + 16

// A frame is a big-endian uint32 with the length of the body, and the body: one byte type, then the type's fields.
// doc/formats/ingest.md describes them.
type frameType uint8

const (
	frameHello        frameType = 1 // both ends, first: magic, version, idle timeout
	frameAnnouncement frameType = 2 // sender: number, announcement
	frameEnvelope     frameType = 3 // sender: number, envelope
	frameAck          frameType = 4 // server: number, outcome, reason
	frameDirective    frameType = 5 // server: what it wants, argument
	framePing         frameType = 6 // sender
	framePong         frameType = 7 // server
	frameGoodbye      frameType = 8 // server, last: reason
	frameClock        frameType = 9 // both, if both speak version 2: times, and of the sender its clock's record
)

const (
	helloMagic = "vsin"
	headBytes  = 4 // length
	// numberBytes is how much of a message's body its number takes.
	numberBytes = 8

	directiveReannounce = 1 // argument: epoch id
	directiveExceed     = 2 // argument: a boot counter; the gateway's own must be above it
)

type hello struct {
	version uint8
	idle    time.Duration // how long the speaker waits for any frame before it gives up
	start   store.Start   // a sender's; zero if it does not say
	clock   helloClock    // of version 2
}

type ack struct {
	number  uint64 // of the message on this connection, counted from 0
	outcome store.Outcome
	reason  Reason
}

// message is an announcement or an envelope on the wire. data aliases the frame.
type message struct {
	kind   frameType
	number uint64
	data   []byte
}

// appendFrame appends a frame with the given body parts.
func appendFrame(b []byte, t frameType, parts ...[]byte) []byte {
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

func appendHello(b []byte, h hello) []byte {
	body := append([]byte(helloMagic), h.version)
	body = binary.BigEndian.AppendUint32(body, uint32(h.idle.Milliseconds())) // #nosec G115 -- minutes at most
	if h.start.Boot != 0 || h.clock.speaks {
		body = append(binary.BigEndian.AppendUint64(body, h.start.Boot), h.start.Instance[:]...)
	}
	if h.clock.speaks {
		body = h.clock.append(body)
	}
	return appendFrame(b, frameHello, body)
}

// appendMessage frames an outbox record's data under a number.
func appendMessage(b []byte, number uint64, data []byte) []byte {
	var n [numberBytes]byte
	binary.BigEndian.PutUint64(n[:], number)
	return appendFrame(b, frameType(data[0]), n[:], data[1:])
}

// The outcomes' numbers on the wire, apart from the store's own.
var outcomes = [...]store.Outcome{1: store.Accepted, 2: store.Duplicate, 3: store.Retry, 4: store.Rejected}

func appendAck(b []byte, a ack) []byte {
	var body [numberBytes + 2]byte
	binary.BigEndian.PutUint64(body[:], a.number)
	for i := 1; i < len(outcomes); i++ {
		if outcomes[i] == a.outcome {
			body[numberBytes] = byte(i)
		}
	}
	body[numberBytes+1] = byte(a.reason)
	return appendFrame(b, frameAck, body[:])
}

func appendReannounce(b []byte, id seal.EpochID) []byte {
	return appendFrame(b, frameDirective, []byte{directiveReannounce}, id[:])
}

func appendGoodbye(b []byte, r Reason) []byte { return appendFrame(b, frameGoodbye, []byte{byte(r)}) }

// readHead reads a frame's length and checks it.
func readHead(r io.Reader) (int, error) {
	var head [headBytes]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return 0, err
	}
	n := binary.BigEndian.Uint32(head[:])
	if n < 1 || n > MaxFrame && !weaken.Skip(weaken.FrameBound) {
		return 0, fmt.Errorf("%w: body of %d bytes, allowed is 1 to %d", ErrFrame, n, MaxFrame)
	}
	return int(n), nil
}

// readFrame reads one frame; it allocates at most MaxFrame bytes.
func readFrame(r io.Reader) (frameType, []byte, error) {
	n, err := readHead(r)
	if err != nil {
		return 0, nil, err
	}
	return readBody(r, n)
}

func readBody(r io.Reader, n int) (frameType, []byte, error) {
	body := make([]byte, n)
	if _, err := io.ReadFull(r, body); err != nil {
		return 0, nil, err
	}
	return frameType(body[0]), body[1:], nil
}

func parseHello(t frameType, body []byte) (hello, error) {
	// Later versions may add fields behind these.
	if t != frameHello || len(body) < len(helloMagic)+5 || string(body[:len(helloMagic)]) != helloMagic {
		return hello{}, fmt.Errorf("%w: no hello", ErrFrame)
	}
	body = body[len(helloMagic):]
	h := hello{version: body[0], idle: time.Duration(binary.BigEndian.Uint32(body[1:])) * time.Millisecond}
	if h.version != Version {
		return h, fmt.Errorf("%w: %d, this end speaks %d", ErrVersion, h.version, Version)
	}
	if rest := body[5:]; len(rest) >= 8+len(h.start.Instance) {
		h.start.Boot = binary.BigEndian.Uint64(rest)
		copy(h.start.Instance[:], rest[8:])
		h.clock = parseHelloClock(rest[8+len(h.start.Instance):])
	}
	return h, nil
}

func parseMessage(t frameType, body []byte) (message, error) {
	if len(body) <= numberBytes {
		return message{}, fmt.Errorf("%w: message of %d bytes", ErrFrame, len(body))
	}
	return message{kind: t, number: binary.BigEndian.Uint64(body), data: body[numberBytes:]}, nil
}

func parseAck(body []byte) (ack, error) {
	if len(body) != numberBytes+2 {
		return ack{}, fmt.Errorf("%w: ack of %d bytes", ErrFrame, len(body))
	}
	o := int(body[numberBytes])
	if o < 1 || o >= len(outcomes) {
		return ack{}, fmt.Errorf("%w: outcome %d", ErrFrame, o)
	}
	return ack{number: binary.BigEndian.Uint64(body), outcome: outcomes[o], reason: Reason(body[numberBytes+1])}, nil
}

// directive is what the hub asks of a gateway. The zero directive asks for nothing: a later version may know it.
type directive struct {
	reannounce *seal.EpochID // announce this epoch again
	exceed     uint64        // number starts above this; 0: does not say
}

func appendExceed(b []byte, boot uint64) []byte {
	var n [8]byte
	binary.BigEndian.PutUint64(n[:], boot)
	return appendFrame(b, frameDirective, []byte{directiveExceed}, n[:])
}

func parseDirective(body []byte) (d directive, err error) {
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
		d.reannounce = &id
	case directiveExceed:
		if len(argument) != 8 {
			return d, fmt.Errorf("%w: directive of %d bytes", ErrFrame, len(body))
		}
		d.exceed = binary.BigEndian.Uint64(argument)
	}
	return d, nil
}
