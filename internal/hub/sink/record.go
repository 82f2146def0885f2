package sink

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"vitalseal/internal/hub/archive"
	"vitalseal/internal/hub/channel"
	"vitalseal/internal/measurement/vitals"
)

// Record is what a channel said in one second.
type Record struct {
	At       time.Time // whole seconds, UTC
	Numerics []vitals.Numeric
	// Fields are those of a free channel that are numbers.
	Fields [8]*float64
}

// message is one entry on its way to the cloud, and the seconds that it is about.
type message struct {
	CreatedAt string    `json:"created_at"`
	Fields    [8]string `json:"fields"` // empty: not given
	Status    string    `json:"status,omitempty"`
	Latitude  string    `json:"latitude,omitempty"`
	Longitude string    `json:"longitude,omitempty"`
	Elevation string    `json:"elevation,omitempty"`
	Seconds   []int64   `json:"seconds"`
}

// batch is what goes out together. It is kept until the cloud has answered.
type batch struct {
	Mode     string    `json:"mode"`
	Cursor   time.Time `json:"cursor"` // what is older is done once the batch is
	Messages []message `json:"messages"`
}

// notConfirmed is the status of an entry with a number of a sensor that was silent for long, while
// no person has confirmed that it is still on this patient.
const notConfirmed = "patient not confirmed"

// cursorEvery is how far the cursor of a channel that says nothing lies behind, at most.
const cursorEvery = 5 * time.Minute

// createdFormat is how ThingSpeak is told a time.
const createdFormat = "2006-01-02 15:04:05 -0700"

// nextBatch is the one that waits, or a new one, kept before it is used; nil if there is nothing to
// send.
func (e *Engine) nextBatch(ctx context.Context, k channel.Sink, s *state, begin time.Time) (*batch, error) {
	kept, err := e.c.Store.Pending(ctx, e.grant, k)
	if err != nil {
		return nil, err
	}
	if kept != nil {
		var b batch
		if err := json.Unmarshal(kept, &b); err != nil || b.Mode != k.Mode {
			return nil, fmt.Errorf("sink: the batch that waits cannot be read: %w", err)
		}
		return &b, nil
	}
	b, err := e.collect(ctx, k, s, begin)
	if err != nil || b == nil {
		return nil, err
	}
	return b, e.keep(ctx, k, b)
}

func (e *Engine) keep(ctx context.Context, k channel.Sink, b *batch) error {
	text, err := json.Marshal(b)
	if err != nil {
		return err
	}
	return e.c.Store.SavePending(ctx, k, text)
}

// collect makes a batch of what was measured from begin on and has not been forwarded yet, oldest
// first.
func (e *Engine) collect(ctx context.Context, k channel.Sink, s *state, begin time.Time) (*batch, error) {
	now := e.c.Now()
	to := now.Add(-settle).Truncate(time.Second)
	from := k.Cursor
	rescan := !s.rescanned.Add(rescanEvery).After(now)
	if rescan {
		from = now.Add(-e.c.Rescan)
	}
	if from = from.Truncate(time.Second); from.Before(begin) {
		from = begin.Truncate(time.Second).Add(time.Second)
	}
	if !from.Before(to) {
		return nil, nil
	}
	ref, err := e.c.Store.ChannelRef(ctx, k.Channel)
	if err != nil {
		return nil, err
	}
	p := &packer{engine: e, sink: k, most: s.most}
	if err := p.init(ctx); err != nil {
		return nil, err
	}
	for at := from; at.Before(to) && !p.full(); {
		end := at.Truncate(time.Hour).Add(time.Hour)
		if end.After(to) {
			end = to
		}
		if ref.Patient != "" {
			err = e.patientHour(ctx, ref.Patient, at, end, p)
		} else {
			err = e.freeHour(ctx, k.Channel, at, end, p)
		}
		if err != nil {
			return nil, err
		}
		at = end
	}
	p.flush()
	switch {
	case !p.full():
		p.batch.Cursor = to
		if rescan {
			s.rescanned = now
		}
	case !rescan: // the rest is for the next batch
		p.batch.Cursor = time.Unix(p.last+1, 0).UTC()
	}
	if len(p.batch.Messages) == 0 {
		if to.Sub(k.Cursor) < cursorEvery {
			return nil, nil
		}
		return nil, e.c.Store.SinkCursor(ctx, k, to)
	}
	p.batch.Mode = k.Mode
	return &p.batch, nil
}

// patientHour adds what a patient's sensors said in [from, to), which lies within one hour.
func (e *Engine) patientHour(ctx context.Context, patient string, from, to time.Time, p *packer) error {
	sent, err := e.c.Store.SentSeconds(ctx, p.sink.Channel, from.Unix()/channel.SecondsPerHour)
	if err != nil {
		return err
	}
	since, left, err := e.c.Store.Beside(ctx, e.grant, patient, from, to)
	if err != nil {
		return err
	}
	said, err := e.c.Store.Said(ctx, e.grant, patient, since, to, archive.MaxNumerics)
	if err != nil {
		return err
	}
	var r Record
	var mark string
	add := func() error {
		if len(r.Numerics) == 0 || isSet(sent, r.At) || p.full() {
			return nil
		}
		return p.add(r, channel.Entry{Status: mark})
	}
	for _, b := range vitals.Choose(said, left) {
		if b.At.Before(from) { // only there to know which sensor counts
			continue
		}
		at := b.At.UTC().Truncate(time.Second)
		if !at.Equal(r.At) {
			if err := add(); err != nil {
				return err
			}
			r, mark = Record{At: at}, ""
		}
		for _, n := range b.Numerics {
			if b.NotConfirmed && n.Quality == vitals.Good {
				if p.sink.Mode == channel.SinkPlain {
					mark = notConfirmed
				} else {
					n.Quality = vitals.Questionable // an envelope has no other place for it
				}
			}
			r.put(n)
		}
	}
	return add()
}

// put adds a value; of two of a kind the later counts.
func (r *Record) put(n vitals.Numeric) {
	for i := range r.Numerics {
		if r.Numerics[i].Kind == n.Kind {
			r.Numerics[i] = n
			return
		}
	}
	r.Numerics = append(r.Numerics, n)
}

// freeHour adds the entries of a free channel in [from, to). Of two in one second the later counts,
// field by field.
func (e *Engine) freeHour(ctx context.Context, channelID int64, from, to time.Time, p *packer) error {
	sent, err := e.c.Store.SentSeconds(ctx, channelID, from.Unix()/channel.SecondsPerHour)
	if err != nil {
		return err
	}
	entries, err := e.c.Store.Entries(ctx, e.grant, channelID, from, to, 0)
	if err != nil {
		return err
	}
	var one channel.Entry
	add := func() error {
		if one.ID == 0 || isSet(sent, one.Created) || p.full() {
			return nil
		}
		r := Record{At: one.Created}
		for i, f := range one.Fields {
			if f != nil {
				r.Fields[i] = number(*f)
			}
		}
		return p.add(r, one)
	}
	for _, x := range entries {
		x.Created = x.Created.UTC().Truncate(time.Second)
		if one.ID != 0 && x.Created.Equal(one.Created) {
			for i, f := range one.Fields {
				if x.Fields[i] == nil {
					x.Fields[i] = f
				}
			}
			one = x
			continue
		}
		if err := add(); err != nil {
			return err
		}
		one = x
	}
	return add()
}

func isSet(bits []byte, at time.Time) bool {
	i := at.Unix() % channel.SecondsPerHour
	return bits[i/8]&(1<<(i%8)) != 0
}

// number is a field's text as a number, nil if it is none. Only decimal notation counts.
func number(s string) *float64 {
	if s == "" || strings.Trim(s, "0123456789+-.eE") != "" {
		return nil
	}
	f, err := strconv.ParseFloat(s, 64)
	if err != nil || math.IsInf(f, 0) || math.IsNaN(f) {
		return nil
	}
	return &f
}

// decimals is as many as the sensors are worth, as on the hub's own face.
func decimals(k vitals.Kind) int {
	if k == vitals.CuffPressure {
		return 2
	}
	return 1
}

// fieldOf places a kind in a patient's channel, from 0; -1 for none.
func fieldOf(k vitals.Kind) int {
	switch k {
	case vitals.HeartRate:
		return 0
	case vitals.SpO2:
		return 1
	case vitals.CuffPressure:
		return 2
	case vitals.Systolic:
		return 3
	case vitals.Diastolic:
		return 4
	case vitals.MeanArterial:
		return 5
	case vitals.RespiratoryRate:
		return 6
	}
	return -1
}
