package legacy

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"os"
	"strings"
	"sync"
	"time"

	"vitalseal/internal/shared/disk"
)

// Counts is what became of a device's messages since this start.
type Counts struct {
	Accepted uint64 `json:"accepted"` // entries
	// Why messages were refused.
	BadValue   uint64 `json:"bad_value"` // not a number, out of range, of an unknown field, or not to be read
	TooLarge   uint64 `json:"too_large"`
	TooOften   uint64 `json:"too_often"`
	Replayed   uint64 `json:"replayed"` // a created_at that is not after the newest
	NotAllowed uint64 `json:"not_allowed"`
	Busy       uint64 `json:"busy"` // the disk was stuck
	// Unsupported are MQTT's last wills, retained messages, lasting sessions and old versions.
	Unsupported uint64 `json:"unsupported"`
	// Fields were left out of messages that were taken: no number, out of range, or without a meaning here.
	Fields uint64 `json:"fields"`
	// Reason is why a message or a field was refused last; it never repeats what was sent.
	Reason string `json:"reason,omitempty"`
	// LateSeconds is how late the device's live messages are, by the same again and again; 0 if not. LocalTime: by a whole number of
	// quarter hours, so that its clock seems to show local time.
	LateSeconds int64 `json:"late_seconds,omitempty"`
	LocalTime   bool  `json:"local_time,omitempty"`
	// Last is when the last one was accepted; absent for none.
	Last *time.Time `json:"last,omitempty"`
}

// Strangers counts attempts that no device made.
type Strangers struct {
	BadKey   uint64 `json:"bad_key"`
	TooOften uint64 `json:"too_often"` // not even looked at: their address had guessed too often
	// Malformed are requests and greetings that the protocol does not allow; MalformedReason is why the last one was refused.
	Malformed       uint64 `json:"malformed"`
	MalformedReason string `json:"malformed_reason,omitempty"`
	// PushedOut are connections from addresses that have shown no key lately, which were ended to make room for newer ones, and
	// TurnedAway those beyond one address's share, or for which there was no room.
	PushedOut  uint64 `json:"pushed_out"`
	TurnedAway uint64 `json:"turned_away"`
}

// Status tells of legacy devices.
type Status struct {
	Strangers Strangers         `json:"strangers"`
	Devices   map[string]Counts `json:"devices"` // by sensor
}

// note counts a message, or the n entries of one that was accepted.
func (c *Counts) note(err error, n int, now time.Time) {
	switch {
	case err == nil:
		c.Accepted += uint64(n) // #nosec G115 -- a length
		now = now.UTC()
		c.Last = &now
	case errors.Is(err, errLegacyLarge):
		c.TooLarge++
	case errors.Is(err, errLegacyOften):
		c.TooOften++
	case errors.Is(err, errLegacyReplay):
		c.Replayed++
	case errors.Is(err, errLegacyKey), errors.Is(err, errLegacyChannel):
		c.NotAllowed++
	case errors.Is(err, errLegacyBusy):
		c.Busy++
	case errors.As(err, new(*legacyUnsupported)):
		c.Unsupported++
	default:
		c.BadValue++
	}
}

// since says for the chart how many messages were refused, and why; empty for none. It holds no values.
func (c Counts) since(told Counts) string {
	var list []string
	for _, x := range []struct {
		name     string
		now, was uint64
	}{{"bad_value", c.BadValue, told.BadValue}, {"too_large", c.TooLarge, told.TooLarge}, {"too_often", c.TooOften, told.TooOften},
		{"replayed", c.Replayed, told.Replayed}, {"not_allowed", c.NotAllowed, told.NotAllowed}, {"busy", c.Busy, told.Busy},
		{"unsupported", c.Unsupported, told.Unsupported}, {"fields", c.Fields, told.Fields}} {
		if n := x.now - x.was; n > 0 {
			list = append(list, fmt.Sprintf("%s %d", x.name, n))
		}
	}
	detail := strings.Join(list, ", ")
	if detail != "" && c.Reason != "" {
		detail += "; the last: " + c.Reason
	}
	return detail // an event takes its first 200 bytes
}

// Refused is how many messages were, for whatever reason.
func (c Counts) Refused() uint64 {
	return c.BadValue + c.TooLarge + c.TooOften + c.Replayed + c.NotAllowed + c.Busy + c.Unsupported
}

// tally is what is told of each device. It is safe for concurrent use; no caller waits for a disk.
type tally struct {
	mu      sync.Mutex // guards the field below
	devices map[string]Counts
}

func newTally() *tally { return &tally{devices: map[string]Counts{}} }

// device is told a device's counts.
func (t *tally) device(id string, c Counts) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.devices[id] = c
}

// Status tells of the devices and of attempts that no device made; nil where devices cannot send.
func (d *Server) Status() *Status {
	if !d.cfg.On() {
		return nil
	}
	d.counts.mu.Lock()
	defer d.counts.mu.Unlock()
	return &Status{Strangers: d.guard.count(), Devices: maps.Clone(d.counts.devices)}
}

// legacyMarks remembers each device's newest time over restarts, so that what it sends again is not doubled. It is safe for concurrent
// use. A power cut may take the last seconds of it.
type legacyMarks struct {
	path string
	log  *slog.Logger

	mu      sync.Mutex // guards the fields below
	at      map[string]time.Time
	failing bool
}

const maxLegacyMarks = 64 << 10

// openLegacyMarks reads a file; one that cannot be read is an error, because to begin anew would double entries.
func openLegacyMarks(path string, log *slog.Logger) (*legacyMarks, error) {
	m := &legacyMarks{path: path, log: log, at: map[string]time.Time{}}
	f, err := os.Open(path) // #nosec G304 -- below the gateway's own folder
	if errors.Is(err, os.ErrNotExist) {
		return m, nil
	}
	if err != nil {
		return nil, fmt.Errorf("gateway: legacy devices' times: %w", err)
	}
	defer func() { _ = f.Close() }()
	b, err := io.ReadAll(io.LimitReader(f, maxLegacyMarks))
	if err == nil {
		err = json.Unmarshal(b, &m.at)
	}
	if err != nil || m.at == nil {
		return nil, fmt.Errorf("gateway: legacy devices' times: %s does not hold any (%w); move it away, and what a device sends again may be doubled", path, err)
	}
	return m, nil
}

func (m *legacyMarks) newest(id string) time.Time {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.at[id]
}

func (m *legacyMarks) set(id string, at time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.at[id] = at
	b, err := json.Marshal(m.at)
	if err == nil {
		err = disk.Replace(m.path, append(b, '\n'), false)
	}
	if err != nil && !m.failing {
		m.log.Error("legacy devices' times not written; after a restart what is sent again may be doubled", "err", err)
	}
	m.failing = err != nil
}
