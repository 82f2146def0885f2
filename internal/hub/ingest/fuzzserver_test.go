package ingest_test

import (
	"io"
	"testing"
	"time"

	"vitalseal/internal/way/overlay"
)

// FuzzServer sends random bytes after a proper hello. The server must not panic, must end such a connection, and go on
// serving others.
func FuzzServer(f *testing.F) {
	f.Add([]byte{0, 0, 0, 1, 6})
	f.Add([]byte{0, 0, 0, 12, 3, 0, 0, 0, 0, 0, 0, 0, 1, 1, 2, 3})
	f.Add([]byte{0, 0, 0, 12, 2, 0, 0, 0, 0, 0, 0, 0, 1, 1, 2, 3})
	f.Add([]byte{0xff, 0, 0, 12})
	h := newHub(f)
	ep, err := h.net.Endpoint(overlay.ID{Domain: domain, Kind: overlay.KindSensor, Name: "fuzz"})
	must(f, err)
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := ep.Dial(t.Context(), overlay.ServiceIngest)
		must(t, err)
		defer c.Close()
		// A frame of no known type at the end has the server end the connection, if b did not.
		_, _ = c.Write(append(append(append([]byte(nil), hello...), b...), 0, 0, 0, 1, 77))
		must(t, c.SetReadDeadline(time.Now().Add(20*time.Millisecond)))
		_, _ = io.Copy(io.Discard, c) // ends, or the server rightly waits for the rest of a frame
		if h.store.count() != 0 {
			t.Fatal("random bytes were stored")
		}
	})
}
