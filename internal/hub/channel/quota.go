package channel

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"vitalseal/internal/hub/sealdb"
)

// ErrQuota means that a person, or the hospital, has stored as much as they may; the text says of what.
var ErrQuota = errors.New("store: quota reached")

// Quota bounds what is stored in free channels and TalkBacks. Zero fields mean the default.
type Quota struct {
	// PersonEntries and PersonBytes are for what one person made: entries and commands together, and what they take on disk.
	PersonEntries, PersonBytes int64
	// HospitalEntries and HospitalBytes are for the channels that administrators made.
	HospitalEntries, HospitalBytes int64
}

// DefaultQuota is four million entries and 1 GiB a person, ten times that for the hospital's own channels.
func DefaultQuota() Quota {
	return Quota{PersonEntries: 4_000_000, PersonBytes: 1 << 30, HospitalEntries: 40_000_000, HospitalBytes: 10 << 30}
}

func (q Quota) filled() Quota {
	d := DefaultQuota()
	for _, f := range []struct {
		to   *int64
		none int64
	}{{&q.PersonEntries, d.PersonEntries}, {&q.PersonBytes, d.PersonBytes}, {&q.HospitalEntries, d.HospitalEntries}, {&q.HospitalBytes, d.HospitalBytes}} {
		if *f.to <= 0 {
			*f.to = f.none
		}
	}
	return q
}

// Usage is what is stored of one owner.
type Usage struct {
	Owner   string `json:"person"` // empty: the hospital
	Entries int64  `json:"entries"`
	Bytes   int64  `json:"bytes"`
}

// Of is the two bounds for an owner.
func (q Quota) Of(owner string) Usage {
	if owner == "" {
		return Usage{owner, q.HospitalEntries, q.HospitalBytes}
	}
	return Usage{owner, q.PersonEntries, q.PersonBytes}
}

func (most Usage) check(owner string, have Usage) error {
	whose := "a person's"
	if owner == "" {
		whose = "the hospital's own"
	}
	switch {
	//defence:quotas what one person stores is bounded
	case have.Entries > most.Entries:
		return fmt.Errorf("%w: %s channels and TalkBacks may hold %d entries and commands; delete some first", ErrQuota, whose, most.Entries)
	//defence:quotas what one person stores is bounded
	case have.Bytes > most.Bytes:
		return fmt.Errorf("%w: %s channels and TalkBacks may take %d bytes; delete some first", ErrQuota, whose, most.Bytes)
	}
	return nil
}

// Quota is what the store was opened with.
func (s *Registry) Quota() Quota { return s.quota }

// Usages are who has stored how much, most bytes first, at most limit (1 to 1,000).
func (s *Registry) Usages(ctx context.Context, limit int) ([]Usage, error) {
	all, err := sealdb.List(ctx, s.apart.DB, func(r *sql.Rows) (u Usage, err error) { return u, r.Scan(&u.Owner, &u.Entries, &u.Bytes) },
		"SELECT owner, entries, bytes FROM usage ORDER BY bytes DESC, owner LIMIT ?", min(max(limit, 1), 1000))
	return all, sealdb.Named("usage", err)
}
