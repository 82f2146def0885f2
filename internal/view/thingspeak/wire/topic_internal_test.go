package wire

import (
	"errors"
	"slices"
	"strings"
	"testing"
)

// TestTopics: ThingSpeak's topics, each in one spelling, and nothing else.
func TestTopics(t *testing.T) {
	for name, want := range map[string]Topic{
		"channels/7/publish":                   {Channel: 7, Publish: true},
		"channels/7/publish/fields/field8":     {Channel: 7, Publish: true, Field: 8},
		"channels/7/subscribe":                 {Channel: 7, format: "json"},
		"channels/7/subscribe/json":            {Channel: 7, format: "json"},
		"channels/7/subscribe/xml":             {Channel: 7, format: "xml"},
		"channels/7/subscribe/csv":             {Channel: 7, format: "csv"},
		"channels/7/subscribe/fields/field1":   {Channel: 7, Field: 1, format: "json"},
		"channels/9223372036854775807/publish": {Channel: 9223372036854775807, Publish: true},
	} {
		if got, err := ParseTopic(name); err != nil || got != want {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
	for _, name := range []string{"", "#", "+", "/", "channels", "channels/7", "channels//publish", "channels/+/subscribe", "channels/7/#", "channels/7/subscribe/#", "$SYS/broker/uptime",
		"$share/a/channels/7/subscribe", "channels/0/publish", "channels/-7/publish", "channels/+7/publish", "channels/07/publish", "channels/7/publish/json", "channels/7/publish/",
		"channels/7/publish/fields", "channels/7/publish/fields/field0", "channels/7/publish/fields/field9", "channels/7/publish/fields/field10", "channels/7/publish/fields/Field1",
		"channels/7/subscribe/txt", "channels/7/subscribe/json/x", "/channels/7/publish", "channels/9223372036854775808/publish", "channels/7/publish/KEY", "channels/" + strings.Repeat("7", 200)} {
		if got, err := ParseTopic(name); !errors.Is(err, ErrTopic) {
			t.Errorf("%q is taken for %+v, %v", name, got, err)
		}
	}
}

// FuzzTopic: a name that is taken is the one spelling of what it is taken for.
func FuzzTopic(f *testing.F) {
	for _, s := range []string{"channels/1/publish", "channels/1/subscribe/fields/field3", "channels/1/subscribe/xml", "#", "$SYS/#", "channels/+/subscribe"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, name string) {
		got, err := ParseTopic(name)
		if err != nil {
			return
		}
		if got.Channel < 1 || got.Field < 0 || got.Field > 8 || strings.ContainsAny(name, "#+$") {
			t.Fatalf("%q is taken for %+v", name, got)
		}
		again := got
		again.Publish = false
		if spelled := again.Names(); !slices.Contains(spelled, strings.Replace(name, "/publish", "/subscribe", 1)) {
			t.Fatalf("%q is none of %v", name, spelled)
		}
	})
}
