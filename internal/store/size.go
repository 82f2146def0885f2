package store

import (
	"context"
	"errors"
)

// Size is what the chunk partitions take on disk.
type Size struct {
	Used int64 // bytes in use
	Free int64 // bytes in the files that are free for what comes next
}

// Size counts the pages of all partitions, tables, indexes and bookkeeping included; write-ahead logs are not.
func (s *Store) Size(ctx context.Context) (total Size, err error) {
	names, _ := s.parts.all()
	for _, name := range names {
		if err := s.sizeOf(ctx, name, &total); err != nil {
			return Size{}, named("size", err)
		}
	}
	return total, nil
}

func (s *Store) sizeOf(ctx context.Context, name string, total *Size) error {
	part, err := s.parts.acquire(ctx, name, false)
	if err != nil {
		return err
	}
	defer s.parts.release(part)
	var page, pages, free int64
	err = errors.Join(part.read.QueryRowContext(ctx, "PRAGMA page_size").Scan(&page),
		part.read.QueryRowContext(ctx, "PRAGMA page_count").Scan(&pages),
		part.read.QueryRowContext(ctx, "PRAGMA freelist_count").Scan(&free))
	total.Used += (pages - free) * page
	total.Free += free * page
	return err
}
