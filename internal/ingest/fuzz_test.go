package ingest

import (
	"bytes"
	"errors"
	"testing"
	"time"

	"vitalseal/internal/store"
	"vitalseal/internal/vitals"
)

// FuzzFrame reads random bytes as each end would. Nothing may panic, and what parses must encode to the same bytes.
func FuzzFrame(f *testing.F) {
	f.Add(appendHello(nil, hello{version: Version, idle: idleTimeout}))
	f.Add(appendHello(nil, hello{version: Version, idle: idleTimeout, start: store.Start{Boot: 7, Instance: [16]byte{1}}}))
	f.Add(appendMessage(nil, 7, EncodeEnvelope([]byte("envelope"))))
	f.Add(appendMessage(nil, 7, EncodeAnnouncement([]byte("announcement"))))
	f.Add(appendAck(appendAck(nil, ack{1, store.Accepted, NoReason}), ack{2, store.Retry, UnknownEpoch}))
	f.Add(appendReannounce(nil, [16]byte{1, 2, 3}))
	f.Add(appendExceed(nil, 1<<40))
	f.Add(appendGoodbye(nil, Replaced))
	f.Add(appendHello(nil, hello{version: Version, idle: idleTimeout, clock: helloClock{speaks: true, times: [2]int64{5, 6}}}))
	f.Add(appendClockReport(nil, clockReport{sent: 1, echo: 2, heard: 3, generation: 4, stepped: -5 * time.Second,
		spans: []ClockSpan{{From: 1}, {From: 2, Kind: ClockSet, Value: -time.Hour}, {From: 9, Kind: ClockMeasured, Value: 7, Error: time.Second}}}))
	f.Add(appendClockAnswer(nil, clockAnswer{1, 2, 3}))
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, 1})
	f.Fuzz(func(t *testing.T, b []byte) {
		r := bytes.NewReader(b)
		for {
			before := len(b) - r.Len()
			kind, body, err := readFrame(r)
			if err != nil {
				return
			}
			frame := b[before : len(b)-r.Len()]
			var again []byte
			switch kind {
			case frameHello:
				h, err := parseHello(kind, body)
				if err == nil && (len(body) == len(helloMagic)+5 || len(body) == len(helloMagic)+5+8+16 && h.start.Boot != 0) {
					again = appendHello(nil, h)
				}
			case frameAnnouncement, frameEnvelope:
				if m, err := parseMessage(kind, body); err == nil {
					again = appendMessage(nil, m.number, append([]byte{byte(kind)}, m.data...))
					_, _ = ParseMessage(append([]byte{byte(kind)}, m.data...))
				}
			case frameAck:
				if a, err := parseAck(body); err == nil {
					again = appendAck(nil, a)
					_ = a.reason.String()
				}
			case frameDirective:
				if d, err := parseDirective(body); err == nil && d.reannounce != nil {
					again = appendReannounce(nil, *d.reannounce)
				} else if err == nil && body[0] == directiveExceed {
					again = appendExceed(nil, d.exceed)
				}
			case frameClock:
				if r, err := parseClockReport(body); err == nil {
					again = appendClockReport(nil, r)
				} else if a, err := parseClockAnswer(body); err == nil {
					again = appendClockAnswer(nil, a)
				}
			case frameGoodbye:
				if err := goodbye(body); !errors.Is(err, ErrRefused) && !errors.Is(err, ErrFrame) {
					t.Fatalf("goodbye: %v", err)
				}
			}
			if again != nil && !bytes.Equal(again, frame) {
				t.Fatalf("frame %x encodes again to %x", frame, again)
			}
		}
	})
}

// FuzzGap reads any event; what it takes for a gap must come out as the same event.
func FuzzGap(f *testing.F) {
	at := time.Date(2026, 11, 23, 10, 0, 0, 0, time.UTC)
	e := Gap{Signal: vitals.PPG, Epoch: [16]byte{1, 2}, First: 3, Last: 9, From: at, To: at.Add(time.Minute), Reason: GapOutboxFull}.Event()
	f.Add(e.Code, e.Detail)
	f.Add("gap", "12 samples")
	f.Fuzz(func(t *testing.T, code, detail string) {
		g, ok := ParseGap(vitals.Event{Code: code, Detail: detail})
		if !ok {
			return
		}
		again, ok := ParseGap(g.Event())
		if !ok || again.First != g.First || again.Last != g.Last || again.Epoch != g.Epoch || again.Signal != g.Signal || !again.From.Equal(g.From) || !again.To.Equal(g.To) {
			t.Errorf("%q: %+v, then %+v", detail, g, again)
		}
		if len(g.Event().Detail) > 200 {
			t.Errorf("%q is too long for an event", g.Event().Detail)
		}
	})
}
