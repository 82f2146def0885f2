package store_test

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"vitalseal/internal/hub/store"
	"vitalseal/internal/measurement/vitals"
	"vitalseal/internal/way/delivery"
)

// BenchmarkAppend appends 250 ms of red and infrared at 100 Hz from 64 goroutines, every fifth chunk one of numerics; each
// append waits for its fsync.
func BenchmarkAppend(b *testing.B) {
	s := open(b, b.TempDir())
	g := standing(b, s)
	start := time.Now()
	ward(b, s, start, 64)
	wave := make([]uint16, 25)
	for i := range wave {
		wave[i] = uint16(30000 + 37*i%90)
	}
	var worker atomic.Int64
	b.SetParallelism(32) // times GOMAXPROCS, 2 here
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		w := worker.Add(1)
		sensor := sensorID(fmt.Sprint("s", w%64))
		for seq := uint64(0); pb.Next(); seq++ {
			at := start.Add(time.Duration(seq) * 50 * time.Millisecond)
			c := ppg(at, wave...)
			if seq%5 == 0 {
				c = numerics(at, heart(70), vitals.Checked(vitals.SpO2, 97, vitals.Good), vitals.Checked(vitals.PerfusionIndex, 3, vitals.Good))
			}
			if o, why, err := s.Append(context.Background(), g, arrival(sensor, c, epoch(uint64(w)*4+uint64(c.Signal)), seq)); o != delivery.Accepted {
				b.Error(o, why, err)
				return
			}
		}
	})
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "chunks/s")
}

// BenchmarkTrends reads a day of one kind in minutes.
func BenchmarkTrends(b *testing.B) {
	c := newClock(noon.Add(12 * time.Hour))
	s := open(b, b.TempDir(), store.WithClock(c.Now))
	g := standing(b, s)
	p := ward(b, s, noon.Add(-24*time.Hour), 1)[0]
	for chunk := range 24 * 6 { // a chunk of ten minutes with a value a minute
		at := noon.Add(time.Duration(chunk-72) * 10 * time.Minute)
		c := numerics(at, heart(70))
		for m := 1; m < 10; m++ {
			c.Bundles = append(c.Bundles, vitals.Bundle{At: at.Add(time.Duration(m) * time.Minute), Numerics: c.Bundles[0].Numerics})
		}
		if o, why, err := s.Append(context.Background(), g, arrival(sensorID("s0"), c, epoch(1), uint64(chunk))); o != delivery.Accepted {
			b.Fatal(o, why, err)
		}
	}
	for b.Loop() {
		points, err := s.Trends(context.Background(), g, p, vitals.HeartRate, noon.Add(-12*time.Hour), noon.Add(12*time.Hour), time.Minute)
		if err != nil || len(points) != 1440 {
			b.Fatal(len(points), err)
		}
	}
}

// BenchmarkMonth reads 30 days of one kind in hours, as a chart does, with a hundred patients' month of numbers each second in the
// store. It takes minutes to fill it.
func BenchmarkMonth(b *testing.B) {
	if testing.Short() {
		b.Skip("takes minutes")
	}
	const days, patients = 30, 100
	c := newClock(noon)
	s := open(b, b.TempDir(), store.WithClock(c.Now))
	g := standing(b, s)
	ids := ward(b, s, noon.Add(time.Hour), patients)
	for day := range days {
		var wg sync.WaitGroup
		for p := range patients {
			wg.Go(func() {
				for n := range 24 * 6 { // chunks of ten minutes
					at := noon.Add(time.Duration(day)*24*time.Hour + time.Duration(n)*10*time.Minute)
					chunk := vitals.Chunk{Signal: vitals.Numerics, Start: at}
					for i := range 600 {
						chunk.Bundles = append(chunk.Bundles, vitals.Bundle{At: at.Add(time.Duration(i) * time.Second), Numerics: []vitals.Numeric{
							heart(60 + float64((i+n+p)%40)), vitals.Checked(vitals.SpO2, 97, vitals.Good), vitals.Checked(vitals.PerfusionIndex, 3, vitals.Good)}})
					}
					a := arrival(sensorID(fmt.Sprint("s", p)), chunk, epoch(uint64(p*64+day+1)), uint64(n))
					if o, why, err := s.Append(context.Background(), g, a); o != delivery.Accepted {
						b.Error(o, why, err)
						return
					}
				}
			})
		}
		c.us.Store(noon.Add(time.Duration(day+1) * 24 * time.Hour).UnixMicro())
		wg.Wait()
		if err := s.Compact(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
	i := 0
	b.ResetTimer()
	for b.Loop() {
		points, err := s.Trends(b.Context(), g, ids[i%patients], vitals.HeartRate, noon, noon.Add(days*24*time.Hour), time.Hour)
		if err != nil || len(points) != days*24 {
			b.Fatal(len(points), err)
		}
		i++
	}
}
