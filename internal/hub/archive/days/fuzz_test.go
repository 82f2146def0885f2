package days_test

import (
	"bytes"
	"errors"
	"testing"

	"vitalseal/internal/hub/archive/days"
	"vitalseal/internal/hub/store"
)

// FuzzTrend: whatever a trend's bytes are, they are refused or are exactly what would be written.
func FuzzTrend(f *testing.F) {
	one := append([]byte{1, 1, 0, 0, 0, 2, 0, 0, 0, 1}, bytes.Repeat([]byte{0x40, 0x50, 0, 0, 0, 0, 0, 0}, 3)...)
	f.Add([]byte{1})
	f.Add(one)
	f.Add(append(bytes.Clone(one), one[1:]...))
	f.Add([]byte{2})
	both := append([]byte{2}, one[1:]...)
	f.Add(append(both, append([]byte{0x81, 0, 0, 0, 1, 0, 0, 0, 1}, one[10:]...)...))
	source := append([]byte{3, 0, 1, 'a', 1}, one[1:]...)
	f.Add(source)
	f.Add(append([]byte{3, 0, 1, 'a', 1, 0x44, 0, 0, 0, 2}, make([]byte, 28)...))
	f.Add(append(append(bytes.Clone(source), 0, 2, 'a', 'b', 1), one[1:]...))
	f.Add(append(append([]byte{3, 0, 0, 1}, one[1:]...), source[1:]...))
	f.Fuzz(func(t *testing.T, b []byte) {
		again, err := days.RecodeCell(b)
		if err != nil {
			if !errors.Is(err, store.ErrSealed) {
				t.Fatal(err)
			}
			return
		}
		if !bytes.Equal(again, b) {
			t.Fatalf("%x became %x", b, again)
		}
	})
}
