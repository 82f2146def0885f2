package thingspeak

import (
	"testing"
	"time"
	"unicode/utf8"

	"vitalseal/internal/view/thingspeak/wire"
)

// FuzzPayload: a message is parameters of an update, in UTF-8 and within bounds, or it is refused.
func FuzzPayload(f *testing.F) {
	f.Add([]byte("field1=21.5&status=ok"), 0)
	f.Add([]byte("21.5"), 3)
	f.Add([]byte("field1=%zz&\xff"), 0)
	f.Add([]byte("created_at=2026-01-01&lat=1e400&9=8"), 0)
	f.Fuzz(func(t *testing.T, payload []byte, field int) {
		field = max(0, min(field, 8))
		p, err := wire.ParsePayload(wire.Topic{Channel: 1, Publish: true, Field: field}, payload)
		if err != nil {
			return
		}
		if len(payload) > wire.MaxMessage {
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
