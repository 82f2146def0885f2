package days

import (
	"context"
	"encoding/binary"
	"errors"

	"vitalseal/internal/hub/archive/attribution"
	"vitalseal/internal/hub/sealdb"
	"vitalseal/internal/measurement/vitals"
	"vitalseal/internal/way/delivery"
	"vitalseal/internal/way/seal"
)

// Row is what identifies a stored chunk; all of it is bound to the sealed bytes.
type Row struct {
	Sensor string
	Signal vitals.Signal
	Epoch  seal.Epoch
	Seq    uint64
	Start  int64
}

// Pending is an arrival on its way through the writer.
type Pending struct {
	Row
	Partition   string
	First, Last int64 // µs of the earliest and the latest sample
	Received    int64
	Subject     string
	Places      int64 // the generation that says so
	Key         seal.Key
	Encoded     []byte
	Sealed      []byte
	Chunk       vitals.Chunk
	Header      seal.Header
	Clock       attribution.Clock   // of one that waits
	Live        *attribution.Update // what of one that waits is shown now
	Parts       []*Pending          // later shares of a chunk that was split, stored with it or not at all
	InQuestion  bool                // whether it is of the patient is not confirmed
	Outcome     delivery.Outcome
	Settled     func(delivery.Outcome, string, error) // called by the writer, once
}

// ChunkData is the associated data of a stored chunk: moved to another row or patient, it does not open.
func ChunkData(r Row, subject string) []byte {
	b := sealdb.Associated("chunk", r.Sensor, subject)
	b = append(b, byte(r.Signal))
	b = append(b, r.Epoch.ID[:]...)
	b = binary.BigEndian.AppendUint64(b, r.Epoch.Number)
	b = binary.BigEndian.AppendUint64(b, r.Seq)
	return binary.BigEndian.AppendUint64(b, uint64(r.Start)) // #nosec G115 -- the bits, not the number
}

// Holds reports whether a chunk is in the archive, at the day that its own time says.
func (s *Days) Holds(ctx context.Context, p *Pending) (bool, error) {
	d, err := s.database.Open(ctx, p.Partition)
	if errors.Is(err, sealdb.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer d.Release()
	return d.holds(ctx, attribution.StreamKey{Sensor: p.Sensor, Signal: uint8(p.Signal), Epoch: p.Epoch.ID}, int64(p.Seq)) // #nosec G115 -- prepare checked
}
