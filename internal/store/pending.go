package store

import (
	"context"
	"encoding/binary"
	"errors"

	"vitalseal/internal/delivery"
	"vitalseal/internal/seal"
	"vitalseal/internal/vitals"
)

// row is what identifies a stored chunk; all of it is bound to the sealed bytes.
type row struct {
	sensor string
	signal vitals.Signal
	epoch  seal.Epoch
	seq    uint64
	start  int64
}

// pending is an arrival on its way through the writer.
type pending struct {
	row
	partition   string
	first, last int64 // µs of the earliest and the latest sample
	received    int64
	subject     string
	places      int64 // the generation that says so
	key         seal.Key
	encoded     []byte
	sealed      []byte
	chunk       vitals.Chunk
	header      seal.Header
	clock       Clock      // of one that waits
	live        *Update    // what of one that waits is shown now
	parts       []*pending // later shares of a chunk that was split, stored with it or not at all
	inQuestion  bool       // whether it is of the patient is not confirmed
	outcome     delivery.Outcome
	settled     func(delivery.Outcome, string, error) // called by the writer, once
}

// chunkData is the associated data of a stored chunk: moved to another row or patient, it does not open.
func chunkData(r row, subject string) []byte {
	b := associated("chunk", r.sensor, subject)
	b = append(b, byte(r.signal))
	b = append(b, r.epoch.ID[:]...)
	b = binary.BigEndian.AppendUint64(b, r.epoch.Number)
	b = binary.BigEndian.AppendUint64(b, r.seq)
	return binary.BigEndian.AppendUint64(b, uint64(r.start)) // #nosec G115 -- the bits, not the number
}

// holds reports whether a chunk is in the archive, at the day that its own time says.
func (s *Days) holds(ctx context.Context, p *pending) (bool, error) {
	d, err := s.archive.open(ctx, p.partition)
	if errors.Is(err, ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer d.release()
	return d.holds(ctx, streamKey{p.sensor, uint8(p.signal), p.epoch.ID}, int64(p.seq)) // #nosec G115 -- prepare checked
}
