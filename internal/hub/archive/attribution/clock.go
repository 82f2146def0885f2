package attribution

import (
	"context"
	"database/sql"
	"sync"
	"time"

	"vitalseal/internal/hub/access"
	"vitalseal/internal/hub/sealdb"
	"vitalseal/internal/measurement/vitals"
	"vitalseal/internal/way/delivery"
)

// Clock is what the hub knows of the clock that an arrival's times were read from.
type Clock struct {
	// Judged says that the clock was looked at; false: the times count as they are.
	Judged bool
	// Known says that Offset was measured, on this connection or by the gateway's record of its clock's steps.
	Known bool
	// Offset is how far the clock was ahead of the hub's; below zero: behind. Error is how far Offset may be off: half of the
	// shortest round trip, so that delay is no error.
	Offset, Error time.Duration
	// Late is by how much readings come late that a device measures now, by a clock of its own that is not Known; 0: not known.
	Late time.Duration
}

// Sure reports whether a clock that is off by so much is right enough to say whose a reading is.
func (c Clock) Sure() bool { return c.near(c.Offset) }

func (c Clock) near(off time.Duration) bool { return delivery.ClockRight(off, c.Error) }

// settlement says by how much the times of some epochs are ahead of the hub's. It never changes, so that a chunk sent again is
// corrected alike and recognised.
type settlement struct {
	low, high int64 // epoch numbers, both included
	clock     time.Duration
}

// SettledFor is the oldest settlement that covers an epoch: a later one never changes what was said of it.
func (h SensorHistory) SettledFor(number uint64) (time.Duration, bool) {
	for _, x := range h.settled {
		if int64(number) >= x.low && int64(number) <= x.high { // #nosec G115 -- prepare checked
			return x.clock, true
		}
	}
	return 0, false
}

// Judge says how far ahead an arrival's times are (they are corrected by that much), and whether the chart must wait because
// they are not sure.
//
//defence:clock the chart waits for times that are not sure
func (h SensorHistory) Judge(a Arrival) (ahead time.Duration, wait bool) {
	if !a.Clock.Judged {
		return 0, false
	}
	first, last := SampleSpan(a.Chunk)
	if settled, ok := h.SettledFor(a.Header.Epoch.Number); ok {
		if !a.Clock.Known || a.Clock.near(a.Clock.Offset-settled) {
			return settled, last.Add(-settled).After(a.Received.Add(delivery.ClockSlack))
		}
	}
	if a.Clock.Known && !a.Clock.Sure() {
		return 0, true
	}
	if last.After(a.Received.Add(max(delivery.ClockSlack, a.Clock.Error))) {
		return 0, true // no delay makes a reading come before it was taken
	}
	if a.Clock.Known {
		return 0, false
	}
	// The clock is right or behind, by as much as the reading is old at most. That matters where the patient has changed since.
	_, steady := h.during(sealdb.Micro(first), sealdb.Micro(a.Received))
	return 0, !steady
}

// Shifted is a chunk whose times are corrected.
func Shifted(c vitals.Chunk, ahead time.Duration) vitals.Chunk {
	if ahead == 0 {
		return c
	}
	c.Start = c.Start.Add(-ahead)
	bundles, events := c.Bundles, c.Events
	c.Bundles, c.Events = nil, nil
	for _, b := range bundles {
		b.At = b.At.Add(-ahead)
		c.Bundles = append(c.Bundles, b)
	}
	for _, e := range events {
		e.At = e.At.Add(-ahead)
		c.Events = append(c.Events, e)
	}
	return c
}

const (
	// PresentFor is how old a reading may be, by its corrected time, to be shown live while its time is not sure.
	PresentFor = 20 * time.Second
	// unsureFor is how long the last reading of a kind is remembered for those who open a page.
	unsureFor = 4 * time.Hour
)

// Present is what of an arrival that waits is shown live: to whom lies where the sensor is placed now. A backlog is not.
func (h SensorHistory) Present(a Arrival, now time.Time) (u Update, ok bool) {
	_, last := SampleSpan(a.Chunk)
	ahead := a.Clock.Offset
	switch future := last.Sub(a.Received); {
	case future > max(ahead, 0)+max(delivery.ClockSlack, a.Clock.Error):
		ahead = future // whatever its clock is: it came just now, so it is as new as can be
	case a.Clock.Known:
	case a.Clock.Late > 0:
		ahead = -a.Clock.Late
	default:
		return u, false
	}
	ahead = ahead.Truncate(time.Microsecond)
	at := last.Add(-ahead)
	if at.Before(now.Add(-PresentFor)) || at.After(now.Add(max(delivery.ClockSlack, a.Clock.Error))) {
		return u, false
	}
	return Update{Patient: h.whose(sealdb.Micro(now)), Sensor: a.Sensor, Header: a.Header, Chunk: Shifted(a.Chunk, ahead), Durable: now, TimeNotSure: true}, true
}

// unsureReadings remembers, by sensor, the last numbers of each kind whose time is not sure: a page that is opened shows them.
type unsureReadings struct {
	mu sync.Mutex // guards all below
	m  map[string]map[vitals.Kind]vitals.Bundle
	// shown is the newest chunk of a stream that was shown while the waiting place took nothing: it will come again.
	shown map[StreamKey]uint64
	// may are the sensors of which chunks may be in the waiting place, as far as this process put them there.
	may map[string]bool
}

func (r *unsureReadings) init() {
	r.m, r.shown = map[string]map[vitals.Kind]vitals.Bundle{}, map[StreamKey]uint64{}
	r.may = map[string]bool{}
}

func (r *unsureReadings) waits(sensor string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.may[sensor] = true
}

func (r *unsureReadings) waiting(sensor string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.may[sensor]
}

func (r *unsureReadings) note(u Update) {
	if u.Chunk.Signal != vitals.Numerics {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	kinds := r.m[u.Sensor]
	if kinds == nil {
		if len(r.m) >= sealdb.MaxCached {
			clear(r.m)
		}
		kinds = map[vitals.Kind]vitals.Bundle{}
		r.m[u.Sensor] = kinds
	}
	for _, b := range u.Chunk.Bundles {
		for _, n := range b.Numerics {
			if old, ok := kinds[n.Kind]; !ok || !b.At.Before(old.At) {
				kinds[n.Kind] = vitals.Bundle{At: b.At, Numerics: []vitals.Numeric{n}}
			}
		}
	}
}

// first reports whether a chunk was not shown before.
func (r *unsureReadings) first(k StreamKey, seq uint64) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if last, ok := r.shown[k]; ok && seq <= last {
		return false
	}
	if len(r.shown) >= sealdb.MaxCached {
		clear(r.shown)
	}
	r.shown[k] = seq
	return true
}

func (r *unsureReadings) forget(sensor string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.m, sensor)
}

func (r *unsureReadings) since(at time.Time) map[string][]vitals.Bundle {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := map[string][]vitals.Bundle{}
	for sensor, kinds := range r.m {
		for kind, b := range kinds {
			if b.At.Before(at) {
				delete(kinds, kind)
				continue
			}
			all[sensor] = append(all[sensor], b)
		}
		if len(kinds) == 0 {
			delete(r.m, sensor)
		}
	}
	return all
}

// ClockState is what the inventory knows of the clock of a sensor's gateway.
type ClockState struct {
	Known         bool
	Offset, Error time.Duration // as in Clock
	At            time.Time     // when it was measured
	Waiting       int64         // chunks that wait for the chart because their time is not sure
}

// NoteClock keeps what was measured of the clock of a sensor's gateway. It writes at most every ten seconds, and only what is news.
func (s *Attribution) NoteClock(ctx context.Context, sensor string, c Clock) error {
	now := s.db.Now()
	if !s.clocks.news(sensor, c, now) {
		return nil
	}
	_, err := s.db.Statement(ctx, `INSERT INTO clocks (sensor, known, clock, error, at) VALUES (?, ?, ?, ?, ?) ON CONFLICT (sensor)
		DO UPDATE SET known = excluded.known, clock = excluded.clock, error = excluded.error, at = excluded.at`,
		sensor, c.Known, c.Offset.Microseconds(), c.Error.Microseconds(), sealdb.Micro(now))
	return sealdb.Named("note clock", err)
}

// clockNotes is what was written last.
type clockNotes struct {
	mu sync.Mutex // guards m
	m  map[string]clockNote
}

type clockNote struct {
	clock Clock
	at    time.Time
}

func (n *clockNotes) init() { n.m = map[string]clockNote{} }

func (n *clockNotes) news(sensor string, c Clock, now time.Time) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	old, ok := n.m[sensor]
	moved := c.Offset-old.clock.Offset > time.Second || old.clock.Offset-c.Offset > time.Second
	turned := old.clock.Known != c.Known || old.clock.Sure() != c.Sure()
	if ok && !turned && (now.Sub(old.at) < 10*time.Second || !moved && now.Sub(old.at) < 10*time.Minute) {
		return false
	}
	if len(n.m) >= sealdb.MaxCached {
		clear(n.m)
	}
	n.m[sensor] = clockNote{c, now}
	return true
}

// Clocks are the states of the clocks by sensor: those that were measured, and those of sensors with chunks that wait.
func (s *Attribution) Clocks(ctx context.Context) (map[string]ClockState, error) {
	all := map[string]ClockState{}
	err := sealdb.Each(ctx, s.db, "SELECT sensor, known, clock, error, at, waiting FROM clocks", func(rows *sql.Rows) error {
		var sensor string
		var c ClockState
		var clock, off, at int64
		if err := rows.Scan(&sensor, &c.Known, &clock, &off, &at, &c.Waiting); err != nil {
			return err
		}
		c.Offset, c.Error, c.At = time.Duration(clock)*time.Microsecond, time.Duration(off)*time.Microsecond, sealdb.FromMicro(at)
		all[sensor] = c
		return nil
	})
	return all, sealdb.Named("clocks", err)
}

// Unsure are a patient's last readings whose time is not sure, as an open page saw them: of each kind the last, of the sensors that
// stand at the patient's bed now, as a vitals.Chooser hears them. The grant must allow access.ViewPatient or access.ViewDisplay on the patient.
func (s *Attribution) Unsure(ctx context.Context, g access.Grant, patient string) (all []vitals.Said, err error) {
	if err := s.db.NumbersAllowed(g, patient); err != nil {
		return nil, sealdb.Named("unsure", err)
	}
	now := s.db.Now()
	marks, err := s.MarksOf(ctx, patient)
	if err != nil {
		return nil, sealdb.Named("unsure", err)
	}
	for sensor, bundles := range s.unsure.since(now.Add(-unsureFor)) {
		h, err := s.PlacesOf(ctx, sensor)
		if err != nil {
			return nil, sealdb.Named("unsure", err)
		}
		for _, b := range bundles {
			// Neither another patient's since then, nor shown after the sensor went.
			if who, steady := h.during(sealdb.Micro(b.At), sealdb.Micro(now)); steady && who == patient {
				all = append(all, vitals.Said{Sensor: sensor, TimeNotSure: true, NotConfirmed: marks.Cover(sensor, b.At), Bundle: b})
			}
		}
	}
	return all, nil
}
