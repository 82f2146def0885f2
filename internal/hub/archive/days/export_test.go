package days

import (
	"context"
	"database/sql"
	"time"

	"vitalseal/internal/hub/sealdb"
)

// RecodeCell decodes a trend and encodes it again.
func RecodeCell(b []byte) ([]byte, error) {
	var c Cell
	if err := c.decode(b); err != nil {
		return nil, err
	}
	return c.encode(), nil
}

// AsVersion1 writes a patient's sums of the day as hubs before version 2 did: all sensors in one,
// and what is asserted among what was measured.
func AsVersion1(ctx context.Context, s *Days, patient string, at time.Time) (changed int, err error) {
	key, err := s.db.Key(ctx, sealdb.PatientKey(patient))
	if err != nil {
		return 0, err
	}
	name := PartitionOf(at)
	d, err := s.Open(ctx, name)
	if err != nil {
		return 0, err
	}
	defer d.Release()
	var subject int64
	if err := d.reader().QueryRowContext(ctx, "SELECT id FROM subjects WHERE name = ?", patient).Scan(&subject); err != nil {
		return 0, err
	}
	old := map[slotKey]*Cell{}
	err = sealdb.Each(ctx, d.reader(), "SELECT minutes, slot, sealed FROM "+d.Table("sums")+" WHERE subject = ?", func(rows *sql.Rows) error {
		var k slotKey
		var sealed sql.RawBytes
		if err := rows.Scan(&k.minutes, &k.slot, &sealed); err != nil {
			return err
		}
		c := new(Cell)
		if err := openCell(c, key, sealed, sumData(patient, name, k)); err != nil {
			return err
		}
		all := c.total()
		for i, a := range all.Asserted {
			all.Measured[i].Merge(a)
			all.Asserted[i] = Aggregate{}
		}
		old[k] = &Cell{Sources: []SourceSums{all}}
		return nil
	}, subject)
	if err != nil {
		return 0, err
	}
	return len(old), s.change(ctx, d, func(tx *sql.Tx) error {
		for k, c := range old {
			if _, err := tx.ExecContext(ctx, "UPDATE "+d.Table("sums")+" SET sealed = ? WHERE subject = ? AND minutes = ? AND slot = ?",
				key.Seal(c.encode(), sumData(patient, name, k)), subject, k.minutes, k.slot); err != nil {
				return err
			}
		}
		return nil
	})
}
