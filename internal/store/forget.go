package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	"vitalseal/internal/seal"
)

var (
	// ErrHeld means that a legal hold protects what would be destroyed.
	ErrHeld = errors.New("store: the patient is under a legal hold")
	// ErrAdmitted means that the patient still lies in a bed.
	ErrAdmitted = errors.New("store: the patient lies in a bed")
)

// ForgottenName stands where a name was.
const ForgottenName = "(forgotten)"

// ForgottenPatients are the ids of the patients who were forgotten: they have no name any more.
func (s *Store) ForgottenPatients(ctx context.Context) ([]string, error) {
	ids, err := list(ctx, s.db.DB, func(r *sql.Rows) (id string, err error) {
		err = r.Scan(&id)
		return id, err
	}, "SELECT id FROM patients WHERE length(sealed_name) = 0 ORDER BY id")
	return ids, named("forgotten patients", err)
}

// forgetStep is the part of the directory's schema about legal holds and forgetting.
const forgetStep = `
CREATE TABLE holds (
  patient TEXT PRIMARY KEY REFERENCES patients(id), since INTEGER NOT NULL, person TEXT NOT NULL, sealed_reason BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE forgotten (patient TEXT PRIMARY KEY REFERENCES patients(id), at INTEGER NOT NULL) WITHOUT ROWID;
`

// Hold is a legal hold: the patient can neither be forgotten nor lose data to retention.
type Hold struct {
	Patient, Person string // whom it protects; who placed it
	Since           time.Time
	Reason          string
}

// PlaceHold protects a patient's data; ErrExists if something protects it already. The reason, 1 to 1,000 bytes, is sealed.
func (s *Store) PlaceHold(ctx context.Context, patient, person, reason string) error {
	if err := checkText("reason", reason, 1, 1000); err != nil {
		return named("hold", err)
	}
	key, err := s.key(ctx, directoryKey)
	if err != nil {
		return named("hold", err)
	}
	_, err = s.db.ExecContext(ctx, "INSERT INTO holds (patient, since, person, sealed_reason) VALUES (?, ?, ?, ?)",
		patient, micro(s.now()), person, key.Seal([]byte(reason), associated("hold", patient)))
	return named("hold", err)
}

// ReleaseHold ends a hold; ErrNotFound if there is none.
func (s *Store) ReleaseHold(ctx context.Context, patient string) error {
	return named("release hold", affected(s.db.ExecContext(ctx, "DELETE FROM holds WHERE patient = ?", patient)))
}

// Holds are all holds, oldest first.
func (s *Store) Holds(ctx context.Context) ([]Hold, error) {
	key, err := s.key(ctx, directoryKey)
	if err != nil {
		return nil, named("holds", err)
	}
	all, err := list(ctx, s.db.DB, func(r *sql.Rows) (h Hold, err error) {
		var since int64
		var sealed []byte
		if err := r.Scan(&h.Patient, &h.Person, &since, &sealed); err != nil {
			return h, err
		}
		reason, err := key.Open(sealed, associated("hold", h.Patient))
		if err != nil {
			return h, fmt.Errorf("%w: reason of a hold", ErrSealed)
		}
		h.Since, h.Reason = fromMicro(since), string(reason)
		return h, nil
	}, "SELECT patient, person, since, sealed_reason FROM holds ORDER BY since, patient")
	return all, named("holds", err)
}

func (s *Store) heldPatients(ctx context.Context) ([]string, error) {
	return list(ctx, s.db.DB, func(r *sql.Rows) (p string, err error) { return p, r.Scan(&p) }, "SELECT patient FROM holds")
}

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
	s.compacting.Lock()
	defer s.compacting.Unlock()
	var channel int64
	err := s.inTx(ctx, func(tx *sql.Tx) error {
		var held, inBed int
		err := tx.QueryRowContext(ctx, `SELECT (SELECT count(*) FROM holds WHERE patient = p.id), (SELECT count(*) FROM stays WHERE patient = p.id AND ends IS NULL)
			FROM patients p JOIN keys k ON k.name = ? WHERE p.id = ?`, patientKey(patient), patient).Scan(&held, &inBed)
		switch {
		case err != nil:
			return err
		case held > 0:
			return ErrHeld
		case inBed > 0:
			return ErrAdmitted
		}
		if err := tx.QueryRowContext(ctx, "SELECT id FROM channels WHERE patient = ?", patient).Scan(&channel); err != nil {
			return err
		}
		return erase(ctx, tx, patient, channel, s.now())
	})
	if err != nil {
		return named("forget", err)
	}
	s.keys.forget(func(name string) bool {
		return name == patientKey(patient) || name == channelKey(channel) || strings.HasPrefix(name, envelopeKeys(channel))
	})
	if s.others != nil {
		// Deleted rows stay in PostgreSQL's file until it is written anew.
		_, err := s.db.DB.ExecContext(ctx, "VACUUM (FULL) keys")
		return named("forget", err)
	}
	// The file overwrites what is deleted; the log beside it still has the page as it was.
	var busy, pages, moved int
	if err := s.db.QueryRowContext(ctx, "PRAGMA wal_checkpoint(TRUNCATE)").Scan(&busy, &pages, &moved); err != nil {
		return named("forget", err)
	}
	if busy != 0 {
		return named("forget", errors.New("the key is gone, but its bytes are still in the write-ahead log, because a read was under way; start the hub again"))
	}
	return nil
}

// erase takes out of a directory all that must not outlast a patient. It runs again without harm.
func erase(ctx context.Context, tx *sql.Tx, patient string, channel int64, now time.Time) error {
	const own = "(SELECT id FROM persons WHERE self = ?)"
	for _, q := range []struct {
		query string
		args  []any
	}{
		{"DELETE FROM keys WHERE name IN (?, ?)", []any{patientKey(patient), channelKey(channel)}},
		// Names sort by their bytes: these are all that begin so.
		{"DELETE FROM keys WHERE name >= ? AND name < ?", []any{envelopeKeys(channel), strings.TrimSuffix(envelopeKeys(channel), "/") + "0"}},
		{"DELETE FROM sinks WHERE channel = ?", []any{channel}},
		{"DELETE FROM sent_seconds WHERE channel = ?", []any{channel}},
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
		{"DELETE FROM api_keys WHERE channel = ?", []any{channel}},
		{"DELETE FROM mqtt_rights WHERE channel = ?", []any{channel}},
		{"DELETE FROM sessions WHERE person IN " + own, []any{patient}},
		{"DELETE FROM factors WHERE person IN " + own, []any{patient}},
		{"DELETE FROM exclusions WHERE patient = ?", []any{patient}},
		{"DELETE FROM notices WHERE patient = ?", []any{patient}},
		{"DELETE FROM silences WHERE patient = ?", []any{patient}},
		{`UPDATE persons SET disabled = ?, password = '', sealed_name = ?, login = 'forgotten-' || id, issuer = '', subject = ''
			WHERE self = ?`, []any{true, []byte{}, patient}},
		{"INSERT INTO forgotten (patient, at) VALUES (?, ?) ON CONFLICT DO NOTHING", []any{patient, micro(now)}},
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
	err := each(ctx, tx, "SELECT id, patients FROM persons WHERE patients <> '[]'", func(rows *sql.Rows) error {
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

// forget drops keys that have been destroyed.
func (r *keyring) forget(which func(name string) bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.gone++
	maps.DeleteFunc(r.m, func(name string, _ seal.Key) bool { return which(name) })
}

// Forgotten reports whether a patient was forgotten.
func (s *Store) Forgotten(ctx context.Context, patient string) (bool, error) {
	var n int
	err := s.db.QueryRowContext(ctx, "SELECT count(*) FROM forgotten WHERE patient = ?", patient).Scan(&n)
	return n > 0, named("forgotten", err)
}
