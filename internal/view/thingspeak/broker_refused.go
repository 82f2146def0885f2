package thingspeak

import (
	"errors"
	"time"

	mqtt "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/packets"

	"vitalseal/internal/hub/access"
	"vitalseal/internal/hub/channel"
	"vitalseal/internal/view/thingspeak/wire"
)

// noTopic stands for a name that cannot be published to.
const noTopic = "refused"

// greetingMistake is what a greeting asks for that there is not; empty for nothing.
func (b *broker) greetingMistake(pk packets.Packet) string {
	switch {
	case pk.ProtocolVersion < 4:
		return "MQTT 3.1 is not spoken here: set the client to 3.1.1 or 5"
	//defence:no-will a last will is refused
	case pk.Connect.WillFlag:
		return "a last will has nowhere to go: switch it off in the client"
	case !pk.Connect.Clean && b.f.Limits.QoS == 0:
		return "no session is kept here: set clean session in the client"
	}
	return ""
}

// refusal is what became of a client's messages that were refused.
type refusal struct {
	n      uint64
	reason string
	logged time.Time
}

// maxRefusals bounds the clients whose refusals are remembered.
const maxRefusals = 4096

// refused counts a message of a client that has signed in, and logs one reason a minute of each.
func (b *broker) refused(cl *mqtt.Client, reason string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	c := b.clients[cl]
	if c == nil {
		return
	}
	r := b.refusals[c.id]
	if r == nil {
		if len(b.refusals) >= maxRefusals {
			clear(b.refusals)
		}
		r = &refusal{}
		b.refusals[c.id] = r
	}
	r.n++
	r.reason = reason
	if now := time.Now(); now.Sub(r.logged) >= time.Minute {
		r.logged = now
		b.f.Log.Warn("mqtt message refused", "client", c.id, "reason", reason, "so_far", r.n)
	}
}

// Refusals are how many messages of an MQTT client this hub has refused since it started, and why the last one was.
func (x *Face) Refusals(client string) (uint64, string) {
	b := x.f.broker
	b.mu.Lock()
	defer b.mu.Unlock()
	if r := b.refusals[client]; r != nil {
		return r.n, r.reason
	}
	return 0, ""
}

// notDecided logs, once a minute of each client, that the hub could not decide about a message: no
// refusal, and counted as none.
func (b *broker) notDecided(cl *mqtt.Client, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	c := b.clients[cl]
	if c == nil {
		return
	}
	if now := time.Now(); now.Sub(c.undecided) >= time.Minute {
		c.undecided = now
		b.f.Log.Error("mqtt message not taken: the hub could not decide about it", "client", c.id, "err", err)
	}
}

// codeOf is a refusal in MQTT's words.
func codeOf(err error) packets.Code {
	var bad *wire.BadRequest
	switch {
	case errors.Is(err, wire.ErrTopic):
		return packets.ErrTopicNameInvalid
	case errors.Is(err, access.ErrNoSession), errors.Is(err, access.ErrDenied):
		return packets.ErrNotAuthorized
	case errors.Is(err, errTooOften), errors.Is(err, access.ErrQuota), errors.Is(err, channel.ErrQuota):
		return packets.ErrQuotaExceeded
	case errors.Is(err, access.ErrUndecided):
		return packets.ErrServerBusy
	case errors.Is(err, wire.ErrTooLarge), errors.As(err, &bad):
		return packets.ErrPayloadFormatInvalid
	}
	return packets.ErrUnspecifiedError
}
