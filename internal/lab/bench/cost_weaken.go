//go:build weaken

package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"text/tabwriter"
	"time"

	"vitalseal/internal/lab/weaken"
)

// CostConfig says what the measurement of what security costs is made with.
type CostConfig struct {
	Exe, Lab   string // the weakened build's two binaries: the product can switch nothing off
	Data       string
	Patients   int
	For        time.Duration
	Recordings string
	Repeats    int
	Without    []string // of CostLayers: what is taken away, one after the other; empty: each
	Progress   io.Writer
}

// CostLayers names what can be taken away; the first, nothing, is measured in any case.
func CostLayers() (names []string) {
	for _, l := range costLayers[1:] {
		names = append(names, l.name)
	}
	return names
}

// CostReport is what RunCost measured: medians over the repeats.
type CostReport struct {
	Machine  string    `json:"machine"`
	Patients int       `json:"patients"`
	Seconds  float64   `json:"seconds"` // of each run
	Repeats  int       `json:"repeats"`
	Rows     []CostRow `json:"rows"`
}

// CostRow is the bench with some of security taken away. CPU is in per cent of a core.
type CostRow struct {
	Without       string  `json:"without"` // empty: nothing
	HubPer100     float64 `json:"hub_cpu_percent_per_100_patients"`
	OverlayPer100 float64 `json:"overlay_cpu_percent_per_100_patients"`
	GatewayPer1   float64 `json:"gateway_cpu_percent_per_patient"`
	PatientsPer1  float64 `json:"patients_per_core"`
	DurableP50    float64 `json:"durable_latency_p50_ms"`
	DurableP99    float64 `json:"durable_latency_p99_ms"`
	Lost          int64   `json:"chunks_lost"` // of all repeats
}

type costLayer struct {
	name string
	off  []weaken.Defence
}

var costLayers = []costLayer{
	{"", nil},
	{"policy", []weaken.Defence{weaken.Policy}},
	{"sealing", []weaken.Defence{weaken.SealChunks, weaken.SealStored}},
	{"inner TLS", []weaken.Defence{weaken.InnerTLS}},
	{"overlay", []weaken.Defence{weaken.Network}},
	{"overlay and inner TLS", []weaken.Defence{weaken.Network, weaken.InnerTLS}},
	{"all four", []weaken.Defence{weaken.Network, weaken.InnerTLS, weaken.SealChunks, weaken.SealStored, weaken.Policy}},
}

// RunCost measures the bench with one layer of security after the other taken away, again and again in turn.
func RunCost(ctx context.Context, cfg CostConfig) (r CostReport, err error) {
	if cfg.Data, err = filepath.Abs(cfg.Data); err != nil {
		return r, fmt.Errorf("measure: %w", err)
	}
	if err := os.MkdirAll(cfg.Data, 0o700); err != nil {
		return r, fmt.Errorf("measure: %w", err)
	}
	if err := weaken.Share(filepath.Join(cfg.Data, "without")); err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, weaken.Set()) }()
	r = CostReport{Machine: Machine(), Patients: cfg.Patients, Seconds: cfg.For.Seconds(), Repeats: cfg.Repeats}
	layers := slices.DeleteFunc(slices.Clone(costLayers), func(l costLayer) bool {
		return l.name != "" && len(cfg.Without) > 0 && !slices.Contains(cfg.Without, l.name)
	})
	got := make([][]LoadReport, len(layers))
	for n := range cfg.Repeats {
		for i, layer := range layers {
			fmt.Fprintf(cfg.Progress, "%d of %d, without %q\n", n+1, cfg.Repeats, layer.name)
			load := LoadConfig{Exe: cfg.Exe, Lab: cfg.Lab, Data: filepath.Join(cfg.Data, "deployment"), Patients: cfg.Patients, For: cfg.For, Recordings: cfg.Recordings, Progress: cfg.Progress}
			if n == 0 && i == 0 { // identities can only be made with everything on
				short := load
				short.For = time.Second
				if err := weaken.Set(); err != nil {
					return r, err
				}
				if _, err := RunLoad(ctx, short); err != nil {
					return r, err
				}
			}
			if err := weaken.Set(layer.off...); err != nil {
				return r, err
			}
			one, err := RunLoad(ctx, load)
			if err != nil {
				return r, fmt.Errorf("measure: without %q: %w", layer.name, err)
			}
			got[i] = append(got[i], one)
		}
	}
	for i, layer := range layers {
		median := func(of func(LoadReport) float64) float64 {
			var all []float64
			for _, x := range got[i] {
				all = append(all, of(x))
			}
			slices.Sort(all)
			return all[len(all)/2]
		}
		row := CostRow{Without: layer.name,
			HubPer100:     median(func(x LoadReport) float64 { return x.HubPer100 }),
			OverlayPer100: median(func(x LoadReport) float64 { return x.OverlayPer100 }),
			GatewayPer1:   median(func(x LoadReport) float64 { return x.GatewayPer1 }),
			PatientsPer1:  median(func(x LoadReport) float64 { return x.PatientsPer1 }),
			DurableP50:    median(func(x LoadReport) float64 { return x.DurableP50 }),
			DurableP99:    median(func(x LoadReport) float64 { return x.DurableP99 })}
		for _, x := range got[i] {
			row.Lost += x.ChunksLost + x.ChunksDoubled
		}
		r.Rows = append(r.Rows, row)
	}
	return r, nil
}

// Print writes the report as a table.
func (r CostReport) Print(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	fmt.Fprintln(t, "without\thub, of a core per 100\toverlay per 100\tgateways per patient\tpatients/core\tdurable p50\tp99\tlost or doubled")
	for _, x := range r.Rows {
		name := x.Without
		if name == "" {
			name = "nothing"
		}
		fmt.Fprintf(t, "%s\t%.2f %%\t%.2f %%\t%.3f %%\t%.0f\t%.0f ms\t%.0f ms\t%d\n", name, x.HubPer100, x.OverlayPer100, x.GatewayPer1, x.PatientsPer1, x.DurableP50, x.DurableP99, x.Lost)
	}
	fmt.Fprintf(t, "%s, %d patients, %.0f s a run, medians of %d\n", r.Machine, r.Patients, r.Seconds, r.Repeats)
	return t.Flush()
}
