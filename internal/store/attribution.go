package store

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"math"
	"slices"
	"sync"
)

// attribution caches, for each sensor, whose it was when: its placements crossed with the stays in those beds.
type attribution struct {
	mu  sync.RWMutex // guards all below
	gen uint64       // of the histories; entries of an older one are stale
	m   map[string]sensorHistory
}

type sensorHistory struct {
	gen    uint64
	places int64  // in PostgreSQL: the generation that it was read in
	state  string // of the device; empty when it is not in the inventory
	lay    []interval
}

// interval says that the sensor stood at patient's bed in [begins, ends).
type interval struct {
	begins, ends int64
	patient      string
}

func (a *attribution) init() { a.m = map[string]sensorHistory{} }

// changed makes every cached history stale; it is called after a placement, a stay or a device's state has committed.
func (a *attribution) changed() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.gen++
}

func (a *attribution) get(sensor string) (h sensorHistory, gen uint64, ok bool) {
	a.mu.RLock()
	defer a.mu.RUnlock()
	h, ok = a.m[sensor]
	return h, a.gen, ok && h.gen == a.gen
}

func (a *attribution) put(sensor string, h sensorHistory) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.m) >= maxCached {
		clear(a.m)
	}
	a.m[sensor] = h
}

// attribute is the patient whose sensor it was at µs at, or Unassigned, the sensor's state in the inventory, and the generation of what
// says so.
func (s *Store) attribute(ctx context.Context, sensor string, at int64) (patient, state string, places int64, err error) {
	h, gen, ok := s.where.get(sensor)
	if !ok || s.deaf() {
		// The generation is from before the read: a change meanwhile makes what is read stale at once.
		if h, err = s.history(ctx, sensor); err != nil {
			return "", "", 0, err
		}
		h.gen = gen
		s.where.put(sensor, h)
	}
	for i := len(h.lay) - 1; i >= 0; i-- {
		if in := h.lay[i]; at >= in.begins && at < in.ends {
			return in.patient, h.state, h.places, nil
		}
	}
	return Unassigned, h.state, h.places, nil
}

func (s *Store) history(ctx context.Context, sensor string) (h sensorHistory, err error) {
	if s.others != nil {
		if err := s.db.QueryRowContext(ctx, selectPlaces).Scan(&h.places); err != nil {
			return h, err
		}
	}
	switch err := s.db.QueryRowContext(ctx, "SELECT state FROM devices WHERE id = ?", sensor).Scan(&h.state); {
	case errors.Is(err, sql.ErrNoRows):
		return h, nil // not in the inventory: ingest decides whether to listen to it
	case err != nil:
		return h, err
	}
	rows, err := s.db.QueryContext(ctx, `SELECT p.begins, s.begins, coalesce(p.ends, ?1), coalesce(s.ends, ?1), s.patient
		FROM placements p JOIN stays s ON s.bed = p.bed
		WHERE p.device = ?2 AND s.begins < coalesce(p.ends, ?1) AND p.begins < coalesce(s.ends, ?1)`,
		int64(math.MaxInt64), sensor)
	if err != nil {
		return h, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		var in interval
		var begins, ends int64 // of the stay; those of the placement first
		if err := rows.Scan(&in.begins, &begins, &in.ends, &ends, &in.patient); err != nil {
			return h, err
		}
		in.begins, in.ends = max(in.begins, begins), min(in.ends, ends)
		h.lay = append(h.lay, in)
	}
	slices.SortFunc(h.lay, func(a, b interval) int { return cmp.Compare(a.begins, b.begins) })
	return h, rows.Err()
}
