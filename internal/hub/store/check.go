package store

import (
	"context"
	"database/sql"

	"vitalseal/internal/hub/archive/days"
	"vitalseal/internal/hub/sealdb"
)

// Check reads the whole store: what the database itself can check, that every block and chunk opens under its patient's key and is where it says,
// that no sequence number is there twice, and that the sums are those of the chunks. It tells progress of every partition. It
// gives out no value.
func (s *Store) Check(ctx context.Context, progress func(partition string)) (c days.Checked, err error) {
	defer s.Pause()()
	if !s.db.IsShared() {
		for _, one := range []struct {
			name string
			db   *sql.DB
		}{{"directory", s.db.DB}, {"channels", s.Registry.File()}} {
			progress(one.name)
			if err := c.Integrity(ctx, one.name, one.db); err != nil {
				return c, sealdb.Named("check", err)
			}
		}
	}
	if err := s.days.Check(ctx, &c, progress); err != nil {
		return c, sealdb.Named("check", err)
	}
	names, _, err := s.days.All(ctx)
	if err != nil {
		return c, sealdb.Named("check", err)
	}
	for _, name := range names {
		progress(name)
		if err := s.days.CheckPartition(ctx, name, &c); err != nil {
			if ctx.Err() != nil {
				return c, sealdb.Named("check", ctx.Err())
			}
			c.Wrong("partition %s: %v", name, err) // and on with the next: one damaged day says nothing about the others
		}
	}
	return c, nil
}
