package bench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net"
	"os"
	"path/filepath"
	"text/tabwriter"
	"time"

	"golang.org/x/sync/errgroup"

	"vitalseal/internal/hub/access"
	"vitalseal/internal/hub/directory"
	"vitalseal/internal/hub/ingest"
	"vitalseal/internal/hub/store"
	"vitalseal/internal/measurement/vitals"
	"vitalseal/internal/patient/uplink"
	"vitalseal/internal/shared/audit"
	"vitalseal/internal/shared/process"
	"vitalseal/internal/way/delivery"
	"vitalseal/internal/way/outbox"
	"vitalseal/internal/way/overlay"
	"vitalseal/internal/way/seal"
)

// AloneConfig says how much the hub alone is measured with.
type AloneConfig struct {
	Lab      string // the laboratory's binary, which is also the hub's process
	Data     string // an empty folder
	Patients int
	For      time.Duration
	Progress io.Writer
}

// AloneReport is what the hub alone took: the inner TLS with every sensor's own identity, opening, attribution, sealing anew and
// the durable store, without OpenZiti and without faces.
type AloneReport struct {
	Machine         string  `json:"machine"`
	Patients        int     `json:"patients"`
	Seconds         float64 `json:"seconds"`
	ChunksPerSecond float64 `json:"chunks_per_second"`
	// Rate is the share of what the patients should have sent that arrived; where it is below one the machine was full, and the
	// CPU is still per chunk.
	Rate        float64 `json:"rate"`
	HubPer100   float64 `json:"hub_cpu_percent_per_100_patients"` // by its own CPU time and the chunks that it stored
	ChunkMicros float64 `json:"hub_cpu_us_per_chunk"`
	DurableP50  float64 `json:"durable_latency_p50_ms"`
	DurableP99  float64 `json:"durable_latency_p99_ms"`
	ResidentMiB float64 `json:"resident_mib"`
}

const chunksPerPatient = 5 // a second: four of the wave, one of numbers

// aloneState is what the hub's process says of itself, each second.
type aloneState struct {
	At       time.Time    `json:"at"`
	Accepted uint64       `json:"accepted"`
	Sensors  int          `json:"sensors"`
	Latency  [][2]float64 `json:"latency"`
}

// RunAlone measures the hub without OpenZiti: its ingest and store in a process of their own, and in this one as many sensors,
// which send sealed chunks over a local socket.
func RunAlone(ctx context.Context, cfg AloneConfig) (r AloneReport, err error) {
	super, err := process.New(cfg.Lab, filepath.Join(cfg.Data, "logs"))
	if err != nil {
		return r, fmt.Errorf("measure: %w", err)
	}
	defer func() { err = errors.Join(err, super.StopAll(30*time.Second)) }()
	authority, err := overlay.NewAuthority(domain)
	if err != nil {
		return r, err
	}
	recipient, err := seal.GenerateRecipientKey()
	if err != nil {
		return r, err
	}
	if err := os.WriteFile(filepath.Join(cfg.Data, "authority"), authority.Bytes(), 0o600); err != nil {
		return r, fmt.Errorf("measure: %w", err)
	}
	if err := os.WriteFile(filepath.Join(cfg.Data, "recipient"), recipient.Bytes(), 0o600); err != nil {
		return r, fmt.Errorf("measure: %w", err)
	}
	fmt.Fprintf(cfg.Progress, "a hub for %d patients, without overlay\n", cfg.Patients)
	if _, err := super.Start(ctx, "hub", "bench", "alone-hub", "--data", cfg.Data, "--patients", fmt.Sprint(cfg.Patients)); err != nil {
		return r, err
	}
	ctx, cancel := context.WithCancel(ctx)
	d := &aloneDriver{cfg: cfg, authority: authority, recipient: recipient.Recipient()}
	ended := make(chan error, 1)
	go func() { ended <- d.run(ctx) }()
	defer func() {
		cancel()
		err = errors.Join(err, <-ended)
	}()
	for last := -1; ; {
		s, err := d.state()
		if err != nil {
			return r, err
		}
		if s.Sensors >= cfg.Patients {
			break
		}
		if s.Sensors/500 != last/500 {
			fmt.Fprintf(cfg.Progress, "%d sensors connected\n", s.Sensors)
			last = s.Sensors
		}
		if err := Wait(ctx, time.Second); err != nil {
			return r, err
		}
	}
	if err := Wait(ctx, 5*time.Second); err != nil {
		return r, err
	}
	before, err := d.state()
	if err != nil {
		return r, err
	}
	usage := super.Usage()["hub"]
	if err := Wait(ctx, cfg.For); err != nil {
		return r, err
	}
	after, err := d.state()
	if err != nil {
		return r, err
	}
	now := super.Usage()["hub"]
	took, chunks := after.At.Sub(before.At).Seconds(), float64(after.Accepted-before.Accepted)
	if chunks == 0 {
		return r, errors.New("measure: the hub stored nothing")
	}
	r = AloneReport{Machine: Machine(), Patients: cfg.Patients, Seconds: Rounded(took, 10), ChunksPerSecond: Rounded(chunks/took, 10),
		Rate: Rounded(chunks/took/float64(cfg.Patients*chunksPerPatient), 1000), ResidentMiB: now.ResidentMiB}
	perChunk := (now.CPU - usage.CPU).Seconds() / chunks
	r.ChunkMicros = Rounded(perChunk*1e6, 10)
	r.HubPer100 = Rounded(perChunk*chunksPerPatient*100*100, 1000)
	q := Delivery{Latency: after.Latency}.QuantilesSince(Delivery{Latency: before.Latency}, 0.5, 0.99)
	r.DurableP50, r.DurableP99 = q[0], q[1]
	return r, nil
}

// Print writes the report for people.
func (r AloneReport) Print(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	fmt.Fprintf(t, "hub alone, %d patients, %s, %.0f s\t%.0f chunks/s (%.0f %% of what was meant)\t%.2f %% of a core per 100 patients\t%.1f us a chunk\tdurable p50 %.0f ms p99 %.0f ms\t%.0f MiB\n",
		r.Patients, r.Machine, r.Seconds, r.ChunksPerSecond, 100*r.Rate, r.HubPer100, r.ChunkMicros, r.DurableP50, r.DurableP99, r.ResidentMiB)
	return t.Flush()
}

// aloneDriver is as many sensors as there are patients, with one outbox among them.
type aloneDriver struct {
	cfg       AloneConfig
	authority *overlay.Authority
	recipient seal.Recipient
}

func (d *aloneDriver) state() (s aloneState, err error) {
	b, err := os.ReadFile(filepath.Join(d.cfg.Data, "state.json"))
	if errors.Is(err, os.ErrNotExist) {
		return s, nil
	}
	if err == nil {
		err = json.Unmarshal(b, &s)
	}
	if err != nil {
		err = fmt.Errorf("measure: %w", err)
	}
	return s, err
}

func aloneSensor(i int) overlay.ID {
	return overlay.ID{Domain: domain, Kind: overlay.KindSensor, Name: fmt.Sprintf("oxi-%05d", i)}
}

func (d *aloneDriver) run(ctx context.Context) (err error) {
	q, err := outbox.Open(filepath.Join(d.cfg.Data, "outbox"), outbox.Options{})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, q.Close()) }()
	log := slog.New(slog.DiscardHandler)
	under := unixUnderlay{d.cfg.Data}
	g, ctx := errgroup.WithContext(ctx)
	for i := range d.cfg.Patients {
		identity, err := overlay.IssueIdentity(d.authority, aloneSensor(i), nil, nil, 24*time.Hour)
		if err != nil {
			return err
		}
		ep := overlay.NewEndpoint(identity, under, log)
		lane := identity.ID().Name
		sender := uplink.NewSender(ep, q, q.Lane(lane), log)
		g.Go(func() error { return sender.Run(ctx) })
		g.Go(func() error { return d.measure(ctx, i, identity.ID(), lane, q) })
		if Wait(ctx, 2*time.Millisecond) != nil {
			break
		}
	}
	return g.Wait()
}

// measure makes one sensor's chunks: a wave that is no constant, and numbers.
func (d *aloneDriver) measure(ctx context.Context, i int, id overlay.ID, lane string, q *outbox.Queue) error {
	var sealers [vitals.MaxSignal + 1]*seal.Sealer
	epochs := uint64(0)
	put := func(c vitals.Chunk, class outbox.Class) error {
		plain, err := vitals.Encode(c)
		if err != nil {
			return err
		}
		var recs []outbox.Record
		if sealers[c.Signal] == nil {
			epochs++ // over all streams
			s, announcement, err := seal.NewSealer(d.recipient, id.String(), uint8(c.Signal), epochs)
			if err != nil {
				return err
			}
			sealers[c.Signal] = s
			recs = append(recs, outbox.Record{Lane: lane, Class: outbox.Control, Data: delivery.EncodeAnnouncement(announcement)})
		}
		envelope, _, err := sealers[c.Signal].Seal(c.Start, plain)
		if err != nil {
			return err
		}
		return q.Append(ctx, append(recs, outbox.Record{Lane: lane, Class: class, Data: delivery.EncodeEnvelope(envelope)})...)
	}
	// Sensors do not speak all at once.
	if Wait(ctx, time.Duration(i*7919%1000)*time.Millisecond) != nil {
		return nil
	}
	tick := time.NewTicker(250 * time.Millisecond)
	defer tick.Stop()
	for n := 0; ; n++ {
		start := time.Now().UTC().Add(-250 * time.Millisecond).Truncate(time.Microsecond)
		wave := vitals.Chunk{Signal: vitals.PPG, Start: start, Rate: 100}
		for k := range 25 {
			t := float64(n*25+k) / 100
			pulse := math.Sin(2*math.Pi*1.2*t) + 0.3*math.Sin(4*math.Pi*1.2*t)
			noise := float64((n*31 + k*17 + i*13) % 41)
			wave.Infrared = append(wave.Infrared, uint16(30000+400*pulse+noise))
			wave.Red = append(wave.Red, uint16(25000+200*pulse+noise))
		}
		err := put(wave, outbox.Waveform)
		if err == nil && n%4 == 0 {
			at := time.Now().UTC().Truncate(time.Microsecond)
			err = put(vitals.Chunk{Signal: vitals.Numerics, Start: at, Bundles: []vitals.Bundle{{At: at, Numerics: []vitals.Numeric{
				vitals.Checked(vitals.HeartRate, 72, vitals.Good), vitals.Checked(vitals.SpO2, 97, vitals.Good), vitals.Checked(vitals.PerfusionIndex, 2, vitals.Good)}}}}, outbox.Numeric)
		}
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// RunAloneHub is the hub's process of RunAlone: ingest and store, with so many beds and patients.
func RunAloneHub(ctx context.Context, data string, patients int, ready func() error, log *slog.Logger) (err error) {
	a, err := os.ReadFile(filepath.Join(data, "authority")) // #nosec G304 -- the measurement's own folder
	if err != nil {
		return fmt.Errorf("measure: %w", err)
	}
	authority, err := overlay.ParseAuthority(a)
	if err != nil {
		return err
	}
	b, err := os.ReadFile(filepath.Join(data, "recipient")) // #nosec G304 -- the measurement's own folder
	if err != nil {
		return fmt.Errorf("measure: %w", err)
	}
	recipient, err := seal.ParseRecipientKey(b)
	if err != nil {
		return err
	}
	keys, _, err := seal.OpenFileKeyStore(filepath.Join(data, "root.key"))
	if err != nil {
		return err
	}
	st, err := store.Open(ctx, filepath.Join(data, "store"), keys, log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, st.Close()) }()
	trail, err := audit.Open(filepath.Join(data, "audit"), filepath.Join(data, "audit.key"), log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, trail.Close()) }()
	engine, err := access.New(st, trail, nil, log)
	if err != nil {
		return err
	}
	if err := aloneWard(ctx, st, patients); err != nil {
		return err
	}
	in, err := ingest.NewServer(ingest.Config{Store: st, Recipient: recipient, Grant: engine.Standing("ingest", access.AppendVitals), Log: log, MaxConns: 2 * patients,
		Active: func(context.Context, overlay.ID) error { return nil }})
	if err != nil {
		return err
	}
	identity, err := overlay.IssueIdentity(authority, overlay.ID{Domain: domain, Kind: overlay.KindHub, Name: "hub"}, nil, nil, 24*time.Hour)
	if err != nil {
		return err
	}
	ln, err := overlay.NewEndpoint(identity, unixUnderlay{data}, log).Listen(ctx, overlay.ServiceIngest)
	if err != nil {
		return err
	}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return in.Serve(ctx, ln) })
	g.Go(func() error {
		for Wait(ctx, 500*time.Millisecond) == nil {
			stats, latency := in.Stats(), st.Latency()
			s := aloneState{At: time.Now(), Accepted: stats.Accepted, Sensors: stats.Connections}
			for _, l := range latency {
				s.Latency = append(s.Latency, [2]float64{float64(l.UpTo.Microseconds()) / 1000, float64(l.Count)})
			}
			b, err := json.Marshal(s)
			path := filepath.Join(data, "state.json")
			if err == nil {
				err = os.WriteFile(path+".new", b, 0o600)
			}
			if err == nil {
				err = os.Rename(path+".new", path)
			}
			if err != nil {
				return fmt.Errorf("measure: %w", err)
			}
		}
		return nil
	})
	g.Go(ready)
	return g.Wait()
}

// aloneWard gives every sensor a bed with a patient in it.
func aloneWard(ctx context.Context, st *store.Store, patients int) error {
	if err := st.CreateWard(ctx, directory.Ward{ID: "ward", Name: "ward"}); err != nil {
		return err
	}
	for i := range patients {
		bed, id := fmt.Sprintf("bed-%05d", i), aloneSensor(i)
		if err := st.CreateBed(ctx, directory.Bed{ID: bed, Ward: "ward", Name: bed}); err != nil {
			return err
		}
		patient, err := st.CreatePatient(ctx, bed)
		if err != nil {
			return err
		}
		began := time.Now().Add(-time.Hour)
		err = st.Admit(ctx, patient, bed, began)
		if err == nil {
			err = st.CreateDevice(ctx, directory.Device{ID: id.String(), Kind: id.Kind, Model: "MAX30100", Serial: id.Name, State: directory.DeviceActive})
		}
		if err == nil {
			err = st.PlaceDevice(ctx, id.String(), bed, began)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// unixUnderlay is a network of local sockets in a folder, without policies, for two processes of this machine.
type unixUnderlay struct{ dir string }

func (u unixUnderlay) Dial(ctx context.Context, service string) (net.Conn, error) {
	var d net.Dialer
	return d.DialContext(ctx, "unix", filepath.Join(u.dir, service+".sock"))
}

func (u unixUnderlay) Listen(ctx context.Context, service string) (net.Listener, error) {
	var l net.ListenConfig
	return l.Listen(ctx, "unix", filepath.Join(u.dir, service+".sock"))
}

func (u unixUnderlay) Close() error { return nil }
