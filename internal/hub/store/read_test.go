package store_test

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"slices"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"vitalseal/internal/hub/access"
	"vitalseal/internal/hub/archive"
	"vitalseal/internal/hub/channel"
	"vitalseal/internal/hub/directory"
	"vitalseal/internal/hub/store"
	"vitalseal/internal/measurement/vitals"
	"vitalseal/internal/way/delivery"
)

// TestReadsAgainstModel appends bundles late, out of order, doubled and over midnight, and compares trends and numerics
// with what a list and a loop make of the same. The store is reopened in between.
func TestReadsAgainstModel(t *testing.T) {
	c := newClock(noon)
	dir := t.TempDir()
	s := open(t, dir, store.WithClock(c.Now), store.WithOpenPartitions(2))
	ctx, g := t.Context(), standing(t, s)
	kinds := []vitals.Kind{vitals.HeartRate, vitals.SpO2}
	runs := uint64(0)
	rapid.Check(t, func(rt *rapid.T) {
		runs++
		sensor, bed := sensorID(fmt.Sprint("m", runs)), fmt.Sprint("bed-", runs)
		since := noon.Add(-20 * 24 * time.Hour)
		_ = s.CreateWard(ctx, directory.Ward{ID: "m", Name: "M"})
		must(t, s.CreateBed(ctx, directory.Bed{ID: bed, Ward: "m", Name: "Bed"}))
		p, err := s.CreatePatient(ctx, "Model")
		must(t, err)
		must(t, s.Admit(ctx, p, bed, since))
		must(t, s.CreateDevice(ctx, directory.Device{ID: sensor, Kind: "sensor"}))
		must(t, s.PlaceDevice(ctx, sensor, bed, since))

		midnight := noon.Add(-12 * time.Hour)
		at := rapid.Custom(func(rt *rapid.T) time.Time {
			return midnight.Add(time.Duration(rapid.IntRange(-300, 300).Draw(rt, "s")) * time.Second)
		})
		var model []vitals.Bundle
		for seq := range rapid.IntRange(1, 25).Draw(rt, "chunks") {
			chunk := vitals.Chunk{Signal: vitals.Numerics, Start: at.Draw(rt, "start")}
			for range rapid.IntRange(1, 4).Draw(rt, "bundles") {
				b := vitals.Bundle{At: at.Draw(rt, "at")}
				if b.At.Sub(chunk.Start).Abs() > 9*time.Minute {
					b.At = chunk.Start
				}
				for _, k := range kinds {
					q := rapid.SampledFrom([]vitals.Quality{vitals.Good, vitals.Questionable, vitals.Motion}).Draw(rt, "quality")
					n := vitals.Absent(k, q)
					if q.HasValue() {
						n = vitals.Checked(k, rapid.Float64Range(60, 99).Draw(rt, "value"), q)
					}
					b.Numerics = append(b.Numerics, n)
				}
				chunk.Bundles = append(chunk.Bundles, b)
			}
			a := arrival(sensor, chunk, epoch(runs), uint64(seq))
			appendAs(t, s, g, a, delivery.Accepted, "")
			if rapid.Bool().Draw(rt, "again") {
				appendAs(t, s, g, a, delivery.Duplicate, "")
			}
			model = append(model, chunk.Bundles...)
		}
		slices.SortStableFunc(model, func(a, b vitals.Bundle) int { return a.At.Compare(b.At) })

		from, to := at.Draw(rt, "from"), at.Draw(rt, "to")
		step := time.Duration(rapid.SampledFrom([]int{1, 2, 5, 60}).Draw(rt, "step")) * time.Minute
		for _, k := range kinds {
			got, err := s.Trends(ctx, g, p, k, from, to, step)
			must(t, err)
			if diff := gocmp.Diff(naiveTrend(model, sensor, k, from, to, step), got, cmpopts.EquateApprox(1e-12, 0), cmpopts.EquateEmpty()); diff != "" {
				rt.Fatalf("%v [%v, %v) %v: %s", k, from, to, step, diff)
			}
		}
		limit := rapid.IntRange(1, 30).Draw(rt, "limit")
		got, err := s.Numerics(ctx, g, p, from, to, limit)
		must(t, err)
		want := slices.DeleteFunc(slices.Clone(model), func(b vitals.Bundle) bool { return b.At.Before(from) || !b.At.Before(to) })
		want = want[max(0, len(want)-limit):]
		if len(got) != len(want) {
			rt.Fatalf("%d bundles, want %d", len(got), len(want))
		}
		for i := range got { // of those at one time any may be cut off by the limit
			if !got[i].At.Equal(want[i].At) {
				rt.Fatalf("bundle %d at %v, want %v", i, got[i].At, want[i].At)
			}
		}
	})
	if n := s.PartitionsOpen(); n > 2 {
		t.Errorf("%d partitions open", n)
	}
}

func naiveTrend(model []vitals.Bundle, sensor string, k vitals.Kind, from, to time.Time, step time.Duration) (all []archive.TrendPoint) {
	low, high := from.Truncate(time.Minute), to.Add(time.Minute-1).Truncate(time.Minute)
	if !to.After(from) {
		return nil
	}
	values := map[time.Time][]vitals.Numeric{}
	for _, b := range model {
		if b.At.Before(low) || !b.At.Before(high) {
			continue
		}
		for _, n := range b.Numerics {
			if n.Kind == k && n.Quality.HasValue() {
				values[b.At.Truncate(step)] = append(values[b.At.Truncate(step)], n)
			}
		}
	}
	for at, vs := range values {
		p := archive.TrendPoint{At: at, Min: math.Inf(1), Max: math.Inf(-1), Count: len(vs), Sensor: sensor, Sensors: 1}
		for _, v := range vs {
			p.Min, p.Max, p.Mean = min(p.Min, v.Value), max(p.Max, v.Value), p.Mean+v.Value/float64(len(vs))
			if v.Quality == vitals.Questionable {
				p.Questionable++
			}
		}
		all = append(all, p)
	}
	slices.SortFunc(all, func(a, b archive.TrendPoint) int { return cmp.Compare(a.At.Unix(), b.At.Unix()) })
	return all
}

func TestTrendsSurviveReopen(t *testing.T) {
	dir := t.TempDir()
	now := time.Now().UTC().Truncate(time.Minute)
	var p []string
	for i := range 3 { // one value a life of the store, all in one minute
		s := open(t, dir)
		if i == 0 {
			p = ward(t, s, now, 1)
		}
		appendAs(t, s, standing(t, s), arrival(sensorID("s0"), numerics(now.Add(time.Duration(i)*time.Second), heart(60+float64(i))), epoch(1), uint64(i)), delivery.Accepted, "")
		must(t, s.Close())
	}
	s := open(t, dir)
	got, err := s.Trends(t.Context(), standing(t, s), p[0], vitals.HeartRate, now, now.Add(time.Minute), time.Minute)
	want := []archive.TrendPoint{{At: now, Min: 60, Mean: 61, Max: 62, Count: 3, Sensor: sensorID("s0"), Sensors: 1}}
	if diff := gocmp.Diff(want, got); err != nil || diff != "" {
		t.Error(err, diff)
	}
}

func TestZeroGrantOpensNothing(t *testing.T) {
	now := time.Now()
	s := open(t, t.TempDir())
	ctx, e := t.Context(), engine(t, s)
	p := ward(t, s, now, 2)
	ch, err := s.CreateChannel(ctx, channel.Channel{Name: "free"})
	must(t, err)
	_, err = s.CreatePerson(ctx, access.Person{ID: "n", Login: "n", Role: access.RoleDoctor, Patients: p[1:]}, "x")
	must(t, err)
	other, err := e.Decide(ctx, access.Subject{Person: access.Person{ID: "n"}, Workstation: station, SessionStarted: now}, access.ViewPatient, access.OnPatient(p[1]))
	must(t, err)
	if _, err := s.Numerics(ctx, other, p[1], now.Add(-time.Hour), now, 1); err != nil {
		t.Errorf("the granted patient: %v", err)
	}
	for name, g := range map[string]access.Grant{"zero": {}, "of another patient": other, "to append": e.Standing("x", access.AppendVitals)} {
		_, e1 := s.Numerics(ctx, g, p[0], now.Add(-time.Hour), now, 1)
		_, e2 := s.Waveform(ctx, g, p[0], vitals.PPG, now.Add(-time.Hour), now)
		_, e3 := s.Trends(ctx, g, p[0], vitals.HeartRate, now.Add(-time.Hour), now, time.Minute)
		_, e4 := s.PatientName(ctx, g, p[0])
		_, e5 := s.Entries(ctx, g, ch.ID, now.Add(-time.Hour), now, 1)
		_, e6 := s.AppendEntry(ctx, g, ch.ID, channel.Entry{})
		_, e7 := s.Numerics(ctx, g, store.Unassigned, now.Add(-time.Hour), now, 1)
		for i, err := range []error{e1, e2, e3, e4, e5, e6, e7} {
			if !errors.Is(err, store.ErrNotAllowed) {
				t.Errorf("grant %s, reader %d: %v", name, i+1, err)
			}
		}
	}
	if _, err := s.Watch(ctx, []access.Grant{{}}); !errors.Is(err, store.ErrNotAllowed) {
		t.Errorf("watch with the zero Grant: %v", err)
	}
	if _, err := s.Watch(ctx, nil); !errors.Is(err, store.ErrNotAllowed) {
		t.Errorf("watch with no grant: %v", err)
	}
}

func TestWaveformOrderAndBounds(t *testing.T) {
	c := newClock(noon)
	s := open(t, t.TempDir(), store.WithClock(c.Now))
	ctx, g := t.Context(), standing(t, s)
	p := ward(t, s, noon, 1)[0]
	for _, i := range []int{5, 0, 3, 1, 4, 2} {
		chunk := ppg(noon.Add(time.Duration(i)*100*time.Millisecond), make([]uint16, 10)...) // 100 ms each
		chunk.Infrared[0] = uint16(i)
		appendAs(t, s, g, arrival(sensorID("s0"), chunk, epoch(1), uint64(i)), delivery.Accepted, "")
	}
	got, err := s.Waveform(ctx, g, p, vitals.PPG, noon.Add(150*time.Millisecond), noon.Add(400*time.Millisecond))
	must(t, err)
	var order []uint16
	for _, c := range got {
		order = append(order, c.Infrared[0])
	}
	if diff := gocmp.Diff([]uint16{1, 2, 3}, order); diff != "" {
		t.Error(diff)
	}
	if _, err := s.Trends(ctx, g, p, vitals.HeartRate, noon, noon.Add(500*24*time.Hour), time.Hour); !errors.Is(err, store.ErrTooMuch) {
		t.Errorf("endless trends: %v", err)
	}
	if _, err := s.Trends(ctx, g, p, vitals.HeartRate, noon, noon.Add(time.Hour), time.Second); !errors.Is(err, store.ErrInvalid) {
		t.Errorf("step of a second: %v", err)
	}
}
