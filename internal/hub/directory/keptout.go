package directory

import (
	"context"
	"time"

	"vitalseal/internal/hub/sealdb"
)

// KeptOutStep notes since when a component is disabled or deleted, and who did that. NULL and empty:
// not known, as for what an older hub wrote.
const KeptOutStep = `
ALTER TABLE devices ADD COLUMN kept_out INTEGER;
ALTER TABLE devices ADD COLUMN kept_out_by TEXT NOT NULL DEFAULT '';
`

// PgKeptOut is KeptOutStep in PostgreSQL.
var PgKeptOut = sealdb.Step{Up: sealdb.Collated(`
ALTER TABLE devices ADD COLUMN kept_out BIGINT, ADD COLUMN kept_out_by TEXT NOT NULL DEFAULT '';
`), Down: "ALTER TABLE devices DROP COLUMN kept_out, DROP COLUMN kept_out_by;"}

// KeptOut says since when a component is disabled or deleted.
type KeptOut struct {
	Since time.Time // zero: it is neither, or that is not known
	By    string    // id of the person who did it; empty: no person did, or not known
}

// SetDeviceState is SetDeviceStateBy where no person does it.
func (s *Directory) SetDeviceState(ctx context.Context, id, state string) error {
	return s.SetDeviceStateBy(ctx, id, state, "")
}

// SetDeviceStateBy changes a component's state for a person (id); from then on Append goes by it. Live connections are the caller's to
// cut. What disables or deletes is in force on this hub from the call on, and goes ahead of what others write; ErrUnwritten if it could
// not be written in seconds. Since when it is in a state that it is already in does not change.
func (s *Directory) SetDeviceStateBy(ctx context.Context, id, state, person string) error {
	if err := checkState(state); err != nil {
		return sealdb.Named("set device state", err)
	}
	var err error
	if state == DeviceDisabled || state == DeviceDeleted {
		err = sealdb.Affected(s.db.UrgentExec(ctx, []sealdb.Bar{{Kind: sealdb.BarDevice, ID: id + " " + state}},
			`UPDATE devices SET kept_out = CASE WHEN state = ?1 THEN kept_out ELSE ?3 END, kept_out_by = CASE WHEN state = ?1 THEN kept_out_by ELSE ?4 END, state = ?1 WHERE id = ?2`,
			state, id, sealdb.Micro(s.db.Now()), person))
	} else {
		err = sealdb.Affected(s.db.ExecContext(ctx, "UPDATE devices SET state = ?, kept_out = NULL, kept_out_by = '' WHERE id = ?", state, id))
	}
	s.db.DevicesChanged()
	return sealdb.Named("set device state", err)
}
