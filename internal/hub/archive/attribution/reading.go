package attribution

import (
	"time"

	"vitalseal/internal/hub/sealdb"
	"vitalseal/internal/measurement/vitals"
	"vitalseal/internal/way/seal"
)

// SelectPlaces asks PostgreSQL for the generation of the places: it moves with every placement, stay and device's state.
const SelectPlaces = "SELECT n FROM generations WHERE name = 'places'"

// Arrival is a chunk that ingest has authenticated and opened.
type Arrival struct {
	Sensor   string // SPIFFE id of the peer that sent it
	Header   seal.Header
	Chunk    vitals.Chunk
	Encoded  []byte // what vitals.Decode made Chunk of, not changed afterwards; nil: Chunk was made here and is encoded here
	Received time.Time
	Clock    Clock // by which its times were read
}

// MaxSpan bounds how far samples lie from their chunk's start, and so which partitions a range of time concerns.
const MaxSpan = 10 * time.Minute

// SampleSpan is the time of the earliest and the latest sample; a waveform's end is just after its last one.
func SampleSpan(c vitals.Chunk) (first, last time.Time) {
	first, last = c.Start, c.End()
	for _, b := range c.Bundles {
		first, last = sealdb.Earlier(first, b.At), sealdb.Later(last, b.At)
	}
	for _, e := range c.Events {
		first, last = sealdb.Earlier(first, e.At), sealdb.Later(last, e.At)
	}
	return first, sealdb.Later(first, last)
}

// StreamKey names a stream of chunks.
type StreamKey struct {
	Sensor string
	Signal uint8
	Epoch  [16]byte
}

// Update is one chunk that has just become durable, or that is of the present and could not be stored yet: its gateway keeps it. Readers share its slices and must not change them.
type Update struct {
	Patient string // or Unassigned
	Sensor  string
	Header  seal.Header
	Chunk   vitals.Chunk
	Durable time.Time // when its commit was fsynced, or could not be
	// TimeNotSure: the gateway's clock is off, so that the chart waits. Times are corrected as far as they can be, and Patient is who
	// lies now where the sensor is placed now.
	TimeNotSure bool
	// NotConfirmed: the sensor had been silent for long, and no person has confirmed yet that it is on this patient.
	NotConfirmed bool
}
