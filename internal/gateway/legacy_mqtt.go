package gateway

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	mqtt "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/packets"
)

const (
	legacyGreeting = 10 * time.Second
	// legacyMQTTIdle ends a connection that says nothing, whatever keep-alive it asked for, as ThingSpeak does.
	legacyMQTTIdle   = time.Hour
	maxLegacyPacket  = 4 << 10
	maxLegacyClients = maxLegacy * 4
)

// legacyBroker is MQTT for devices that publish. The protocol is mochi-mqtt's; who may do what is decided here. Nothing can be
// subscribed, retained or left as a last will.
type legacyBroker struct {
	mqtt.HookBase
	d *legacyDesk

	mu      sync.Mutex                    // guards the field below
	devices map[*mqtt.Client]legacySignIn // that have signed in
}

type legacySignIn struct {
	device *legacyDevice
	key    string
	from   string
}

// serveMQTT serves connections until ctx ends and all of them have.
func (d *legacyDesk) serveMQTT(ctx context.Context, ln net.Listener) error {
	limits := mqtt.NewDefaultServerCapabilities()
	limits.MaximumClients, limits.MaximumClientWritesPending = maxLegacyClients, 16
	limits.MaximumSessionExpiryInterval, limits.MaximumMessageExpiryInterval = 0, 1
	limits.MaximumPacketSize, limits.ReceiveMaximum, limits.MaximumInflight = maxLegacyPacket, 16, 16
	limits.TopicAliasMaximum, limits.SharedSubAvailable, limits.WildcardSubAvailable, limits.SubIDAvailable, limits.RetainAvailable = 0, 0, 0, 0, 0
	limits.MinimumProtocolVersion, limits.MaximumQos = 4, 1
	server := mqtt.New(&mqtt.Options{Capabilities: limits, Logger: slog.New(slog.DiscardHandler)})
	b := &legacyBroker{d: d, devices: map[*mqtt.Client]legacySignIn{}}
	if err := server.AddHook(b, nil); err != nil {
		return err
	}
	var alive sync.WaitGroup
	stop := context.AfterFunc(ctx, func() {
		_ = ln.Close()
		b.cutAll()
	})
	defer stop()
	defer func() {
		b.cutAll()
		alive.Wait()
		_ = server.Close() // it has no listeners of its own
	}()
	for {
		conn, err := ln.Accept()
		if err != nil {
			if ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
				return nil
			}
			if !sleep(ctx, 100*time.Millisecond) { // out of file descriptors, say
				return nil
			}
			continue
		}
		alive.Go(func() {
			w := &legacyWire{Conn: conn}
			unlink := context.AfterFunc(ctx, func() { _ = w.Close() })
			defer unlink()
			defer func() { _ = w.Close() }()
			if w.Conn.SetDeadline(time.Now().Add(legacyGreeting)) == nil {
				_ = server.EstablishConnection("tcp", w) // whatever it ended with, the device will come again
			}
		})
	}
}

// legacyWire is a connection that never waits for ever, and whose greeting must come soon.
type legacyWire struct{ net.Conn }

// SetDeadline bounds what the protocol asks for.
func (w *legacyWire) SetDeadline(t time.Time) error {
	if most := time.Now().Add(legacyMQTTIdle); t.IsZero() || t.After(most) {
		t = most
	}
	return w.Conn.SetDeadline(t)
}

// ID and Provides make a hook of a broker.
func (b *legacyBroker) ID() string { return "legacy" }

// Provides names what the broker wants to be asked about.
func (b *legacyBroker) Provides(event byte) bool {
	switch event {
	case mqtt.OnConnectAuthenticate, mqtt.OnACLCheck, mqtt.OnPacketRead, mqtt.OnPublish, mqtt.OnDisconnect:
		return true
	}
	return false
}

// OnConnectAuthenticate lets a device in whose client id and user name are its name, and whose password is its key. As with ThingSpeak
// there is no last will, and no session that outlives its connection.
func (b *legacyBroker) OnConnectAuthenticate(cl *mqtt.Client, pk packets.Packet) bool {
	if pk.Connect.WillFlag || !pk.Connect.Clean {
		return false
	}
	from := legacyAddress(cl.Net.Conn.RemoteAddr().String())
	key := string(pk.Connect.Password)
	dev, err := b.d.device(key, from, time.Now())
	if err != nil {
		return false
	}
	if string(pk.Connect.Username) != dev.id || pk.Connect.ClientIdentifier != dev.id {
		dev.refused(errLegacyKey, time.Now())
		return false
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.devices[cl] = legacySignIn{dev, key, from}
	return true
}

// OnDisconnect forgets a device's connection.
func (b *legacyBroker) OnDisconnect(cl *mqtt.Client, _ error, _ bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.devices, cl)
}

func (b *legacyBroker) of(cl *mqtt.Client) (legacySignIn, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	s, ok := b.devices[cl]
	return s, ok
}

func (b *legacyBroker) cutAll() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for cl := range b.devices {
		cl.Stop(packets.ErrServerShuttingDown)
	}
}

// OnPacketRead ends a connection that asks for more than there is.
func (b *legacyBroker) OnPacketRead(_ *mqtt.Client, pk packets.Packet) (packets.Packet, error) {
	if pk.FixedHeader.Type == packets.Publish && (pk.FixedHeader.Qos > 1 || pk.FixedHeader.Retain) {
		return pk, packets.ErrRejectPacket // which ends the connection
	}
	return pk, nil
}

// OnACLCheck lets a device publish and never subscribe. Where to is decided with the message.
func (b *legacyBroker) OnACLCheck(cl *mqtt.Client, _ string, write bool) bool {
	_, ok := b.of(cl)
	return ok && write
}

// OnPublish takes a message before it is acknowledged. What is refused is acknowledged by nobody: MQTT 5 has codes for it; of MQTT 3.1.1
// a device that wants an acknowledgement is cut off, and what wants none is dropped, as ThingSpeak does.
func (b *legacyBroker) OnPublish(cl *mqtt.Client, pk packets.Packet) (packets.Packet, error) {
	err := b.publish(cl, pk)
	if err == nil {
		return pk, packets.CodeSuccessIgnore // nobody subscribes
	}
	b.d.log.Debug("legacy message refused", "err", err)
	code := legacyCode(err)
	switch {
	case errors.Is(err, errLegacyKey):
		cl.Stop(code) // its key was changed
	case pk.FixedHeader.Qos == 0:
	case cl.Properties.ProtocolVersion >= 5:
		return pk, code
	default:
		cl.Stop(code)
	}
	return pk, packets.ErrRejectPacket
}

func (b *legacyBroker) publish(cl *mqtt.Client, pk packets.Packet) error {
	s, ok := b.of(cl)
	if !ok {
		return errLegacyKey
	}
	now := time.Now()
	if owner, err := b.d.keys.owner(s.key); err != nil {
		return errLegacyBusy
	} else if owner != s.device.id {
		return errLegacyKey
	}
	p, err := legacyPayload(s.device.limit.channel, pk.TopicName, pk.Payload)
	var m legacyMessage
	if err == nil {
		m, err = s.device.message(p)
	}
	if err != nil {
		s.device.refused(err, now)
		return err
	}
	_, err = s.device.take([]legacyMessage{m}, false, now)
	return err
}

func legacyCode(err error) packets.Code {
	switch {
	case errors.Is(err, errLegacyChannel), errors.Is(err, errLegacyKey):
		return packets.ErrNotAuthorized
	case errors.Is(err, errLegacyOften), errors.Is(err, errLegacyBusy):
		return packets.ErrQuotaExceeded
	}
	return packets.ErrPayloadFormatInvalid
}

// legacyPayload makes parameters of what was published to a device's topics, as if they had come to /update:
//
//	channels/ID/publish                a form: field1=72&field2=97
//	channels/ID/publish/fields/fieldN  one bare value
func legacyPayload(channel int64, topic string, payload []byte) (map[string]string, error) {
	rest, ok := strings.CutPrefix(topic, "channels/"+strconv.FormatInt(channel, 10)+"/publish")
	if !ok {
		return nil, errLegacyChannel
	}
	if len(payload) > maxLegacyMessage {
		return nil, errLegacyLarge
	}
	if !utf8.Valid(payload) {
		return nil, &legacyMistake{"", "the message is not UTF-8"}
	}
	text := strings.TrimRight(string(payload), "\r\n")
	if rest == "" {
		return legacyForm(text)
	}
	name, ok := strings.CutPrefix(rest, "/fields/")
	if i := fieldNumber(name); !ok || i == 0 || name != "field"+strconv.Itoa(i) {
		return nil, errLegacyChannel
	}
	if text == "" {
		return nil, &legacyMistake{name, "is empty"}
	}
	return map[string]string{name: text}, nil
}
