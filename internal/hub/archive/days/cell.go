package days

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"math"
	"slices"

	"vitalseal/internal/hub/sealdb"
	"vitalseal/internal/measurement/vitals"
	"vitalseal/internal/way/seal"
)

// Aggregate sums up values; merging is associative and commutative, so late and out-of-order
// arrivals come out the same.
type Aggregate struct {
	Count, Questionable uint32
	Min, Max, sum       float64
}

// Merge adds what b sums up.
func (a *Aggregate) Merge(b Aggregate) {
	if b.Count == 0 {
		return
	}
	if a.Count == 0 {
		*a = b
		return
	}
	a.Count += b.Count
	a.Questionable += b.Questionable
	a.Min, a.Max, a.sum = min(a.Min, b.Min), max(a.Max, b.Max), a.sum+b.sum
}

// SourceSums is what one sensor says in a slot: of each kind what was measured, and what a legacy
// device asserts.
type SourceSums struct {
	Sensor             string // SPIFFE id; empty: unknown, as in cells before version 3, and beyond maxCellSources
	Measured, Asserted [vitals.MaxKind + 1]Aggregate
	// Failed counts a cuff's attempts that gave no value, by why; nothing where the sensor is unknown.
	Failed [vitals.MaxQuality + 1]uint32
}

func (s *SourceSums) merge(o *SourceSums) {
	for k := range s.Measured {
		s.Measured[k].Merge(o.Measured[k])
		s.Asserted[k].Merge(o.Asserted[k])
	}
	if s.Sensor == "" {
		return
	}
	for q := range s.Failed {
		s.Failed[q] += o.Failed[q]
	}
}

// add takes in one value, or an attempt that gave none, and tells whether it is one of these.
func (s *SourceSums) add(n vitals.Numeric) bool {
	if vitals.Failed(n) {
		s.Failed[n.Quality]++
		return true
	}
	if !n.Quality.HasValue() || !n.Kind.Valid() || math.IsNaN(n.Value) || math.IsInf(n.Value, 0) {
		return false
	}
	one := Aggregate{Count: 1, Min: n.Value, Max: n.Value, sum: n.Value}
	if n.Quality.Uncertain() {
		one.Questionable = 1
	}
	if n.Quality == vitals.Asserted {
		s.Asserted[n.Kind].Merge(one)
	} else {
		s.Measured[n.Kind].Merge(one)
	}
	return true
}

// Has tells whether there are values of a kind.
func (s *SourceSums) Has(k vitals.Kind) bool {
	return s.Measured[k].Count > 0 || s.Asserted[k].Count > 0
}

// values tells whether there are values of any kind.
func (s *SourceSums) values() bool {
	for k := range s.Measured {
		if s.Has(vitals.Kind(k)) { // #nosec G115 -- an index of ten
			return true
		}
	}
	return false
}

// Cell is one patient's slot: the sums of each sensor, ascending by its id. The zero value has
// none.
type Cell struct{ Sources []SourceSums }

// maxCellSources bounds the sensors that a cell keeps apart; what more sensors say is summed up as
// of unknown ones.
const maxCellSources = 64

// unknown tells whether the cell has values of which it does not know the sensor.
func (c *Cell) unknown() bool { return len(c.Sources) > 0 && c.Sources[0].Sensor == "" }

// known is how many sensors the cell keeps apart.
func (c *Cell) known() int {
	if c.unknown() {
		return len(c.Sources) - 1
	}
	return len(c.Sources)
}

func (c *Cell) merge(o *Cell) {
	for i := range o.Sources {
		c.mergeOne(&o.Sources[i])
	}
}

func (c *Cell) mergeOne(o *SourceSums) {
	find := func(sensor string) (int, bool) {
		return slices.BinarySearchFunc(c.Sources, sensor, func(s SourceSums, id string) int { return cmp.Compare(s.Sensor, id) })
	}
	sensor := o.Sensor
	i, there := find(sensor)
	if !there && sensor != "" && c.known() >= maxCellSources {
		if sensor = ""; !o.values() {
			return
		}
		i, there = find(sensor)
	}
	if !there {
		c.Sources = slices.Insert(c.Sources, i, SourceSums{Sensor: sensor})
	}
	c.Sources[i].merge(o)
}

// total is the values of all sensors together.
func (c *Cell) total() (all SourceSums) {
	for i := range c.Sources {
		all.merge(&c.Sources[i])
	}
	return all
}

const (
	// cellPlain is the version of a cell of which the sensors are not known and that holds nothing
	// asserted. One that a hub before version 2 wrote holds the asserted values among the measured
	// ones.
	cellPlain = 1
	// cellMarked is the version of one of which the sensors are not known and that holds asserted
	// values too.
	cellMarked = 2
	// cellSources is the version of one that knows the sensors.
	cellSources  = 3
	cellAsserted = 0x80            // this bit of the kind: values that are asserted
	cellFailed   = 0x40            // this bit: a count of a cuff's failed attempts, and the quality in place of the kind
	cellRecord   = 1 + 4 + 4 + 3*8 // kind, count, questionable, min, max, sum
)

// encode writes the kinds that have values, as doc/formats/store.md says.
func (c *Cell) encode() []byte {
	if c.known() == 0 {
		b := []byte{cellPlain}
		if c.unknown() {
			b, _ = c.Sources[0].append(b)
		}
		if len(b) > 1 && b[len(b)-cellRecord]&cellAsserted != 0 { // the asserted ones come last
			b[0] = cellMarked
		}
		return b
	}
	b := []byte{cellSources}
	for i := range c.Sources {
		s := &c.Sources[i]
		b = binary.BigEndian.AppendUint16(b, uint16(len(s.Sensor))) // #nosec G115 -- an id that sealdb.CheckIdentity let through
		b = append(b, s.Sensor...)
		at := len(b)
		var records int
		b, records = s.append(append(b, 0))
		b[at] = byte(records) // #nosec G115 -- two of each kind
	}
	return b
}

// append writes a record of each kind that has values, and tells how many.
func (s *SourceSums) append(b []byte) (_ []byte, records int) {
	write := func(all *[vitals.MaxKind + 1]Aggregate, mark byte) {
		for k, a := range all {
			if a.Count == 0 {
				continue
			}
			records++
			b = append(b, byte(k)|mark) // #nosec G115 -- an index of ten
			b = binary.BigEndian.AppendUint32(b, a.Count)
			b = binary.BigEndian.AppendUint32(b, a.Questionable)
			for _, v := range [...]float64{a.Min, a.Max, a.sum} {
				b = binary.BigEndian.AppendUint64(b, math.Float64bits(v))
			}
		}
	}
	write(&s.Measured, 0)
	for q, n := range s.Failed {
		if n > 0 {
			records++
			b = append(b, byte(q)|cellFailed) // #nosec G115 -- an index of twelve
			b = append(binary.BigEndian.AppendUint32(b, n), make([]byte, cellRecord-5)...)
		}
	}
	write(&s.Asserted, cellAsserted)
	return b, records
}

var errCell = fmt.Errorf("%w: trend of unknown form", sealdb.ErrSealed)

// decode takes what encode writes and nothing else.
func (c *Cell) decode(b []byte) error {
	if len(b) < 1 {
		return errCell
	}
	version, b := b[0], b[1:]
	switch {
	case version == cellSources:
		return c.decodeSources(b)
	case version != cellPlain && version != cellMarked || len(b)%cellRecord != 0:
		return errCell
	case len(b) == 0 && version == cellPlain:
		return nil
	}
	var s SourceSums
	last, err := s.decode(b)
	if err != nil || (version == cellMarked) != (last&cellAsserted != 0) {
		return errCell
	}
	c.Sources = []SourceSums{s}
	return nil
}

func (c *Cell) decodeSources(b []byte) error {
	for len(b) > 0 {
		if len(b) < 2 {
			return errCell
		}
		n := int(binary.BigEndian.Uint16(b))
		if b = b[2:]; len(b) < n+1 {
			return errCell
		}
		s := SourceSums{Sensor: string(b[:n])} // with its name, so that decode takes failed attempts
		records := int(b[n]) * cellRecord
		b = b[n+1:]
		if records == 0 || len(b) < records || len(c.Sources) > 0 && s.Sensor <= c.Sources[len(c.Sources)-1].Sensor {
			return errCell
		}
		if _, err := s.decode(b[:records]); err != nil {
			return err
		}
		b = b[records:]
		if c.Sources = append(c.Sources, s); c.known() > maxCellSources {
			return errCell
		}
	}
	if c.known() == 0 { // which has a version of its own
		return errCell
	}
	return nil
}

// decode takes records, and tells the kind byte of the last.
func (s *SourceSums) decode(b []byte) (last byte, err error) {
	for ; len(b) > 0; b = b[cellRecord:] {
		f := func(i int) float64 { return math.Float64frombits(binary.BigEndian.Uint64(b[9+8*i:])) }
		a := Aggregate{binary.BigEndian.Uint32(b[1:]), binary.BigEndian.Uint32(b[5:]), f(0), f(1), f(2)}
		if b[0]&^15 == cellFailed {
			q := vitals.Quality(b[0] &^ cellFailed)
			if s.Sensor == "" || b[0] <= last || a.Count == 0 || !vitals.Failed(vitals.Absent(vitals.Systolic, q)) || slices.Max(b[5:cellRecord]) != 0 {
				return 0, errCell
			}
			last, s.Failed[q] = b[0], a.Count
			continue
		}
		all, kind := &s.Measured, b[0]
		if kind&cellAsserted != 0 {
			all, kind = &s.Asserted, kind&^cellAsserted
		}
		if !vitals.Kind(kind).Valid() || b[0] <= last || a.Count == 0 || a.Questionable > a.Count || all == &s.Asserted && a.Questionable != a.Count {
			return 0, errCell
		}
		last, all[kind] = b[0], a
	}
	return last, nil
}

func openCell(c *Cell, key seal.Key, sealed, where []byte) error {
	b, err := key.Open(sealed, where)
	if err != nil {
		return fmt.Errorf("%w: trend", sealdb.ErrSealed)
	}
	return c.decode(b)
}
