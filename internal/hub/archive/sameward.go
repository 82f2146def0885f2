package archive

import (
	"context"
	"database/sql"

	"vitalseal/internal/hub/archive/attribution"
	"vitalseal/internal/hub/directory"
	"vitalseal/internal/hub/sealdb"
)

// wardWindow is how far back WithinWard looks: a stay that was cut short by as much as may be backdated is seen for as long again.
const wardWindow = 2 * directory.MaxBackdate

// WithinWard reports whether a move of readings stays within one ward: source and target were in it, and in no other, for wardWindow.
// One look at where they lie now would be passed by a transfer, one at where they lay in the span by a transfer that is entered
// late. It is false for a patient who was in no bed in that time. Readings of no patient are within the ward if their sensor stood at
// beds of it alone in that time, and at one of them in all of the span.
func (s *Archive) WithinWard(ctx context.Context, m attribution.Move) (bool, error) {
	target, err := s.wardsOf(ctx, m.To)
	if err != nil {
		return false, sealdb.Named("ward of a move", err)
	}
	var source []string
	if m.From == sealdb.Unassigned {
		source, err = s.wardsOfSensor(ctx, m)
	} else {
		source, err = s.wardsOf(ctx, m.From)
	}
	return err == nil && len(source) == 1 && len(target) == 1 && source[0] != "" && source[0] == target[0], sealdb.Named("ward of a move", err)
}

// wardsOf are the wards in which a patient lay in the last wardWindow.
//
//defence:ward-history a move of readings looks at where both patients were, not only where they are
func (s *Archive) wardsOf(ctx context.Context, patient string) ([]string, error) {
	return sealdb.List(ctx, s.db.DB, func(r *sql.Rows) (ward string, err error) { return ward, r.Scan(&ward) },
		`SELECT DISTINCT b.ward FROM stays s JOIN beds b ON b.id = s.bed WHERE s.patient = ? AND (s.ends IS NULL OR s.ends > ?)`,
		patient, sealdb.Micro(s.db.Now().Add(-wardWindow)))
}

// wardsOfSensor are the wards in which the sensor of a move stood in the last wardWindow; "" is one of them if it was at no bed in a
// part of the span.
func (s *Archive) wardsOfSensor(ctx context.Context, m attribution.Move) (wards []string, err error) {
	type placed struct {
		begins int64
		ends   *int64
		ward   string
	}
	all, err := sealdb.List(ctx, s.db.DB, func(r *sql.Rows) (p placed, err error) { return p, r.Scan(&p.begins, &p.ends, &p.ward) },
		`SELECT p.begins, p.ends, b.ward FROM placements p JOIN beds b ON b.id = p.bed WHERE p.device = ? AND (p.ends IS NULL OR p.ends > ?) ORDER BY p.begins`,
		m.Sensor, sealdb.Micro(s.db.Now().Add(-wardWindow)))
	if err != nil {
		return nil, err
	}
	covered, seen := sealdb.Micro(m.Begin), map[string]bool{}
	for _, p := range all {
		if !seen[p.ward] {
			seen[p.ward] = true
			wards = append(wards, p.ward)
		}
		switch {
		case p.begins > covered:
		case p.ends == nil:
			covered = sealdb.Micro(m.End)
		default:
			covered = max(covered, *p.ends)
		}
	}
	if covered < sealdb.Micro(m.End) {
		wards = append(wards, "")
	}
	return wards, nil
}
