package store

import (
	"context"
	"database/sql"
)

// Check reads the whole store: what the database itself can check, that every block and chunk opens under its patient's key and is where it says,
// that no sequence number is there twice, and that the sums are those of the chunks. It tells progress of every partition. It
// gives out no value.
func (s *Store) Check(ctx context.Context, progress func(partition string)) (c Checked, err error) {
	defer s.pause()()
	if !s.db.isShared() {
		for _, one := range []struct {
			name string
			db   *sql.DB
		}{{"directory", s.db.DB}, {"channels", s.Registry.File()}} {
			progress(one.name)
			if err := c.integrity(ctx, one.name, one.db); err != nil {
				return c, named("check", err)
			}
		}
	}
	if err := s.days.check(ctx, &c, progress); err != nil {
		return c, named("check", err)
	}
	names, _, err := s.days.all(ctx)
	if err != nil {
		return c, named("check", err)
	}
	for _, name := range names {
		progress(name)
		if err := s.days.checkPartition(ctx, name, &c); err != nil {
			if ctx.Err() != nil {
				return c, named("check", ctx.Err())
			}
			c.wrong("partition %s: %v", name, err) // and on with the next: one damaged day says nothing about the others
		}
	}
	return c, nil
}
