package thingspeak_test

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/mochi-mqtt/server/v2/packets"

	"vitalseal/internal/hub/access"
	"vitalseal/internal/measurement/vitals"
	"vitalseal/internal/view/thingspeak"
	"vitalseal/internal/workstation/client"
)

// mqttWard is a ward with its face running behind a listener, and a device of the nurse's.
type mqttWard struct {
	*ward
	face   *thingspeak.Face
	url    string
	client string
	pass   string
}

func newMQTTWard(t *testing.T, l thingspeak.Limits) *mqttWard {
	w := &mqttWard{ward: newWard(t), client: strings.ToUpper(rand.Text()[:16]), pass: strings.ToUpper((rand.Text() + rand.Text())[:32])}
	w.limit(l)
	server := httptest.NewServer(w.handler)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	w.face = w.handler.(*thingspeak.Face)
	go func() {
		defer close(done)
		w.face.Run(ctx)
	}()
	t.Cleanup(func() {
		cancel()
		<-done
		server.Close()
	})
	w.url = "ws" + strings.TrimPrefix(server.URL, "http") + thingspeak.MQTTPath
	if err := w.store.SaveMQTTDevice(ctx, access.MQTTDevice{ClientID: w.client, Hash: sha256.Sum256([]byte(w.pass)), PersonID: w.nurse, Rights: []access.MQTTRight{
		{Channel: w.ada.ID, Publish: true, Subscribe: true}, {Channel: w.bela.ID, Subscribe: true}, {Channel: w.fridge, Publish: true, Subscribe: true}}}); err != nil {
		t.Fatal(err)
	}
	return w
}

// mqttConn is a client that can also speak badly.
type mqttConn struct {
	*client.MQTT
	t *testing.T
}

func (w *mqttWard) dial(t *testing.T, version byte) *mqttConn {
	t.Helper()
	//nolint:bodyclose // the library closes it, or has replaced it by one that needs no closing
	c, _, err := websocket.Dial(t.Context(), w.url, &websocket.DialOptions{Subprotocols: []string{"mqtt"}})
	if err != nil {
		t.Fatal(err)
	}
	m := &mqttConn{client.NewMQTT(websocket.NetConn(context.Background(), c, websocket.MessageBinary), version), t}
	t.Cleanup(func() { _ = c.CloseNow() })
	if err := m.Conn().SetDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	return m
}

// hello is the packet that a proper client begins with.
func (w *mqttWard) hello(version byte) packets.Packet {
	return packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Connect}, ProtocolVersion: version, Connect: packets.ConnectParams{
		ProtocolName: []byte("MQTT"), Clean: true, Keepalive: 60, ClientIdentifier: w.client, UsernameFlag: true, PasswordFlag: true, Username: []byte(w.client), Password: []byte(w.pass)}}
}

// login is a connection that was let in.
func (w *mqttWard) login(t *testing.T, version byte) *mqttConn {
	t.Helper()
	m := w.dial(t, version)
	if code, err := m.connect(w.hello(version)); err != nil || code != 0 {
		t.Fatalf("connect: %#x, %v", code, err)
	}
	return m
}

func (m *mqttConn) connect(pk packets.Packet) (code byte, err error) {
	ack, err := m.Ask(pk)
	return ack.ReasonCode, err
}

// send sends a packet; that the connection is closed shows in the next read.
func (m *mqttConn) send(pk packets.Packet) { _ = m.Send(pk) }

// subscribe returns the answer for one filter.
func (m *mqttConn) subscribe(filter string, qos byte) byte {
	m.t.Helper()
	ack, err := m.Ask(m.Subscribe(filter, qos))
	if err != nil || len(ack.ReasonCodes) != 1 {
		m.t.Fatalf("subscribe %s: %+v, %v", filter, ack, err)
	}
	return ack.ReasonCodes[0]
}

func (m *mqttConn) publish(topic, payload string, qos byte) {
	m.t.Helper()
	m.send(m.Publish(topic, []byte(payload), qos))
}

func (m *mqttConn) expect(topic string) string {
	m.t.Helper()
	pk, err := m.Read()
	if err != nil || pk.FixedHeader.Type != packets.Publish || pk.TopicName != topic {
		m.t.Fatalf("got %v %q %q, %v; want a message of %s", pk.FixedHeader.Type, pk.TopicName, pk.Payload, err, topic)
	}
	return string(pk.Payload)
}

// TestMQTT: entries that are published are stored before they are acknowledged, and told to who subscribed, in both versions.
func TestMQTT(t *testing.T) {
	for _, version := range []byte{4, 5} {
		t.Run(fmt.Sprint(version), func(t *testing.T) {
			w := newMQTTWard(t, thingspeak.Limits{})
			free := fmt.Sprintf("channels/%d/", w.fridge)
			listener := w.login(t, version)
			for _, f := range []string{free + "subscribe", free + "subscribe/fields/field2"} {
				if code := listener.subscribe(f, 0); code != 0 {
					t.Fatalf("subscribe %s: %#x", f, code)
				}
			}
			// A second connection with the same credentials takes the first one's place: the publisher gets its own.
			pub := &mqttWard{ward: w.ward, url: w.url, client: "PUBLISHER0000001", pass: w.pass}
			if err := w.store.SaveMQTTDevice(t.Context(), access.MQTTDevice{ClientID: pub.client, Hash: sha256.Sum256([]byte(w.pass)), PersonID: w.nurse,
				Rights: []access.MQTTRight{{Channel: w.fridge, Publish: true}}}); err != nil {
				t.Fatal(err)
			}
			p := pub.login(t, version)
			p.publish(free+"publish", "field1=4.5&field2=shut&status=fine", 1)
			if ack, err := p.Read(); err != nil || ack.FixedHeader.Type != packets.Puback || ack.ReasonCode != 0 {
				t.Fatalf("publish: %+v, %v", ack, err)
			}
			if got := w.get(200, fmt.Sprintf("/channels/%d/fields/1/last.txt", w.fridge), w.readFridge); got != "4.5" {
				t.Errorf("acknowledged, and the store has %q", got)
			}
			var e struct {
				Channel int64  `json:"channel_id"`
				Entry   int64  `json:"entry_id"`
				Field1  string `json:"field1"`
				Status  string `json:"status"`
			}
			if err := json.Unmarshal([]byte(listener.expect(free+"subscribe")), &e); err != nil || e.Channel != w.fridge || e.Entry != 1 || e.Field1 != "4.5" || e.Status != "fine" {
				t.Errorf("told of %+v, %v", e, err)
			}
			if got := listener.expect(free + "subscribe/fields/field2"); got != "shut" {
				t.Errorf("told of field2 %q", got)
			}
			p.publish(free+"publish/fields/field2", "open", 0)
			listener.expect(free + "subscribe")
			if got := listener.expect(free + "subscribe/fields/field2"); got != "open" {
				t.Errorf("told of field2 %q", got)
			}
			// What comes over HTTP is told as well, except in bulk.
			w.ok(202, "POST", fmt.Sprintf("/channels/%d/bulk_update.csv", w.fridge), "write_api_key="+w.writeFree+"&time_format=absolute&updates="+time.Now().UTC().Format("2006-01-02T15:04:05Z")+",8.5")
			w.ok(200, "POST", "/update", "api_key="+w.writeFree+"&field1=5")
			if got := listener.expect(free + "subscribe"); !strings.Contains(got, `"field1":"5"`) {
				t.Errorf("told of %s", got)
			}
			if text := w.log.String(); strings.Contains(text, w.pass) || strings.Contains(text, "4.5") {
				t.Error("the log has a secret or a value")
			}
		})
	}
}

// TestMQTTPatient: who may see a patient is told of the monitor's seconds, and cut off soon after that ends; no client writes there.
func TestMQTTPatient(t *testing.T) {
	w := newMQTTWard(t, thingspeak.Limits{})
	m := w.login(t, 4)
	name := fmt.Sprintf("channels/%d/subscribe/fields/field1", w.ada.ID)
	if code := m.subscribe(name, 1); code != 1 {
		t.Fatalf("subscribe: %#x", code)
	}
	if code := m.subscribe(fmt.Sprintf("channels/%d/subscribe", w.bela.ID), 0); code != 0x80 {
		t.Errorf("another ward's patient: %#x", code)
	}
	if n := w.refusals(access.ViewPatient, access.OnPatient(w.bela.Patient)) + w.refusals(access.ViewChannel, access.OnChannel(w.bela.ID)); n == 0 {
		t.Error("the refusal is not in the audit log")
	}
	w.append("oxi-a", time.Now(), good(vitals.HeartRate, 77))
	if got := m.expect(name); got != "77.0" {
		t.Errorf("heart rate %q", got)
	}
	w.reassign("ward-b")
	for { // what was decided before may still come
		if _, err := m.Read(); err != nil {
			break
		}
	}
	again := w.login(t, 4)
	if code := again.subscribe(name, 0); code != 0x80 {
		t.Errorf("off the ward: %#x", code)
	}
	again.publish(fmt.Sprintf("channels/%d/publish", w.ada.ID), "field1=60", 1)
	if ack, err := again.Read(); err != nil || ack.FixedHeader.Type != packets.Puback { // 3.1.1 has no other answer that ends the message
		t.Errorf("a heart rate: %+v, %v", ack, err)
	}
	if n, reason := w.face.Refusals(w.client); n != 1 || reason != packets.ErrNotAuthorized.Reason {
		t.Errorf("a heart rate was taken from a device, or nothing counted its refusal: %d %q", n, reason)
	}
	five := w.login(t, 5)
	five.publish(fmt.Sprintf("channels/%d/publish", w.ada.ID), "field1=60", 1)
	if ack, err := five.Read(); err != nil || ack.ReasonCode != packets.ErrNotAuthorized.Code {
		t.Errorf("a heart rate: %+v, %v", ack, err)
	}
}

// reassign moves the nurse to another ward.
func (w *mqttWard) reassign(to string) {
	w.t.Helper()
	if err := w.store.SetWards(context.Background(), w.nurse, []string{to}); err != nil {
		w.t.Fatal(err)
	}
}

// TestMQTTRefuses: who is not a device, what is no topic of ours, and what asks for more than there is.
func TestMQTTRefuses(t *testing.T) {
	w := newMQTTWard(t, thingspeak.Limits{})
	for name, change := range map[string]func(*packets.ConnectParams){
		"wrong password": func(p *packets.ConnectParams) { p.Password = []byte(strings.Repeat("A", 32)) },
		"no password": func(p *packets.ConnectParams) {
			p.PasswordFlag, p.UsernameFlag, p.Password, p.Username = false, false, nil, nil
		},
		"another user":   func(p *packets.ConnectParams) { p.Username = []byte("AAAAAAAAAAAAAAAA") },
		"another client": func(p *packets.ConnectParams) { p.ClientIdentifier = "AAAAAAAAAAAAAAAA" },
		"no such device": func(p *packets.ConnectParams) {
			p.ClientIdentifier, p.Username = "AAAAAAAAAAAAAAAA", []byte("AAAAAAAAAAAAAAAA")
		},
		"an API key": func(p *packets.ConnectParams) { p.Password = []byte(w.writeFree) },
		"with a testament": func(p *packets.ConnectParams) {
			p.WillFlag, p.WillTopic, p.WillPayload = true, "channels/1/publish", []byte("x")
		},
	} {
		pk := w.hello(4)
		change(&pk.Connect)
		if code, err := w.dial(t, 4).connect(pk); err == nil && code == 0 {
			t.Errorf("%s: let in", name)
		}
	}
	m := w.login(t, 4)
	for _, filter := range []string{"#", "+", "channels/#", "channels/+/subscribe", "$SYS/#", "$share/g/channels/1/subscribe", fmt.Sprintf("channels/%d/#", w.fridge),
		fmt.Sprintf("channels/%d/publish", w.fridge), fmt.Sprintf("channels/0%d/subscribe", w.fridge), "channels/999/subscribe", "x", fmt.Sprintf("channels/%d/subscribe/fields/field9", w.fridge)} {
		if code := m.subscribe(filter, 0); code != 0x80 {
			t.Errorf("subscribe %s: %#x", filter, code)
		}
	}
	five := func(topic, payload string, qos, want byte) {
		t.Helper()
		m := w.login(t, 5)
		m.publish(topic, payload, qos)
		if ack, err := m.Read(); err == nil && ack.ReasonCode != want || err != nil && want != 0 {
			t.Errorf("%s %.20q: %+v, %v, want %#x", topic, payload, ack.ReasonCode, err, want)
		}
	}
	free := fmt.Sprintf("channels/%d/publish", w.fridge)
	five(free, "field1=%zz&status=98%", 1, packets.ErrPayloadFormatInvalid.Code)
	five(free, "nothing=1", 1, packets.ErrPayloadFormatInvalid.Code)
	five(free, "field1="+strings.Repeat("x", 256), 1, packets.ErrPayloadFormatInvalid.Code)
	five(free, "field1=\xff", 1, packets.ErrPayloadFormatInvalid.Code)
	five(fmt.Sprintf("channels/%d/publish", w.bela.ID), "field1=1", 1, packets.ErrNotAuthorized.Code)
	five("channels/999/publish", "field1=1", 1, packets.ErrNotAuthorized.Code)
	five(fmt.Sprintf("channels/%d/subscribe", w.fridge), "field1=1", 1, packets.ErrTopicNameInvalid.Code)
	for name, pk := range map[string]packets.Packet{
		"QoS 2":       {FixedHeader: packets.FixedHeader{Type: packets.Publish, Qos: 2}, PacketID: 9, TopicName: free, Payload: []byte("field1=1")},
		"20 KiB more": {FixedHeader: packets.FixedHeader{Type: packets.Publish}, TopicName: free, Payload: make([]byte, 20<<10)},
	} {
		m := w.login(t, 4)
		m.send(pk)
		if _, err := m.Read(); err == nil {
			t.Errorf("%s: goes on", name)
		}
	}
	if got := w.get(404, fmt.Sprintf("/channels/%d/feeds/last.json", w.fridge), w.readFridge); strings.Contains(got, "field") {
		t.Errorf("something was stored: %s", got)
	}
}

// TestMQTTPoison: a message that is refused for good is acknowledged, dropped and counted under MQTT 3.1.1 too, which has no code for it:
// else it is sent first on every connection, for ever. What comes behind it is stored.
func TestMQTTPoison(t *testing.T) {
	w := newMQTTWard(t, thingspeak.Limits{})
	m := w.login(t, 4)
	free := fmt.Sprintf("channels/%d/publish", w.fridge)
	say := func(topic, text string, id uint16) {
		t.Helper()
		m.send(packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Publish, Qos: 1}, PacketID: id, TopicName: topic, Payload: []byte(text)})
		if ack, err := m.Read(); err != nil || ack.FixedHeader.Type != packets.Puback || ack.PacketID != id {
			t.Fatalf("%s %.40q: %+v, %v", topic, text, ack, err)
		}
	}
	for i, x := range [][2]string{{free, "field1=%zz"}, {free, "nothing=1"}, {free, "field1=" + strings.Repeat("x", 256)}, {free, "field1=" + strings.Repeat("x", 30_000)}, {free, "field1=\xff"},
		{free, "field1=1&created_at=never"}, {fmt.Sprintf("channels/%d/publish", w.bela.ID), "field1=1"}, {"channels/999/publish", "field1=1"},
		{fmt.Sprintf("channels/%d/subscribe", w.fridge), "field1=1"}, {"channels/+/publish", "field1=1"}, {"$SYS/x", "1"}, {"home/fridge", "1"}} {
		say(x[0], x[1], uint16(2*i+1)) // #nosec G115 -- few
		if n, reason := w.face.Refusals(w.client); n != uint64(i+1) || reason == "" {
			t.Errorf("%s %.40q: counted %d, %q", x[0], x[1], n, reason)
		}
		say(free, fmt.Sprintf("field1=%d\r\n", i), uint16(2*i+2)) // #nosec G115 -- few
		if got := w.get(200, fmt.Sprintf("/channels/%d/fields/1/last.txt", w.fridge), w.readFridge); got != fmt.Sprint(i) {
			t.Errorf("behind %s %.40q: %q is stored", x[0], x[1], got)
		}
	}
	// A text that is no form costs the numbers nothing.
	say(free, "field1=98&status=SpO2 98%", 90)
	if got := w.get(200, fmt.Sprintf("/channels/%d/feeds/last.json?status=true", w.fridge), w.readFridge); !strings.Contains(got, `"field1":"98"`) || !strings.Contains(got, `"status":"SpO2 98%"`) {
		t.Errorf("stored: %s", got)
	}
}

// TestMQTTStrict: with ThingSpeak's own limits, QoS 0 and clean sessions only, and its pace.
func TestMQTTStrict(t *testing.T) {
	w := newMQTTWard(t, thingspeak.Free())
	pk := w.hello(4)
	pk.Connect.Clean = false
	if code, err := w.dial(t, 4).connect(pk); err == nil && code == 0 {
		t.Error("an unclean session")
	}
	m := w.login(t, 4)
	free := fmt.Sprintf("channels/%d/", w.fridge)
	if code := m.subscribe(free+"subscribe/fields/field1", 1); code != 0 {
		t.Errorf("subscribed with QoS 1: %#x", code)
	}
	for i := range 3 {
		m.publish(free+"publish", fmt.Sprintf("field1=%d", i), 0)
	}
	if got := m.expect(free + "subscribe/fields/field1"); got != "0" {
		t.Errorf("first %q", got)
	}
	m.subscribe(free+"subscribe", 0) // answered after all three
	w.later.Store(int64(16 * time.Second))
	m.publish(free+"publish", "field1=9", 0)
	if got := m.expect(free + "subscribe"); !strings.Contains(got, `"field1":"9"`) {
		t.Errorf("after too many: %s", got)
	}
	m.expect(free + "subscribe/fields/field1")
	m.publish(free+"publish", "field1=9", 1)
	if _, err := m.Read(); err == nil {
		t.Error("QoS 1 goes on")
	}
}

// TestMQTTBounds: one workstation does not take all connections, and one client not all subscriptions.
func TestMQTTBounds(t *testing.T) {
	w := newMQTTWard(t, thingspeak.Limits{})
	for range 64 {
		w.dial(t, 4)
	}
	//nolint:bodyclose // refused: nothing to close
	if _, res, err := websocket.Dial(t.Context(), w.url, nil); err == nil || res == nil || res.StatusCode != 429 {
		t.Errorf("the 65th: %v", err)
	}
}

// TestMQTTDeleted: a device that is deleted is cut off.
func TestMQTTDeleted(t *testing.T) {
	w := newMQTTWard(t, thingspeak.Limits{})
	m := w.login(t, 5)
	if err := w.store.DeleteMQTTDevice(t.Context(), w.nurse, w.client); err != nil {
		t.Fatal(err)
	}
	if pk, err := m.Read(); err == nil && (pk.FixedHeader.Type != packets.Disconnect || pk.ReasonCode != packets.ErrNotAuthorized.Code) {
		t.Errorf("got %+v", pk)
	}
	if _, err := m.Read(); err == nil {
		t.Error("goes on")
	}
}

// TestMQTTFormats: entries are told in the format that the topic asks for.
func TestMQTTFormats(t *testing.T) {
	w := newMQTTWard(t, thingspeak.Limits{})
	m := w.login(t, 4)
	base := fmt.Sprintf("channels/%d/subscribe", w.fridge)
	for format, want := range map[string]string{"/json": `"field1":"4.5"`, "/xml": "<field1>4.5</field1>", "/csv": ",4.5,"} {
		if code := m.subscribe(base+format, 0); code != 0 {
			t.Fatalf("%s: %#x", format, code)
		}
		w.ok(200, "POST", "/update", "api_key="+w.writeFree+"&field1=4.5")
		if got := m.expect(base + format); !strings.Contains(got, want) {
			t.Errorf("%s: %s", format, got)
		}
		m.send(packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Unsubscribe, Qos: 1}, PacketID: 77, Filters: packets.Subscriptions{{Filter: base + format}}})
		if _, err := m.Read(); err != nil {
			t.Fatal(err)
		}
	}
}

// TestMQTTRetain: what is to be retained is stored and told like anything else, and not kept for who comes later.
func TestMQTTRetain(t *testing.T) {
	w := newMQTTWard(t, thingspeak.Limits{})
	m := w.login(t, 4)
	m.send(packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Publish, Qos: 1, Retain: true}, PacketID: 77, TopicName: fmt.Sprintf("channels/%d/publish", w.fridge), Payload: []byte("field1=1")})
	if ack, err := m.Read(); err != nil || ack.FixedHeader.Type != packets.Puback {
		t.Fatalf("%+v, %v", ack, err)
	}
	topic := fmt.Sprintf("channels/%d/subscribe/fields/field1", w.fridge)
	if code := m.subscribe(topic, 0); code != 0 {
		t.Fatalf("subscribe: %#x", code)
	}
	m.publish(fmt.Sprintf("channels/%d/publish", w.fridge), "field1=2", 0)
	if got := m.expect(topic); got != "2" {
		t.Errorf("told of %q first", got)
	}
}
