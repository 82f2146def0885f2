package legacy

import (
	"fmt"
	"time"

	"vitalseal/internal/way/delivery"
)

// A device whose clock shows local time and says no zone sends entries that are wrong by a whole number of quarter hours. East of UTC they
// lie in the future and are refused. West of it they look like a backlog, and are stored hours ago, where no one looks. A device
// whose clock is slow by seconds looks like one that says what it measured a moment ago: around a change of the patient the hub
// does not know whose its readings are. Both are told so after lateMessages live messages in a row that are late by the same.
const (
	zoneStep      = 15 * time.Minute
	zoneTolerance = 10 * time.Second
	lateWavers    = time.Second // created_at counts whole seconds
	zoneMost      = 14 * time.Hour
	lateMessages  = 3
)

// legacyLate is what is known of a device's clock.
type legacyLate struct {
	by    time.Duration // of the messages so far; rounded where local is; 0: not late
	local bool          // by is a whole number of quarter hours
	seen  int           // in a row
}

// errLegacyLate is what the device is told; the message is taken.
type errLegacyLate struct {
	late  time.Duration
	local bool
}

func (e *errLegacyLate) Error() string {
	if e.local {
		return fmt.Sprintf("created_at is %v late, message after message: it is local time without its offset; send UTC, an offset such as -05:00, or the parameter timezone", e.late)
	}
	return fmt.Sprintf("created_at is %v late, message after message: is the device's clock slow? Set it, or leave created_at out", e.late)
}

// watchClock notes how late a live message was. The caller holds mu.
func (d *legacyDevice) watchClock(at, now time.Time) {
	late := now.Sub(at)
	rounded := late.Round(zoneStep)
	local := rounded > 0 && rounded <= zoneMost && (late-rounded).Abs() <= zoneTolerance
	if local {
		late = rounded
	}
	switch {
	case at.IsZero() || late <= 0 || delivery.ClockRight(late, 0):
		d.late = legacyLate{}
	case local == d.late.local && (late-d.late.by).Abs() <= lateWavers:
		d.late.seen++
	default:
		d.late = legacyLate{late, local, 1}
	}
	before := d.counts.LateSeconds
	d.counts.LateSeconds, d.counts.LocalTime = 0, false
	if d.late.seen >= lateMessages {
		d.counts.LateSeconds, d.counts.LocalTime = int64(d.late.by.Round(time.Second)/time.Second), local
	}
	if d.counts.LateSeconds != 0 && d.counts.LateSeconds != before {
		err := &errLegacyLate{d.late.by.Round(time.Second), local}
		d.counts.Reason = err.Error()
		d.log.Warn("legacy device: its times are late", "sensor", d.id, "reason", err.Error())
		d.to.Event(time.Now(), "legacy_clock", err.Error())
	}
}

// hint is what a message that was taken is told all the same: fields that were left out, or a clock that is wrong.
func (d *legacyDevice) hint(m legacyMessage) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case len(m.left) > 0:
		return m.left[0]
	case d.counts.LateSeconds != 0:
		return &errLegacyLate{d.late.by.Round(time.Second), d.late.local}
	}
	return nil
}
