package wire_test

import (
	"bufio"
	"bytes"
	"testing"

	"vitalseal/internal/lab/peers/wire"
)

func FuzzPacket(f *testing.F) {
	f.Add([]byte{0x32, 9, 0, 1, 'a', 0, 5, 'h', 'e', 'r', 'e'})
	f.Add([]byte{0x30, 0xff, 0xff, 0xff, 0x7f})
	f.Fuzz(func(t *testing.T, b []byte) {
		kind, body, err := wire.ReadPacket(bufio.NewReader(bytes.NewReader(b)), nil)
		if err != nil {
			return
		}
		if len(body) > wire.MaxPacket || len(body) > len(b) {
			t.Errorf("%d bytes out of %d", len(body), len(b))
		}
		if _, payload, err := wire.Message(kind, body); err == nil && len(payload) > len(body) {
			t.Errorf("a payload of %d in a packet of %d", len(payload), len(body))
		}
	})
}

func FuzzPoints(f *testing.F) {
	f.Add([]byte("ppg,sensor=7 red=25000i,infrared=30000i 1790000000123\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if points, oldest, ok := wire.Points(b); ok && (points != bytes.Count(b, []byte{'\n'}) || oldest.UnixMilli() < 0) {
			t.Errorf("%q: %d points of %v", b, points, oldest)
		}
	})
}
