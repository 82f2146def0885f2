package access

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"vitalseal/internal/shared/audit"
)

// ErrQuota means that a person or a workstation has caused as many entries of the audit log as they may for now. errors.As with a
// *QuotaError says which and when to try again.
var ErrQuota = errors.New("access: quota reached")

// QuotaError is an ErrQuota.
type QuotaError struct {
	Name       string // such as "audit entries of a person"
	RetryAfter time.Duration
}

func (q *QuotaError) Error() string { return ErrQuota.Error() + ": " + q.Name }

// Is makes it an ErrQuota.
func (q *QuotaError) Is(target error) bool { return target == ErrQuota }

// AuditQuota bounds the audit log's growth: what is in it stays, so who may ask without bound fills the disk. A person's own requests
// and those of the person's API keys count apart, so that a key that runs wild takes nothing from who is at the bed. Zero fields mean the default.
type AuditQuota struct {
	PersonEntries, StationEntries float64 // a second, in the long run; 40 seconds' worth at once
	PersonBytes, StationBytes     float64 // a second, in the long run; 1,000 seconds' worth at once
	// PersonWrites and StationWrites are entries of channels, a bulk update's each: a second, in the long run; 40 seconds' worth at once.
	PersonWrites, StationWrites float64
}

// DefaultAuditQuota is far above what a ward asks for: 50 entries and 16 KiB a second for a person, and 500
// entries of channels, and four times that for a workstation.
func DefaultAuditQuota() AuditQuota {
	return AuditQuota{PersonEntries: 50, StationEntries: 200, PersonBytes: 16 << 10, StationBytes: 64 << 10, PersonWrites: 500, StationWrites: 2000}
}

const (
	entryBurst = 40    // seconds
	byteBurst  = 1_000 // seconds
	// entryBytes is about what the log adds to what is in an entry.
	entryBytes = 200
	// maxBudgets bounds who is remembered; those who have all of theirs again are forgotten first.
	maxBudgets = 8192
)

// WithAuditQuota sets what a person and a workstation may add to the audit log.
func WithAuditQuota(q AuditQuota) Option {
	return func(e *Engine) {
		d := DefaultAuditQuota()
		for _, f := range []struct {
			to   *float64
			none float64
		}{{&q.PersonEntries, d.PersonEntries}, {&q.StationEntries, d.StationEntries}, {&q.PersonBytes, d.PersonBytes}, {&q.StationBytes, d.StationBytes},
			{&q.PersonWrites, d.PersonWrites}, {&q.StationWrites, d.StationWrites}} {
			if !(*f.to > 0) {
				*f.to = f.none
			}
		}
		e.budgets.quota = q
	}
}

// freeOfQuota is what must always be possible: to open a patient in an emergency, to take something from someone, to sign in elsewhere.
var freeOfQuota = []Action{BreakGlass, ManageConsent, ManagePeople, ManageIdentities, ReviewAccess, ManageOwnKeys}

// budgets are what is left to everyone.
type budgets struct {
	quota AuditQuota

	mu      sync.Mutex // guards what follows
	of      map[string]*budget
	refused map[string]*Refused
}

// budget is what is left to one person or workstation.
type budget struct {
	entries, bytes float64
	at             time.Time
}

// Refused counts what a quota refused since the hub started.
type Refused struct {
	Quota string    `json:"quota"`
	Who   string    `json:"who"` // a person's id, or a workstation's
	Count int64     `json:"count"`
	Last  time.Time `json:"last"`
}

func newBudgets() *budgets {
	return &budgets{quota: DefaultAuditQuota(), of: map[string]*budget{}, refused: map[string]*Refused{}}
}

// charge is one who pays, and the quota.
type charge struct {
	name, who      string
	entries, bytes float64 // a second
}

// afford takes an entry from what the subject and its workstation have left, or refuses.
func (e *Engine) afford(ctx context.Context, s Subject, a Action, entry audit.Entry, now time.Time) error {
	if slices.Contains(freeOfQuota, a) {
		return nil
	}
	size := entryBytes + len(entry.Person) + len(entry.Workstation) + len(entry.Resource) + len(entry.Reason)
	for _, p := range slices.Concat(entry.Policies, entry.Patients) {
		size += len(p) + 3
	}
	q := e.budgets.quota
	charges := []charge{{"audit entries of a workstation", s.Workstation, q.StationEntries, q.StationBytes}}
	switch {
	case s.Person.ID == "":
	case s.Key != nil:
		charges = append(charges, charge{"audit entries of a person's API keys", s.Person.ID, q.PersonEntries, q.PersonBytes})
	default:
		charges = append(charges, charge{"audit entries of a person", s.Person.ID, q.PersonEntries, q.PersonBytes})
	}
	//defence:quotas what one person or workstation adds to the audit log is bounded
	if err := e.budgets.take(charges, 1, float64(size), now); err != nil {
		return e.overQuota(ctx, entry, err)
	}
	return nil
}

// overQuota writes down that an entry was not afforded, and is why.
func (e *Engine) overQuota(ctx context.Context, entry audit.Entry, err *QuotaError) error {
	// Refusals that repeat themselves are counted by the log, not written one by one.
	entry.Allowed, entry.Resource, entry.Patient, entry.Patients, entry.Policies = false, "quota:audit", "", nil, nil
	entry.Reason = "too many " + err.Name
	if _, aerr := e.audit.Append(context.WithoutCancel(ctx), entry); aerr != nil {
		return fmt.Errorf("access: refused, the audit log cannot be written: %w", errors.Join(aerr, err))
	}
	return err
}

// SpendWrites takes n entries of channels from what the holder of a grant, and its workstation, may write; an ErrQuota if that is
// more than they have left. What is refused is counted.
func (e *Engine) SpendWrites(g Grant, n int) error {
	if g.standing {
		return nil
	}
	q := e.budgets.quota
	//defence:quotas what one person or workstation writes into channels is bounded
	if err := e.budgets.take([]charge{{"channel entries of a workstation", g.workstation, q.StationWrites, 1},
		{"channel entries of a person", g.holder, q.PersonWrites, 1}}, float64(n), 0, time.Now()); err != nil {
		return err
	}
	return nil
}

func (b *budgets) take(charges []charge, n, size float64, now time.Time) *QuotaError {
	b.mu.Lock()
	defer b.mu.Unlock()
	var pay []*budget
	for _, c := range charges {
		key := c.name + " " + c.who
		had := b.of[key]
		if had == nil {
			if len(b.of) >= maxBudgets {
				b.forget(now)
			}
			had = &budget{entries: c.entries * entryBurst, bytes: c.bytes * byteBurst, at: now}
			b.of[key] = had
		}
		if since := now.Sub(had.at).Seconds(); since > 0 {
			had.entries = min(c.entries*entryBurst, had.entries+since*c.entries)
			had.bytes = min(c.bytes*byteBurst, had.bytes+since*c.bytes)
			had.at = now
		}
		if had.entries < n || had.bytes < size {
			wait := max((n-had.entries)/c.entries, (size-had.bytes)/c.bytes, 0)
			b.count(c, key, now)
			return &QuotaError{c.name, time.Duration(wait * float64(time.Second))}
		}
		pay = append(pay, had)
	}
	for _, p := range pay {
		p.entries -= n
		p.bytes -= size
	}
	return nil
}

func (b *budgets) count(c charge, key string, now time.Time) {
	r := b.refused[key]
	if r == nil {
		if len(b.refused) >= maxBudgets {
			clear(b.refused)
		}
		r = &Refused{Quota: c.name, Who: c.who}
		b.refused[key] = r
	}
	r.Count++
	r.Last = now.UTC()
}

// forget drops those who have been quiet for as long as it takes to have all of theirs again, and all of them if there are none.
func (b *budgets) forget(now time.Time) {
	for k, x := range b.of {
		if now.Sub(x.at) > byteBurst*time.Second {
			delete(b.of, k)
		}
	}
	if len(b.of) >= maxBudgets {
		clear(b.of)
	}
}

// QuotaRefusals are who was refused by a quota since the hub started, the latest first, at most 1,000.
func (e *Engine) QuotaRefusals() []Refused {
	e.budgets.mu.Lock()
	defer e.budgets.mu.Unlock()
	all := make([]Refused, 0, len(e.budgets.refused))
	for _, r := range e.budgets.refused {
		all = append(all, *r)
	}
	slices.SortFunc(all, func(a, b Refused) int { return b.Last.Compare(a.Last) })
	return all[:min(len(all), 1000)]
}

// NoteRefused counts what another package's quota refused, for QuotaRefusals.
func (e *Engine) NoteRefused(quota, who string) {
	e.budgets.mu.Lock()
	defer e.budgets.mu.Unlock()
	e.budgets.count(charge{name: quota, who: who}, quota+" "+who, time.Now())
}
