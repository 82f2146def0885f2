package days

import (
	"context"
	"database/sql"
	"errors"
	"slices"

	"vitalseal/internal/hub/sealdb"
	"vitalseal/internal/measurement/vitals"
)

// HoldsAny reports whether a partition has something of one of the patients.
func (s *Days) HoldsAny(ctx context.Context, name string, patients []string) (bool, error) {
	d, err := s.database.Open(ctx, name)
	if err != nil {
		return false, err
	}
	defer d.Release()
	for _, p := range patients {
		var n int
		err := d.reader().QueryRowContext(ctx, "SELECT (SELECT count(*) FROM "+d.Table("blocks")+" WHERE subject = x.id) + (SELECT count(*) FROM "+
			d.Table("recent")+" WHERE subject = x.id) + (SELECT count(*) FROM "+d.Table("sums")+" WHERE subject = x.id) FROM subjects x WHERE name = ?", p).Scan(&n)
		if errors.Is(err, sql.ErrNoRows) {
			continue
		}
		if err != nil || n > 0 {
			return n > 0, err
		}
	}
	return false, nil
}

// ExpireSignals takes out the blocks of some signals, of all patients but those held. What is not in blocks yet is too young.
func (s *Days) ExpireSignals(ctx context.Context, name string, signals []vitals.Signal, held []string) error {
	d, err := s.database.Open(ctx, name)
	if err != nil {
		return err
	}
	defer d.Release()
	var keep []int64
	for _, p := range held {
		var id int64
		if err := d.reader().QueryRowContext(ctx, "SELECT coalesce(max(id), -1) FROM subjects WHERE name = ?", p).Scan(&id); err != nil {
			return err
		}
		keep = append(keep, id)
	}
	removed := int64(0)
	var subjects []int64
	if err := sealdb.Each(ctx, d.reader(), "SELECT DISTINCT subject FROM "+d.Table("blocks"), func(rows *sql.Rows) error {
		var id int64
		err := rows.Scan(&id)
		subjects = append(subjects, id)
		return err
	}); err != nil {
		return err
	}
	for _, id := range subjects {
		if slices.Contains(keep, id) {
			continue
		}
		for _, sig := range signals {
			r, err := d.writer().ExecContext(ctx, "DELETE FROM "+d.Table("blocks")+" WHERE subject = ? AND signal = ?", id, uint8(sig))
			if err != nil {
				return err
			}
			n, err := r.RowsAffected()
			if err != nil {
				return err
			}
			removed += n
		}
	}
	if removed == 0 {
		return nil
	}
	s.db.Log.Info("retention has ended", "partition", name, "blocks", removed)
	return d.shrink(ctx)
}
