package bench_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"vitalseal/internal/patient/sensor/bench"
)

const example = `
version: 1
patients:
  - name: ann
    profile: {seed: 7, heart_rate_bpm: 61, cuff_every: 3m, probe_off: {first: 10s, lasting: 5s}, start: 2026-03-14T09:00:00Z}
  - name: bob
buses:
  - {name: ann/i2c, max30100: ann}
  - {name: gw/spi, mcp3008: {0: ann, 3: bob}}
`

func TestDescription(t *testing.T) {
	got, err := bench.ParseDescription([]byte(example))
	if err != nil {
		t.Fatal(err)
	}
	want := bench.Description{Version: 1,
		Patients: []bench.PatientDescription{
			{Name: "ann", Profile: bench.Profile{Seed: 7, HeartRate: 61, CuffEvery: 3 * time.Minute, Start: t0,
				ProbeOff: bench.Windows{First: 10 * time.Second, Lasting: 5 * time.Second}}},
			{Name: "bob"}},
		Buses: []bench.BusDescription{{Name: "ann/i2c", MAX30100: "ann"}, {Name: "gw/spi", MCP3008: map[int]string{0: "ann", 3: "bob"}}}}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	b, err := bench.New(got, bench.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if b.Patient("ann") == nil || b.MAX30100("ann/i2c") == nil || b.MCP3008("gw/spi") == nil || b.Patient("eve") != nil {
		t.Error("not everything is there")
	}
	for _, err := range []error{third(b.I2C("gw/spi")), third(b.SPI("ann/i2c")), third(b.Calibration("gw/spi", 1))} {
		if !errors.Is(err, bench.ErrNoBus) {
			t.Errorf("%v", err)
		}
	}
}

func third[T any](_ T, err error) error { return err }

func TestSavedDescriptionsLoad(t *testing.T) {
	var profiles []bench.Profile
	for i := range 11 {
		p := bench.DemoProfile(i)
		p.Start = t0.Add(time.Duration(i) * time.Millisecond)
		p.Motion = bench.Windows{First: time.Minute, Every: 5 * time.Minute, Lasting: 10 * time.Second}
		p.SNR = bench.Off
		profiles = append(profiles, p)
	}
	d := bench.Ward(profiles...)
	path := filepath.Join(t.TempDir(), "bench.yaml")
	if err := d.Save(path); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	back, err := bench.ParseDescription(text)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(d, back); diff != "" {
		t.Error(diff)
	}
	b, err := bench.Load(path, bench.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if cal, err := b.Calibration("adc-2/spi", 2); err != nil || cal != profiles[10].Calibration() {
		t.Errorf("%v, %v", cal, err)
	}
	if _, err := bench.Load(filepath.Join(t.TempDir(), "none.yaml"), bench.Options{}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%v", err)
	}
	if err := (bench.Description{}).Save(path); !errors.Is(err, bench.ErrDescription) {
		t.Errorf("%v", err)
	}
}

func TestBadDescriptionsAreExplained(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"", "empty"},
		{"version: 2\npatients: [{name: a}]\nbuses: []", "version is 2, allowed is 1"},
		{"version: 1\npatients: []\nbuses: []", "0 patients"},
		{"version: 1\npatients: [{name: a, profile: {hart_rate_bpm: 60}}]\nbuses: []", `did you mean "heart_rate_bpm"?`},
		{"version: 1\npatience: []\n", `did you mean "patients"?`},
		{"version: 1\nzzzzzzzzzzzzzz: []\n", "known keys are version, patients"},
		{"version: 1\npatients: [{name: a, profile: {heart_rate_bpm: fast}}]\nbuses: []", "[2:"},
		{"version: 1\npatients: [{name: a, profile: {spo2_percent: .nan}}]\nbuses: []", "spo2_percent is NaN"},
		{"patients: [{profile:{spo2_percent:nAn}}]", "wrong type"}, // the YAML library panics
		{"version: 1\npatients: [{name: a}, {name: a}]\nbuses: []", "used twice"},
		{"version: 1\npatients: [{name: a, profile: {spo2_percent: 20}}]\nbuses: []", "patient a: bench: bad profile: spo2_percent is 20, allowed is 60 to 100"},
		{"version: 1\npatients: [{name: a}]\nbuses: [{name: x}]", "exactly one"},
		{"version: 1\npatients: [{name: a}]\nbuses: [{name: x, max30100: b}]", `no patient "b"`},
		{"version: 1\npatients: [{name: a}]\nbuses: [{name: x, mcp3008: {8: a}}]", "channel 8, allowed is 0 to 7"},
		{"version: 1\npatients: [{name: a}]\nbuses: [{name: x, mcp3008: {1: c}}]", `no patient "c"`},
		{"version: 1\npatients: [{name: a, replay_rate_hz: 1}]\nbuses: []", "replay_rate_hz"},
		{"version: 1\npatients: [{name: a}]\nbuses: []\n---\nversion: 1\n", "something follows"},
	} {
		_, err := bench.ParseDescription([]byte(c.text))
		if !errors.Is(err, bench.ErrDescription) || !contains(err, c.want) {
			t.Errorf("%q: %v\nwant %q in it", c.text, err, c.want)
		}
	}
	d, err := bench.ParseDescription([]byte("version: 1\npatients: [{name: a, replay: nowhere.csv}]\nbuses: []"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := bench.New(d, bench.Options{Folder: t.TempDir()}); !errors.Is(err, bench.ErrRecording) || !errors.Is(err, os.ErrNotExist) || !contains(err, "patient a") {
		t.Errorf("%v", err)
	}
}

func FuzzParseDescription(f *testing.F) {
	f.Add([]byte(example))
	f.Add([]byte("version: 1\npatients: [&a {name: x}, *a]\nbuses: []"))
	f.Add([]byte("version: 1\npatients: [{name: a, profile: {spo2_percent: .nan, cuff_every: -1ns}}]\nbuses: [{name: b, mcp3008: {}}]"))
	f.Fuzz(func(t *testing.T, text []byte) {
		d, err := bench.ParseDescription(text)
		if err != nil {
			if !errors.Is(err, bench.ErrDescription) {
				t.Errorf("%v", err)
			}
			return
		}
		for i := range d.Patients {
			d.Patients[i].Replay = ""
		}
		b, err := bench.New(d, bench.Options{})
		if err != nil {
			t.Fatalf("a valid description does not build: %v", err)
		}
		for _, p := range d.Patients {
			b.Patient(p.Name).Truth(t0)
			b.Patient(p.Name).Light(t0, 100)
			b.Patient(p.Name).Pressure(t0)
		}
	})
}

// TestTheFormatPageIsTrue loads the example of the format's page; its values are the defaults it
// says they are.
func TestTheFormatPageIsTrue(t *testing.T) {
	page, err := os.ReadFile("../../../../doc/formats/bench.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := bytes.Cut(page, []byte("```yaml\n"))
	text, _, ok := bytes.Cut(rest, []byte("```"))
	if !ok {
		t.Fatal("no example on the page")
	}
	d, err := bench.ParseDescription(text)
	if err != nil {
		t.Fatal(err)
	}
	got := d.Patients[0].Profile
	want := patient(t, bench.Profile{Seed: got.Seed, Start: got.Start, Motion: got.Motion, ProbeOff: got.ProbeOff,
		Bridge: bench.Bridge{Offset: got.Bridge.Offset, FullScale: got.Bridge.FullScale}}).Profile()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("defaults differ from the page: %s", diff)
	}
}
