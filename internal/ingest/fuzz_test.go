package ingest

import (
	"bytes"
	"errors"
	"testing"

	"vitalseal/internal/store"
)

// FuzzFrame reads random bytes as each end would. Nothing may panic, and what parses must encode to the same bytes.
func FuzzFrame(f *testing.F) {
	f.Add(appendHello(nil, hello{version: Version, idle: idleTimeout}))
	f.Add(appendMessage(nil, 7, EncodeEnvelope([]byte("envelope"))))
	f.Add(appendMessage(nil, 7, EncodeAnnouncement([]byte("announcement"))))
	f.Add(appendAck(appendAck(nil, ack{1, store.Accepted, NoReason}), ack{2, store.Retry, UnknownEpoch}))
	f.Add(appendReannounce(nil, [16]byte{1, 2, 3}))
	f.Add(appendGoodbye(nil, Replaced))
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, 1})
	f.Fuzz(func(t *testing.T, b []byte) {
		r := bytes.NewReader(b)
		for {
			before := len(b) - r.Len()
			kind, body, err := readFrame(r)
			if err != nil {
				return
			}
			frame := b[before : len(b)-r.Len()]
			var again []byte
			switch kind {
			case frameHello:
				h, err := parseHello(kind, body)
				if err == nil && len(body) == len(helloMagic)+5 {
					again = appendHello(nil, h)
				}
			case frameAnnouncement, frameEnvelope:
				if m, err := parseMessage(kind, body); err == nil {
					again = appendMessage(nil, m.number, append([]byte{byte(kind)}, m.data...))
					_, _ = ParseMessage(append([]byte{byte(kind)}, m.data...))
				}
			case frameAck:
				if a, err := parseAck(body); err == nil {
					again = appendAck(nil, a)
					_ = a.reason.String()
				}
			case frameDirective:
				if id, ok, err := parseReannounce(body); err == nil && ok {
					again = appendReannounce(nil, id)
				}
			case frameGoodbye:
				if err := goodbye(body); !errors.Is(err, ErrRefused) && !errors.Is(err, ErrFrame) {
					t.Fatalf("goodbye: %v", err)
				}
			}
			if again != nil && !bytes.Equal(again, frame) {
				t.Fatalf("frame %x encodes again to %x", frame, again)
			}
		}
	})
}
