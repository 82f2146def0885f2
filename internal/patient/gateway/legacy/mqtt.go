package legacy

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"strings"
	"sync"
	"time"

	mqtt "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/packets"

	"vitalseal/internal/shared/form"
)

const (
	legacyGreeting = 10 * time.Second
	// legacyMQTTIdle ends a connection that says nothing, whatever keep-alive it asked for, as ThingSpeak does.
	legacyMQTTIdle   = time.Hour
	maxLegacyPacket  = 4 << 10
	maxLegacyClients = MaxDevices * 4
)

// legacyBroker is MQTT for devices that publish. The protocol is mochi-mqtt's; who may do what is decided here. Nothing can be
// subscribed, retained or left as a last will.
type legacyBroker struct {
	mqtt.HookBase
	d *Server

	mu      sync.Mutex                    // guards the field below
	devices map[*mqtt.Client]legacySignIn // that have signed in
}

type legacySignIn struct {
	device *legacyDevice
	key    string
	from   string
}

// serveMQTT serves connections until ctx ends and all of them have.
func (d *Server) serveMQTT(ctx context.Context, ln net.Listener) error {
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
			w := &legacyWire{Conn: form.Packets(conn, maxLegacyPacket-2, form.MaxPacket)}
			unlink := context.AfterFunc(ctx, func() { _ = w.Close() })
			defer unlink()
			defer func() { _ = w.Close() }()
			if w.Conn.SetDeadline(time.Now().Add(legacyGreeting)) == nil {
				// Whatever it ended with, the device will come again; what was no greeting at all is counted.
				if err := server.EstablishConnection("tcp", w); errors.Is(err, packets.ErrProtocolViolationProtocolName) || errors.Is(err, packets.ErrProtocolViolationProtocolVersion) ||
					errors.Is(err, packets.ErrProtocolViolationRequireFirstConnect) {
					d.guard.malformed("no greeting of MQTT 3.1.1 or 5")
				}
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
// there is no last will, and no session that outlives its connection; OnPacketRead has counted who asks for one.
func (b *legacyBroker) OnConnectAuthenticate(cl *mqtt.Client, pk packets.Packet) bool {
	if greetingMistake(pk) != nil {
		return false
	}
	key := string(pk.Connect.Password)
	dev := b.greets(cl, pk, nil)
	if dev == nil {
		return false
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.devices[cl] = legacySignIn{dev, key, legacyAddress(cl.Net.Conn.RemoteAddr().String())}
	return true
}

// greets is whose greeting it is; nil for no device's. What is wrong with it, if anything is, is counted with the device.
func (b *legacyBroker) greets(cl *mqtt.Client, pk packets.Packet, wrong error) *legacyDevice {
	now := time.Now()
	dev, err := b.d.device(string(pk.Connect.Password), legacyAddress(cl.Net.Conn.RemoteAddr().String()), now)
	if err != nil {
		return nil
	}
	if wrong == nil && (string(pk.Connect.Username) != dev.id || pk.Connect.ClientIdentifier != dev.id) {
		wrong = errLegacyName
	}
	if wrong != nil {
		dev.refused(wrong, legacyMessage{}, now)
		return nil
	}
	return dev
}

// errLegacyName is a key of a device under another name.
var errLegacyName = fmt.Errorf("%w: client id and user name must be the sensor's name", errLegacyKey)

// greetingMistake is what a greeting asks for that there is not.
func greetingMistake(pk packets.Packet) error {
	switch {
	case pk.ProtocolVersion < 4:
		return &legacyUnsupported{"MQTT 3.1 is not spoken here: set the device to 3.1.1 or 5"}
	case pk.Connect.WillFlag:
		return &legacyUnsupported{"a last will is not kept here: switch it off in the device"}
	case !pk.Connect.Clean:
		return &legacyUnsupported{"no session is kept here: set clean session (or clean start) in the device"}
	}
	return nil
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

// OnPacketRead looks at greetings and messages before the protocol does, which would end a connection without a word: what it ends for one
// message comes first again on the next connection, for ever.
func (b *legacyBroker) OnPacketRead(cl *mqtt.Client, pk packets.Packet) (packets.Packet, error) {
	switch pk.FixedHeader.Type {
	case packets.Connect:
		if wrong := greetingMistake(pk); wrong != nil {
			b.greets(cl, pk, wrong)
		}
	case packets.Publish:
		if pk.FixedHeader.Qos > 1 {
			if s, ok := b.of(cl); ok {
				s.device.refused(&legacyUnsupported{"QoS 2 is not kept here: set the device to QoS 1"}, legacyMessage{}, time.Now())
			}
			return pk, packets.ErrRejectPacket // which ends the connection: nothing is stored less surely than was asked
		}
		if !mqtt.IsValidFilter(pk.TopicName, true) || strings.ContainsAny(pk.TopicName, "+#") {
			pk.TopicName = noTopic
		}
		if pk.FixedHeader.Retain {
			pk.FixedHeader.Retain = false
			pk.TopicName = noTopic + "/retained"
		}
	}
	return pk, nil
}

// noTopic stands for a name that the protocol would end the connection for; no device has it.
const noTopic = "refused"

// OnACLCheck lets a device publish and never subscribe. Where to is decided with the message.
func (b *legacyBroker) OnACLCheck(cl *mqtt.Client, _ string, write bool) bool {
	_, ok := b.of(cl)
	return ok && write
}

// OnPublish takes a message before it is acknowledged. One that is refused for good is acknowledged, counted and dropped, whatever its
// QoS: of MQTT 5 with a code; of 3.1.1, which has none, like one that was taken. Only what may be sent again ends the connection.
func (b *legacyBroker) OnPublish(cl *mqtt.Client, pk packets.Packet) (packets.Packet, error) {
	err := b.publish(cl, pk)
	code := legacyCode(err)
	switch {
	case err == nil:
		return pk, packets.CodeSuccessIgnore // no client subscribes
	case errors.Is(err, errLegacyKey):
		cl.Stop(code) // its key was changed
	case pk.FixedHeader.Qos == 0:
	case cl.Properties.ProtocolVersion >= 5:
		return pk, code
	//defence:poison-drop what is refused for good is acknowledged, so that it is not sent for ever
	case !errors.Is(err, errLegacyBusy) && !errors.Is(err, errLegacyOften):
		return pk, packets.CodeSuccessIgnore
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
		s.device.refused(err, m, now)
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
func legacyPayload(channel int64, topic string, payload []byte) (form.Values, error) {
	if topic == noTopic+"/retained" {
		return form.Values{}, &legacyUnsupported{"nothing is retained here: switch retain off in the device"}
	}
	rest, ok := strings.CutPrefix(topic, "channels/"+strconv.FormatInt(channel, 10)+"/publish")
	if !ok {
		return form.Values{}, errLegacyChannel
	}
	if len(payload) > maxLegacyMessage {
		return form.Values{}, errLegacyLarge
	}
	if rest == "" {
		return legacyForm(string(payload))
	}
	name, ok := strings.CutPrefix(rest, "/fields/")
	if i := fieldNumber(name); !ok || i == 0 || name != "field"+strconv.Itoa(i) {
		return form.Values{}, errLegacyChannel
	}
	text := form.Value(string(payload))
	if text == "" {
		return form.Values{}, &legacyMistake{name, "is empty"}
	}
	return form.Values{Of: map[string]string{name: text}}, nil
}
