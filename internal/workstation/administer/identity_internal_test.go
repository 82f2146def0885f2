package administer

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"

	"vitalseal/internal/shared/cli"
)

// TestTicketAsCode: what fits is drawn whole, and what does not says how much would.
func TestTicketAsCode(t *testing.T) {
	ticket := func(n int) []byte {
		return fmt.Appendf(nil, `{ "secret" : "%s" }`, strings.Repeat("x", n-len(`{"secret":""}`)))
	}
	var b bytes.Buffer
	if err := showCode(&b, ticket(maxCode)); err != nil { // its spaces do not count
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimRight(b.String(), "\n"), "\n")
	// Version 40 has 177 modules, two to a character from top to bottom, and a quiet zone on all sides.
	if len(lines) < 177/2 || utf8.RuneCountInString(lines[5]) < 177 {
		t.Errorf("a code of %d lines of %d characters", len(lines), utf8.RuneCountInString(lines[5]))
	}
	b.Reset()
	if err := showCode(&b, ticket(maxCode+1)); err == nil || !strings.Contains(err.Error(), "holds 2953") || b.Len() > 0 {
		t.Errorf("one byte too many: %v, and %d bytes drawn", err, b.Len())
	}
	if err := showCode(&b, []byte("{")); err == nil {
		t.Error("what is no JSON was drawn")
	}
}

func TestIdentityPath(t *testing.T) {
	for in, want := range map[string]string{
		"sensor/oxi-1":                      "identities/sensor/oxi-1",
		"spiffe://x.internal/gateway/gw":    "identities/gateway/gw",
		"spiffe://x.internal/gateway/gw/..": "", "gw": "", "": "", "/": "", "spiffe://x": "",
		"a/b c": "identities/a/b%20c",
	} {
		got, err := identityPath(in)
		var usage *cli.UsageError
		if got != want || (want == "") != errors.As(err, &usage) {
			t.Errorf("%q: %q, %v", in, got, err)
		}
	}
}

// TestSensorName: the commands about a sensor take it in each form in which it is shown.
func TestSensorName(t *testing.T) {
	for in, want := range map[string]string{
		"oxi-1": "oxi-1", "sensor/oxi-1": "oxi-1", "spiffe://x.internal/sensor/oxi-1": "oxi-1", "sensor/a b": "a b",
		"gateway/gw-1": "", "spiffe://x.internal/gateway/gw": "", "sensor/": "", "": "", "/": "", "sensor/a/b": "",
	} {
		got, err := sensorName(in)
		var usage *cli.UsageError
		if got != want || (want == "") != errors.As(err, &usage) {
			t.Errorf("%q: %q, %v", in, got, err)
		}
	}
}

// TestSettledClockIsSaid: also that nothing waited, and what an earlier hub does not say.
func TestSettledClockIsSaid(t *testing.T) {
	for answer, want := range map[string]string{
		`{"released_chunks":0,"waiting_chunks":0}`: "nothing waits for the clock of oxi-1: nothing was changed\n",
		`{"released_chunks":7,"waiting_chunks":7}`: "7 chunks of oxi-1 that waited are on the charts now\n",
		`{"released_chunks":7}`:                    "7 chunks of oxi-1 that waited are on the charts now\n",
		`{"released_chunks":5,"waiting_chunks":7}`: "5 of 7 chunks of oxi-1 that waited are on the charts now\n",
		`{"released_chunks":0,"waiting_chunks":7}`: "no chunk of oxi-1 came to a chart: `vitalseal identity show sensor/oxi-1` says what waits\n",
		`{"released_chunks":0}`:                    "no chunk of oxi-1 came to a chart: `vitalseal identity show sensor/oxi-1` says what waits\n",
	} {
		var b bytes.Buffer
		if err := saySettled(&b, "oxi-1", []byte(answer)); err != nil || b.String() != want {
			t.Errorf("%s: %q, %v", answer, b.String(), err)
		}
	}
	if err := saySettled(&bytes.Buffer{}, "oxi-1", []byte("x")); err == nil {
		t.Error("what is no answer was taken for one")
	}
}

// TestDescribeKeptOut: a component that is disabled says since when, and by whom where that is known.
func TestDescribeKeptOut(t *testing.T) {
	for more, want := range map[string]string{
		``: "state        disabled\n",
		`,"kept_out_since":"2026-11-23T07:00:00Z"`:                                               "state        disabled since 2026-11-23T07:00:00Z\n",
		`,"kept_out_since":"2026-11-23T07:00:00Z","kept_out_by":"p1"`:                            "state        disabled since 2026-11-23T07:00:00Z, by p1\n",
		`,"kept_out_since":"2026-11-23T07:00:00Z","kept_out_by":"p1","kept_out_by_login":"root"`: "state        disabled since 2026-11-23T07:00:00Z, by root\n",
	} {
		var b bytes.Buffer
		if err := describeIdentity(&b, []byte(`{"id":"spiffe://x/sensor/oxi","kind":"sensor","state":"disabled"`+more+`}`)); err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(b.String(), want) {
			t.Errorf("%s: %q is missing in\n%s", more, want, b.String())
		}
	}
}

func TestDescribeIdentity(t *testing.T) {
	var b bytes.Buffer
	err := describeIdentity(&b, []byte(`{"id":"spiffe://x/workstation/wall","kind":"workstation","mode":"display","wards":["w1"],"state":"active",
		"enrolled":null,"last_seen":"2026-11-23T07:00:00Z","new_key_demanded":true,
		"certificate":{"sha256":"ab","not_before":"2026-11-23T00:00:00Z","not_after":"2026-11-24T00:00:00Z"}}`))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"workstation display", "wards        w1", "enrolled     never", "last seen    2026-11-23T07:00:00Z",
		"SHA-256 ab", "2026-11-23T00:00:00Z to 2026-11-24T00:00:00Z", "a new one is demanded"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("%q is missing in\n%s", want, b.String())
		}
	}
	if strings.Contains(b.String(), "serial") {
		t.Error("what is not known is shown")
	}
}
