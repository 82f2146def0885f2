package gateway

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"vitalseal/internal/measurement/vitals"
	"vitalseal/internal/patient/gateway/legacy"
	"vitalseal/internal/patient/sensor"
	"vitalseal/internal/patient/uplink"
	"vitalseal/internal/shared/audit"
	"vitalseal/internal/shared/disk"
	"vitalseal/internal/way/delivery"
	"vitalseal/internal/way/outbox"
)

// Status is what status.json in the data folder says, each second and at the end. Counts are since this start.
type Status struct {
	Gateway string         `json:"gateway"`
	Time    time.Time      `json:"time"`
	Boot    uint64         `json:"boot"`
	Streams []StreamStatus `json:"streams"`
	Sensors []SensorStatus `json:"sensors"`
	// OutboxBytes is disk in use; OutboxRecords what is not acknowledged yet, of earlier starts too, announcements included.
	OutboxBytes   int64 `json:"outbox_bytes"`
	OutboxRecords int64 `json:"outbox_records"`
	// BacklogAcked are chunks of earlier starts that were delivered in this one; BacklogStored those of them that the hub did not
	// have yet. The others it had stored before, and their acknowledgement was lost.
	BacklogAcked  uint64 `json:"backlog_acked"`
	BacklogStored uint64 `json:"backlog_stored"`
	// Backlog is what waits for the hub, and how it drains.
	Backlog BacklogStatus `json:"backlog"`
	// Gaps counts what will never arrive since this start.
	Gaps GapStatus `json:"gaps"`
	// Clock is what the gateway knows of its host's clock.
	Clock ClockStatus `json:"clock"`
	// Audit is what this gateway, as a witness of the hub's audit log, has to say about it.
	Audit audit.WitnessState `json:"audit"`
	// Storage is the disk below the data folder.
	Storage StorageStatus `json:"storage"`
	// Stalls counts how often the gateway's process stood still since this start: nothing was measured meanwhile.
	Stalls StallStatus `json:"stalls"`
	// Legacy tells of devices that speak ThingSpeak; absent where there are none.
	Legacy *legacy.Status `json:"legacy,omitempty"`
}

// StallStatus tells of a process that stood still: it was stopped, or the machine gave it no time.
type StallStatus struct {
	Count       uint64     `json:"count"`
	Seconds     float64    `json:"seconds"`        // of all together
	Last        *time.Time `json:"last,omitempty"` // when the last one began
	LastSeconds float64    `json:"last_seconds,omitempty"`
}

// BacklogStatus is what waits: everything while the hub is away; else what had waited when the connections began.
type BacklogStatus struct {
	Records int64 `json:"records"`
	Bytes   int64 `json:"bytes"` // on disk, of all records
	// Oldest is the oldest chunk's time; absent when nothing waits.
	Oldest           *time.Time `json:"oldest,omitempty"`
	OldestAgeSeconds float64    `json:"oldest_age_seconds"`
	// RecordsPerSecond is how fast it drains, over the last seconds; LeftSeconds how long that takes, absent while it does not.
	RecordsPerSecond float64  `json:"records_per_second"`
	LeftSeconds      *float64 `json:"left_seconds,omitempty"`
}

// GapStatus counts gap records: made, and chunks that they speak of.
type GapStatus struct {
	Told    uint64 `json:"told"`    // durable in the outbox, on their way to the chart
	Waiting int    `json:"waiting"` // to be put there
	Dropped uint64 `json:"dropped"` // chunks dropped because the outbox was full, of earlier starts too
	Corrupt uint64 `json:"corrupt"` // stretches of the outbox's files that could not be read
}

// ClockStatus is the host's clock.
type ClockStatus struct {
	Synchronised bool       `json:"synchronised"` // a time service keeps it right
	ErrorSeconds float64    `json:"error_seconds"`
	Steps        uint64     `json:"steps"` // how often it was set since this start
	LastStep     *time.Time `json:"last_step,omitempty"`
	LastStepBy   float64    `json:"last_step_seconds"`
	// AheadSeconds is how far the clock was measured to be ahead of the hub's, below zero: behind, within AheadErrorSeconds; absent before
	// the hub was reached. Problem says in words what is wrong with the clock; empty: nothing.
	AheadSeconds      *float64 `json:"ahead_seconds,omitempty"`
	AheadErrorSeconds float64  `json:"ahead_error_seconds,omitempty"`
	Problem           string   `json:"problem,omitempty"`
}

// StreamStatus counts one stream's chunks. Produced = Acked + Pending + Dropped + Rejected, as far as dropped ones are of
// this start.
type StreamStatus struct {
	Sensor   string `json:"sensor"`
	Signal   string `json:"signal"`
	Produced uint64 `json:"produced"` // sealed and durable here
	Acked    uint64 `json:"acked"`    // the hub has it on disk
	Pending  uint64 `json:"pending"`
	Dropped  uint64 `json:"dropped"`  // from a full outbox
	Rejected uint64 `json:"rejected"` // by the hub, for good
	Lost     uint64 `json:"lost"`     // not durable here: the disk did not take it
}

// SensorStatus is one sensor and its link to the hub.
type SensorStatus struct {
	Sensor string `json:"sensor"`
	// Device is the chip's state, a sensor.State's name; empty until it was first looked at. Faults counts the times that it
	// stopped working.
	Device string `json:"device"`
	Faults uint64 `json:"faults"`
	// Calibration names the curve that a max30100's SpO2 rests on.
	Calibration string `json:"spo2_calibration,omitempty"`
	Connected   bool   `json:"connected"`
	// Since is when Connected last changed. Refused says why the hub turned the last connection away; empty if it did not.
	Since    time.Time `json:"since"`
	Refused  string    `json:"refused,omitempty"`
	Connects uint64    `json:"connects"`
	Retries  uint64    `json:"retries"`
}

// ledger counts what becomes of chunks. It is safe for concurrent use.
type ledger struct {
	gateway string
	boot    uint64   // at this start; it may be raised while it runs
	storage *storage // nil until there is one; set before anything runs
	book    *gapBook // nil until there is one; set before anything runs
	// clockBook and legacy are likewise.
	clockBook *clockBook
	legacy    *legacy.Server

	mu      sync.Mutex // guards the fields below
	lanes   []string
	streams map[string]*[vitals.MaxSignal + 1]StreamStatus // by lane
	senders map[string]*uplink.Sender
	devices map[string]device
	curves  map[string]string
	backlog uint64
	// backlogStored are those of backlog that the hub did not have yet.
	backlogStored uint64
	waited        uint64 // settled records that had waited when their connection began
	drain         drainRate
	gaps          GapStatus
	clock         ClockStatus
	stalls        StallStatus
	off           time.Duration             // how far off the clock may be, 0 for not known
	witness       func() audit.WitnessState // nil until there is one
}

// device is a chip's state and how often it was not working.
type device struct {
	state  sensor.State
	faults uint64
}

func newLedger(gateway string) *ledger {
	return &ledger{gateway: gateway, streams: map[string]*[vitals.MaxSignal + 1]StreamStatus{}, senders: map[string]*uplink.Sender{},
		devices: map[string]device{}, curves: map[string]string{}}
}

func (l *ledger) lane(id string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lanes = append(l.lanes, id)
	l.streams[id] = &[vitals.MaxSignal + 1]StreamStatus{}
}

// device is told a chip's state.
func (l *ledger) device(id string, s sensor.State) {
	l.mu.Lock()
	defer l.mu.Unlock()
	d := l.devices[id]
	if s != sensor.Working && (d.state == sensor.Working || s == sensor.LostSupply) {
		d.faults++
	}
	d.state = s
	l.devices[id] = d
}

// curve is told the name of a sensor's calibration.
func (l *ledger) curve(id, name string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.curves[id] = name
}

func (l *ledger) sender(id string, s *uplink.Sender) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.senders[id] = s
}

func (l *ledger) count(id string, s vitals.Signal, f func(*StreamStatus)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if streams := l.streams[id]; streams != nil && s.Valid() {
		f(&streams[s])
	}
}

func (l *ledger) produced(id string, s vitals.Signal) {
	l.count(id, s, func(c *StreamStatus) { c.Produced++ })
}
func (l *ledger) lost(id string, s vitals.Signal) { l.count(id, s, func(c *StreamStatus) { c.Lost++ }) }

// dropped counts a chunk that the outbox dropped.
func (l *ledger) dropped(id string, m delivery.Message) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.gaps.Dropped++
	s := vitals.Signal(m.Signal)
	if streams := l.streams[id]; streams != nil && s.Valid() && m.Epoch.Boot() >= l.boot {
		streams[s].Dropped++
	}
}

// gap counts gap records that are durable in the outbox.
func (l *ledger) gap(n uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.gaps.Told += n
}

// clockError is told how far off the clock may be, 0 for not known.
func (l *ledger) clockError(off time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.clock.Synchronised, l.clock.ErrorSeconds = off > 0, off.Seconds()
	l.off = off
}

func (l *ledger) clockOff() time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.off
}

func (l *ledger) clockStepped(by time.Duration, at time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.clock.Steps++
	l.clock.LastStep, l.clock.LastStepBy = &at, by.Seconds()
}

// drainRate is how fast a backlog drains, smoothed over some seconds.
type drainRate struct {
	at    time.Time
	count uint64
	rate  float64 // records a second
}

// look is told how many have gone so far.
func (d *drainRate) look(now time.Time, count uint64) float64 {
	const smooth = 0.3 // of the newest look; the status is written each second
	if lasting := now.Sub(d.at).Seconds(); !d.at.IsZero() && lasting > 0.2 {
		newest := float64(count-d.count) / lasting
		if d.rate == 0 {
			d.rate = newest
		}
		d.rate += smooth * (newest - d.rate)
		if d.rate < 0.01 {
			d.rate = 0
		}
		d.at, d.count = now, count
	} else if d.at.IsZero() {
		d.at, d.count = now, count
	}
	return d.rate
}

// backlogOf looks at what waits. The caller does not hold mu: the outbox calls dropped with its own lock held.
func (l *ledger) backlogOf(q *outbox.Queue, now time.Time, bytes int64) (b BacklogStatus) {
	l.mu.Lock()
	lanes, senders := slices.Clone(l.lanes), maps.Clone(l.senders)
	l.mu.Unlock()
	for _, id := range lanes {
		lane, s := q.Lane(id), senders[id]
		waiting := lane.PendingOf(outbox.Backlog)
		if s == nil || !s.Stats().Connected {
			waiting += lane.PendingOf(outbox.Live)
		}
		if waiting == 0 {
			continue
		}
		b.Records += int64(waiting)
		if r, ok := lane.Oldest(); ok {
			if m, err := delivery.ParseMessage(r.Data); err == nil && (b.Oldest == nil || m.Start.Before(*b.Oldest)) {
				b.Oldest, b.OldestAgeSeconds = &m.Start, max(now.Sub(m.Start).Seconds(), 0)
			}
		}
	}
	l.mu.Lock()
	b.RecordsPerSecond = l.drain.look(now, l.waited)
	l.mu.Unlock()
	if b.Records > 0 {
		b.Bytes = bytes
		if b.RecordsPerSecond > 0 {
			left := float64(b.Records) / b.RecordsPerSecond
			b.LeftSeconds = &left
		}
	}
	return b
}

// settled is the senders' OnSettled.
func (l *ledger) settled(x uplink.Settled) {
	if x.Message.Announcement {
		return
	}
	if x.Backlog {
		l.mu.Lock()
		l.waited++
		l.mu.Unlock()
	}
	if x.Message.Epoch.Boot() < l.boot {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.backlog++
		if x.Outcome == delivery.Accepted {
			l.backlogStored++
		}
		return
	}
	l.count(x.Record.Lane, vitals.Signal(x.Message.Signal), func(c *StreamStatus) {
		if x.Rejected() {
			c.Rejected++
		} else {
			c.Acked++
		}
	})
}

func (l *ledger) witnessed(state func() audit.WitnessState) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.witness = state
}

// stoodStill counts that the process did not run.
func (l *ledger) stoodStill(from time.Time, d time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	at := from.UTC()
	l.stalls = StallStatus{l.stalls.Count + 1, l.stalls.Seconds + d.Seconds(), &at, d.Seconds()}
}

func (l *ledger) status(q *outbox.Queue) Status {
	qs, now := q.Stats(), time.Now().UTC()
	backlog, waiting := l.backlogOf(q, now, qs.Bytes), 0
	if l.book != nil {
		waiting = l.book.pending()
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	st := Status{Gateway: l.gateway, Time: now, Boot: l.boot, OutboxBytes: qs.Bytes, OutboxRecords: qs.Records,
		BacklogAcked: l.backlog, BacklogStored: l.backlogStored, Streams: []StreamStatus{}, Sensors: []SensorStatus{}}
	st.Backlog, st.Gaps, st.Clock, st.Stalls = backlog, l.gaps, l.clock, l.stalls
	st.Gaps.Corrupt, st.Gaps.Waiting = qs.Corrupt, waiting
	l.clockBook.tellStatus(&st.Clock)
	if l.legacy != nil {
		st.Legacy = l.legacy.Status()
	}
	if l.storage != nil {
		st.Storage = l.storage.status()
		st.Storage.HeldBytes, st.Storage.HeldRecords = qs.HeldBytes, qs.Held
	}
	if l.witness != nil {
		st.Audit = l.witness()
	}
	for _, id := range l.lanes {
		for s, c := range l.streams[id] {
			if c.Produced == 0 && c.Lost == 0 {
				continue
			}
			c.Sensor, c.Signal = id, vitals.Signal(s).String() // #nosec G115 -- a handful
			// A chunk may be acked before its writer has counted it.
			if gone := c.Acked + c.Dropped + c.Rejected; gone < c.Produced {
				c.Pending = c.Produced - gone
			}
			st.Streams = append(st.Streams, c)
		}
		if s := l.senders[id]; s != nil {
			x := s.Stats()
			status := SensorStatus{Sensor: id, Connected: x.Connected, Since: x.Changed.UTC(), Connects: x.Connects, Retries: x.Retries, Calibration: l.curves[id]}
			if x.Refused != delivery.NoReason {
				status.Refused = x.Refused.String()
			}
			if d, ok := l.devices[id]; ok {
				status.Device, status.Faults = d.state.String(), d.faults
			}
			st.Sensors = append(st.Sensors, status)
		}
	}
	return st
}

// write puts the status into its file, whole. It need not survive a power cut.
func (l *ledger) write(path string, q *outbox.Queue) error {
	b, err := json.MarshalIndent(l.status(q), "", "  ")
	if err == nil {
		err = disk.Replace(path, append(b, '\n'), false)
	}
	if err != nil {
		return fmt.Errorf("gateway: status: %w", err)
	}
	return nil
}

// run writes the status each second. That it cannot be written does not stop the measurement.
func (l *ledger) run(ctx context.Context, path string, q *outbox.Queue, log *slog.Logger) error {
	failing := false
	for {
		err := l.write(path, q)
		if err != nil && !failing {
			log.Error("status not written", "err", err)
		}
		failing = err != nil
		if !sleep(ctx, time.Second) {
			return nil
		}
	}
}
