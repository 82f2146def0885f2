package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"time"

	"vitalseal/internal/vitals"
)

// Retention is how long chunks stay, by their day. Zero means for ever. What a patient's legal hold protects stays whatever it says.
type Retention struct {
	Waveforms time.Duration // red, infrared and pressure
	Numerics  time.Duration // numbers and events; their sums stay
	Sums      time.Duration // everything of a day, sums included; at least MinRetention
}

// MinRetention is how long a day's bookkeeping must stay: until no chunk of it would be taken in any more, so that none that was
// taken out comes back as new.
const MinRetention = 32 * 24 * time.Hour

// WithRetention sets how long chunks stay; the default is for ever.
func WithRetention(r Retention) Option { return func(o *options) { o.retention = r } }

func (r Retention) check() error {
	for _, x := range []struct {
		name string
		d    time.Duration
		low  time.Duration
	}{{"waveforms", r.Waveforms, 24 * time.Hour}, {"numerics", r.Numerics, 24 * time.Hour}, {"sums", r.Sums, MinRetention}} {
		if x.d != 0 && x.d < x.low {
			return fmt.Errorf("%w: retention of %s: %v is less than %v", ErrInvalid, x.name, x.d, x.low)
		}
	}
	return nil
}

// Expire takes out what its retention has ended for, now. The background does it once an hour.
func (s *Store) Expire(ctx context.Context) error {
	s.compacting.Lock()
	defer s.compacting.Unlock()
	return named("expire", s.archive.alone(ctx, s.expire))
}

func (s *Store) expire(ctx context.Context) error {
	names, _, err := s.archive.all(ctx)
	if err != nil {
		return err
	}
	var failed error // a day that is damaged does not hold up the others
	for _, name := range names {
		day, err := time.Parse(time.DateOnly, name)
		if err == nil {
			err = s.expireDay(ctx, name, s.now().Sub(day.Add(24*time.Hour+maxSpan)))
		}
		if err != nil {
			failed = errors.Join(failed, fmt.Errorf("partition %s: %w", name, err))
		}
	}
	return failed
}

func (s *Store) expireDay(ctx context.Context, name string, age time.Duration) error {
	over := func(d time.Duration) bool { return d != 0 && age > d }
	r := s.opt.retention
	var signals []vitals.Signal
	if over(r.Waveforms) {
		signals = append(signals, vitals.PPG, vitals.Pressure)
	}
	if over(r.Numerics) {
		signals = append(signals, vitals.Numerics, vitals.Events)
	}
	if len(signals) == 0 && !over(r.Sums) {
		return nil
	}
	held, err := s.heldPatients(ctx)
	if err != nil {
		return err
	}
	if over(r.Sums) {
		kept, err := s.holdsAny(ctx, name, held)
		if err != nil {
			return err
		}
		if !kept {
			return s.archive.drop(ctx, name)
		}
		signals = []vitals.Signal{vitals.PPG, vitals.Pressure, vitals.Numerics, vitals.Events}
	}
	return s.expireSignals(ctx, name, signals, held)
}

// holdsAny reports whether a partition has something of one of the patients.
func (s *Store) holdsAny(ctx context.Context, name string, patients []string) (bool, error) {
	d, err := s.archive.open(ctx, name)
	if err != nil {
		return false, err
	}
	defer d.release()
	for _, p := range patients {
		var n int
		err := d.reader().QueryRowContext(ctx, "SELECT (SELECT count(*) FROM "+d.table("blocks")+" WHERE subject = x.id) + (SELECT count(*) FROM "+
			d.table("recent")+" WHERE subject = x.id) + (SELECT count(*) FROM "+d.table("sums")+" WHERE subject = x.id) FROM subjects x WHERE name = ?", p).Scan(&n)
		if errors.Is(err, sql.ErrNoRows) {
			continue
		}
		if err != nil || n > 0 {
			return n > 0, err
		}
	}
	return false, nil
}

// expireSignals takes out the blocks of some signals, of all patients but those held. What is not in blocks yet is too young.
func (s *Store) expireSignals(ctx context.Context, name string, signals []vitals.Signal, held []string) error {
	d, err := s.archive.open(ctx, name)
	if err != nil {
		return err
	}
	defer d.release()
	var keep []int64
	for _, p := range held {
		var id int64
		if err := d.reader().QueryRowContext(ctx, "SELECT coalesce(max(id), -1) FROM subjects WHERE name = ?", p).Scan(&id); err != nil {
			return err
		}
		keep = append(keep, id)
	}
	removed := int64(0)
	var subjects []int64
	if err := each(ctx, d.reader(), "SELECT DISTINCT subject FROM "+d.table("blocks"), func(rows *sql.Rows) error {
		var id int64
		err := rows.Scan(&id)
		subjects = append(subjects, id)
		return err
	}); err != nil {
		return err
	}
	for _, id := range subjects {
		if slices.Contains(keep, id) {
			continue
		}
		for _, sig := range signals {
			r, err := d.writer().ExecContext(ctx, "DELETE FROM "+d.table("blocks")+" WHERE subject = ? AND signal = ?", id, uint8(sig))
			if err != nil {
				return err
			}
			n, err := r.RowsAffected()
			if err != nil {
				return err
			}
			removed += n
		}
	}
	if removed == 0 {
		return nil
	}
	s.log.Info("retention has ended", "partition", name, "blocks", removed)
	return d.shrink(ctx)
}
