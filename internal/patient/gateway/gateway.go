// Package gateway assembles what stands at the patient: sensors' registers in, sealed chunks out. Read Run from top to
// bottom: it is in the order data flows.
//
// It hides the pace of each chip, timestamps, epochs and the order of stopping. It guarantees that one sensor's failure is
// seen as that sensor's DeviceFault and touches no other; that what was sealed and appended survives kill -9 and a hub that
// is away, and reaches the hub once; that sampling waits neither for the disk nor for the network; that memory and disk are
// bounded; and that when Run returns everything it started has ended. It cannot open what it sealed. Only what is in memory
// at a kill, at most the last quarter of a second or so, is lost.
//
// It does not protect against an attacker who holds its running memory or its identities' files, nor notice a probe on the wrong
// patient.
package gateway

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"

	"vitalseal/internal/patient/gateway/legacy"
	"vitalseal/internal/patient/sensor"
	"vitalseal/internal/patient/uplink"
	"vitalseal/internal/shared/process"
	"vitalseal/internal/way/outbox"
	"vitalseal/internal/way/overlay"
	"vitalseal/internal/way/seal"
)

// ErrNotEnrolled says that an identity is missing in the data folder.
var ErrNotEnrolled = errors.New("gateway: not enrolled")

// Deps is what Run works on: the world around a gateway.
type Deps struct {
	Buses   sensor.Buses
	Network overlay.Network
	// Ready is called once all sensors are being read; may be nil.
	Ready func() error
	// Software is the version that the hub's inventory shows; empty for unknown.
	Software string
	// ListenStatus opens the socket in the data folder on which the status is told; nil for the file alone.
	ListenStatus func(path string) (net.Listener, error)
	// Clock is the host's; nil for the system's.
	Clock HostClock
	Log   *slog.Logger
}

// outboxUnit is what outbox_mib counts; tests have a smaller disk.
var outboxUnit int64 = mib

// signOfLife is how often the gateway itself, which measures nothing, tells the hub that it lives.
const signOfLife = time.Minute

// Run is the gateway, until ctx ends; then it delivers for a while what is left and returns nil. An error means that it
// could not start, or that its disk failed.
func Run(ctx context.Context, cfg Config, d Deps) (err error) {
	if err := cfg.Validate(); err != nil {
		return err
	}
	if d.Clock == nil {
		d.Clock = systemClock{}
	}
	curves, err := cfg.curves()
	if err != nil {
		return err
	}
	ids, err := loadIdentities(cfg)
	if err != nil {
		return err
	}
	log := d.Log.With("gateway", ids.gateway.ID().Name)
	recipient, err := seal.ParseRecipient(ids.gateway.Recipient())
	if err != nil {
		return fmt.Errorf("gateway: the hub's key in %s: %w", overlay.IdentityPath(cfg.Data, ids.gateway.ID()), err)
	}

	// What must outlive a power cut: the outbox (which also keeps a second gateway out of the folder) and the boot counter.
	led := newLedger(ids.gateway.ID().Name)
	book, err := openGapBook(filepath.Join(cfg.Data, "gaps.json"), led, log)
	if err != nil {
		return err
	}
	q, err := outbox.Open(filepath.Join(cfg.Data, "outbox"),
		outbox.Options{MaxBytes: cfg.OutboxMiB * outboxUnit, SegmentBytes: min(cfg.OutboxMiB*outboxUnit/16, mib), Logger: log, OnDrop: book.dropped, OnDamage: book.damaged})
	if err != nil {
		return fmt.Errorf("gateway: %w", err)
	}
	defer func() { err = errors.Join(err, q.Close()) }()
	boot, err := nextBoot(filepath.Join(cfg.Data, "boot"))
	if err != nil {
		return err
	}
	led.boot, led.book, led.storage = boot, book, &storage{folder: cfg.Data, log: log}
	var instance [16]byte
	_, _ = rand.Read(instance[:]) // never fails
	run := uplink.NewRun(boot, instance)
	number := &numbering{path: filepath.Join(cfg.Data, "boot"), run: run, log: log}
	number.now.Store(boot)

	// In: each sensor on its own, to its own writer, which seals into the outbox.
	ctxIn, stopMeasuring := context.WithCancel(ctx)
	defer stopMeasuring()
	measuring, ctxM := errgroup.WithContext(ctxIn)
	devices, err := legacy.Open(cfg.Legacy, cfg.Data, log)
	if err != nil {
		return err
	}
	led.legacy = devices
	adcs := map[string]*converter{}
	var writers []*writer
	var lanes []string
	for _, s := range cfg.Sensors {
		lanes = append(lanes, s.ID)
	}
	clock, err := openClockBook(cfg.Data, boot, d.Clock, lanes, func(by time.Duration) {
		log.Warn("the clock was set; every stream begins a new epoch", "by", by.Round(time.Millisecond))
		led.clockStepped(by, wall())
	}, log)
	if err != nil {
		return err
	}
	led.clockBook = clock
	clock.identity = ids.gateway
	if err := ids.gateway.CheckClock(time.Now()); err != nil {
		log.Error("THE HUB CANNOT BE REACHED until this machine's clock is set; the gateway measures and keeps, and says when that was once the clock is right", "err", err,
			"hint", overlay.Hint(err))
	}
	for _, s := range cfg.Sensors { // converters first: bridges read through them
		if s.Chip != ChipMCP3008 {
			continue
		}
		w := newWriter(s.ID, ids.sensors[s.ID].ID().String(), recipient, number, cfg.EpochLifetime, q, led, book, log)
		writers = append(writers, w)
		clock.follow(w)
		adcs[s.ID] = newConverter(s, d.Buses, w, log)
		measuring.Go(func() error { return w.run(ctxM) })
		measuring.Go(func() error { return adcs[s.ID].run(ctxM) })
	}
	for _, s := range cfg.Sensors {
		if s.Chip == ChipMCP3008 {
			continue
		}
		w := newWriter(s.ID, ids.sensors[s.ID].ID().String(), recipient, number, cfg.EpochLifetime, q, led, book, log)
		writers = append(writers, w)
		clock.follow(w)
		var loop func(context.Context) error
		switch s.Chip {
		case ChipMAX30100:
			loop = newOximeter(s, curves[s.ID], d.Buses, w, log).run
		case ChipMPS20N0040D:
			loop = newCuff(s, adcs[s.ADC], w, log).run
		case legacy.Chip:
			loop = devices.Add(s.ID, *s.Legacy, deviceSink{w})
		}
		measuring.Go(func() error { return w.run(ctxM) })
		measuring.Go(func() error { return loop(ctxM) })
	}

	number.raised = func(from, to uint64) {
		for _, w := range writers {
			w.renumbered(from, to)
		}
	}
	if cfg.Legacy.On() { // its devices are known now
		measuring.Go(func() error { return devices.Run(ctxM) })
	}
	measuring.Go(func() error { return clock.run(ctxM, led) })
	measuring.Go(func() error {
		process.WatchStalls(ctxM, log, func(from time.Time, d time.Duration) {
			led.stoodStill(from, d)
			for _, w := range writers {
				w.stoodStill(d)
			}
		})
		return nil
	})

	// Out: each sensor's lane on a connection dialled as that sensor. Delivery outlives ctx, to drain.
	delivering, stopDelivering := context.WithCancel(context.WithoutCancel(ctx))
	defer stopDelivering()
	out, ctxD := errgroup.WithContext(delivering)
	aside := newAside(filepath.Join(cfg.Data, "rejected"), log)
	pace := uplink.NewPace(cfg.BacklogKiBPerSecond<<10, float64(cfg.BacklogSharePercent)/100)
	var eps endpoints
	defer func() { err = errors.Join(err, eps.close()) }()
	for _, id := range ids.all() {
		ep := eps.add(id, d.Network, log)
		renewer := &overlay.Renewer{Identity: id, Endpoint: ep, Network: d.Network, Software: d.Software, Log: log}
		if id == ids.gateway {
			renewer.Hello = signOfLife // a sensor's readings are its own
		}
		out.Go(func() error { return renewer.Run(ctxD) })
		if id == ids.gateway { // it measures nothing
			out.Go(func() error { return watchAudit(ctxD, cfg.Data, ep, led, log) })
			continue
		}
		sender := uplink.NewSender(ep, q, q.Lane(id.ID().Name), log, uplink.OnSettled(func(x uplink.Settled) {
			led.settled(x)
			aside.keep(x)
		}), uplink.FromRun(run), uplink.OnExceed(number.exceed), uplink.WithPace(pace), uplink.WithClock(clock))
		led.sender(id.ID().Name, sender)
		out.Go(func() error { return sender.Run(ctxD) })
	}
	if d.ListenStatus != nil {
		out.Go(func() error { return led.serveStatus(ctxD, d.ListenStatus, cfg.Data, q, log) })
	}
	out.Go(func() error { return led.run(ctxD, filepath.Join(cfg.Data, "status.json"), q, log) })

	// Failures of either side stop the other: a gateway that cannot deliver for ever, or not measure, must not look alive.
	unlink := context.AfterFunc(ctxD, stopMeasuring)
	defer unlink()
	if d.Ready != nil {
		if err := d.Ready(); err != nil {
			log.Warn("the supervisor could not be told that the gateway is up", "err", err)
		}
	}
	log.Info("gateway measures", "sensors", len(cfg.Sensors))

	errIn := measuring.Wait() // and everything measured is on disk
	if ctxD.Err() == nil {
		drain(ctxD, q, cfg.DrainTimeout)
	}
	stopDelivering()
	return errors.Join(errIn, out.Wait(), led.write(filepath.Join(cfg.Data, "status.json"), q))
}

// drain waits until the outbox is empty, at most for the given time.
func drain(ctx context.Context, q *outbox.Queue, atMost time.Duration) {
	ctx, cancel := context.WithTimeout(ctx, atMost)
	defer cancel()
	t := time.NewTicker(20 * time.Millisecond)
	defer t.Stop()
	for q.Stats().Records > 0 {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
	}
}

// identities are the gateway's own and its sensors', by id.
type identities struct {
	gateway *overlay.Identity
	sensors map[string]*overlay.Identity
}

func (ids identities) all() []*overlay.Identity {
	all := []*overlay.Identity{ids.gateway}
	for _, id := range ids.sensors {
		all = append(all, id)
	}
	return all
}

// loadIdentities reads what enrolment wrote: exactly one gateway identity, and one for each configured sensor.
func loadIdentities(cfg Config) (ids identities, err error) {
	found, err := filepath.Glob(filepath.Join(cfg.Data, overlay.KindGateway+"-*.identity.json"))
	if err != nil {
		return ids, fmt.Errorf("gateway: %w", err)
	}
	if len(found) != 1 {
		return ids, fmt.Errorf("%w: %s holds %d gateway identities, not one; enrol into it with `vitalseal enrol`", ErrNotEnrolled, cfg.Data, len(found))
	}
	if ids.gateway, err = overlay.LoadIdentity(found[0]); err != nil {
		return ids, fmt.Errorf("gateway: %w", err)
	}
	ids.sensors = map[string]*overlay.Identity{}
	for _, s := range cfg.Sensors {
		id := overlay.ID{Domain: ids.gateway.ID().Domain, Kind: overlay.KindSensor, Name: s.ID}
		got, err := overlay.LoadIdentity(overlay.IdentityPath(cfg.Data, id))
		if errors.Is(err, os.ErrNotExist) {
			return ids, fmt.Errorf("%w: sensor %s has no identity in %s; its ticket must name it", ErrNotEnrolled, s.ID, cfg.Data)
		}
		if err != nil {
			return ids, fmt.Errorf("gateway: %w", err)
		}
		if got.ID() != id {
			return ids, fmt.Errorf("%w: the identity file of sensor %s is another's, %s", ErrNotEnrolled, s.ID, got.ID())
		}
		ids.sensors[s.ID] = got
	}
	return ids, nil
}
