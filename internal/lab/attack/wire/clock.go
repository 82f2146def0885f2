package wire

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"vitalseal/internal/hub/access"
	"vitalseal/internal/hub/archive"
	"vitalseal/internal/hub/directory"
	"vitalseal/internal/hub/ingest"
	"vitalseal/internal/hub/store"
	"vitalseal/internal/lab/attack"
	"vitalseal/internal/lab/attack/rogue"
	"vitalseal/internal/lab/weaken"
	"vitalseal/internal/measurement/vitals"
	"vitalseal/internal/patient/uplink"
	"vitalseal/internal/shared/audit"
	"vitalseal/internal/way/delivery"
	"vitalseal/internal/way/outbox"
	"vitalseal/internal/way/overlay"
	"vitalseal/internal/way/seal"
)

// slowBy is how far the gateway's clock is behind the hub's in clockAttacks: longer ago than the
// discharge.
const slowBy = 45 * time.Minute

func clockAttacks() []attack.Attack {
	slow := func(id, position string, clock uplink.ClockSource) attack.Attack {
		return attack.Attack{ID: id, Threat: "show one patient's readings as another's", Position: position,
			Does:     "45 minutes slow, it delivers what it measures at a bed whose patient was discharged 30 minutes ago, and where another lies since",
			Expected: "nothing on either chart: taken, and waiting for the clock", Right: attack.Reads("accepted, 0 on a chart, 1 waits"), Control: weaken.Clock, Fast: true,
			Run: func(ctx context.Context, _ *attack.Target) (attack.Result, error) {
				return slowGateway(ctx, clock, vitals.Good)
			}}
	}
	const marked = "live at the bed, marked twice, and not in the place of what is measured"
	return []attack.Attack{
		slow("clock-slow-after-discharge", "a gateway whose clock is set wrong, by mistake or on purpose", slowClock{}),
		slow("clock-slow-old-gateway", "an older gateway, which does not say what time it has", nil),
		{ID: "clock-asserted", Threat: "show one patient's readings as another's, and a lie as measured now", Position: "a legacy device at a gateway whose clock is set wrong",
			Does:     "45 minutes slow, the gateway delivers what the device asserts at a bed whose patient was discharged 30 minutes ago, and where another lies since, beside an oximeter",
			Expected: "nothing on either chart; live at the bed where it stands: asserted, its time not sure, while the oximeter's number stands", Right: attack.Reads("accepted, 0 on a chart, 1 waits", marked), Control: weaken.Clock, Fast: true,
			Run: func(ctx context.Context, _ *attack.Target) (attack.Result, error) {
				return slowGateway(ctx, slowClock{}, vitals.Asserted)
			}},
		{ID: "clock-device-slow", Threat: "show one patient's readings as another's", Position: "a legacy device with a slow clock of its own, at a gateway whose clock is right",
			Does:     "45 minutes slow, it says when it measured what it measures now, at a bed whose patient was discharged 30 minutes ago, and where another lies since",
			Expected: "nothing on either chart: taken, and waiting for a person", Right: attack.Reads("accepted, 0 on a chart, 1 waits"), Control: weaken.Clock, Fast: true,
			Run: func(ctx context.Context, _ *attack.Target) (attack.Result, error) {
				return slowGateway(ctx, slowDevice{}, vitals.Good)
			}},
	}
}

// howShown says in words what live readers are told of the asserted value, and what of it stands
// beside what an oximeter says now.
func (w *slowWard) howShown(u archive.Update) string {
	var c vitals.Chooser
	heard := time.Now().Add(slowBy)
	c.Hear(vitals.Said{Sensor: "spiffe://attack/sensor/z-last-by-name", Heard: heard, Bundle: vitals.Bundle{At: heard, Numerics: []vitals.Numeric{vitals.Checked(vitals.HeartRate, 81, vitals.Good)}}})
	for _, b := range u.Chunk.Bundles {
		c.Hear(vitals.Said{Sensor: u.Sensor, Heard: heard.Add(time.Second), TimeNotSure: u.TimeNotSure, Bundle: b})
		if len(b.Numerics) != 1 || b.Numerics[0].Quality != vitals.Asserted {
			return "not marked as asserted"
		}
	}
	r, ok := c.Reading(vitals.HeartRate, heard.Add(time.Second))
	switch {
	case u.Patient != w.here:
		return "live at another patient"
	case !u.TimeNotSure:
		return "its time is shown as sure"
	case !ok || r.Value != 81:
		return "in the place of what is measured"
	}
	return "live at the bed, marked twice, and not in the place of what is measured"
}

// slowClock is the rogue gateway's.
type slowClock struct{}

func (slowClock) Now() time.Time { return time.Now().Round(0) }
func (slowClock) Record(string) delivery.ClockRecord {
	return delivery.ClockRecord{Version: 1, Generation: 1, Spans: []delivery.ClockSpan{{From: 1, Kind: delivery.ClockSet}}}
}
func (slowClock) Measured(uint64, time.Duration, time.Duration) {}

// slowDevice is a gateway whose clock is right, with a device that says times of its own.
type slowDevice struct{ slowClock }

func (slowDevice) Now() time.Time { return time.Now().Add(slowBy).Round(0) }
func (slowDevice) Record(string) delivery.ClockRecord {
	return delivery.ClockRecord{Version: 1, Generation: 1, Spans: []delivery.ClockSpan{{From: 1, Kind: delivery.ClockOfDevice}}}
}

// slowWard is a hub whose clock is ahead, with one bed.
type slowWard struct {
	st         *store.Store
	grant      access.Grant
	net        *overlay.Loopback
	key        *seal.RecipientKey
	server     *ingest.Server
	left, here string
	sensor     overlay.ID
	close      []func() error
}

func (w *slowWard) end() error {
	var err error
	for i := len(w.close) - 1; i >= 0; i-- {
		err = errors.Join(err, w.close[i]())
	}
	return err
}

func newSlowWard(ctx context.Context) (w *slowWard, err error) {
	const domain = "attack.vitalseal.internal"
	w = &slowWard{sensor: overlay.ID{Domain: domain, Kind: overlay.KindSensor, Name: "oxi"}}
	dir, err := os.MkdirTemp("", "vitalseal-attack-")
	if err != nil {
		return nil, err
	}
	w.close = append(w.close, func() error { return os.RemoveAll(dir) })
	quiet, now := slog.New(slog.DiscardHandler), func() time.Time { return time.Now().Add(slowBy) }
	ks, _, err := seal.OpenFileKeyStore(filepath.Join(dir, "root.key"))
	if err != nil {
		return w, err
	}
	if w.st, err = store.Open(ctx, filepath.Join(dir, "store"), ks, quiet, store.WithClock(now)); err != nil {
		return w, err
	}
	w.close = append(w.close, w.st.Close)
	trail, err := audit.Open(filepath.Join(dir, "audit"), filepath.Join(dir, "audit.key"), quiet)
	if err != nil {
		return w, err
	}
	w.close = append(w.close, trail.Close)
	engine, err := access.New(w.st, trail, nil, quiet)
	if err != nil {
		return w, err
	}
	w.grant = engine.Standing("attack", access.Actions()...)
	var bad error
	note := func(err error) { bad = errors.Join(bad, err) }
	note(w.st.CreateWard(ctx, directory.Ward{ID: "a", Name: "Ward"}))
	note(w.st.CreateBed(ctx, directory.Bed{ID: "a-1", Ward: "a", Name: "Bed"}))
	w.left, err = w.st.CreatePatient(ctx, "The one who left")
	note(err)
	w.here, err = w.st.CreatePatient(ctx, "The one who is here")
	note(err)
	note(w.st.CreateDevice(ctx, directory.Device{ID: w.sensor.String(), Kind: overlay.KindSensor, State: directory.DeviceActive}))
	note(w.st.PlaceDevice(ctx, w.sensor.String(), "a-1", now().Add(-3*time.Hour)))
	note(w.st.Admit(ctx, w.left, "a-1", now().Add(-2*time.Hour)))
	note(w.st.Discharge(ctx, w.left, now().Add(-30*time.Minute)))
	note(w.st.Admit(ctx, w.here, "a-1", now().Add(-20*time.Minute)))
	authority, err := overlay.NewAuthority(domain)
	note(err)
	w.key, err = seal.GenerateRecipientKey()
	note(err)
	if bad != nil {
		return w, bad
	}
	w.net = overlay.NewLoopback(authority)
	w.server, err = ingest.NewServer(ingest.Config{Store: w.st, Recipient: w.key, Grant: w.grant, Log: quiet, Now: now,
		Active: func(context.Context, overlay.ID) error { return nil }})
	return w, err
}

func slowGateway(ctx context.Context, clock uplink.ClockSource, quality vitals.Quality) (result attack.Result, err error) {
	w, err := newSlowWard(ctx)
	if w != nil {
		defer func() { err = errors.Join(err, w.end()) }()
	}
	if err != nil {
		return attack.Result{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	hub, err := w.net.Endpoint(overlay.ID{Domain: w.sensor.Domain, Kind: overlay.KindHub, Name: "hub"})
	if err != nil {
		return attack.Result{}, err
	}
	ln, err := hub.Listen(ctx, overlay.ServiceIngest)
	if err != nil {
		return attack.Result{}, err
	}
	running, stop := context.WithCancel(ctx)
	served := make(chan error, 2)
	go func() { served <- w.server.Serve(running, ln) }()
	ep, err := w.net.Endpoint(w.sensor)
	if err != nil {
		stop()
		return attack.Result{}, errors.Join(err, <-served)
	}
	dir, err := os.MkdirTemp("", "vitalseal-attack-")
	if err != nil {
		stop()
		return attack.Result{}, errors.Join(err, <-served)
	}
	w.close = append(w.close, func() error { return os.RemoveAll(dir) })
	live, err := w.st.Watch(ctx, []access.Grant{w.grant}, vitals.Numerics)
	if err != nil {
		stop()
		return attack.Result{}, errors.Join(err, <-served)
	}
	defer live.Close()
	outcome, err := w.deliver(running, ep, dir, clock, quality, served)
	stop()
	err = errors.Join(err, <-served, <-served)
	if err != nil {
		return attack.Result{}, err
	}
	count := func(patient string) (int, error) {
		got, err := w.st.Numerics(ctx, w.grant, patient, time.Now().Add(-3*time.Hour), time.Now().Add(3*time.Hour), 0)
		return len(got), err
	}
	left, err := count(w.left)
	here, err2 := count(w.here)
	waiting, err3 := w.st.Waiting(ctx, w.sensor.String())
	if err := errors.Join(err, err2, err3); err != nil {
		return attack.Result{}, err
	}
	evidence := fmt.Sprintf("the hub's answer: %s; on the chart of who left: %d, of who is here: %d; waiting: %d", outcome, left, here, waiting.Chunks)
	seen := attack.Word("%s, %d on a chart, %d waits", outcome, left+here, waiting.Chunks)
	if left+here == 0 && quality == vitals.Asserted {
		u, err := live.Next(ctx)
		if err != nil {
			return attack.Result{}, fmt.Errorf("nothing is shown live: %w", err)
		}
		shown := w.howShown(u)
		seen, evidence = append(seen, attack.Word("%s", shown)...), evidence+"; "+shown
	}
	return attack.Judge(left+here > 0, seen, "on a chart", "it waits", "%s", evidence)
}

// deliver sends one heart rate of now, by the gateway's clock, and says what the hub answered. The
// sender's end goes to ended.
func (w *slowWard) deliver(ctx context.Context, ep overlay.Endpoint, dir string, clock uplink.ClockSource, quality vitals.Quality, ended chan<- error) (delivery.Outcome, error) {
	settled := make(chan uplink.Settled, 2)
	fail := func(err error) (delivery.Outcome, error) {
		ended <- nil
		return 0, err
	}
	q, err := outbox.Open(dir, outbox.Options{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		return fail(err)
	}
	w.close = append(w.close, q.Close)
	sealer, said, err := seal.NewSealer(w.key.Recipient(), w.sensor.String(), uint8(vitals.Numerics), 1)
	if err != nil {
		return fail(err)
	}
	plain, at, err := rogue.HeartRateAs(time.Now(), quality)
	if err != nil {
		return fail(err)
	}
	chunk, _, err := sealer.Seal(at, plain)
	if err != nil {
		return fail(err)
	}
	lane := w.sensor.Name
	if err := q.Append(ctx, outbox.Record{Lane: lane, Class: outbox.Control, Data: delivery.EncodeAnnouncement(said)},
		outbox.Record{Lane: lane, Class: outbox.Numeric, Data: delivery.EncodeEnvelope(chunk)}); err != nil {
		return fail(err)
	}
	options := []uplink.SenderOption{uplink.OnSettled(func(x uplink.Settled) { settled <- x })}
	if clock != nil {
		options = append(options, uplink.WithClock(clock))
	}
	sender := uplink.NewSender(ep, q, q.Lane(lane), slog.New(slog.DiscardHandler), options...)
	go func() { ended <- sender.Run(ctx) }()
	for {
		select {
		case x := <-settled:
			if !x.Message.Announcement {
				return x.Outcome, nil
			}
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
}
