package wire

import (
	"context"
	"errors"
	"time"

	"periph.io/x/conn/v3"
	"periph.io/x/conn/v3/physic"
	"periph.io/x/conn/v3/spi"

	"vitalseal/internal/lab/attack"
	"vitalseal/internal/lab/attack/rogue"
	"vitalseal/internal/lab/weaken"
	"vitalseal/internal/measurement/vitals"
	"vitalseal/internal/patient/sensor"
)

// junk is a bus on which something answers whatever comes to its mind.
type junk struct{ seed int }

func (j *junk) Tx(_ uint16, _, r []byte) error {
	for len(r) > 0 {
		j.seed++
		r = r[copy(r, rogue.Noise(j.seed)):]
	}
	return nil
}

func (j *junk) String() string                    { return "junk" }
func (j *junk) SetSpeed(physic.Frequency) error   { return nil }
func (j *junk) Duplex() conn.Duplex               { return conn.Full }
func (j *junk) TxPackets([]spi.Packet) error      { return errors.New("not here") }
func (j *junk) LimitSpeed(physic.Frequency) error { return nil }
func (j *junk) Connect(physic.Frequency, spi.Mode, int) (spi.Conn, error) {
	return &junkConn{j}, nil
}

type junkConn struct{ *junk }

func (j *junkConn) Tx(w, r []byte) error { return j.junk.Tx(0, w, r) }

// Sensors are the attacks of a broken or malicious sensor chip on its gateway.
func Sensors() []attack.Attack {
	return []attack.Attack{
		{ID: "sensor-junk-oximeter", Threat: "show numbers that no body made", Position: "malformed or replaced firmware on the I2C bus",
			Does: "a chip that answers every register with random bytes is taken for a MAX30100, 200 times", Expected: "it is never taken for one", Right: attack.Fails(sensor.ErrWrongPart).Or(attack.Fails(sensor.ErrConfigRefused)), Control: weaken.Plausible, Fast: true,
			Run: func(context.Context, *attack.Target) (attack.Result, error) {
				var last error
				var seen []attack.Seen
				for i := range 200 {
					_, err := sensor.NewMAX30100(&junk{seed: i * 1000}, sensor.MAX30100Config{Sleep: func(time.Duration) {}})
					if err == nil {
						return attack.Through("samples of junk", "after %d tries", i+1)
					}
					last = err
					seen = append(seen, attack.Failure(err)...)
				}
				return attack.RefusedWith(seen, "not taken for one", "200 tries, the last: %v", last)
			}},
		{ID: "sensor-junk-converter", Threat: "show a blood pressure that no patient has", Position: "a loose or cut SPI line", Does: "a converter that answers all ones is read 200 times",
			Expected: "no value, but the fault's name", Right: attack.Fails(sensor.ErrNotConnected), Control: weaken.Plausible, Fast: true,
			Run: func(context.Context, *attack.Target) (attack.Result, error) {
				adc, err := sensor.NewMCP3008(&ones{}, sensor.MCP3008Config{})
				if err != nil {
					return attack.RefusedWith(attack.Failure(err), "not taken for one", "%v", err)
				}
				var last error
				var seen []attack.Seen
				for range 200 {
					code, err := adc.Read(0)
					if err == nil {
						return attack.Through("a value", "code %d", code)
					}
					last = err
					seen = append(seen, attack.Failure(err)...)
				}
				return attack.RefusedWith(seen, "no value", "%v", last)
			}},
		{ID: "sensor-junk-chunk", Threat: "crash a reader of a chunk", Position: "malformed firmware of a gateway, or a bug in one", Does: "30,000 random, cut and changed chunks are decoded",
			Expected: "an error or a canonical chunk within its ranges, never a crash", Right: attack.Fails(vitals.ErrMalformed), Control: weaken.Plausible, Fast: true, Run: junkChunks},
	}
}

// ones is a line that is high all the time.
type ones struct{ junk }

func (o *ones) Connect(physic.Frequency, spi.Mode, int) (spi.Conn, error) { return &onesConn{}, nil }

type onesConn struct{ junkConn }

func (o *onesConn) Tx(_, r []byte) error {
	for i := range r {
		r[i] = 0xff
	}
	return nil
}

func junkChunks(context.Context, *attack.Target) (attack.Result, error) {
	good, _, err := rogue.HeartRate(time.Now())
	if err != nil {
		return attack.Result{}, err
	}
	outside, opened := 0, 0
	var seen []attack.Seen
	look := func(b []byte) {
		c, err := vitals.Decode(b)
		if err != nil {
			seen = append(seen, attack.Failure(err)...)
			return
		}
		opened++
		for _, bundle := range c.Bundles {
			for _, n := range bundle.Numerics {
				if low, high := n.Kind.Range(); n.Quality.HasValue() && !(n.Value >= low && n.Value <= high) {
					outside++
				}
			}
		}
	}
	for i := range 10_000 {
		look(rogue.Noise(i))
		b := append([]byte(nil), good...)
		b[i%len(b)] ^= byte(1 + i/len(b)%255) // #nosec G115 -- within a byte
		look(b)
		look(b[:i%len(b)])
	}
	return attack.Judge(outside > 0, seen, "values outside of what a body can have", "none outside its range", "30000 tried, %d decoded, %d outside", opened, outside)
}
