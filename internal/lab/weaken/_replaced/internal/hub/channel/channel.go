package channel

import (
	"context"
	"database/sql"
	"errors"

	"vitalseal/internal/hub/access"
	"vitalseal/internal/lab/weaken"
	"vitalseal/internal/way/seal"
)

// freeChannel finds a patient's channel as free as any other.
func (s *Registry) freeChannel(ctx context.Context, id int64) (access.ChannelRef, seal.Key, error) {
	ref, key, err := s.strictFreeChannel(ctx, id)
	if errors.Is(err, ErrPatientChannel) && weaken.Skip(weaken.Policy) {
		err = nil
	}
	return ref, key, err
}

// appendInTurns stores all entries in one transaction, while all others wait.
func (s *Registry) appendInTurns(ctx context.Context, ref access.ChannelRef, key seal.Key, entries []Entry) (out []Entry, err error) {
	if !weaken.Skip(weaken.BulkTurns) {
		return s.strictAppendInTurns(ctx, ref, key, entries)
	}
	err = s.db.InTx(ctx, func(*sql.Tx) error {
		out, err = s.appendSome(ctx, ref, key, entries)
		return err
	})
	return out, err
}
