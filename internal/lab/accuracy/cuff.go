package accuracy

import (
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"math"
	"regexp"
	"strconv"
	"strings"
	"time"

	"vitalseal/internal/measurement/recording"
	"vitalseal/internal/measurement/vitals"
	"vitalseal/internal/patient/sensor"
	"vitalseal/internal/patient/sensor/bench"
	"vitalseal/internal/patient/signal"
)

// How a gateway reads a cuff: conversions a second, and how many are averaged to one sample.
const (
	conversions = 1000
	averaged    = 10
	cuffRate    = conversions / averaged
)

// The Glasgow recordings' raw column in mmHg.
const (
	cuffOffset = 0.1
	cuffScale  = 0.0025
)

type deflation struct {
	pressure []vitals.MMHg
	rate     vitals.Hertz
}

// readDeflation reads `time_s filtered raw`, separated by blanks.
func readDeflation(name string, r io.Reader) (deflation, error) {
	t := recording.NewText(name, r)
	var d deflation
	var first, last float64
	for {
		line, ok := t.Next()
		if !ok {
			break
		}
		f := strings.Fields(line)
		if len(f) == 0 {
			continue
		}
		if len(f) != 3 {
			return d, t.Bad(0, "%d columns, want time, filtered and raw", len(f))
		}
		at, err := t.Number(f, 0)
		if err != nil {
			return d, err
		}
		raw, err := t.Number(f, 2)
		if err != nil {
			return d, err
		}
		if math.IsNaN(at) || math.IsNaN(raw) {
			return d, t.Bad(0, "a value is missing")
		}
		if len(d.pressure) == 0 {
			first = at
		} else if at <= last {
			return d, t.Bad(1, "time must increase, %g follows %g", at, last)
		}
		last = at
		if err := t.Room(len(d.pressure)); err != nil {
			return d, err
		}
		d.pressure = append(d.pressure, vitals.MMHg((raw+cuffOffset)/cuffScale))
	}
	if err := t.End(); err != nil {
		return d, err
	}
	if len(d.pressure) < 2 {
		t.Line = max(1, t.Line)
		return d, t.Bad(0, "no samples")
	}
	// Times are written with too few digits for the last samples to differ evenly: the mean tells.
	d.rate = vitals.Hertz(math.Round(float64(len(d.pressure)-1)/(last-first)*100) / 100)
	return d, nil
}

var cuffName = regexp.MustCompile(`(\d{2,3})-(\d{2,3})$`)

// cuffReference is systolic and diastolic from a name such as 11_110-60.dat.gz.
func cuffReference(path string) (systolic, diastolic float64, err error) {
	name, _ := recording.Stem(path, ".dat")
	m := cuffName.FindStringSubmatch(name)
	if m == nil {
		return 0, 0, fmt.Errorf("%w: %s: the name does not end in SYSTOLIC-DIASTOLIC", recording.ErrRecording, path)
	}
	systolic, _ = strconv.ParseFloat(m[1], 64)
	diastolic, _ = strconv.ParseFloat(m[2], 64)
	if diastolic >= systolic {
		return 0, 0, fmt.Errorf("%w: %s: the name says %g over %g mmHg", recording.ErrRecording, path, systolic, diastolic)
	}
	return systolic, diastolic, nil
}

// oneCuff is a deflation's verdict.
type oneCuff struct {
	systolic, diastolic float64 // reference
	bp                  signal.BloodPressure
}

func judgeCuff(path string) (judged, error) {
	systolic, diastolic, err := cuffReference(path)
	if err != nil {
		return nil, err
	}
	d, err := recording.Load(path, readDeflation)
	if err != nil {
		return nil, err
	}
	bp, err := measureCuff(path, d)
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w", recording.ErrRecording, path, err)
	}
	return oneCuff{systolic, diastolic, bp}, nil
}

// paced lets a millisecond pass with every conversion: 1,000 a second.
type paced struct {
	adc   *sensor.MCP3008
	clock *bench.ManualClock
}

func (p paced) Read(channel int) (uint16, error) {
	p.clock.Advance(time.Second / conversions)
	return p.adc.Read(channel)
}

// cuffChain is a deflation on its way through a simulated bridge and converter, read as a gateway does.
type cuffChain struct {
	clock  *bench.ManualClock
	bridge *sensor.MPS20N0040D
	cuff   *signal.Cuff
	begins time.Duration // the recording
	ends   time.Duration
}

// errCuffEnd says that the recording is over and the cuff empty.
var errCuffEnd = errors.New("the recording is over")

// newCuffChain is for a recording; its name chooses the bridge: each meets another offset, sensitivity and noise, always the same.
func newCuffChain(name string, d deflation) (*cuffChain, error) {
	seed := fnv.New64a()
	stemmed, _ := recording.Stem(name, ".dat")
	_, _ = io.WriteString(seed, stemmed)
	profile := bench.Profile{Seed: seed.Sum64(), Start: recording.Start}
	recorded, err := bench.NewDeflation(d.pressure, d.rate)
	if err != nil {
		return nil, err
	}
	patient, err := bench.NewCuffReplay(profile, recorded)
	if err != nil {
		return nil, err
	}
	clock := bench.NewManualClock(recording.Start)
	adc, err := sensor.NewMCP3008(bench.NewMCP3008(map[int]*bench.Patient{0: patient}, clock.Now).Port(name), sensor.MCP3008Config{})
	if err != nil {
		return nil, err
	}
	bridge, err := sensor.NewMPS20N0040D(paced{adc, clock}, 0, profile.Calibration())
	if err != nil {
		return nil, err
	}
	return &cuffChain{clock, bridge, signal.NewCuff(cuffRate), recorded.Begins(), recorded.Lasting()}, nil
}

// step is one sample: ten conversions.
func (c *cuffChain) step() (at time.Duration, p vitals.MMHg, bp signal.BloodPressure, done bool, err error) {
	at = c.clock.Now().Sub(recording.Start)
	if at >= c.ends {
		return at, 0, bp, false, errCuffEnd
	}
	kPa, err := c.bridge.ReadAveraged(averaged)
	if err != nil {
		return at, 0, bp, false, err
	}
	bp, done = c.cuff.Push([]vitals.MMHg{kPa.MMHg()})
	return at, kPa.MMHg(), bp, done, nil
}

// measureCuff is the measurement that a deflation makes; a refusal if there is none.
func measureCuff(name string, d deflation) (signal.BloodPressure, error) {
	c, err := newCuffChain(name, d)
	if err != nil {
		return signal.BloodPressure{}, err
	}
	var bp signal.BloodPressure
	found := false
	for {
		_, _, b, done, err := c.step()
		if errors.Is(err, errCuffEnd) {
			break
		}
		if err != nil {
			return bp, err
		}
		if done && (!found || !bp.Quality.HasValue()) {
			bp, found = b, true
		}
	}
	if !found {
		bp.Reason = "no measurement was recognised"
	}
	return bp, nil
}

func (c oneCuff) figures() []Figure {
	f := []Figure{{"reference_systolic_mmhg", c.systolic}, {"reference_diastolic_mmhg", c.diastolic}}
	s, d, m := math.NaN(), math.NaN(), math.NaN()
	if c.bp.Quality.HasValue() {
		s, d, m = float64(c.bp.Systolic), float64(c.bp.Diastolic), float64(c.bp.Mean)
	}
	return append(f, Figure{"systolic_mmhg", s}, Figure{"diastolic_mmhg", d}, Figure{"mean_arterial_mmhg", m})
}

func (c oneCuff) note() string {
	if c.bp.Reason == "" && !c.bp.Quality.HasValue() {
		return c.bp.Quality.String()
	}
	return c.bp.Reason
}

func sumCuffs(all []judged) []Figure {
	var s, d errorsOf
	for _, v := range all {
		c := v.(oneCuff)
		if c.bp.Quality.HasValue() {
			s.add(float64(c.bp.Systolic), c.systolic)
			d.add(float64(c.bp.Diastolic), c.diastolic)
		}
	}
	return []Figure{{"sbp_mean_error_mmhg", s.mean()}, {"sbp_sd_mmhg", s.sd()}, {"dbp_mean_error_mmhg", d.mean()}, {"dbp_sd_mmhg", d.sd()},
		{"refused_percent", percent(len(all)-len(s), len(all))}}
}
