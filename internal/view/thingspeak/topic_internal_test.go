package thingspeak

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

// TestTopics: ThingSpeak's topics, each in one spelling, and nothing else.
func TestTopics(t *testing.T) {
	for name, want := range map[string]topic{
		"channels/7/publish":                   {channel: 7, publish: true},
		"channels/7/publish/fields/field8":     {channel: 7, publish: true, field: 8},
		"channels/7/subscribe":                 {channel: 7, format: "json"},
		"channels/7/subscribe/json":            {channel: 7, format: "json"},
		"channels/7/subscribe/xml":             {channel: 7, format: "xml"},
		"channels/7/subscribe/csv":             {channel: 7, format: "csv"},
		"channels/7/subscribe/fields/field1":   {channel: 7, field: 1, format: "json"},
		"channels/9223372036854775807/publish": {channel: 9223372036854775807, publish: true},
	} {
		if got, err := parseTopic(name); err != nil || got != want {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
	for _, name := range []string{"", "#", "+", "/", "channels", "channels/7", "channels//publish", "channels/+/subscribe", "channels/7/#", "channels/7/subscribe/#", "$SYS/broker/uptime",
		"$share/a/channels/7/subscribe", "channels/0/publish", "channels/-7/publish", "channels/+7/publish", "channels/07/publish", "channels/7/publish/json", "channels/7/publish/",
		"channels/7/publish/fields", "channels/7/publish/fields/field0", "channels/7/publish/fields/field9", "channels/7/publish/fields/field10", "channels/7/publish/fields/Field1",
		"channels/7/subscribe/txt", "channels/7/subscribe/json/x", "/channels/7/publish", "channels/9223372036854775808/publish", "channels/7/publish/KEY", "channels/" + strings.Repeat("7", 200)} {
		if got, err := parseTopic(name); !errors.Is(err, errTopic) {
			t.Errorf("%q is taken for %+v, %v", name, got, err)
		}
	}
}

// TestTempo: two thousand packets at once, and then a thousand a second.
func TestTempo(t *testing.T) {
	var p tempo
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for i := range packetBurst {
		if d := p.wait(now); d != 0 {
			t.Fatalf("packet %d waits %v", i, d)
		}
	}
	if d := p.wait(now); d != packetEvery {
		t.Errorf("one more waits %v", d)
	}
	if d := p.wait(now); d != 2*packetEvery {
		t.Errorf("two more: %v", d)
	}
	if d := p.wait(now.Add(time.Hour)); d != 0 {
		t.Errorf("an hour later: %v", d)
	}
}

// FuzzTopic: a name that is taken is the one spelling of what it is taken for.
func FuzzTopic(f *testing.F) {
	for _, s := range []string{"channels/1/publish", "channels/1/subscribe/fields/field3", "channels/1/subscribe/xml", "#", "$SYS/#", "channels/+/subscribe"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, name string) {
		got, err := parseTopic(name)
		if err != nil {
			return
		}
		if got.channel < 1 || got.field < 0 || got.field > 8 || strings.ContainsAny(name, "#+$") {
			t.Fatalf("%q is taken for %+v", name, got)
		}
		again := got
		again.publish = false
		if spelled := again.names(); !slices.Contains(spelled, strings.Replace(name, "/publish", "/subscribe", 1)) {
			t.Fatalf("%q is none of %v", name, spelled)
		}
	})
}

// FuzzPayload: a message is parameters of an update, in UTF-8 and within bounds, or it is refused.
func FuzzPayload(f *testing.F) {
	f.Add([]byte("field1=21.5&status=ok"), 0)
	f.Add([]byte("21.5"), 3)
	f.Add([]byte("field1=%zz&\xff"), 0)
	f.Add([]byte("created_at=2026-01-01&lat=1e400&9=8"), 0)
	f.Fuzz(func(t *testing.T, payload []byte, field int) {
		field = max(0, min(field, 8))
		p, err := parsePayload(topic{channel: 1, publish: true, field: field}, payload)
		if err != nil {
			return
		}
		if len(payload) > maxMessage {
			t.Fatalf("%d bytes were taken", len(payload))
		}
		e, err := parseEntry(p, time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC))
		if err != nil {
			return
		}
		for i, v := range e.Fields {
			if v != nil && (len(*v) > 255 || !utf8.ValidString(*v)) {
				t.Fatalf("field %d is %q", i+1, *v)
			}
		}
	})
}
