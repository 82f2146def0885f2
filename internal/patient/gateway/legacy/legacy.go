package legacy

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"vitalseal/internal/measurement/vitals"
)

// Chip is a device that speaks ThingSpeak, such as an Arduino, instead of a chip on a bus. Its key is
// all that vouches for what it says: its numbers are never better than vitals.Asserted.
const Chip = "legacy"

const (
	legacyFields = 8 // that a ThingSpeak channel has
	// legacyAhead is how far a device's clock may be ahead of ours.
	legacyAhead = 5 * time.Second
	// legacySilence is after how long without a message a device counts as not working.
	legacySilence = 5 * time.Minute
	// legacyReport is how often what was refused is told to the hub, if anything was.
	legacyReport = time.Minute
	// MaxDevices is how many devices one gateway takes entries of.
	MaxDevices = 16
)

// Config is where devices that speak ThingSpeak reach the gateway. Both listeners are off in the zero
// value, until an address is named.
type Config struct {
	// ListenHTTP and ListenMQTT are local addresses, such as 10.0.8.1:8080 and 10.0.8.1:1883: no names, and none that the internet
	// could reach.
	ListenHTTP string `yaml:"listen_http,omitempty"`
	ListenMQTT string `yaml:"listen_mqtt,omitempty"`
	// UpdateEvery is how often one device may send; 0: each second.
	UpdateEvery time.Duration `yaml:"update_every,omitempty"`
	// MaxAge is how old a created_at may be; 0: a day.
	MaxAge time.Duration `yaml:"max_age,omitempty"`
}

// Device is what a sensor of [Chip] is on its channel.
type Device struct {
	// Channel is the number in its topics and paths: channels/<channel>/publish.
	Channel int64 `yaml:"channel"`
	// Fields says what field1 to field8 mean: names of kinds such as heart_rate_bpm. Empty: field1 is the heart rate and field2 SpO2, and
	// no other has a meaning: what sketches send as the third, a body temperature say, must not become another kind by its place.
	Fields map[string]string `yaml:"fields,omitempty"`
}

// On reports whether devices can send at all.
func (c Config) On() bool { return c.ListenHTTP != "" || c.ListenMQTT != "" }

// usualFields is what fields mean that the configuration does not name: what the sketches of pulse oximeters agree on.
var usualFields = [legacyFields]vitals.Kind{vitals.HeartRate, vitals.SpO2}

// Kinds are what field1 to field8 mean; 0 for a field without a meaning. The error names the field.
//
//defence:field-names a legacy device's field means nothing until it is named
func (d Device) Kinds() (k [legacyFields]vitals.Kind, err error) {
	if len(d.Fields) == 0 {
		return usualFields, nil
	}
	for name, kind := range d.Fields {
		i := fieldNumber(name)
		if i == 0 || name != "field"+strconv.Itoa(i) {
			return k, fmt.Errorf("%q is not field1 to field8", name)
		}
		if k[i-1], err = vitals.ParseKind(kind); err != nil {
			return k, fmt.Errorf("%s: %q is not a kind such as %s", name, kind, vitals.HeartRate)
		}
		if k[i-1] == vitals.DieTemperature || k[i-1] == vitals.PerfusionIndex {
			return k, fmt.Errorf("%s: %q is a sensor's own, not a patient's", name, kind)
		}
	}
	first := map[vitals.Kind]int{}
	for i, kind := range k {
		if j := first[kind]; kind != 0 && j != 0 {
			return k, fmt.Errorf("field%d and field%d are both %s", j, i+1, kind)
		}
		first[kind] = i + 1
	}
	return k, nil
}

// Sink is what the gateway does with what one device sends. No method waits: not for the disk, and not
// for the network. A Sink belongs to one device, which calls one method at a time, HubTime excepted.
type Sink interface {
	// Numerics queues entries, at least one, as one chunk. False says that too much waits for the disk:
	// then nothing is queued. deviceClock says that their times are of the device's own clock.
	Numerics(entries []vitals.Bundle, deviceClock bool) bool
	// Event queues an event of the device. Detail is for engineers: never a reading.
	Event(at time.Time, code, detail string)
	// Working is told that the device sends, or that it is silent.
	Working(bool)
	// HubTime is a time of the gateway's clock as the hub's clock would say it, as far as the
	// difference was measured.
	HubTime(time.Time) time.Time
	// Close says that nothing more comes.
	Close()
}

// Server takes entries of legacy devices: it knows their keys, their channels and their pace. Make it
// with Open, Add each device, and Run it; Run each device beside.
type Server struct {
	cfg     Config
	keys    *legacyKeys
	guard   *legacyGuard
	marks   *legacyMarks
	devices map[string]*legacyDevice // by sensor
	counts  *tally
	log     *slog.Logger
}

// legacyDevice is one device. Its sink is used with mu held.
type legacyDevice struct {
	id    string
	limit legacyLimits
	kinds [legacyFields]vitals.Kind
	to    Sink
	marks *legacyMarks
	tally *tally
	log   *slog.Logger

	mu     sync.Mutex // guards the fields below
	absent time.Time  // when what it had no value for was noted last
	late   legacyLate
	// ownClock is that it has said times of its own since the start: from then on nothing is corrected by what the gateway's clock is off.
	ownClock bool
	logged   time.Time // when a refusal was logged last
	closed   bool
	last     time.Time // when its last message was accepted; zero: none since the start
	bulk     time.Time // when its last bulk update was
	silent   bool      // told
	counts   Counts
	told     Counts // what the hub knows of them
	working  bool
}

type legacyLimits struct {
	channel       int64
	every, maxAge time.Duration
}

// errLegacy are the refusals of a device's message; each has its count and its status.
var (
	errLegacyKey     = errors.New("the key is not a device's of this gateway")
	errLegacyChannel = errors.New("the channel is not this device's")
	errLegacyLarge   = errors.New("the message is too large")
	errLegacyOften   = errors.New("too many messages; wait before the next one")
	errLegacyReplay  = errors.New("created_at is not after the newest entry that is here: it was sent before, or comes too late")
	errLegacyBusy    = errors.New("the gateway cannot take messages now; try again")
)

// legacyUnsupported is something of MQTT that is not here; the text says what to do.
type legacyUnsupported struct{ text string }

func (u *legacyUnsupported) Error() string { return u.text }

// Open makes a server of what is in the gateway's data folder: the devices' keys and newest times. It is
// an error that the times cannot be read, because to begin anew would double entries.
func Open(c Config, folder string, log *slog.Logger) (*Server, error) {
	s := &Server{cfg: c, keys: openLegacyKeys(filepath.Join(folder, legacyKeyFile)), guard: newLegacyGuard(), devices: map[string]*legacyDevice{}, counts: newTally(), log: log}
	if !c.On() {
		return s, nil
	}
	var err error
	s.marks, err = openLegacyMarks(filepath.Join(folder, "legacy-times.json"), log)
	return s, err
}

// Add makes a device known, before Run, and returns what must run beside: it tells the hub how the device
// is, until ctx ends. Device's Kinds have no error.
func (d *Server) Add(id string, c Device, to Sink) (run func(ctx context.Context) error) {
	return d.add(id, c, to).run
}

func (d *Server) add(id string, c Device, to Sink) *legacyDevice {
	kinds, _ := c.Kinds()
	dev := &legacyDevice{id: id, kinds: kinds, to: to, marks: d.marks, tally: d.counts, log: d.log,
		limit: legacyLimits{channel: c.Channel, every: cmp.Or(d.cfg.UpdateEvery, time.Second), maxAge: cmp.Or(d.cfg.MaxAge, 24*time.Hour)}}
	d.devices[id] = dev
	return dev
}

// device is who has the key, or errLegacyKey; errLegacyOften if its address has guessed too often.
func (d *Server) device(key, from string, now time.Time) (*legacyDevice, error) {
	if !d.guard.may(from, now) {
		return nil, errLegacyOften
	}
	id, err := d.keys.owner(key)
	if err != nil {
		d.log.Error("legacy devices' keys cannot be read; no device is let in", "err", err)
		return nil, errLegacyBusy
	}
	dev := d.devices[id]
	if dev == nil {
		d.guard.failed(from, now)
		return nil, errLegacyKey
	}
	d.guard.proven(from, now)
	return dev, nil
}

// take puts messages of one device on their way, all or none. It returns the time of the last one, which is its entry's id.
func (d *legacyDevice) take(messages []legacyMessage, bulk bool, now time.Time) (time.Time, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	last, err := d.accept(messages, bulk, now)
	d.counts.note(err, len(messages), now)
	d.explain(err, now)
	for _, m := range messages {
		if err == nil && len(m.left) > 0 {
			d.counts.Fields += uint64(len(m.left)) // #nosec G115 -- at most eight
			d.explain(m.left[0], now)
		}
	}
	if err == nil && !bulk {
		d.watchClock(messages[0].at, d.to.HubTime(now))
	}
	return last, err
}

// refused counts a message that could not be taken as one. Where it named kinds that the device has no value for, that is noted in its
// stream: the number before it does not stand until it is old.
func (d *legacyDevice) refused(err error, m legacyMessage, now time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.counts.note(err, 0, now)
	d.explain(err, now)
	since := now.Sub(d.absent)
	if len(m.numerics) == 0 || !m.at.IsZero() || d.closed || since >= 0 && since < d.limit.every {
		return
	}
	d.absent = now
	at := now.UTC().Truncate(time.Microsecond)
	if newest := d.marks.newest(d.id); !at.After(newest) {
		return // its clock is ahead of ours: what it said has the later time
	}
	d.to.Numerics([]vitals.Bundle{{At: at, Numerics: m.numerics}}, d.ownClock) // or the disk is stuck: then all is late
}

// explain keeps the reason of a refusal for the status, and logs one a minute. The caller holds mu.
func (d *legacyDevice) explain(err error, now time.Time) {
	if err == nil {
		return
	}
	d.counts.Reason = err.Error()
	if since := now.Sub(d.logged); since >= 0 && since < legacyReport {
		return
	}
	d.logged = now
	d.log.Warn("legacy device: something of what it sends is refused; gateway status counts it", "sensor", d.id, "reason", d.counts.Reason)
}

func (d *legacyDevice) accept(messages []legacyMessage, bulk bool, now time.Time) (time.Time, error) {
	if d.closed {
		return time.Time{}, errLegacyBusy
	}
	pace := &d.last
	if bulk {
		pace = &d.bulk
	}
	if wait := now.Sub(*pace); wait >= 0 && wait < d.limit.every { // a negative one: the clock was set back
		return time.Time{}, errLegacyOften
	}
	newest, right := d.marks.newest(d.id), d.to.HubTime(now)
	if newest.After(now.Add(legacyAhead)) && newest.After(right.Add(legacyAhead)) {
		newest = time.Time{} // the clock was set back: what was the newest then says nothing
	}
	bundles, own := make([]vitals.Bundle, 0, len(messages)), d.ownClock
	for i, m := range messages {
		at := m.at
		own = own || !at.IsZero()
		switch {
		case at.IsZero(): // its time is ours
			if at = now.UTC().Truncate(time.Microsecond); !at.After(newest) {
				at = newest.Add(time.Microsecond)
			}
		case at.After(right.Add(legacyAhead)):
			return time.Time{}, inMessage(i, bulk, &legacyMistake{"created_at", fmt.Sprintf("is in the future; at most %v ahead of the hub's clock, or of the gateway's while the hub is not reached, is allowed", legacyAhead)})
		case at.Before(right.Add(-d.limit.maxAge)):
			return time.Time{}, inMessage(i, bulk, &legacyMistake{"created_at", fmt.Sprintf("is older than %v", d.limit.maxAge)})
		case !at.After(newest):
			return time.Time{}, errLegacyReplay
		}
		newest = at
		if len(m.numerics) > 0 {
			bundles = append(bundles, vitals.Bundle{At: at, Numerics: m.numerics})
		}
	}
	// One chunk is taken or not; a bulk update fits into one.
	if len(bundles) > 0 && !d.to.Numerics(bundles, own) {
		return time.Time{}, errLegacyBusy
	}
	d.marks.set(d.id, newest)
	d.ownClock = own
	*pace, d.last = now, now
	return newest, nil
}

// run tells the hub how the device is, until ctx ends.
func (d *legacyDevice) run(ctx context.Context) error {
	start := time.Now()
	d.mu.Lock()
	d.to.Event(time.Now(), "started", Chip)
	d.mu.Unlock()
	t := time.NewTicker(time.Second)
	defer t.Stop()
	for tick := time.Duration(1); ; tick++ {
		select {
		case <-ctx.Done():
			d.mu.Lock()
			defer d.mu.Unlock()
			d.report(time.Now())
			d.closed = true
			d.to.Close()
			return nil
		case <-t.C:
			d.look(time.Now(), start, tick%(legacyReport/time.Second) == 0)
		}
	}
}

// look tells the state of a device, as that of a chip is told.
func (d *legacyDevice) look(now, start time.Time, report bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	heard := d.last
	if heard.IsZero() {
		heard = start
	}
	switch silent := now.Sub(heard) > legacySilence; {
	case silent && !d.silent:
		d.silent, d.working = true, false
		d.to.Working(false)
		d.to.Event(time.Now(), "device_fault", "legacy device is silent")
	case !silent && !d.last.IsZero() && !d.working:
		d.working = true
		d.to.Working(true)
		if d.silent {
			d.silent = false
			d.to.Event(time.Now(), "device_ok", "")
		}
	}
	d.tally.device(d.id, d.counts)
	if report {
		d.report(time.Now())
	}
}

// report tells the hub what was refused since it was last told.
func (d *legacyDevice) report(at time.Time) {
	d.tally.device(d.id, d.counts)
	if detail := d.counts.since(d.told); detail != "" {
		d.to.Event(at, "legacy_refused", detail)
		d.told = d.counts
	}
}

// Run listens until ctx ends. An address that is not there yet is tried again: the other sensors must
// not wait for it.
func (d *Server) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	for _, face := range []struct {
		address string
		run     func(context.Context, net.Listener) error
	}{{d.cfg.ListenHTTP, d.serveHTTP}, {d.cfg.ListenMQTT, d.serveMQTT}} {
		if face.address == "" {
			continue
		}
		ln, err := (&net.ListenConfig{}).Listen(ctx, "tcp", face.address)
		if err != nil {
			g.Go(func() error { return d.listenLater(ctx, face.address, face.run) })
			d.log.Error("legacy devices cannot reach the gateway; trying again", "err", err)
			continue
		}
		g.Go(func() error { return face.run(ctx, newBounded(ln, d.guard, d.log)) })
	}
	return g.Wait()
}

// listenLater tries again until the address is there.
func (d *Server) listenLater(ctx context.Context, address string, run func(context.Context, net.Listener) error) error {
	for sleep(ctx, 5*time.Second) {
		ln, err := (&net.ListenConfig{}).Listen(ctx, "tcp", address)
		if err == nil {
			d.log.Info("legacy devices can reach the gateway")
			return run(ctx, newBounded(ln, d.guard, d.log))
		}
	}
	return nil
}
