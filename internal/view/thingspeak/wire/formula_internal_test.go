package wire

import (
	"encoding/csv"
	"strings"
	"testing"
	"time"

	"vitalseal/internal/hub/channel"
)

func TestTextCells(t *testing.T) {
	for v, want := range map[string]string{
		`=HYPERLINK("http://evil.example","click")`: `'=HYPERLINK("http://evil.example","click")`, "+1+cmd|' /C calc'!A0": "'+1+cmd|' /C calc'!A0",
		"-2+3": "'-2+3", "@SUM(A1)": "'@SUM(A1)", "\t=1": "'\t=1", "\r=1": "'\r=1", "\n=1": "'\n=1", "\uff1d1+1": "'\uff1d1+1", "'=1": "''=1", "''-x": "'''-x", "-": "'-",
		"-5.2": "-5.2", "+3": "+3", "-.5": "-.5", "-5.": "-5.", "-1e5": "-1e5", "+1.5E-3": "+1.5E-3", "36.6": "36.6", "-0": "-0",
		"": "", "'": "'", "'tis": "'tis", "fine": "fine", "a=b": "a=b", "-Inf": "'-Inf", "-0x1p-2": "'-0x1p-2", "-1_0": "'-1_0", "-5,2": "'-5,2",
	} {
		if got := textCell(v); got != want {
			t.Errorf("%q becomes %q, want %q", v, got, want)
		}
	}
}

// TestCSVRunsNothing: no cell of an export is a formula, and numbers are what they were.
func TestCSVRunsNothing(t *testing.T) {
	formula, number := "=1+1", "-5.2"
	e := channel.Entry{ID: 1, Created: time.Unix(0, 0), Status: "@status", Latitude: "-33.1"}
	e.Fields[0], e.Fields[1] = &formula, &number
	d := Feed{Shape: Shape{fields: []int{1, 2}, Status: true, Location: true, Loc: time.UTC}, Entries: []channel.Entry{e}}
	rows, err := csv.NewReader(strings.NewReader(string(d.CSV(true)))).ReadAll()
	if err != nil || len(rows) != 2 {
		t.Fatal(rows, err)
	}
	for i, want := range map[int]string{2: "'=1+1", 3: "-5.2", 4: "-33.1", 7: "'@status"} {
		if rows[1][i] != want {
			t.Errorf("%s is %q, want %q", rows[0][i], rows[1][i], want)
		}
	}
}

func FuzzTextCell(f *testing.F) {
	f.Add("=1")
	f.Add("''-5")
	f.Fuzz(func(t *testing.T, v string) {
		got := textCell(v)
		if got != v && got != "'"+v {
			t.Fatalf("%q becomes %q", v, got)
		}
		if got != "" && strings.Contains("=+-@\t\r\n", got[:1]) && !plainNumber.MatchString(got) {
			t.Fatalf("%q becomes %q, which may be computed", v, got)
		}
	})
}
