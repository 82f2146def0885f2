package bench

import (
	"fmt"
	"math"
	"time"

	"vitalseal/internal/measurement/vitals"
	"vitalseal/internal/patient/sensor"
)

// Bridge is an MPS20N0040D's resistor bridge and the instrumentation amplifier that lifts it to the
// MCP3008's range: volts = Reference + Gain * (offset + full scale * pressure / 40 kPa). Zero
// fields get defaults; offset and full scale then come from the seed, spread as cheap sensors
// spread, so that calibration is always needed.
type Bridge struct {
	// Offset is the bridge's output without pressure; the datasheet allows +-25 mV, the default
	// stays within +-6.
	Offset float64 `yaml:"offset_mv,omitempty"`
	// FullScale is the change at 40 kPa; the datasheet allows 50 to 100 mV, the default is 58 to
	// 70.
	FullScale float64 `yaml:"full_scale_mv,omitempty"`
	// Gain of the amplifier. Default 36.
	Gain float64 `yaml:"gain,omitempty"`
	// Reference is the amplifier's output for zero input. Default 350 mV.
	Reference float64 `yaml:"reference_mv,omitempty"`
	// Supply is the amplifier's and converter's supply and reference. Default 3300 mV.
	Supply float64 `yaml:"supply_mv,omitempty"`
	// Noise is the standard deviation at the amplifier's output. Default 2 mV; negative: none.
	Noise float64 `yaml:"noise_mv,omitempty"`
	// Hum is mains hum at the amplifier's output, as an amplitude at HumHertz. Default 1 mV at 50
	// Hz; negative: none.
	Hum      float64      `yaml:"hum_mv,omitempty"`
	HumHertz vitals.Hertz `yaml:"hum_hz,omitempty"`
	// Fault is "open" (a broken wire: the output goes to the upper rail), "shorted" (to the lower
	// rail) or empty.
	Fault string `yaml:"fault,omitempty"`
}

func (b Bridge) withDefaults(seed uint64) Bridge {
	r := stream{seed: seed ^ 0xb51d6e}
	def(&b.Offset, 12*r.uniform()-6)
	def(&b.FullScale, 58+12*r.uniform())
	def(&b.Gain, 36)
	def(&b.Reference, 350)
	def(&b.Supply, 3300)
	def(&b.Noise, 2)
	def(&b.Hum, 1)
	if b.HumHertz == 0 {
		b.HumHertz = 50
	}
	return b
}

func (b Bridge) validate() error {
	for _, f := range []struct {
		name           string
		value, low, up float64
	}{
		{"offset_mv", b.Offset, -25, 25},
		{"full_scale_mv", b.FullScale, 20, 120},
		{"gain", b.Gain, 1, 1000},
		{"reference_mv", b.Reference, 0, 5000},
		{"supply_mv", b.Supply, 2700, 5500},
		{"noise_mv", positive(b.Noise), 0, 200},
		{"hum_mv", positive(b.Hum), 0, 500},
		{"hum_hz", float64(b.HumHertz), 1, 500},
	} {
		if !(f.value >= f.low && f.value <= f.up) {
			return fmt.Errorf("%w: bridge.%s is %g, allowed is %g to %g", ErrProfile, f.name, f.value, f.low, f.up)
		}
	}
	if b.Fault != "" && b.Fault != "open" && b.Fault != "shorted" {
		return fmt.Errorf("%w: bridge.fault is %q, allowed is open, shorted or nothing", ErrProfile, b.Fault)
	}
	return nil
}

const fullScaleKPa = 40

// clean is the amplifier's output in mV for a pressure, without noise, hum and rails.
func (b Bridge) clean(p vitals.KPa) float64 {
	return b.Reference + b.Gain*(b.Offset+b.FullScale*float64(p)/fullScaleKPa)
}

// output is the amplifier's output in mV at a moment. The key makes each conversion's noise its
// own.
func (b Bridge) output(p vitals.KPa, t time.Time, key uint64) float64 {
	switch b.Fault {
	case "open":
		return b.Supply
	case "shorted":
		return 0
	}
	n, _ := gaussians(key)
	v := b.clean(p) + positive(b.Noise)*n
	if b.Hum > 0 {
		cycles := math.Mod(float64(t.Unix())*float64(b.HumHertz), 1) + float64(t.Nanosecond())*1e-9*float64(b.HumHertz)
		v += b.Hum * math.Sin(2*math.Pi*cycles)
	}
	return min(b.Supply, max(0, v))
}

// calibration is what a technician finds with a reference manometer at ambient and at full scale,
// averaged until noise is gone: the converter rounds down, so half a code is missing from its mean.
func (b Bridge) calibration() sensor.Calibration {
	code := func(p vitals.KPa) float64 { return 1024*b.clean(p)/b.Supply - 0.5 }
	const span = 30 // kPa; full scale itself may already touch the upper rail
	return sensor.Calibration{ZeroCode: code(0), SpanCode: code(span), SpanPressure: span}
}

// Calibration is what a technician would find, with a reference manometer, for the bridge on this
// patient's cuff: what belongs into the gateway's configuration.
func (p Profile) Calibration() sensor.Calibration { return p.withDefaults().Bridge.calibration() }
