package sensor_test

import (
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"vitalseal/internal/patient/sensor"
	"vitalseal/internal/patient/sensor/bench"
)

// TestMAX30100AfterABrokenRead: a read of the FIFO that breaks off in the middle of a sample must
// neither swap infrared and red for ever after, nor lose samples uncounted.
func TestMAX30100AfterABrokenRead(t *testing.T) {
	for _, after := range []int{-1, 0, 1, 2, 3, 4, 7, 18, 63} {
		for _, waiting := range []int{5, 15, 16, 20} {
			t.Run(fmt.Sprintf("%d waiting, %d bytes", waiting, after), func(t *testing.T) {
				d, b, clock := chip(t, bench.DemoProfile(2), sensor.MAX30100Config{})
				begin := clock.Now()
				dst := make([]sensor.Optical, 16)
				clock.Advance(time.Duration(waiting) * 10 * time.Millisecond)
				if after >= 0 {
					b.MAX30100("bed-1/i2c").FailBurst(after)
				} else {
					b.MAX30100("bed-1/i2c").FailBus(3, -1) // the status, and both further tries
				}
				if _, _, err := d.Read(dst); !errors.Is(err, bench.ErrBus) {
					t.Fatalf("%v, want the bus's error", err)
				}
				read, lost := 0, 0
				for range 20 {
					clock.Advance(50 * time.Millisecond)
					n, l, err := d.Read(dst)
					if err != nil {
						t.Fatal(err)
					}
					read, lost = read+n, lost+l
					for _, s := range dst[:n] { // infrared rests at 0.60, red at 0.83 * 27.1/50 = 0.45
						if s.Infrared < 36000 || s.Red > 33000 || s.Red < 24000 {
							t.Fatalf("%v is not infrared and red", s)
						}
					}
				}
				// The driver's own pauses between tries take up to 2 ms.
				made := int(clock.Now().Sub(begin).Seconds() * 100)
				if got := read + lost; got < made-1 || got > made+1 {
					t.Errorf("%d read and %d lost of %d", read, lost, made)
				}
				if after < 0 && lost > max(0, waiting+5+1-16) { // the FIFO held them while the bus was away
					t.Errorf("%d lost although nothing was taken from the chip", lost)
				}
			})
		}
	}
}

// TestMAX30100FullAfterLostStatus: the status was read, and thereby cleared, in a transaction that
// failed. The next read sees equal pointers and no flag, and must still know that the FIFO is full.
func TestMAX30100FullAfterLostStatus(t *testing.T) {
	for _, wait := range []int{0, 16} {
		d, b, clock := chip(t, bench.DemoProfile(0), sensor.MAX30100Config{})
		clock.Advance(time.Duration(wait) * 10 * time.Millisecond)
		b.MAX30100("bed-1/i2c").FailBus(1, 1) // the status comes through, the pointers do not
		n, lost, err := d.Read(make([]sensor.Optical, 16))
		if n != wait || lost != 0 || err != nil {
			t.Errorf("%d waiting: %d read, %d lost, %v", wait, n, lost, err)
		}
	}
}

// TestMAX30100RetriesAndGivesUp: two failures in a row are mended unseen, a bus that stays broken
// is an error.
func TestMAX30100RetriesAndGivesUp(t *testing.T) {
	d, b, clock := chip(t, bench.DemoProfile(0), sensor.MAX30100Config{})
	c := b.MAX30100("bed-1/i2c")
	for _, f := range []struct {
		name string
		do   func() error
	}{
		{"check", d.Check},
		{"currents", func() error { return d.SetCurrents(sensor.Current24mA, sensor.Current24mA) }},
		{"temperature", func() error { _, err := d.Temperature(); return err }},
		{"configure", d.Configure},
	} {
		c.FailBus(2, -1)
		if err := f.do(); err != nil {
			t.Errorf("%s, after two failures: %v", f.name, err)
		}
		c.FailBus(1000, -1)
		err := f.do()
		if err == nil {
			t.Errorf("%s on a broken bus worked", f.name)
		}
		if s := sensor.StateOf(err); s != sensor.BusFailure && s != sensor.Absent {
			t.Errorf("%s on a broken bus: state %v of %v", f.name, s, err)
		}
		c.FailBus(0, -1)
		if err := d.Configure(); err != nil {
			t.Fatal(err)
		}
		clock.Advance(time.Second)
	}
}

// TestMAX30100WithFewerRates: a copy of the chip that stores another rate than it was told is
// refused, with both rates named.
func TestMAX30100WithFewerRates(t *testing.T) {
	clock := bench.NewManualClock(time.Unix(1e9, 0))
	b, err := bench.New(bench.Ward(bench.Profile{}), bench.Options{Clock: clock.Now})
	if err != nil {
		t.Fatal(err)
	}
	b.MAX30100("bed-1/i2c").SetHighestRate(7, 4, 3, 0)
	bus, err := b.I2C("bed-1/i2c")
	if err != nil {
		t.Fatal(err)
	}
	_, err = sensor.NewMAX30100(bus, sensor.MAX30100Config{Now: clock.Now, Sleep: clock.Advance})
	if !errors.Is(err, sensor.ErrConfigRefused) || !strings.Contains(err.Error(), "samples at 50 Hz, 1.6ms instead of 100 Hz") {
		t.Errorf("%v", err)
	}
}

// TestMAX30100Ambient: with the LEDs off only light from outside is left; they burn again
// afterwards, nothing old is read.
func TestMAX30100Ambient(t *testing.T) {
	d, b, clock := chip(t, bench.DemoProfile(0), sensor.MAX30100Config{})
	c := b.MAX30100("bed-1/i2c")
	for _, share := range []float64{0.0015, 0.1, 0.5, 3} {
		c.SetAmbient(share)
		clock.Advance(100 * time.Millisecond)
		got, err := d.Ambient()
		if err != nil {
			t.Fatal(err)
		}
		want := math.Min(65535, share*65536)
		if math.Abs(float64(got.Infrared)-want) > 2 || math.Abs(float64(got.Red)-want) > 2 {
			t.Errorf("ambient %g: %v, want %.0f", share, got, want)
		}
		clock.Advance(50 * time.Millisecond)
		dst := make([]sensor.Optical, 16)
		n, lost, err := d.Read(dst)
		if n < 4 || n > 6 || lost != 0 || err != nil {
			t.Errorf("after that %d read, %d lost, %v", n, lost, err)
		}
		for _, s := range dst[:n] {
			if float64(s.Infrared) < min(65535, want+0.5*65536) {
				t.Errorf("ambient %g: a dark sample %v is left", share, s)
			}
		}
		if err := d.Check(); err != nil {
			t.Error(err)
		}
	}
	c.FailBus(1000, -1)
	if _, err := d.Ambient(); err == nil {
		t.Error("ambient light from a broken bus")
	}
}

func TestMAX30100TemperatureIsCorrected(t *testing.T) {
	// 50 mA and 27.1 mA for 1600 us 100 times a second are 12.34 mA on average.
	d, b, _ := chip(t, bench.DemoProfile(0), sensor.MAX30100Config{TemperatureOffset: -0.5, SelfHeating: 0.1})
	b.MAX30100("bed-1/i2c").SetDieTemperature(35)
	got, err := d.Temperature()
	if err != nil || math.Abs(float64(got)-(35-0.5-1.2336)) > 1e-9 {
		t.Errorf("%v, %v", got, err)
	}
}

// control runs the current control on a simulated chip for so many seconds, and returns how often
// it changed the currents.
func control(t *testing.T, d *sensor.MAX30100, c *sensor.CurrentControl, clock *bench.ManualClock, seconds int) (changes int, last sensor.Optical) {
	t.Helper()
	dst := make([]sensor.Optical, 16)
	for range seconds * 20 {
		clock.Advance(50 * time.Millisecond)
		n, _, err := d.Read(dst)
		if err != nil {
			t.Fatal(err)
		}
		if n > 0 {
			last = dst[n-1]
		}
		if c.Observe(dst[:n]) {
			changes++
			if err := d.SetCurrents(c.Currents()); err != nil {
				t.Fatal(err)
			}
		}
	}
	return changes, last
}

// TestCurrentControl: from pale to dark fingers the light ends in its range, by few changes, and
// stays there.
func TestCurrentControl(t *testing.T) {
	for _, c := range []struct {
		transmission float64
		atMost       int
		state        sensor.Light
	}{
		{1, 0, sensor.LightGood}, {0.6, 1, sensor.LightGood}, {1.4, 1, sensor.LightGood}, {1.7, 2, sensor.LightGood}, {3, 3, sensor.LightGood},
		{8, 5, sensor.LightGood}, {0.4, 2, sensor.LightDim}, {0.1, 2, sensor.LightDim}, {20, 5, sensor.LightGlare},
	} {
		t.Run(fmt.Sprint(c.transmission), func(t *testing.T) {
			d, _, clock := chip(t, bench.Profile{Seed: 5, Transmission: c.transmission}, sensor.MAX30100Config{})
			control1 := sensor.NewCurrentControl(100, 0, 0)
			changes, last := control(t, d, control1, clock, 20)
			if changes > c.atMost {
				t.Errorf("%d changes, allowed are %d", changes, c.atMost)
			}
			if control1.State() != c.state {
				t.Errorf("state %v, want %v; %v", control1.State(), c.state, last)
			}
			for _, v := range []uint16{last.Infrared, last.Red} {
				if share := float64(v) / 65536; c.state == sensor.LightGood && (share < 0.28 || share > 0.9) {
					t.Errorf("light %.2f of full scale", share)
				}
			}
			if more, _ := control(t, d, control1, clock, 60); more != 0 {
				t.Errorf("%d changes afterwards", more)
			}
		})
	}
}

// TestCurrentControlInTheDark: without a finger the currents go back to where they began, whatever
// they were.
func TestCurrentControlInTheDark(t *testing.T) {
	clock := bench.NewManualClock(time.Unix(1e9, 0))
	p := bench.Profile{Seed: 5, Start: clock.Now(), Transmission: 6, ProbeOff: bench.Windows{First: 20 * time.Second, Lasting: 10 * time.Second}}
	b, err := bench.New(bench.Ward(p), bench.Options{Clock: clock.Now})
	if err != nil {
		t.Fatal(err)
	}
	bus, err := b.I2C("bed-1/i2c")
	if err != nil {
		t.Fatal(err)
	}
	d, err := sensor.NewMAX30100(bus, sensor.MAX30100Config{Now: clock.Now, Sleep: clock.Advance})
	if err != nil {
		t.Fatal(err)
	}
	c := sensor.NewCurrentControl(100, sensor.CurrentDefault, sensor.CurrentDefault)
	control(t, d, c, clock, 18)
	if ir, red := c.Currents(); ir > sensor.Current11mA || red > sensor.Current11mA {
		t.Fatalf("a bright finger at %v mA and %v mA", ir.MilliAmps(), red.MilliAmps())
	}
	control(t, d, c, clock, 8)
	if ir, red := c.Currents(); ir != sensor.Current50mA || red != sensor.Current27mA1 || c.State() != sensor.LightDark {
		t.Errorf("without finger %v mA, %v mA, %v", ir.MilliAmps(), red.MilliAmps(), c.State())
	}
	control(t, d, c, clock, 18)
	if c.State() != sensor.LightGood {
		t.Errorf("the finger is back: %v", c.State())
	}
}

// TestCurrentControlOnItsEdges holds the light at every level: whatever the current, no level leads
// to and fro.
func TestCurrentControlOnItsEdges(t *testing.T) {
	for level := 0.02; level < 12; level *= 1.01 {
		c := sensor.NewCurrentControl(100, sensor.Current20mA8, sensor.Current20mA8)
		changes := 0
		for i := range 60 * 100 {
			light := func(i sensor.Current) uint16 {
				return uint16(min(65535, 65536*level*i.MilliAmps()/20.8))
			}
			ir, red := c.Currents()
			wobble := uint16(i % 7)
			s := sensor.Optical{Infrared: max(light(ir), wobble) - wobble, Red: max(light(red), wobble) - wobble}
			if c.Observe([]sensor.Optical{s}) {
				changes++
			}
		}
		if changes > 5 {
			t.Errorf("level %.3f: %d changes in a minute", level, changes)
		}
	}
}

func TestMCP3008FaultsOnTheBench(t *testing.T) {
	adc, b, _ := cuffs(t, bench.DemoProfile(0))
	c := b.MCP3008("adc-1/spi")
	d, err := sensor.NewMPS20N0040D(adc, 0, bench.DemoProfile(0).Calibration())
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range []struct {
		name  string
		set   func()
		read  error
		state sensor.State
	}{
		{"two spoilt frames", func() { c.Glitch(2) }, nil, sensor.Working},
		{"spoilt for good", func() { c.Glitch(1 << 20) }, sensor.ErrNotConnected, sensor.Absent},
		{"line pulled up", func() { c.Glitch(0); c.SetLine(bench.LineHigh) }, sensor.ErrNotConnected, sensor.Absent},
		{"line held low", func() { c.SetLine(bench.LineLow) }, nil, sensor.BridgeShort},
		{"mended", func() { c.SetLine(bench.LineGood) }, nil, sensor.Working},
		{"unplugged", func() { c.SetPresent(false) }, sensor.ErrNotConnected, sensor.Absent},
	} {
		f.set()
		if _, err := adc.Read(0); !errors.Is(err, f.read) {
			t.Errorf("%s: conversion: %v, want %v", f.name, err, f.read)
		}
		if _, err := d.Read(); sensor.StateOf(err) != f.state {
			t.Errorf("%s: pressure: %v, want state %v", f.name, err, f.state)
		}
	}
}

// TestMPS20N0040DBeyondItsRange: a bridge that drifted far from its calibration is refused where
// that can be seen: below ambient, above full scale, and when a zero is taken.
func TestMPS20N0040DBeyondItsRange(t *testing.T) {
	calibrated := bench.Profile{Bridge: bench.Bridge{Offset: 0.001, FullScale: 60}}
	for offset, want := range map[float64]sensor.State{-8: sensor.BeyondRange, 21: sensor.Working} {
		drifted := calibrated
		drifted.Bridge.Offset = offset
		adc, _, _ := cuffs(t, drifted)
		d, err := sensor.NewMPS20N0040D(adc, 0, calibrated.Calibration())
		if err != nil {
			t.Fatal(err)
		}
		if p, err := d.ReadAveraged(10); sensor.StateOf(err) != want {
			t.Errorf("offset %g mV: %v, %v, want %v", offset, p, err, want)
		}
		if err := d.Zero(100); !errors.Is(err, sensor.ErrOutOfRange) {
			t.Errorf("offset %g mV: zero taken: %v", offset, err)
		}
	}
}

func TestStates(t *testing.T) {
	for err, want := range map[error]string{nil: "working", fmt.Errorf("x: %w", sensor.ErrBrownOut): "brown_out", errors.New("EIO"): "bus_error",
		sensor.ErrOpenBridge: "bridge_open", sensor.ErrNotConnected: "not_connected"} {
		if got := sensor.StateOf(err).String(); got != want {
			t.Errorf("%v is %q, want %q", err, got, want)
		}
	}
	if s := sensor.State(200).String(); s == "" {
		t.Error("a state without a name")
	}
}
