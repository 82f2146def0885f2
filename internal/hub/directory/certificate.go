package directory

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"vitalseal/internal/hub/sealdb"
)

// DeviceChanges counts the changes to who may be where: states, keys, tickets redeemed. A caller that keeps a copy of the
// inventory reads it again when the number has moved.
func (s *Directory) DeviceChanges() uint64 {
	if s.db.Deaf() { // other hubs may have changed it
		s.db.DevicesChanged()
	}
	return s.db.DeviceChanges()
}

// SetZitiID notes which identity of the overlay a component is.
func (s *Directory) SetZitiID(ctx context.Context, id, ziti string) error {
	err := sealdb.CheckText("ziti id", ziti, 0, sealdb.MaxID)
	if err == nil {
		err = sealdb.Affected(s.db.ExecContext(ctx, "UPDATE devices SET ziti = ? WHERE id = ?", ziti, id))
	}
	s.db.DevicesChanged()
	return sealdb.Named("set ziti id", err)
}

// MarkEnrolled notes that a component's ticket was redeemed at this time: it counts its starts and epochs from 1 again. Its state
// does not change by it.
func (s *Directory) MarkEnrolled(ctx context.Context, id string, at time.Time) error {
	err := s.db.InTx(ctx, func(tx *sql.Tx) error {
		if err := sealdb.Affected(tx.ExecContext(ctx, "UPDATE devices SET enrolled = ? WHERE id = ?", sealdb.Micro(at), id)); err != nil {
			return err
		}
		return forgetNumbers(ctx, tx, id)
	})
	s.db.DevicesChanged()
	return sealdb.Named("mark enrolled", err)
}

// NoteVersion notes what software a component runs.
func (s *Directory) NoteVersion(ctx context.Context, id, version string) error {
	if err := sealdb.CheckText("version", version, 0, sealdb.MaxName); err != nil {
		return sealdb.Named("note version", err)
	}
	_, err := s.db.ExecContext(ctx, "UPDATE devices SET version = ?1 WHERE id = ?2 AND version <> ?1", version, id)
	return sealdb.Named("note version", err)
}

// NoteCertificate notes a certificate that was issued for a component. If its key is another than the one in use, it becomes
// NextKey: the one in use stays good until UseKey. A component's first key is in use at once.
func (s *Directory) NoteCertificate(ctx context.Context, id string, c Certificate) error {
	if err := errors.Join(sealdb.CheckText("certificate", c.SHA256, 64, 64), sealdb.CheckText("public key", c.KeySHA256, 64, 64)); err != nil {
		return sealdb.Named("note certificate", err)
	}
	err := s.db.InTx(ctx, func(tx *sql.Tx) error {
		var key string
		if err := tx.QueryRowContext(ctx, "SELECT public_key FROM devices WHERE id = ?", id).Scan(&key); err != nil {
			return err
		}
		next := ""
		if key == "" {
			key = c.KeySHA256
		}
		if key != c.KeySHA256 {
			next = c.KeySHA256
		}
		_, err := tx.ExecContext(ctx, "UPDATE devices SET cert = ?, cert_begins = ?, cert_ends = ?, public_key = ?, next_key = ? WHERE id = ?",
			c.SHA256, sealdb.Micro(c.NotBefore), sealdb.Micro(c.NotAfter), key, next, id)
		return err
	})
	s.db.DevicesChanged()
	return sealdb.Named("note certificate", err)
}

// DemandNewKey makes a component bring a new key when it renews next; ErrConflict for one that never enrolled or was deleted.
func (s *Directory) DemandNewKey(ctx context.Context, id string) error {
	err := s.db.InTx(ctx, func(tx *sql.Tx) error {
		var state string
		var enrolled *int64
		if err := tx.QueryRowContext(ctx, "SELECT state, enrolled FROM devices WHERE id = ?", id).Scan(&state, &enrolled); err != nil {
			return err
		}
		if enrolled == nil || state == DeviceDeleted {
			return fmt.Errorf("%w: it has no key to rotate: never enrolled, or deleted", sealdb.ErrConflict)
		}
		_, err := tx.ExecContext(ctx, "UPDATE devices SET rotate = ? WHERE id = ?", true, id)
		return err
	})
	s.db.DevicesChanged()
	return sealdb.Named("demand new key", err)
}

// UseKey makes the component's NextKey the one in use: it has proven to hold it. From then on the old key is worth nothing.
// ErrConflict if key is not NextKey.
func (s *Directory) UseKey(ctx context.Context, id, key string) error {
	if key == "" {
		return sealdb.Named("use key", sealdb.ErrInvalid)
	}
	res, err := s.db.ExecContext(ctx, "UPDATE devices SET public_key = next_key, next_key = '', rotate = ? WHERE id = ? AND next_key = ?", false, id, key)
	s.db.DevicesChanged()
	if err = sealdb.Affected(res, err); errors.Is(err, sealdb.ErrNotFound) {
		err = fmt.Errorf("%w: the key is not the next one", sealdb.ErrConflict)
	}
	return sealdb.Named("use key", err)
}

// Forgettable tells whether a component was deleted before it ever enrolled, so that nothing names it and another may have
// its name.
func (d Device) Forgettable() bool { return d.State == DeviceDeleted && d.Enrolled.IsZero() }

// ForgetDevice removes a component that never enrolled, with every ticket that names it, so that its name is free again.
// ErrConflict for one that did enrol: its readings name it.
func (s *Directory) ForgetDevice(ctx context.Context, id string) error {
	err := s.db.Urgently(ctx, func(ctx context.Context, tx *sql.Tx) error {
		var enrolled *int64
		if err := tx.QueryRowContext(ctx, "SELECT enrolled FROM devices WHERE id = ?", id).Scan(&enrolled); err != nil {
			return err
		}
		if enrolled != nil {
			return fmt.Errorf("%w: the component enrolled", sealdb.ErrConflict)
		}
		for _, q := range []string{"DELETE FROM placements WHERE device = ?", "DELETE FROM devices WHERE id = ?"} {
			if _, err := tx.ExecContext(ctx, q, id); err != nil {
				return err
			}
		}
		// An id in JSON, in its quotes, is nowhere but where it is an element: ids hold no quote that is not escaped.
		quoted, err := json.Marshal(id)
		if err == nil {
			_, err = tx.ExecContext(ctx, "DELETE FROM tickets WHERE replace(ids, ?, '') <> ids", string(quoted))
		}
		return err
	})
	s.db.DevicesChanged()
	return sealdb.Named("forget device", err)
}
