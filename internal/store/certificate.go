package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// DeviceChanges counts the changes to who may be where: states, keys, tickets redeemed. A caller that keeps a copy of the
// inventory reads it again when the number has moved.
func (s *Directory) DeviceChanges() uint64 {
	if s.db.deaf() { // other hubs may have changed it
		s.db.devicesChanged()
	}
	return s.db.deviceChanges()
}

// SetZitiID notes which identity of the overlay a component is.
func (s *Directory) SetZitiID(ctx context.Context, id, ziti string) error {
	err := checkText("ziti id", ziti, 0, maxID)
	if err == nil {
		err = affected(s.db.ExecContext(ctx, "UPDATE devices SET ziti = ? WHERE id = ?", ziti, id))
	}
	s.db.devicesChanged()
	return named("set ziti id", err)
}

// MarkEnrolled notes that a component's ticket was redeemed at this time: it counts its starts and epochs from 1 again. Its state
// does not change by it.
func (s *Directory) MarkEnrolled(ctx context.Context, id string, at time.Time) error {
	err := s.db.inTx(ctx, func(tx *sql.Tx) error {
		if err := affected(tx.ExecContext(ctx, "UPDATE devices SET enrolled = ? WHERE id = ?", micro(at), id)); err != nil {
			return err
		}
		return forgetNumbers(ctx, tx, id)
	})
	s.db.devicesChanged()
	return named("mark enrolled", err)
}

// NoteVersion notes what software a component runs.
func (s *Directory) NoteVersion(ctx context.Context, id, version string) error {
	if err := checkText("version", version, 0, maxName); err != nil {
		return named("note version", err)
	}
	_, err := s.db.ExecContext(ctx, "UPDATE devices SET version = ?1 WHERE id = ?2 AND version <> ?1", version, id)
	return named("note version", err)
}

// NoteCertificate notes a certificate that was issued for a component. If its key is another than the one in use, it becomes
// NextKey: the one in use stays good until UseKey. A component's first key is in use at once.
func (s *Directory) NoteCertificate(ctx context.Context, id string, c Certificate) error {
	if err := errors.Join(checkText("certificate", c.SHA256, 64, 64), checkText("public key", c.KeySHA256, 64, 64)); err != nil {
		return named("note certificate", err)
	}
	err := s.db.inTx(ctx, func(tx *sql.Tx) error {
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
			c.SHA256, micro(c.NotBefore), micro(c.NotAfter), key, next, id)
		return err
	})
	s.db.devicesChanged()
	return named("note certificate", err)
}

// DemandNewKey makes a component bring a new key when it renews next; ErrConflict for one that never enrolled or was deleted.
func (s *Directory) DemandNewKey(ctx context.Context, id string) error {
	err := s.db.inTx(ctx, func(tx *sql.Tx) error {
		var state string
		var enrolled *int64
		if err := tx.QueryRowContext(ctx, "SELECT state, enrolled FROM devices WHERE id = ?", id).Scan(&state, &enrolled); err != nil {
			return err
		}
		if enrolled == nil || state == DeviceDeleted {
			return fmt.Errorf("%w: it has no key to rotate: never enrolled, or deleted", ErrConflict)
		}
		_, err := tx.ExecContext(ctx, "UPDATE devices SET rotate = ? WHERE id = ?", true, id)
		return err
	})
	s.db.devicesChanged()
	return named("demand new key", err)
}

// UseKey makes the component's NextKey the one in use: it has proven to hold it. From then on the old key is worth nothing.
// ErrConflict if key is not NextKey.
func (s *Directory) UseKey(ctx context.Context, id, key string) error {
	if key == "" {
		return named("use key", ErrInvalid)
	}
	res, err := s.db.ExecContext(ctx, "UPDATE devices SET public_key = next_key, next_key = '', rotate = ? WHERE id = ? AND next_key = ?", false, id, key)
	s.db.devicesChanged()
	if err = affected(res, err); errors.Is(err, ErrNotFound) {
		err = fmt.Errorf("%w: the key is not the next one", ErrConflict)
	}
	return named("use key", err)
}

// Forgettable tells whether a component was deleted before it ever enrolled, so that nothing names it and another may have
// its name.
func (d Device) Forgettable() bool { return d.State == DeviceDeleted && d.Enrolled.IsZero() }

// ForgetDevice removes a component that never enrolled, with every ticket that names it, so that its name is free again.
// ErrConflict for one that did enrol: its readings name it.
func (s *Directory) ForgetDevice(ctx context.Context, id string) error {
	err := s.db.urgently(ctx, func(ctx context.Context, tx *sql.Tx) error {
		var enrolled *int64
		if err := tx.QueryRowContext(ctx, "SELECT enrolled FROM devices WHERE id = ?", id).Scan(&enrolled); err != nil {
			return err
		}
		if enrolled != nil {
			return fmt.Errorf("%w: the component enrolled", ErrConflict)
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
	s.db.devicesChanged()
	return named("forget device", err)
}
