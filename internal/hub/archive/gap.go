package archive

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math"
	"time"

	"vitalseal/internal/hub/access"
	"vitalseal/internal/hub/archive/attribution"
	"vitalseal/internal/hub/archive/days"
	"vitalseal/internal/hub/sealdb"
	"vitalseal/internal/measurement/vitals"
	"vitalseal/internal/way/seal"
)

// GapStep is the part of the directory's schema about chunks that will never arrive.
const GapStep = `
CREATE TABLE gaps (
  id INTEGER PRIMARY KEY AUTOINCREMENT, sensor TEXT NOT NULL, signal INTEGER NOT NULL, epoch BLOB NOT NULL,
  first INTEGER NOT NULL, last INTEGER NOT NULL, begins INTEGER NOT NULL, ends INTEGER NOT NULL, reason TEXT NOT NULL, noted INTEGER NOT NULL,
  UNIQUE (sensor, signal, epoch, first, last));
`

// maxGaps bounds the gaps kept of one sensor; the oldest go first.
const maxGaps = 10_000

// Gap says that consecutive chunks of one epoch will never arrive: their gateway had to drop them, or lost them. It holds no
// reading and no name.
type Gap struct {
	Sensor      string // SPIFFE id; set by Gaps
	Signal      vitals.Signal
	Epoch       seal.EpochID
	First, Last uint64    // sequence numbers
	From, To    time.Time // of the first and the last chunk
	Reason      string
	Noted       time.Time // when the hub heard of it; set by Gaps
}

// SaveGaps notes what a sensor's gateway says will never arrive, durably. The same again is no error. That some of it is stored
// all the same does no harm: Delivery counts what is missing.
func (s *Archive) SaveGaps(ctx context.Context, sensor string, gaps []Gap) error {
	if err := sealdb.CheckIdentity("sensor", sensor); err != nil {
		return sealdb.Named("save gaps", err)
	}
	for _, g := range gaps {
		if !g.Signal.Valid() || g.First > g.Last || g.Last > seal.MaxSequence || len(g.Reason) > 64 {
			return sealdb.Named("save gaps", fmt.Errorf("%w: signal, sequence numbers or reason", sealdb.ErrInvalid))
		}
	}
	return sealdb.Named("save gaps", s.db.InTx(ctx, func(tx *sql.Tx) error {
		for _, g := range gaps {
			if _, err := tx.ExecContext(ctx, `INSERT INTO gaps (sensor, signal, epoch, first, last, begins, ends, reason, noted)
				VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING`, sensor, uint8(g.Signal), g.Epoch[:], int64(g.First), int64(g.Last), // #nosec G115 -- checked above
				sealdb.Micro(g.From), sealdb.Micro(g.To), g.Reason, sealdb.Micro(s.db.Now())); err != nil {
				return err
			}
		}
		_, err := tx.ExecContext(ctx, `DELETE FROM gaps WHERE sensor = ?1 AND id <=
			(SELECT id FROM gaps WHERE sensor = ?1 ORDER BY id DESC LIMIT 1 OFFSET ?2)`, sensor, maxGaps)
		return err
	}))
}

// Gaps lists what will never arrive, newest first, at most limit (1 to 10,000); of all sensors if none is named.
func (s *Archive) Gaps(ctx context.Context, sensor string, limit int) (all []Gap, err error) {
	rows, err := s.db.QueryContext(ctx, `SELECT sensor, signal, epoch, first, last, begins, ends, reason, noted FROM gaps
		WHERE ?1 = '' OR sensor = ?1 ORDER BY id DESC LIMIT ?2`, sensor, min(max(limit, 1), maxGaps))
	if err != nil {
		return nil, sealdb.Named("gaps", err)
	}
	defer func() { err = sealdb.Named("gaps", errors.Join(err, rows.Close())) }()
	for rows.Next() {
		g, err := scanGap(rows)
		if err != nil {
			return nil, err
		}
		all = append(all, g)
	}
	return all, rows.Err()
}

// gapEnds is a gap's end; an unknown one is its beginning.
const gapEnds = "(CASE WHEN g.ends < g.begins THEN g.begins ELSE g.ends END)"

// GapsOf are the stretches in [from, to) for which a patient's readings will never come, oldest first, at most limit (1 to 10,000): those
// of the sensors that stood at the patient's bed, as far as they did. From and To are cut to that. The grant must allow
// access.ViewPatient or access.ViewDisplay on the patient.
func (s *Archive) GapsOf(ctx context.Context, g access.Grant, patient string, from, to time.Time, limit int) (all []Gap, err error) {
	if err := s.db.NumbersAllowed(g, patient); err != nil {
		return nil, sealdb.Named("gaps of a patient", err)
	}
	err = sealdb.Each(ctx, s.db, `SELECT g.sensor, g.signal, g.epoch, g.first, g.last, g.begins, g.ends, g.reason, g.noted, p.begins, coalesce(p.ends, ?1), s.begins, coalesce(s.ends, ?1)
		FROM stays s JOIN placements p ON p.bed = s.bed JOIN gaps g ON g.sensor = p.device
		WHERE s.patient = ?2 AND `+gapEnds+` >= ?3 AND g.begins < ?4 AND `+gapEnds+` >= p.begins AND g.begins < coalesce(p.ends, ?1)
		AND `+gapEnds+` >= s.begins AND g.begins < coalesce(s.ends, ?1) ORDER BY g.begins, g.id LIMIT ?5`, func(rows *sql.Rows) error {
		var times [4]int64 // of the placement and of the stay
		gap, err := scanGap(rows, &times[0], &times[1], &times[2], &times[3])
		if err != nil {
			return err
		}
		gap.To = sealdb.Later(gap.From, gap.To) // one whose end is unknown
		gap.From = sealdb.Later(gap.From, sealdb.Later(sealdb.FromMicro(times[0]), sealdb.FromMicro(times[2])))
		gap.To = sealdb.Earlier(gap.To, sealdb.Earlier(sealdb.FromMicro(times[1]), sealdb.FromMicro(times[3])))
		all = append(all, gap)
		return nil
	}, int64(math.MaxInt64), patient, sealdb.Micro(from), sealdb.Micro(to), min(max(limit, 1), maxGaps))
	return all, sealdb.Named("gaps of a patient", err)
}

func scanGap(rows *sql.Rows, more ...any) (g Gap, err error) {
	var signal uint8
	var epoch []byte
	var first, last, begins, ends, noted int64
	if err := rows.Scan(append([]any{&g.Sensor, &signal, &epoch, &first, &last, &begins, &ends, &g.Reason, &noted}, more...)...); err != nil {
		return g, err
	}
	copy(g.Epoch[:], epoch)
	g.Signal, g.First, g.Last = vitals.Signal(signal), uint64(first), uint64(last) // #nosec G115 -- SaveGaps checked
	g.From, g.To, g.Noted = sealdb.FromMicro(begins), sealdb.FromMicro(ends), sealdb.FromMicro(noted)
	return g, nil
}

// gapsByEpoch are all gaps, for Delivery: the sequence numbers that they name, without overlaps.
func (s *Archive) gapsByEpoch(ctx context.Context) (all map[attribution.StreamKey]days.Taken, err error) {
	all = map[attribution.StreamKey]days.Taken{}
	err = sealdb.Each(ctx, s.db, "SELECT sensor, signal, epoch, first, last, begins, ends, reason, noted FROM gaps", func(rows *sql.Rows) error {
		g, err := scanGap(rows)
		if err != nil {
			return err
		}
		key := attribution.StreamKey{Sensor: g.Sensor, Signal: uint8(g.Signal), Epoch: [16]byte(g.Epoch)}
		all[key] = all[key].Add(days.Stretch{Low: int64(g.First), High: int64(g.Last)}) // #nosec G115 -- SaveGaps checked
		return nil
	})
	return all, err
}
