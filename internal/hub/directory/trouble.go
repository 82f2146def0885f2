package directory

import (
	"context"
	"database/sql"
	"time"

	"vitalseal/internal/hub/sealdb"
)

// TroubleStep is the part of the directory's schema about what is wrong with a component, as it says itself, and what the hub last had
// to refuse of it.
const TroubleStep = `
ALTER TABLE devices ADD COLUMN trouble TEXT NOT NULL DEFAULT '';
ALTER TABLE devices ADD COLUMN troubled INTEGER;
ALTER TABLE devices ADD COLUMN alert TEXT NOT NULL DEFAULT '';
ALTER TABLE devices ADD COLUMN alerted INTEGER;
`

// PgTrouble is TroubleStep in PostgreSQL.
var PgTrouble = sealdb.Step{Up: sealdb.Collated(`
ALTER TABLE devices ADD COLUMN trouble TEXT NOT NULL DEFAULT '', ADD COLUMN troubled BIGINT, ADD COLUMN alert TEXT NOT NULL DEFAULT '', ADD COLUMN alerted BIGINT;
`), Down: `
ALTER TABLE devices DROP COLUMN trouble, DROP COLUMN troubled, DROP COLUMN alert, DROP COLUMN alerted;`}

// NoteTrouble notes what a sensor says is wrong with its gateway since a time, for the sensor and the gateway; empty text: nothing any
// more. What is older than what is noted changes nothing. An unknown id is no error: the inventory may lack it.
func (s *Directory) NoteTrouble(ctx context.Context, sensor, text string, at time.Time) error {
	if err := sealdb.CheckText("trouble", text, 0, sealdb.MaxName); err != nil {
		return sealdb.Named("note trouble", err)
	}
	return sealdb.Named("note trouble", s.db.InTx(ctx, func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, `UPDATE devices SET trouble = ?2, troubled = ?3 WHERE (troubled IS NULL OR troubled <= ?3)
			AND (id = ?1 OR id = (SELECT gateway FROM devices WHERE id = ?1))`, sensor, text, sealdb.Micro(at))
		return err
	}))
}

// NoteAlert notes what the hub last had to refuse of a component, or let in against the rule.
func (s *Directory) NoteAlert(ctx context.Context, id, text string, at time.Time) error {
	if err := sealdb.CheckText("alert", text, 1, sealdb.MaxName); err != nil {
		return sealdb.Named("note alert", err)
	}
	_, err := s.db.ExecContext(ctx, "UPDATE devices SET alert = ?, alerted = ? WHERE id = ?", text, sealdb.Micro(at), id)
	return sealdb.Named("note alert", err)
}
