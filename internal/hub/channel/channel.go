package channel

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"
	"unicode/utf8"

	"vitalseal/internal/hub/access"
	"vitalseal/internal/hub/sealdb"
	"vitalseal/internal/way/seal"
)

// ErrPatientChannel means the channel is a patient's: its entries derive from Numerics and are not stored as such.
var ErrPatientChannel = errors.New("store: the channel belongs to a patient")

// Channel is a ThingSpeak channel: a patient's, or a free one that holds entries.
type Channel struct {
	ID          int64  // from 1
	Name        string // at most 200 bytes; this and the next two are sealed
	Description string // at most 1,000 bytes
	Fields      [8]string
	Patient     string // empty: a free channel
	Created     time.Time
	LastEntryID int64 // of a free channel; 0 when it has none
	// Owner is the person who made a free channel with a key; empty if an administrator did. It never changes.
	Owner   string
	Public  bool      // may be read without a key; never a patient's
	Updated time.Time // when its settings changed last
	Place
	Metadata string // at most 4,000 bytes; like the next two sealed
	URL      string // at most 255 bytes
	Tags     string // separated by commas; at most 1,000 bytes
}

// Place is where a channel is, as text, since ThingSpeak's numbers are; empty: not given. At most 255 bytes each, sealed.
type Place struct {
	Latitude, Longitude, Elevation string
}

// Entry is one entry of a free channel. Empty strings mean not given.
type Entry struct {
	ID                                     int64 // from 1, in the order of AppendEntry
	Created                                time.Time
	Fields                                 [8]*string // nil: not given; at most 255 bytes each, like the rest
	Status, Latitude, Longitude, Elevation string
}

const maxEntries = 8000

// channelText and entryText are what is sealed, as JSON.
type channelText struct {
	Name        string    `json:"name"`
	Description string    `json:"description,omitempty"`
	Fields      [8]string `json:"fields"`
	Latitude    string    `json:"lat,omitempty"`
	Longitude   string    `json:"long,omitempty"`
	Elevation   string    `json:"elev,omitempty"`
	Metadata    string    `json:"metadata,omitempty"`
	URL         string    `json:"url,omitempty"`
	Tags        string    `json:"tags,omitempty"`
}

func textOf(c Channel) channelText {
	return channelText{c.Name, c.Description, c.Fields, c.Latitude, c.Longitude, c.Elevation, c.Metadata, c.URL, c.Tags}
}

type entryText struct {
	Fields    [8]*string `json:"f"`
	Status    string     `json:"status,omitempty"`
	Latitude  string     `json:"lat,omitempty"`
	Longitude string     `json:"long,omitempty"`
	Elevation string     `json:"elev,omitempty"`
}

// CreateChannel makes a free channel; ID, Created and LastEntryID are set, Patient must be empty.
func (s *Registry) CreateChannel(ctx context.Context, c Channel) (Channel, error) {
	err := checkChannel(c)
	if c.Patient != "" {
		err = errors.Join(err, fmt.Errorf("%w: a patient's channel is made with the patient", sealdb.ErrInvalid))
	}
	if err != nil {
		return Channel{}, sealdb.Named("create channel", err)
	}
	c.Created, c.LastEntryID = s.db.Now(), 0
	err = s.db.InTx(ctx, func(tx *sql.Tx) error {
		if c.Owner != "" {
			var n int
			if err := tx.QueryRowContext(ctx, "SELECT count(*) FROM channels WHERE owner = ?", c.Owner).Scan(&n); err != nil {
				return err
			}
			if n >= MaxOwned {
				return fmt.Errorf("%w: at most %d channels a person; delete one first", sealdb.ErrInvalid, MaxOwned)
			}
		}
		c, err = s.InsertChannel(ctx, tx, c)
		return err
	})
	if err == nil {
		err = s.apart.locked(ctx, func(tx *sql.Tx) error {
			_, err := lockStock(ctx, tx, kindChannel, c.ID, c.Owner)
			return err
		})
	}
	return c, sealdb.Named("create channel", err)
}

// MaxOwned is how many channels, and how many TalkBacks, a person may have.
const MaxOwned = 250

func checkChannel(c Channel) error {
	err := errors.Join(sealdb.CheckText("channel name", c.Name, 1, sealdb.MaxName), sealdb.CheckText("channel description", c.Description, 0, 1000),
		sealdb.CheckText("url", c.URL, 0, sealdb.MaxField), sealdb.CheckText("tags", c.Tags, 0, 1000), sealdb.CheckText("latitude", c.Latitude, 0, sealdb.MaxField),
		sealdb.CheckText("longitude", c.Longitude, 0, sealdb.MaxField), sealdb.CheckText("elevation", c.Elevation, 0, sealdb.MaxField))
	for i, f := range c.Fields {
		err = errors.Join(err, sealdb.CheckText(fmt.Sprintf("field%d", i+1), f, 0, sealdb.MaxField))
	}
	if len(c.Metadata) > 4000 || !utf8.ValidString(c.Metadata) { // may have lines
		err = errors.Join(err, fmt.Errorf("%w: metadata may have 4000 bytes of UTF-8", sealdb.ErrInvalid))
	}
	return err
}

// InsertChannel adds c under a key of its own; the next free id is its id.
func (s *Registry) InsertChannel(ctx context.Context, tx *sql.Tx, c Channel) (Channel, error) {
	c.Created = c.Created.Truncate(time.Microsecond)
	c.Updated = c.Created
	if err := tx.QueryRowContext(ctx, `INSERT INTO channels (patient, created, last_entry, sealed, owner, public, updated)
		VALUES (nullif(?, ''), ?, 0, ?, nullif(?, ''), ?, ?) RETURNING id`, c.Patient, sealdb.Micro(c.Created), []byte{}, c.Owner, c.Public, sealdb.Micro(c.Updated)).
		Scan(&c.ID); err != nil {
		return Channel{}, err
	}
	key, err := s.db.NewKey(ctx, tx, sealdb.ChannelKey(c.ID))
	if err != nil {
		return Channel{}, err
	}
	text, err := json.Marshal(textOf(c))
	if err != nil {
		return Channel{}, err
	}
	_, err = tx.ExecContext(ctx, "UPDATE channels SET sealed = ? WHERE id = ?", key.Seal(text, sealdb.Associated("channel", sealdb.ChannelKey(c.ID))), c.ID)
	return c, err
}

const selectChannel = "SELECT id, coalesce(patient, ''), created, sealed, coalesce(owner, ''), public, updated FROM channels"

func scanChannel(r sealdb.Scanner) (c Channel, sealed []byte, err error) {
	var created, updated int64
	err = r.Scan(&c.ID, &c.Patient, &created, &sealed, &c.Owner, &c.Public, &updated)
	c.Created, c.Updated = sealdb.FromMicro(created), sealdb.FromMicro(max(created, updated))
	return c, sealed, err
}

func (s *Registry) openChannel(ctx context.Context, c *Channel, sealed []byte) error {
	if c.Patient == "" {
		st, err := s.standing(ctx, kindChannel, c.ID)
		if err != nil {
			return err
		}
		c.LastEntryID = st.last
	}
	key, err := s.db.Key(ctx, sealdb.ChannelKey(c.ID))
	if errors.Is(err, sealdb.ErrNotFound) && c.Patient != "" {
		c.Name = sealdb.ForgottenName
		return nil
	}
	if err != nil {
		return err
	}
	b, err := key.Open(sealed, sealdb.Associated("channel", sealdb.ChannelKey(c.ID)))
	if err != nil {
		return sealdb.ErrSealed
	}
	var text channelText
	if err := json.Unmarshal(b, &text); err != nil {
		return err
	}
	c.Name, c.Description, c.Fields = text.Name, text.Description, text.Fields
	c.Place = Place{text.Latitude, text.Longitude, text.Elevation}
	c.Metadata, c.URL, c.Tags = text.Metadata, text.URL, text.Tags
	return nil
}

// Channel is the channel with this id: its description, no entries.
func (s *Registry) Channel(ctx context.Context, id int64) (Channel, error) {
	c, sealed, err := scanChannel(s.db.QueryRowContext(ctx, selectChannel+" WHERE id = ?", id))
	if err == nil {
		err = s.openChannel(ctx, &c, sealed)
	}
	if err != nil {
		return Channel{}, sealdb.Named("channel", err)
	}
	return c, nil
}

// Channels are all channels by id.
func (s *Registry) Channels(ctx context.Context) ([]Channel, error) {
	return s.channels(ctx, selectChannel+" ORDER BY id")
}

func (s *Registry) channels(ctx context.Context, query string, args ...any) ([]Channel, error) {
	type both struct {
		Channel
		sealed []byte
	}
	all, err := sealdb.List(ctx, s.db.DB, func(r *sql.Rows) (both, error) {
		c, sealed, err := scanChannel(r)
		return both{c, sealed}, err
	}, query, args...)
	if err != nil {
		return nil, sealdb.Named("channels", err)
	}
	channels := make([]Channel, len(all))
	for i, b := range all { // keys are read after the rows, on the same few connections
		channels[i] = b.Channel
		if err := s.openChannel(ctx, &channels[i], b.sealed); err != nil {
			return nil, sealdb.Named("channels", err)
		}
	}
	return channels, nil
}

// ChannelRef is a channel as policies see one.
func (s *Registry) ChannelRef(ctx context.Context, id int64) (access.ChannelRef, error) {
	ref := access.ChannelRef{ID: id}
	err := s.db.QueryRowContext(ctx, "SELECT coalesce(patient, ''), coalesce(owner, ''), public FROM channels WHERE id = ?", id).Scan(&ref.Patient, &ref.Owner, &ref.Public)
	if err != nil {
		return access.ChannelRef{}, sealdb.Named("channel", err)
	}
	return ref, nil
}

// ChannelOf is the channel of a patient.
func (s *Registry) ChannelOf(ctx context.Context, patient string) (Channel, error) {
	c, sealed, err := scanChannel(s.db.QueryRowContext(ctx, selectChannel+" WHERE patient = ?", patient))
	if err == nil {
		err = s.openChannel(ctx, &c, sealed)
	}
	if err != nil {
		return Channel{}, sealdb.Named("channel", err)
	}
	return c, nil
}

// AppendEntry adds an entry to a free channel, durably, and gives it the next id. A zero Created is now. The grant must
// allow access.WriteChannel on the channel. ErrPatientChannel for a patient's.
func (s *Registry) AppendEntry(ctx context.Context, g access.Grant, channel int64, e Entry) (Entry, error) {
	if err := s.db.Allowed(g, access.WriteChannel, access.OnChannel(channel)); err != nil {
		return Entry{}, sealdb.Named("append entry", err)
	}
	if err := errors.Join(checkEntry(e), s.db.MayStore()); err != nil {
		return Entry{}, sealdb.Named("append entry", err)
	}
	if e.Created.IsZero() {
		e.Created = s.db.Now()
	}
	e.Created = sealdb.FromMicro(sealdb.Micro(e.Created))
	text, err := json.Marshal(entryText{e.Fields, e.Status, e.Latitude, e.Longitude, e.Elevation})
	if err != nil {
		return Entry{}, sealdb.Named("append entry", err)
	}
	ref, key, err := s.freeChannel(ctx, channel)
	if err != nil {
		return Entry{}, sealdb.Named("append entry", err)
	}
	err = s.onChannel(ctx, channel, ref.Owner, func(tx *sql.Tx, st standing) error {
		e.ID = st.last + 1
		sealed := key.Seal(text, entryData(channel, e.ID, e.Created))
		if _, err := tx.ExecContext(ctx, "INSERT INTO entries (channel, id, created, sealed) VALUES (?, ?, ?, ?)",
			channel, e.ID, sealdb.Micro(e.Created), sealed); err != nil {
			return err
		}
		return s.grow(ctx, tx, kindChannel, channel, ref.Owner, e.ID, 1, int64(len(sealed))+rowBytes)
	})
	if err != nil {
		return Entry{}, sealdb.Named("append entry", err)
	}
	return e, nil
}

// freeChannel is what an entry needs to know of its channel; ErrPatientChannel, with the rest all the same, for a patient's.
//
//defence:policy only the patient's own sensors write into a patient's channel
func (s *Registry) freeChannel(ctx context.Context, id int64) (ref access.ChannelRef, key seal.Key, err error) {
	if ref, err = s.ChannelRef(ctx, id); err != nil {
		return ref, key, err
	}
	if key, err = s.db.Key(ctx, sealdb.ChannelKey(id)); err == nil && ref.Patient != "" {
		err = ErrPatientChannel
	}
	return ref, key, err
}

func checkEntry(e Entry) error {
	values := []string{e.Status, e.Latitude, e.Longitude, e.Elevation}
	for _, f := range e.Fields {
		if f != nil {
			values = append(values, *f)
		}
	}
	for _, v := range values { // third parties' text: kept as it is, within its bound
		if len(v) > sealdb.MaxField || !utf8.ValidString(v) {
			return fmt.Errorf("%w: a field or status may have %d bytes of UTF-8", sealdb.ErrInvalid, sealdb.MaxField)
		}
	}
	if !e.Created.IsZero() && (e.Created.Year() < 1970 || e.Created.Year() > 9999) {
		return fmt.Errorf("%w: created must be within 1970 to 9999", sealdb.ErrInvalid)
	}
	return nil
}

func entryData(channel, id int64, created time.Time) []byte {
	return sealdb.Associated("entry", sealdb.ChannelKey(channel), fmt.Sprint(id), fmt.Sprint(sealdb.Micro(created)))
}

// entryScanner opens a row of id, created, sealed.
func entryScanner(key seal.Key, channel int64) func(*sql.Rows) (Entry, error) {
	return func(r *sql.Rows) (e Entry, err error) {
		var created int64
		var sealed []byte
		if err := r.Scan(&e.ID, &created, &sealed); err != nil {
			return e, err
		}
		e.Created = sealdb.FromMicro(created)
		return e, openEntry(key, channel, &e, sealed)
	}
}

func openEntry(key seal.Key, channel int64, e *Entry, sealed []byte) error {
	b, err := key.Open(sealed, entryData(channel, e.ID, e.Created))
	if err != nil {
		return sealdb.ErrSealed
	}
	var text entryText
	if err := json.Unmarshal(b, &text); err != nil {
		return err
	}
	e.Fields, e.Status = text.Fields, text.Status
	e.Latitude, e.Longitude, e.Elevation = text.Latitude, text.Longitude, text.Elevation
	return nil
}

// Entries are the newest limit entries of a free channel created in [from, to), ascending by time, then id. limit <= 0 or above
// 8,000 means 8,000. The grant must allow access.ViewChannel on the channel.
func (s *Registry) Entries(ctx context.Context, g access.Grant, channel int64, from, to time.Time, limit int) ([]Entry, error) {
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
	if limit <= 0 || limit > maxEntries {
		limit = maxEntries
	}
	// The sign keeps the planner from looking by id, and then through the whole channel.
	all, err := sealdb.List(ctx, s.apart.DB, entryScanner(key, channel), `SELECT id, created, sealed FROM entries
		WHERE channel = ? AND created >= ? AND created < ? AND +id > ? AND +id <= ? ORDER BY created DESC, id DESC LIMIT ?`,
		channel, sealdb.Micro(from), sealdb.Micro(to), st.cleared, st.last, limit)
	slices.Reverse(all)
	return all, sealdb.Named("entries", err)
}
