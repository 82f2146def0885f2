package peers

import (
	"strconv"
	"time"

	"vitalseal/internal/measurement/vitals"
)

// peerChunk is what a peer's gateway has to say of one sensor at once: a quarter of a second of red and infrared, or the numbers of
// one moment. Exactly one of the two is there.
type peerChunk struct {
	sensor        int
	at            time.Time // of the first sample, or of the numbers; whole milliseconds
	red, infrared []uint16
	numbers       *peerNumbers
}

// peerNumbers are the three that an oximeter gives. One that has no value now is absent.
type peerNumbers struct{ heartRate, spo2, perfusion *float64 }

// peerPeriod is the time between two samples.
const peerPeriod = 10 * time.Millisecond

func newPeerNumbers(all []vitals.Numeric) *peerNumbers {
	var n peerNumbers
	for _, v := range all {
		if !v.Quality.HasValue() {
			continue
		}
		switch v.Kind {
		case vitals.HeartRate:
			n.heartRate = &v.Value
		case vitals.SpO2:
			n.spo2 = &v.Value
		case vitals.PerfusionIndex:
			n.perfusion = &v.Value
		}
	}
	return &n
}

// points is how many rows or points a chunk is.
func (c peerChunk) points() int {
	if c.numbers != nil {
		return 1
	}
	return len(c.infrared)
}

// line appends a chunk in InfluxDB's line protocol, times in milliseconds: what InfluxDB and VictoriaMetrics both take in unchanged,
// so that the storing program only has to put messages one after the other. A measurement without any value says so, because the
// protocol has no empty point.
func (c peerChunk) line(b []byte) []byte {
	head := func(b []byte, name string) []byte {
		b = append(b, name...)
		b = append(b, ",sensor="...)
		return strconv.AppendInt(b, int64(c.sensor), 10)
	}
	if n := c.numbers; n != nil {
		b = append(head(b, "numbers"), ' ')
		for _, f := range [...]struct {
			name  string
			value *float64
		}{{"heart_rate_bpm", n.heartRate}, {"spo2_percent", n.spo2}, {"perfusion_percent", n.perfusion}} {
			if f.value != nil {
				b = append(append(b, f.name...), '=')
				b = append(strconv.AppendFloat(b, *f.value, 'f', 2, 64), ',')
			}
		}
		b = append(b, "told=1 "...)
		return append(strconv.AppendInt(b, c.at.UnixMilli(), 10), '\n')
	}
	at := c.at.UnixMilli()
	for i := range c.infrared {
		b = append(head(b, "ppg"), " red="...)
		b = strconv.AppendUint(b, uint64(c.red[i]), 10)
		b = append(b, "i,infrared="...)
		b = strconv.AppendUint(b, uint64(c.infrared[i]), 10)
		b = append(b, "i "...)
		b = append(strconv.AppendInt(b, at+int64(i)*peerPeriod.Milliseconds(), 10), '\n')
	}
	return b
}
