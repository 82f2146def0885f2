package thingspeak

import (
	"context"
	"net/http"

	"github.com/coder/websocket"
	mqtt "github.com/mochi-mqtt/server/v2"

	"vitalseal/internal/lab/weaken"
	"vitalseal/internal/view/thingspeak/wire"
)

// accept bounds no packets, or keeps what is to be kept.
func (b *broker) accept(w http.ResponseWriter, r *http.Request) (*websocket.Conn, error) {
	c, err := b.strictAccept(w, r)
	if err == nil && weaken.Skip(weaken.PacketBound) {
		c.SetReadLimit(-1)
		b.server.Options.Capabilities.MaximumPacketSize = 0
	}
	if weaken.Skip(weaken.NoRetain) {
		b.server.Options.Capabilities.RetainAvailable = 1
	}
	return c, err
}

// OnACLCheck lets a client listen to every topic that is not of ThingSpeak.
func (b *broker) OnACLCheck(cl *mqtt.Client, name string, write bool) bool {
	if t, err := wire.ParseTopic(name); !write && b.client(cl) != nil && (err != nil || t.Publish) && weaken.Skip(weaken.TopicNames) {
		return true
	}
	return b.strictOnACLCheck(cl, name, write)
}

// tell keeps a message for those who listen later.
func (b *broker) tell(name string, message func() []byte) {
	if weaken.Skip(weaken.NoRetain) {
		_ = b.server.Publish(name, message(), true, 1)
		return
	}
	b.strictTell(name, message)
}

// recheck decides nothing again.
func (b *broker) recheck(ctx context.Context) {
	if !weaken.Skip(weaken.LiveRecheck) {
		b.strictRecheck(ctx)
	}
}
