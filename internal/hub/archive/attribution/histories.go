package attribution

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"math"
	"slices"
	"sync"
	"time"

	"vitalseal/internal/hub/sealdb"
)

// histories caches, for each sensor, whose it was when: its placements crossed with the stays in those beds.
type histories struct {
	mu sync.RWMutex // guards m
	m  map[string]SensorHistory
}

// SensorHistory is whose a sensor was when, and what was said of its clock.
type SensorHistory struct {
	gen    uint64    // of the places; of an older one it is stale
	Places int64     // in PostgreSQL: the generation that it was read in
	State  string    // of the device; empty when it is not in the inventory
	lay    intervals // whose its readings are: stood, with the spans that were moved to another patient
	stood  intervals // at whose bed it stood, by the placements and the stays alone
	// believed are those of stood as the hub went by them: what was entered later than it was so ends one only then.
	believed intervals

	settled []settlement // what was said of its gateway's clock, oldest first
}

// interval says that the sensor stood at patient's bed in [begins, ends).
type interval struct {
	begins, ends int64
	patient      string
}

// intervals are those of one sensor, ascending by their begin.
type intervals []interval

func (a *histories) init() { a.m = map[string]SensorHistory{} }

// get is a history of that generation.
func (a *histories) get(sensor string, gen uint64) (h SensorHistory, ok bool) {
	a.mu.RLock()
	defer a.mu.RUnlock()
	h, ok = a.m[sensor]
	return h, ok && h.gen == gen
}

func (a *histories) put(sensor string, h SensorHistory) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.m) >= sealdb.MaxCached {
		clear(a.m)
	}
	a.m[sensor] = h
}

// PlacesOf is whose a sensor was when, and its state in the inventory.
func (s *Attribution) PlacesOf(ctx context.Context, sensor string) (SensorHistory, error) {
	gen := s.db.PlaceChanges()
	h, ok := s.where.get(sensor, gen)
	if !ok || s.db.Deaf() {
		// The generation is from before the read: a change meanwhile makes what is read stale at once.
		var err error
		if h, err = s.history(ctx, sensor); err != nil {
			return SensorHistory{}, err
		}
		h.gen = gen
		s.where.put(sensor, h)
	}
	return h, nil
}

// whose is the patient whose reading it is that the sensor took at µs at, or Unassigned.
func (h SensorHistory) whose(at int64) string { return h.lay.whose(at) }

// during is whose readings the sensor took from µs first to µs last, if that was one and the same all the time.
func (h SensorHistory) during(first, last int64) (patient string, steady bool) {
	return h.lay.during(first, last)
}

func (all intervals) whose(at int64) string {
	for i := len(all) - 1; i >= 0; i-- {
		if in := all[i]; at >= in.begins && at < in.ends {
			return in.patient
		}
	}
	return sealdb.Unassigned
}

func (all intervals) during(first, last int64) (patient string, steady bool) {
	patient = all.whose(first)
	for _, in := range all {
		// A boundary inside (first, last] matters only if another patient, or none, is there from then on.
		for _, at := range [2]int64{in.begins, in.ends} {
			if at > first && at <= last && all.whose(at) != patient {
				return patient, false
			}
		}
	}
	return patient, true
}

func (s *Attribution) history(ctx context.Context, sensor string) (h SensorHistory, err error) {
	if s.db.IsShared() {
		if err := s.db.QueryRowContext(ctx, SelectPlaces).Scan(&h.Places); err != nil {
			return h, err
		}
	}
	if err := s.clockHistory(ctx, sensor, &h); err != nil {
		return h, err
	}
	switch err := s.db.QueryRowContext(ctx, "SELECT state FROM devices WHERE id = ?", sensor).Scan(&h.State); {
	case errors.Is(err, sql.ErrNoRows):
		return h, nil // not in the inventory: ingest decides whether to listen to it
	case err != nil:
		return h, err
	}
	if state, ok := s.dir.BarredDevice(sensor); ok {
		h.State = state
	}
	rows, err := s.db.QueryContext(ctx, `SELECT p.begins, s.begins, coalesce(p.ends, ?1), coalesce(s.ends, ?1),
		coalesce(p.told, p.ends, ?1), coalesce(s.told, s.ends, ?1), s.patient
		FROM placements p JOIN stays s ON s.bed = p.bed
		WHERE p.device = ?2 AND s.begins < coalesce(p.told, p.ends, ?1) AND p.begins < coalesce(s.told, s.ends, ?1)`,
		int64(math.MaxInt64), sensor)
	if err != nil {
		return h, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		var in interval
		var begins, ends, toldP, toldS int64 // of the stay; those of the placement first
		if err := rows.Scan(&in.begins, &begins, &in.ends, &ends, &toldP, &toldS, &in.patient); err != nil {
			return h, err
		}
		in.begins, in.ends = max(in.begins, begins), min(in.ends, ends)
		if in.begins < in.ends {
			h.stood = append(h.stood, in)
		}
		h.believed = append(h.believed, interval{in.begins, min(toldP, toldS), in.patient})
	}
	if err := rows.Err(); err != nil {
		return h, err
	}
	slices.SortFunc(h.stood, func(a, b interval) int { return cmp.Compare(a.begins, b.begins) })
	moves, err := s.movesOfSensor(ctx, sensor)
	h.lay = moved(slices.Clone(h.stood), sensor, moves)
	return h, err
}

// clockHistory adds what was said of the clock that a sensor's times are read from.
func (s *Attribution) clockHistory(ctx context.Context, sensor string, h *SensorHistory) error {
	return sealdb.Each(ctx, s.db, "SELECT low, high, clock FROM clock_settled WHERE sensor = ? ORDER BY at, low, high", func(rows *sql.Rows) error {
		var x settlement
		var clock int64
		err := rows.Scan(&x.low, &x.high, &clock)
		x.clock = time.Duration(clock) * time.Microsecond
		h.settled = append(h.settled, x)
		return err
	}, sensor)
}
