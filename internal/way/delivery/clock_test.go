package delivery

import (
	"errors"
	"slices"
	"testing"
	"time"

	"vitalseal/internal/measurement/vitals"
	"vitalseal/internal/way/seal"
)

const us = time.Microsecond

func TestClockReportRoundTrip(t *testing.T) {
	full := ClockReport{Sent: maxClockMicros, Echo: 0, Heard: 3, Generation: 1<<64 - 1, Stepped: -maxStatedClock}
	for i := range uint64(MaxClockSpans) {
		full.Spans = append(full.Spans, ClockSpan{From: i + 1, Kind: ClockKind(i % 4), Value: maxStatedClock, Error: time.Duration(i) * us})
	}
	for _, r := range []ClockReport{{}, full} {
		got, err := ParseClockReport(AppendClockReport(nil, r)[5:])
		spans := slices.Equal(got.Spans, r.Spans)
		if got.Spans, r.Spans = nil, nil; err != nil || !spans || got.Sent != r.Sent || got.Heard != r.Heard || got.Generation != r.Generation || got.Stepped != r.Stepped {
			t.Errorf("%+v came back as %+v (spans %v), %v", r, got, spans, err)
		}
	}
	// Of a longer record the newest part goes.
	full.Spans = append(full.Spans, ClockSpan{From: 1000})
	got, err := ParseClockReport(AppendClockReport(nil, full)[5:])
	if err != nil || len(got.Spans) != MaxClockSpans || got.Spans[0].From != 2 || got.Spans[MaxClockSpans-1].From != 1000 {
		t.Errorf("%d spans from %+v, %v", len(got.Spans), got.Spans[:1], err)
	}
}

// TestClockReportBounds: times and durations that overflow later arithmetic, and records out of
// order, are refused.
func TestClockReportBounds(t *testing.T) {
	for name, r := range map[string]ClockReport{
		"sent before 1970":     {Sent: -1},
		"heard beyond bounds":  {Heard: maxClockMicros + 1},
		"stepped too far":      {Stepped: maxStatedClock + us},
		"stepped too far back": {Stepped: -maxStatedClock - us},
		"value too large":      {Spans: []ClockSpan{{From: 1, Value: maxStatedClock + us}}},
		"negative error":       {Spans: []ClockSpan{{From: 1, Error: -us}}},
		"same epoch twice":     {Spans: []ClockSpan{{From: 1}, {From: 1}}},
		"epochs descending":    {Spans: []ClockSpan{{From: 2}, {From: 1}}},
	} {
		if _, err := ParseClockReport(AppendClockReport(nil, r)[5:]); !errors.Is(err, ErrFrame) {
			t.Errorf("%s: %v", name, err)
		}
	}
	body := AppendClockReport(nil, ClockReport{})[5:]
	body[clockReportBytes-1] = MaxClockSpans + 1
	if _, err := ParseClockReport(append(body, make([]byte, (MaxClockSpans+1)*clockSpanBytes)...)); !errors.Is(err, ErrFrame) {
		t.Errorf("more spans than allowed: %v", err)
	}
	for _, a := range []ClockAnswer{{Sent: -1}, {Received: maxClockMicros + 1}, {Answered: -1}} {
		if _, err := ParseClockAnswer(AppendClockAnswer(nil, a)[5:]); !errors.Is(err, ErrFrame) {
			t.Errorf("%+v: %v", a, err)
		}
	}
	last := ClockAnswer{maxClockMicros, 0, maxClockMicros}
	if a, err := ParseClockAnswer(AppendClockAnswer(nil, last)[5:]); err != nil || a != last {
		t.Errorf("%+v came back as %+v, %v", last, a, err)
	}
}

func TestHelloClockBounds(t *testing.T) {
	parse := func(times [2]int64) HelloClock {
		h, err := ParseHello(FrameHello, AppendHello(nil, Hello{Version: Version, Clock: HelloClock{Speaks: true, Times: times}})[5:])
		if err != nil {
			t.Fatal(err)
		}
		return h.Clock
	}
	if got := parse([2]int64{maxClockMicros, 0}); got != (HelloClock{true, [2]int64{maxClockMicros, 0}}) {
		t.Errorf("the latest time: %+v", got)
	}
	for _, times := range [][2]int64{{-1, 0}, {0, maxClockMicros + 1}} {
		if got := parse(times); got != (HelloClock{}) {
			t.Errorf("%v: %+v", times, got)
		}
	}
	frame := AppendHello(nil, Hello{Version: Version, Clock: HelloClock{Speaks: true}})[5:]
	if h, err := ParseHello(FrameHello, frame[:len(frame)-1]); err != nil || h.Clock.Speaks {
		t.Errorf("half a clock: %+v, %v", h, err)
	}
	frame[len(frame)-17] = 1
	if h, err := ParseHello(FrameHello, frame); err != nil || h.Clock.Speaks {
		t.Errorf("a version without clocks: %+v, %v", h, err)
	}
}

// TestClockBounds: the bounds are part of the protocol: 10,000 years of 366 days, and 200 of 365.
func TestClockBounds(t *testing.T) {
	if maxClockMicros != 316_224_000_000_000_000 || maxStatedClock != 1_752_000*time.Hour {
		t.Errorf("times up to %d µs, clocks off by up to %v", maxClockMicros, maxStatedClock)
	}
}

// TestExchangesThatTouch: one whose bounds are equal is exact, and one that touches the best one's
// edge agrees with it.
func TestExchangesThatTouch(t *testing.T) {
	var e Exchanges
	e.Add(Exchanged{7, 7})
	if o, within, ok := e.Offset(); !ok || o != 7*us || within != 0 {
		t.Errorf("an exact exchange: %v within %v, %v", o, within, ok)
	}
	for _, x := range []Exchanged{{-5, 7}, {7, 20}} {
		if e.Add(x); e.all[0] != (Exchanged{7, 7}) {
			t.Errorf("%+v contradicts the one that it touches", x)
		}
	}
	for _, x := range []Exchanged{{-5, 6}, {8, 20}} {
		e = Exchanges{[]Exchanged{{7, 7}}}
		if e.Add(x); len(e.all) != 1 || e.all[0] != x {
			t.Errorf("%+v does not replace what it contradicts: %+v", x, e.all)
		}
	}
}

func TestExchanges(t *testing.T) {
	var e Exchanges
	offset := func() [2]time.Duration {
		t.Helper()
		o, within, ok := e.Offset()
		if !ok {
			t.Fatal("nothing was measured")
		}
		return [2]time.Duration{o, within}
	}
	if _, _, ok := e.Offset(); ok {
		t.Error("the zero value has an offset")
	}
	e.Add(Exchanged{Low: 5, High: 4})
	if _, _, ok := e.Offset(); ok {
		t.Error("a measurement that contradicts itself counts")
	}
	e.Add(Exchanged{100, 300})
	if got := offset(); got != [2]time.Duration{200 * us, 100 * us} {
		t.Errorf("one exchange: %v", got)
	}
	e.Add(Exchanged{140, 181}) // the shortest round trip counts, its error rounded up
	if got := offset(); got != [2]time.Duration{160 * us, 21 * us} {
		t.Errorf("a shorter round trip: %v", got)
	}
	e.Add(Exchanged{100, 300})
	e.Add(Exchanged{139, 180}) // as short: the first of them stays
	if got := offset(); got != [2]time.Duration{160 * us, 21 * us} {
		t.Errorf("a longer one after it: %v", got)
	}
	e.Shift(-time.Millisecond)
	if got := offset(); got != [2]time.Duration{-839 * us, 21 * us} && got != [2]time.Duration{-840 * us, 21 * us} {
		t.Errorf("after the clock was set back: %v", got)
	}
	// Clone is apart from later measurements; one that contradicts the best says that the clock has
	// moved.
	before := e.Clone()
	e.Add(Exchanged{-819, -700}) // touches the best one's edge: no contradiction
	if len(e.all) != 5 {
		t.Errorf("%d exchanges after one that agrees", len(e.all))
	}
	e.Add(Exchanged{-818, 5000})
	if got := offset(); len(e.all) != 1 || got[0] != 2091*us {
		t.Errorf("after a jump forward: %v of %d", got, len(e.all))
	}
	e.Add(Exchanged{-9000, -819})
	if len(e.all) != 1 || e.all[0].Low != -9000 {
		t.Errorf("after a jump back: %+v", e.all)
	}
	if o, _, _ := before.Offset(); o > -839*us || o < -840*us {
		t.Errorf("the copy changed: %v", o)
	}
	// Only the last twelve count.
	e = Exchanges{}
	e.Add(Exchanged{0, 2})
	for range keptExchanges - 1 {
		e.Add(Exchanged{-100, 100})
	}
	if got := offset(); got[1] != us {
		t.Errorf("within %v while the best is kept", got[1])
	}
	e.Add(Exchanged{-100, 100})
	if got := offset(); got[1] != 100*us || len(e.all) != keptExchanges {
		t.Errorf("within %v of %d when the best has gone", got[1], len(e.all))
	}
}

func TestClockRight(t *testing.T) {
	for _, tc := range []struct {
		offset, within time.Duration
		want           bool
	}{
		{5 * time.Second, 0, true}, {5*time.Second + 1, 0, false}, {-5 * time.Second, 0, true}, {-5*time.Second - 1, 0, false},
		{8 * time.Second, 8 * time.Second, true}, {8 * time.Second, 7 * time.Second, false},
	} {
		if got := ClockRight(tc.offset, tc.within); got != tc.want {
			t.Errorf("off by %v within %v: %v", tc.offset, tc.within, got)
		}
	}
	for off, want := range map[time.Duration]string{
		time.Hour:                      "the gateway's clock is 3,600 s ahead of the hub's",
		-999 * time.Second:             "the gateway's clock is 999 s behind the hub's",
		1000 * time.Second:             "the gateway's clock is 1,000 s ahead of the hub's",
		-1_002_003 * time.Second:       "the gateway's clock is 1,002,003 s behind the hub's",
		1500 * time.Millisecond:        "the gateway's clock is 2 s ahead of the hub's",
		-(2*time.Second + time.Second): "the gateway's clock is 3 s behind the hub's",
	} {
		if got := ClockWords(off); got != want {
			t.Errorf("%v: %q", off, got)
		}
	}
}

// TestGapFields: an event is a gap only if every field is there and they agree.
func TestGapFields(t *testing.T) {
	at := time.Date(2026, 11, 30, 10, 0, 0, 0, time.UTC)
	want := Gap{Signal: vitals.PPG, Epoch: [16]byte{1, 2}, First: 3, Last: 9, From: at, To: at.Add(time.Minute), Reason: GapDiskDamage}
	e := want.Event()
	if got, ok := ParseGap(e); !ok || got != want || got.Count() != 7 || !e.At.Equal(at) {
		t.Errorf("%q came back as %+v, %v", e.Detail, got, ok)
	}
	one := want
	one.First, one.Last = seal.MaxSequence, seal.MaxSequence
	if got, ok := ParseGap(one.Event()); !ok || got != one {
		t.Errorf("the last chunk of an epoch: %+v, %v", got, ok)
	}
	const epoch = "epoch=01020000000000000000000000000000"
	const times = "from=2026-11-30T10:00:00Z to=2026-11-30T10:01:00Z"
	signal := vitals.PPG.String()
	for _, detail := range []string{
		"bored " + signal + " " + epoch + " seq=3-9 count=7 " + times,
		"disk_damage nothing " + epoch + " seq=3-9 count=7 " + times,
		"disk_damage " + signal + " epoch=0102 seq=3-9 count=7 " + times,
		"disk_damage " + signal + " epoch=zz020000000000000000000000000000 seq=3-9 count=7 " + times,
		"disk_damage " + signal + " " + epoch + " seq=9-3 count=18446744073709551611 " + times,
		"disk_damage " + signal + " " + epoch + " seq=3-9 count=8 " + times,
		"disk_damage " + signal + " " + epoch + " seq=3-9 count=x " + times,
		"disk_damage " + signal + " " + epoch + " seq=x-9 count=7 " + times,
		"disk_damage " + signal + " " + epoch + " seq=3 count=7 " + times,
		"disk_damage " + signal + " " + epoch + " seq=4294967296-4294967296 count=1 " + times,
		"disk_damage " + signal + " " + epoch + " seq=3-9 7 " + times,
		"disk_damage " + signal + " " + epoch + " seq=3-9 count=7 from=x to=2026-11-30T10:01:00Z",
		"disk_damage " + signal + " " + epoch + " seq=3-9 count=7 from=2026-11-30T10:00:00Z to=x",
		"disk_damage " + signal + " " + epoch + " seq=3-9 count=7 " + times + " more",
	} {
		if g, ok := ParseGap(vitals.Event{Code: "gap", Detail: detail}); ok || g != (Gap{}) {
			t.Errorf("%q is taken for %+v", detail, g)
		}
	}
	if _, ok := ParseGap(vitals.Event{Code: "hole", Detail: e.Detail}); ok {
		t.Error("another event's code is taken for a gap's")
	}
}
