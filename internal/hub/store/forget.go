package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"math"
	"slices"
	"strings"
	"time"

	"vitalseal/internal/hub/channel"
	"vitalseal/internal/hub/sealdb"
)

// ErrAdmitted means that the patient still lies in a bed.
var ErrAdmitted = errors.New("store: the patient lies in a bed")

// Forget destroys the keys of a patient, of the patient's channel and of its envelopes in a cloud, for good: name, chunks, sums,
// envelopes and all that is sealed under them cannot be opened any more, here or in a backup that has no keys. Forwarding
// ends. What was set aside of the patient's sensors goes. The patient's own sign-in is disabled and loses its name, its second
// factors and its link to an OpenID provider. The id stays, and with it what the audit log says. ErrHeld while a hold protects the patient, ErrAdmitted while the patient
// lies in a bed: discharge first. A patient that was forgotten before is none any more: ErrNotFound.
//
// It cannot reach backups whose keys were kept, nor what was forwarded in plain text, nor chunks that a gateway has not delivered yet:
// those, when they come, have no owner.
func (s *Store) Forget(ctx context.Context, patient string) error {
	// Nothing of the patient may be on its way into a block while the key goes.
	defer s.Pause()()
	var number int64
	err := s.db.InTx(ctx, func(tx *sql.Tx) error {
		var held, inBed int
		err := tx.QueryRowContext(ctx, `SELECT (SELECT count(*) FROM holds WHERE patient = p.id), (SELECT count(*) FROM stays WHERE patient = p.id AND ends IS NULL)
			FROM patients p JOIN keys k ON k.name = ? WHERE p.id = ?`, sealdb.PatientKey(patient), patient).Scan(&held, &inBed)
		switch {
		case err != nil:
			return err
		case held > 0:
			return sealdb.ErrHeld
		case inBed > 0:
			return ErrAdmitted
		}
		if err := tx.QueryRowContext(ctx, "SELECT id FROM channels WHERE patient = ?", patient).Scan(&number); err != nil {
			return err
		}
		return erase(ctx, tx, patient, number, s.db.Now())
	})
	if err != nil {
		return sealdb.Named("forget", err)
	}
	s.db.ForgetKeys(func(name string) bool {
		return name == sealdb.PatientKey(patient) || name == sealdb.ChannelKey(number) || strings.HasPrefix(name, channel.EnvelopeKeys(number))
	})
	if s.db.IsShared() {
		// Deleted rows stay in PostgreSQL's file until it is written anew.
		_, err := s.db.DB.ExecContext(ctx, "VACUUM (FULL) keys")
		return sealdb.Named("forget", err)
	}
	// The file overwrites what is deleted; the log beside it still has the page as it was.
	var busy, pages, moved int
	if err := s.db.QueryRowContext(ctx, "PRAGMA wal_checkpoint(TRUNCATE)").Scan(&busy, &pages, &moved); err != nil {
		return sealdb.Named("forget", err)
	}
	if busy != 0 {
		return sealdb.Named("forget", errors.New("the key is gone, but its bytes are still in the write-ahead log, because a read was under way; start the hub again"))
	}
	return nil
}

// erase takes out of a directory all that must not outlast a patient. It runs again without harm.
func erase(ctx context.Context, tx *sql.Tx, patient string, number int64, now time.Time) error {
	const own = "(SELECT id FROM persons WHERE self = ?)"
	for _, q := range []struct {
		query string
		args  []any
	}{
		{"DELETE FROM keys WHERE name IN (?, ?)", []any{sealdb.PatientKey(patient), sealdb.ChannelKey(number)}},
		// Names sort by their bytes: these are all that begin so.
		{"DELETE FROM keys WHERE name >= ? AND name < ?", []any{channel.EnvelopeKeys(number), strings.TrimSuffix(channel.EnvelopeKeys(number), "/") + "0"}},
		{"DELETE FROM sinks WHERE channel = ?", []any{number}},
		{"DELETE FROM sent_seconds WHERE channel = ?", []any{number}},
		{"DELETE FROM cloud_consents WHERE patient = ?", []any{patient}},
		// What was set aside is under the key of no patient. It is the patient's by the time that it says, or, if that is
		// what was wrong with it, by the time that it came.
		{`DELETE FROM quarantine WHERE id IN (SELECT q.id FROM quarantine q JOIN placements p ON p.device = q.sensor JOIN stays s ON s.bed = p.bed
			WHERE s.patient = ?1 AND (q.start >= p.begins AND q.start >= s.begins AND q.start < coalesce(p.ends, ?2) AND q.start < coalesce(s.ends, ?2)
			OR q.received >= p.begins AND q.received >= s.begins AND q.received < coalesce(p.ends, ?2) AND q.received < coalesce(s.ends, ?2)))`,
			[]any{patient, int64(math.MaxInt64)}},
		// What waits for its time is likewise, by the time that was measured or by any between its own and when it came.
		{`DELETE FROM waiting WHERE id IN (SELECT q.id FROM waiting q JOIN placements p ON p.device = q.sensor JOIN stays s ON s.bed = p.bed
			WHERE s.patient = ?1 AND q.received >= p.begins AND q.received >= s.begins AND q.start - q.clock < coalesce(p.ends, ?2) AND q.start - q.clock < coalesce(s.ends, ?2))`,
			[]any{patient, int64(math.MaxInt64)}},
		{"UPDATE patients SET sealed_name = ? WHERE id = ?", []any{[]byte{}, patient}},
		{"DELETE FROM api_keys WHERE channel = ?", []any{number}},
		{"DELETE FROM mqtt_rights WHERE channel = ?", []any{number}},
		{"DELETE FROM sessions WHERE person IN " + own, []any{patient}},
		{"DELETE FROM factors WHERE person IN " + own, []any{patient}},
		{"DELETE FROM exclusions WHERE patient = ?", []any{patient}},
		{"DELETE FROM notices WHERE patient = ?", []any{patient}},
		{"DELETE FROM silences WHERE patient = ?", []any{patient}},
		{`UPDATE persons SET disabled = ?, password = '', sealed_name = ?, login = 'forgotten-' || id, issuer = '', subject = ''
			WHERE self = ?`, []any{true, []byte{}, patient}},
		{"INSERT INTO forgotten (patient, at) VALUES (?, ?) ON CONFLICT DO NOTHING", []any{patient, sealdb.Micro(now)}},
	} {
		if _, err := tx.ExecContext(ctx, q.query, q.args...); err != nil {
			return err
		}
	}
	return unrelate(ctx, tx, patient)
}

// unrelate takes a patient from the doctors who treat them: in a list of beds it would be one that cannot be opened.
func unrelate(ctx context.Context, tx *sql.Tx, patient string) error {
	treat := map[string][]string{}
	err := sealdb.Each(ctx, tx, "SELECT id, patients FROM persons WHERE patients <> '[]'", func(rows *sql.Rows) error {
		var id, list string
		var patients []string
		if err := rows.Scan(&id, &list); err != nil {
			return err
		}
		if err := json.Unmarshal([]byte(list), &patients); err != nil {
			return err
		}
		if slices.Contains(patients, patient) {
			treat[id] = slices.DeleteFunc(patients, func(p string) bool { return p == patient })
		}
		return nil
	})
	if err != nil {
		return err
	}
	for id, patients := range treat {
		left, err := json.Marshal(patients)
		if err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, "UPDATE persons SET patients = ? WHERE id = ?", string(left), id); err != nil {
			return err
		}
	}
	return nil
}
