package audit_test

import (
	"context"
	"testing"

	"vitalseal/internal/shared/audit"
)

func BenchmarkAppend(b *testing.B) {
	h := newHome(b)
	l, err := audit.Open(h.dir, h.key, quiet)
	if err != nil {
		b.Fatal(err)
	}
	defer closeLog(b, l)
	b.SetParallelism(16)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, err := l.Append(context.Background(), entry(0)); err != nil {
				b.Error(err)
				return
			}
		}
	})
}

// BenchmarkOpen is what a start costs an entry.
func BenchmarkOpen(b *testing.B) {
	const n = 20_000
	h := newHome(b)
	l, err := audit.OpenWith(h.dir, h.key, quiet, 8<<20, noSync)
	if err != nil {
		b.Fatal(err)
	}
	fill(b, l, n)
	closeLog(b, l)
	for b.Loop() {
		closeLog(b, h.open(b))
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/n, "ns/entry")
}
