package bench

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/goccy/go-yaml"

	"vitalseal/internal/shared/yamlfile"

	"vitalseal/internal/measurement/vitals"
)

// Description says which simulated patients there are and how they are wired: the content of a
// bench file (YAML).
type Description struct {
	// Version of the format: 1.
	Version int `yaml:"version"`
	// Patients, each with a name of its own.
	Patients []PatientDescription `yaml:"patients"`
	// Buses by the names that a gateway's configuration uses.
	Buses []BusDescription `yaml:"buses"`
}

// PatientDescription is one patient: simulated, or a recording in its place.
type PatientDescription struct {
	Name    string  `yaml:"name"`
	Profile Profile `yaml:"profile,omitempty"`
	// Replay is a recording's file; a relative path starts at the bench file's folder. The pulse
	// wave then comes from it, the cuff still from Profile.
	Replay string `yaml:"replay,omitempty"`
	// ReplayRate is for recordings that do not say their sampling rate.
	ReplayRate vitals.Hertz `yaml:"replay_rate_hz,omitempty"`
	// ReplayColumns are for logs of two lights whose header does not say which is which.
	ReplayColumns Columns `yaml:"replay_columns,omitempty"`
}

// BusDescription is one bus with one chip on it: exactly one of MAX30100 and MCP3008 is set.
type BusDescription struct {
	Name string `yaml:"name"`
	// MAX30100 is the patient whose finger is in the probe on this I2C bus.
	MAX30100 string `yaml:"max30100,omitempty"`
	// MCP3008 says, for each channel in use (0 to 7), whose cuff's bridge is on it.
	MCP3008 map[int]string `yaml:"mcp3008,omitempty"`
}

// Bounds on a bench file.
const (
	maxFile     = 1 << 20
	maxPatients = 1024
	maxBuses    = 2048
)

// Ward describes patients "bed-1", "bed-2", ... with an I2C bus "bed-1/i2c" each and their cuffs on
// as many converters as needed, "adc-1/spi" with the first eight on channels 0 to 7, and so on.
func Ward(profiles ...Profile) Description {
	d := Description{Version: 1}
	for i, p := range profiles {
		name := fmt.Sprintf("bed-%d", i+1)
		d.Patients = append(d.Patients, PatientDescription{Name: name, Profile: p})
		d.Buses = append(d.Buses, BusDescription{Name: name + "/i2c", MAX30100: name})
	}
	for first := 0; first < len(profiles); first += 8 {
		b := BusDescription{Name: fmt.Sprintf("adc-%d/spi", first/8+1), MCP3008: map[int]string{}}
		for i := first; i < min(first+8, len(profiles)); i++ {
			b.MCP3008[i-first] = d.Patients[i].Name
		}
		d.Buses = append(d.Buses, b)
	}
	return d
}

// ParseDescription reads a bench file. A key that does not exist is an error with a hint. Errors
// wrap ErrDescription or ErrProfile and name the line where there is one.
func ParseDescription(b []byte) (Description, error) {
	if len(b) > maxFile {
		return Description{}, fmt.Errorf("%w: more than %d bytes", ErrDescription, maxFile)
	}
	var d Description
	switch err := yamlfile.Decode(b, &d); {
	case errors.Is(err, io.EOF):
		return Description{}, fmt.Errorf("%w: the file is empty", ErrDescription)
	case err != nil:
		return Description{}, fmt.Errorf("%w: %w", ErrDescription, err)
	}
	if err := d.Validate(); err != nil {
		return Description{}, err
	}
	return d, nil
}

// Validate reports the first thing that does not fit together.
func (d Description) Validate() error {
	if d.Version != 1 {
		return fmt.Errorf("%w: version is %d, allowed is 1", ErrDescription, d.Version)
	}
	if len(d.Patients) == 0 || len(d.Patients) > maxPatients || len(d.Buses) > maxBuses {
		return fmt.Errorf("%w: %d patients and %d buses, allowed are 1 to %d and up to %d", ErrDescription, len(d.Patients), len(d.Buses), maxPatients, maxBuses)
	}
	patients := map[string]bool{}
	for i, p := range d.Patients {
		if p.Name == "" || patients[p.Name] {
			return fmt.Errorf("%w: patients[%d]: name %q is empty or used twice", ErrDescription, i, p.Name)
		}
		patients[p.Name] = true
		if err := p.Profile.Validate(); err != nil {
			return fmt.Errorf("%w: patient %s: %w", ErrDescription, p.Name, err)
		}
		if p.ReplayRate != 0 && !(p.ReplayRate >= 5 && p.ReplayRate <= maxReplayRate) {
			return fmt.Errorf("%w: patient %s: replay_rate_hz is %g, allowed is 5 to %d", ErrDescription, p.Name, p.ReplayRate, maxReplayRate)
		}
		if err := p.ReplayColumns.check(); err != nil {
			return fmt.Errorf("%w: patient %s: replay_columns: %w", ErrDescription, p.Name, err)
		}
	}
	buses := map[string]bool{}
	for i, b := range d.Buses {
		if b.Name == "" || buses[b.Name] {
			return fmt.Errorf("%w: buses[%d]: name %q is empty or used twice", ErrDescription, i, b.Name)
		}
		buses[b.Name] = true
		if (b.MAX30100 == "") == (b.MCP3008 == nil) {
			return fmt.Errorf("%w: bus %s: needs exactly one of max30100 and mcp3008", ErrDescription, b.Name)
		}
		if b.MAX30100 != "" && !patients[b.MAX30100] {
			return fmt.Errorf("%w: bus %s: max30100: there is no patient %q", ErrDescription, b.Name, b.MAX30100)
		}
		for ch, name := range b.MCP3008 {
			if ch < 0 || ch > 7 {
				return fmt.Errorf("%w: bus %s: mcp3008: channel %d, allowed is 0 to 7", ErrDescription, b.Name, ch)
			}
			if !patients[name] {
				return fmt.Errorf("%w: bus %s: mcp3008: channel %d: there is no patient %q", ErrDescription, b.Name, ch, name)
			}
		}
	}
	return nil
}

// Save writes a bench file that Load reads, replacing what is there.
func (d Description) Save(path string) error {
	if err := d.Validate(); err != nil {
		return err
	}
	b, err := yaml.Marshal(d)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrDescription, err)
	}
	tmp := filepath.Clean(path) + ".tmp"
	if err := os.WriteFile(tmp, b, 0o600); err != nil {
		return fmt.Errorf("bench: save: %w", err)
	}
	if err := os.Rename(tmp, filepath.Clean(path)); err != nil {
		return fmt.Errorf("bench: save: %w", err)
	}
	return nil
}
