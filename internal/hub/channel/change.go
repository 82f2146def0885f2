package channel

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"slices"
	"strings"

	"vitalseal/internal/hub/access"
	"vitalseal/internal/hub/sealdb"
)

// ErrTaken means that an entry of another content has this created_at in the channel already: there it is unique.
var ErrTaken = errors.New("store: the channel has another entry of that time")

// ChannelsOf are the channels that a person made, by id; of "" those that administrators made. No patient's is among them.
func (s *Registry) ChannelsOf(ctx context.Context, owner string) ([]Channel, error) {
	if owner == "" {
		return s.channels(ctx, selectChannel+" WHERE owner IS NULL AND patient IS NULL ORDER BY id")
	}
	return s.channels(ctx, selectChannel+" WHERE owner = ? AND patient IS NULL ORDER BY id", owner)
}

// PublicChannels are the channels that may be read without a key, by id.
func (s *Registry) PublicChannels(ctx context.Context) ([]Channel, error) {
	return s.channels(ctx, selectChannel+" WHERE public AND patient IS NULL ORDER BY id")
}

// ChangeChannel replaces the settings of a free channel: Name to Fields, Public, Place, Metadata, URL and Tags. The grant must allow
// access.ManageChannel on it.
func (s *Registry) ChangeChannel(ctx context.Context, g access.Grant, c Channel) (Channel, error) {
	if err := s.mayChange(ctx, g, c.ID); err != nil {
		return Channel{}, sealdb.Named("change channel", err)
	}
	if err := checkChannel(c); err != nil {
		return Channel{}, sealdb.Named("change channel", err)
	}
	key, err := s.db.Key(ctx, sealdb.ChannelKey(c.ID))
	if err != nil {
		return Channel{}, sealdb.Named("change channel", err)
	}
	text, err := json.Marshal(textOf(c))
	if err != nil {
		return Channel{}, sealdb.Named("change channel", err)
	}
	err = sealdb.Affected(s.db.ExecContext(ctx, "UPDATE channels SET sealed = ?, public = ?, updated = ? WHERE id = ? AND patient IS NULL",
		key.Seal(text, sealdb.Associated("channel", sealdb.ChannelKey(c.ID))), c.Public, sealdb.Micro(s.db.Now()), c.ID))
	if err != nil {
		return Channel{}, sealdb.Named("change channel", err)
	}
	return s.Channel(ctx, c.ID)
}

// ClearChannel takes all entries away; their numbers are not used again. None is read from then on; what they take on disk, and of
// the quota, is given back within seconds, or minutes for millions. The grant must allow access.ManageChannel.
func (s *Registry) ClearChannel(ctx context.Context, g access.Grant, id int64) error {
	if err := s.mayChange(ctx, g, id); err != nil {
		return sealdb.Named("clear channel", err)
	}
	err := s.apart.locked(ctx, func(tx *sql.Tx) error {
		last, err := lockStock(ctx, tx, kindChannel, id, "")
		if err != nil {
			return err
		}
		return toSweep(ctx, tx, kindChannel, id, last)
	})
	s.kickSweep()
	return sealdb.Named("clear channel", err)
}

// DeleteChannel takes a free channel away, with its API keys and the key that sealed it, so that its entries can be read no more;
// they are taken away as ClearChannel does. The grant must allow
// access.ManageChannel.
func (s *Registry) DeleteChannel(ctx context.Context, g access.Grant, id int64) error {
	if err := s.mayChange(ctx, g, id); err != nil {
		return sealdb.Named("delete channel", err)
	}
	err := s.db.InTx(ctx, func(tx *sql.Tx) error {
		if _, err := tx.ExecContext(ctx, "DELETE FROM api_keys WHERE channel = ?", id); err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, "DELETE FROM keys WHERE name = ?", sealdb.ChannelKey(id)); err != nil {
			return err
		}
		return sealdb.Affected(tx.ExecContext(ctx, "DELETE FROM channels WHERE id = ? AND patient IS NULL", id))
	})
	s.db.ForgetKeys(func(name string) bool {
		return name == sealdb.ChannelKey(id) || strings.HasPrefix(name, EnvelopeKeys(id))
	})
	if err == nil {
		err = s.sweepGone(ctx, kindChannel, id)
	}
	return sealdb.Named("delete channel", err)
}

// mayChange is the gate in front of a free channel's settings.
func (s *Registry) mayChange(ctx context.Context, g access.Grant, id int64) error {
	if err := s.db.Allowed(g, access.ManageChannel, access.OnChannel(id)); err != nil {
		return err
	}
	ref, err := s.ChannelRef(ctx, id)
	if err == nil && ref.Patient != "" {
		err = ErrPatientChannel
	}
	return err
}

// EntriesByID are the entries of a free channel with ids in [low, high], ascending by id: the first limit, or with newest the last
// limit. limit <= 0 or above 8,000 means 8,000. The grant must allow access.ViewChannel on the channel.
func (s *Registry) EntriesByID(ctx context.Context, g access.Grant, channel, low, high int64, limit int, newest bool) ([]Entry, error) {
	if err := s.db.Allowed(g, access.ViewChannel, access.OnChannel(channel)); err != nil {
		return nil, sealdb.Named("entries", err)
	}
	_, key, err := s.freeChannel(ctx, channel)
	if err != nil {
		return nil, sealdb.Named("entries", err)
	}
	st, err := s.standing(ctx, kindChannel, channel)
	if err != nil {
		return nil, sealdb.Named("entries", err)
	}
	low, high = max(low, st.cleared+1), min(high, st.last) // what is above is of a bulk update that is being stored
	if limit <= 0 || limit > maxEntries {
		limit = maxEntries
	}
	order := "ASC"
	if newest {
		order = "DESC"
	}
	all, err := sealdb.List(ctx, s.apart.DB, entryScanner(key, channel),
		"SELECT id, created, sealed FROM entries WHERE channel = ? AND id >= ? AND id <= ? ORDER BY id "+order+" LIMIT ?", channel, low, high, limit)
	if newest {
		slices.Reverse(all)
	}
	return all, sealdb.Named("entries", err)
}
