package sensor_test

import (
	"testing"
	"time"

	"vitalseal/internal/patient/sensor"
	"vitalseal/internal/patient/sensor/bench"
)

// BenchmarkPatientSecond is all that one simulated patient costs in a second: 100 optical samples,
// polled ten times, and 100 pressures of ten conversions each, through drivers, buses and chips. 3
// ms would be 0.3 % of a core.
func BenchmarkPatientSecond(b *testing.B) {
	clock := bench.NewManualClock(time.Unix(1.8e9, 0))
	world, err := bench.New(bench.Ward(bench.DemoProfile(0)), bench.Options{Clock: clock.Now})
	if err != nil {
		b.Fatal(err)
	}
	bus, err := world.I2C("bed-1/i2c")
	if err != nil {
		b.Fatal(err)
	}
	port, err := world.SPI("adc-1/spi")
	if err != nil {
		b.Fatal(err)
	}
	chip, err := sensor.NewMAX30100(bus, sensor.MAX30100Config{Now: clock.Now, Sleep: clock.Advance})
	if err != nil {
		b.Fatal(err)
	}
	adc, err := sensor.NewMCP3008(port, sensor.MCP3008Config{})
	if err != nil {
		b.Fatal(err)
	}
	bridge, err := sensor.NewMPS20N0040D(adc, 0, bench.DemoProfile(0).Calibration())
	if err != nil {
		b.Fatal(err)
	}
	dst := make([]sensor.Optical, 16)
	b.ReportAllocs()
	for b.Loop() {
		for range 100 {
			clock.Advance(10 * time.Millisecond)
			if _, err := bridge.ReadAveraged(10); err != nil {
				b.Fatal(err)
			}
			if _, _, err := chip.Read(dst); err != nil {
				b.Fatal(err)
			}
		}
	}
}
