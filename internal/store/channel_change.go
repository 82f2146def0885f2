package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"vitalseal/internal/access"
)

// ErrTaken means that an entry of another content has this created_at in the channel already: there it is unique.
var ErrTaken = errors.New("store: the channel has another entry of that time")

// ChannelsOf are the channels that a person made, by id; of nobody ("") those that administrators made. No patient's is among them.
func (s *Store) ChannelsOf(ctx context.Context, owner string) ([]Channel, error) {
	if owner == "" {
		return s.channels(ctx, selectChannel+" WHERE owner IS NULL AND patient IS NULL ORDER BY id")
	}
	return s.channels(ctx, selectChannel+" WHERE owner = ? AND patient IS NULL ORDER BY id", owner)
}

// PublicChannels are the channels that may be read without a key, by id.
func (s *Store) PublicChannels(ctx context.Context) ([]Channel, error) {
	return s.channels(ctx, selectChannel+" WHERE public AND patient IS NULL ORDER BY id")
}

// ChangeChannel replaces the settings of a free channel: Name to Fields, Public, Place, Metadata, URL and Tags. The grant must allow
// access.ManageChannel on it.
func (s *Store) ChangeChannel(ctx context.Context, g access.Grant, c Channel) (Channel, error) {
	if err := s.mayChange(ctx, g, c.ID); err != nil {
		return Channel{}, named("change channel", err)
	}
	if err := checkChannel(c); err != nil {
		return Channel{}, named("change channel", err)
	}
	key, err := s.key(ctx, channelKey(c.ID))
	if err != nil {
		return Channel{}, named("change channel", err)
	}
	text, err := json.Marshal(textOf(c))
	if err != nil {
		return Channel{}, named("change channel", err)
	}
	err = affected(s.db.ExecContext(ctx, "UPDATE channels SET sealed = ?, public = ?, updated = ? WHERE id = ? AND patient IS NULL",
		key.Seal(text, associated("channel", channelKey(c.ID))), c.Public, micro(s.now()), c.ID))
	if err != nil {
		return Channel{}, named("change channel", err)
	}
	return s.Channel(ctx, c.ID)
}

// ClearChannel takes all entries away; their numbers are not used again. None is read from then on; what they take on disk, and of
// the quota, is given back within seconds, or minutes for millions. The grant must allow access.ManageChannel.
func (s *Store) ClearChannel(ctx context.Context, g access.Grant, id int64) error {
	if err := s.mayChange(ctx, g, id); err != nil {
		return named("clear channel", err)
	}
	err := s.apart.locked(ctx, func(tx *sql.Tx) error {
		last, err := lockStock(ctx, tx, kindChannel, id, "")
		if err != nil {
			return err
		}
		return toSweep(ctx, tx, kindChannel, id, last)
	})
	s.kickSweep()
	return named("clear channel", err)
}

// DeleteChannel takes a free channel away, with its API keys and the key that sealed it, so that its entries can be read no more;
// they are taken away as ClearChannel does. The grant must allow
// access.ManageChannel.
func (s *Store) DeleteChannel(ctx context.Context, g access.Grant, id int64) error {
	if err := s.mayChange(ctx, g, id); err != nil {
		return named("delete channel", err)
	}
	err := s.inTx(ctx, func(tx *sql.Tx) error {
		if _, err := tx.ExecContext(ctx, "DELETE FROM api_keys WHERE channel = ?", id); err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, "DELETE FROM keys WHERE name = ?", channelKey(id)); err != nil {
			return err
		}
		return affected(tx.ExecContext(ctx, "DELETE FROM channels WHERE id = ? AND patient IS NULL", id))
	})
	s.keys.forget(func(name string) bool { return name == channelKey(id) || strings.HasPrefix(name, envelopeKeys(id)) })
	if err == nil {
		err = s.sweepGone(ctx, kindChannel, id)
	}
	return named("delete channel", err)
}

// mayChange is the gate in front of a free channel's settings.
func (s *Store) mayChange(ctx context.Context, g access.Grant, id int64) error {
	if err := s.allowed(g, access.ManageChannel, access.OnChannel(id)); err != nil {
		return err
	}
	ref, err := s.ChannelRef(ctx, id)
	if err == nil && ref.Patient != "" {
		err = ErrPatientChannel
	}
	return err
}

// MaxBulk is the most entries of one AppendEntries.
const MaxBulk = 14_400

// AppendEntries adds entries to a free channel, all of them or none, durably, and gives them the next ids in their order. A Created
// that is given is unique in its channel: an entry that is there already, equal in all else, is not stored again (its id is given),
// so that a sender who missed the answer may send once more; one that differs is ErrTaken. A zero Created is now, and need not be
// unique. The grant must allow access.WriteChannel on the channel. ErrPatientChannel for a patient's.
func (s *Store) AppendEntries(ctx context.Context, g access.Grant, channel int64, entries []Entry) ([]Entry, error) {
	if err := s.allowed(g, access.WriteChannel, access.OnChannel(channel)); err != nil {
		return nil, named("append entries", err)
	}
	if len(entries) > MaxBulk {
		return nil, named("append entries", fmt.Errorf("%w: at most %d entries at once", ErrInvalid, MaxBulk))
	}
	out := slices.Clone(entries)
	for _, e := range out {
		if err := checkEntry(e); err != nil {
			return nil, named("append entries", err)
		}
	}
	ref, key, err := s.freeChannel(ctx, channel)
	if err != nil {
		return nil, named("append entries", err)
	}
	err = s.apart.locked(ctx, func(tx *sql.Tx) error {
		last, err := lockStock(ctx, tx, kindChannel, channel, ref.Owner)
		if err != nil {
			return err
		}
		var cleared, added, bytes int64
		if err := tx.QueryRowContext(ctx, "SELECT cleared FROM stock WHERE kind = ? AND id = ?", kindChannel, channel).Scan(&cleared); err != nil {
			return err
		}
		insert, err := tx.PrepareContext(ctx, "INSERT INTO entries (channel, id, created, sealed) VALUES (?, ?, ?, ?)")
		if err != nil {
			return err
		}
		defer insert.Close()
		// As a stretch of time that is ordered by it: told that they are equal, and to order by id, SQLite walks through the whole channel.
		look, err := tx.PrepareContext(ctx, `SELECT id, sealed FROM entries
			WHERE channel = ?1 AND created >= ?2 AND created <= ?2 AND +id > ?3 ORDER BY created, id LIMIT 1`)
		if err != nil {
			return err
		}
		defer look.Close()
		for i := range out {
			e := &out[i]
			if e.Created.IsZero() {
				e.Created = fromMicro(micro(s.now()))
			} else {
				e.Created = fromMicro(micro(e.Created))
				have := Entry{Created: e.Created}
				var sealed []byte
				err := look.QueryRowContext(ctx, channel, micro(e.Created), cleared).Scan(&have.ID, &sealed)
				switch {
				case errors.Is(err, sql.ErrNoRows):
				case err != nil:
					return err
				default:
					if err := openEntry(key, channel, &have, sealed); err != nil {
						return err
					}
					if !sameEntry(have, *e) {
						return ErrTaken
					}
					e.ID = have.ID
					continue
				}
			}
			last++
			e.ID = last
			text, err := json.Marshal(entryText{e.Fields, e.Status, e.Latitude, e.Longitude, e.Elevation})
			if err != nil {
				return err
			}
			sealed := key.Seal(text, entryData(channel, e.ID, e.Created))
			added, bytes = added+1, bytes+int64(len(sealed))+rowBytes
			if _, err := insert.ExecContext(ctx, channel, e.ID, micro(e.Created), sealed); err != nil {
				return err
			}
		}
		return s.grow(ctx, tx, kindChannel, channel, ref.Owner, last, added, bytes)
	})
	if err != nil {
		return nil, named("append entries", err)
	}
	return out, nil
}

func sameEntry(a, b Entry) bool {
	for i, f := range a.Fields {
		if (f == nil) != (b.Fields[i] == nil) || f != nil && *f != *b.Fields[i] {
			return false
		}
	}
	return a.Status == b.Status && a.Latitude == b.Latitude && a.Longitude == b.Longitude && a.Elevation == b.Elevation
}

// EntriesByID are the entries of a free channel with ids in [low, high], ascending by id: the first limit, or with newest the last
// limit. limit <= 0 or above 8,000 means 8,000. The grant must allow access.ViewChannel on the channel.
func (s *Store) EntriesByID(ctx context.Context, g access.Grant, channel, low, high int64, limit int, newest bool) ([]Entry, error) {
	if err := s.allowed(g, access.ViewChannel, access.OnChannel(channel)); err != nil {
		return nil, named("entries", err)
	}
	_, key, err := s.freeChannel(ctx, channel)
	if err != nil {
		return nil, named("entries", err)
	}
	st, err := s.standing(ctx, kindChannel, channel)
	if err != nil {
		return nil, named("entries", err)
	}
	low = max(low, st.cleared+1)
	if limit <= 0 || limit > maxEntries {
		limit = maxEntries
	}
	order := "ASC"
	if newest {
		order = "DESC"
	}
	all, err := list(ctx, s.apart.DB, entryScanner(key, channel),
		"SELECT id, created, sealed FROM entries WHERE channel = ? AND id >= ? AND id <= ? ORDER BY id "+order+" LIMIT ?", channel, low, high, limit)
	if newest {
		slices.Reverse(all)
	}
	return all, named("entries", err)
}
