package archive

import (
	"cmp"
	"maps"
	"math"
	"slices"
	"time"

	"vitalseal/internal/hub/archive/attribution"
	"vitalseal/internal/hub/archive/days"
	"vitalseal/internal/hub/sealdb"
	"vitalseal/internal/measurement/vitals"
)

// trendStep is what each sensor says of one kind in one step of a chart, by its id.
type trendStep map[string]*stepSource

// stepSource is one sensor's part of a step.
type stepSource struct {
	sensor             string // empty: not known which
	measured, asserted days.Aggregate
	lead               [2]uint32 // how often it measured, and asserted, the kind by which the source of the kind is chosen
	first, last        time.Time // between which its values are
}

// add merges what a sensor says of a kind between two times.
func (t trendStep) add(s *days.SourceSums, k vitals.Kind, first, last time.Time) {
	x := t[s.Sensor]
	if x == nil {
		x = &stepSource{sensor: s.Sensor, first: first}
		t[s.Sensor] = x
	}
	x.measured.Merge(s.Measured[k])
	x.asserted.Merge(s.Asserted[k])
	x.lead[0] += s.Measured[vitals.Lead(k)].Count
	x.lead[1] += s.Asserted[vitals.Lead(k)].Count
	x.first, x.last = sealdb.Earlier(x.first, first), sealdb.Later(x.last, last)
}

// choose sorts the sources of a step that counts as measured, or, where none is, as asserted: the
// one whose values are the point's first. It is the one that vitals.Chooser prefers for most of the
// step: one that is confirmed to be on this patient before one that is not, then the first by id.
// One that has less than half as many values as another was the source for the smaller part, and
// comes after that. Of cuffs too: which of them measured last in a step is chance. What is of
// unknown sensors is last.
func (t trendStep) choose(asked attribution.Marks) (all []*stepSource, asserted bool) {
	asserted = true
	for _, x := range t {
		asserted = asserted && x.measured.Count == 0
	}
	which, most := 0, uint32(0)
	if asserted {
		which = 1
	}
	for _, x := range t {
		if x.of(asserted).Count > 0 {
			all = append(all, x)
			most = max(most, x.lead[which])
		}
	}
	last := func(yes bool) int {
		if yes {
			return 1
		}
		return 0
	}
	place := func(x *stepSource) int {
		return 4*last(x.sensor == "") + 2*last(asked.Cover(x.sensor, x.first) || asked.Cover(x.sensor, x.last)) + last(uint64(x.lead[which])*2 < uint64(most))
	}
	slices.SortFunc(all, func(a, b *stepSource) int {
		return cmp.Or(cmp.Compare(place(a), place(b)), cmp.Compare(a.sensor, b.sensor))
	})
	return all, asserted
}

func (x *stepSource) of(asserted bool) days.Aggregate {
	if asserted {
		return x.asserted
	}
	return x.measured
}

// points are the steps' values of a kind in the order of time.
func points(steps map[int64]trendStep, k vitals.Kind, asked attribution.Marks) []TrendPoint {
	var all []TrendPoint
	for _, at := range slices.Sorted(maps.Keys(steps)) {
		sources, asserted := steps[at].choose(asked)
		first := sources[0].of(asserted)
		p := TrendPoint{At: time.Unix(at, 0).UTC(), Asserted: asserted, Sensor: sources[0].sensor, Sensors: len(sources)}
		if sources[len(sources)-1].sensor == "" {
			p.Sensors--
		}
		if p.Sensors == 1 && len(sources) == 2 {
			// The hub was updated within the step: the values of unknown sensors may be this one's.
			first.Merge(sources[1].of(asserted))
			p.Sensor, p.Sensors, sources = "", 0, sources[:1]
		}
		p.Min, p.Mean, p.Max, p.Count, p.Questionable = first.Min, first.Mean(), first.Max, int(first.Count), int(first.Questionable)
		for _, x := range sources[1:] {
			a := x.of(asserted)
			o := TrendOther{Sensor: x.sensor, Min: a.Min, Mean: a.Mean(), Max: a.Max, Count: int(a.Count), Questionable: int(a.Questionable)}
			if most, bounded := vitals.MostApart(k, min(p.Mean, o.Mean)); bounded {
				o.Disagree = math.Abs(p.Mean-o.Mean) > most
			}
			p.Others = append(p.Others, o)
		}
		all = append(all, p)
	}
	return all
}
