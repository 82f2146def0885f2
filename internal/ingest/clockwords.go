package ingest

import (
	"time"

	"vitalseal/internal/store"
)

// ClockRight reports whether a clock that was measured to be off by so much, within an error, is right enough to say whose a reading is.
func ClockRight(offset, within time.Duration) bool {
	return store.Clock{Known: true, Offset: offset, Error: within}.Sure()
}

// ClockWords says how far a gateway's clock is off: "the gateway's clock is 3,600 s ahead of the hub's".
func ClockWords(offset time.Duration) string { return store.ClockWords(offset) }
