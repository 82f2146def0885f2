package gateway

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"vitalseal/internal/audit"
	"vitalseal/internal/ingest"
	"vitalseal/internal/outbox"
	"vitalseal/internal/sensor"
	"vitalseal/internal/vitals"
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
	// BacklogAcked are chunks of earlier starts that were delivered in this one.
	BacklogAcked uint64 `json:"backlog_acked"`
	// Audit is what this gateway, as a witness of the hub's audit log, has to say about it.
	Audit audit.WitnessState `json:"audit"`
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
	Connects    uint64 `json:"connects"`
	Retries     uint64 `json:"retries"`
}

// ledger counts what becomes of chunks. It is safe for concurrent use.
type ledger struct {
	gateway string
	boot    uint64

	mu      sync.Mutex // guards the fields below
	lanes   []string
	streams map[string]*[vitals.MaxSignal + 1]StreamStatus // by lane
	senders map[string]*ingest.Sender
	devices map[string]device
	curves  map[string]string
	backlog uint64
	witness func() audit.WitnessState // nil until there is one
}

// device is a chip's state and how often it was not working.
type device struct {
	state  sensor.State
	faults uint64
}

func newLedger(gateway string) *ledger {
	return &ledger{gateway: gateway, streams: map[string]*[vitals.MaxSignal + 1]StreamStatus{}, senders: map[string]*ingest.Sender{},
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

func (l *ledger) sender(id string, s *ingest.Sender) {
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

// dropped is the outbox's OnDrop. A lane has at most one stream of a class.
func (l *ledger) dropped(id string, class outbox.Class, records int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	streams := l.streams[id]
	if streams == nil {
		return
	}
	s := vitals.Events
	switch class {
	case outbox.Waveform:
		s = vitals.PPG
		if streams[vitals.Pressure].Produced > 0 {
			s = vitals.Pressure
		}
	case outbox.Numeric:
		s = vitals.Numerics
	}
	streams[s].Dropped += uint64(max(records, 0)) // #nosec G115 -- not negative
}

// settled is the senders' OnSettled.
func (l *ledger) settled(x ingest.Settled) {
	if x.Message.Announcement {
		return
	}
	if x.Message.Epoch.Number>>epochBits != l.boot {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.backlog++
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

func (l *ledger) status(q *outbox.Queue) Status {
	qs := q.Stats()
	l.mu.Lock()
	defer l.mu.Unlock()
	st := Status{Gateway: l.gateway, Time: time.Now().UTC(), Boot: l.boot, OutboxBytes: qs.Bytes, OutboxRecords: qs.Records,
		BacklogAcked: l.backlog, Streams: []StreamStatus{}, Sensors: []SensorStatus{}}
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
			status := SensorStatus{Sensor: id, Connected: x.Connected, Connects: x.Connects, Retries: x.Retries, Calibration: l.curves[id]}
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
		err = replaceFile(path, append(b, '\n'), false)
	}
	if err != nil {
		return fmt.Errorf("gateway: status: %w", err)
	}
	return nil
}

// run writes the status each second. That it cannot be written stops nobody from measuring.
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
