package archive

import (
	"vitalseal/internal/hub/archive/attribution"
	"vitalseal/internal/hub/archive/days"
)

// The nouns of this package that its parts define.
type (
	// Arrival is a chunk that ingest has authenticated and opened.
	Arrival = attribution.Arrival
	// Update is a chunk that live readers are shown.
	Update = attribution.Update
	// Clock is what the hub knows of the clock that an arrival's times were read from.
	Clock = attribution.Clock
	// ClockState is what the inventory knows of the clock of a sensor's gateway.
	ClockState = attribution.ClockState
	// Move is a span of readings that belongs to another patient than it was stored for.
	Move = attribution.Move
	// Silence is a stretch in which a sensor said nothing, and the question that its return raised.
	Silence = attribution.Silence
	// Size is what the days take on disk.
	Size = days.Size
	// Checked is what a check of the whole store found.
	Checked = days.Checked
)

// The answers to a Silence's question.
const (
	AnswerYes = attribution.AnswerYes
	AnswerNo  = attribution.AnswerNo
)

const (
	// MaxMove is the longest span whose readings are moved at once.
	MaxMove = attribution.MaxMove
	// DefaultConfirmAfter is how long a sensor must have been silent for its return to be
	// questioned.
	DefaultConfirmAfter = attribution.DefaultConfirmAfter
	// MinConfirmAfter is the shortest, for trials.
	MinConfirmAfter = attribution.MinConfirmAfter
	// MaxConfirmAfter is the longest: beyond it the night shift would never be asked.
	MaxConfirmAfter = attribution.MaxConfirmAfter
)
