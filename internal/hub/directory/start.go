package directory

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math"
	"time"

	"vitalseal/internal/hub/sealdb"
	"vitalseal/internal/measurement/vitals"
	"vitalseal/internal/way/delivery"
	"vitalseal/internal/way/seal"
)

// StartStep is the part of the directory's schema about the runs of gateways: for each identity the run that delivers, and the
// highest boot counter that was ever taken for it. A sensor's oldest announcements go by when they came.
const StartStep = `
CREATE TABLE starts (
  sensor TEXT PRIMARY KEY, boot INTEGER NOT NULL, instance BLOB NOT NULL, highest INTEGER NOT NULL, older INTEGER NOT NULL,
  noted INTEGER NOT NULL) WITHOUT ROWID;
ALTER TABLE announcements ADD COLUMN noted INTEGER NOT NULL DEFAULT 0;
`

// PgStarts is StartStep in PostgreSQL.
var PgStarts = sealdb.Step{Up: sealdb.Collated(`
CREATE TABLE starts (
  sensor TEXT PRIMARY KEY, boot BIGINT NOT NULL, instance BYTEA NOT NULL, highest BIGINT NOT NULL, older BIGINT NOT NULL, noted BIGINT NOT NULL);
ALTER TABLE announcements ADD COLUMN noted BIGINT NOT NULL DEFAULT 0;
`), Down: `
DROP TABLE starts;
ALTER TABLE announcements DROP COLUMN noted;`}

// ErrEpochJump means an epoch's number, or the boot counter of a start, is beyond what an honest gateway can have counted to.
var ErrEpochJump = errors.New("store: the number is beyond what a gateway can have counted to")

// The bounds of what an honest gateway can have counted to since the hub last heard of it. The boot counter moves by one with each
// start, and a start takes longer than a second; an administrator who brings a restored gateway back writes a number just above the
// last one. Of a gateway that the hub has never heard of nothing is known but that it did not start millions of times.
const (
	bootJump      = 4096
	firstBootJump = 1 << 20
)

// StartVerdict is what TakeStart found.
type StartVerdict struct {
	// Taken reports whether the start may deliver now; the newest start of the identity is then this one.
	Taken bool
	// Jump reports whether it was not taken because its counter is beyond what an honest gateway can have counted to.
	Jump bool
	// Newest is the start that delivers for the identity.
	Newest delivery.Start
	// Older reports whether Newest was let in although its counter is not above the highest.
	Older bool
	// Highest is the highest boot counter that was taken for the identity, in a start or in an epoch's number.
	Highest uint64
	// Seen is when the identity was last seen; zero: never.
	Seen time.Time
}

// TakeStart decides whether a run of a gateway may deliver as an identity, and remembers it, durably, as the newest. The newest
// run wins: a lower boot counter is not taken, nor is another run with the same counter, nor a counter that no gateway can have
// counted to. With anyway it is taken whatever its counter is: for the caller who knows that there is no other.
func (s *Directory) TakeStart(ctx context.Context, sensor string, st delivery.Start, anyway bool) (v StartVerdict, err error) {
	if err := sealdb.CheckIdentity("sensor", sensor); err != nil {
		return v, sealdb.Named("take start", err)
	}
	if st.Boot == 0 || st.Boot > math.MaxInt64>>seal.CountBits {
		return v, sealdb.Named("take start", fmt.Errorf("%w: boot counter", sealdb.ErrInvalid))
	}
	// Nearly always it is the same run that connects again: that is a read.
	if v, known, err := s.judgeStart(ctx, s.db.DB, sensor, st); err != nil || v.Taken && known && v.Newest == st || !v.Taken && !anyway {
		return v, sealdb.Named("take start", err)
	}
	err = s.db.InTx(ctx, func(tx *sql.Tx) error {
		var known bool
		var err error
		if v, known, err = s.judgeStart(ctx, tx, sensor, st); err != nil || !v.Taken && !anyway || v.Taken && known && v.Newest == st {
			return err
		}
		v.Older = !v.Taken
		v.Taken, v.Jump, v.Newest, v.Highest = true, false, st, max(v.Highest, st.Boot)
		_, err = tx.ExecContext(ctx, `INSERT INTO starts (sensor, boot, instance, highest, older, noted) VALUES (?, ?, ?, ?, ?, ?)
			ON CONFLICT (sensor) DO UPDATE SET boot = excluded.boot, instance = excluded.instance, highest = excluded.highest, older = excluded.older,
			noted = excluded.noted`, sensor, int64(st.Boot), st.Instance[:], int64(v.Highest), asNumber(v.Older), sealdb.Micro(s.db.Now())) // #nosec G115 -- checked above
		return err
	})
	return v, sealdb.Named("take start", err)
}

func asNumber(b bool) int64 {
	if b {
		return 1
	}
	return 0
}

// judgeStart says whether a start would be taken; known is whether the identity's newest start is remembered.
func (s *Directory) judgeStart(ctx context.Context, q sealdb.Querier, sensor string, st delivery.Start) (v StartVerdict, known bool, err error) {
	var boot, highest, older, noted, number int64
	var instance []byte
	var seen *int64
	switch err := q.QueryRowContext(ctx, "SELECT boot, instance, highest, older, noted FROM starts WHERE sensor = ?", sensor).
		Scan(&boot, &instance, &highest, &older, &noted); {
	case err == nil:
		known = true
	case !errors.Is(err, sql.ErrNoRows):
		return v, false, err
	}
	if err := q.QueryRowContext(ctx, "SELECT coalesce(max(number), 0), (SELECT seen FROM devices WHERE id = ?1) FROM newest_epochs WHERE sensor = ?1", sensor).
		Scan(&number, &seen); err != nil {
		return v, false, err
	}
	v.Seen = sealdb.Later(sealdb.FromOptional(seen), s.seen.last(sensor))
	announced := seal.Epoch{Number: uint64(number)}.Boot()                                        // #nosec G115 -- never stored negative
	v.Newest.Boot, v.Older, v.Highest = uint64(boot), older != 0, max(uint64(highest), announced) // #nosec G115 -- never stored negative
	copy(v.Newest.Instance[:], instance)
	reach := uint64(firstBootJump)
	if known {
		reach = bootJump + uint64(max(s.db.Now().Sub(sealdb.FromMicro(noted)), 0)/time.Second) // #nosec G115 -- not negative
	} else {
		// A store from before starts were remembered: its epochs say which was the newest, but not which run it was.
		v.Newest.Boot, v.Newest.Instance = announced, st.Instance
	}
	switch {
	//defence:start-order the newest start of a gateway delivers, after a hub's restart too
	case st.Boot < v.Newest.Boot, st.Boot == v.Newest.Boot && st.Instance != v.Newest.Instance:
	//defence:start-order the newest start of a gateway delivers, after a hub's restart too
	//defence:epoch-jump boot counters stay within what a gateway can count to
	case st.Boot-v.Newest.Boot > reach && st.Boot > v.Highest:
		v.Jump = true
	default:
		v.Taken = true
	}
	return v, known, nil
}

// ResetNumbers forgets which start of a component delivers and how high its epochs were numbered, and the same for the sensors of a
// gateway: the next start that connects is taken whatever its counter is. What is stored stays. It gives the ids that were reset.
func (s *Directory) ResetNumbers(ctx context.Context, id string) (ids []string, err error) {
	err = s.db.InTx(ctx, func(tx *sql.Tx) error {
		ids = nil
		if err := sealdb.Exists(ctx, tx, "device", "devices", id); err != nil {
			return err
		}
		if err := sealdb.Each(ctx, tx, "SELECT id FROM devices WHERE id = ?1 OR gateway = ?1 ORDER BY id", func(r *sql.Rows) error {
			var one string
			err := r.Scan(&one)
			ids = append(ids, one)
			return err
		}, id); err != nil {
			return err
		}
		for _, one := range ids {
			if err := forgetNumbers(ctx, tx, one); err != nil {
				return err
			}
		}
		return nil
	})
	return ids, sealdb.Named("reset numbers", err)
}

func forgetNumbers(ctx context.Context, tx *sql.Tx, id string) error {
	for _, q := range []string{"DELETE FROM starts WHERE sensor = ?", "DELETE FROM newest_epochs WHERE sensor = ?"} {
		if _, err := tx.ExecContext(ctx, q, id); err != nil {
			return err
		}
	}
	return nil
}

const (
	maxAnnouncement  = 16 << 10
	maxAnnouncements = 4096 // a sensor; at two streams and an hour an epoch, 85 days
)

// SaveAnnouncement keeps the sealed data key of an epoch, durably. The same again is no error. of is the start of the gateway that
// sends it, as TakeStart took it.
//
// ErrConflict: another announcement of the same epoch; another epoch with the same number in the same start, as a snapshot that was
// started twice would make; without a start, a number that is not above all that the sensor ever had, whatever the stream.
// ErrEpochJump: a number above what the start counts to, or without one beyond what a gateway can have counted to. With a start,
// epochs of that start and of earlier ones are taken in any order: they are its backlog. Of a sensor's announcements those that came
// first go beyond 4,096; the highest number is never forgotten.
func (s *Directory) SaveAnnouncement(ctx context.Context, sensor string, of delivery.Start, epoch seal.Epoch, signal uint8, announcement []byte) error {
	if err := sealdb.CheckIdentity("sensor", sensor); err != nil {
		return sealdb.Named("save announcement", err)
	}
	if !vitals.Signal(signal).Valid() || len(announcement) == 0 || len(announcement) > maxAnnouncement || epoch.Number > math.MaxInt64 {
		return sealdb.Named("save announcement", fmt.Errorf("%w: signal, number or length (1 to %d bytes)", sealdb.ErrInvalid, maxAnnouncement))
	}
	return sealdb.Named("save announcement", s.db.InTx(ctx, func(tx *sql.Tx) error {
		var had []byte
		switch err := tx.QueryRowContext(ctx, "SELECT sealed FROM announcements WHERE sensor = ? AND epoch = ?", sensor, epoch.ID[:]).Scan(&had); {
		case err == nil && bytes.Equal(had, announcement):
			return nil
		case err == nil:
			return fmt.Errorf("%w: the epoch was announced differently", sealdb.ErrConflict)
		case !errors.Is(err, sql.ErrNoRows):
			return err
		}
		newest, err := s.orderly(ctx, tx, sensor, of, epoch)
		if err != nil {
			return err
		}
		if newest {
			if _, err := tx.ExecContext(ctx, `INSERT INTO newest_epochs (sensor, signal, number, epoch) VALUES (?, ?, ?, ?)
				ON CONFLICT (sensor, signal) DO UPDATE SET number = excluded.number, epoch = excluded.epoch`,
				sensor, signal, int64(epoch.Number), epoch.ID[:]); err != nil { // #nosec G115 -- checked above
				return err
			}
		}
		if _, err := tx.ExecContext(ctx, "INSERT INTO announcements (sensor, epoch, signal, number, sealed, noted) VALUES (?, ?, ?, ?, ?, ?)",
			sensor, epoch.ID[:], signal, int64(epoch.Number), announcement, sealdb.Micro(s.db.Now())); err != nil { // #nosec G115 -- checked above
			return err
		}
		return dropOldest(ctx, tx, sensor)
	}))
}

// orderly reports whether a new epoch's number is the highest that the sensor had, over all its streams, or why it is not taken.
func (s *Directory) orderly(ctx context.Context, tx *sql.Tx, sensor string, of delivery.Start, epoch seal.Epoch) (newest bool, err error) {
	number := int64(epoch.Number) // #nosec G115 -- SaveAnnouncement checked
	var highest int64
	if err := tx.QueryRowContext(ctx, "SELECT coalesce(max(number), -1) FROM newest_epochs WHERE sensor = ?", sensor).Scan(&highest); err != nil {
		return false, err
	}
	var again int64 // a newest epoch itself, whose announcement was lost
	if err := tx.QueryRowContext(ctx, "SELECT count(*) FROM newest_epochs WHERE sensor = ? AND epoch = ? AND number = ?", sensor, epoch.ID[:], number).Scan(&again); err != nil {
		return false, err
	}
	known := uint64(max(highest, 0)) >> seal.CountBits // #nosec G115 -- not negative
	switch {
	case again > 0:
		return false, nil
	//defence:epoch-order epochs only go forward
	case of.Boot == 0 && number <= highest:
		return false, fmt.Errorf("%w: epoch %d was announced after epoch %d", sealdb.ErrConflict, number, highest)
	//defence:epoch-jump numbers stay within what a gateway can count to
	case of.Boot == 0 && epoch.Boot() > known+firstBootJump:
		return false, fmt.Errorf("%w: epoch %d after epoch %d", ErrEpochJump, number, highest)
	//defence:epoch-jump an epoch is of no later start than the one that announces it
	case of.Boot != 0 && epoch.Boot() > of.Boot:
		return false, fmt.Errorf("%w: epoch %d of start %d", ErrEpochJump, number, of.Boot)
	case number > highest:
		return true, nil
	case of.Boot != epoch.Boot():
		return false, nil // the backlog of an earlier start
	}
	// In one start each number is used once. A run that was let in with a lower counter may repeat those of another.
	var older, used int64
	if err := tx.QueryRowContext(ctx, `SELECT coalesce((SELECT older FROM starts WHERE sensor = ?1), 0),
		(SELECT count(*) FROM announcements WHERE sensor = ?1 AND number = ?2)`, sensor, number).Scan(&older, &used); err != nil {
		return false, err
	}
	//defence:epoch-order a start uses each number once
	if used > 0 && older == 0 {
		return false, fmt.Errorf("%w: another epoch of this start has number %d", sealdb.ErrConflict, number)
	}
	return false, nil
}

// dropOldest keeps a sensor's announcements within their bound: those that came first go.
func dropOldest(ctx context.Context, tx *sql.Tx, sensor string) error {
	var n int64
	if err := tx.QueryRowContext(ctx, "SELECT count(*) FROM announcements WHERE sensor = ?", sensor).Scan(&n); err != nil {
		return err
	}
	_, err := tx.ExecContext(ctx, `DELETE FROM announcements WHERE sensor = ?1 AND epoch IN
		(SELECT epoch FROM announcements WHERE sensor = ?1 ORDER BY noted, number LIMIT ?2)`, sensor, max(n-maxAnnouncements, 0))
	return err
}

// Announcement is what SaveAnnouncement kept; ErrNotFound if nothing.
func (s *Directory) Announcement(ctx context.Context, sensor string, epoch seal.EpochID) ([]byte, error) {
	var b []byte
	err := s.db.QueryRowContext(ctx, "SELECT sealed FROM announcements WHERE sensor = ? AND epoch = ?", sensor, epoch[:]).Scan(&b)
	return b, sealdb.Named("announcement", err)
}
