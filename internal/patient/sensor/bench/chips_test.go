package bench_test

import (
	"errors"
	"testing"
	"time"

	"periph.io/x/conn/v3/i2c"
	"periph.io/x/conn/v3/physic"
	"periph.io/x/conn/v3/spi"
	"pgregory.net/rapid"

	"vitalseal/internal/patient/sensor/bench"
)

// open is a bench with one patient and its buses.
func open(t interface {
	Helper()
	Fatal(...any)
}, p bench.Profile) (*bench.Bench, i2c.BusCloser, spi.PortCloser, *bench.ManualClock) {
	t.Helper()
	clock := bench.NewManualClock(t0)
	b, err := bench.New(bench.Ward(p), bench.Options{Clock: clock.Now})
	if err != nil {
		t.Fatal(err)
	}
	bus, err := b.I2C("bed-1/i2c")
	if err != nil {
		t.Fatal(err)
	}
	port, err := b.SPI("adc-1/spi")
	if err != nil {
		t.Fatal(err)
	}
	return b, bus, port, clock
}

// registers is a short hand for a chip's registers.
type registers struct {
	t   *testing.T
	bus i2c.Bus
}

func (r registers) write(b ...byte) {
	r.t.Helper()
	if err := r.bus.Tx(0x57, b, nil); err != nil {
		r.t.Fatal(err)
	}
}

func (r registers) read(reg byte, n int) []byte {
	r.t.Helper()
	b := make([]byte, n)
	if err := r.bus.Tx(0x57, []byte{reg}, b); err != nil {
		r.t.Fatal(err)
	}
	return b
}

func (r registers) want(what string, reg byte, want ...byte) {
	r.t.Helper()
	if got := r.read(reg, len(want)); string(got) != string(want) {
		r.t.Errorf("%s: register %#02x reads % x, want % x", what, reg, got, want)
	}
}

func TestRegistersAsInTheDatasheet(t *testing.T) {
	b, bus, _, clock := open(t, bench.Profile{})
	r := registers{t, bus}
	r.want("power-on status, cleared by reading", 0x00, 0x01)
	r.want("status again", 0x00, 0x00)
	r.want("identification, the last register does not wrap", 0xfe, 0x05, 0x11, 0x11, 0x11)

	for rate := range byte(8) {
		for width := range byte(4) {
			highest := [4]byte{7, 4, 3, 1}[width]
			r.write(0x07, 0x60|rate<<2|width)
			r.want("the highest legal rate instead, reserved bit zero", 0x07, 0x40|min(rate, highest)<<2|width)
		}
	}
	r.write(0x06, 0x03, 0x47, 0xaa, 0x8f) // mode, SpO2, a reserved register, LEDs: the address counts up
	r.want("burst write", 0x06, 0x03, 0x47, 0x00, 0x8f)

	clock.Advance(50 * time.Millisecond)
	r.want("five samples", 0x00, 0x10, 0x00, 0x05, 0x00, 0x00)
	r.read(0x05, 8)
	r.want("two read, the address stood still", 0x02, 0x05, 0x00, 0x02)
	clock.Advance(120 * time.Millisecond)
	r.want("fifteen: almost full", 0x00, 0x90, 0x00, 0x01, 0x00, 0x02)
	clock.Advance(10 * time.Millisecond)
	r.want("sixteen: full looks empty, nothing lost", 0x00, 0x10, 0x00, 0x02, 0x00, 0x02)
	clock.Advance(30 * time.Millisecond)
	r.want("three lost, the old ones kept", 0x02, 0x02, 0x03, 0x02)
	clock.Advance(time.Hour)
	r.want("the counter stops at 15", 0x03, 0x0f)
	r.read(0x05, 4)
	r.want("a sample read: the counter is zero again", 0x02, 0x02, 0x00, 0x03)

	r.write(0x01, 0x10)
	clock.Advance(10 * time.Millisecond)
	if !b.MAX30100("bed-1/i2c").Interrupt() {
		t.Error("no interrupt with SPO2_RDY enabled")
	}
	r.read(0x05, 4)
	if b.MAX30100("bed-1/i2c").Interrupt() {
		t.Error("interrupt after the FIFO was read")
	}

	r.write(0x06, 0x0b)
	r.want("temperature runs", 0x06, 0x0b)
	clock.Advance(29 * time.Millisecond)
	r.want("temperature done", 0x06, 0x03)
	if s := r.read(0x00, 1)[0]; s&0x40 == 0 {
		t.Errorf("status % x without TEMP_RDY", s)
	}
	r.want("31.4375 C", 0x16, 31, 7)

	r.write(0x06, 0x83)
	clock.Advance(time.Second)
	r.want("shutdown keeps registers and clears flags", 0x00, 0x00, 0x10)
	r.want("shutdown keeps the configuration", 0x06, 0x83, 0x47, 0x00, 0x8f)
	r.write(0x06, 0x40)
	r.want("reset", 0x06, 0x00, 0x00, 0x00, 0x00)
	r.want("reset status", 0x00, 0x01, 0x00, 0x00, 0x00, 0x00)

	if err := bus.Tx(0x58, []byte{0}, nil); !errors.Is(err, bench.ErrBus) {
		t.Errorf("another address: %v", err)
	}
	if err := bus.SetSpeed(physic.MegaHertz); !errors.Is(err, bench.ErrBus) {
		t.Errorf("1 MHz: %v", err)
	}
	if err := bus.Close(); err != nil {
		t.Error(err)
	}
	if err := bus.Tx(0x57, []byte{0}, nil); !errors.Is(err, bench.ErrBus) {
		t.Errorf("a closed bus: %v", err)
	}
}

func TestLightSaturatesTheConverter(t *testing.T) {
	pa := patient(t, bench.Profile{Transmission: 3})
	ir, red := make([]uint16, 100), make([]uint16, 100)
	pa.Optical(t0, 100, ir, red)
	for i := range ir {
		if ir[i] != 0xffff || red[i] != 0xffff {
			t.Fatalf("sample %d: %d, %d of three times the light", i, ir[i], red[i])
		}
	}
}

// TestAnyAccessKeepsTheFIFO drives the chip with whatever transactions, times and faults there can
// be.
func TestAnyAccessKeepsTheFIFO(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		_, bus, _, clock := open(t, bench.Profile{Seed: rapid.Uint64().Draw(t, "seed")})
		for range rapid.IntRange(1, 40).Draw(t, "steps") {
			w := rapid.SliceOfN(rapid.Byte(), 0, 8).Draw(t, "write")
			if len(w) > 0 && rapid.Bool().Draw(t, "known register") {
				w[0] %= 0x18
			}
			if err := bus.Tx(0x57, w, make([]byte, rapid.IntRange(0, 80).Draw(t, "read"))); err != nil {
				t.Fatal(err)
			}
			clock.Advance(time.Duration(rapid.Int64Range(0, int64(200*time.Hour)).Draw(t, "wait")))
			checkFIFO(t, bus)
		}
	})
}

// checkFIFO reads as many samples as there can be and looks at the pointers in between.
func checkFIFO(t interface {
	Helper()
	Fatalf(string, ...any)
}, bus i2c.Bus) {
	t.Helper()
	var p [3]byte
	tx := func(w, r []byte) {
		if err := bus.Tx(0x57, w, r); err != nil {
			t.Fatalf("%v", err)
		}
	}
	tx([]byte{0x02}, p[:])
	if p[0] > 15 || p[1] > 15 || p[2] > 15 {
		t.Fatalf("pointers % x", p)
	}
	waiting := int(p[0]-p[2]) & 15
	for range 2 {
		tx([]byte{0x05}, make([]byte, 4))
		var q [3]byte
		tx([]byte{0x02}, q[:])
		moved := int(q[2]-p[2]) & 15
		if moved > 1 || waiting > 0 && moved != 1 {
			t.Fatalf("reading a sample moved the pointers from % x to % x", p, q)
		}
		p, waiting = q, int(q[0]-q[2])&15
	}
}

func FuzzRegisters(f *testing.F) {
	f.Add([]byte{2, 0x06, 0x03, 9, 1, 0x05, 64, 200})
	f.Add([]byte{8, 0, 1, 2, 3, 4, 5, 6, 7, 255, 255})
	f.Fuzz(func(t *testing.T, ops []byte) {
		_, bus, _, clock := open(t, bench.Profile{})
		for len(ops) > 0 {
			n := min(int(ops[0]&15), len(ops)-1)
			w := ops[1 : 1+n]
			ops = ops[1+n:]
			r := 0
			if len(ops) > 1 {
				r = int(ops[0])
				clock.Advance(time.Duration(ops[1]) * time.Millisecond)
				ops = ops[2:]
			}
			if err := bus.Tx(0x57, w, make([]byte, r)); err != nil {
				t.Fatal(err)
			}
			checkFIFO(t, bus)
		}
	})
}

func TestSPIFramesBitByBit(t *testing.T) {
	const code = 0x10a // 266 = 1024 * 858.8 / 3300
	const back = 0xa1  // its bits B1 to B8, which follow B0 on the line
	p := bench.Profile{Bridge: bench.Bridge{Reference: 858.8, Offset: 1e-9, Noise: bench.Off, Hum: bench.Off}}
	_, _, port, _ := open(t, p)
	c, err := port.Connect(physic.MegaHertz, spi.Mode0, 8)
	if err != nil {
		t.Fatal(err)
	}
	for _, x := range []struct {
		name string
		w, r []byte
	}{
		{"the driver's frame", []byte{0x01, 0x80, 0x00}, []byte{0, code >> 8, code & 0xff}},
		{"start bit first: the result comes seven clocks earlier", []byte{0xc0, 0, 0}, []byte{0, code >> 1, code&1<<7 | back>>1}},
		{"no start bit", []byte{0, 0, 0}, []byte{0, 0, 0}},
		{"bits after the result come back reversed, then zeros", []byte{0x01, 0x80, 0, 0, 0, 0}, []byte{0, 1, 0x0a, back, code >> 9 << 7, 0}},
	} {
		r := make([]byte, len(x.w))
		if err := c.Tx(x.w, r); err != nil {
			t.Fatal(err)
		}
		if string(r) != string(x.r) {
			t.Errorf("%s: % x, want % x", x.name, r, x.r)
		}
	}
	// One frame in two packets, with the chip kept selected.
	a, b := make([]byte, 1), make([]byte, 2)
	if err := c.TxPackets([]spi.Packet{{W: []byte{1}, R: a, KeepCS: true}, {W: []byte{0x80, 0}, R: b}}); err != nil {
		t.Fatal(err)
	}
	if b[0] != code>>8 || b[1] != code&0xff {
		t.Errorf("kept selected: % x", b)
	}
	if err := c.Tx([]byte{1, 2}, []byte{0}); !errors.Is(err, bench.ErrBus) {
		t.Errorf("unequal lengths: %v", err)
	}
	if _, err := port.Connect(physic.MegaHertz, spi.Mode1, 8); !errors.Is(err, bench.ErrBus) {
		t.Errorf("mode 1: %v", err)
	}
	if _, err := port.Connect(10*physic.MegaHertz, spi.Mode0, 8); !errors.Is(err, bench.ErrBus) {
		t.Errorf("10 MHz: %v", err)
	}
}
