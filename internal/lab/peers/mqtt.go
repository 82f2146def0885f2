package peers

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"net"

	"vitalseal/internal/lab/peers/wire"
)

// The packets of MQTT 3.1.1 that are needed to publish and to subscribe with QoS 1.
const (
	mqttConnect   = 0x10
	mqttConnack   = 0x20
	mqttPublish   = wire.Publish
	mqttPuback    = 0x40
	mqttSubscribe = 0x82
	mqttSuback    = 0x90
	mqttLeave     = 0xe0
)

// peerMQTT speaks to a broker, as little as a peer needs and as cheaply as we can. One goroutine may send while another receives.
type peerMQTT struct {
	conn net.Conn
	r    *bufio.Reader
	out  []byte // reused; the sender's
	in   []byte // reused; the receiver's
}

// newPeerMQTT signs in. Without clean the broker keeps what comes for a subscriber who is away.
func newPeerMQTT(conn net.Conn, id, user, password string, clean bool) (*peerMQTT, error) {
	m := &peerMQTT{conn: conn, r: bufio.NewReaderSize(conn, 16<<10)}
	flags := byte(0xc0) // name and password
	if clean {
		flags |= 0x02
	}
	body := append(mqttText(nil, "MQTT"), 4, flags, 0, 0)
	for _, s := range [...]string{id, user, password} {
		body = mqttText(body, s)
	}
	if err := m.send(mqttConnect, body, nil); err != nil {
		return nil, err
	}
	kind, got, err := m.receive()
	if err != nil {
		return nil, err
	}
	if kind != mqttConnack || len(got) != 2 || got[1] != 0 {
		return nil, fmt.Errorf("%w: it answers packet %#x, % x to a sign-in", wire.ErrBroker, kind, got)
	}
	return m, nil
}

func mqttText(b []byte, s string) []byte {
	return append(binary.BigEndian.AppendUint16(b, uint16(len(s))), s...) // #nosec G115 -- names made here
}

// publish sends a message with QoS 1 without waiting for its acknowledgement.
func (m *peerMQTT) publish(topic string, id uint16, payload []byte) error {
	var head [128]byte
	return m.send(mqttPublish|0x02, binary.BigEndian.AppendUint16(mqttText(head[:0], topic), id), payload)
}

func (m *peerMQTT) subscribe(filter string) error {
	if err := m.send(mqttSubscribe, append(mqttText([]byte{0, 1}, filter), 1), nil); err != nil {
		return err
	}
	kind, got, err := m.receive()
	if err == nil && (kind != mqttSuback || len(got) != 3 || got[2] != 1) {
		err = fmt.Errorf("%w: it answers packet %#x, % x to a subscription", wire.ErrBroker, kind, got)
	}
	return err
}

// acknowledge tells the broker that the messages are safe, all in one write.
func (m *peerMQTT) acknowledge(ids []uint16) error {
	b := m.out[:0]
	for _, id := range ids {
		b = binary.BigEndian.AppendUint16(append(b, mqttPuback, 2), id)
	}
	m.out = b
	_, err := m.conn.Write(b)
	return err
}

// leave says goodbye.
func (m *peerMQTT) leave() error {
	return errors.Join(m.send(mqttLeave, nil, nil), m.conn.Close())
}

func (m *peerMQTT) send(kind byte, head, payload []byte) error {
	b := binary.AppendUvarint(append(m.out[:0], kind), uint64(len(head)+len(payload))) // MQTT's lengths are these, up to four bytes
	b = append(append(b, head...), payload...)
	m.out = b
	_, err := m.conn.Write(b)
	return err
}

// receive returns the next packet; what it returns is valid until the next call.
func (m *peerMQTT) receive() (kind byte, body []byte, err error) {
	kind, body, err = wire.ReadPacket(m.r, m.in)
	m.in = body
	return kind, body, err
}
