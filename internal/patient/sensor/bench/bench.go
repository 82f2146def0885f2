// Package bench is hardware that is not there: MAX30100, MCP3008 and MPS20N0040D simulated down to
// their registers and frames, wired to a simulated patient or to a recording of a real one. A Bench
// gives out buses just as a Raspberry Pi does, and the drivers of package sensor cannot tell the
// difference.
//
// It hides how a pulse wave, a cuff and a chip's converter are computed. It guarantees that
// everything is a function of the Profile (with its Seed) and of the clock: a second process with
// the same Profile computes the same Truth and the same samples. Nothing runs in the background: a
// chip catches up when its bus is touched, in bounded time however long it was left alone. A
// Patient is immutable and a Bench's buses may be used from several goroutines.
//
// It does not model optics, tissue or electronics from first principles, nor bus timing, and a good
// result on it says nothing about accuracy on people.
package bench

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"

	"periph.io/x/conn/v3/i2c"
	"periph.io/x/conn/v3/spi"

	"vitalseal/internal/patient/sensor"
)

// The package's errors; all that it returns wrap one of these or the error of a file operation.
var (
	// ErrProfile says that a Profile's value is out of range; the message names it.
	ErrProfile = errors.New("bench: bad profile")
	// ErrDescription says that a bench description does not make sense; the message names line and
	// key.
	ErrDescription = errors.New("bench: bad description")
	// ErrRecording says that a recording could not be read; the message names file, line and
	// column.
	ErrRecording = errors.New("bench: bad recording")
	// ErrNoBus says that the description has no such bus.
	ErrNoBus = errors.New("bench: no such bus")
	// ErrBus is what a driver sees when the simulated bus fails: the address does not answer, or it
	// is closed.
	ErrBus = errors.New("bench: bus error")
)

// Options of a Bench. The zero value runs on the wall clock.
type Options struct {
	// Clock drives the chips. Default time.Now. It is called with a chip's lock held and must not
	// touch the bench.
	Clock func() time.Time
	// Folder is where relative replay paths start. Default: the working directory; Load uses the
	// bench file's.
	Folder string
}

// Bench is a set of simulated buses with chips on them. It implements sensor.Buses.
type Bench struct {
	patients map[string]*Patient
	optical  map[string]*MAX30100
	adcs     map[string]*MCP3008
	wiring   map[string]map[int]string // bus, channel: patient
}

var _ sensor.Buses = (*Bench)(nil)

// Load builds the bench that a file describes.
func Load(path string, o Options) (*Bench, error) {
	b, err := os.ReadFile(filepath.Clean(path))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrDescription, err)
	}
	d, err := ParseDescription(b)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if o.Folder == "" {
		o.Folder = filepath.Dir(path)
	}
	return New(d, o)
}

// New builds a bench. Chips are powered on at the clock's time now.
func New(d Description, o Options) (*Bench, error) {
	if err := d.Validate(); err != nil {
		return nil, err
	}
	if o.Clock == nil {
		o.Clock = time.Now
	}
	b := &Bench{patients: map[string]*Patient{}, optical: map[string]*MAX30100{}, adcs: map[string]*MCP3008{},
		wiring: map[string]map[int]string{}}
	for _, pd := range d.Patients {
		p, err := pd.patient(o.Folder)
		if err != nil {
			return nil, fmt.Errorf("%w: patient %s: %w", ErrDescription, pd.Name, err)
		}
		b.patients[pd.Name] = p
	}
	for _, bd := range d.Buses {
		if bd.MAX30100 != "" {
			b.optical[bd.Name] = NewMAX30100(b.patients[bd.MAX30100], o.Clock)
			continue
		}
		channels := map[int]*Patient{}
		for ch, name := range bd.MCP3008 {
			channels[ch] = b.patients[name]
		}
		b.adcs[bd.Name] = NewMCP3008(channels, o.Clock)
		b.wiring[bd.Name] = maps.Clone(bd.MCP3008)
	}
	return b, nil
}

func (pd PatientDescription) patient(folder string) (*Patient, error) {
	if pd.Replay == "" {
		return NewPatient(pd.Profile)
	}
	path := pd.Replay
	if !filepath.IsAbs(path) {
		path = filepath.Join(folder, path)
	}
	r, err := LoadLog(path, pd.ReplayRate, pd.ReplayColumns)
	if err != nil {
		return nil, err
	}
	return NewReplay(pd.Profile, r)
}

// I2C opens a bus of the description. Opening one twice leads to the same chip.
func (b *Bench) I2C(name string) (i2c.BusCloser, error) {
	c, ok := b.optical[name]
	if !ok {
		return nil, fmt.Errorf("%w: I2C bus %q, there are %q", ErrNoBus, name, slices.Sorted(maps.Keys(b.optical)))
	}
	return c.Bus(name), nil
}

// SPI opens a port of the description. Opening one twice leads to the same chip.
func (b *Bench) SPI(name string) (spi.PortCloser, error) {
	c, ok := b.adcs[name]
	if !ok {
		return nil, fmt.Errorf("%w: SPI port %q, there are %q", ErrNoBus, name, slices.Sorted(maps.Keys(b.adcs)))
	}
	return c.Port(name), nil
}

// Patient is the patient of that name, or nil.
func (b *Bench) Patient(name string) *Patient { return b.patients[name] }

// MAX30100 is the chip on an I2C bus, to make it fail; nil if there is none.
func (b *Bench) MAX30100(bus string) *MAX30100 { return b.optical[bus] }

// MCP3008 is the converter on an SPI port, to make it fail; nil if there is none.
func (b *Bench) MCP3008(bus string) *MCP3008 { return b.adcs[bus] }

// Calibration is what a technician would find, with a reference manometer, for the bridge on a
// converter's channel. The error wraps ErrNoBus.
func (b *Bench) Calibration(bus string, channel int) (sensor.Calibration, error) {
	p := b.patients[b.wiring[bus][channel]]
	if p == nil {
		return sensor.Calibration{}, fmt.Errorf("%w: SPI port %q has no bridge on channel %d", ErrNoBus, bus, channel)
	}
	return p.profile.Calibration(), nil
}
