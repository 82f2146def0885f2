package dashboard

import (
	"context"
	"slices"
	"strings"
	"time"

	"vitalseal/internal/hub/access"
	"vitalseal/internal/hub/archive"
	"vitalseal/internal/measurement/vitals"
)

const (
	// maxRivals bounds the bundles that are read for sensors that disagreed lately: two sensors,
	// one a second, and room for others.
	maxRivals = 1200
)

// bedside is which sensors are at a patient's bed.
type bedside struct {
	all   []string // SPIFFE ids
	cuffs int      // among them
}

// sensorsOf are the sensors at a patient's bed now; none while the patient has no bed.
func (h *Handler) sensorsOf(ctx context.Context, patient string) (b bedside, err error) {
	p, err := h.cfg.Store.Patient(ctx, patient)
	if err != nil || p.Bed == "" {
		return b, err
	}
	sensors, err := h.cfg.Store.SensorsAt(ctx, p.Bed)
	for _, s := range sensors {
		b.all = append(b.all, s.ID)
		if strings.EqualFold(s.Model, archive.CuffModel) {
			b.cuffs++
		}
	}
	return b, err
}

// hearRivals has a chooser hear, where a bed has several sensors for one purpose, what those said
// that may have fallen silent: within vitals.DoubtFor, and of cuffs within the hour in which their
// measurements stand. take is called with it in the order of its time.
func (h *Handler) hearRivals(ctx context.Context, g access.Grant, id string, now time.Time, take func([]vitals.Said)) error {
	at, err := h.sensorsOf(ctx, id)
	if err != nil {
		return err
	}
	theirs := func(from, to time.Time, most int) error {
		said, err := h.cfg.Store.Said(ctx, g, id, from, to, most)
		take(slices.DeleteFunc(said, func(s vitals.Said) bool { return !slices.Contains(at.all, s.Sensor) }))
		return err
	}
	if len(at.all)-at.cuffs > 1 {
		if err := theirs(now.Add(-vitals.DoubtFor), now.Add(aheadSpan), maxRivals); err != nil {
			return err
		}
	}
	if at.cuffs < 2 {
		return nil
	}
	points, err := h.cfg.Store.Trends(ctx, g, id, vitals.Systolic, now.Add(-vitals.SpotStaleAfter), now.Add(aheadSpan), time.Minute)
	if err != nil {
		return err
	}
	for _, p := range points {
		if p.Count == 0 {
			continue
		}
		if err := theirs(p.At, p.At.Add(time.Minute), maxLatest); err != nil {
			return err
		}
	}
	return nil
}
