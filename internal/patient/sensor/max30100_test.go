package sensor_test

import (
	"errors"
	"math"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"periph.io/x/conn/v3/i2c/i2ctest"

	"vitalseal/internal/measurement/vitals"
	"vitalseal/internal/patient/sensor"
	"vitalseal/internal/patient/sensor/bench"
)

const addr = 0x57

func io(w []byte, r ...byte) i2ctest.IO { return i2ctest.IO{Addr: addr, W: w, R: r} }

// start is the transcript of NewMAX30100 with the zero configuration.
func start(more ...i2ctest.IO) *i2ctest.Playback {
	ops := []i2ctest.IO{
		io([]byte{0xff}, 0x11),             // part id
		io([]byte{0x06, 0x40}),             // reset
		io([]byte{0x06}, 0x40),             // still resetting
		io([]byte{0x06}, 0x00),             // done
		io([]byte{0x07, 0x47}),             // high resolution, 100 Hz, 1600 us
		io([]byte{0x09, 0x8f}),             // red 27.1 mA, infrared 50 mA
		io([]byte{0x02, 0x00, 0x00, 0x00}), // clear FIFO
		io([]byte{0x06, 0x03}),             // SpO2 mode
		io([]byte{0x07}, 0x47),
		io([]byte{0x09}, 0x8f),
		io([]byte{0x06}, 0x03),
		io([]byte{0x00}, 0x01), // PWR_RDY of the reset
	}
	return &i2ctest.Playback{Ops: append(ops, more...), DontPanic: true}
}

func config() sensor.MAX30100Config {
	return sensor.MAX30100Config{Sleep: func(time.Duration) {}, Now: func() time.Time { return time.Unix(0, 0) }}
}

func samples(n int) (raw []byte, want []sensor.Optical) {
	for i := range n {
		raw = append(raw, 0x80, byte(i), 0x40, byte(2*i))
		want = append(want, sensor.Optical{Infrared: 0x8000 | uint16(i), Red: 0x4000 | uint16(2*i)})
	}
	return raw, want
}

func TestMAX30100Transcript(t *testing.T) {
	three, wantThree := samples(3)
	all, wantAll := samples(16)
	for _, c := range []struct {
		name string
		ops  []i2ctest.IO
		want []sensor.Optical
		lost int
	}{
		{"empty", []i2ctest.IO{io([]byte{0}, 0x00, 0, 5, 0, 5)}, nil, 0},
		{"empty although almost full was left over", []i2ctest.IO{io([]byte{0}, 0x80, 0, 5, 0, 5)}, nil, 0},
		{"three, over the end of the FIFO", []i2ctest.IO{io([]byte{0}, 0x10, 0, 1, 0, 14), io([]byte{5}, three...)}, wantThree, 0},
		{"full, nothing lost yet", []i2ctest.IO{io([]byte{0}, 0x90, 0, 7, 0, 7), io([]byte{5}, all...)}, wantAll, 0},
		{"full, four lost", []i2ctest.IO{io([]byte{0}, 0x10, 0, 7, 4, 7), io([]byte{5}, all...)}, wantAll, 4},
	} {
		t.Run(c.name, func(t *testing.T) {
			bus := start(c.ops...)
			d, err := sensor.NewMAX30100(bus, config())
			if err != nil {
				t.Fatal(err)
			}
			dst := make([]sensor.Optical, 32)
			n, lost, err := d.Read(dst)
			if err != nil || lost != c.lost {
				t.Errorf("lost %d, want %d; %v", lost, c.lost, err)
			}
			if diff := cmp.Diff(c.want, dst[:n:n], cmp.Transformer("", func(o []sensor.Optical) []sensor.Optical { return append([]sensor.Optical{}, o...) })); diff != "" && n+len(c.want) > 0 {
				t.Error(diff)
			}
			if err := bus.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestMAX30100Temperature(t *testing.T) {
	bus := start(
		io([]byte{0x06, 0x0b}), io([]byte{0x06}, 0x0b), io([]byte{0x06}, 0x03), io([]byte{0x16}, 0xfe, 0x04),
		io([]byte{0x06, 0x83}))
	d, err := sensor.NewMAX30100(bus, config())
	if err != nil {
		t.Fatal(err)
	}
	if got, err := d.Temperature(); err != nil || got != -1.75 {
		t.Errorf("%v, %v, want -1.75", got, err)
	}
	if err := d.Halt(); err != nil {
		t.Error(err)
	}
	if err := bus.Close(); err != nil {
		t.Error(err)
	}
}

// TestMAX30100TemperatureDuringBrownOut: zero degrees would be plausible.
func TestMAX30100TemperatureDuringBrownOut(t *testing.T) {
	bus := start(io([]byte{0x06, 0x0b}), io([]byte{0x06}, 0x0b), io([]byte{0x06}, 0x00))
	d, err := sensor.NewMAX30100(bus, config())
	if err != nil {
		t.Fatal(err)
	}
	if got, err := d.Temperature(); !errors.Is(err, sensor.ErrBrownOut) {
		t.Errorf("%v, %v", got, err)
	}
}

func TestMAX30100Refuses(t *testing.T) {
	good := start().Ops
	with := func(i int, op i2ctest.IO) []i2ctest.IO {
		return append(append([]i2ctest.IO{}, good[:i]...), op)
	}
	stuck := with(2, good[2])
	for range 9 {
		stuck = append(stuck, good[2])
	}
	for _, c := range []struct {
		name   string
		ops    []i2ctest.IO
		config sensor.MAX30100Config
		want   error
	}{
		{"nobody answers", nil, config(), sensor.ErrNotConnected},
		{"a MAX30102", with(0, io([]byte{0xff}, 0x15)), config(), sensor.ErrWrongPart},
		{"reset never ends", stuck, config(), sensor.ErrTimeout},
		{"another rate was stored", with(8, io([]byte{0x07}, 0x43)), config(), sensor.ErrConfigRefused},
		{"rate unknown", nil, sensor.MAX30100Config{Rate: 120}, sensor.ErrBadConfig},
		{"width unknown", nil, sensor.MAX30100Config{PulseWidth: time.Millisecond}, sensor.ErrBadConfig},
		{"rate too high for the width", nil, sensor.MAX30100Config{Rate: 200}, sensor.ErrBadConfig},
		{"current unknown", nil, sensor.MAX30100Config{Red: 99}, sensor.ErrBadConfig},
		{"mode unknown", nil, sensor.MAX30100Config{Mode: 7}, sensor.ErrBadConfig},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.config.Sleep == nil {
				c.config.Sleep = func(time.Duration) {}
			}
			_, err := sensor.NewMAX30100(&i2ctest.Playback{Ops: c.ops, DontPanic: true}, c.config)
			if !errors.Is(err, c.want) {
				t.Errorf("%v, want %v", err, c.want)
			}
		})
	}
}

// chip is a driver on a simulated chip with a manual clock.
func chip(t *testing.T, p bench.Profile, c sensor.MAX30100Config) (*sensor.MAX30100, *bench.Bench, *bench.ManualClock) {
	t.Helper()
	clock := bench.NewManualClock(time.Date(2026, 3, 14, 9, 0, 0, 0, time.UTC))
	b, err := bench.New(bench.Ward(p), bench.Options{Clock: clock.Now})
	if err != nil {
		t.Fatal(err)
	}
	bus, err := b.I2C("bed-1/i2c")
	if err != nil {
		t.Fatal(err)
	}
	c.Now, c.Sleep = clock.Now, clock.Advance
	d, err := sensor.NewMAX30100(bus, c)
	if err != nil {
		t.Fatal(err)
	}
	return d, b, clock
}

// TestMAX30100NeverLosesCount polls at every interval there can be: between empty, full, and
// overflown, also when the overflow counter is at its end, each sample is either read or counted.
func TestMAX30100NeverLosesCount(t *testing.T) {
	for _, step := range []time.Duration{3, 10, 37, 140, 150, 155, 160, 165, 170, 300, 310, 320, 1000, 60000} {
		d, _, clock := chip(t, bench.DemoProfile(0), sensor.MAX30100Config{})
		begin := clock.Now()
		dst := make([]sensor.Optical, 16)
		read, lost := 0, 0
		for range 200 {
			clock.Advance(step * time.Millisecond)
			n, l, err := d.Read(dst)
			if err != nil {
				t.Fatal(err)
			}
			read, lost = read+n, lost+l
		}
		want := int(clock.Now().Sub(begin).Seconds() * 100)
		// Beyond 15 in a row the clock tells, which may be one off in either direction, but does
		// not add up.
		if got := read + lost; got < want-2 || got > want+2 {
			t.Errorf("polled every %d ms: %d read + %d lost = %d, the chip made %d", step, read, lost, got, want)
		}
		if step <= 150 && lost != 0 {
			t.Errorf("polled every %d ms: %d lost without need", step, lost)
		}
	}
}

func TestMAX30100SamplesInOrder(t *testing.T) {
	d, b, clock := chip(t, bench.DemoProfile(1), sensor.MAX30100Config{})
	begin := clock.Now()
	want := make([]uint16, 300)
	red := make([]uint16, 300)
	b.Patient("bed-1").Optical(begin.Add(10*time.Millisecond), 100, want, red)
	var got []sensor.Optical
	dst := make([]sensor.Optical, 5) // smaller than what waits: the rest stays in the chip
	for range 60 {
		clock.Advance(50 * time.Millisecond)
		n, lost, err := d.Read(dst)
		if err != nil || lost != 0 {
			t.Fatal(lost, err)
		}
		got = append(got, dst[:n]...)
	}
	if len(got) != 300 {
		t.Fatalf("%d samples, want 300", len(got))
	}
	for i, s := range got {
		if s.Infrared != want[i] || s.Red != red[i] {
			t.Fatalf("sample %d: %v, want %d %d", i, s, want[i], red[i])
		}
	}
}

func TestMAX30100NoticesBrownOutAndAbsence(t *testing.T) {
	d, b, clock := chip(t, bench.DemoProfile(0), sensor.MAX30100Config{})
	c := b.MAX30100("bed-1/i2c")
	dst := make([]sensor.Optical, 16)
	if err := d.Check(); err != nil {
		t.Error(err)
	}
	c.BrownOut()
	if err := d.Check(); !errors.Is(err, sensor.ErrBrownOut) {
		t.Errorf("check after brown-out: %v", err)
	}
	clock.Advance(50 * time.Millisecond)
	if _, _, err := d.Read(dst); !errors.Is(err, sensor.ErrBrownOut) {
		t.Errorf("read after brown-out: %v", err)
	}
	if err := d.Configure(); err != nil {
		t.Fatal(err)
	}
	clock.Advance(50 * time.Millisecond)
	if n, lost, err := d.Read(dst); n != 5 || lost != 0 || err != nil {
		t.Errorf("after configuring again: %d, %d, %v", n, lost, err)
	}
	c.SetPresent(false)
	if _, _, err := d.Read(dst); !errors.Is(err, bench.ErrBus) {
		t.Errorf("read without chip: %v", err)
	}
	if err := d.Configure(); !errors.Is(err, sensor.ErrNotConnected) {
		t.Errorf("configure without chip: %v", err)
	}
	c.SetPresent(true)
	if _, _, err := d.Read(dst); !errors.Is(err, sensor.ErrBrownOut) {
		t.Errorf("read after plugging in: %v", err)
	}
}

func TestMAX30100CurrentsTemperatureAndModes(t *testing.T) {
	d, b, clock := chip(t, bench.Profile{SNR: bench.Off}, sensor.MAX30100Config{})
	dst := make([]sensor.Optical, 16)
	last := func() sensor.Optical {
		t.Helper()
		if _, _, err := d.Read(dst); err != nil {
			t.Fatal(err)
		}
		clock.Advance(10 * time.Millisecond)
		n, _, err := d.Read(dst)
		if err != nil || n != 1 {
			t.Fatal(n, err)
		}
		return dst[0]
	}
	full := last()
	if err := d.SetCurrents(sensor.Current24mA, sensor.CurrentOff); err != nil {
		t.Fatal(err)
	}
	half := last()
	if r := float64(half.Infrared) / float64(full.Infrared); math.Abs(r-24.0/50) > 0.02 || half.Red > 200 {
		t.Errorf("24 mA instead of 50 and no red: %v after %v", half, full)
	}
	b.MAX30100("bed-1/i2c").SetDieTemperature(-3.25)
	if got, err := d.Temperature(); err != nil || got != -3.25 {
		t.Errorf("%v, %v, want -3.25", got, err)
	}
	b.MAX30100("bed-1/i2c").SetDieTemperature(36.5625)
	if got, err := d.Temperature(); err != nil || got != 36.5625 {
		t.Errorf("%v, %v, want 36.5625", got, err)
	}
	if err := d.Halt(); err != nil {
		t.Fatal(err)
	}
	if _, _, err := d.Read(dst); err != nil {
		t.Fatal(err)
	}
	clock.Advance(time.Second)
	if n, _, err := d.Read(dst); n != 0 || err != nil {
		t.Errorf("a halted chip gave %d samples, %v", n, err)
	}
	h, _, clock := chip(t, bench.Profile{}, sensor.MAX30100Config{Mode: sensor.ModeHeartRate, Infrared: sensor.CurrentOf(12)})
	clock.Advance(100 * time.Millisecond)
	n, _, err := h.Read(dst)
	if n != 10 || err != nil || dst[0].Red != 0 || dst[0].Infrared == 0 {
		t.Errorf("heart rate mode: %d samples, %v, %v", n, dst[0], err)
	}
}

func TestMAX30100EveryLegalConfiguration(t *testing.T) {
	legal := 0
	for _, rate := range []vitals.Hertz{50, 100, 167, 200, 400, 600, 800, 1000} {
		for _, width := range []time.Duration{200, 400, 800, 1600} {
			clock := bench.NewManualClock(time.Unix(1e9, 0))
			b, err := bench.New(bench.Ward(bench.Profile{}), bench.Options{Clock: clock.Now})
			if err != nil {
				t.Fatal(err)
			}
			bus, err := b.I2C("bed-1/i2c")
			if err != nil {
				t.Fatal(err)
			}
			d, err := sensor.NewMAX30100(bus, sensor.MAX30100Config{Rate: rate, PulseWidth: width * time.Microsecond, Now: clock.Now, Sleep: clock.Advance})
			if err != nil {
				if !errors.Is(err, sensor.ErrBadConfig) {
					t.Errorf("%g Hz, %d us: %v", rate, width, err)
				}
				continue
			}
			legal++
			dst := make([]sensor.Optical, 16)
			clock.Advance(time.Duration(8.5 / float64(rate) * float64(time.Second)))
			n, _, err := d.Read(dst)
			if n != 8 || err != nil || d.Rate() != rate {
				t.Errorf("%g Hz, %d us: %d samples, %v", rate, width, n, err)
			}
			bits := map[time.Duration]int{200: 13, 400: 14, 800: 15, 1600: 16}[width]
			for _, s := range dst[:n] {
				if (s.Infrared|s.Red)&(1<<(16-bits)-1) != 0 {
					t.Errorf("%g Hz, %d us: %v has more than %d bits", rate, width, s, bits)
				}
			}
		}
	}
	if legal != 8+5+4+2 {
		t.Errorf("%d legal configurations, want 19", legal)
	}
}

func TestCurrents(t *testing.T) {
	for mA, want := range map[float64]float64{-1: 0, 0: 0, 4.3: 0, 4.4: 4.4, 27: 24, 49.9: 46.8, 50: 50, 99: 50} {
		if got := sensor.CurrentOf(mA).MilliAmps(); got != want {
			t.Errorf("CurrentOf(%g) is %g, want %g", mA, got, want)
		}
	}
}
