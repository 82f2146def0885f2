package store

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"math"
	"slices"

	"vitalseal/internal/seal"
	"vitalseal/internal/vitals"
)

// aggregate sums up values; merging is associative and commutative, so late and out-of-order
// arrivals come out the same.
type aggregate struct {
	count, questionable uint32
	min, max, sum       float64
}

func (a *aggregate) merge(b aggregate) {
	if b.count == 0 {
		return
	}
	if a.count == 0 {
		*a = b
		return
	}
	a.count += b.count
	a.questionable += b.questionable
	a.min, a.max, a.sum = min(a.min, b.min), max(a.max, b.max), a.sum+b.sum
}

// sourceSums is what one sensor says in a slot: of each kind what was measured, and what a legacy
// device asserts.
type sourceSums struct {
	sensor             string // SPIFFE id; empty: unknown, as in cells before version 3, and beyond maxCellSources
	measured, asserted [vitals.MaxKind + 1]aggregate
	// failed counts a cuff's attempts that gave no value, by why; nothing where the sensor is unknown.
	failed [vitals.MaxQuality + 1]uint32
}

func (s *sourceSums) merge(o *sourceSums) {
	for k := range s.measured {
		s.measured[k].merge(o.measured[k])
		s.asserted[k].merge(o.asserted[k])
	}
	if s.sensor == "" {
		return
	}
	for q := range s.failed {
		s.failed[q] += o.failed[q]
	}
}

// add takes in one value, or an attempt that gave none, and tells whether it is one of these.
func (s *sourceSums) add(n vitals.Numeric) bool {
	if vitals.Failed(n) {
		s.failed[n.Quality]++
		return true
	}
	if !n.Quality.HasValue() || !n.Kind.Valid() || math.IsNaN(n.Value) || math.IsInf(n.Value, 0) {
		return false
	}
	one := aggregate{count: 1, min: n.Value, max: n.Value, sum: n.Value}
	if n.Quality.Uncertain() {
		one.questionable = 1
	}
	if n.Quality == vitals.Asserted {
		s.asserted[n.Kind].merge(one)
	} else {
		s.measured[n.Kind].merge(one)
	}
	return true
}

// has tells whether there are values of a kind.
func (s *sourceSums) has(k vitals.Kind) bool {
	return s.measured[k].count > 0 || s.asserted[k].count > 0
}

// values tells whether there are values of any kind.
func (s *sourceSums) values() bool {
	for k := range s.measured {
		if s.has(vitals.Kind(k)) { // #nosec G115 -- an index of ten
			return true
		}
	}
	return false
}

// cell is one patient's slot: the sums of each sensor, ascending by its id. The zero value has
// none.
type cell struct{ sources []sourceSums }

// maxCellSources bounds the sensors that a cell keeps apart; what more sensors say is summed up as
// of unknown ones.
const maxCellSources = 64

// unknown tells whether the cell has values of which it does not know the sensor.
func (c *cell) unknown() bool { return len(c.sources) > 0 && c.sources[0].sensor == "" }

// known is how many sensors the cell keeps apart.
func (c *cell) known() int {
	if c.unknown() {
		return len(c.sources) - 1
	}
	return len(c.sources)
}

func (c *cell) merge(o *cell) {
	for i := range o.sources {
		c.mergeOne(&o.sources[i])
	}
}

func (c *cell) mergeOne(o *sourceSums) {
	find := func(sensor string) (int, bool) {
		return slices.BinarySearchFunc(c.sources, sensor, func(s sourceSums, id string) int { return cmp.Compare(s.sensor, id) })
	}
	sensor := o.sensor
	i, there := find(sensor)
	if !there && sensor != "" && c.known() >= maxCellSources {
		if sensor = ""; !o.values() {
			return
		}
		i, there = find(sensor)
	}
	if !there {
		c.sources = slices.Insert(c.sources, i, sourceSums{sensor: sensor})
	}
	c.sources[i].merge(o)
}

// total is the values of all sensors together.
func (c *cell) total() (all sourceSums) {
	for i := range c.sources {
		all.merge(&c.sources[i])
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
func (c *cell) encode() []byte {
	if c.known() == 0 {
		b := []byte{cellPlain}
		if c.unknown() {
			b, _ = c.sources[0].append(b)
		}
		if len(b) > 1 && b[len(b)-cellRecord]&cellAsserted != 0 { // the asserted ones come last
			b[0] = cellMarked
		}
		return b
	}
	b := []byte{cellSources}
	for i := range c.sources {
		s := &c.sources[i]
		b = binary.BigEndian.AppendUint16(b, uint16(len(s.sensor))) // #nosec G115 -- an id that checkIdentity let through
		b = append(b, s.sensor...)
		at := len(b)
		var records int
		b, records = s.append(append(b, 0))
		b[at] = byte(records) // #nosec G115 -- two of each kind
	}
	return b
}

// append writes a record of each kind that has values, and tells how many.
func (s *sourceSums) append(b []byte) (_ []byte, records int) {
	write := func(all *[vitals.MaxKind + 1]aggregate, mark byte) {
		for k, a := range all {
			if a.count == 0 {
				continue
			}
			records++
			b = append(b, byte(k)|mark) // #nosec G115 -- an index of ten
			b = binary.BigEndian.AppendUint32(b, a.count)
			b = binary.BigEndian.AppendUint32(b, a.questionable)
			for _, v := range [...]float64{a.min, a.max, a.sum} {
				b = binary.BigEndian.AppendUint64(b, math.Float64bits(v))
			}
		}
	}
	write(&s.measured, 0)
	for q, n := range s.failed {
		if n > 0 {
			records++
			b = append(b, byte(q)|cellFailed) // #nosec G115 -- an index of twelve
			b = append(binary.BigEndian.AppendUint32(b, n), make([]byte, cellRecord-5)...)
		}
	}
	write(&s.asserted, cellAsserted)
	return b, records
}

var errCell = fmt.Errorf("%w: trend of unknown form", ErrSealed)

// decode takes what encode writes and nothing else.
func (c *cell) decode(b []byte) error {
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
	var s sourceSums
	last, err := s.decode(b)
	if err != nil || (version == cellMarked) != (last&cellAsserted != 0) {
		return errCell
	}
	c.sources = []sourceSums{s}
	return nil
}

func (c *cell) decodeSources(b []byte) error {
	for len(b) > 0 {
		if len(b) < 2 {
			return errCell
		}
		n := int(binary.BigEndian.Uint16(b))
		if b = b[2:]; len(b) < n+1 {
			return errCell
		}
		s := sourceSums{sensor: string(b[:n])} // with its name, so that decode takes failed attempts
		records := int(b[n]) * cellRecord
		b = b[n+1:]
		if records == 0 || len(b) < records || len(c.sources) > 0 && s.sensor <= c.sources[len(c.sources)-1].sensor {
			return errCell
		}
		if _, err := s.decode(b[:records]); err != nil {
			return err
		}
		b = b[records:]
		if c.sources = append(c.sources, s); c.known() > maxCellSources {
			return errCell
		}
	}
	if c.known() == 0 { // which has a version of its own
		return errCell
	}
	return nil
}

// decode takes records, and tells the kind byte of the last.
func (s *sourceSums) decode(b []byte) (last byte, err error) {
	for ; len(b) > 0; b = b[cellRecord:] {
		f := func(i int) float64 { return math.Float64frombits(binary.BigEndian.Uint64(b[9+8*i:])) }
		a := aggregate{binary.BigEndian.Uint32(b[1:]), binary.BigEndian.Uint32(b[5:]), f(0), f(1), f(2)}
		if b[0]&^15 == cellFailed {
			q := vitals.Quality(b[0] &^ cellFailed)
			if s.sensor == "" || b[0] <= last || a.count == 0 || !vitals.Failed(vitals.Absent(vitals.Systolic, q)) || slices.Max(b[5:cellRecord]) != 0 {
				return 0, errCell
			}
			last, s.failed[q] = b[0], a.count
			continue
		}
		all, kind := &s.measured, b[0]
		if kind&cellAsserted != 0 {
			all, kind = &s.asserted, kind&^cellAsserted
		}
		if !vitals.Kind(kind).Valid() || b[0] <= last || a.count == 0 || a.questionable > a.count || all == &s.asserted && a.questionable != a.count {
			return 0, errCell
		}
		last, all[kind] = b[0], a
	}
	return last, nil
}

func openCell(c *cell, key seal.Key, sealed, where []byte) error {
	b, err := key.Open(sealed, where)
	if err != nil {
		return fmt.Errorf("%w: trend", ErrSealed)
	}
	return c.decode(b)
}
