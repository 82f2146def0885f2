// Package wire takes apart what comes over the network in `vitalseal bench peers`: the packets of a
// broker, and the messages that a gateway of the comparison sent through it.
//
// It is a package of its own so that it can be fuzzed without all that a measurement starts. It
// guarantees that no bytes make it panic or take more than a packet's bound of memory. It is no
// MQTT client, and protects nothing.
package wire

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strconv"
	"time"
)

// ErrBroker says that the broker said something it should not.
var ErrBroker = errors.New("measure: the broker does not speak MQTT 3.1.1")

// MaxPacket bounds one packet of the broker, in bytes.
const MaxPacket = 1 << 20

// Publish is the first byte of a message's packet, without its flags.
const Publish = 0x30

// ReadPacket reads one packet into buf, or a larger one.
func ReadPacket(r *bufio.Reader, buf []byte) (kind byte, body []byte, err error) {
	if kind, err = r.ReadByte(); err != nil {
		return 0, buf, err
	}
	n, err := binary.ReadUvarint(r)
	if err != nil {
		return 0, buf, fmt.Errorf("%w: %w", ErrBroker, err)
	}
	if n > MaxPacket {
		return 0, buf, fmt.Errorf("%w: a packet of %d bytes", ErrBroker, n)
	}
	if uint64(cap(buf)) < n {
		buf = make([]byte, n)
	}
	buf = buf[:n]
	_, err = io.ReadFull(r, buf)
	return kind, buf, err
}

// Message takes a PUBLISH with QoS 1 apart.
func Message(kind byte, body []byte) (id uint16, payload []byte, err error) {
	if kind&0xf6 != Publish|0x02 || len(body) < 2 {
		return 0, nil, fmt.Errorf("%w: packet %#x of %d bytes is no message", ErrBroker, kind, len(body))
	}
	n := 2 + int(binary.BigEndian.Uint16(body))
	if len(body) < n+2 {
		return 0, nil, fmt.Errorf("%w: a message of %d bytes with a topic of %d", ErrBroker, len(body), n-2)
	}
	return binary.BigEndian.Uint16(body[n:]), body[n+2:], nil
}

// Points reads back what the storing program has to know of a message: how many points, and the
// time of the oldest. Messages come over a network, so this takes any bytes; ok is false for what
// no gateway of the comparison made.
func Points(b []byte) (points int, oldest time.Time, ok bool) {
	const digits = 13 // milliseconds since 1970, until the year 2286
	end := -1
	for i, c := range b {
		if c == '\n' {
			if points++; end < 0 {
				end = i
			}
		}
	}
	if end < digits+1 || b[end-digits-1] != ' ' || b[len(b)-1] != '\n' {
		return 0, time.Time{}, false
	}
	ms, err := strconv.ParseUint(string(b[end-digits:end]), 10, 63)
	if err != nil {
		return 0, time.Time{}, false
	}
	return points, time.UnixMilli(int64(ms)), true // #nosec G115 -- 13 digits
}
