package faces

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/coder/websocket"
	"github.com/mochi-mqtt/server/v2/packets"

	"vitalseal/internal/lab/attack"
	"vitalseal/internal/lab/attack/load"
	"vitalseal/internal/lab/weaken"
	"vitalseal/internal/view/thingspeak"
	"vitalseal/internal/workstation/client"
)

// MQTT are the attacks on ThingSpeak's face, over MQTT.
func MQTT() []attack.Attack {
	return []attack.Attack{
		{ID: "mqtt-guess", Threat: "speak as another user's device", Position: "any user of a workstation who knows a client id", Does: "200 passwords for it, and its own with each letter changed",
			Expected: "bad user name or password, each", Right: attack.Reads(MQTTCode(packets.ErrBadUsernameOrPassword.Code)), Control: weaken.DevicePassword, Run: guessDevice},
		{ID: "mqtt-other-channel", Threat: "write or read what a device was not made for", Position: "a holder of a device for one channel", Does: "publishes to another channel of the same person, and subscribes to it",
			Expected: "not authorized", Right: attack.Reads(MQTTCode(packets.ErrNotAuthorized.Code)), Control: weaken.DeviceRights, Run: otherTopic},
		{ID: "mqtt-wildcard", Threat: "hear every device", Position: "a holder of a device", Does: "subscribes to #, +, channels/#, $SYS/#, a shared subscription and another's publish topic",
			Expected: "refused, each", Right: attack.Reads(MQTTCode(packets.ErrNotAuthorized.Code)), Control: weaken.TopicNames, Run: wildcards},
		{ID: "mqtt-heart-rate", Threat: "put invented values at a patient's bed", Position: "a signed-in nurse of the ward", Does: "makes a device that publishes to a patient's monitor, and publishes heart rate 30",
			Expected: "403; and not authorized with a device that may only listen", Right: attack.Says("403").Or(attack.Reads(MQTTCode(packets.ErrNotAuthorized.Code))), Control: weaken.Policy, Run: publishHeartRate},
		{ID: "mqtt-deleted", Threat: "go on listening without a right", Position: "a holder of a device that is deleted meanwhile", Does: "keeps the connection, with a subscription to a patient",
			Expected: "disconnected within two seconds", Right: attack.Reads("disconnected"), Control: weaken.LiveRecheck, Run: deletedDevice},
		{ID: "mqtt-will", Threat: "leave a message behind that no rule decides about", Position: "a holder of a device", Does: "connects with a last will for a patient's topic",
			Expected: "bad user name or password: that is how a sign-in with a will is refused", Right: attack.Reads(MQTTCode(packets.ErrBadUsernameOrPassword.Code)), Control: weaken.NoWill, Run: lastWill},
		{ID: "mqtt-retained", Threat: "an old value comes to a later subscriber like a new one", Position: "a holder of a device", Does: "publishes with the retain flag; another device of the channel connects afterwards and subscribes, as does one that has no right to it",
			Expected: "the first hears only what is published from then on; the second is not authorized", Right: attack.Reads("only what came afterwards", MQTTCode(packets.ErrNotAuthorized.Code)), Control: weaken.NoRetain, Run: retained},
		{ID: "mqtt-huge", Threat: "use up the hub's memory", Position: "a holder of a device", Does: "one message of 256 KiB",
			Expected: "the connection ends", Right: attack.Reads("closed"), Control: weaken.PacketBound, Run: hugeMessage},
		{ID: "mqtt-flood", Threat: "keep all others out", Position: "an enrolled workstation", Does: "100 MQTT connections at once that say nothing",
			Expected: "429 beyond 64; a bed's numbers keep moving elsewhere", Right: attack.Answers(http.StatusTooManyRequests), Control: weaken.MQTTClients, Run: mqttFlood},
		{ID: "mqtt-poison", Threat: "silence a device", Position: "a holder of a device, or a fault in it", Does: "one MQTT 3.1.1 message of QoS 1 that is no form, sent first on each connection until it is acknowledged, and a good one behind it",
			Expected: "acknowledged, dropped and counted; the good one is stored", Right: attack.Reads("dropped and counted, the next one stored"), Control: weaken.PoisonDrop, Run: mqttPoison},
	}
}

// mqttDevice is what a client signs in as, and channels of the person who made it.
type mqttDevice struct {
	ID       string `json:"id"`
	Password string `json:"password"`
	own      int64  // that it may publish to and subscribe
	other    int64  // that it may not
}

// newMQTTDevice makes a device of the nurse's, for a channel of hers and for the first patient's
// monitor.
func newMQTTDevice(ctx context.Context, t *attack.Target) (d mqttDevice, err error) {
	c, err := t.Client(ctx, t.Who("nurse"))
	if err != nil {
		return d, err
	}
	var account struct {
		Key string `json:"key"`
	}
	if err := c.Do(ctx, http.MethodPost, "/api/account/keys", map[string]any{"channel": 0}, &account); err != nil {
		return d, err
	}
	channel := func() (id int64, err error) {
		form := url.Values{"name": {t.Name("free-")}, "field1": {"a"}, "api_key": {account.Key}}
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, t.Base+"/channels.json", strings.NewReader(form.Encode()))
		if err != nil {
			return 0, err
		}
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			return 0, err
		}
		defer res.Body.Close()
		var made struct {
			ID int64 `json:"id"`
		}
		err = json.NewDecoder(io.LimitReader(res.Body, 1<<16)).Decode(&made)
		return made.ID, err
	}
	own, err := channel()
	if err != nil {
		return d, err
	}
	other, err := channel()
	if err != nil {
		return d, err
	}
	err = c.Do(ctx, http.MethodPost, "/api/account/mqtt", map[string]any{"channels": []map[string]any{
		{"channel": own, "publish": true, "subscribe": true}, {"channel": t.Ward.Patients[0].Channel, "subscribe": true}}}, &d)
	d.own, d.other = own, other
	return d, err
}

// MQTTCode is a reason code in one word for [attack.Right]; "code 0x0" is a connection that ended
// without one.
func MQTTCode(code byte) string { return fmt.Sprintf("code %#x", code) }

// mqttConn speaks MQTT 5 by hand.
type mqttConn struct{ *client.MQTT }

func mqttDial(ctx context.Context, t *attack.Target) (*mqttConn, error) { return mqttDialAs(ctx, t, 5) }

// mqttDialAs speaks a version: 4 is MQTT 3.1.1.
func mqttDialAs(ctx context.Context, t *attack.Target, version byte) (*mqttConn, error) {
	//nolint:bodyclose // the library closes it, or has replaced it by one that needs no closing
	c, _, err := websocket.Dial(ctx, t.Base+thingspeak.MQTTPath, &websocket.DialOptions{Subprotocols: []string{"mqtt"}})
	if err != nil {
		return nil, err
	}
	t.AtEnd(func() error { _ = c.CloseNow(); return nil })
	conn := websocket.NetConn(context.WithoutCancel(ctx), c, websocket.MessageBinary)
	return &mqttConn{client.NewMQTT(conn, version)}, conn.SetDeadline(time.Now().Add(20 * time.Second))
}

func (d mqttDevice) hello() packets.Packet { return client.Hello(d.ID, d.ID, d.Password) }

// mqttLogin connects and says hello; code is the hub's answer.
func mqttLogin(ctx context.Context, t *attack.Target, hello packets.Packet) (m *mqttConn, code byte, err error) {
	if m, err = mqttDial(ctx, t); err != nil {
		return nil, 0, err
	}
	ack, err := m.Ask(hello)
	return m, ack.ReasonCode, err
}

// publish reports whether a message was taken. A connection that ends is a refusal.
func (m *mqttConn) publish(topic, payload string) (taken bool, code byte, err error) {
	ack, err := m.Ask(m.Publish(topic, []byte(payload), 1))
	if errors.Is(err, client.ErrMQTTClosed) {
		return false, 0, nil
	}
	return err == nil && ack.FixedHeader.Type == packets.Puback && ack.ReasonCode < 0x80, ack.ReasonCode, err
}

func (m *mqttConn) subscribe(filter string) (granted bool, code byte, err error) {
	ack, err := m.Ask(m.Subscribe(filter, 0))
	if errors.Is(err, client.ErrMQTTClosed) {
		return false, 0, nil
	}
	if err != nil || len(ack.ReasonCodes) != 1 {
		return false, 0, fmt.Errorf("subscribe: %w", err)
	}
	return ack.ReasonCodes[0] < 0x80, ack.ReasonCodes[0], nil
}

// mqttIn is a device that has signed in.
func mqttIn(ctx context.Context, t *attack.Target) (d mqttDevice, m *mqttConn, err error) {
	if d, err = newMQTTDevice(ctx, t); err != nil {
		return d, nil, err
	}
	m, code, err := mqttLogin(ctx, t, d.hello())
	if err == nil && code != 0 {
		err = fmt.Errorf("an honest device is refused with %#x", code)
	}
	return d, m, err
}

func guessDevice(ctx context.Context, t *attack.Target) (attack.Result, error) {
	d, err := newMQTTDevice(ctx, t)
	if err != nil {
		return attack.Result{}, err
	}
	guesses := make([]string, 0, 232)
	for range 200 {
		guesses = append(guesses, randomKey()+randomKey())
	}
	for i := range d.Password {
		b := []byte(d.Password)
		b[i] = keyLetters[(strings.IndexByte(keyLetters, b[i])+1)%len(keyLetters)]
		guesses = append(guesses, string(b))
	}
	var seen []attack.Seen
	for i, g := range guesses {
		try := d
		try.Password = g
		m, code, err := mqttLogin(ctx, t, try.hello())
		if m == nil && err != nil {
			return attack.Result{}, err
		}
		_ = m.Conn().Close()
		if err == nil && code == 0 {
			return attack.Through("let in", "with guess %d", i+1)
		}
		seen = append(seen, attack.Word("%s", MQTTCode(code))...)
	}
	return attack.RefusedWith(seen, "none was let in", "%d guesses", len(guesses))
}

func otherTopic(ctx context.Context, t *attack.Target) (attack.Result, error) {
	d, m, err := mqttIn(ctx, t)
	if err != nil {
		return attack.Result{}, err
	}
	heard, code1, err := m.subscribe(fmt.Sprintf("channels/%d/subscribe", d.other))
	if err != nil {
		return attack.Result{}, err
	}
	taken, code2, err := m.publish(fmt.Sprintf("channels/%d/publish", d.other), "field1=1")
	if err != nil {
		return attack.Result{}, err
	}
	return attack.Judge(heard || taken, append(attack.Word("%s", MQTTCode(code1)), attack.Word("%s", MQTTCode(code2))...), "taken", "not authorized", "subscribe %#x, publish %#x", code1, code2)
}

func wildcards(ctx context.Context, t *attack.Target) (attack.Result, error) {
	d, m, err := mqttIn(ctx, t)
	if err != nil {
		return attack.Result{}, err
	}
	names := []string{"#", "+", "channels/#", "channels/+/subscribe", "$SYS/#", "$share/g/channels/1/subscribe", fmt.Sprintf("channels/%d/publish", d.other)}
	var seen []attack.Seen
	for _, name := range names {
		granted, code, err := m.subscribe(name)
		if err != nil {
			return attack.Result{}, err
		}
		if granted {
			return attack.Through("granted", "%s: %#x", name, code)
		}
		seen = append(seen, attack.Word("%s", MQTTCode(code))...)
	}
	return attack.RefusedWith(seen, "none was granted", "%s", strings.Join(names, " "))
}

func publishHeartRate(ctx context.Context, t *attack.Target) (attack.Result, error) {
	patient := t.Ward.Patients[0].Channel
	c, err := t.Client(ctx, t.Who("nurse"))
	if err != nil {
		return attack.Result{}, err
	}
	var d mqttDevice
	made := c.Do(ctx, http.MethodPost, "/api/account/mqtt", map[string]any{"channels": []map[string]any{{"channel": patient, "publish": true}}}, &d)
	if made != nil { // then with one that may only listen
		if d, err = newMQTTDevice(ctx, t); err != nil {
			return attack.Result{}, err
		}
	}
	m, _, err := mqttLogin(ctx, t, d.hello())
	if err != nil {
		return attack.Result{}, err
	}
	taken, code, err := m.publish(fmt.Sprintf("channels/%d/publish", patient), "field1=30")
	if err != nil {
		return attack.Result{}, err
	}
	return attack.Judge(made == nil || taken, append(attack.Failure(made), attack.Word("%s", MQTTCode(code))...), "a device for a patient's monitor was made", "refused", "making the device: %v; publishing all the same: %#x", made, code)
}

func deletedDevice(ctx context.Context, t *attack.Target) (attack.Result, error) {
	d, m, err := mqttIn(ctx, t)
	if err != nil {
		return attack.Result{}, err
	}
	granted, code, err := m.subscribe(fmt.Sprintf("channels/%d/subscribe", t.Ward.Patients[0].Channel))
	if err != nil || !granted {
		return attack.Result{}, fmt.Errorf("an honest subscription: %#x, %w", code, err)
	}
	c, err := t.Client(ctx, t.Who("nurse"))
	if err != nil {
		return attack.Result{}, err
	}
	if err := c.Do(ctx, http.MethodDelete, "/api/account/mqtt/"+d.ID, nil, nil); err != nil {
		return attack.Result{}, err
	}
	began := time.Now()
	if err := m.Conn().SetDeadline(began.Add(4 * time.Second)); err != nil {
		return attack.Result{}, err
	}
	for heard := 0; ; heard++ {
		pk, err := m.Read()
		after := time.Since(began)
		switch {
		case err != nil && after < 3900*time.Millisecond, err == nil && pk.FixedHeader.Type == packets.Disconnect:
			seen := attack.Failure(err)
			if err == nil {
				seen = attack.Word("disconnected")
			}
			return attack.RefusedWith(seen, "cut off", "after %v, %d messages", after.Round(10*time.Millisecond), heard)
		case err != nil || after > 3*time.Second:
			return attack.Through("goes on listening", "%d messages in %v", heard, after.Round(10*time.Millisecond))
		}
	}
}

func lastWill(ctx context.Context, t *attack.Target) (attack.Result, error) {
	d, err := newMQTTDevice(ctx, t)
	if err != nil {
		return attack.Result{}, err
	}
	hello := d.hello()
	hello.Connect.WillFlag, hello.Connect.WillTopic, hello.Connect.WillPayload = true, fmt.Sprintf("channels/%d/subscribe", t.Ward.Patients[0].Channel), []byte("field1=30")
	m, code, err := mqttLogin(ctx, t, hello)
	if m == nil && err != nil {
		return attack.Result{}, err
	}
	return attack.Judge(err == nil && code == 0, attack.Word("%s", MQTTCode(code)), "let in with it", "refused", "%#x", code)
}

// retained leaves a message for those who come later.
func retained(ctx context.Context, t *attack.Target) (attack.Result, error) {
	d, err := newMQTTDevice(ctx, t)
	if err != nil {
		return attack.Result{}, err
	}
	c, err := t.Client(ctx, t.Who("nurse"))
	if err != nil {
		return attack.Result{}, err
	}
	login := func(as mqttDevice, version byte) (*mqttConn, error) {
		m, err := mqttDialAs(ctx, t, version)
		if err != nil {
			return nil, err
		}
		ack, err := m.Ask(as.hello())
		if err == nil && ack.ReasonCode != 0 {
			err = fmt.Errorf("an honest device is refused with %#x", ack.ReasonCode)
		}
		return m, err
	}
	first, err := login(d, 4) // a client of MQTT 5 is told beforehand that nothing is retained
	if err != nil {
		return attack.Result{}, err
	}
	topic := fmt.Sprintf("channels/%d/publish", d.own)
	pk := first.Publish(topic, []byte("field1=66"), 1)
	pk.FixedHeader.Retain = true
	if ack, err := first.Ask(pk); err != nil || ack.FixedHeader.Type != packets.Puback {
		return attack.Result{}, fmt.Errorf("the message with the flag is not taken: %w", err)
	}
	_ = first.Conn().Close()

	var later, other mqttDevice
	for channel, as := range map[int64]*mqttDevice{d.own: &later, d.other: &other} {
		if err := c.Do(ctx, http.MethodPost, "/api/account/mqtt", map[string]any{"channels": []map[string]any{{"channel": channel, "subscribe": true}}}, as); err != nil {
			return attack.Result{}, err
		}
	}
	hears := fmt.Sprintf("channels/%d/subscribe/fields/field1", d.own)
	stranger, err := login(other, 5)
	if err != nil {
		return attack.Result{}, err
	}
	granted, code, err := stranger.subscribe(hears)
	if err != nil {
		return attack.Result{}, err
	}
	if granted {
		return attack.Through("granted to a device of another channel", "%#x", code)
	}
	listener, err := login(later, 5)
	if err != nil {
		return attack.Result{}, err
	}
	if granted, code, err := listener.subscribe(hears); err != nil || !granted {
		return attack.Result{}, fmt.Errorf("an honest subscription: %#x, %w", code, err)
	}
	again, err := login(d, 5)
	if err != nil {
		return attack.Result{}, err
	}
	if err := attack.Await(ctx, func() error { // two entries in one second are refused
		taken, code, err := again.publish(topic, "field1=77")
		if err == nil && !taken {
			err = fmt.Errorf("the second message is not taken: %#x", code)
		}
		return err
	}); err != nil {
		return attack.Result{}, err
	}
	got, err := listener.Read()
	for err == nil && got.FixedHeader.Type != packets.Publish {
		got, err = listener.Read()
	}
	if err != nil {
		return attack.Result{}, fmt.Errorf("the listener hears nothing: %w", err)
	}
	seen := attack.Word("heard %s", attack.Clip(string(got.Payload)))
	if string(got.Payload) == "77" {
		seen = attack.Word("only what came afterwards")
	}
	return attack.Judge(got.FixedHeader.Retain || string(got.Payload) == "66", append(seen, attack.Word("%s", MQTTCode(code))...), "an old value came like a new one", "nothing is kept for later",
		"heard %q first, retained %v; another channel's device %#x", got.Payload, got.FixedHeader.Retain, code)
}

func hugeMessage(ctx context.Context, t *attack.Target) (attack.Result, error) {
	d, m, err := mqttIn(ctx, t)
	if err != nil {
		return attack.Result{}, err
	}
	topic := fmt.Sprintf("channels/%d/publish", d.own)
	_, code, err := m.publish(topic, "field1="+strings.Repeat("x", 256<<10))
	if err != nil {
		return attack.Result{}, err
	}
	_, err = m.Ask(m.Publish(topic, []byte("field1=1"), 1))
	alive := err == nil
	seen := attack.Failure(err)
	if errors.Is(err, client.ErrMQTTClosed) {
		seen = attack.Word("closed")
	}
	return attack.Judge(alive, seen, "taken in whole; the connection goes on", "the connection ended", "%#x", code)
}

func mqttFlood(ctx context.Context, t *attack.Target) (attack.Result, error) {
	s, err := t.NewStation(ctx)
	if err != nil {
		return attack.Result{}, err
	}
	open := 0
	var seen []attack.Seen
	err = load.Meanwhile(ctx, t, func(during func() error) error {
		for range 100 {
			//nolint:bodyclose // the library closes it, or has replaced it by one that needs no closing
			c, res, err := websocket.Dial(ctx, "ws://hub"+thingspeak.MQTTPath, &websocket.DialOptions{HTTPClient: s.HTTP, Subprotocols: []string{"mqtt"}})
			if err != nil {
				if res == nil {
					return err
				}
				seen = append(seen, attack.Seen{Status: res.StatusCode})
				continue
			}
			defer func() { _ = c.CloseNow() }()
			open++
		}
		return during()
	})
	return load.Flooded(err, open > 64, seen, "as many as wanted to", "bounded", "%d of 100 were opened", open)
}
