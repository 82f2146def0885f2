package recording

import (
	"math"
	"strings"
	"testing"
)

func TestNamesThatAreReferences(t *testing.T) {
	for _, c := range []struct {
		name          string
		oxygen, heart float64
		attached, ok  bool
	}{
		{"proto1_1520-95-79.csv", 95, 79, true, true},
		{"proto1_1605-75-77__.csv", 75, 77, true, true},
		{"proto1_1530-90-66-.csv.gz", 90, 66, true, true},
		{"proto2_20201012-165638-9596-7174.csv", 95.5, 72.5, true, true},
		{"proto2_20201013-105611-9596-67-r.csv", 95.5, 67, true, true},
		{"proto2_20201012-165339-96-70-ear-l.csv", 96, 70, true, true},
		{"proto1_0930-100-102.csv", 100, 102, true, true},
		{"proto1_0930-99100-98102.csv", 99.5, 100, true, true},
		{"proto2_20201012-165156-unattached.csv", 0, 0, false, true},
		{"proto1_1520-95.csv", 95, math.NaN(), true, true},
		{"proto1_1520.csv", 0, 0, false, false},
		{"data.csv", 0, 0, false, false},
		{"proto1_1520-12-79.csv", 0, 0, false, false},
	} {
		o, h, a, err := FingerReference(c.name)
		if (err == nil) != c.ok || a != c.attached || o != c.oxygen || h != c.heart && !(math.IsNaN(h) && math.IsNaN(c.heart)) {
			t.Errorf("%s: %v, %v, %v, %v", c.name, o, h, a, err)
		}
	}
}

// FuzzReaders: whatever a file holds, a reader ends in an error that names it or in samples within bounds.
func FuzzReaders(f *testing.F) {
	for _, s := range []string{"",
		"1,2,3,4,5,6\n1,2,3\n",
		"timestamp,sampleNum,LEDC1,LEDC2\n1,1,5,5\n2,3,5,5\nstop time,3\n",
		"timestamp,sampleNum,LEDC1,LEDC2\n1,nan,5,5\n",
		"115002,15926,3,PI,1,100,185927,186062,186130\n1,1,1,PR,1,1,5\n1,1,2,UN,1,100,x,97\n",
		"\x1f\x8b\x08\x00",
		"a,b\nnan,-\n",
		"ratio,spo2_percent\n0.5,97\n-,\n"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		named := func(err error) {
			if err != nil && !strings.Contains(err.Error(), "name") {
				t.Errorf("error without the file's name: %v", err)
			}
		}
		two, err := ReadTwoLights("name", strings.NewReader(s))
		named(err)
		if err == nil && (len(two.Infrared) != len(two.Red) || len(two.Red) > MaxSamples+6400) {
			t.Errorf("%d and %d samples", len(two.Infrared), len(two.Red))
		}
		e, err := ReadEmotibit("name", strings.NewReader(s))
		named(err)
		if err == nil && len(e.Infrared) != len(e.Red) {
			t.Error("unequal lights")
		}
		_, err = formOf("name", strings.NewReader(s))
		named(err)
		pairs, err := readPairs("name", strings.NewReader(s))
		named(err)
		for _, p := range pairs {
			if !(p.Ratio > 0 && p.SpO2 >= 40 && p.SpO2 <= 100) {
				t.Errorf("pair %+v", p)
			}
		}
	})
}
