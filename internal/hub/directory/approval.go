package directory

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"time"

	"vitalseal/internal/hub/access"
	"vitalseal/internal/hub/sealdb"
)

var _ access.Approvals = (*Directory)(nil)

// ApprovalStep is the part of the directory's schema about acts that take two persons, and about what a patient is told of new
// logins and relationships. A person of before it has created and changed 0. notices are of a patient or of a ward; one of a ward
// concerns who lies there.
const ApprovalStep = `
ALTER TABLE persons ADD COLUMN created INTEGER NOT NULL DEFAULT 0;
ALTER TABLE persons ADD COLUMN changed INTEGER NOT NULL DEFAULT 0;
CREATE INDEX persons_by_self ON persons (self) WHERE self IS NOT NULL;
CREATE TABLE approvals (
  id TEXT PRIMARY KEY, kind TEXT NOT NULL, target TEXT NOT NULL, sealed_act BLOB NOT NULL, requester TEXT NOT NULL, role TEXT NOT NULL,
  workstation TEXT NOT NULL, requested INTEGER NOT NULL, expires INTEGER NOT NULL, decider TEXT NOT NULL DEFAULT '', decided INTEGER,
  outcome TEXT NOT NULL DEFAULT '', sealed_note BLOB) WITHOUT ROWID;
CREATE INDEX approvals_by_time ON approvals (requested);
CREATE TABLE notices (
  id INTEGER PRIMARY KEY AUTOINCREMENT, at INTEGER NOT NULL, patient TEXT NOT NULL, ward TEXT NOT NULL, kind TEXT NOT NULL,
  person TEXT NOT NULL);
CREATE INDEX notices_by_patient ON notices (patient, at);
CREATE INDEX notices_by_ward ON notices (ward, at);
`

// PgApproval is ApprovalStep in PostgreSQL.
var PgApproval = sealdb.Step{Up: sealdb.Collated(`
ALTER TABLE persons ADD COLUMN created BIGINT NOT NULL DEFAULT 0;
ALTER TABLE persons ADD COLUMN changed BIGINT NOT NULL DEFAULT 0;
CREATE INDEX persons_by_self ON persons (self) WHERE self IS NOT NULL;
CREATE TABLE approvals (
  id TEXT PRIMARY KEY, kind TEXT NOT NULL, target TEXT NOT NULL, sealed_act BYTEA NOT NULL, requester TEXT NOT NULL, role TEXT NOT NULL,
  workstation TEXT NOT NULL, requested BIGINT NOT NULL, expires BIGINT NOT NULL, decider TEXT NOT NULL DEFAULT '', decided BIGINT,
  outcome TEXT NOT NULL DEFAULT '', sealed_note BYTEA);
CREATE INDEX approvals_by_time ON approvals (requested);
CREATE TABLE notices (
  id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY, at BIGINT NOT NULL, patient TEXT NOT NULL, ward TEXT NOT NULL, kind TEXT NOT NULL,
  person TEXT NOT NULL);
CREATE INDEX notices_by_patient ON notices (patient, at);
CREATE INDEX notices_by_ward ON notices (ward, at);`), Down: `
DROP TABLE approvals, notices;
DROP INDEX persons_by_self;
ALTER TABLE persons DROP COLUMN created; ALTER TABLE persons DROP COLUMN changed;`}

const (
	maxApprovals = 1000
	maxSealedAct = 64 << 10
	// noticeLife is how long a patient is told of a new login or relationship.
	noticeLife = 400 * 24 * time.Hour
	maxNotices = 100
)

// ErrSecondLogin means that the patient has a login already.
var ErrSecondLogin = errors.New("store: the patient has a login already")

// SaveApproval adds a request that waits. What is to be done is sealed.
func (s *Directory) SaveApproval(ctx context.Context, a access.Approval) error {
	err := errors.Join(sealdb.CheckID("approval id", a.ID), sealdb.CheckText("approval kind", a.Kind, 1, sealdb.MaxID), sealdb.CheckText("approval target", a.Target, 1, sealdb.MaxField),
		sealdb.CheckText("workstation", a.Workstation, 1, sealdb.MaxID))
	if err == nil && len(a.Act) > maxSealedAct {
		err = fmt.Errorf("%w: an act may have %d bytes", sealdb.ErrInvalid, maxSealedAct)
	}
	if err != nil {
		return sealdb.Named("save approval", err)
	}
	key, err := s.db.Key(ctx, sealdb.DirectoryKey)
	if err != nil {
		return sealdb.Named("save approval", err)
	}
	_, err = s.db.ExecContext(ctx, `INSERT INTO approvals (id, kind, target, sealed_act, requester, role, workstation, requested, expires)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)`, a.ID, a.Kind, a.Target, key.Seal(a.Act, sealdb.Associated("approval", a.ID)), a.Requester, string(a.Role),
		a.Workstation, sealdb.Micro(a.Requested), sealdb.Micro(a.Expires))
	return sealdb.Named("save approval", err)
}

const selectApproval = `SELECT id, kind, target, sealed_act, requester, role, workstation, requested, expires, decider, decided, outcome, sealed_note
	FROM approvals`

func (s *Directory) scanApproval(ctx context.Context, r sealdb.Scanner) (a access.Approval, err error) {
	var act, note []byte
	var requested, expires int64
	var decided *int64
	if err := r.Scan(&a.ID, &a.Kind, &a.Target, &act, &a.Requester, &a.Role, &a.Workstation, &requested, &expires, &a.Decider, &decided,
		&a.Outcome, &note); err != nil {
		return access.Approval{}, err
	}
	a.Requested, a.Expires, a.Decided = sealdb.FromMicro(requested), sealdb.FromMicro(expires), sealdb.FromOptional(decided)
	key, err := s.db.Key(ctx, sealdb.DirectoryKey)
	if err != nil {
		return access.Approval{}, err
	}
	if a.Act, err = key.Open(act, sealdb.Associated("approval", a.ID)); err != nil {
		return access.Approval{}, sealdb.ErrSealed
	}
	if len(note) > 0 {
		b, err := key.Open(note, sealdb.Associated("approval note", a.ID))
		if err != nil {
			return access.Approval{}, sealdb.ErrSealed
		}
		a.Note = string(b)
	}
	return a, nil
}

// Approval is the request with this id.
func (s *Directory) Approval(ctx context.Context, id string) (access.Approval, error) {
	a, err := s.scanApproval(ctx, s.db.QueryRowContext(ctx, selectApproval+" WHERE id = ?", id))
	return a, sealdb.Named("approval", err)
}

// Approvals are the requests since a time, newest first, at most 1,000.
func (s *Directory) Approvals(ctx context.Context, since time.Time) ([]access.Approval, error) {
	all, err := sealdb.List(ctx, s.db.DB, func(r *sql.Rows) (access.Approval, error) { return s.scanApproval(ctx, r) },
		selectApproval+fmt.Sprintf(" WHERE requested >= ? ORDER BY requested DESC, id LIMIT %d", maxApprovals), sealdb.Micro(since))
	return all, sealdb.Named("approvals", err)
}

// DecideApproval writes the outcome of a request that has none: of two decisions one is ErrNotFound. What a refused or withdrawn
// request would have done is destroyed.
func (s *Directory) DecideApproval(ctx context.Context, id, decider, outcome, note string, at time.Time) error {
	if err := errors.Join(sealdb.CheckText("outcome", outcome, 1, sealdb.MaxID), sealdb.CheckText("note", note, 0, sealdb.MaxField)); err != nil {
		return sealdb.Named("decide approval", err)
	}
	key, err := s.db.Key(ctx, sealdb.DirectoryKey)
	if err != nil {
		return sealdb.Named("decide approval", err)
	}
	var sealed []byte
	if note != "" {
		sealed = key.Seal([]byte(note), sealdb.Associated("approval note", id))
	}
	return sealdb.Named("decide approval", sealdb.Affected(s.db.ExecContext(ctx, "UPDATE approvals SET decider = ?, decided = ?, outcome = ?, sealed_note = ? WHERE id = ? AND outcome = ''",
		decider, sealdb.Micro(at), outcome, sealed, id)))
}

// FinishApproval replaces the outcome of a request that was approved.
func (s *Directory) FinishApproval(ctx context.Context, id, outcome string) error {
	return sealdb.Named("finish approval", sealdb.Affected(s.db.ExecContext(ctx, "UPDATE approvals SET outcome = ? WHERE id = ? AND outcome = ?", outcome, id, access.ApprovalApproved)))
}

// noticesAtOnce is how many notices that are over go with a change.
const noticesAtOnce = 100

// Kinds of Notice.
const (
	NoticeLogin  = "login"       // a login of the patient was made
	NoticeReset  = "login-reset" // the login got a new password, or lost its second factors, or was let in again
	NoticeTreats = "treats"      // a doctor treats the patient from then on
	NoticeWard   = "ward"        // a nurse is on the patient's ward from then on
)

// Notice is something that a patient is told: who may see the values since when, and what happened to the patient's own login.
type Notice struct {
	At     time.Time
	Kind   string
	Person string // id of the person that it is about
}

// Notices are what a patient is told of the last 400 days, newest first, at most 100: of the patient, and of the ward since the
// patient came to lie there.
func (s *Directory) Notices(ctx context.Context, patient string) ([]Notice, error) {
	all, err := sealdb.List(ctx, s.db.DB, func(r *sql.Rows) (n Notice, err error) {
		var at int64
		err = r.Scan(&at, &n.Kind, &n.Person)
		n.At = sealdb.FromMicro(at)
		return n, err
	}, fmt.Sprintf(`SELECT at, kind, person FROM notices WHERE patient = ?1 AND at >= ?2 UNION ALL
		SELECT n.at, n.kind, n.person FROM stays t JOIN beds b ON b.id = t.bed JOIN notices n ON n.ward = b.ward
		WHERE t.patient = ?1 AND t.ends IS NULL AND n.at >= t.begins AND n.at >= ?2 ORDER BY 1 DESC LIMIT %d`, maxNotices),
		patient, sealdb.Micro(s.db.Now().Add(-noticeLife)))
	return all, sealdb.Named("notices", err)
}

// note adds notices about a person: of patients and of wards.
func (s *Directory) note(ctx context.Context, tx *sql.Tx, person, kind string, patients []string) error {
	now := sealdb.Micro(s.db.Now())
	for _, id := range patients {
		patient, ward := id, ""
		if kind == NoticeWard {
			patient, ward = "", id
		}
		if _, err := tx.ExecContext(ctx, "INSERT INTO notices (at, patient, ward, kind, person) VALUES (?, ?, ?, ?, ?)", now, patient, ward, kind, person); err != nil {
			return err
		}
	}
	return nil
}

// noteReset tells a patient that the own login was changed by another person.
func (s *Directory) noteReset(ctx context.Context, tx *sql.Tx, person string) error {
	var self sql.NullString
	if err := tx.QueryRowContext(ctx, "SELECT self FROM persons WHERE id = ?", person).Scan(&self); err != nil {
		return err
	}
	if !self.Valid {
		return nil
	}
	return s.note(ctx, tx, person, NoticeReset, []string{self.String})
}

// oneLogin refuses a second login of a patient. Write transactions run one at a time, so that two at once are no way around it.
func oneLogin(ctx context.Context, tx *sql.Tx, patient string) error {
	var n int
	if err := tx.QueryRowContext(ctx, "SELECT count(*) FROM persons WHERE self = ?", patient).Scan(&n); err != nil {
		return err
	}
	//defence:one-login a patient has one login
	if n > 0 {
		return ErrSecondLogin
	}
	return nil
}

// PersonChanged notes that another person changed the means by which this one signs in, and tells the patient whose login it is.
func (s *Directory) PersonChanged(ctx context.Context, person string) error {
	return sealdb.Named("person changed", s.db.InTx(ctx, func(tx *sql.Tx) error {
		if err := sealdb.Affected(tx.ExecContext(ctx, "UPDATE persons SET changed = ? WHERE id = ?", sealdb.Micro(s.db.Now()), person)); err != nil {
			return err
		}
		return s.noteReset(ctx, tx, person)
	}))
}

// SetRelations replaces a person's role, wards and patients at once, if they are still what before has: else it is ErrConflict. The
// patients concerned are told of what is new.
func (s *Directory) SetRelations(ctx context.Context, before access.Person, role access.Role, wards, patients []string) error {
	if !role.Valid() {
		return sealdb.Named("set relations", fmt.Errorf("%w: role must be one of %v", sealdb.ErrInvalid, access.Roles()))
	}
	return sealdb.Named("set relations", s.db.Urgently(ctx, func(ctx context.Context, tx *sql.Tx) error {
		now, _, err := s.scanPerson(ctx, tx.QueryRowContext(ctx, selectPerson+" WHERE id = ?", before.ID))
		if err != nil {
			return err
		}
		if now.Role != before.Role || !slices.Equal(now.Wards, before.Wards) || !slices.Equal(now.Patients, before.Patients) {
			return fmt.Errorf("%w: role, wards or patients have changed meanwhile", sealdb.ErrConflict)
		}
		if role != access.RoleAdmin {
			if err := keepsAdministrator(ctx, tx, before.ID); err != nil {
				return err
			}
		}
		newWards, err := relations(ctx, tx, "ward", "wards", wards)
		if err != nil {
			return err
		}
		newPatients, err := relations(ctx, tx, "patient", "patients", patients)
		if err != nil {
			return err
		}
		if err := sealdb.Affected(tx.ExecContext(ctx, "UPDATE persons SET role = ?, wards = ?, patients = ?, changed = ? WHERE id = ?", string(role), newWards, newPatients,
			sealdb.Micro(s.db.Now()), before.ID)); err != nil {
			return err
		}
		return errors.Join(s.note(ctx, tx, before.ID, NoticeWard, without(wards, before.Wards)),
			s.note(ctx, tx, before.ID, NoticeTreats, without(patients, before.Patients)))
	}))
}

// without are the ids of all that are not among those.
func without(all, those []string) []string {
	return slices.DeleteFunc(slices.Clone(all), func(id string) bool { return slices.Contains(those, id) })
}
