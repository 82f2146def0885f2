package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"net/http"
	"slices"

	"vitalseal/internal/workstation/client"
)

// report is what a run measured; its JSON form is the demo's machine-readable result.
type report struct {
	ChunksSent   int64 `json:"chunks_sent"`   // sealed and handed to the outbox by the gateways, in this run
	ChunksAcked  int64 `json:"chunks_acked"`  // acknowledged to the gateways, in this run
	ChunksStored int64 `json:"chunks_stored"` // added to the hub's store, in this run
	// ChunksBacklog were produced by an earlier run that was killed and acknowledged in this one. They are not among
	// ChunksSent and ChunksAcked; those that the hub did not have yet are among ChunksStored.
	ChunksBacklog int64 `json:"chunks_backlog"`
	// ChunksBacklogStored are those of ChunksBacklog that the hub did not have yet: they are among ChunksStored.
	ChunksBacklogStored int64 `json:"chunks_backlog_stored"`
	// ChunksUnheard were stored, and their acknowledgement was lost with a connection: they wait in an outbox, or came again and
	// were known. ChunksStored = acknowledged ones of this run + ChunksBacklogStored + ChunksUnheard, unless chunks are lost.
	ChunksUnheard int64 `json:"chunks_unheard"`
	// ChunksUnexplained are among ChunksUnheard, and more than waited or came again. There must be none.
	ChunksUnexplained int64 `json:"chunks_unexplained"`
	ChunksLost        int64 `json:"chunks_lost"`    // produced and neither stored nor waiting, or a hole in a stream
	ChunksDoubled     int64 `json:"chunks_doubled"` // stored more than once
	ChunksPending     int64 `json:"chunks_pending"` // still in an outbox: delivered at the next start

	// Worst patient's mean absolute error against the simulated truth; null when nothing was judged.
	HeartRateErrorBPM *float64 `json:"heart_rate_error_bpm"`
	SpO2ErrorPercent  *float64 `json:"spo2_error_percent"`

	StoredLatencyP50MS  float64            `json:"stored_latency_p50_ms"` // from a chunk's oldest sample, at the sensor, to durable
	StoredLatencyP99MS  float64            `json:"stored_latency_p99_ms"`
	TimeToFirstNumberMS float64            `json:"time_to_first_number_ms"` // from the command's start to the dashboard
	ResidentMiB         map[string]float64 `json:"resident_mib"`
}

// delivery is the hub's account of what it stored.
type delivery struct {
	Streams []struct {
		Sensor, Signal           string
		Chunks, Doubled, Missing int64
	} `json:"streams"`
	P50 float64 `json:"stored_latency_p50_ms"`
	P99 float64 `json:"stored_latency_p99_ms"`
}

func (d delivery) chunks() (n int64) {
	for _, s := range d.Streams {
		n += s.Chunks
	}
	return n
}

// gatewayStatus is a gateway's own account, status.json in its data folder.
type gatewayStatus struct {
	BacklogAcked  int64 `json:"backlog_acked"`
	BacklogStored int64 `json:"backlog_stored"`
	OutboxRecords int64 `json:"outbox_records"` // what waits, of earlier starts too
	Streams       []struct {
		Sensor, Signal           string
		Produced, Acked, Pending int64
	} `json:"streams"`
}

// askDelivery asks the hub as the administrator.
func (d *deploymentRun) askDelivery(ctx context.Context) (out delivery, err error) {
	c, err := client.New(d.address())
	if err != nil {
		return out, err
	}
	if err := c.SignIn(ctx, d.ward.Admin.Login, d.ward.Admin.Password); err != nil {
		return out, err
	}
	err = c.Do(ctx, http.MethodGet, "/api/admin/delivery", nil, &out)
	return out, errors.Join(err, c.SignOut(ctx))
}

// report is made after the gateways have stopped and before the hub does.
func (d *deploymentRun) report(ctx context.Context, resident map[string]float64) (*report, error) {
	r := &report{ResidentMiB: resident, TimeToFirstNumberMS: milliseconds(d.firstNumber.Seconds())}
	gateways := make([]gatewayStatus, len(d.ward.Gateways))
	for i, gw := range d.ward.Gateways {
		if err := readJSON(d.path(gw, "status.json"), &gateways[i]); err != nil {
			return nil, err
		}
	}
	after, err := d.askDelivery(ctx)
	if err != nil {
		return nil, err
	}
	r.account(gateways, d.before, after)
	if worst, all := d.seen.worst(d.seen.hr); all {
		r.HeartRateErrorBPM = rounded(worst)
	}
	if worst, all := d.seen.worst(d.seen.spo2); all {
		r.SpO2ErrorPercent = rounded(worst)
	}
	return r, nil
}

// account compares what the gateways say with what the hub says. before is the hub's account at this run's start.
func (r *report) account(gateways []gatewayStatus, before, after delivery) {
	var waiting int64
	for _, s := range gateways {
		r.ChunksBacklog += s.BacklogAcked
		r.ChunksBacklogStored += s.BacklogStored
		waiting += s.OutboxRecords
		for _, x := range s.Streams {
			r.ChunksSent += x.Produced
			r.ChunksAcked += x.Acked
			r.ChunksPending += x.Pending
		}
	}
	r.ChunksStored = after.chunks() - before.chunks()
	var missing int64
	for _, s := range after.Streams {
		r.ChunksDoubled += s.Doubled
		missing += s.Missing
	}
	// Lost is a hole in a stream, or what was produced and is neither stored nor waiting; the two overlap. Refused and
	// dropped chunks count as lost here. What is stored and not acknowledged may hide as many in the second number, never in
	// the first.
	r.ChunksLost = max(0, missing, r.ChunksSent+r.ChunksBacklogStored-r.ChunksStored-r.ChunksPending)
	r.ChunksUnheard = max(0, r.ChunksStored-r.ChunksAcked-r.ChunksBacklogStored)
	r.ChunksUnexplained = max(0, r.ChunksUnheard-waiting-(r.ChunksBacklog-r.ChunksBacklogStored))
	r.StoredLatencyP50MS, r.StoredLatencyP99MS = after.P50, after.P99
}

func milliseconds(seconds float64) float64 { return math.Round(seconds*1e4) / 10 }

func rounded(v float64) *float64 {
	v = math.Round(v*100) / 100
	return &v
}

// print is the report for people.
func (r *report) print(w io.Writer) {
	fmt.Fprintf(w, "\n  chunks   %d sent, %d acknowledged, %d stored, %d waiting, %d lost, %d doubled\n",
		r.ChunksSent, r.ChunksAcked, r.ChunksStored, r.ChunksPending, r.ChunksLost, r.ChunksDoubled)
	if r.ChunksBacklog > 0 {
		fmt.Fprintf(w, "           and %d of an earlier run acknowledged: %d stored now, %d before\n", r.ChunksBacklog, r.ChunksBacklogStored, r.ChunksBacklog-r.ChunksBacklogStored)
	}
	if r.ChunksUnheard > 0 {
		fmt.Fprintf(w, "           %d of the stored ones lost their acknowledgement with a connection; none is stored twice for that\n", r.ChunksUnheard)
	}
	if r.ChunksUnexplained > 0 {
		fmt.Fprintf(w, "           %d OF THE STORED ONES ARE NOT EXPLAINED: this is a fault, please report it\n", r.ChunksUnexplained)
	}
	fmt.Fprintf(w, "  error    heart rate %s, SpO2 %s (worst patient's mean, against the simulated truth)\n",
		withUnit(r.HeartRateErrorBPM, "bpm"), withUnit(r.SpO2ErrorPercent, "%"))
	fmt.Fprintf(w, "  latency  sensor to durable p50 %.0f ms, p99 %.0f ms; first number on the dashboard after %.1f s\n",
		r.StoredLatencyP50MS, r.StoredLatencyP99MS, r.TimeToFirstNumberMS/1000)
	fmt.Fprintf(w, "  memory  ")
	for _, name := range slices.Sorted(maps.Keys(r.ResidentMiB)) {
		fmt.Fprintf(w, " %s %.0f", name, r.ResidentMiB[name])
	}
	fmt.Fprintf(w, " MiB resident\n\n")
}

func withUnit(v *float64, unit string) string {
	if v == nil {
		return "not judged"
	}
	return fmt.Sprintf("%.2f %s", *v, unit)
}
