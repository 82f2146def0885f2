package gateway_test

import (
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/google/go-cmp/cmp"

	"vitalseal/internal/patient/gateway"
	"vitalseal/internal/patient/sensor"
)

// parse reads a configuration onto the defaults and validates it, as the command does.
func parse(b []byte) (gateway.Config, error) {
	c := gateway.Default()
	if err := yaml.UnmarshalWithOptions(b, &c, yaml.Strict()); err != nil && !errors.Is(err, io.EOF) {
		return gateway.Config{}, err
	}
	return c, c.Validate()
}

func TestExample(t *testing.T) {
	got, err := parse(gateway.Example)
	must(t, err)
	want := gateway.Default()
	want.Data = "/var/lib/vitalseal/gateway"
	want.Sensors = []gateway.Sensor{
		{ID: "gw-a-oxi-1", Chip: gateway.ChipMAX30100, Bus: "/dev/i2c-1", SpO2Calibration: "max30100-maxim-quadratic"},
		{ID: "gw-a-adc-1", Chip: gateway.ChipMCP3008, Bus: "/dev/spidev0.0"},
		{ID: "gw-a-cuff-1", Chip: gateway.ChipMPS20N0040D, ADC: "gw-a-adc-1", ZeroAtStart: true,
			Calibration: sensor.Calibration{ZeroCode: 142.5, SpanCode: 911, SpanPressure: 40}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	// Every key of the configuration is in the example: marshalled without omitting, each is found in it.
	b, err := yaml.Marshal(got)
	must(t, err)
	for line := range strings.Lines(string(b)) {
		key, _, ok := strings.Cut(strings.TrimLeft(line, " -"), ":")
		if ok && !strings.Contains(string(gateway.Example), key+":") {
			t.Errorf("the example does not show %s", key)
		}
	}
}

func TestConfigErrors(t *testing.T) {
	const head = "data: /d\nsensors:\n"
	const adc = "- {id: a, chip: mcp3008, bus: s}\n"
	const oxi = "- {id: o, chip: max30100, bus: i}\n"
	for _, tc := range []struct{ name, text, want string }{
		{"empty", "", "data: missing"},
		{"no sensors", "data: /d\n", "sensors: 0 of them, allowed are 1 to 64"},
		{"unknown key", "dta: /d\n", "dta"},
		{"outbox", "outbox_mib: 5\n" + head + oxi, "outbox_mib: 5 is not within 32 to"},
		{"two curves", head + "- {id: o, chip: max30100, bus: i, spo2_calibration: linear-110-25, spo2_calibration_file: x}\n", "either this or spo2_calibration"},
		{"curve of a converter", head + "- {id: o, chip: mcp3008, bus: i, spo2_calibration_file: x}\n", "only a max30100 has one"},
		{"temperature of a converter", head + "- {id: o, chip: mcp3008, bus: i, temperature_offset_celsius: 1}\n", "measures no temperature"},
		{"temperature", head + "- {id: o, chip: max30100, bus: i, temperature_offset_celsius: 21}\n", "21 is not within -20 to 20"},
		{"self-heating", head + "- {id: o, chip: max30100, bus: i, self_heating_celsius_per_ma: -1}\n", "-1 is not within 0 to 2"},
		{"drain", "drain_timeout: 11m\n" + head + oxi, "drain_timeout: 11m0s is not within 0s to 10m"},
		{"epoch", "epoch_lifetime: 1ms\n" + head + oxi, "epoch_lifetime: 1ms is not within"},
		{"backlog's rate", "backlog_kib_per_second: 0\n" + head + oxi, "backlog_kib_per_second: 0 is not within 1 to"},
		{"backlog's share", "backlog_share_percent: 100\n" + head + oxi, "backlog_share_percent: 100 is not within 1 to 95"},
		{"bad id", head + "- {id: Ä, chip: max30100, bus: i}", "sensors[0].id"},
		{"id twice", head + oxi + oxi, `sensors[1].id: "o" is there twice`},
		{"place twice", head + oxi + "- {id: p, chip: max30100, bus: i}", `"o" and "p" are at the same place`},
		{"chip", head + "- {id: o, chip: max30102, bus: i}", `sensors[0].chip: "max30102" is not one of`},
		{"no bus", head + "- {id: o, chip: max30100}", "sensors[0].bus: missing"},
		{"curve", head + "- {id: o, chip: max30100, bus: i, spo2_calibration: x}", "sensors[0].spo2_calibration"},
		{"no adc", head + "- {id: c, chip: mps20n0040d, adc: a}", `sensors[0].adc: "a" is not the id of an mcp3008`},
		{"channel", head + adc + "- {id: c, chip: mps20n0040d, adc: a, channel: 8}", "sensors[1].channel: 8 is not within 0 to 7"},
		{"zero only", head + adc + "- {id: c, chip: mps20n0040d, adc: a, zero_at_start: true}", "sensors[1].zero_at_start: needs a calibration"},
		{"flat", head + adc + "- {id: c, chip: mps20n0040d, adc: a, calibration: {zero_code: 1, span_code: 2, span_pressure_kpa: 40}}", "sensors[1].calibration"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := parse([]byte(tc.text))
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("error %v, want one with %q", err, tc.want)
			}
		})
	}
}

// TestConfigRoundTrip matters because the demo writes configurations.
func TestConfigRoundTrip(t *testing.T) {
	c := gateway.Default()
	c.Data, c.DrainTimeout = "/d", 90*time.Second
	c.Sensors = []gateway.Sensor{{ID: "o", Chip: gateway.ChipMAX30100, Bus: "i"}, {ID: "a", Chip: gateway.ChipMCP3008, Bus: "s"},
		{ID: "c", Chip: gateway.ChipMPS20N0040D, ADC: "a", Channel: 3, Calibration: sensor.Calibration{ZeroCode: 100, SpanCode: 900, SpanPressure: 40}}}
	b, err := yaml.Marshal(c)
	must(t, err)
	got, err := parse(b)
	must(t, err)
	if diff := cmp.Diff(c, got); diff != "" {
		t.Error(diff)
	}
}

func FuzzConfig(f *testing.F) {
	f.Add(gateway.Example)
	f.Add([]byte("data: /d\nsensors:\n- {id: o, chip: max30100, bus: i}"))
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := parse(b)
		if err == nil && c.Validate() != nil {
			t.Error("an accepted configuration does not validate")
		}
	})
}
