package sink

import (
	"context"
	"errors"
	"strconv"
	"time"

	"vitalseal/internal/hub/access"
	"vitalseal/internal/hub/store"
)

// What one request of the face (package view/cloud) may hold.
const (
	// MaxOpen is the most envelopes that one request opens.
	MaxOpen = 500
	// MaxImport is the most entries that one request takes in.
	MaxImport = 500
)

// Value is one value of an opened envelope; Value is absent where the quality says that there is
// none.
type Value struct {
	Kind    string   `json:"kind"`
	Unit    string   `json:"unit"`
	Value   *float64 `json:"value,omitempty"`
	Quality string   `json:"quality"`
}

// Opened is one second out of an envelope.
type Opened struct {
	At     time.Time           `json:"at"`
	Values []Value             `json:"values,omitempty"`
	Fields map[string]*float64 `json:"fields,omitempty"` // of a free channel
}

// OpenAnswer has for each envelope of the request its seconds, or null for what is no envelope of
// the channel.
type OpenAnswer struct {
	Envelopes [][]Opened `json:"envelopes"`
}

// ImportEntry is one entry on its way into a free channel.
type ImportEntry struct {
	Created   time.Time  `json:"created_at"`
	Fields    [8]*string `json:"fields"`
	Status    string     `json:"status,omitempty"`
	Latitude  string     `json:"latitude,omitempty"`
	Longitude string     `json:"longitude,omitempty"`
	Elevation string     `json:"elevation,omitempty"`
}

// ImportAnswer is what became of a request's entries: all but the refused ones are in the channel,
// and so many were not before.
type ImportAnswer struct {
	Added   int             `json:"added"`
	Refused []ImportRefusal `json:"refused,omitempty"`
}

// ImportRefusal is an entry that was not taken.
type ImportRefusal struct {
	Number  int       `json:"number"` // in the request, from 1
	Created time.Time `json:"created_at"`
	Reason  string    `json:"reason"`
}

// MaxAhead is how far the time of an entry may be ahead of the hub's clock: as far as that of an
// update or a sensor. A later one would be the channel's last value until then.
const MaxAhead = 5 * time.Minute

// Open opens one envelope for the holder of a grant for access.ViewChannel, and gives its seconds.
// What is no envelope of the channel is [ErrEnvelope].
func (e *Engine) Open(ctx context.Context, g access.Grant, channel int64, text string) ([]Opened, error) {
	records, err := e.open(ctx, g, channel, text)
	var out []Opened
	for _, r := range records {
		out = append(out, r.opened())
	}
	return out, err
}

func (e *Engine) open(ctx context.Context, g access.Grant, channel int64, text string) ([]Record, error) {
	id, raw, err := envelopeKeyID(text)
	if err != nil {
		return nil, err
	}
	key, err := e.c.Store.EnvelopeKey(ctx, g, channel, id)
	if errors.Is(err, access.ErrNotFound) || errors.Is(err, store.ErrNotFound) {
		return nil, ErrEnvelope
	}
	if err != nil {
		return nil, err
	}
	return openEnvelope(key, raw)
}

func (r Record) opened() Opened {
	o := Opened{At: r.At}
	for _, n := range r.Numerics {
		v := Value{Kind: n.Kind.String(), Unit: n.Kind.Unit(), Quality: n.Quality.String()}
		if n.Quality.HasValue() {
			v.Value = &n.Value
		}
		o.Values = append(o.Values, v)
	}
	for i, x := range r.Fields {
		if x != nil {
			if o.Fields == nil {
				o.Fields = map[string]*float64{}
			}
			o.Fields["field"+strconv.Itoa(i+1)] = x
		}
	}
	return o
}
