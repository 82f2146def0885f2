package attribution

import (
	"slices"
	"time"

	"vitalseal/internal/hub/sealdb"
	"vitalseal/internal/measurement/vitals"
)

// share is what of a chunk belongs to one patient.
type share struct {
	Subject string
	Chunk   vitals.Chunk
}

// Shares splits a chunk by whose the sensor was. The first share begins at the chunk's start. Samples keep their order; a waveform
// is cut into runs, and bundles and events are sorted by patient.
func (h SensorHistory) Shares(c vitals.Chunk) []share {
	first, last := SampleSpan(c)
	if subject, steady := h.during(sealdb.Micro(first), sealdb.Micro(last)); steady {
		return []share{{subject, c}}
	}
	var all []share
	of := func(subject string) *share {
		for i := range all {
			if all[i].Subject == subject {
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
			s := of(h.whose(sealdb.Micro(b.At)))
			s.Chunk.Bundles = append(s.Chunk.Bundles, b)
		}
	case vitals.Events:
		for _, e := range c.Events {
			s := of(h.whose(sealdb.Micro(e.At)))
			s.Chunk.Events = append(s.Chunk.Events, e)
		}
	default:
		all = h.runs(c)
	}
	if len(all) == 0 { // a chunk without samples
		return []share{{h.whose(sealdb.Micro(c.Start)), c}}
	}
	for i := 1; i < len(all); i++ { // a later share begins with its own first sample
		switch p := &all[i].Chunk; {
		case len(p.Bundles) > 0:
			p.Start = p.Bundles[0].At
		case len(p.Events) > 0:
			p.Start = p.Events[0].At
		}
	}
	return all
}

// runs cuts a waveform where its patient changes.
func (h SensorHistory) runs(c vitals.Chunk) (all []share) {
	n := max(len(c.Infrared), len(c.PressurePa))
	if n == 0 || c.Rate <= 0 {
		return nil
	}
	at := func(i int) time.Time {
		return c.Start.Add(time.Duration(float64(i) / float64(c.Rate) * float64(time.Second))).Truncate(time.Microsecond)
	}
	for from := 0; from < n; {
		subject, to := h.whose(sealdb.Micro(at(from))), from+1
		for to < n && h.whose(sealdb.Micro(at(to))) == subject {
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
