package store

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"slices"
	"time"

	"vitalseal/internal/seal"
	"vitalseal/internal/vitals"
)

// A chunk is attributed sample by sample. One whose samples lie on both sides of a boundary (an admission, a discharge, a sensor
// that was moved) is split there: each part is sealed under the key of its own patient, and all parts commit in one
// transaction. The first part keeps the chunk's place in its stream, so that the chunk sent again is recognised.

// share is what of a chunk belongs to one patient.
type share struct {
	subject string
	chunk   vitals.Chunk
}

// shares splits a chunk by whose the sensor was. The first share begins at the chunk's start. Samples keep their order; a waveform
// is cut into runs, and bundles and events are sorted by patient.
func (h sensorHistory) shares(c vitals.Chunk) []share {
	first, last := sampleSpan(c)
	if subject, steady := h.during(micro(first), micro(last)); steady {
		return []share{{subject, c}}
	}
	var all []share
	of := func(subject string) *share {
		for i := range all {
			if all[i].subject == subject {
				return &all[i]
			}
		}
		part := c
		part.Bundles, part.Events = nil, nil
		if len(all) > 0 {
			part.Gap = 0
		}
		all = append(all, share{subject, part})
		return &all[len(all)-1]
	}
	switch c.Signal {
	case vitals.Numerics:
		for _, b := range c.Bundles {
			s := of(h.whose(micro(b.At)))
			s.chunk.Bundles = append(s.chunk.Bundles, b)
		}
	case vitals.Events:
		for _, e := range c.Events {
			s := of(h.whose(micro(e.At)))
			s.chunk.Events = append(s.chunk.Events, e)
		}
	default:
		all = h.runs(c)
	}
	if len(all) == 0 { // a chunk without samples
		return []share{{h.whose(micro(c.Start)), c}}
	}
	for i := 1; i < len(all); i++ { // a later share begins with its own first sample
		switch p := &all[i].chunk; {
		case len(p.Bundles) > 0:
			p.Start = p.Bundles[0].At
		case len(p.Events) > 0:
			p.Start = p.Events[0].At
		}
	}
	return all
}

// runs cuts a waveform where its patient changes.
func (h sensorHistory) runs(c vitals.Chunk) (all []share) {
	n := max(len(c.Infrared), len(c.PressurePa))
	if n == 0 || c.Rate <= 0 {
		return nil
	}
	at := func(i int) time.Time {
		return c.Start.Add(time.Duration(float64(i) / float64(c.Rate) * float64(time.Second))).Truncate(time.Microsecond)
	}
	for from := 0; from < n; {
		subject, to := h.whose(micro(at(from))), from+1
		for to < n && h.whose(micro(at(to))) == subject {
			to++
		}
		part := c
		if from > 0 {
			part.Start, part.Gap = at(from), 0
		}
		part.Infrared, part.Red, part.PressurePa = cut(c.Infrared, from, to), cut(c.Red, from, to), cut(c.PressurePa, from, to)
		all = append(all, share{subject, part})
		from = to
	}
	return all
}

func cut[T any](all []T, from, to int) []T {
	if len(all) == 0 {
		return nil
	}
	return slices.Clone(all[from:to])
}

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
func (s *Store) seal(ctx context.Context, p *pending, h sensorHistory) error {
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
func (s *Store) sealFor(ctx context.Context, p *pending, subject string) error {
	key, err := s.key(ctx, patientKey(subject))
	if errors.Is(err, ErrNotFound) { // forgotten meanwhile
		subject = Unassigned
		key, err = s.key(ctx, patientKey(subject))
	}
	if err != nil {
		return err
	}
	p.subject, p.key = subject, key
	p.sealed = key.Seal(p.encoded, chunkData(p.row, subject))
	return nil
}
