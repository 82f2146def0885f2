package store

import "context"

// Changes counts the changes to the directory. A caller that remembers what followed from it looks
// again when the number has moved; what follows from the clock moves it not.
func (s *Store) Changes() uint64 { return s.db.Changes() }

// HoldReadings stops the storage of readings, of entries of channels and the compaction, or lets
// them go on. Meanwhile Append answers Retry and shows live what is of the present; entries are
// refused with an error for which Full holds. All else is stored.
func (s *Store) HoldReadings(hold bool) { s.db.HoldReadings(hold) }

// Lead runs f whenever this hub is the one of all on the same database that does what name says,
// until ctx ends: at once if no other does. The ctx of f ends when that is so no more, which is
// noticed within seconds; until then another may have begun. With files there is one hub, and it
// always is. Lead returns what f returned for another reason, or nil.
func (s *Store) Lead(ctx context.Context, name string, f func(context.Context) error) error {
	return s.db.Lead(ctx, name, f)
}

// SaveSecret stores a secret of the hub (authority key, recipient key), wrapped by the key store,
// replacing an older one.
func (s *Store) SaveSecret(ctx context.Context, name string, b []byte) error {
	return s.db.SaveSecret(ctx, name, b)
}

// UpdateSecret gives change the stored secret of a name, nil if there is none, and stores what it
// returns; nil leaves what there is. It returns what is stored then. Of several hubs that do so at
// once, each sees what the one before made.
func (s *Store) UpdateSecret(ctx context.Context, name string, change func(old []byte) ([]byte, error)) (now []byte, err error) {
	return s.db.UpdateSecret(ctx, name, change)
}

// DeleteSecret destroys a secret; none is no error.
func (s *Store) DeleteSecret(ctx context.Context, name string) error {
	return s.db.DeleteSecret(ctx, name)
}

// Secret is a stored secret; ErrNotFound if there is none of that name.
func (s *Store) Secret(ctx context.Context, name string) ([]byte, error) {
	return s.db.Secret(ctx, name)
}
