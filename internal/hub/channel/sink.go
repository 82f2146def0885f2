package channel

import (
	"context"
	"crypto/rand"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"time"

	"vitalseal/internal/hub/access"
	"vitalseal/internal/hub/sealdb"
	"vitalseal/internal/way/seal"
)

// The modes of a Sink.
const (
	SinkSealed = "sealed" // envelopes only
	SinkPlain  = "plain"  // values that the cloud can read
)

// Sink is how a channel is forwarded to a ThingSpeak-compatible server, and how far that has come. It holds no secret.
type Sink struct {
	Channel     int64
	Server      string // https://HOST[:PORT]
	Remote      int64  // the channel's number there
	Mode        string
	RequestedBy string // person id
	Requested   time.Time
	ApprovedBy  string // another person's id; empty: not approved. Of plain only.
	Approved    time.Time

	Cursor   time.Time // what is older has been forwarded, or was not to be
	Sent     int64     // messages that the cloud took
	LastSent time.Time // zero: never
	Attempts int       // of the pending batch so far
	Problem  string    // why nothing goes out now, of a closed vocabulary; empty: nothing is wrong
	KeyID    KeyID     // of the envelopes that are made now
}

// KeyID names the key of an envelope.
type KeyID [8]byte

// MaxRescan is how long it is known which seconds were forwarded.
const MaxRescan = 14 * 24 * time.Hour

// SecondsPerHour is how many bits SentSeconds has.
const SecondsPerHour = 3600

// ErrSamePerson refuses an approval by the person who asked for it.
var ErrSamePerson = errors.New("store: the approver must be another person than the one who asked")

// EnvelopeKey is the name of the key of a channel's envelopes in a cloud.
func EnvelopeKey(channel int64, id KeyID) string {
	return EnvelopeKeys(channel) + hex.EncodeToString(id[:])
}

// EnvelopeKeys is what the names of a channel's envelope keys begin with.
func EnvelopeKeys(channel int64) string { return "envelope/" + strconv.FormatInt(channel, 10) + "/" }

// SaveSink has a channel forwarded from now on, under a new envelope key, and forgets an approval given before. writeKey is
// the server's write key of the remote channel; it is sealed. Of k, the first four fields and RequestedBy count. The grant
// must allow access.ForwardChannel on the channel and be RequestedBy's.
func (s *Registry) SaveSink(ctx context.Context, g access.Grant, k Sink, writeKey string) error {
	err := s.db.Allowed(g, access.ForwardChannel, access.OnChannel(k.Channel))
	if err == nil && g.Holder() != k.RequestedBy {
		err = sealdb.ErrNotAllowed
	}
	if err == nil {
		err = errors.Join(sealdb.CheckText("server", k.Server, 1, sealdb.MaxField), sealdb.CheckText("write key", writeKey, 1, 64))
	}
	if err == nil && (k.Remote < 1 || k.Mode != SinkSealed && k.Mode != SinkPlain) {
		err = fmt.Errorf("%w: a remote channel is a number from 1, a mode sealed or plain", sealdb.ErrInvalid)
	}
	if err != nil {
		return sealdb.Named("save sink", err)
	}
	key, err := s.db.Key(ctx, sealdb.ChannelKey(k.Channel))
	if err != nil {
		return sealdb.Named("save sink", err)
	}
	_, _ = rand.Read(k.KeyID[:])
	now := sealdb.Micro(s.db.Now())
	err = s.db.InTx(ctx, func(tx *sql.Tx) error {
		if _, err := s.db.NewKey(ctx, tx, EnvelopeKey(k.Channel, k.KeyID)); err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, "DELETE FROM sinks WHERE channel = ?", k.Channel); err != nil {
			return err
		}
		_, err := tx.ExecContext(ctx, `INSERT INTO sinks (channel, server, remote, mode, sealed_key, envelope_key, requested_by, requested, cursor)
			VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)`, k.Channel, k.Server, k.Remote, k.Mode,
			key.Seal([]byte(writeKey), sealdb.Associated("cloud write key", sealdb.ChannelKey(k.Channel))), k.KeyID[:], k.RequestedBy, now, now)
		return err
	})
	return sealdb.Named("save sink", err)
}

// ApproveSink writes down who approved of a channel's plain forwarding: the grant's holder, for access.ForwardChannel on the
// channel. requested is the time of the request that the approver has seen, so that none that replaced it is approved instead.
// ErrSamePerson for the person who asked for it; ErrNotFound if there is nothing like that to approve.
func (s *Registry) ApproveSink(ctx context.Context, g access.Grant, channel int64, requested time.Time) error {
	if err := s.db.Allowed(g, access.ForwardChannel, access.OnChannel(channel)); err != nil {
		return sealdb.Named("approve sink", err)
	}
	k, err := s.Sink(ctx, channel)
	if err != nil {
		return sealdb.Named("approve sink", err)
	}
	if k.RequestedBy == g.Holder() {
		return sealdb.Named("approve sink", ErrSamePerson)
	}
	return sealdb.Named("approve sink", sealdb.Affected(s.db.ExecContext(ctx, `UPDATE sinks SET approved_by = ?, approved = ?, cursor = ?
		WHERE channel = ? AND mode = 'plain' AND requested = ? AND approved_by IS NULL AND requested_by <> ?`,
		g.Holder(), sealdb.Micro(s.db.Now()), sealdb.Micro(s.db.Now()), channel, sealdb.Micro(requested), g.Holder())))
}

// RemoveSink ends a channel's forwarding. What is in the cloud can still be opened. The grant must allow access.ForwardChannel.
func (s *Registry) RemoveSink(ctx context.Context, g access.Grant, channel int64) error {
	if err := s.db.Allowed(g, access.ForwardChannel, access.OnChannel(channel)); err != nil {
		return sealdb.Named("remove sink", err)
	}
	return sealdb.Named("remove sink", sealdb.Affected(s.db.ExecContext(ctx, "DELETE FROM sinks WHERE channel = ?", channel)))
}

const selectSink = `SELECT channel, server, remote, mode, requested_by, requested, coalesce(approved_by, ''), approved, cursor, sent, last_sent,
	attempts, problem, envelope_key FROM sinks`

func scanSink(r sealdb.Scanner) (k Sink, err error) {
	var requested, cursor int64
	var approved, last *int64
	var id []byte
	err = r.Scan(&k.Channel, &k.Server, &k.Remote, &k.Mode, &k.RequestedBy, &requested, &k.ApprovedBy, &approved, &cursor, &k.Sent, &last,
		&k.Attempts, &k.Problem, &id)
	k.Requested, k.Approved, k.Cursor, k.LastSent = sealdb.FromMicro(requested), sealdb.FromOptional(approved), sealdb.FromMicro(cursor), sealdb.FromOptional(last)
	copy(k.KeyID[:], id)
	return k, err
}

// Sinks are all channels that are to be forwarded, by number.
func (s *Registry) Sinks(ctx context.Context) ([]Sink, error) {
	all, err := sealdb.List(ctx, s.db.DB, func(r *sql.Rows) (Sink, error) { return scanSink(r) }, selectSink+" ORDER BY channel")
	return all, sealdb.Named("sinks", err)
}

// Sink is how one channel is forwarded; ErrNotFound if it is not.
func (s *Registry) Sink(ctx context.Context, channel int64) (Sink, error) {
	k, err := scanSink(s.db.QueryRowContext(ctx, selectSink+" WHERE channel = ?", channel))
	return k, sealdb.Named("sink", err)
}

// SinkWriteKey is the server's write key. Only a standing grant for access.ViewChannel has it: it is not read back.
func (s *Registry) SinkWriteKey(ctx context.Context, g access.Grant, channel int64) (string, error) {
	if err := s.db.Allowed(g, access.ViewChannel, access.OnChannel(channel)); err != nil || !g.Standing() {
		return "", sealdb.Named("sink write key", sealdb.ErrNotAllowed)
	}
	var sealed []byte
	if err := s.db.QueryRowContext(ctx, "SELECT sealed_key FROM sinks WHERE channel = ?", channel).Scan(&sealed); err != nil {
		return "", sealdb.Named("sink write key", err)
	}
	b, err := s.openOfChannel(ctx, channel, "cloud write key", sealed)
	return string(b), sealdb.Named("sink write key", err)
}

func (s *Registry) openOfChannel(ctx context.Context, channel int64, what string, sealed []byte) ([]byte, error) {
	key, err := s.db.Key(ctx, sealdb.ChannelKey(channel))
	if err != nil {
		return nil, err
	}
	b, err := key.Open(sealed, sealdb.Associated(what, sealdb.ChannelKey(channel)))
	if err != nil {
		return nil, sealdb.ErrSealed
	}
	return b, nil
}

// EnvelopeKey is the key of a channel's envelopes of that id; ErrNotFound if the channel never had it. The grant must allow
// access.ViewChannel on the channel.
func (s *Registry) EnvelopeKey(ctx context.Context, g access.Grant, channel int64, id KeyID) (seal.Key, error) {
	if err := s.db.Allowed(g, access.ViewChannel, access.OnChannel(channel)); err != nil {
		return seal.Key{}, sealdb.Named("envelope key", err)
	}
	key, err := s.db.Key(ctx, EnvelopeKey(channel, id))
	return key, sealdb.Named("envelope key", err)
}

// SinkProblem notes why nothing goes out, or with "" that nothing is wrong.
func (s *Registry) SinkProblem(ctx context.Context, k Sink, problem string) error {
	_, err := s.db.ExecContext(ctx, "UPDATE sinks SET problem = ? WHERE channel = ? AND requested = ?", problem, k.Channel, sealdb.Micro(k.Requested))
	return sealdb.Named("sink problem", err)
}

// SinkAttempts notes how often the pending batch may have reached the cloud: before it is sent, and again when the cloud said
// that it did not take it.
func (s *Registry) SinkAttempts(ctx context.Context, k Sink, n int) error {
	return sealdb.Named("sink attempts", sealdb.Affected(s.db.ExecContext(ctx, "UPDATE sinks SET attempts = ? WHERE channel = ? AND requested = ?", n, k.Channel, sealdb.Micro(k.Requested))))
}

// SinkCursor notes that nothing before cursor is left to forward.
func (s *Registry) SinkCursor(ctx context.Context, k Sink, cursor time.Time) error {
	_, err := s.db.ExecContext(ctx, "UPDATE sinks SET cursor = CASE WHEN cursor > ?1 THEN cursor ELSE ?1 END WHERE channel = ?2 AND requested = ?3",
		sealdb.Micro(cursor), k.Channel, sealdb.Micro(k.Requested))
	return sealdb.Named("sink cursor", err)
}

// Pending is the batch of a sink that waits for the cloud's answer; nil if there is none. Standing grants only.
func (s *Registry) Pending(ctx context.Context, g access.Grant, k Sink) ([]byte, error) {
	if err := s.db.Allowed(g, access.ViewChannel, access.OnChannel(k.Channel)); err != nil || !g.Standing() {
		return nil, sealdb.Named("pending", sealdb.ErrNotAllowed)
	}
	var sealed []byte
	err := s.db.QueryRowContext(ctx, "SELECT pending FROM sinks WHERE channel = ? AND requested = ?", k.Channel, sealdb.Micro(k.Requested)).Scan(&sealed)
	if err != nil || sealed == nil {
		return nil, sealdb.Named("pending", err)
	}
	b, err := s.openOfChannel(ctx, k.Channel, "cloud batch", sealed)
	return b, sealdb.Named("pending", err)
}

// SavePending keeps a batch before it is sent for the first time, in the place of another.
func (s *Registry) SavePending(ctx context.Context, k Sink, batch []byte) error {
	key, err := s.db.Key(ctx, sealdb.ChannelKey(k.Channel))
	if err != nil {
		return sealdb.Named("save pending", err)
	}
	return sealdb.Named("save pending", sealdb.Affected(s.db.ExecContext(ctx, "UPDATE sinks SET pending = ?, attempts = 0 WHERE channel = ? AND requested = ?",
		key.Seal(batch, sealdb.Associated("cloud batch", sealdb.ChannelKey(k.Channel))), k.Channel, sealdb.Micro(k.Requested))))
}

// FinishPending forgets the pending batch: the cloud has it. seconds are those that it was about, messages how many it took.
func (s *Registry) FinishPending(ctx context.Context, k Sink, seconds []int64, cursor time.Time, messages int) error {
	hours := map[int64][]int64{}
	for _, at := range seconds {
		hours[at/SecondsPerHour] = append(hours[at/SecondsPerHour], at%SecondsPerHour)
	}
	err := s.db.InTx(ctx, func(tx *sql.Tx) error {
		err := sealdb.Affected(tx.ExecContext(ctx, `UPDATE sinks SET pending = NULL, attempts = 0, problem = '', sent = sent + ?, last_sent = ?,
			cursor = CASE WHEN cursor > ? THEN cursor ELSE ? END WHERE channel = ? AND requested = ?`,
			messages, sealdb.Micro(s.db.Now()), sealdb.Micro(cursor), sealdb.Micro(cursor), k.Channel, sealdb.Micro(k.Requested)))
		if err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, "DELETE FROM sent_seconds WHERE channel = ? AND hour < ?", k.Channel,
			s.db.Now().Add(-MaxRescan-time.Hour).Unix()/SecondsPerHour); err != nil {
			return err
		}
		for hour, list := range hours {
			bits := make([]byte, SecondsPerHour/8)
			err := tx.QueryRowContext(ctx, "SELECT seconds FROM sent_seconds WHERE channel = ? AND hour = ?", k.Channel, hour).Scan(&bits)
			if err != nil && !errors.Is(err, sql.ErrNoRows) {
				return err
			}
			for _, at := range list {
				bits[at/8] |= 1 << (at % 8)
			}
			if _, err := tx.ExecContext(ctx, `INSERT INTO sent_seconds (channel, hour, seconds) VALUES (?, ?, ?)
				ON CONFLICT (channel, hour) DO UPDATE SET seconds = excluded.seconds`, k.Channel, hour, bits); err != nil {
				return err
			}
		}
		return nil
	})
	return sealdb.Named("finish pending", err)
}

// SentSeconds has a bit for each second of an hour (counted since 1970): byte i/8, bit i%8 is set if second i was forwarded.
func (s *Registry) SentSeconds(ctx context.Context, channel, hour int64) ([]byte, error) {
	bits := make([]byte, SecondsPerHour/8)
	err := s.db.QueryRowContext(ctx, "SELECT seconds FROM sent_seconds WHERE channel = ? AND hour = ?", channel, hour).Scan(&bits)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return nil, sealdb.Named("sent seconds", err)
	}
	if len(bits) != SecondsPerHour/8 {
		return nil, sealdb.Named("sent seconds", sealdb.ErrSealed)
	}
	return bits, nil
}

// GiveConsent writes down that a patient agrees to values of theirs, from now on, going to a cloud in plain text; the grant's holder
// is who said so, for access.ManageConsent on the patient. Consent that is on record stays as it is.
func (s *Registry) GiveConsent(ctx context.Context, g access.Grant, patient string) error {
	if err := s.db.Allowed(g, access.ManageConsent, access.OnPatient(patient)); err != nil {
		return sealdb.Named("give consent", err)
	}
	_, err := s.db.ExecContext(ctx, "INSERT INTO cloud_consents (patient, person, given) VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
		patient, g.Holder(), sealdb.Micro(s.db.Now()))
	return sealdb.Named("give consent", err)
}

// WithdrawConsent takes it back, from the next batch on; what waits to be sent in plain text is forgotten. No consent is nothing to
// take back, and no error. The grant is as for GiveConsent.
func (s *Registry) WithdrawConsent(ctx context.Context, g access.Grant, patient string) error {
	if err := s.db.Allowed(g, access.ManageConsent, access.OnPatient(patient)); err != nil {
		return sealdb.Named("withdraw consent", err)
	}
	return sealdb.Named("withdraw consent", s.db.Urgently(ctx, func(ctx context.Context, tx *sql.Tx) error {
		if _, err := tx.ExecContext(ctx, "DELETE FROM cloud_consents WHERE patient = ?", patient); err != nil {
			return err
		}
		_, err := tx.ExecContext(ctx, `UPDATE sinks SET pending = NULL, attempts = 0
			WHERE mode = 'plain' AND channel IN (SELECT id FROM channels WHERE patient = ?)`, patient)
		return err
	}))
}

// Consented is since when a patient's consent is on record; the zero time if it is not.
func (s *Registry) Consented(ctx context.Context, patient string) (time.Time, error) {
	var given int64
	err := s.db.QueryRowContext(ctx, "SELECT given FROM cloud_consents WHERE patient = ?", patient).Scan(&given)
	if errors.Is(err, sql.ErrNoRows) {
		return time.Time{}, nil
	}
	if err != nil {
		return time.Time{}, sealdb.Named("consented", err)
	}
	return sealdb.FromMicro(given), nil
}
