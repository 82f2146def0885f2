package store

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"

	"vitalseal/internal/seal"
	"vitalseal/internal/vitals"
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
func (s *Archive) seal(ctx context.Context, p *pending, h sensorHistory) error {
	shares := h.shares(p.chunk)
	for i, x := range shares {
		part := p
		if i > 0 {
			part = &pending{row: p.row, partition: p.partition, received: p.received, header: p.header}
			part.epoch, part.seq, part.start = partEpoch(p.epoch, p.seq, i), 0, micro(x.chunk.Start)
			p.parts = append(p.parts, part)
		}
		part.places, part.chunk = h.places, x.chunk
		if len(shares) > 1 {
			first, last := sampleSpan(x.chunk)
			part.first, part.last = micro(first), micro(last)
			var err error
			if part.encoded, err = vitals.Encode(x.chunk); err != nil {
				return err
			}
		}
		if err := s.sealFor(ctx, part, x.subject); err != nil {
			return err
		}
	}
	return nil
}

// sealFor seals p under a patient's key.
func (s *Archive) sealFor(ctx context.Context, p *pending, subject string) error {
	key, err := s.db.key(ctx, patientKey(subject))
	if errors.Is(err, ErrNotFound) { // forgotten meanwhile
		subject = Unassigned
		key, err = s.db.key(ctx, patientKey(subject))
	}
	if err != nil {
		return err
	}
	p.subject, p.key = subject, key
	p.sealed = key.Seal(p.encoded, chunkData(p.row, subject))
	return nil
}
