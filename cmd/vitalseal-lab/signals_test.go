package main_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"vitalseal/internal/measurement/vitals"
	"vitalseal/internal/patient/sensor/bench"
)

// pulse FILE SECONDS BPM writes a bedside monitor's recording of a simulated patient, with an electrocardiogram that
// has a spike at each beat's time.
func pulse(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: pulse FILE SECONDS BPM")
	}
	var seconds int
	var bpm float64
	_, err := fmt.Sscan(args[1]+" "+args[2], &seconds, &bpm)
	ts.Check(err)
	begin := time.Date(2026, 3, 14, 9, 0, 0, 0, time.UTC)
	p := bench.Profile{Start: begin, HeartRateDrift: bench.Off, Variability: bench.Off}
	p.HeartRate = vitals.BPM(bpm)
	pa, err := bench.NewPatient(p)
	ts.Check(err)
	infrared, red := make([]uint16, seconds*125), make([]uint16, seconds*125)
	pa.Optical(begin, 125, infrared, red)
	var b strings.Builder
	b.WriteString("Sampling Freq,Time [s], RESP, PLETH, II\n125,0,0,0,0\n")
	for i, v := range infrared[1:] {
		s := float64(i+1) / 125
		r := 0.0
		if phase := s * bpm / 60; phase-float64(int(phase)) < 0.04 {
			r = 1
		}
		fmt.Fprintf(&b, ",%.3f,%.2f,%d,%.1f\n", s, s-float64(int(s/4))*4, -int(v), r)
	}
	path := ts.MkAbs(args[0])
	ts.Check(os.MkdirAll(filepath.Dir(path), 0o755))
	ts.Check(os.WriteFile(path, []byte(b.String()), 0o600))
}
