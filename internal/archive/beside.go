package archive

import (
	"context"
	"database/sql"
	"math"
	"strings"
	"time"

	"vitalseal/internal/access"
	"vitalseal/internal/sealdb"
	"vitalseal/internal/vitals"
)

// CuffModel is the model of the sensors that measure now and then. Two of them never disagree.
const CuffModel = "MPS20N0040D"

// Beside says what must be heard for a verdict on a patient's readings in [from, to): since is when
// to begin, so that it is known which sensor counts and, where several that are no cuffs stood at
// the patient's beds, which of them disagreed before it fell silent (vitals.DoubtFor). left is when
// each of these was taken off the patient's bed for good, and without those still there: what
// vitals.Choose takes. The grant must allow access.ViewPatient or access.ViewDisplay on the patient.
func (s *Archive) Beside(ctx context.Context, g access.Grant, patient string, from, to time.Time) (since time.Time, left map[string]time.Time, err error) {
	if err := s.db.NumbersAllowed(g, patient); err != nil {
		return time.Time{}, nil, sealdb.Named("beside", err)
	}
	const open = int64(math.MaxInt64)
	ends, several := map[string]int64{}, 0
	err = sealdb.Each(ctx, s.db, `SELECT d.id, d.model, coalesce(p.ends, ?1), coalesce(s.ends, ?1)
		FROM stays s JOIN placements p ON p.bed = s.bed JOIN devices d ON d.id = p.device
		WHERE s.patient = ?2 AND d.kind = 'sensor' AND s.begins < ?4 AND p.begins < ?4 AND coalesce(s.ends, ?1) > ?3 AND coalesce(p.ends, ?1) > ?3
		AND p.begins < coalesce(s.ends, ?1) AND s.begins < coalesce(p.ends, ?1)`, func(rows *sql.Rows) error {
		var id, model string
		var placed, lay int64
		if err := rows.Scan(&id, &model, &placed, &lay); err != nil {
			return err
		}
		if _, seen := ends[id]; !seen && !strings.EqualFold(model, CuffModel) {
			several++
		}
		ends[id] = max(ends[id], min(placed, lay))
		return nil
	}, open, patient, sealdb.Micro(from.Add(-vitals.DoubtFor)), sealdb.Micro(to))
	if err != nil {
		return time.Time{}, nil, sealdb.Named("beside", err)
	}
	since = from.Add(-vitals.ChooseContext)
	if several > 1 {
		since = from.Add(-vitals.DoubtFor)
	}
	left = map[string]time.Time{}
	for id, at := range ends {
		if at != open {
			left[id] = time.UnixMicro(at)
		}
	}
	return since, left, nil
}
