package directory

import (
	"context"
	"database/sql"
	"time"

	"vitalseal/internal/hub/sealdb"
)

// MoverStep notes who ended a placement. Empty: not known, as for what an older hub wrote.
const MoverStep = `
ALTER TABLE placements ADD COLUMN mover TEXT NOT NULL DEFAULT '';
`

// PgMover is MoverStep in PostgreSQL.
var PgMover = sealdb.Step{Up: MoverStep, Down: "ALTER TABLE placements DROP COLUMN mover;"}

// Departure is a sensor that was at a bed and is not there now.
type Departure struct {
	Sensor, Model string // SPIFFE id, and what it is
	At            time.Time
	Bed           string // where it is now; empty: at no bed
	Person        string // id of who moved it; empty: not known
}

// maxDepartures bounds the sensors that are looked at for one bed: the last that left.
const maxDepartures = 16

// Departures are the sensors that left a bed since a time and have not come back, the last first.
func (s *Directory) Departures(ctx context.Context, bed string, since time.Time) ([]Departure, error) {
	rows, err := sealdb.List(ctx, s.db.DB, func(r *sql.Rows) (d Departure, err error) {
		var at int64
		err = r.Scan(&d.Sensor, &d.Model, &at, &d.Person, &d.Bed)
		d.At = sealdb.FromMicro(at)
		return d, err
	}, `SELECT p.device, d.model, p.ends, p.mover, coalesce(n.bed, '') FROM placements p JOIN devices d ON d.id = p.device
		LEFT JOIN placements n ON n.device = p.device AND n.ends IS NULL
		WHERE p.bed = ?1 AND p.ends > ?2 AND p.ends <= ?3 AND d.kind = 'sensor' ORDER BY p.ends DESC, p.device LIMIT ?4`,
		bed, sealdb.Micro(since), sealdb.Micro(s.db.Now()), maxDepartures)
	if err != nil {
		return nil, sealdb.Named("departures", err)
	}
	var out []Departure
	seen := map[string]bool{}
	for _, d := range rows {
		if d.Bed != bed && !seen[d.Sensor] {
			out = append(out, d)
		}
		seen[d.Sensor] = true
	}
	return out, nil
}
