package store

import (
	"time"

	"vitalseal/internal/seal"
	"vitalseal/internal/vitals"
)

const selectPlaces = "SELECT n FROM generations WHERE name = 'places'"

// Arrival is a chunk that ingest has authenticated and opened.
type Arrival struct {
	Sensor   string // SPIFFE id of the peer that sent it
	Header   seal.Header
	Chunk    vitals.Chunk
	Encoded  []byte // what vitals.Decode made Chunk of, not changed afterwards; nil: Chunk was made here and is encoded here
	Received time.Time
	Clock    Clock // by which its times were read
}

// maxSpan bounds how far samples lie from their chunk's start, and so which partitions a range of time concerns.
const maxSpan = 10 * time.Minute

// sampleSpan is the time of the earliest and the latest sample; a waveform's end is just after its last one.
func sampleSpan(c vitals.Chunk) (first, last time.Time) {
	first, last = c.Start, c.End()
	for _, b := range c.Bundles {
		first, last = earlier(first, b.At), later(last, b.At)
	}
	for _, e := range c.Events {
		first, last = earlier(first, e.At), later(last, e.At)
	}
	return first, later(first, last)
}

type streamKey struct {
	sensor string
	signal uint8
	epoch  [16]byte
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
