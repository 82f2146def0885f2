package access_test

import (
	"slices"
	"testing"
	"time"
)

// measure times each call by itself and reports percentiles beside Go's mean.
func measure(b *testing.B, f func(i int)) {
	b.Helper()
	var took []time.Duration
	i := 0
	for b.Loop() {
		began := time.Now()
		f(i)
		took = append(took, time.Since(began))
		i++
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Nanoseconds())/1000, "p50-µs")
	b.ReportMetric(float64(took[len(took)*99/100].Nanoseconds())/1000, "p99-µs")
}
