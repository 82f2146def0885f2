package rogue

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"time"
)

// The frames of doc/formats/ingest.md, as an attacker writes them.
const (
	FrameHello        = 1
	FrameAnnouncement = 2
	FrameEnvelope     = 3
	frameAck          = 4
	frameDirective    = 5
	FrameGoodbye      = 8

	OutcomeAccepted  = 1
	OutcomeDuplicate = 2
	OutcomeRetry     = 3
	OutcomeRejected  = 4
)

// Acked is what became of a message, in one word for [attack.Right].
func Acked(outcome, reason byte) string { return fmt.Sprintf("outcome %d, reason %d", outcome, reason) }

// Talk is one connection to ingest after its hello.
type Talk struct {
	Conn   net.Conn
	number uint64
}

// ErrGoodbye says that the hub ended the connection by its own word.
var ErrGoodbye = errors.New("the hub said goodbye")

// Write writes one frame.
func (k *Talk) Write(kind byte, body []byte) error {
	b := binary.BigEndian.AppendUint32(nil, uint32(len(body)+1)) // #nosec G115 -- short frames of our own
	_, err := k.Conn.Write(append(append(b, kind), body...))
	return err
}

// Read reads one frame of at most 128 KiB.
func (k *Talk) Read() (kind byte, body []byte, err error) {
	var head [4]byte
	if _, err := io.ReadFull(k.Conn, head[:]); err != nil {
		return 0, nil, err
	}
	n := binary.BigEndian.Uint32(head[:])
	if n < 1 || n > 1<<17 {
		return 0, nil, fmt.Errorf("a frame of %d bytes", n)
	}
	body = make([]byte, n)
	_, err = io.ReadFull(k.Conn, body)
	return body[0], body[1:], err
}

// Send sends an announcement or envelope and waits for what becomes of it: outcome and reason.
func (k *Talk) Send(kind byte, data []byte) (outcome, reason byte, err error) {
	if err := k.Conn.SetDeadline(time.Now().Add(15 * time.Second)); err != nil {
		return 0, 0, err
	}
	n := k.number
	k.number++
	if err := k.Write(kind, append(binary.BigEndian.AppendUint64(nil, n), data...)); err != nil {
		return 0, 0, err
	}
	for {
		kind, body, err := k.Read()
		switch {
		case err != nil:
			return 0, 0, err
		case kind == FrameGoodbye:
			return 0, 0, fmt.Errorf("%w: reason %d", ErrGoodbye, body)
		case kind == frameAck && len(body) == 10 && binary.BigEndian.Uint64(body) == n:
			return body[8], body[9], nil
		}
	}
}

// Announce sends an announcement that must be taken.
func (k *Talk) Announce(said []byte) error {
	o, r, err := k.Send(FrameAnnouncement, said)
	if err == nil && o != OutcomeAccepted && o != OutcomeDuplicate {
		err = fmt.Errorf("the announcement: outcome %d, reason %d", o, r)
	}
	return err
}

// Ping sends a ping and waits three seconds for its answer.
func (k *Talk) Ping() error {
	if err := k.Conn.SetDeadline(time.Now().Add(3 * time.Second)); err != nil {
		return err
	}
	if err := k.Write(6, nil); err != nil {
		return err
	}
	kind, body, err := k.Read()
	switch {
	case err == nil && kind == FrameGoodbye && len(body) == 1:
		err = fmt.Errorf("%w: reason %d", ErrGoodbye, body[0])
	case err == nil && kind != 7:
		err = fmt.Errorf("frame %d %x", kind, body)
	}
	return err
}
