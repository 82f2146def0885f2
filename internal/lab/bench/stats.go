package bench

import (
	"cmp"
	"fmt"
	"io"
	"math"
	"slices"
	"text/tabwriter"
	"time"
)

// CutReport is what Cut measured.
type CutReport struct {
	Trials int   `json:"trials"` // of each kind
	Cuts   []Cut `json:"cuts"`
}

// Cut is one kind of revocation. Times are from the call that revokes: Open to the end of an open connection; Dial to the
// start of the first attempt at a new one that was refused, after which none got through; Told to the moment at which that
// attempt learned of it (OpenZiti's SDK goes on trying for up to four seconds when its identity is gone). A measurement that
// this kind does not have is absent.
type Cut struct {
	Revocation string    `json:"revocation"`
	Open       *Quantile `json:"-"`
	Dial       *Quantile `json:"-"`
	Told       *Quantile `json:"-"`

	OpenP50 *float64 `json:"open_p50_ms,omitempty"`
	OpenP99 *float64 `json:"open_p99_ms,omitempty"`
	OpenMax *float64 `json:"open_max_ms,omitempty"`
	DialP50 *float64 `json:"dial_p50_ms,omitempty"`
	DialP99 *float64 `json:"dial_p99_ms,omitempty"`
	DialMax *float64 `json:"dial_max_ms,omitempty"`
	ToldP50 *float64 `json:"told_p50_ms,omitempty"`
	ToldP99 *float64 `json:"told_p99_ms,omitempty"`
}

// Quantile is the distribution of some times.
type Quantile struct{ P50, P99, Max time.Duration }

// quantiles is nil for no times. A quantile is the smallest time that so many do not exceed (nearest rank).
func quantiles(times []time.Duration) *Quantile {
	if len(times) == 0 {
		return nil
	}
	sorted := slices.SortedFunc(slices.Values(times), cmp.Compare[time.Duration])
	at := func(q float64) time.Duration { return sorted[max(int(math.Ceil(q*float64(len(sorted))))-1, 0)] }
	return &Quantile{P50: at(0.50), P99: at(0.99), Max: sorted[len(sorted)-1]}
}

func newCut(name string, open, dial, told []time.Duration) Cut {
	c := Cut{Revocation: name, Open: quantiles(open), Dial: quantiles(dial), Told: quantiles(told)}
	if q := c.Open; q != nil {
		c.OpenP50, c.OpenP99, c.OpenMax = ms(q.P50), ms(q.P99), ms(q.Max)
	}
	if q := c.Dial; q != nil {
		c.DialP50, c.DialP99, c.DialMax = ms(q.P50), ms(q.P99), ms(q.Max)
	}
	if q := c.Told; q != nil {
		c.ToldP50, c.ToldP99 = ms(q.P50), ms(q.P99)
	}
	return c
}

func ms(d time.Duration) *float64 {
	v := math.Round(float64(d.Microseconds())/100) / 10
	return &v
}

// Print writes the report as a table.
func (r CutReport) Print(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 4, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(t, "time to cut, %d trials each\topen p50\tp99\tmax\tnew p50\tp99\tmax\ttold p50\tp99\t\n", r.Trials)
	cell := func(v *float64) string {
		if v == nil {
			return "-"
		}
		return fmt.Sprintf("%.1f ms", *v)
	}
	for _, c := range r.Cuts {
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t\n", c.Revocation, cell(c.OpenP50), cell(c.OpenP99), cell(c.OpenMax),
			cell(c.DialP50), cell(c.DialP99), cell(c.DialMax), cell(c.ToldP50), cell(c.ToldP99))
	}
	return t.Flush()
}
