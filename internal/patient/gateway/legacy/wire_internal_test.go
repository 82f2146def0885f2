package legacy

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"

	"vitalseal/internal/measurement/vitals"
)

// serverOf is a server with one device, "ard" on channel 1, and its key; and a wire that it serves at.
func serverOf(t *testing.T, serve func(*Server, context.Context, net.Listener) error) (d *Server, dev *legacyDevice, key, address string) {
	t.Helper()
	folder := t.TempDir()
	key, err := MakeKey(folder, "ard")
	if err != nil {
		t.Fatal(err)
	}
	quiet := slog.New(slog.DiscardHandler)
	d, err = Open(Config{ListenHTTP: "127.0.0.1:1", UpdateEvery: time.Nanosecond}, folder, quiet)
	if err != nil {
		t.Fatal(err)
	}
	dev = d.add("ard", Device{Channel: 1}, newQueue())
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- serve(d, ctx, newBounded(ln, d.guard, quiet)) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return d, dev, key, ln.Addr().String()
}

// counted is a copy of a device's counts.
func (d *legacyDevice) counted() Counts {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.counts
}

// TestLegacySketches: what common sketches write byte by byte is taken, with the numbers that they mean.
func TestLegacySketches(t *testing.T) {
	d, dev, key, address := serverOf(t, (*Server).serveHTTP)
	ask := func(text string) *http.Response {
		t.Helper()
		c, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		_ = c.SetDeadline(time.Now().Add(time.Minute))
		if _, err := io.WriteString(c, strings.ReplaceAll(text, "KEY", key)); err != nil {
			t.Fatal(err)
		}
		res, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil {
			t.Fatalf("%q: %v", text, err)
		}
		b, _ := io.ReadAll(res.Body)
		_ = res.Body.Close()
		if strings.Contains(string(b)+fmt.Sprint(res.Header), key) {
			t.Errorf("%q: the answer repeats the key: %v %s", text, res.Header, b)
		}
		return res
	}
	post := func(path, media, body string) string {
		return fmt.Sprintf("POST %s HTTP/1.1\r\nHost: api.thingspeak.com\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n%s", path, media, len(strings.ReplaceAll(body, "KEY", key)), body)
	}
	const media = "application/x-www-form-urlencoded"
	for i, text := range []string{
		"GET /update?key=KEY&field1=NN HTTP/1.1\r\nHost: x\r\n\r\n",
		"GET /update?key=KEY&field1=NN\r\n\r\n",                      // AT commands of an ESP8266
		"GET /update?key=KEY&field1= NN.00&field2= HTTP/1.0\r\n\r\n", // dtostrf
		"GET //update?key=KEY&field1=NN HTTP/1.1\r\nHost: x\r\n\r\n", // a server's name that ends in a slash
		"GET /update?key=KEY&field1=NNHTTP/1.1\r\nHost: x\r\n\r\n",   // a forgotten blank
		"GET /update?key=KEY&field1=NN HTTP/1.1\r\n\r\n",             // a forgotten Host
		post("/update", media, "field1=NN&key=KEY\r\n"),
		post("/update", media, "key=KEY&field1=NN&status=SpO2 98%"),
		post("/update.json", "application/json", `{"api_key":"KEY","field1":NN,"field2":nan}`),
	} {
		value := 60 + i
		text = strings.ReplaceAll(text, "NN", fmt.Sprint(value))
		if res := ask(text); res.StatusCode != 200 {
			t.Errorf("%q: %d %s", text, res.StatusCode, res.Header.Get("X-Vitalseal-Error"))
			continue
		}
		n := (<-dev.in()).Bundles[0].Numerics
		if k := slices.IndexFunc(n, func(n vitals.Numeric) bool { return n.Kind == vitals.HeartRate }); k < 0 || n[k].Value != float64(value) || n[k].Quality != vitals.Asserted {
			t.Errorf("%q: %v", text, n)
		}
	}
	// Each spelling of a time leads to the same moment.
	before := time.Now().UTC().Truncate(time.Second)
	west := time.FixedZone("", -5*3600)
	for i, layout := range []string{"2006-01-02 15:04:05-07", "2006-01-02T15:04:05-0700", "2006-01-02 15:04:05Z07:00", "2006-01-02T15:04:05 -07:00"} {
		at := before.Add(time.Duration(i-10) * time.Second)
		dev.marks.set(dev.id, at.Add(-time.Second))
		if res := ask("GET /update?key=KEY&field1=70&created_at=" + strings.ReplaceAll(at.In(west).Format(layout), " ", "%20") + " HTTP/1.1\r\nHost: x\r\n\r\n"); res.StatusCode != 200 {
			t.Errorf("%s: %d %s", layout, res.StatusCode, res.Header.Get("X-Vitalseal-Error"))
			continue
		}
		if got := (<-dev.in()).Bundles[0].At; !got.Equal(at) {
			t.Errorf("%s: stored at %v, want %v", layout, got, at)
		}
	}
	// What is refused before anything is read is counted with its reason.
	for i, text := range []string{"HELLO\r\n\r\n", "GET /update?key=KEY HTTP/1.1\r\nHost: x\r\nno colon\r\n\r\n", "GET /nowhere HTTP/1.1\r\nHost: x\r\n\r\n"} {
		if res := ask(text); res.StatusCode < 400 || d.guard.count().Malformed != uint64(i+1) || d.guard.count().MalformedReason == "" {
			t.Errorf("%q: %d, counted %+v", text, res.StatusCode, d.guard.count())
		}
	}
	if c := dev.counted(); c.Refused() != 0 {
		t.Errorf("refused: %+v", c)
	}
}

// speaker is a device that speaks MQTT 3.1.1 byte by byte.
type speaker struct {
	t *testing.T
	net.Conn
	in *bufio.Reader
}

func speak(t *testing.T, address string, connect packets.Packet) (*speaker, byte) {
	t.Helper()
	c, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(time.Minute))
	s := &speaker{t, c, bufio.NewReader(c)}
	connect.FixedHeader.Type = packets.Connect
	s.send(connect)
	head := make([]byte, 4)
	if _, err := io.ReadFull(s.in, head); err != nil {
		return s, 0xff
	}
	return s, head[3]
}

func (s *speaker) send(pk packets.Packet) {
	s.t.Helper()
	var b bytes.Buffer
	encode := pk.PublishEncode
	if pk.FixedHeader.Type == packets.Connect {
		encode = pk.ConnectEncode
	}
	if err := encode(&b); err != nil {
		s.t.Fatal(err)
	}
	if _, err := s.Write(b.Bytes()); err != nil {
		s.t.Fatal(err)
	}
}

// acknowledged sends a message with QoS 1 and reports whether it was.
func (s *speaker) acknowledged(id uint16, topic, text string, retain bool) bool {
	s.t.Helper()
	s.send(packets.Packet{ProtocolVersion: 4, FixedHeader: packets.FixedHeader{Type: packets.Publish, Qos: 1, Retain: retain}, PacketID: id, TopicName: topic, Payload: []byte(text)})
	ack := make([]byte, 4)
	_, err := io.ReadFull(s.in, ack)
	return err == nil && ack[0]>>4 == packets.Puback && uint16(ack[2])<<8|uint16(ack[3]) == id
}

func greet(key string) packets.Packet {
	return packets.Packet{ProtocolVersion: 4, Connect: packets.ConnectParams{ProtocolName: []byte("MQTT"), Clean: true, ClientIdentifier: "ard",
		UsernameFlag: true, Username: []byte("ard"), PasswordFlag: true, Password: []byte(key)}}
}

// TestLegacyPoison: a message that is refused for good is acknowledged, dropped and counted, so that the device does not send it first on
// every connection for ever; what comes behind it is stored. (Seen: the device was silent until its queue was cleared.)
func TestLegacyPoison(t *testing.T) {
	_, dev, key, address := serverOf(t, (*Server).serveMQTT)
	s, code := speak(t, address, greet(key))
	if code != 0 {
		t.Fatalf("not let in: %d", code)
	}
	for i, x := range []struct {
		topic, text string
		retain      bool
		count       func(Counts) uint64
	}{
		{"channels/1/publish", "field1=high", false, func(c Counts) uint64 { return c.BadValue }},
		{"channels/1/publish", "field1=72&created_at=never", false, func(c Counts) uint64 { return c.BadValue }},
		{"channels/1/publish", "field1=72&status=" + strings.Repeat("x", 3500), false, func(c Counts) uint64 { return c.TooLarge }},
		{"channels/1/publish", "field1=72&status=" + strings.Repeat("x", 70_000), false, func(c Counts) uint64 { return c.TooLarge }},
		{"channels/2/publish", "field1=72", false, func(c Counts) uint64 { return c.NotAllowed }},
		{"home/bedroom/oximeter", "72", false, func(c Counts) uint64 { return c.NotAllowed }},
		{"channels/+/publish", "field1=72", false, func(c Counts) uint64 { return c.NotAllowed }},
		{"$SYS/x", "72", false, func(c Counts) uint64 { return c.NotAllowed }},
		{"channels/1/publish", "field1=72", true, func(c Counts) uint64 { return c.Unsupported }},
	} {
		before := x.count(dev.counted())
		if !s.acknowledged(uint16(2*i+1), x.topic, x.text, x.retain) {
			t.Fatalf("%s %.40s: not acknowledged, so it comes again for ever", x.topic, x.text)
		}
		if c := dev.counted(); x.count(c) != before+1 || c.Reason == "" {
			t.Errorf("%s %.40s: counted %+v", x.topic, x.text, c)
		}
		for len(dev.in()) > 0 {
			if c := <-dev.in(); slices.ContainsFunc(c.Bundles, func(b vitals.Bundle) bool { return b.Numerics[0].Quality.HasValue() }) {
				t.Errorf("%s %.40s: stored", x.topic, x.text)
			}
		}
		if !s.acknowledged(uint16(2*i+2), "channels/1/publish", "field1=73", false) || (<-dev.in()).Bundles[0].Numerics[0].Value != 73 {
			t.Fatalf("behind %s %.40s: not stored", x.topic, x.text)
		}
	}
	// A disk that is stuck is not for good: the message is wanted again.
	for len(dev.in()) < cap(dev.in()) {
		dev.in() <- sent{}
	}
	if s.acknowledged(99, "channels/1/publish", "field1=74", false) {
		t.Error("acknowledged, and not stored")
	}
}

// TestLegacyGreetings: what MQTT has and this address has not is refused, counted with the device, and said.
func TestLegacyGreetings(t *testing.T) {
	d, dev, key, address := serverOf(t, (*Server).serveMQTT)
	will := greet(key)
	will.Connect.WillFlag, will.Connect.WillTopic, will.Connect.WillPayload = true, "channels/1/publish", []byte("x")
	lasting := greet(key)
	lasting.Connect.Clean = false
	old := greet(key)
	old.ProtocolVersion, old.Connect.ProtocolName = 3, []byte("MQIsdp")
	other := greet(key)
	other.Connect.ClientIdentifier = "somebody"
	for i, c := range []struct {
		greeting packets.Packet
		want     string
	}{{will, "last will"}, {lasting, "clean session"}, {old, "MQTT 3.1 is not spoken"}, {other, "client id"}} {
		if _, code := speak(t, address, c.greeting); code == 0 {
			t.Errorf("%s: let in", c.want)
		}
		if n := dev.counted(); n.Refused() != uint64(i+1) || !strings.Contains(n.Reason, c.want) {
			t.Errorf("%s: counted %+v", c.want, n)
		}
	}
	if n := dev.counted(); n.Unsupported != 3 || n.NotAllowed != 1 {
		t.Errorf("counted %+v", n)
	}
	if _, code := speak(t, address, greet("AAAAAAAAAAAAAAAA")); code == 0 || d.guard.count().BadKey != 1 {
		t.Errorf("a wrong key: %d, %+v", code, d.guard.count())
	}
	b, err := json.Marshal(dev.counted())
	if err != nil || strings.Contains(string(b), key) {
		t.Errorf("%s, %v", b, err)
	}
}
