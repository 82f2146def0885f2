package directory

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"

	"vitalseal/internal/hub/sealdb"
)

// ReinviteDevices makes components that are in the inventory wait for a ticket again, as after an invitation: what was noted of
// their certificates and keys is taken away, and so is every ticket that names one of them and was not redeemed. Their place,
// their readings and when they first enrolled stay. ErrConflict for one that is disabled or deleted; then nothing has changed.
func (s *Directory) ReinviteDevices(ctx context.Context, ids []string, by string) error {
	if err := sealdb.CheckText("enrolled by", by, 0, sealdb.MaxID); err != nil {
		return sealdb.Named("reinvite", err)
	}
	err := s.db.InTx(ctx, func(tx *sql.Tx) error {
		for _, id := range ids {
			var state string
			if err := tx.QueryRowContext(ctx, "SELECT state FROM devices WHERE id = ?", id).Scan(&state); err != nil {
				return err
			}
			if state != DeviceInvited && state != DeviceActive {
				return fmt.Errorf("%w: %s is %s, and only what is active or invited gets a new ticket", sealdb.ErrConflict, id, state)
			}
			if _, err := tx.ExecContext(ctx, `UPDATE devices SET state = ?, enrolled_by = ?, cert = '', cert_begins = NULL, cert_ends = NULL,
				public_key = '', next_key = '', rotate = ? WHERE id = ?`, DeviceInvited, by, false, id); err != nil {
				return err
			}
			quoted, err := json.Marshal(id) // as ForgetDevice finds it
			if err != nil {
				return err
			}
			if _, err := tx.ExecContext(ctx, "DELETE FROM tickets WHERE redeemed IS NULL AND replace(ids, ?, '') <> ids", string(quoted)); err != nil {
				return err
			}
		}
		return nil
	})
	s.db.DevicesChanged()
	return sealdb.Named("reinvite", err)
}
