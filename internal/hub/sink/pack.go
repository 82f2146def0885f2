package sink

import (
	"context"
	"strconv"
	"time"

	"vitalseal/internal/hub/channel"
	"vitalseal/internal/measurement/vitals"
	"vitalseal/internal/way/seal"
)

// packer turns records into messages: one each in plain mode, as many as fit into an envelope else.
type packer struct {
	engine *Engine
	sink   channel.Sink
	most   int
	key    seal.Key
	open   []Record // not yet in a message
	batch  batch
	last   int64 // the last second that is in a message
}

func (p *packer) init(ctx context.Context) (err error) {
	if p.sink.Mode == channel.SinkSealed {
		p.key, err = p.engine.c.Store.EnvelopeKey(ctx, p.engine.grant, p.sink.Channel, p.sink.KeyID)
	}
	return err
}

func (p *packer) full() bool { return len(p.batch.Messages) >= p.most }

// add takes the next second; the packer must not be full.
func (p *packer) add(r Record, e channel.Entry) error {
	if p.sink.Mode == channel.SinkPlain {
		p.plain(r, e)
		return nil
	}
	if r.empty() {
		return nil
	}
	if !fits(append(p.open, r)) {
		p.flush()
		if p.full() {
			return nil // it is left for the next batch
		}
	}
	p.open = append(p.open, r)
	return nil
}

func (r Record) empty() bool {
	for _, f := range r.Fields {
		if f != nil {
			return false
		}
	}
	return len(r.Numerics) == 0
}

// flush seals what is open into one message.
func (p *packer) flush() {
	if len(p.open) == 0 {
		return
	}
	text, ok := appendRecords(nil, p.open)
	if !ok {
		panic("sink: records that fitted do not fit") // a programmer's error
	}
	m := message{CreatedAt: p.open[0].At.Format(createdFormat)}
	m.Fields[0] = sealEnvelope(p.key, p.sink.KeyID, text)
	for _, r := range p.open {
		m.Seconds = append(m.Seconds, r.At.Unix())
	}
	p.push(m)
	p.open = nil
}

// plain is an entry as the hub's own face shows it: only what meets its accuracy is a number.
func (p *packer) plain(r Record, e channel.Entry) {
	m := message{CreatedAt: r.At.Format(createdFormat), Status: e.Status, Latitude: e.Latitude, Longitude: e.Longitude, Elevation: e.Elevation,
		Seconds: []int64{r.At.Unix()}}
	some := m.Status != ""
	for _, n := range r.Numerics {
		if i := fieldOf(n.Kind); i >= 0 && n.Quality == vitals.Good {
			m.Fields[i], some = strconv.FormatFloat(n.Value, 'f', decimals(n.Kind), 64), true
		}
	}
	for i, f := range e.Fields {
		if f != nil && *f != "" {
			m.Fields[i], some = *f, true
		}
	}
	if some {
		p.push(m)
	}
}

func (p *packer) push(m message) {
	p.batch.Messages = append(p.batch.Messages, m)
	p.last = m.Seconds[len(m.Seconds)-1]
}

// seconds are all that a batch is about.
func (b *batch) seconds() (all []int64) {
	for _, m := range b.Messages {
		all = append(all, m.Seconds...)
	}
	return all
}

// half is the first half of a batch that was too large.
func (b *batch) half() *batch {
	cut := &batch{Mode: b.Mode, Messages: b.Messages[:(len(b.Messages)+1)/2]}
	seconds := cut.Messages[len(cut.Messages)-1].Seconds
	cut.Cursor = time.Unix(seconds[len(seconds)-1]+1, 0).UTC()
	return cut
}
