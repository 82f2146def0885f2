package client

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"

	"github.com/mochi-mqtt/server/v2/packets"
)

// ErrMQTTClosed says that the broker ended the connection.
var ErrMQTTClosed = errors.New("client: the MQTT connection was ended")

// maxMQTTPacket bounds what a broker may send.
const maxMQTTPacket = 1 << 20

// MQTT speaks MQTT packet by packet over a connection, for measuring and attacking brokers: it can say what a proper client would not.
// It is for one goroutine.
type MQTT struct {
	c       net.Conn
	r       *bufio.Reader
	version byte
	id      uint16
}

// NewMQTT speaks over c; version is 4 for MQTT 3.1.1, or 5.
func NewMQTT(c net.Conn, version byte) *MQTT {
	return &MQTT{c: c, r: bufio.NewReader(c), version: version}
}

// Conn is the connection.
func (m *MQTT) Conn() net.Conn { return m.c }

// Hello is the packet that a proper client begins with.
func Hello(id, user, password string) packets.Packet {
	return packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Connect}, Connect: packets.ConnectParams{ProtocolName: []byte("MQTT"), Clean: true, Keepalive: 60,
		ClientIdentifier: id, UsernameFlag: user != "", PasswordFlag: password != "", Username: []byte(user), Password: []byte(password)}}
}

// Publish is a message; with QoS 1 it has the next packet id.
func (m *MQTT) Publish(topic string, payload []byte, qos byte) packets.Packet {
	pk := packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Publish, Qos: qos}, TopicName: topic, Payload: payload}
	if qos > 0 {
		pk.PacketID = m.next()
	}
	return pk
}

// Subscribe asks for one filter.
func (m *MQTT) Subscribe(filter string, qos byte) packets.Packet {
	return packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Subscribe, Qos: 1}, PacketID: m.next(), Filters: packets.Subscriptions{{Filter: filter, Qos: qos}}}
}

func (m *MQTT) next() uint16 {
	if m.id++; m.id == 0 {
		m.id = 1
	}
	return m.id
}

// Ask sends a packet and returns the next one that comes.
func (m *MQTT) Ask(pk packets.Packet) (packets.Packet, error) {
	if err := m.Send(pk); err != nil {
		return packets.Packet{}, err
	}
	return m.Read()
}

// Send sends a CONNECT, SUBSCRIBE, UNSUBSCRIBE or PUBLISH.
func (m *MQTT) Send(pk packets.Packet) error {
	var b bytes.Buffer
	pk.ProtocolVersion = m.version
	var err error
	switch pk.FixedHeader.Type {
	case packets.Connect:
		err = pk.ConnectEncode(&b)
	case packets.Subscribe:
		err = pk.SubscribeEncode(&b)
	case packets.Unsubscribe:
		err = pk.UnsubscribeEncode(&b)
	case packets.Publish:
		err = pk.PublishEncode(&b)
	default:
		err = fmt.Errorf("client: MQTT: no packet of type %d is sent here", pk.FixedHeader.Type)
	}
	if err != nil {
		return err
	}
	if _, err := m.c.Write(b.Bytes()); err != nil {
		return errors.Join(ErrMQTTClosed, err)
	}
	return nil
}

// Read returns the next packet. ErrMQTTClosed if the connection ended, or its deadline passed.
func (m *MQTT) Read() (pk packets.Packet, err error) {
	first, err := m.r.ReadByte()
	if err != nil {
		return pk, errors.Join(ErrMQTTClosed, err)
	}
	pk.ProtocolVersion = m.version
	if err := pk.FixedHeader.Decode(first); err != nil {
		return pk, err
	}
	n, _, err := packets.DecodeLength(m.r)
	if err != nil || n > maxMQTTPacket {
		return pk, fmt.Errorf("client: MQTT: packet of %d bytes: %w", n, errors.Join(ErrMQTTClosed, err))
	}
	body := make([]byte, n)
	if _, err := io.ReadFull(m.r, body); err != nil {
		return pk, errors.Join(ErrMQTTClosed, err)
	}
	pk.FixedHeader.Remaining = n
	switch pk.FixedHeader.Type {
	case packets.Connack:
		err = pk.ConnackDecode(body)
	case packets.Suback:
		err = pk.SubackDecode(body)
	case packets.Unsuback:
		err = pk.UnsubackDecode(body)
	case packets.Puback:
		err = pk.PubackDecode(body)
	case packets.Publish:
		err = pk.PublishDecode(body)
	case packets.Disconnect:
		err = pk.DisconnectDecode(body)
	}
	return pk, err
}
