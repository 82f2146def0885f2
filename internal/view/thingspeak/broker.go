package thingspeak

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/coder/websocket"
	mqtt "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/packets"

	"vitalseal/internal/hub/access"
	"vitalseal/internal/hub/channel"
	"vitalseal/internal/hub/signin"
	"vitalseal/internal/measurement/vitals"
	"vitalseal/internal/shared/form"
	"vitalseal/internal/view/thingspeak/wire"
)

const (
	// MQTTPath is where MQTT is spoken over WebSockets, as ThingSpeak has it. It is the only way in: package connect turns plain
	// and TLS connections of a workstation's programs into it.
	MQTTPath = "/mqtt"

	maxMQTTClients  = 1024          // over all workstations
	maxMQTTStation  = 64            // of one workstation
	maxPacket       = 20 << 10      // bytes
	cutPacket       = 8 * maxPacket // a message of up to so many is refused by itself; beyond, the connection ends
	maxSubscription = 64            // of one client
	maxPending      = 256           // messages that wait for one client; then they are dropped
	greeting        = 10 * time.Second
	idleMQTT        = time.Hour   // whatever keep-alive a client asks for, as ThingSpeak has it
	recheckMQTT     = time.Second // and renewMQTT is how often even if nothing changed: grants do not last
	renewMQTT       = 20 * time.Second
	// settledEntry is how old a patient's second must be to be told: its sensors' numbers have come by then.
	settledEntry = 2 * time.Second
)

// broker is MQTT on top of the face. The protocol is mochi-mqtt's; who may do what is decided here, message by message for what is
// published, and for what is subscribed at the beginning and again and again while it lasts.
type broker struct {
	mqtt.HookBase
	f      *face
	server *mqtt.Server
	alive  sync.WaitGroup // calls of serve that were let in

	mu       sync.Mutex // guards the fields below
	clients  map[*mqtt.Client]*mqttClient
	refusals map[string]*refusal // by client id
	stations map[string]int
	links    map[*link]struct{}
	closed   bool
	told     map[int64]time.Time // of patients' channels that have a subscriber: the newest second told
}

// mqttClient is one that has signed in.
type mqttClient struct {
	id   string
	who  signin.MQTTClient
	subs map[string]*subscription // by topic filter

	undecided time.Time // when it was last logged that the hub could not decide about a message
}

// subscription is one decided filter. Its grants are renewed while it lasts.
type subscription struct {
	topic   wire.Topic
	channel channel.Channel
	subject access.Subject
	grants  []access.Grant // for the channel, and for a patient's values
}

// link is a client's connection, with its workstation, and bounds that hold whatever the client asks for.
type link struct {
	net.Conn
	ws      *websocket.Conn
	station string
	tempo   tempo // of the goroutine that reads
}

// Close does not wait for the other end.
func (w *link) Close() error { return w.ws.CloseNow() }

// SetDeadline never lets a connection wait for ever.
func (w *link) SetDeadline(t time.Time) error {
	if most := time.Now().Add(idleMQTT); t.IsZero() || t.After(most) {
		t = most
	}
	return w.Conn.SetDeadline(t)
}

func newBroker(f *face) (*broker, error) {
	b := &broker{f: f, clients: map[*mqtt.Client]*mqttClient{}, refusals: map[string]*refusal{}, stations: map[string]int{}, links: map[*link]struct{}{}, told: map[int64]time.Time{}}
	limits := mqtt.NewDefaultServerCapabilities()
	limits.MaximumClients, limits.MaximumClientWritesPending = maxMQTTClients, maxPending
	limits.MaximumSessionExpiryInterval, limits.MaximumMessageExpiryInterval = 0, 60
	limits.MaximumPacketSize, limits.ReceiveMaximum, limits.MaximumInflight = maxPacket, 64, maxPending
	limits.TopicAliasMaximum, limits.SharedSubAvailable, limits.WildcardSubAvailable, limits.SubIDAvailable, limits.RetainAvailable = 0, 0, 0, 0, 0
	limits.MinimumProtocolVersion, limits.MaximumQos = 4, f.Limits.QoS
	b.server = mqtt.New(&mqtt.Options{Capabilities: limits, InlineClient: true, Logger: slog.New(slog.DiscardHandler)})
	return b, b.server.AddHook(b, nil)
}

// ID and Provides make a hook of a broker.
func (b *broker) ID() string { return "thingspeak" }

// Provides names what the broker wants to be asked about.
func (b *broker) Provides(event byte) bool {
	switch event {
	case mqtt.OnConnectAuthenticate, mqtt.OnACLCheck, mqtt.OnPacketRead, mqtt.OnPublish, mqtt.OnUnsubscribed, mqtt.OnDisconnect:
		return true
	}
	return false
}

// serve is a client's whole life, as a request for a WebSocket.
func (b *broker) serve(w http.ResponseWriter, r *http.Request) {
	station := b.f.Workstation(r)
	if !access.IsWorkstation(station) || !b.enter(station) {
		w.Header().Set("Retry-After", "5")
		http.Error(w, "Too many MQTT connections.", http.StatusTooManyRequests)
		return
	}
	defer b.leave(station)
	c, err := b.accept(w, r)
	if err != nil {
		return // it has answered
	}
	defer func() { _ = c.CloseNow() }()
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	conn := &link{form.Packets(websocket.NetConn(ctx, c, websocket.MessageBinary), maxPacket-2, cutPacket), c, station, tempo{}}
	if !b.track(conn) || conn.SetDeadline(time.Now().Add(greeting)) != nil {
		return
	}
	defer b.untrack(conn)
	if err := b.server.EstablishConnection("ws", conn); err != nil {
		b.f.Log.Debug("mqtt client gone", "workstation", station, "err", err)
	}
}

// accept makes a WebSocket of a request, or answers it with an error.
//
//defence:packet-bound packets are bounded
//defence:no-retain nothing is kept for those who listen later
func (b *broker) accept(w http.ResponseWriter, r *http.Request) (*websocket.Conn, error) {
	c, err := websocket.Accept(w, r, &websocket.AcceptOptions{Subprotocols: []string{"mqtt", "mqttv3.1"}, CompressionMode: websocket.CompressionDisabled})
	if err == nil {
		c.SetReadLimit(2 * maxPacket)
	}
	return c, err
}

func (b *broker) enter(station string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return false
	}
	//defence:mqtt-clients MQTT connections of one workstation are bounded
	if b.stations[station] >= maxMQTTStation {
		return false
	}
	b.stations[station]++
	b.alive.Add(1)
	return true
}

func (b *broker) leave(station string) {
	defer b.alive.Done()
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.stations[station]--; b.stations[station] == 0 {
		delete(b.stations, station)
	}
}

// track notes a connection, unless the broker is closing.
func (b *broker) track(c *link) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.closed {
		b.links[c] = struct{}{}
	}
	return !b.closed
}

func (b *broker) untrack(c *link) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.links, c)
}

func (b *broker) client(cl *mqtt.Client) *mqttClient {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.clients[cl]
}

// OnConnectAuthenticate lets a device in that is who it says. A last will has nowhere to go, and a session that outlives its
// connection is not kept: under ThingSpeak's own limits both are refused, else the latter is only never found again.
func (b *broker) OnConnectAuthenticate(cl *mqtt.Client, pk packets.Packet) bool {
	conn, ok := cl.Net.Conn.(*link)
	if !ok {
		return false
	}
	if wrong := b.greetingMistake(pk); wrong != "" {
		return false // OnPacketRead has said so
	}
	who, err := b.f.SignIn.AuthenticateMQTT(context.Background(), pk.Connect.ClientIdentifier, string(pk.Connect.Username), string(pk.Connect.Password), conn.station)
	if err != nil {
		if !errors.Is(err, access.ErrNoSession) && !errors.Is(err, access.ErrDenied) {
			b.f.Log.Error("mqtt client not let in yet: the hub could not decide about it", "workstation", conn.station, "err", err)
			_ = conn.Close() // the client tries again, and is not told that its password is wrong
			return false
		}
		b.f.Log.Warn("mqtt client refused", "workstation", conn.station, "err", err)
		return false
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.clients[cl] = &mqttClient{id: pk.Connect.ClientIdentifier, who: who, subs: map[string]*subscription{}}
	return true
}

// OnDisconnect forgets a client.
func (b *broker) OnDisconnect(cl *mqtt.Client, _ error, _ bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.clients, cl)
}

// OnPacketRead keeps a client to its tempo, and ends a connection that asks for more than there is: to store it less surely than it
// asked would be a lie.
func (b *broker) OnPacketRead(cl *mqtt.Client, pk packets.Packet) (packets.Packet, error) {
	if conn, ok := cl.Net.Conn.(*link); ok {
		time.Sleep(conn.tempo.wait(time.Now()))
		if pk.FixedHeader.Type == packets.Connect {
			if wrong := b.greetingMistake(pk); wrong != "" {
				b.f.Log.Warn("mqtt client refused", "workstation", conn.station, "reason", wrong)
			}
		}
	}
	if pk.FixedHeader.Type != packets.Publish {
		return pk, nil
	}
	if pk.FixedHeader.Qos > b.f.Limits.QoS {
		b.refused(cl, fmt.Sprintf("QoS %d is not kept here: the greatest is %d", pk.FixedHeader.Qos, b.f.Limits.QoS))
		return pk, packets.ErrRejectPacket // which ends the connection
	}
	if !mqtt.IsValidFilter(pk.TopicName, true) || strings.ContainsAny(pk.TopicName, "+#") {
		pk.TopicName = noTopic // the protocol would end the connection for it, and the client would send it first again
	}
	return pk, nil
}

// OnACLCheck decides a subscription. What is published is decided when all of it is known.
//
//defence:topic-names only ThingSpeak's topics, no wildcards
func (b *broker) OnACLCheck(cl *mqtt.Client, name string, write bool) bool {
	c := b.client(cl)
	if c == nil || write {
		return c != nil // publish looks at the topic, and answers for it
	}
	t, err := wire.ParseTopic(name)
	if err != nil || t.Publish {
		return false
	}
	b.mu.Lock()
	full := len(c.subs) >= maxSubscription && c.subs[name] == nil
	b.mu.Unlock()
	if full {
		return false
	}
	sub := &subscription{topic: t}
	if err := b.decide(context.Background(), c.who, sub); err != nil {
		if errors.Is(err, access.ErrUndecided) { // the client asks again, and is not told that it may not
			b.notDecided(cl, err)
			cut(cl, packets.ErrServerBusy)
		}
		return false
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	c.subs[name] = sub
	if sub.channel.Patient != "" && b.told[t.Channel].IsZero() {
		b.told[t.Channel] = b.f.Now().Add(-settledEntry).Truncate(time.Second)
	}
	return true
}

// OnUnsubscribed forgets subscriptions.
func (b *broker) OnUnsubscribed(cl *mqtt.Client, pk packets.Packet) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if c := b.clients[cl]; c != nil {
		for _, s := range pk.Filters {
			delete(c.subs, s.Filter)
		}
	}
}

// decide has a subscription decided, as a read of the channel by key would be.
func (b *broker) decide(ctx context.Context, who signin.MQTTClient, s *subscription) error {
	var ok bool
	if s.subject, ok = who.On(s.topic.Channel, false); !ok {
		return access.ErrNoSession
	}
	g, err := b.f.Access.DecideView(ctx, s.subject, access.ViewChannel, access.OnChannel(s.topic.Channel))
	if err != nil {
		return err
	}
	s.grants = []access.Grant{g}
	if s.channel, err = b.f.Store.Channel(ctx, s.topic.Channel); err != nil {
		return err
	}
	if s.channel.Patient != "" {
		if g, err = b.f.Access.DecideView(ctx, s.subject, access.ViewPatient, access.OnPatient(s.channel.Patient)); err != nil {
			return err
		}
		s.grants = append(s.grants, g)
	}
	return nil
}

// OnPublish stores what a client published before it is acknowledged. What is refused for good is acknowledged, counted and dropped,
// whatever its QoS: MQTT 5 has codes for it; a client of 3.1.1 that got no answer would send it first on every connection, for ever. Only
// what may be sent again (the pace, a fault of ours) ends the connection.
func (b *broker) OnPublish(cl *mqtt.Client, pk packets.Packet) (packets.Packet, error) {
	if cl.Net.Inline {
		return pk, nil
	}
	pk.FixedHeader.Retain = false
	err := b.publish(context.Background(), cl, pk)
	if err == nil {
		return pk, packets.CodeSuccessIgnore // it is told by its entry
	}
	code := codeOf(err)
	reason := code.Reason
	if bad := (*wire.BadRequest)(nil); errors.As(err, &bad) {
		reason = bad.Message
	}
	if errors.Is(err, access.ErrUndecided) {
		b.notDecided(cl, err)
	} else {
		b.refused(cl, reason)
	}
	switch {
	case pk.FixedHeader.Qos == 0:
	case cl.Properties.ProtocolVersion >= 5:
		return pk, code
	//defence:poison-drop what is refused for good is acknowledged, so that it is not sent for ever
	case code != packets.ErrQuotaExceeded && code != packets.ErrUnspecifiedError && code != packets.ErrServerBusy:
		return pk, packets.CodeSuccessIgnore
	default:
		cl.Stop(code)
	}
	return pk, packets.ErrRejectPacket
}

func (b *broker) publish(ctx context.Context, cl *mqtt.Client, pk packets.Packet) error {
	t, err := wire.ParseTopic(pk.TopicName)
	if err == nil && !t.Publish {
		err = wire.ErrTopic
	}
	if err != nil {
		return err
	}
	c := b.client(cl)
	if c == nil {
		return access.ErrNoSession
	}
	subject, ok := c.who.On(t.Channel, true)
	if !ok {
		return access.ErrNoSession
	}
	grant, err := b.f.Access.Decide(ctx, subject, access.WriteChannel, access.OnChannel(t.Channel))
	if err != nil {
		return err
	}
	p, err := wire.ParsePayload(t, pk.Payload)
	if err != nil {
		return err
	}
	e, err := parseEntry(p, b.f.Now())
	if err != nil {
		return err
	}
	_, err = b.f.accept(ctx, grant, t.Channel, e)
	return err
}

// updated tells subscribers of an entry; it returns at once. It is told to those who listen now and kept for no later ones: an old
// value would come to them like a new one. now is zero for a free
// channel; the values of a patient's stand alone only while they are fresh, and are told with their time otherwise. Nor do they of
// an entry that is NotConfirmed: its status tells that.
func (b *broker) updated(channelID int64, e channel.Entry, now time.Time) {
	for i, name := range (wire.Topic{Channel: channelID}).Names() {
		format := wire.TopicFormats[max(0, i-1)]
		b.tell(name, func() []byte {
			return wire.Feed{Shape: wire.WrittenShape(channelID), Entries: []channel.Entry{e}}.Encode(format)
		})
	}
	unsure := !now.IsZero() && e.Status == NotConfirmed
	for i, v := range e.Fields {
		if v != nil && !unsure && (now.IsZero() || vitals.FreshnessOf(kindOf(i+1), e.Created, now) == vitals.Fresh) {
			b.tell(wire.Topic{Channel: channelID, Field: i + 1}.Names()[0], func() []byte { return []byte(*v) })
		}
	}
}

// tell publishes a message to those who listen to a topic now.
//
//defence:no-retain an entry is told once, to those who listen then
func (b *broker) tell(name string, message func() []byte) {
	if len(b.server.Topics.Subscribers(name).Subscriptions) != 0 {
		_ = b.server.Publish(name, message(), false, 1)
	}
}

// run looks after those who are connected until ctx ends, and then ends their connections.
func (b *broker) run(ctx context.Context) {
	t := time.NewTicker(recheckMQTT)
	defer t.Stop()
	seen, renewed := b.f.Store.Changes(), time.Now()
	for {
		select {
		case <-ctx.Done():
			b.stop()
			return
		case <-t.C:
		}
		if now := b.f.Store.Changes(); now != seen || time.Since(renewed) >= renewMQTT {
			seen, renewed = now, time.Now()
			b.recheck(ctx)
		}
		b.patients(ctx)
	}
}

// stop ends all connections and returns when they have ended.
func (b *broker) stop() {
	for cl := range b.connected() {
		cut(cl, packets.ErrServerShuttingDown)
	}
	b.mu.Lock()
	b.closed = true
	for c := range b.links {
		_ = c.Close()
	}
	b.mu.Unlock()
	b.alive.Wait()
	_ = b.server.Close() // it has no listeners of its own
}

// connected are the clients and what they listen to, as of now.
func (b *broker) connected() map[*mqtt.Client][]*subscription {
	b.mu.Lock()
	defer b.mu.Unlock()
	all := make(map[*mqtt.Client][]*subscription, len(b.clients))
	for cl, c := range b.clients {
		subs := make([]*subscription, 0, len(c.subs))
		for _, s := range c.subs {
			subs = append(subs, s)
		}
		all[cl] = subs
	}
	return all
}

// recheck cuts off a client that lost the right to what it listens to. MQTT 3.1.1 knows no other way to end a subscription.
//
//defence:live-recheck subscriptions are decided again
func (b *broker) recheck(ctx context.Context) {
	for cl, subs := range b.connected() {
		c := b.client(cl)
		if c == nil {
			continue
		}
		who, err := b.f.SignIn.RenewMQTT(ctx, c.who)
		for i := 0; err == nil && i < len(subs); i++ {
			err = b.renew(ctx, who, subs[i])
		}
		if ctx.Err() != nil {
			return
		}
		b.mu.Lock()
		c.who = who
		b.mu.Unlock()
		if err != nil {
			b.f.Log.Info("mqtt client cut off", "err", err)
			why := packets.ErrServerBusy
			if errors.Is(err, access.ErrNoSession) || errors.Is(err, access.ErrDenied) {
				why = packets.ErrNotAuthorized
			}
			cut(cl, why)
		}
	}
}

func (b *broker) renew(ctx context.Context, who signin.MQTTClient, s *subscription) error {
	subject, ok := who.On(s.topic.Channel, false)
	if !ok {
		return access.ErrNoSession
	}
	b.mu.Lock()
	grants := append([]access.Grant(nil), s.grants...)
	b.mu.Unlock()
	for i, g := range grants {
		fresh, err := b.f.Access.Renew(ctx, subject, g)
		if err != nil {
			return err
		}
		grants[i] = fresh
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	s.subject, s.grants = subject, grants
	return nil
}

// cut ends a connection. Only MQTT 5 lets a server say why.
func cut(cl *mqtt.Client, why packets.Code) {
	if cl.Properties.ProtocolVersion >= 5 {
		_ = cl.WritePacket(packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Disconnect}, ReasonCode: why.Code})
	}
	cl.Stop(why)
}

// patients tells of the seconds of patients' monitors that are complete, once for all who listen: each of them was decided for.
func (b *broker) patients(ctx context.Context) {
	listeners := map[int64]*subscription{}
	for _, subs := range b.connected() {
		for _, s := range subs {
			if s.channel.Patient != "" {
				listeners[s.topic.Channel] = s
			}
		}
	}
	b.mu.Lock()
	from := map[int64]time.Time{}
	for id, at := range b.told {
		if listeners[id] == nil {
			delete(b.told, id)
			continue
		}
		from[id] = at
	}
	b.mu.Unlock()
	now := b.f.Now()
	to := now.Add(-settledEntry).Truncate(time.Second)
	for id, s := range listeners {
		last := from[id].Add(time.Second)
		if oldest := now.Add(-vitals.NoDataAfter).Truncate(time.Second); last.Before(oldest) { // the hub was stuck: what is that old is no news
			last = oldest
		}
		if !last.Before(to) {
			continue
		}
		b.mu.Lock()
		grant := s.grants[len(s.grants)-1]
		b.mu.Unlock()
		list, err := b.f.entries(ctx, grant, s.channel, last, to, int(to.Sub(last)/time.Second)+1, nil)
		if err != nil {
			continue // the next look cuts off a client that may not
		}
		for _, e := range list {
			b.updated(id, e, now.Add(-time.Second)) // its values are of any moment of its second
		}
		b.mu.Lock()
		b.told[id] = to.Add(-time.Second)
		b.mu.Unlock()
	}
}
