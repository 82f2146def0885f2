package storetest

import (
	"testing"
	"time"

	"vitalseal/internal/hub/archive"
	"vitalseal/internal/measurement/vitals"
	"vitalseal/internal/way/delivery"
)

// encoded is a chunk that comes with the encoding it was decoded from: the store keeps those bytes, and the same chunk without
// them, or with those of another chunk, is stored as if it had come alone.
func encoded(t *testing.T, b *bench) {
	at := b.now.Add(-time.Minute)
	with := func(a archive.Arrival, from vitals.Chunk) archive.Arrival {
		var err error
		a.Encoded, err = vitals.Encode(from)
		must(t, err)
		return a
	}
	own, other := b.beat(at, 61, 1, 0), b.beat(at.Add(time.Second), 140, 1, 1)
	b.append(t, with(own, own.Chunk), delivery.Accepted)
	b.append(t, own, delivery.Duplicate) // the bytes that were kept are the chunk's own
	later := b.beat(at.Add(2*time.Second), 62, 1, 1)
	b.append(t, with(later, other.Chunk), delivery.Accepted)
	garbled := b.beat(at.Add(3*time.Second), 63, 1, 2)
	garbled.Encoded = []byte{0xff, 1, 2}
	b.append(t, garbled, delivery.Accepted)
	got, err := b.Numerics(t.Context(), b.g, b.patient, at, b.now, 0)
	must(t, err)
	var values []float64
	for _, x := range got {
		values = append(values, x.Numerics[0].Value)
	}
	same(t, "heart rates", values, []float64{61, 62, 63})
}
