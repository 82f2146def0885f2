package days

import (
	"context"

	"vitalseal/internal/hub/sealdb"
)

// Size is what the chunk partitions take on disk.
type Size struct {
	Used int64 // bytes in use
	Free int64 // bytes in the files that are free for what comes next
}

// Size counts the pages of all partitions, tables, indexes and bookkeeping included; write-ahead logs are not.
func (s *Days) Size(ctx context.Context) (total Size, err error) {
	total, err = s.database.size(ctx)
	return total, sealdb.Named("size", err)
}
