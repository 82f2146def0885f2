package gateway

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"vitalseal/internal/measurement/vitals"
	"vitalseal/internal/way/delivery"
	"vitalseal/internal/way/outbox"
	"vitalseal/internal/way/seal"
)

// queuedChunks is how many chunks of one sensor may wait for the disk: about ten seconds.
const queuedChunks = 64

// diskPause is how long a disk that refused is left alone. What is acknowledged gives a full disk a few kilobytes back, which would
// make it change its mind several times a second.
const diskPause = 10 * time.Second

// writer takes one sensor's chunks, seals them and appends them to the outbox, so that sampling never waits for the disk.
// put belongs to the sensor's goroutine, everything else to run's.
type writer struct {
	id        string // name, and the outbox's lane
	sensor    string // SPIFFE id
	recipient seal.Recipient
	number    *numbering
	lifetime  time.Duration
	q         *outbox.Queue
	led       *ledger
	book      *gapBook
	gaps      <-chan struct{}    // holds a token when the book has a gap of this lane
	steps     chan time.Duration // the host's clock was set
	raises    chan string        // the boot counter was raised, in words
	stalls    chan time.Duration // the gateway's process stood still
	beat      beat
	log       *slog.Logger
	clock     *clockBook // nil: there is none
	in        chan taken
	done      chan struct{} // closed by the sensor's loop when it puts nothing more

	lost    [vitals.MaxSignal + 1]uint32 // put's: samples not taken in since the last chunk that was
	streams [vitals.MaxSignal + 1]epoch  // run's
	epochs  uint64                       // run's: begun in this boot, over all streams
	holding bool                         // run's: the disk does not take this sensor's chunks
	retryAt time.Time                    // run's: when it is asked again
}

// taken is a chunk on its way to the disk.
type taken struct {
	vitals.Chunk
	device bool // its times are of the device's own clock, not of the gateway's
}

// epoch is a stream's current data key.
type epoch struct {
	clock  uint64 // the generation of the clock that its samples were measured by
	sealer *seal.Sealer
	began  time.Time
	latest time.Time // of its samples: their times never go back within an epoch
}

func newWriter(id, sensor string, to seal.Recipient, number *numbering, lifetime time.Duration, q *outbox.Queue, led *ledger, book *gapBook, log *slog.Logger) *writer {
	led.lane(id)
	return &writer{id: id, sensor: sensor, recipient: to, number: number, lifetime: lifetime, q: q, led: led, book: book, gaps: book.lane(id), steps: make(chan time.Duration, 4), raises: make(chan string, 4), stalls: make(chan time.Duration, 4), beat: beatOf(led.gateway), log: log.With("sensor", id),
		in: make(chan taken, queuedChunks), done: make(chan struct{})}
}

// put hands a chunk over. It never waits: when the disk has been stuck for seconds, the chunk is lost, counted, and the
// next chunk of its stream says so.
func (w *writer) put(c vitals.Chunk) {
	c.Start = c.Start.UTC().Truncate(time.Microsecond)
	c.Gap += w.lost[c.Signal]
	select {
	case w.in <- taken{c, false}:
		w.lost[c.Signal] = 0
	default:
		w.lost[c.Signal] = c.Gap + samples(c)
		w.led.lost(w.id, c.Signal)
	}
}

// numerics hands one bundle over.
func (w *writer) numerics(at time.Time, n []vitals.Numeric) {
	at = at.UTC().Truncate(time.Microsecond)
	w.put(vitals.Chunk{Signal: vitals.Numerics, Start: at, Bundles: []vitals.Bundle{{At: at, Numerics: n}}})
}

// event hands one event over. Detail is for engineers: never a reading.
func (w *writer) event(at time.Time, code, detail string) {
	at = at.UTC().Truncate(time.Microsecond)
	const maxDetail = 200
	if len(detail) > maxDetail {
		detail = detail[:maxDetail]
	}
	w.put(vitals.Chunk{Signal: vitals.Events, Start: at, Events: []vitals.Event{{At: at, Code: code, Detail: printable(detail)}}})
}

// printable keeps an event valid whatever a bus's error said.
func printable(s string) string {
	b := []byte(s)
	for i, c := range b {
		if c < ' ' || c > '~' {
			b[i] = '?'
		}
	}
	return string(b)
}

func samples(c vitals.Chunk) uint32 {
	return uint32(len(c.Infrared) + len(c.PressurePa)) // #nosec G115 -- a quarter of a second of them
}

// run seals and appends until the sensor's loop has ended (it calls close) and everything is on disk. It takes what waits
// together, so that one fsync covers it. ctx ends the waiting for a disk that fails.
func (w *writer) run(ctx context.Context) error {
	for {
		var batch []taken
		select {
		case c := <-w.in:
			batch = append(batch, c)
		case <-w.gaps:
			w.tellGaps(ctx)
			continue
		case by := <-w.steps:
			w.clockStepped(ctx, by)
			continue
		case d := <-w.stalls:
			w.tell(ctx, "stood_still", fmt.Sprintf("the gateway's process did not run for %.1f s", d.Seconds()))
		case what := <-w.raises:
			w.tell(ctx, "restored", what)
			continue
		case <-w.done:
			if len(w.in) == 0 {
				for w.tellGaps(ctx) { // making room for a record may drop more
				}
				return nil
			}
		}
		for len(w.in) > 0 {
			batch = append(batch, <-w.in)
		}
		w.append(ctx, batch)
		if len(w.gaps) == 0 && w.book.has(w.id) { // an earlier attempt failed
			w.tellGaps(ctx)
		}
	}
}

// tellGaps puts the records of what will never arrive into the outbox, in the class that is never dropped. It reports whether
// there were any and they are durable.
func (w *writer) tellGaps(ctx context.Context) bool {
	gaps := w.book.take(w.id)
	if len(gaps) == 0 {
		return false
	}
	var recs []outbox.Record
	for _, g := range gaps {
		start := g.From.UTC().Truncate(time.Microsecond)
		event := g.Event()
		event.At = start
		made, err := w.seal(taken{Chunk: vitals.Chunk{Signal: vitals.Events, Start: start, Events: []vitals.Event{event}}})
		if err != nil {
			w.log.Error("gap not sealed", "err", err)
			return false
		}
		made[len(made)-1].Class = outbox.Control
		recs = append(recs, made...)
	}
	if err := w.store(ctx, recs); err != nil {
		w.log.Error("outbox does not take the record of a gap; trying again", "err", err)
		w.streams[vitals.Events] = epoch{} // it may be there or not
		return false
	}
	for range gaps {
		w.led.produced(w.id, vitals.Events)
	}
	w.book.told(w.id)
	return true
}

// clockStepped ends all epochs, so that no reader takes times before and after for one course, and says so on the chart.
func (w *writer) clockStepped(ctx context.Context, by time.Duration) {
	w.streams = [vitals.MaxSignal + 1]epoch{}
	w.tell(ctx, "clock_step", stepDetail(by))
}

// stepped is told that the host's clock was set. It never waits.
func (w *writer) stepped(by time.Duration) {
	select {
	case w.steps <- by:
	default:
	}
}

// stoodStill is told that the process did not run for a time: the hole in what was measured has its reason on the chart. It never waits.
func (w *writer) stoodStill(d time.Duration) {
	select {
	case w.stalls <- d:
	default:
	}
}

// renumbered is told that the boot counter was raised, because another run of this gateway is gone. It never waits. Epochs that have
// begun go on: the hub takes them as this run's backlog.
func (w *writer) renumbered(from, to uint64) {
	select {
	case w.raises <- fmt.Sprintf("this gateway is a copy or was restored from a backup: start %d goes on as %d", from, to):
	default:
	}
}

// close says that nothing more is put.
func (w *writer) close() { close(w.done) }

// append makes a batch durable. What the disk refuses goes to the hub from memory, and each sensor says so on the chart; what memory
// does not hold either is lost and counted.
func (w *writer) append(ctx context.Context, batch []taken) {
	var recs []outbox.Record
	sealed := batch[:0:0]
	for _, c := range batch {
		made, err := w.seal(c)
		if err != nil {
			w.log.Error("chunk not sealed", "stream", c.Signal.String(), "err", err)
			w.led.lost(w.id, c.Signal)
			continue
		}
		recs, sealed = append(recs, made...), append(sealed, c)
	}
	if len(recs) == 0 {
		return
	}
	if err := w.store(ctx, recs); err != nil {
		for _, c := range sealed {
			w.led.lost(w.id, c.Signal)
		}
		// Some of it may be there or not; a new epoch keeps its sequence numbers apart.
		w.streams = [vitals.MaxSignal + 1]epoch{}
		return
	}
	for _, c := range sealed {
		w.led.produced(w.id, c.Signal)
	}
}

// store appends records to the outbox, or has it hold them in memory.
func (w *writer) store(ctx context.Context, recs []outbox.Record) error {
	if w.holding && time.Now().Before(w.retryAt) {
		return w.hold(recs)
	}
	// The wait is not cut short at the end of ctx: the disk is local, and what was measured counts.
	err := w.q.Append(context.WithoutCancel(ctx), recs...)
	if err == nil {
		if w.holding {
			w.holding = false
			w.led.storage.works(w.id)
			// What follows on disk must not need a key that is announced in memory only.
			w.streams = [vitals.MaxSignal + 1]epoch{}
			w.tell(ctx, delivery.EventStorageWorks, "the gateway's disk takes readings again")
		}
		return nil
	}
	if errors.Is(err, outbox.ErrClosed) {
		return err
	}
	why := w.led.storage.failed(w.id, err)
	w.retryAt = time.Now().Add(diskPause)
	if err := w.hold(recs); err != nil {
		return err
	}
	if !w.holding {
		w.holding = true
		w.tell(ctx, delivery.EventStorageFailed, why)
	}
	return nil
}

// hold has the outbox keep records in memory.
func (w *writer) hold(recs []outbox.Record) error {
	err := w.q.Hold(recs...)
	if err != nil {
		w.log.Error("neither disk nor memory takes readings; they are lost", "err", err)
	}
	return err
}

// tell appends an event of the writer's own.
func (w *writer) tell(ctx context.Context, code, detail string) {
	at := wall().Truncate(time.Microsecond)
	const maxDetail = 200
	event := vitals.Event{At: at, Code: code, Detail: printable(detail[:min(len(detail), maxDetail)])}
	w.append(ctx, []taken{{Chunk: vitals.Chunk{Signal: vitals.Events, Start: at, Events: []vitals.Event{event}}}})
}

// seal turns a chunk into an outbox record, with its epoch's announcement before it if the epoch is new.
func (w *writer) seal(t taken) ([]outbox.Record, error) {
	c := t.Chunk
	e, clock := &w.streams[c.Signal], uint64(deviceClock)
	if !t.device {
		clock = w.clock.generation(lastSample(c))
	}
	if e.clock != clock {
		e.sealer = nil // times by two clocks are in no epoch
	}
	latest := e.inOrder(&c)
	c.ClockError = w.led.clockOff()
	plain, err := vitals.Encode(c)
	if err != nil {
		return nil, err
	}
	var recs []outbox.Record
	for {
		if e.sealer == nil || time.Since(e.began) >= w.lifetime {
			a, err := w.begin(e, c.Signal, clock)
			if err != nil {
				return recs, err
			}
			recs = append(recs, outbox.Record{Lane: w.id, Class: outbox.Control, Data: delivery.EncodeAnnouncement(a)})
		}
		envelope, _, err := e.sealer.Seal(c.Start, plain)
		if errors.Is(err, seal.ErrEpochExhausted) {
			e.sealer = nil
			continue
		}
		if err != nil {
			return recs, err
		}
		e.latest = latest
		return append(recs, outbox.Record{Lane: w.id, Class: classOf(c.Signal), Data: delivery.EncodeEnvelope(envelope)}), nil
	}
}

// maxOverlap is how far a waveform may begin before the last sample that came: what steering the sample clock can cause.
const maxOverlap = 20 * time.Millisecond

// inOrder keeps the times of an epoch's samples from going back: by starting a waveform that overlaps a little where the last
// one ended, and else by ending the epoch. It returns the time of the chunk's last sample. Events are told when they are known;
// a gap's stands where the gap is.
func (e *epoch) inOrder(c *vitals.Chunk) (latest time.Time) {
	if c.Signal != vitals.Events && e.sealer != nil && c.Start.Before(e.latest) {
		if samples(*c) > 0 && e.latest.Sub(c.Start) <= maxOverlap {
			c.Start = e.latest
		} else {
			e.sealer = nil
		}
	}
	return lastSample(*c)
}

// lastSample is the time of a chunk's last sample.
func lastSample(c vitals.Chunk) time.Time {
	switch n := int(samples(c)); {
	case n > 0 && c.Rate > 0:
		return c.Start.Add(time.Duration(float64(n-1) / float64(c.Rate) * float64(time.Second)))
	case len(c.Bundles) > 0:
		return c.Bundles[len(c.Bundles)-1].At
	}
	return c.Start
}

func (w *writer) begin(e *epoch, s vitals.Signal, clock uint64) ([]byte, error) {
	w.epochs++
	if w.epochs >= 1<<epochBits {
		return nil, fmt.Errorf("gateway: %d epochs since the start; restart the gateway", w.epochs)
	}
	number := w.number.now.Load()<<epochBits | w.epochs
	if err := w.clock.begin(w.id, number, clock); err != nil {
		// Measuring goes on; the hub may have to ask a person when this was measured.
		w.log.Error("by which clock this epoch is measured is not on disk", "err", err)
	}
	sealer, announcement, err := seal.NewSealer(w.recipient, w.sensor, uint8(s), number)
	if err != nil {
		return nil, err
	}
	*e = epoch{clock: clock, sealer: sealer, began: time.Now()}
	return announcement, nil
}

func classOf(s vitals.Signal) outbox.Class {
	switch s {
	case vitals.PPG, vitals.Pressure:
		return outbox.Waveform
	case vitals.Numerics:
		return outbox.Numeric
	}
	return outbox.Event
}

func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
