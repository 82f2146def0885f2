package sink

import (
	"encoding/base64"
	"errors"
	"math"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"vitalseal/internal/hub/channel"
	"vitalseal/internal/measurement/vitals"
	"vitalseal/internal/way/seal"
)

func someRecords(n int) (all []Record) {
	at := time.Date(2026, 11, 23, 10, 0, 0, 0, time.UTC)
	f := -21.5
	for i := range n {
		r := Record{At: at.Add(time.Duration(i) * time.Second), Numerics: []vitals.Numeric{
			vitals.Checked(vitals.HeartRate, 71.25+float64(i), vitals.Good), vitals.Checked(vitals.SpO2, 97, vitals.Questionable),
			vitals.Absent(vitals.RespiratoryRate, vitals.Settling)}}
		if i == 1 {
			r.Fields[7] = &f
		}
		all = append(all, r)
	}
	return all
}

func TestEnvelopeRoundTrip(t *testing.T) {
	key, id := seal.NewKey(), channel.KeyID{1, 2, 3, 4, 5, 6, 7, 8}
	for n := 1; ; n++ {
		want := someRecords(n)
		text, ok := appendRecords(nil, want)
		if !ok {
			if n < 9 {
				t.Errorf("only %d seconds fit into an envelope", n-1)
			}
			return
		}
		envelope := sealEnvelope(key, id, text)
		if len(envelope) != EnvelopeChars || len(envelope) > 255 {
			t.Fatalf("%d characters for %d seconds, want always %d", len(envelope), n, EnvelopeChars)
		}
		gotID, raw, err := envelopeKeyID(envelope)
		if err != nil || gotID != id {
			t.Fatalf("key id %x, %v", gotID, err)
		}
		got, err := openEnvelope(key, raw)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("(-want +got):\n%s", diff)
		}
	}
}

// TestOneRecordAlwaysFits: the packer relies on it.
func TestOneRecordAlwaysFits(t *testing.T) {
	r := Record{At: time.Unix(253402300799, 0)}
	for k := vitals.Kind(1); k <= vitals.MaxKind; k++ {
		_, high := k.Range()
		r.Numerics = append(r.Numerics, vitals.Numeric{Kind: k, Value: high, Quality: vitals.Good})
	}
	for i := range r.Fields {
		f := math.MaxFloat64
		r.Fields[i] = &f
	}
	if !fits([]Record{r}) {
		t.Error("the largest record does not fit into an envelope")
	}
}

func TestEnvelopeChangedOrForeign(t *testing.T) {
	key, id := seal.NewKey(), channel.KeyID{9}
	text, _ := appendRecords(nil, someRecords(3))
	envelope := sealEnvelope(key, id, text)
	_, raw, err := envelopeKeyID(envelope)
	if err != nil {
		t.Fatal(err)
	}
	for i := range raw {
		changed := append([]byte{}, raw...)
		changed[i] ^= 1
		if _, err := openEnvelope(key, changed); !errors.Is(err, ErrEnvelope) {
			t.Fatalf("byte %d changed: %v", i, err)
		}
	}
	if _, err := openEnvelope(seal.NewKey(), raw); !errors.Is(err, ErrEnvelope) {
		t.Errorf("another key: %v", err)
	}
	for _, s := range []string{"", "71.5", envelope[1:], envelope + "A", base64.StdEncoding.EncodeToString(raw)[:251] + "!"} {
		if _, _, err := envelopeKeyID(s); !errors.Is(err, ErrEnvelope) {
			t.Errorf("%.20q: %v", s, err)
		}
	}
}

func FuzzDecodeRecords(f *testing.F) {
	for _, n := range []int{1, 2, 9} {
		text, _ := appendRecords(nil, someRecords(n))
		f.Add(text)
	}
	f.Add([]byte{})
	f.Add([]byte{1, 0, 0, 1, 0xff})
	f.Fuzz(func(t *testing.T, b []byte) {
		records, err := decodeRecords(b)
		if err != nil {
			if !errors.Is(err, ErrEnvelope) {
				t.Fatalf("%v is no ErrEnvelope", err)
			}
			return
		}
		again, _ := appendRecords(nil, records) // may be longer than an envelope here: b was
		back, err := decodeRecords(again)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(records, back); diff != "" {
			t.Fatalf("(-first +second):\n%s", diff)
		}
	})
}

func FuzzOpenEnvelope(f *testing.F) {
	key, id := seal.NewKey(), channel.KeyID{1}
	text, _ := appendRecords(nil, someRecords(2))
	f.Add(sealEnvelope(key, id, text))
	f.Add("AQ")
	f.Fuzz(func(t *testing.T, s string) {
		_, raw, err := envelopeKeyID(s)
		if err == nil {
			_, err = openEnvelope(key, raw)
		}
		if err != nil && !errors.Is(err, ErrEnvelope) {
			t.Fatal(err)
		}
	})
}

func TestBackoff(t *testing.T) {
	for _, c := range []struct {
		failures  int
		after     time.Duration
		low, high time.Duration
	}{
		{1, 0, 30 * time.Second, 33 * time.Second}, {2, 0, time.Minute, 66 * time.Second}, {1000, 0, maxBackoff, maxBackoff + maxBackoff/9},
		{1, 5 * time.Minute, 5 * time.Minute, 5 * time.Minute}, {1, 100 * time.Hour, maxRetryAfter, maxRetryAfter},
	} {
		if got := backoff(MinInterval, c.failures, c.after); got < c.low || got > c.high {
			t.Errorf("%d failures, told %v: %v, want %v to %v", c.failures, c.after, got, c.low, c.high)
		}
	}
}

func TestParseServer(t *testing.T) {
	for in, want := range map[string]string{
		"https://API.thingspeak.com": "https://api.thingspeak.com", "https://127.0.0.1:8443/": "https://127.0.0.1:8443",
		"http://api.thingspeak.com": "", "https://": "", "https://u:p@h": "", "https://h/path": "", "https://h?x=1": "", "h": "", "https://h#f": "",
	} {
		got, err := ParseServer(in)
		if got != want || (err == nil) != (want != "") {
			t.Errorf("%s: %q, %v; want %q", in, got, err, want)
		}
	}
}
