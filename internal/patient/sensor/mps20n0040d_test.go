package sensor_test

import (
	"errors"
	"math"
	"testing"
	"time"

	"vitalseal/internal/measurement/vitals"
	"vitalseal/internal/patient/sensor"
	"vitalseal/internal/patient/sensor/bench"
)

// codes is a converter that gives codes out in turn, the last one for ever.
type codes []uint16

func (c *codes) Read(int) (uint16, error) {
	v := (*c)[0]
	if len(*c) > 1 {
		*c = (*c)[1:]
	}
	return v, nil
}

var line = sensor.Calibration{ZeroCode: 100, SpanCode: 700, SpanPressure: 30} // 20 codes a kPa

func TestMPS20N0040DPressure(t *testing.T) {
	for _, c := range []struct {
		name  string
		codes codes
		n     int
		want  vitals.KPa
		err   error
	}{
		{"ambient", codes{100}, 1, 0, nil},
		{"half", codes{500}, 1, 20, nil},
		{"mean between codes", codes{500, 501, 501, 500}, 4, 20.025, nil},
		{"negative", codes{60}, 1, -2, nil},
		{"open", codes{1023}, 1, 0, sensor.ErrOpenBridge},
		{"one code at the rail spoils the mean", codes{500, 1023, 500, 500}, 4, 0, sensor.ErrOpenBridge},
		{"shorted", codes{0}, 1, 0, sensor.ErrShortedBridge},
		{"too high", codes{990}, 1, 0, sensor.ErrOutOfRange},
		{"too low", codes{10}, 1, 0, sensor.ErrOutOfRange},
		{"no conversions", codes{500}, 0, 0, sensor.ErrBadConfig},
		{"too many conversions", codes{500}, 1e6, 0, sensor.ErrBadConfig},
	} {
		d, err := sensor.NewMPS20N0040D(&c.codes, 0, line)
		if err != nil {
			t.Fatal(err)
		}
		got, err := d.ReadAveraged(c.n)
		if math.Abs(float64(got-c.want)) > 1e-9 || !errors.Is(err, c.err) {
			t.Errorf("%s: %v, %v, want %v, %v", c.name, got, err, c.want, c.err)
		}
	}
	d, err := sensor.NewMPS20N0040D(&codes{500}, 0, line)
	if err != nil {
		t.Fatal(err)
	}
	if p, err := d.ReadMMHg(); err != nil || math.Abs(float64(p)-150.0123) > 0.001 {
		t.Errorf("20 kPa is %v mmHg, %v", p, err)
	}
}

func TestMPS20N0040DCalibration(t *testing.T) {
	adc := codes{500}
	d, err := sensor.NewMPS20N0040D(&adc, 3, sensor.Calibration{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.Read(); !errors.Is(err, sensor.ErrNotCalibrated) {
		t.Errorf("without calibration: %v", err)
	}
	if err := d.Span(1, 30); !errors.Is(err, sensor.ErrNotCalibrated) {
		t.Errorf("span before zero: %v", err)
	}
	adc = codes{119, 121}
	if err := d.Zero(2); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Read(); !errors.Is(err, sensor.ErrNotCalibrated) {
		t.Errorf("with a zero only: %v", err)
	}
	adc = codes{130}
	if err := d.Span(1, 30); !errors.Is(err, sensor.ErrBadConfig) {
		t.Errorf("a span of 10 codes: %v", err)
	}
	adc = codes{720}
	if err := d.Span(1, 30); err != nil {
		t.Fatal(err)
	}
	if want := (sensor.Calibration{ZeroCode: 120, SpanCode: 720, SpanPressure: 30}); d.Calibration() != want {
		t.Errorf("%+v, want %+v", d.Calibration(), want)
	}
	// The bridge drifts by 5 codes; a new zero keeps the slope.
	adc = codes{125}
	if err := d.Zero(1); err != nil {
		t.Fatal(err)
	}
	adc = codes{325}
	if p, err := d.Read(); err != nil || math.Abs(float64(p)-10) > 1e-9 {
		t.Errorf("after a new zero: %v, %v, want 10", p, err)
	}
	if err := d.Zero(1); !errors.Is(err, sensor.ErrOutOfRange) {
		t.Errorf("zero at 10 kPa: %v", err)
	}
	for _, c := range []sensor.Calibration{{ZeroCode: -5, SpanCode: 700, SpanPressure: 30}, {ZeroCode: 100, SpanCode: 100, SpanPressure: 30},
		{ZeroCode: 100, SpanCode: 700, SpanPressure: 300}, {ZeroCode: math.NaN(), SpanCode: 700, SpanPressure: 30}} {
		if _, err := sensor.NewMPS20N0040D(&adc, 0, c); !errors.Is(err, sensor.ErrBadConfig) {
			t.Errorf("%+v: %v", c, err)
		}
	}
	if _, err := sensor.NewMPS20N0040D(&adc, 8, line); !errors.Is(err, sensor.ErrBadConfig) {
		t.Errorf("channel 8: %v", err)
	}
}

// TestMPS20N0040DOnTheBench follows a whole measurement: with the technician's calibration and ten
// conversions a reading, the pressure is right to a fraction of a code.
func TestMPS20N0040DOnTheBench(t *testing.T) {
	for i := range 4 {
		p := bench.DemoProfile(i)
		adc, b, clock := cuffs(t, p)
		cal, err := b.Calibration("adc-1/spi", 0)
		if err != nil {
			t.Fatal(err)
		}
		if cal != p.Calibration() {
			t.Errorf("calibration %+v of the bench, %+v of the profile", cal, p.Calibration())
		}
		d, err := sensor.NewMPS20N0040D(adc, 0, cal)
		if err != nil {
			t.Fatal(err)
		}
		if err := d.Zero(100); err != nil {
			t.Fatal(err)
		}
		var squares, highest float64
		const n = 8000
		for range n {
			clock.Advance(10 * time.Millisecond)
			got, err := d.ReadAveraged(10)
			if err != nil {
				t.Fatal(err)
			}
			truth := float64(b.Patient("bed-1").Pressure(clock.Now()))
			squares += math.Pow(float64(got.MMHg())-truth, 2)
			highest = max(highest, float64(got.MMHg()))
		}
		if rms := math.Sqrt(squares / n); rms > 0.3 || highest < 170 {
			t.Errorf("profile %d: error %.2f mmHg RMS, highest %.0f mmHg", i, rms, highest)
		}
	}
}

func TestMPS20N0040DFaultsOnTheBench(t *testing.T) {
	for fault, want := range map[string]error{"open": sensor.ErrOpenBridge, "shorted": sensor.ErrShortedBridge} {
		p := bench.DemoProfile(0)
		p.Bridge.Fault = fault
		adc, _, _ := cuffs(t, p)
		d, err := sensor.NewMPS20N0040D(adc, 0, p.Calibration())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := d.Read(); !errors.Is(err, want) {
			t.Errorf("%s: %v", fault, err)
		}
	}
}

func TestHostNames(t *testing.T) {
	for _, name := range []string{"", "i2c-1", "/dev/i2c-", "/dev/i2c--1", "/dev/i2c-x", "bed-1/i2c"} {
		if _, err := (sensor.Host{}).I2C(name); !errors.Is(err, sensor.ErrBadConfig) {
			t.Errorf("I2C %q: %v", name, err)
		}
	}
	for _, name := range []string{"", "/dev/spidev0", "/dev/spidev0.", "/dev/spidev.0", "/dev/spidev0.-1", "gw/spi"} {
		if _, err := (sensor.Host{}).SPI(name); !errors.Is(err, sensor.ErrBadConfig) {
			t.Errorf("SPI %q: %v", name, err)
		}
	}
	// Buses that do not exist here.
	if _, err := (sensor.Host{}).I2C("/dev/i2c-9999"); err == nil || errors.Is(err, sensor.ErrBadConfig) {
		t.Errorf("bus 9999: %v", err)
	}
	if _, err := (sensor.Host{}).SPI("/dev/spidev99.9"); err == nil || errors.Is(err, sensor.ErrBadConfig) {
		t.Errorf("port 99.9: %v", err)
	}
}
