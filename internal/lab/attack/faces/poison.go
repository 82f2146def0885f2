package faces

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"

	"vitalseal/internal/lab/attack"
	"vitalseal/internal/patient/gateway"
	"vitalseal/internal/patient/gateway/legacy"
	"vitalseal/internal/workstation/client"
)

// stubbornConnections is how often a device comes again with a message before it counts as
// silenced.
const stubbornConnections = 3

// stubborn is a device of MQTT 3.1.1 that keeps a message until it is acknowledged, and sends the
// oldest first on each connection, as the protocol asks. It says how many of the messages were
// acknowledged, over how many connections.
func stubborn(hello packets.Packet, dial func() (*client.MQTT, error), topic string, messages ...string) (acknowledged, connections int, err error) {
	for acknowledged < len(messages) && connections < stubbornConnections {
		connections++
		m, err := dial()
		if err != nil {
			return acknowledged, connections, err
		}
		ack, err := m.Ask(hello)
		if err == nil && (ack.FixedHeader.Type != packets.Connack || ack.ReasonCode != 0) {
			err = fmt.Errorf("an honest device is refused with %s", MQTTCode(ack.ReasonCode))
		}
		for err == nil && acknowledged < len(messages) {
			time.Sleep(legacyPace)
			pk := m.Publish(topic, []byte(messages[acknowledged]), 1)
			if ack, err = m.Ask(pk); err != nil {
				break
			}
			if ack.FixedHeader.Type != packets.Puback || ack.PacketID != pk.PacketID {
				err = fmt.Errorf("packet %d is answered by a packet of type %d", pk.PacketID, ack.FixedHeader.Type)
				break
			}
			acknowledged++
		}
		_ = m.Conn().Close()
		var late net.Error
		if err != nil && (!errors.Is(err, client.ErrMQTTClosed) || errors.Is(err, context.DeadlineExceeded) || errors.As(err, &late) && late.Timeout()) {
			return acknowledged, connections, err // no answer at all shows nothing
		}
	}
	return acknowledged, connections, nil
}

// ownBed is a bed with a patient and no other sensor, with a nurse who sees it.
type ownBed struct {
	t           *attack.Target
	bed         string
	patient     string
	nurse       attack.Session
	heartRateOf string // the sensor that the bed's heart rate must be of
}

func newOwnBed(ctx context.Context, t *attack.Target) (b ownBed, err error) {
	admin, err := t.Admin(ctx)
	if err != nil {
		return b, err
	}
	ward := strings.ToLower(t.Name("ward-"))
	b.t, b.bed = t, ward+"-1"
	var made struct {
		ID string `json:"id"`
	}
	for _, r := range []struct {
		path string
		body map[string]any
	}{{"wards", map[string]any{"id": ward, "name": ward}}, {"beds", map[string]any{"id": b.bed, "ward": ward, "name": b.bed}}, {"patients", map[string]any{"name": "Pat Ient", "bed": b.bed, "meant": true}}} {
		made.ID = ""
		if err := admin.Do(ctx, http.MethodPost, "/api/admin/"+r.path, r.body, &made); err != nil {
			return b, fmt.Errorf("%s: %w", r.path, err)
		}
	}
	b.patient = made.ID
	_, who, err := t.Person(ctx, "nurse", map[string]any{"wards": []string{ward}})
	if err != nil {
		return b, err
	}
	b.nurse, err = t.Front().SignIn(ctx, who)
	return b, err
}

// bedReading is one number as the dashboard's interface answers it.
type bedReading struct {
	Value      *float64 `json:"value"`
	Quality    string   `json:"quality"`
	Source     string   `json:"source"`
	Unverified bool     `json:"unverified"`
}

// shows waits until the bed's heart rate is the given one, and gives all that is answered of the
// bed.
func (b ownBed) shows(ctx context.Context, heartRate float64) (numerics map[string]bedReading, err error) {
	ctx, cancel := context.WithTimeout(ctx, 15*time.Second)
	defer cancel()
	err = attack.Await(ctx, func() error {
		a, err := b.t.Front().Send(ctx, attack.Request{Method: "GET", Path: "/api/patients/" + b.patient, Bearer: b.nurse.Access})
		if err != nil {
			return err
		}
		var out struct {
			Numerics map[string]bedReading `json:"numerics"`
		}
		if err := json.Unmarshal(a.Body, &out); err != nil || !a.OK() {
			return fmt.Errorf("the bed: %s", a)
		}
		numerics = out.Numerics
		if r := numerics["heart_rate_bpm"]; r.Value == nil || *r.Value != heartRate || r.Source != b.heartRateOf {
			return fmt.Errorf("the bed does not show %g of %s: %s", heartRate, b.heartRateOf, a)
		}
		return nil
	})
	return numerics, err
}

// legacyAtBed is a bed of its own with a legacy device, and the device's gateway.
func legacyAtBed(ctx context.Context, t *attack.Target) (b ownBed, g legacyGateway, err error) {
	if b, err = newOwnBed(ctx, t); err != nil {
		return b, g, err
	}
	g, err = legacyGatewayAt(ctx, t, b.bed)
	b.heartRateOf = g.sensor
	return b, g, err
}

func (g legacyGateway) counts(ctx context.Context) (legacy.Counts, error) {
	_, st, err := gateway.ReadStatus(ctx, g.data)
	if err != nil {
		return legacy.Counts{}, err
	}
	if st.Legacy == nil {
		return legacy.Counts{}, errors.New("the gateway tells of no legacy device")
	}
	return st.Legacy.Devices[g.sensor], nil
}

func legacyPoison(ctx context.Context, t *attack.Target) (attack.Result, error) {
	b, g, err := legacyAtBed(ctx, t)
	if err != nil {
		return attack.Result{}, err
	}
	acknowledged, connections, err := stubborn(client.Hello(g.sensor, g.sensor, g.key), func() (*client.MQTT, error) {
		c, err := (&net.Dialer{Timeout: 3 * time.Second}).DialContext(ctx, "tcp", g.mqtt)
		if err != nil {
			return nil, err
		}
		return client.NewMQTT(c, 4), c.SetDeadline(time.Now().Add(10 * time.Second))
	}, "channels/1/publish", "field1=seventy", "field1=77")
	switch {
	case err != nil:
		return attack.Result{}, err
	case acknowledged == 0:
		return attack.Through("the device is silenced", "%d connections, cut off at the same message each time", connections)
	case acknowledged < 2:
		return attack.Result{}, fmt.Errorf("the good message was not acknowledged in %d connections", connections)
	}
	if _, err := b.shows(ctx, 77); err != nil {
		return attack.Result{}, err
	}
	counts, err := g.counts(ctx)
	if err != nil {
		return attack.Result{}, err
	}
	seen := attack.Word("not counted: bad_value %d, %q", counts.BadValue, counts.Reason)
	if counts.BadValue == 1 && strings.HasPrefix(counts.Reason, "field1") {
		seen = attack.Word("dropped and counted, the next one shown")
	}
	return attack.RefusedWith(seen, "the device goes on", "bad_value %d: %s; %d connection", counts.BadValue, counts.Reason, connections)
}

func legacyUnmarked(ctx context.Context, t *attack.Target) (attack.Result, error) {
	b, g, err := legacyAtBed(ctx, t)
	if err != nil {
		return attack.Result{}, err
	}
	time.Sleep(legacyPace)
	if a, err := g.update(ctx, g.key, url.Values{"field1": {"73"}, "field2": {"97"}}); err != nil || !taken(a) {
		return attack.Result{}, fmt.Errorf("an honest message: %s, %w", a, err)
	}
	numerics, err := b.shows(ctx, 73)
	if err != nil {
		return attack.Result{}, err
	}
	marked, bare := 0, []string{}
	for _, kind := range []string{"heart_rate_bpm", "spo2_percent"} {
		r := numerics[kind]
		if r.Value == nil {
			return attack.Result{}, fmt.Errorf("%s is not shown", kind)
		}
		if r.Quality == "asserted" && r.Unverified {
			marked++
		} else {
			bare = append(bare, fmt.Sprintf("%s %g is %s, unverified %v", kind, *r.Value, r.Quality, r.Unverified))
		}
	}
	return attack.Judge(len(bare) > 0, attack.Word("asserted and unverified, both"), "shown as if it were measured", "marked", "%d marked; %s", marked, strings.Join(bare, "; "))
}

func legacyThirdField(ctx context.Context, t *attack.Target) (attack.Result, error) {
	b, g, err := legacyAtBed(ctx, t)
	if err != nil {
		return attack.Result{}, err
	}
	time.Sleep(legacyPace)
	a, err := g.update(ctx, g.key, url.Values{"field1": {"73"}, "field2": {"97"}, "field3": {"98.6"}})
	if err != nil || !taken(a) {
		return attack.Result{}, fmt.Errorf("the sketch's message: %s, %w", a, err)
	}
	numerics, err := b.shows(ctx, 73)
	if err != nil {
		return attack.Result{}, err
	}
	for _, kind := range []string{"systolic_mmhg", "diastolic_mmhg", "mean_arterial_mmhg", "pressure_kpa"} {
		if r, ok := numerics[kind]; ok {
			return attack.Through("shown as a pressure", "%s: %s of %s", kind, r.Quality, r.Source)
		}
	}
	why := a.Header.Get("X-Vitalseal-Error")
	seen := attack.Word("left out without a word: %q", why)
	if strings.HasPrefix(why, "field3 means nothing") {
		seen = attack.Word("field3 left out, no pressure")
	}
	return attack.RefusedWith(seen, "left out", "%s", why)
}

func mqttPoison(ctx context.Context, t *attack.Target) (attack.Result, error) {
	d, err := newMQTTDevice(ctx, t)
	if err != nil {
		return attack.Result{}, err
	}
	c, err := t.Client(ctx, t.Who("nurse"))
	if err != nil {
		return attack.Result{}, err
	}
	acknowledged, connections, err := stubborn(d.hello(), func() (*client.MQTT, error) {
		m, err := mqttDialAs(ctx, t, 4)
		if err != nil {
			return nil, err
		}
		return m.MQTT, nil
	}, fmt.Sprintf("channels/%d/publish", d.own), "nothing=1", "field1=77")
	switch {
	case err != nil:
		return attack.Result{}, err
	case acknowledged == 0:
		return attack.Through("the device is silenced", "%d connections, cut off at the same message each time", connections)
	case acknowledged < 2:
		return attack.Result{}, fmt.Errorf("the good message was not acknowledged in %d connections", connections)
	}
	var account struct {
		Key string `json:"key"`
	}
	if err := c.Do(ctx, http.MethodPost, "/api/account/keys", map[string]any{"channel": d.own}, &account); err != nil {
		return attack.Result{}, err
	}
	a, err := t.Front().Send(ctx, attack.Request{Method: "GET", Path: fmt.Sprintf("/channels/%d/fields/1/last.txt?api_key=%s", d.own, account.Key)})
	if err != nil || strings.TrimSpace(string(a.Body)) != "77" {
		return attack.Result{}, fmt.Errorf("the good message is acknowledged and not stored: %s, %w", a, err)
	}
	var devices []struct {
		ID      string `json:"id"`
		Refused uint64 `json:"refused"`
		Reason  string `json:"refused_reason"`
	}
	if err := c.Do(ctx, http.MethodGet, "/api/account/mqtt", nil, &devices); err != nil {
		return attack.Result{}, err
	}
	seen, told := attack.Word("not counted"), ""
	for _, one := range devices {
		if one.ID == d.ID && one.Refused == 1 && one.Reason != "" {
			seen, told = attack.Word("dropped and counted, the next one stored"), one.Reason
		}
	}
	return attack.RefusedWith(seen, "the device goes on", "1 refused: %s; %d connection", told, connections)
}
