package gateway

import (
	_ "embed"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"time"

	"vitalseal/internal/measurement/vitals"
	"vitalseal/internal/patient/gateway/legacy"
	"vitalseal/internal/patient/sensor"
	"vitalseal/internal/patient/signal"
)

// Example is gateway.example.yaml: every key of Config with its meaning and default.
//
//go:embed gateway.example.yaml
var Example []byte

// The chips that a gateway drives.
const (
	ChipMAX30100    = "max30100"
	ChipMCP3008     = "mcp3008"
	ChipMPS20N0040D = "mps20n0040d"
)

const (
	maxSensors   = 64
	mib          = 1 << 20
	minOutboxMiB = 32
	maxOutboxMiB = 1 << 20
)

// Config is a gateway's configuration. gateway.example.yaml documents every key.
type Config struct {
	// Data is the folder that holds the identities, the outbox and what the gateway remembers.
	Data string `yaml:"data"`
	// OutboxMiB is how much disk the outbox may take.
	OutboxMiB int64 `yaml:"outbox_mib"`
	// DrainTimeout is how long a stopping gateway tries to deliver what is left; the rest waits for the next start.
	DrainTimeout time.Duration `yaml:"drain_timeout"`
	// BacklogKiBPerSecond and BacklogSharePercent bound how what has waited drains beside what is new: for the whole gateway, and
	// of each sensor's messages under way.
	BacklogKiBPerSecond int64 `yaml:"backlog_kib_per_second"`
	BacklogSharePercent int   `yaml:"backlog_share_percent"`
	// EpochLifetime is how long one data key is used.
	EpochLifetime time.Duration `yaml:"epoch_lifetime"`
	// Legacy is where devices that speak ThingSpeak reach the gateway.
	Legacy legacy.Config `yaml:"legacy,omitempty"`
	// Sensors are the chips, each with an identity of its own.
	Sensors []Sensor `yaml:"sensors"`
}

// Sensor is one chip. Which fields it needs depends on Chip.
type Sensor struct {
	// ID is the name of the sensor's identity: spiffe://<deployment>/sensor/<id>.
	ID string `yaml:"id"`
	// Chip is one of the Chip constants.
	Chip string `yaml:"chip"`
	// Bus is where the chip is: an I2C bus for a max30100, an SPI port for an mcp3008.
	Bus string `yaml:"bus,omitempty"`
	// SpO2Calibration names the curve of a max30100, see signal.Calibrations; empty: signal.DefaultCalibration.
	SpO2Calibration string `yaml:"spo2_calibration,omitempty"`
	// SpO2CalibrationFile is a calibration file for this max30100 (`vitalseal calibrate spo2`), instead of SpO2Calibration. A
	// relative path starts at the folder that the gateway was started in.
	SpO2CalibrationFile string `yaml:"spo2_calibration_file,omitempty"`
	// TemperatureOffset and SelfHeating correct a max30100's die temperature, see sensor.MAX30100Config.
	TemperatureOffset vitals.Celsius `yaml:"temperature_offset_celsius,omitempty"`
	SelfHeating       vitals.Celsius `yaml:"self_heating_celsius_per_ma,omitempty"`
	// ADC is the id of the mcp3008 that an mps20n0040d's amplifier is connected to, Channel its input there.
	ADC     string `yaml:"adc,omitempty"`
	Channel int    `yaml:"channel,omitempty"`
	// Calibration turns an mps20n0040d's codes into pressure; without one it gives none.
	Calibration sensor.Calibration `yaml:"calibration,omitempty"`
	// ZeroAtStart takes the pressure at the start as ambient, when the cuff is open; it needs a calibration for the slope.
	ZeroAtStart bool `yaml:"zero_at_start,omitempty"`
	// Legacy is what a device of chip legacy is on its channel.
	Legacy *legacy.Device `yaml:"legacy,omitempty"`
}

// Default is the configuration that every file starts from.
func Default() Config {
	return Config{OutboxMiB: 1024, DrainTimeout: 3 * time.Second, BacklogKiBPerSecond: 1024, BacklogSharePercent: 50, EpochLifetime: time.Hour}
}

// sensorName is what an identity's name may be.
var sensorName = regexp.MustCompile(`^[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?$`)

// Validate names the first key that is missing or out of range.
func (c Config) Validate() error {
	bad := func(key, format string, args ...any) error {
		return fmt.Errorf("gateway: configuration: %s: %s", key, fmt.Sprintf(format, args...))
	}
	switch {
	case c.Data == "":
		return bad("data", "missing; name the folder that the gateway was enrolled into")
	case c.OutboxMiB < minOutboxMiB || c.OutboxMiB > maxOutboxMiB:
		return bad("outbox_mib", "%d is not within %d to %d", c.OutboxMiB, minOutboxMiB, maxOutboxMiB)
	case c.DrainTimeout < 0 || c.DrainTimeout > 10*time.Minute:
		return bad("drain_timeout", "%v is not within 0s to 10m", c.DrainTimeout)
	case c.BacklogKiBPerSecond < 1 || c.BacklogKiBPerSecond > 1<<20:
		return bad("backlog_kib_per_second", "%d is not within 1 to %d", c.BacklogKiBPerSecond, 1<<20)
	case c.BacklogSharePercent < 1 || c.BacklogSharePercent > 95:
		return bad("backlog_share_percent", "%d is not within 1 to 95", c.BacklogSharePercent)
	case c.EpochLifetime < time.Second || c.EpochLifetime > 24*time.Hour:
		return bad("epoch_lifetime", "%v is not within 1s to 24h", c.EpochLifetime)
	case len(c.Sensors) < 1 || len(c.Sensors) > maxSensors:
		return bad("sensors", "%d of them, allowed are 1 to %d", len(c.Sensors), maxSensors)
	}
	ids, places, adcs := map[string]bool{}, map[string]string{}, map[string]bool{}
	for _, s := range c.Sensors {
		if s.Chip == ChipMCP3008 {
			adcs[s.ID] = true
		}
	}
	for i, s := range c.Sensors {
		key := func(name string) string { return fmt.Sprintf("sensors[%d].%s", i, name) }
		if !sensorName.MatchString(s.ID) {
			return bad(key("id"), "%q is not a name of 1 to 63 letters a-z, digits, dots and dashes", s.ID)
		}
		if ids[s.ID] {
			return bad(key("id"), "%q is there twice", s.ID)
		}
		ids[s.ID] = true
		place := s.Chip + " " + s.Bus
		switch s.Chip {
		case ChipMAX30100, ChipMCP3008:
			if s.Bus == "" {
				return bad(key("bus"), "missing; %s needs one such as /dev/i2c-1 (max30100) or /dev/spidev0.0 (mcp3008)", s.Chip)
			}
			if s.ADC != "" || s.Channel != 0 || s.ZeroAtStart || s.Calibration != (sensor.Calibration{}) {
				return bad(key("chip"), "%s has no adc, channel, calibration or zero_at_start", s.Chip)
			}
		case ChipMPS20N0040D:
			place = fmt.Sprintf("%s channel %d", s.ADC, s.Channel)
			if err := s.validateBridge(key, adcs, bad); err != nil {
				return err
			}
		case legacy.Chip: // validateLegacy checks it
			place = "legacy " + s.ID
		default:
			return bad(key("chip"), "%q is not one of %s, %s, %s, %s", s.Chip, ChipMAX30100, ChipMCP3008, ChipMPS20N0040D, legacy.Chip)
		}
		if s.SpO2Calibration != "" {
			if s.Chip != ChipMAX30100 {
				return bad(key("spo2_calibration"), "%s has none", s.Chip)
			}
			if _, err := signal.NewPulseOximeter(100, signal.Options{Calibration: s.SpO2Calibration}); err != nil {
				return bad(key("spo2_calibration"), "%q is not one of %q", s.SpO2Calibration, signal.Calibrations())
			}
		}
		if s.SpO2CalibrationFile != "" && (s.Chip != ChipMAX30100 || s.SpO2Calibration != "") {
			return bad(key("spo2_calibration_file"), "only a max30100 has one, and either this or spo2_calibration")
		}
		if s.Chip != ChipMAX30100 && (s.TemperatureOffset != 0 || s.SelfHeating != 0) {
			return bad(key("temperature_offset_celsius"), "%s measures no temperature", s.Chip)
		}
		if !(s.TemperatureOffset >= -20 && s.TemperatureOffset <= 20) {
			return bad(key("temperature_offset_celsius"), "%v is not within -20 to 20", s.TemperatureOffset)
		}
		if !(s.SelfHeating >= 0 && s.SelfHeating <= 2) {
			return bad(key("self_heating_celsius_per_ma"), "%v is not within 0 to 2", s.SelfHeating)
		}
		if other, taken := places[place]; taken {
			return bad(key("id"), "%q and %q are at the same place, %s", other, s.ID, place)
		}
		places[place] = s.ID
	}
	return c.validateLegacy(bad)
}

// curve chooses the calibration of a max30100, and reads its file if it has one.
func (s Sensor) curve() (signal.Options, error) {
	if s.SpO2CalibrationFile == "" {
		return signal.Options{Calibration: s.SpO2Calibration}, nil
	}
	f, err := os.Open(filepath.Clean(s.SpO2CalibrationFile))
	if err != nil {
		return signal.Options{}, fmt.Errorf("gateway: configuration: sensor %s: spo2_calibration_file: %w", s.ID, err)
	}
	defer func() { _ = f.Close() }()
	c, err := signal.LoadCalibration(f)
	if err != nil {
		return signal.Options{}, fmt.Errorf("gateway: configuration: sensor %s: spo2_calibration_file %s: %w", s.ID, s.SpO2CalibrationFile, err)
	}
	return signal.Options{Curve: &c}, nil
}

// curves are the calibrations of all max30100s, by id.
func (c Config) curves() (map[string]signal.Options, error) {
	all := map[string]signal.Options{}
	for _, s := range c.Sensors {
		if s.Chip != ChipMAX30100 {
			continue
		}
		o, err := s.curve()
		if err != nil {
			return nil, err
		}
		all[s.ID] = o
	}
	return all, nil
}

// curveName is what the results of an oximeter with these options rest on.
func curveName(o signal.Options) string {
	switch {
	case o.Curve != nil:
		return o.Curve.Name
	case o.Calibration != "":
		return o.Calibration
	}
	return signal.DefaultCalibration
}

func (s Sensor) validateBridge(key func(string) string, adcs map[string]bool, bad func(string, string, ...any) error) error {
	switch {
	case s.Bus != "":
		return bad(key("bus"), "an mps20n0040d has none; name its mcp3008 in adc")
	case !adcs[s.ADC]:
		return bad(key("adc"), "%q is not the id of an mcp3008 in this file", s.ADC)
	case s.Channel < 0 || s.Channel > 7:
		return bad(key("channel"), "%d is not within 0 to 7", s.Channel)
	}
	if s.Calibration == (sensor.Calibration{}) {
		if s.ZeroAtStart {
			return bad(key("zero_at_start"), "needs a calibration: the zero alone does not give the slope")
		}
		return nil
	}
	if err := s.Calibration.Validate(); err != nil {
		return bad(key("calibration"), "%v; codes are 0 to %d, span_pressure_kpa is 5 to %v", err, sensor.MaxCode, vitals.KPa(sensor.FullScale))
	}
	return nil
}
