package thingspeak

import (
	"testing"
	"time"
	"unicode/utf8"
)

// FuzzMQTT: whatever topic and message come, a topic that is taken is one of ours, spelt in one way, and an entry is one that /update
// would have taken.
func FuzzMQTT(f *testing.F) {
	for _, topic := range []string{"channels/9/publish", "channels/9/subscribe/fields/field3", "channels/9/subscribe/json", "#", "$SYS/broker", "channels/+/subscribe", "channels/9/publish/fields/field0"} {
		f.Add(topic, []byte("field1=21.5&status=ok"))
	}
	f.Add("channels/1/publish/fields/field8", []byte("\xff"))
	f.Fuzz(func(t *testing.T, name string, payload []byte) {
		topic, err := parseTopic(name)
		if err != nil {
			if topic.publish || topic.field != 0 {
				t.Errorf("%q: %+v beside an error", name, topic)
			}
			return
		}
		if topic.channel < 1 || topic.field < 0 || topic.field > 8 {
			t.Errorf("%q: %+v", name, topic)
		}
		if !topic.publish {
			found := false
			for _, n := range topic.names() {
				again, err := parseTopic(n)
				if err != nil || again != topic {
					t.Errorf("%q tells as %q: %+v, %v", name, n, again, err)
				}
				found = found || n == name
			}
			if !found {
				t.Errorf("%q is never told", name)
			}
			return
		}
		p, err := parsePayload(topic, payload)
		if err != nil {
			return
		}
		e, err := parseEntry(p, time.Date(2026, 11, 23, 10, 0, 0, 0, time.UTC))
		if err != nil {
			return
		}
		given := e.Status != ""
		for i, v := range e.Fields {
			if v == nil {
				continue
			}
			given = true
			if topic.field != 0 && topic.field != i+1 || len(*v) > maxFieldBytes || !utf8.ValidString(*v) {
				t.Errorf("%q: field%d is %q", name, i+1, *v)
			}
		}
		if !given {
			t.Errorf("%q %q: an entry of nothing", name, payload)
		}
	})
}
