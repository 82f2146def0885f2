package bench

import (
	"fmt"
	"io"
	"math"
	"slices"
	"text/tabwriter"
	"time"
)

// LoadReport is what RunLoad measured; its JSON form is the bench's machine-readable result. Latencies are from a chunk's
// oldest sample, by the sensor's clock, which is the same machine's.
type LoadReport struct {
	Machine  string  `json:"machine"`
	Patients int     `json:"patients"`
	Seconds  float64 `json:"seconds"`
	Waves    string  `json:"waves"` // where the pulse waves came from

	ChunksSent    int64 `json:"chunks_sent"`    // sealed and handed to the outboxes by the gateways, in this run
	ChunksStored  int64 `json:"chunks_stored"`  // added to the hub's store, in this run
	ChunksPending int64 `json:"chunks_pending"` // still in an outbox at the end
	ChunksLost    int64 `json:"chunks_lost"`
	ChunksDoubled int64 `json:"chunks_doubled"`

	ChunksPerSecond  float64 `json:"chunks_per_second"`
	SamplesPerSecond float64 `json:"samples_per_second"` // red and infrared each count

	DurableP50  float64 `json:"durable_latency_p50_ms"`
	DurableP99  float64 `json:"durable_latency_p99_ms"`
	DurableP999 float64 `json:"durable_latency_p999_ms"`
	ScreenP50   float64 `json:"screen_latency_p50_ms"`
	ScreenP99   float64 `json:"screen_latency_p99_ms"`
	ScreenP999  float64 `json:"screen_latency_p999_ms"`
	NumberP50   float64 `json:"screen_number_latency_p50_ms"` // of the numbers, which wait for no chunk
	NumberP99   float64 `json:"screen_number_latency_p99_ms"`

	// CPU in per cent of one core.
	HubPer100     float64            `json:"hub_cpu_percent_per_100_patients"`
	GatewayPer1   float64            `json:"gateway_cpu_percent_per_patient"` // in the process of many gateways
	OverlayPer100 float64            `json:"overlay_cpu_percent_per_100_patients"`
	CPU           map[string]float64 `json:"cpu_percent"`
	PatientsPer1  float64            `json:"patients_per_core"` // everything included
	ResidentMiB   map[string]float64 `json:"resident_mib"`
	SoloSensors   int                `json:"gateway_sensors"` // of the gateway that is a process by itself

	WirePerPatientHour float64 `json:"wire_bytes_per_patient_hour"` // over the loopback interface: both hops, all the protocols
	DiskPerPatientHour float64 `json:"disk_bytes_per_patient_hour"` // of the store, before compaction
	// DiskPerSample is what the whole store takes after compaction for each value of red or infrared, numbers and all included.
	DiskPerSample float64 `json:"disk_bytes_per_waveform_sample"`
}

// Delivery is the hub's account of what it stored.
type Delivery struct {
	Streams []struct {
		Sensor, Signal           string
		Chunks, Doubled, Missing int64
	} `json:"streams"`
	// Latency are pairs: up to so many milliseconds, so many chunks since the hub's start.
	Latency [][2]float64 `json:"stored_latency_histogram"`
}

func (d Delivery) chunks() (n int64) {
	for _, s := range d.Streams {
		n += s.Chunks
	}
	return n
}

// QuantilesSince are the quantiles of the chunks stored after an earlier answer.
func (d Delivery) QuantilesSince(before Delivery, q ...float64) []float64 {
	was := map[float64]float64{}
	for _, b := range before.Latency {
		was[b[0]] = b[1]
	}
	var total float64
	for _, b := range d.Latency {
		total += b[1] - was[b[0]]
	}
	out := make([]float64, len(q))
	for i, want := range q {
		left := math.Ceil(want * total)
		for _, b := range d.Latency {
			if left -= b[1] - was[b[0]]; left <= 0 && total > 0 {
				out[i] = Rounded(b[0], 10)
				break
			}
		}
	}
	return out
}

// Rounded is v with so many parts of one: 10 leaves one decimal.
func Rounded(v, unit float64) float64 { return math.Round(v*unit) / unit }

func newLoadReport(l *load, before, after moment, s *screen) LoadReport {
	took := after.at.Sub(before.at).Seconds()
	n := float64(l.cfg.Patients)
	r := LoadReport{Machine: Machine(), Patients: l.cfg.Patients, Seconds: Rounded(took, 10), Waves: "simulator",
		CPU: map[string]float64{}, ResidentMiB: map[string]float64{}, SoloSensors: min(l.cfg.Patients, SensorsPerGateway)}
	if len(l.recordings) > 0 {
		r.Waves = fmt.Sprintf("%d recordings of people", len(l.recordings))
	}
	var all float64
	for name, u := range after.usage {
		percent := (u.CPU - before.usage[name].CPU).Seconds() / took * 100
		r.CPU[name], r.ResidentMiB[name] = Rounded(percent, 100), u.ResidentMiB
		all += percent
	}
	r.HubPer100 = Rounded(r.CPU["hub"]/n*100, 1000)
	r.OverlayPer100 = Rounded(r.CPU["overlay"]/n*100, 1000)
	r.GatewayPer1 = Rounded(r.CPU["gateway"]/float64(r.SoloSensors), 10000)
	if others := l.cfg.Patients - SensorsPerGateway; others > 0 {
		r.GatewayPer1 = Rounded(r.CPU["fleet"]/float64(others), 10000)
	}
	r.PatientsPer1 = Rounded(n/all*100, 10)
	chunks := float64(after.delivery.chunks() - before.delivery.chunks())
	r.ChunksPerSecond = Rounded(chunks/took, 10)
	r.SamplesPerSecond = n * 200
	q := after.delivery.QuantilesSince(before.delivery, 0.5, 0.99, 0.999)
	r.DurableP50, r.DurableP99, r.DurableP999 = q[0], q[1], q[2]
	r.ScreenP50, r.ScreenP99, r.ScreenP999 = quantile(s.waves, 0.5), quantile(s.waves, 0.99), quantile(s.waves, 0.999)
	r.NumberP50, r.NumberP99 = quantile(s.numbers, 0.5), quantile(s.numbers, 0.99)
	r.WirePerPatientHour = math.Round(float64(after.loopback-before.loopback) / took * 3600 / n)
	r.DiskPerPatientHour = math.Round(float64(after.disk-before.disk) / took * 3600 / n)
	return r
}

// quantile in milliseconds, nearest rank; 0 for no times.
func quantile(times []time.Duration, q float64) float64 {
	if len(times) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(times))
	d := sorted[max(int(math.Ceil(q*float64(len(sorted))))-1, 0)]
	return Rounded(float64(d.Microseconds())/1000, 10)
}

// account compares what was produced with what is stored, once the gateways have stopped.
func (r *LoadReport) account(l *load, last moment) error {
	all, err := l.statuses()
	if err != nil {
		return err
	}
	mine := map[string]bool{}
	var backlog int64
	for _, st := range all {
		backlog += int64(st.BacklogAcked) // #nosec G115 -- chunks
		for _, s := range st.Streams {
			r.ChunksSent += int64(s.Produced)   // #nosec G115 -- chunks of one run
			r.ChunksPending += int64(s.Pending) // #nosec G115 -- chunks of one run
			mine[s.Sensor] = true
		}
	}
	var missing int64
	for _, s := range last.delivery.Streams {
		r.ChunksDoubled += s.Doubled
		missing += s.Missing
	}
	r.ChunksStored = last.delivery.chunks() - l.stored - backlog
	r.ChunksLost = max(0, missing, r.ChunksSent-r.ChunksStored-r.ChunksPending)
	return nil
}

// Print writes the report for people.
func (r LoadReport) Print(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	row := func(name, format string, args ...any) {
		fmt.Fprintf(t, "  %s\t%s\n", name, fmt.Sprintf(format, args...))
	}
	fmt.Fprintf(w, "\n%d patients (red and infrared at 100 Hz, numbers each second) for %.0f s, %s, waves: %s\n\n", r.Patients, r.Seconds, r.Machine, r.Waves)
	row("chunks", "%d sent, %d stored, %d waiting, %d lost, %d doubled", r.ChunksSent, r.ChunksStored, r.ChunksPending, r.ChunksLost, r.ChunksDoubled)
	row("rate", "%.0f chunks/s, %.0f samples/s", r.ChunksPerSecond, r.SamplesPerSecond)
	row("sensor to durable", "p50 %.0f ms, p99 %.0f ms, p99.9 %.0f ms (250 ms of it is the chunk)", r.DurableP50, r.DurableP99, r.DurableP999)
	row("sensor to screen", "p50 %.0f ms, p99 %.0f ms, p99.9 %.0f ms; numbers p50 %.0f ms, p99 %.0f ms", r.ScreenP50, r.ScreenP99, r.ScreenP999, r.NumberP50, r.NumberP99)
	row("hub", "%.2f %% of a core per 100 patients, %.0f MiB resident", r.HubPer100, r.ResidentMiB["hub"])
	row("overlay", "%.2f %% of a core per 100 patients, %.0f MiB resident", r.OverlayPer100, r.ResidentMiB["overlay"])
	row("gateways", "%.3f %% of a core per patient; one gateway of %d sensors %.0f MiB resident", r.GatewayPer1, r.SoloSensors, r.ResidentMiB["gateway"])
	row("all of it", "%.0f patients per core", r.PatientsPer1)
	row("bytes", "%.1f MB per patient-hour on the wire (all hops), %.1f MB on disk before compaction", r.WirePerPatientHour/1e6, r.DiskPerPatientHour/1e6)
	if r.DiskPerSample > 0 {
		row("disk", "%.2f bytes per value of red or infrared after compaction, all the rest of the store included", r.DiskPerSample)
	}
	return t.Flush()
}
