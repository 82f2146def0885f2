package gateway

import (
	"fmt"
	"time"
)

// A device whose clock shows local time and says no zone sends entries that are wrong by a whole number of quarter hours. East of UTC they
// lie in the future and are refused. West of it they look like a backlog, and are stored hours ago, where no one looks: the device is
// told so after zoneMessages live messages in a row that are late by the same.
const (
	zoneStep      = 15 * time.Minute
	zoneTolerance = 10 * time.Second
	zoneMost      = 14 * time.Hour
	zoneMessages  = 3
)

// legacyZone is what is known of a device's clock.
type legacyZone struct {
	late time.Duration // of the messages so far, rounded; 0: not late
	seen int           // in a row
}

// errLegacyZone is what the device is told; the message is taken.
type errLegacyZone struct{ late time.Duration }

func (e *errLegacyZone) Error() string {
	return fmt.Sprintf("created_at is %v late, message after message: it is local time without its offset; send UTC, an offset such as -05:00, or the parameter timezone", e.late)
}

// watchZone notes how late a live message was. The caller holds mu.
func (d *legacyDevice) watchZone(at, now time.Time) {
	late := now.Sub(at)
	rounded := late.Round(zoneStep)
	off := late - rounded
	switch {
	case at.IsZero() || rounded <= 0 || rounded > zoneMost || off > zoneTolerance || off < -zoneTolerance:
		d.zone = legacyZone{}
	case rounded == d.zone.late:
		d.zone.seen++
	default:
		d.zone = legacyZone{rounded, 1}
	}
	before := d.counts.LateSeconds
	d.counts.LateSeconds = 0
	if d.zone.seen >= zoneMessages {
		d.counts.LateSeconds = int64(d.zone.late / time.Second)
	}
	if d.counts.LateSeconds != 0 && d.counts.LateSeconds != before {
		err := &errLegacyZone{d.zone.late}
		d.counts.Reason = err.Error()
		d.log.Warn("legacy device: its clock shows local time", "sensor", d.id, "reason", err.Error())
		d.w.event(wall(), "legacy_clock", fmt.Sprintf("created_at is %v late, message after message: local time without its offset?", d.zone.late))
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
		return &errLegacyZone{d.zone.late}
	}
	return nil
}
