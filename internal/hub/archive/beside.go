package archive

import (
	"context"
	"database/sql"
	"math"
	"strings"
	"time"

	"vitalseal/internal/hub/access"
	"vitalseal/internal/hub/sealdb"
	"vitalseal/internal/measurement/vitals"
)

// CuffModel is the model of the sensors that measure now and then. Two of them never disagree.
const CuffModel = "MPS20N0040D"

// Beside says what must be heard for a verdict on a patient's readings in [from, to): since is when
// to begin, so that it is known which sensor counts and, where several that are no cuffs stood at
// the patient's beds, which of them disagreed before it fell silent (vitals.DoubtFor). left is when
// sensors were taken off the patient's beds, ascending, also those that were put there again later:
// what vitals.Choose and vitals.Chooser.Left take. The grant must allow access.ViewPatient or access.ViewDisplay on the patient.
func (s *Archive) Beside(ctx context.Context, g access.Grant, patient string, from, to time.Time) (since time.Time, left map[string][]time.Time, err error) {
	if err := s.db.NumbersAllowed(g, patient); err != nil {
		return time.Time{}, nil, sealdb.Named("beside", err)
	}
	const open = int64(math.MaxInt64)
	ends, several := map[string][]int64{}, 0
	err = sealdb.Each(ctx, s.db, `SELECT d.id, d.model, p.begins, s.begins, coalesce(p.ends, ?1), coalesce(s.ends, ?1)
		FROM stays s JOIN placements p ON p.bed = s.bed JOIN devices d ON d.id = p.device
		WHERE s.patient = ?2 AND d.kind = 'sensor' AND s.begins < ?4 AND p.begins < ?4 AND coalesce(s.ends, ?1) > ?3 AND coalesce(p.ends, ?1) > ?3
		AND p.begins < coalesce(s.ends, ?1) AND s.begins < coalesce(p.ends, ?1)
		ORDER BY d.id, CASE WHEN p.begins > s.begins THEN p.begins ELSE s.begins END`, func(rows *sql.Rows) error {
		var id, model string
		var placed, lay, taken, gone int64
		if err := rows.Scan(&id, &model, &placed, &lay, &taken, &gone); err != nil {
			return err
		}
		all := ends[id]
		if all == nil && !strings.EqualFold(model, CuffModel) {
			several++
		}
		begins, end := max(placed, lay), min(taken, gone)
		if n := len(all); n > 0 && begins <= all[n-1] { // it moved with the patient, without a time between
			all[n-1] = max(all[n-1], end)
		} else {
			all = append(all, end)
		}
		ends[id] = all
		return nil
	}, open, patient, sealdb.Micro(from.Add(-vitals.DoubtFor)), sealdb.Micro(to))
	if err != nil {
		return time.Time{}, nil, sealdb.Named("beside", err)
	}
	since = from.Add(-vitals.ChooseContext)
	if several > 1 {
		since = from.Add(-vitals.DoubtFor)
	}
	left = map[string][]time.Time{}
	for id, all := range ends {
		for _, at := range all {
			if at != open {
				left[id] = append(left[id], time.UnixMicro(at))
			}
		}
	}
	return since, left, nil
}
