package archive

import (
	"context"
	"errors"
	"fmt"
	"time"

	"vitalseal/internal/hub/archive/attribution"
	"vitalseal/internal/hub/sealdb"
	"vitalseal/internal/measurement/vitals"
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

func (r Retention) check() error {
	for _, x := range []struct {
		name string
		d    time.Duration
		low  time.Duration
	}{{"waveforms", r.Waveforms, 24 * time.Hour}, {"numerics", r.Numerics, 24 * time.Hour}, {"sums", r.Sums, MinRetention}} {
		if x.d != 0 && x.d < x.low {
			return fmt.Errorf("%w: retention of %s: %v is less than %v", sealdb.ErrInvalid, x.name, x.d, x.low)
		}
	}
	return nil
}

// Expire takes out what its retention has ended for, now. The background does it once an hour.
func (s *Archive) Expire(ctx context.Context) error {
	s.compacting.Lock()
	defer s.compacting.Unlock()
	return sealdb.Named("expire", s.Days.Alone(ctx, s.expire))
}

func (s *Archive) expire(ctx context.Context) error {
	names, _, err := s.Days.All(ctx)
	if err != nil {
		return err
	}
	var failed error // a day that is damaged does not hold up the others
	for _, name := range names {
		day, err := time.Parse(time.DateOnly, name)
		if err == nil {
			err = s.expireDay(ctx, name, s.db.Now().Sub(day.Add(24*time.Hour+attribution.MaxSpan)))
		}
		if err != nil {
			failed = errors.Join(failed, fmt.Errorf("partition %s: %w", name, err))
		}
	}
	return failed
}

func (s *Archive) expireDay(ctx context.Context, name string, age time.Duration) error {
	over := func(d time.Duration) bool { return d != 0 && age > d }
	r := s.opt.Retention
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
	held, err := s.dir.HeldPatients(ctx)
	if err != nil {
		return err
	}
	if over(r.Sums) {
		kept, err := s.Days.HoldsAny(ctx, name, held)
		if err != nil {
			return err
		}
		if !kept {
			return s.Days.Drop(ctx, name)
		}
		signals = []vitals.Signal{vitals.PPG, vitals.Pressure, vitals.Numerics, vitals.Events}
	}
	return s.Days.ExpireSignals(ctx, name, signals, held)
}
