package sensor_test

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"testing"
	"time"

	"periph.io/x/conn/v3"
	"periph.io/x/conn/v3/conntest"
	"periph.io/x/conn/v3/physic"
	"periph.io/x/conn/v3/spi"
	"periph.io/x/conn/v3/spi/spitest"

	"vitalseal/internal/patient/sensor"
	"vitalseal/internal/patient/sensor/bench"
)

func playback(ops ...conntest.IO) *spitest.Playback {
	first := conntest.IO{W: []byte{1, 0x80, 0, 0, 0}, R: []byte{0, 0, 0, 0, 0}} // what NewMCP3008 asks
	return &spitest.Playback{Playback: conntest.Playback{Ops: append([]conntest.IO{first}, ops...), DontPanic: true}}
}

func TestMCP3008Transcript(t *testing.T) {
	for _, c := range []struct {
		name    string
		channel int
		differ  bool
		w, r    []byte
		want    uint16
		err     error
	}{
		// 0x2a5 is 10 1010 0101: again from its bit 1 on, 0 1001 0101, and seven zeros.
		{"channel 0", 0, false, []byte{1, 0x80, 0, 0, 0}, []byte{0xff, 0xfa, 0xa5, 0x4a, 0x80}, 0x2a5, nil},
		{"channel 7", 7, false, []byte{1, 0xf0, 0, 0, 0}, []byte{0, 0x01, 0x00, 0x01, 0x00}, 0x100, nil},
		{"full scale is no absence", 3, false, []byte{1, 0xb0, 0, 0, 0}, []byte{0, 0x03, 0xff, 0xff, 0x80}, 1023, nil},
		{"pair 2", 2, true, []byte{1, 0x20, 0, 0, 0}, []byte{0, 0x00, 0x11, 0x10, 0x00}, 0x11, nil},
		{"all ones", 1, false, []byte{1, 0x90, 0, 0, 0}, []byte{0xff, 0xff, 0xff, 0xff, 0xff}, 0, sensor.ErrNotConnected},
		{"null bit set", 1, false, []byte{1, 0x90, 0, 0, 0}, []byte{0x00, 0x04, 0x12, 0x48, 0x00}, 0, sensor.ErrNotConnected},
		{"not said again", 1, false, []byte{1, 0x90, 0, 0, 0}, []byte{0x00, 0x02, 0x12, 0, 0}, 0, sensor.ErrNotConnected},
		{"not followed by zeros", 1, false, []byte{1, 0x90, 0, 0, 0}, []byte{0x00, 0x00, 0x12, 0x90, 0x01}, 0, sensor.ErrNotConnected},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := playback(conntest.IO{W: c.w, R: c.r})
			d, err := sensor.NewMCP3008(p, sensor.MCP3008Config{})
			if err != nil {
				t.Fatal(err)
			}
			read := d.Read
			if c.differ {
				read = d.ReadDifferential
			}
			got, err := read(c.channel)
			if got != c.want || !errors.Is(err, c.err) {
				t.Errorf("%d, %v, want %d, %v", got, err, c.want, c.err)
			}
			if err := p.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestMCP3008Refuses(t *testing.T) {
	d, err := sensor.NewMCP3008(playback(), sensor.MCP3008Config{})
	if err != nil {
		t.Fatal(err)
	}
	for _, ch := range []int{-1, 8} {
		if _, err := d.Read(ch); !errors.Is(err, sensor.ErrBadConfig) {
			t.Errorf("channel %d: %v", ch, err)
		}
	}
	if _, err := sensor.NewMCP3008(playback(), sensor.MCP3008Config{Clock: 20 * physic.MegaHertz}); !errors.Is(err, sensor.ErrBadConfig) {
		t.Errorf("20 MHz: %v", err)
	}
	if _, err := d.Read(0); err == nil || errors.Is(err, sensor.ErrNotConnected) {
		t.Errorf("the bus's own error got lost: %v", err)
	}
}

// cuffs is two cuffs on a simulated converter.
func cuffs(t *testing.T, p ...bench.Profile) (*sensor.MCP3008, *bench.Bench, *bench.ManualClock) {
	t.Helper()
	clock := bench.NewManualClock(time.Date(2026, 3, 14, 9, 0, 0, 0, time.UTC))
	for i := range p {
		p[i].Start = clock.Now()
	}
	b, err := bench.New(bench.Ward(p...), bench.Options{Clock: clock.Now})
	if err != nil {
		t.Fatal(err)
	}
	port, err := b.SPI("adc-1/spi")
	if err != nil {
		t.Fatal(err)
	}
	adc, err := sensor.NewMCP3008(port, sensor.MCP3008Config{})
	if err != nil {
		t.Fatal(err)
	}
	return adc, b, clock
}

func TestMCP3008OnTheBench(t *testing.T) {
	quiet := bench.Bridge{Offset: 0.001, FullScale: 66, Noise: bench.Off, Hum: bench.Off}
	high := quiet
	high.Reference = 1350
	adc, b, _ := cuffs(t, bench.Profile{Bridge: quiet}, bench.Profile{Bridge: high})
	want := []uint16{108, 418, 0} // 1024 * 350.036 / 3300, 1024 * 1350.036 / 3300, floating
	for ch, w := range want {
		if got, err := adc.Read(ch); got != w || err != nil {
			t.Errorf("channel %d: %d, %v, want %d", ch, got, err, w)
		}
	}
	if got, err := adc.ReadDifferential(1); got != 310 || err != nil { // CH1 - CH0: 1 V
		t.Errorf("CH1 - CH0: %d, %v, want 310", got, err)
	}
	if got, err := adc.ReadDifferential(0); got != 0 || err != nil {
		t.Errorf("CH0 - CH1: %d, %v, want 0", got, err)
	}
	b.MCP3008("adc-1/spi").SetPresent(false)
	if _, err := adc.Read(0); !errors.Is(err, sensor.ErrNotConnected) {
		t.Errorf("unplugged: %v", err)
	}
}

// bareLine is a port whose line has no converter behind it.
type bareLine struct{ f func(w, r []byte) }

func (l bareLine) String() string                                            { return "line" }
func (l bareLine) Tx(w, r []byte) error                                      { l.f(w, r); return nil }
func (l bareLine) Duplex() conn.Duplex                                       { return conn.Full }
func (l bareLine) TxPackets([]spi.Packet) error                              { return errors.New("not here") }
func (l bareLine) Connect(physic.Frequency, spi.Mode, int) (spi.Conn, error) { return l, nil }

// TestNoPressureFromALineThatNothingDrives: an input that floats, is tied or is wired to the output
// gives no pressure. (Seen: noise gave about 20 kPa, mid-scale, in 476 of 2000 averaged reads.)
func TestNoPressureFromALineThatNothingDrives(t *testing.T) {
	random := rand.New(rand.NewPCG(7, 7))
	cal := sensor.Calibration{ZeroCode: 100, SpanCode: 900, SpanPressure: 40}
	for name, f := range map[string]func(w, r []byte){
		"low":                          func(_, r []byte) { clear(r) },
		"high":                         func(_, r []byte) { copy(r, bytes.Repeat([]byte{0xff}, len(r))) },
		"noise":                        func(_, r []byte) { noise(random, r) },
		"noise, mostly low":            func(_, r []byte) { sparse(random, r) },
		"wired to the output":          func(w, r []byte) { copy(r, w) },
		"the clock's half":             func(_, r []byte) { copy(r, bytes.Repeat([]byte{0x55}, len(r))) },
		"one bit late (wrong mode)":    func(_, r []byte) { copy(r, []byte{0, 0x01, 0x00, 0x00, 0x40}) },
		"an MCP3001, without commands": func(_, r []byte) { copy(r, []byte{0x10, 0x00, 0, 0, 0}) },
	} {
		for range 2000 {
			d, err := sensor.NewMCP3008(bareLine{f}, sensor.MCP3008Config{})
			if err != nil {
				continue
			}
			b, err := sensor.NewMPS20N0040D(d, 0, cal)
			if err != nil {
				t.Fatal(err)
			}
			if p, err := b.ReadAveraged(10); err == nil {
				t.Fatalf("%s: %.1f kPa", name, float64(p))
			} else if !errors.Is(err, sensor.ErrNotConnected) && !errors.Is(err, sensor.ErrShortedBridge) {
				t.Fatalf("%s: %v", name, err)
			}
		}
	}
}

func noise(random *rand.Rand, b []byte) {
	for i := range b {
		b[i] = byte(random.Uint32())
	}
}

// sparse is a line that is low but for single spikes.
func sparse(random *rand.Rand, b []byte) {
	clear(b)
	for range 2 {
		b[random.IntN(len(b))] |= 1 << random.IntN(8)
	}
}
