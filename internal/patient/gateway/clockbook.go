package gateway

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"vitalseal/internal/shared/disk"
	"vitalseal/internal/way/delivery"
	"vitalseal/internal/way/overlay"
)

// The gateway's record of its clock: by which clock each epoch was measured, and how far each clock was off, as far as that is known. A
// clock that is set is another one from then on. The record is sent along with every connection, so that the hub can say of a
// backlog when it was measured, and it is durable before the first chunk by another clock is in the outbox.

const (
	clockFile = "clock.json"
	// maxGenerations bounds the record; an outbox that is older says of its oldest epochs nothing.
	maxGenerations = 48
	// lateFor is how long after a step a chunk may still be one that was measured before it.
	lateFor = time.Minute
	// keptMeasure is how far a measurement must have moved to be written again.
	keptMeasure = 500 * time.Millisecond
	// deviceClock is the generation of what a device measured by a clock of its own. No clock of the gateway's has this number.
	deviceClock = 0
	// freshMeasure is how long a better measurement counts.
	freshMeasure = 30 * time.Second
)

// uptimeClock is a HostClock that knows how long the machine has run, across starts of the gateway: steps between two starts are seen.
type uptimeClock interface {
	// Uptime is how long the machine has run, suspended time included, and which of its runs that is.
	Uptime() (run string, d time.Duration, ok bool)
}

// clockBook keeps the record. It is safe for concurrent use.
type clockBook struct {
	path string
	boot uint64
	host HostClock
	log  *slog.Logger
	tell func(by time.Duration) // the clock was set; must not block
	// identity is the gateway\'s, whose certificate a clock may be behind; nil in tests of the book.
	identity *overlay.Identity

	mu       sync.Mutex // guards all below
	watch    clockWatch
	writers  []*writer // told as well
	file     clockRecord
	version  uint64
	stepped  time.Duration // since this start
	changed  time.Time     // when it was set last, with a monotonic reading
	by       time.Duration // by how much then
	wrong    bool          // was said
	measured time.Time     // when the current offset was
}

// clockRecord is the file.
type clockRecord struct {
	Version     int               `json:"version"` // 1
	Generations []clockGeneration `json:"generations"`
	Lanes       map[string][]mark `json:"lanes"`
}

// clockGeneration is a stretch of time in which the clock was not set.
type clockGeneration struct {
	ID  uint64 `json:"id"`  // the start's boot counter, and below it a count of its steps
	Run string `json:"run"` // of the machine; empty: not known
	// AheadOfUptime is what the clock said when the machine was switched on, in µs since 1970: the difference of two of one run is the step.
	AheadOfUptime int64 `json:"switched_on_us"`
	// Known, Offset and Error are how far it was ahead of the hub's when that was measured last, in µs.
	Known  bool  `json:"known"`
	Offset int64 `json:"offset_us"`
	Error  int64 `json:"error_us"`
}

// mark says that a lane's epochs from a number on are of a generation.
type mark struct {
	From       uint64 `json:"from"`
	Generation uint64 `json:"generation"`
}

// openClockBook reads the record and begins this start's part. A file that is no record is set aside: what it said is not known.
func openClockBook(dir string, boot uint64, host HostClock, lanes []string, tell func(time.Duration), log *slog.Logger) (*clockBook, error) {
	b := &clockBook{path: filepath.Join(dir, clockFile), boot: boot, host: host, log: log, tell: tell, watch: clockWatch{clock: host}}
	raw, err := os.ReadFile(b.path) // #nosec G304 -- below the gateway's own folder
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("gateway: clock record: %w", err)
	}
	if err == nil {
		if b.file, err = parseClockRecord(raw); err != nil {
			log.Error("the record of the clock cannot be read; what waits in the outbox may have to wait at the hub until a person says when it was measured", "err", err)
			_ = os.Rename(b.path, b.path+".bad") // it is replaced below either way
			b.file = clockRecord{}
		}
	}
	b.file.Version = 1
	if b.file.Lanes == nil {
		b.file.Lanes = map[string][]mark{}
	}
	b.watch.look()
	g := clockGeneration{ID: boot << epochBits}
	if u, ok := host.(uptimeClock); ok {
		if run, since, ok := u.Uptime(); ok {
			g.Run, g.AheadOfUptime = run, host.Now().UnixMicro()-since.Microseconds()
		}
	}
	if n := len(b.file.Generations); n > 0 {
		if last := b.file.Generations[n-1]; last.Run != "" && last.Run == g.Run {
			by := time.Duration(g.AheadOfUptime-last.AheadOfUptime) * time.Microsecond
			if by >= stepFrom || by <= -stepFrom {
				log.Warn("the clock was set while the gateway did not run", "by", by.Round(time.Millisecond))
			}
		}
	}
	if n := len(b.file.Generations); n > 0 && b.file.Generations[n-1].ID >= g.ID {
		log.Error("the record of the clock is of a start with a higher number than this one; what it says of earlier starts does not count")
		b.file.Generations, b.file.Lanes = nil, map[string][]mark{}
	}
	b.file.Generations = append(b.file.Generations, g)
	for _, lane := range lanes {
		b.file.Lanes[lane] = append(b.file.Lanes[lane], mark{boot << epochBits, g.ID})
	}
	if err := b.save(); err != nil { // a gateway measures all the same
		log.Error("the record of the clock is not on disk; trying again with the next step", "err", err)
	}
	return b, nil
}

func parseClockRecord(raw []byte) (r clockRecord, err error) {
	if err := json.Unmarshal(raw, &r); err != nil {
		return clockRecord{}, err
	}
	if r.Version != 1 {
		return clockRecord{}, fmt.Errorf("version %d is not 1", r.Version)
	}
	last := uint64(0)
	for _, g := range r.Generations {
		if g.ID <= last || g.Error < 0 {
			return clockRecord{}, errors.New("its generations are out of order")
		}
		last = g.ID
	}
	for lane, marks := range r.Lanes {
		for i, m := range marks {
			if i > 0 && m.From <= marks[i-1].From {
				return clockRecord{}, fmt.Errorf("its epochs of %s are out of order", lane)
			}
		}
	}
	return r, nil
}

// save makes the record durable, without what is too old. The caller holds mu, or is alone.
func (b *clockBook) save() error {
	if extra := len(b.file.Generations) - maxGenerations; extra > 0 {
		b.file.Generations = slices.Delete(b.file.Generations, 0, extra)
	}
	for lane, marks := range b.file.Lanes {
		if extra := len(marks) - delivery.MaxClockSpans; extra > 0 {
			b.file.Lanes[lane] = slices.Delete(marks, 0, extra)
		}
	}
	b.version++
	raw, err := json.MarshalIndent(b.file, "", "  ")
	if err == nil {
		err = disk.Replace(b.path, append(raw, '\n'), true)
	}
	if err != nil {
		return fmt.Errorf("gateway: clock record: %w", err)
	}
	return nil
}

func (b *clockBook) current() *clockGeneration { return &b.file.Generations[len(b.file.Generations)-1] }

// look notices that the clock was set, and gives by how much since the last look.
func (b *clockBook) look() time.Duration {
	b.mu.Lock()
	by := b.watch.look()
	if by != 0 {
		b.steppedBy(by)
	}
	writers := b.writers
	b.mu.Unlock()
	if by != 0 {
		b.tell(by)
		for _, w := range writers {
			w.stepped(by)
		}
	}
	return by
}

// follow has a writer told of steps, and ask by which clock a chunk was measured.
func (b *clockBook) follow(w *writer) {
	w.clock = b
	b.mu.Lock()
	defer b.mu.Unlock()
	b.writers = append(slices.Clone(b.writers), w)
}

// steppedBy begins another generation. The caller holds mu.
func (b *clockBook) steppedBy(by time.Duration) {
	g := *b.current()
	g.ID++
	g.AheadOfUptime += by.Microseconds()
	if g.Known {
		g.Offset += by.Microseconds() // until it is measured
	}
	b.file.Generations = append(b.file.Generations, g)
	b.stepped += by
	b.changed, b.by, b.measured = b.host.Now(), by, time.Time{}
	if err := b.save(); err != nil {
		b.log.Error("the step of the clock is not on disk yet; trying again with the next epoch", "err", err)
	}
}

// generation is the clock by which something was measured whose time by that clock was at, just now.
func (b *clockBook) generation(at time.Time) uint64 {
	if b == nil {
		return 0
	}
	b.look()
	b.mu.Lock()
	defer b.mu.Unlock()
	now := b.host.Now()
	id := b.current().ID // the queue to the disk is short: seconds at most
	if b.changed.IsZero() || now.Sub(b.changed) > lateFor || len(b.file.Generations) < 2 {
		return id
	}
	// It is of the clock by which it was measured just now.
	wall := now.Round(0)
	if at.Sub(wall.Add(-b.by)).Abs() < at.Sub(wall).Abs() {
		return b.file.Generations[len(b.file.Generations)-2].ID
	}
	return id
}

// begin notes, durably, that an epoch of a lane begins by a clock; mostly that is the one of the epoch before.
func (b *clockBook) begin(lane string, number, generation uint64) error {
	if b == nil {
		return nil
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	marks := b.file.Lanes[lane]
	// Another boot counter begins anew as well: what is said of one start's numbers is said up to their end.
	if n := len(marks); n > 0 && marks[n-1].Generation == generation && marks[n-1].From>>epochBits == number>>epochBits {
		return nil
	}
	b.file.Lanes[lane] = append(marks, mark{number, generation})
	if err := b.save(); err != nil {
		b.file.Lanes[lane] = marks
		return err
	}
	return nil
}

// Now implements uplink.ClockSource.
func (b *clockBook) Now() time.Time { return b.host.Now().Round(0) }

// Record implements uplink.ClockSource.
func (b *clockBook) Record(lane string) delivery.ClockRecord {
	b.look()
	b.mu.Lock()
	defer b.mu.Unlock()
	now := b.current()
	r := delivery.ClockRecord{Version: b.version, Generation: now.ID, Stepped: b.stepped}
	for _, m := range b.file.Lanes[lane] {
		s := delivery.ClockSpan{From: m.From}
		i, ok := slices.BinarySearchFunc(b.file.Generations, m.Generation, func(g clockGeneration, id uint64) int {
			switch {
			case g.ID < id:
				return -1
			case g.ID > id:
				return 1
			}
			return 0
		})
		if ok {
			g := b.file.Generations[i]
			since := time.Duration(now.AheadOfUptime-g.AheadOfUptime) * time.Microsecond
			switch {
			case g.ID>>epochBits == b.boot:
				s.Kind, s.Value = delivery.ClockSet, since
			case g.Known: // of an earlier start, and measured then
				s.Kind, s.Value, s.Error = delivery.ClockMeasured, time.Duration(g.Offset)*time.Microsecond, time.Duration(g.Error)*time.Microsecond
			case g.Run != "" && g.Run == now.Run:
				s.Kind, s.Value = delivery.ClockSet, since
			}
		} else if m.Generation == deviceClock {
			s.Kind = delivery.ClockOfDevice
		}
		r.Spans = append(r.Spans, s)
	}
	return r
}

// Measured implements uplink.ClockSource.
func (b *clockBook) Measured(generation uint64, offset, within time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	g := b.current()
	if g.ID != generation {
		return
	}
	now := time.Now()
	fresh := !b.measured.IsZero() && now.Sub(b.measured) < freshMeasure
	if fresh && within.Microseconds() > g.Error {
		return
	}
	moved := (time.Duration(g.Offset)*time.Microsecond - offset).Abs()
	news := !g.Known || moved >= keptMeasure || 4*within.Microseconds() < g.Error
	g.Known, g.Offset, g.Error, b.measured = true, offset.Microseconds(), within.Microseconds(), now
	if news {
		if err := b.save(); err != nil {
			b.log.Error("the measurement of the clock is not on disk", "err", err)
		}
	}
	switch wrong := !delivery.ClockRight(offset, within); {
	case wrong && !b.wrong:
		b.wrong = true
		b.log.Error(delivery.ClockWords(offset)+": what is measured is shown live with a mark, and waits for the chart until the clock is right",
			"hint", "set this machine's clock, or give it a time service")
	case !wrong && b.wrong:
		b.wrong = false
		b.log.Info("the gateway's clock is right again")
	}
}

// right is a time of the gateway's clock as the hub would say it, as far as that was measured.
func (b *clockBook) right(at time.Time) time.Time {
	if b == nil {
		return at
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if g := b.current(); g.Known {
		return at.Add(-time.Duration(g.Offset) * time.Microsecond)
	}
	return at
}

// tellStatus adds what was measured.
func (b *clockBook) tellStatus(st *ClockStatus) {
	if b == nil {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.identity != nil {
		if err := b.identity.CheckClock(b.host.Now()); err != nil {
			st.Problem = err.Error()
		}
	}
	g := b.current()
	if !g.Known || b.measured.IsZero() {
		return
	}
	offset, within := time.Duration(g.Offset)*time.Microsecond, time.Duration(g.Error)*time.Microsecond
	ahead := offset.Seconds()
	st.AheadSeconds, st.AheadErrorSeconds = &ahead, within.Seconds()
	if !delivery.ClockRight(offset, within) {
		st.Problem = delivery.ClockWords(offset)
	}
}
