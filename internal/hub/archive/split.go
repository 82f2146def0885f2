package archive

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"

	"vitalseal/internal/hub/archive/attribution"
	"vitalseal/internal/hub/archive/days"
	"vitalseal/internal/hub/sealdb"
	"vitalseal/internal/measurement/vitals"
	"vitalseal/internal/way/seal"
)

// A chunk is attributed sample by sample. One whose samples lie on both sides of a boundary (an admission, a discharge, a sensor
// that was moved) is split there: each part is sealed under the key of its own patient, and all parts commit in one
// transaction. The first part keeps the chunk's place in its stream, so that the chunk sent again is recognised.

// partEpoch is the stream in which a later share of a chunk is kept: one of its own, so that it takes no sequence number of the
// chunk's stream. It is the same whenever the same chunk is split.
func partEpoch(e seal.Epoch, seq uint64, part int) seal.Epoch {
	h := sha256.New()
	h.Write([]byte("vitalseal part v1"))
	h.Write(e.ID[:])
	h.Write(binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(nil, seq), uint64(part))) // #nosec G115 -- a handful
	return seal.Epoch{ID: seal.EpochID(h.Sum(nil)[:16]), Number: e.Number}
}

// seal gives a prepared arrival to those whose it is: p becomes the first share, p.parts the others.
func (s *Archive) seal(ctx context.Context, p *days.Pending, h attribution.SensorHistory) error {
	shares := h.Shares(p.Chunk)
	for i, x := range shares {
		part := p
		if i > 0 {
			part = &days.Pending{Row: p.Row, Partition: p.Partition, Received: p.Received, Header: p.Header}
			part.Epoch, part.Seq, part.Start = partEpoch(p.Epoch, p.Seq, i), 0, sealdb.Micro(x.Chunk.Start)
			p.Parts = append(p.Parts, part)
		}
		part.Places, part.Chunk = h.Places, x.Chunk
		if len(shares) > 1 {
			first, last := attribution.SampleSpan(x.Chunk)
			part.First, part.Last = sealdb.Micro(first), sealdb.Micro(last)
			var err error
			if part.Encoded, err = vitals.Encode(x.Chunk); err != nil {
				return err
			}
		}
		if err := s.sealFor(ctx, part, x.Subject); err != nil {
			return err
		}
	}
	return nil
}

// sealFor seals p under a patient's key.
func (s *Archive) sealFor(ctx context.Context, p *days.Pending, subject string) error {
	key, err := s.db.Key(ctx, sealdb.PatientKey(subject))
	if errors.Is(err, sealdb.ErrNotFound) { // forgotten meanwhile
		subject = sealdb.Unassigned
		key, err = s.db.Key(ctx, sealdb.PatientKey(subject))
	}
	if err != nil {
		return err
	}
	p.Subject, p.Key = subject, key
	p.Sealed = key.Seal(p.Encoded, days.ChunkData(p.Row, subject))
	return nil
}
