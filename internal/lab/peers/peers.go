package peers

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"

	"vitalseal/internal/lab/bench"
	"vitalseal/internal/shared/process"
)

// Config says what is compared, and how much of it.
type Config struct {
	Exe        string // the vitalseal binary
	Lab        string // the laboratory's binary, which is also the others' gateways and subscriber
	Data       string // folder that keeps our own deployment; the others' are made anew below it
	Patients   []int  // one run of everything for each
	For        time.Duration
	Recordings string
	Systems    []string      // of PeerSystems
	Batch      time.Duration // how long the others gather what they write at once
	Progress   io.Writer
}

// ourSystem is Vitalseal in a PeersReport.
const ourSystem = "vitalseal"

// Systems are what can be compared, ours first.
var Systems = []string{ourSystem, "mosquitto+influxdb", "mosquitto+victoria-metrics", "postgresql", "postgresql-chunks"}

// ErrNoPeer says that there is no such system to compare with.
var ErrNoPeer = errors.New("measure: no system to compare with")

// Report is what RunPeers measured.
type Report struct {
	Machine string    `json:"machine"`
	Began   time.Time `json:"began"`
	Batch   float64   `json:"batch_ms"` // of the others
	Rows    []Row     `json:"rows"`
}

// Row is one system with so many patients. CPU is in per cent of a core.
type Row struct {
	System   string   `json:"system"`
	Versions []string `json:"versions,omitempty"`
	Patients int      `json:"patients"`
	Seconds  float64  `json:"seconds"`
	Waves    string   `json:"waves"`

	CPU         map[string]float64 `json:"cpu_percent"`
	ResidentMiB map[string]float64 `json:"resident_mib"`
	// PatientsPer1 counts everything, gateways included; ServerPer1 only what takes in and stores: hub and overlay, or broker,
	// subscriber and database.
	PatientsPer1 float64 `json:"patients_per_core"`
	ServerPer1   float64 `json:"server_patients_per_core"`
	DurableP50   float64 `json:"durable_latency_p50_ms"`
	DurableP99   float64 `json:"durable_latency_p99_ms"`
	Sent         int64   `json:"messages_sent"`
	Lost         int64   `json:"messages_lost"`
	Refused      int64   `json:"writes_refused"` // by the database, and tried again
	// DiskPerSample is in bytes for each value of red or infrared, after compaction, with all else that is stored.
	DiskPerSample float64 `json:"disk_bytes_per_waveform_sample"`
	// Ours and OursServer are our patients per core by theirs, of the same run: above 1 we carry more.
	Ours       float64 `json:"ours_to_theirs,omitempty"`
	OursServer float64 `json:"ours_to_theirs_server,omitempty"`
}

// Run measures the same patients through Vitalseal and through what people would use instead, one after the other on this machine.
func Run(ctx context.Context, cfg Config) (r Report, err error) {
	if cfg.Data, err = filepath.Abs(cfg.Data); err != nil {
		return r, fmt.Errorf("measure: %w", err)
	}
	if err := findPeers(cfg.Systems); err != nil {
		return r, err
	}
	recordings, err := bench.FindRecordings(cfg.Recordings)
	if err != nil {
		return r, err
	}
	r = Report{Machine: bench.Machine(), Began: time.Now().UTC().Truncate(time.Second), Batch: float64(cfg.Batch.Milliseconds())}
	for _, n := range cfg.Patients {
		var rows []Row
		for _, system := range cfg.Systems {
			fmt.Fprintf(cfg.Progress, "%s, %d patients\n", system, n)
			var row Row
			if system == ourSystem {
				row, err = ourRow(ctx, cfg, n)
			} else {
				row, err = theirRow(ctx, cfg, system, n, recordings)
			}
			if err != nil {
				return r, fmt.Errorf("measure: %s with %d patients: %w", system, n, err)
			}
			rows = append(rows, row)
		}
		compare(rows)
		r.Rows = append(r.Rows, rows...)
	}
	return r, nil
}

// findPeers fails at once if a program is missing, not after minutes.
func findPeers(systems []string) error {
	for _, s := range systems {
		if !slices.Contains(Systems, s) {
			return fmt.Errorf("%w: %q, not one of %s", ErrNoPeer, s, strings.Join(Systems, ", "))
		}
		var all []error
		for part := range strings.SplitSeq(s, "+") {
			var err error
			switch part {
			case "mosquitto":
				_, err = findBroker()
			case "influxdb":
				_, err = findInflux()
			case "victoria-metrics":
				_, err = findVictoria()
			case "postgresql", "postgresql-chunks":
				_, _, err = findPostgres()
			}
			all = append(all, err)
		}
		if err := errors.Join(all...); err != nil {
			return err
		}
	}
	return nil
}

// compare puts the ratios to our own row of the same run.
func compare(rows []Row) {
	i := slices.IndexFunc(rows, func(r Row) bool { return r.System == ourSystem })
	if i < 0 {
		return
	}
	for j := range rows {
		if j != i && rows[j].PatientsPer1 > 0 && rows[j].ServerPer1 > 0 {
			rows[j].Ours = bench.Rounded(rows[i].PatientsPer1/rows[j].PatientsPer1, 100)
			rows[j].OursServer = bench.Rounded(rows[i].ServerPer1/rows[j].ServerPer1, 100)
		}
	}
}

// ourRow is the bench's own figures. What it watches as a nurse does (the workstation's connect and the watcher) is in them.
func ourRow(ctx context.Context, cfg Config, patients int) (row Row, err error) {
	got, err := bench.RunLoad(ctx, bench.LoadConfig{Exe: cfg.Exe, Lab: cfg.Lab, Data: filepath.Join(cfg.Data, "vitalseal"), Patients: patients, For: cfg.For, Recordings: cfg.Recordings, Progress: cfg.Progress})
	if err != nil {
		return row, err
	}
	row = Row{System: ourSystem, Patients: patients, Seconds: got.Seconds, Waves: got.Waves, CPU: got.CPU, ResidentMiB: got.ResidentMiB, PatientsPer1: got.PatientsPer1,
		DurableP50: got.DurableP50, DurableP99: got.DurableP99, Sent: got.ChunksSent, Lost: got.ChunksLost, DiskPerSample: got.DiskPerSample}
	row.ServerPer1 = bench.Rounded(float64(patients)/(got.CPU["hub"]+got.CPU["overlay"])*100, 10)
	return row, nil
}

// theirRow starts the other programs, the subscriber and the gateways, and measures them as the bench measures us.
func theirRow(ctx context.Context, cfg Config, system string, patients int, recordings []string) (row Row, err error) {
	if err := os.MkdirAll(cfg.Data, 0o700); err != nil {
		return row, fmt.Errorf("measure: %w", err)
	}
	dir, err := os.MkdirTemp(cfg.Data, "peer-")
	if err != nil {
		return row, fmt.Errorf("measure: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	p := &peerRun{cfg: cfg, dir: dir, task: peerTask{Patients: patients, Recordings: recordings, Batch: cfg.Batch}}
	if p.super, err = process.New(cfg.Lab, dir); err != nil {
		return row, fmt.Errorf("measure: %w", err)
	}
	defer func() { err = errors.Join(err, p.super.StopAll(2*peerPatience), p.stop()) }()
	if err := p.start(ctx, system); err != nil {
		return row, err
	}
	row = Row{System: system, Versions: p.versions, Patients: patients, Waves: "simulator", CPU: map[string]float64{}, ResidentMiB: map[string]float64{}}
	if len(recordings) > 0 {
		row.Waves = fmt.Sprintf("%d recordings of people", len(recordings))
	}
	return row, p.measure(ctx, &row)
}

// peerRun is one run of one other system.
type peerRun struct {
	cfg      Config
	dir      string
	task     peerTask
	super    *process.Supervisor
	store    peerStore
	broker   *program // nil without
	database *program
	gateways *process.Process
	versions []string
	measured string // file of the process that knows when something was durable
}

func (p *peerRun) start(ctx context.Context, system string) (err error) {
	viaBroker := false
	switch system {
	case "mosquitto+influxdb":
		viaBroker, p.store = true, &influx{}
	case "mosquitto+victoria-metrics":
		viaBroker, p.store = true, &victoria{}
	case "postgresql":
		p.store = &postgres{}
	case "postgresql-chunks":
		p.store, p.task.Chunks = &postgres{}, true
	default:
		return fmt.Errorf("%w: %q", ErrNoPeer, system)
	}
	if p.database, err = p.store.start(ctx, p.dir, &p.task); err != nil {
		return err
	}
	p.measured = filepath.Join(p.dir, "gateways.json")
	if viaBroker {
		if p.broker, err = startBroker(ctx, p.dir, &p.task); err != nil {
			return err
		}
		p.versions = append(p.versions, "mosquitto "+debianVersion(ctx, "mosquitto"))
	}
	p.versions = append(p.versions, p.store.version(ctx))
	b, err := json.Marshal(p.task) // #nosec G117 -- a password of this run alone, into a file that is ours alone
	if err == nil {
		err = os.WriteFile(filepath.Join(p.dir, "task.json"), b, 0o600)
	}
	if err != nil {
		return fmt.Errorf("measure: %w", err)
	}
	if viaBroker {
		p.measured = filepath.Join(p.dir, "subscriber.json")
		if _, err := p.super.Start(ctx, "subscriber", "bench", "peer-subscriber", "--data", p.dir); err != nil {
			return err
		}
	}
	p.gateways, err = p.super.Start(ctx, "gateways", "bench", "peer-gateways", "--data", p.dir)
	return err
}

// stop ends the others' programs, the database last.
func (p *peerRun) stop() (err error) {
	if p.broker != nil {
		err = p.broker.stop(syscall.SIGTERM)
	}
	if p.database != nil {
		err = errors.Join(err, p.database.stop(p.store.stopBy()))
	}
	if pg, ok := p.store.(*postgres); ok && pg.dir != "" {
		err = errors.Join(err, os.RemoveAll(pg.dir))
	}
	return err
}

// usage is every part's by name.
func (p *peerRun) usage() map[string]process.Usage {
	u := p.super.Usage()
	delete(u, "self") // it only waits
	if p.broker != nil {
		u["broker"] = p.broker.usage()
	}
	u["database"] = p.database.usage()
	return u
}

func (p *peerRun) measure(ctx context.Context, row *Row) error {
	if err := p.wait(ctx, bench.WarmUp); err != nil {
		return err
	}
	before, err := readPeerState(p.measured)
	if err != nil {
		return err
	}
	usage, began := p.usage(), time.Now()
	if err := p.wait(ctx, p.cfg.For); err != nil {
		return err
	}
	now, took := p.usage(), time.Since(began).Seconds()
	after, err := readPeerState(p.measured)
	if err != nil {
		return err
	}
	row.Seconds = bench.Rounded(took, 10)
	var all, server float64
	for name, u := range now {
		percent := (u.CPU - usage[name].CPU).Seconds() / took * 100
		row.CPU[name], row.ResidentMiB[name] = bench.Rounded(percent, 100), u.ResidentMiB
		all += percent
		if name != "gateways" {
			server += percent
		}
	}
	if all > 0 && server > 0 {
		row.PatientsPer1, row.ServerPer1 = bench.Rounded(float64(row.Patients)/all*100, 10), bench.Rounded(float64(row.Patients)/server*100, 10)
	}
	q := bench.Delivery{Latency: after.Latency}.QuantilesSince(bench.Delivery{Latency: before.Latency}, 0.5, 0.99)
	row.DurableP50, row.DurableP99 = q[0], q[1]
	return p.account(ctx, row)
}

// wait lets time pass; a process that ends meanwhile ends it.
func (p *peerRun) wait(ctx context.Context, d time.Duration) error {
	var broker chan struct{}
	if p.broker != nil {
		broker = p.broker.done
	}
	select {
	case <-time.After(d):
		return nil
	case ended := <-p.super.Ended:
		return fmt.Errorf("measure: %s ended by itself: %w\n%s", ended.Name, ended.Err, process.LastLines(ended.Log, 5))
	case <-broker:
		return fmt.Errorf("measure: the broker ended by itself: %w\n%s", p.broker.err, process.LastLines(p.broker.log, 5))
	case <-p.database.done:
		return fmt.Errorf("measure: the database ended by itself: %w\n%s", p.database.err, process.LastLines(p.database.log, 5))
	case <-ctx.Done():
		return ctx.Err()
	}
}

// account stops the gateways, waits until all of theirs is stored, and asks the database what it has.
func (p *peerRun) account(ctx context.Context, row *Row) error {
	fmt.Fprintf(p.cfg.Progress, "%s: stopping, and counting what is stored\n", row.System)
	if err := p.super.Stop(p.gateways, 2*peerPatience); err != nil {
		return err
	}
	sent, err := readPeerState(filepath.Join(p.dir, "gateways.json"))
	if err != nil {
		return err
	}
	if !sent.Ended {
		return errors.New("measure: the gateways did not end in good order")
	}
	var got int64
	for until := time.Now().Add(peerPatience); ; {
		if got, err = p.store.points(ctx); err != nil {
			return err
		}
		if got >= sent.Points || time.Now().After(until) {
			break
		}
		if err := bench.Wait(ctx, 500*time.Millisecond); err != nil {
			return err
		}
	}
	row.Sent = sent.Messages
	if missing := sent.Points - got; missing > 0 { // in messages: of 25 samples nearly all
		row.Lost = max(1, missing*sent.Messages/sent.Points)
	}
	if p.broker != nil {
		subscriber, err := readPeerState(p.measured)
		if err != nil {
			return err
		}
		row.Refused = subscriber.Failed
	}
	size, err := p.store.bytes(ctx)
	if err != nil {
		return err
	}
	row.DiskPerSample = bench.Rounded(float64(size)/float64(2*sent.Samples), 100)
	return nil
}

// Print writes the report as a table.
func (r Report) Print(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	fmt.Fprintln(t, "patients\tsystem\tpatients/core\tours:theirs\tserver alone\tours:theirs\tdurable p50\tp99\tsent\tlost\tbytes/value\tCPU")
	ratio := func(v float64) string {
		if v == 0 {
			return "-"
		}
		return fmt.Sprintf("%.2f", v)
	}
	for _, x := range r.Rows {
		var parts []string
		for name, v := range x.CPU {
			parts = append(parts, fmt.Sprintf("%s %.1f %%", name, v))
		}
		slices.Sort(parts)
		fmt.Fprintf(t, "%d\t%s\t%.0f\t%s\t%.0f\t%s\t%.0f ms\t%.0f ms\t%d\t%d\t%.2f\t%s\n", x.Patients, x.System, x.PatientsPer1, ratio(x.Ours), x.ServerPer1, ratio(x.OursServer),
			x.DurableP50, x.DurableP99, x.Sent, x.Lost, x.DiskPerSample, strings.Join(parts, ", "))
	}
	seen := map[string]bool{}
	for _, x := range r.Rows {
		for _, v := range x.Versions {
			if !seen[v] {
				seen[v] = true
				fmt.Fprintln(t, v)
			}
		}
	}
	fmt.Fprintf(t, "%s. The others gather for %.0f ms what they write at once; ours is sealed, policed, and attributed to an identity of each sensor's own.\n", r.Machine, r.Batch)
	return t.Flush()
}
