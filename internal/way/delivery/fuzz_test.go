package delivery

import (
	"bytes"
	"errors"
	"testing"
	"time"

	"vitalseal/internal/measurement/vitals"
)

// FuzzFrame reads random bytes as each end would. Nothing may panic, and what parses must encode to
// the same bytes.
func FuzzFrame(f *testing.F) {
	f.Add(AppendHello(nil, Hello{Version: Version, Idle: IdleTimeout}))
	f.Add(AppendHello(nil, Hello{Version: Version, Idle: IdleTimeout, Start: Start{Boot: 7, Instance: [16]byte{1}}}))
	f.Add(AppendNumbered(nil, 7, EncodeEnvelope([]byte("envelope"))))
	f.Add(AppendNumbered(nil, 7, EncodeAnnouncement([]byte("announcement"))))
	f.Add(AppendAck(AppendAck(nil, Ack{1, Accepted, NoReason}), Ack{2, Retry, UnknownEpoch}))
	f.Add(AppendReannounce(nil, [16]byte{1, 2, 3}))
	f.Add(AppendExceed(nil, 1<<40))
	f.Add(AppendGoodbye(nil, Replaced))
	f.Add(AppendHello(nil, Hello{Version: Version, Idle: IdleTimeout, Clock: HelloClock{Speaks: true, Times: [2]int64{5, 6}}}))
	f.Add(AppendClockReport(nil, ClockReport{Sent: 1, Echo: 2, Heard: 3, Generation: 4, Stepped: -5 * time.Second,
		Spans: []ClockSpan{{From: 1}, {From: 2, Kind: ClockSet, Value: -time.Hour}, {From: 9, Kind: ClockMeasured, Value: 7, Error: time.Second}}}))
	f.Add(AppendClockAnswer(nil, ClockAnswer{1, 2, 3}))
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, 1})
	f.Fuzz(func(t *testing.T, b []byte) {
		r := bytes.NewReader(b)
		for {
			before := len(b) - r.Len()
			kind, body, err := ReadFrame(r)
			if err != nil {
				return
			}
			frame := b[before : len(b)-r.Len()]
			var again []byte
			switch kind {
			case FrameHello:
				h, err := ParseHello(kind, body)
				if err == nil && (len(body) == len(helloMagic)+5 || len(body) == len(helloMagic)+5+8+16 && h.Start.Boot != 0) {
					again = AppendHello(nil, h)
				}
			case FrameAnnouncement, FrameEnvelope:
				if m, err := ParseNumbered(kind, body); err == nil {
					again = AppendNumbered(nil, m.Number, append([]byte{byte(kind)}, m.Data...))
					_, _ = ParseMessage(append([]byte{byte(kind)}, m.Data...))
				}
			case FrameAck:
				if a, err := ParseAck(body); err == nil {
					again = AppendAck(nil, a)
					_ = a.Reason.String()
				}
			case FrameDirective:
				if d, err := ParseDirective(body); err == nil && d.Reannounce != nil {
					again = AppendReannounce(nil, *d.Reannounce)
				} else if err == nil && body[0] == directiveExceed {
					again = AppendExceed(nil, d.Exceed)
				}
			case FrameClock:
				if r, err := ParseClockReport(body); err == nil {
					again = AppendClockReport(nil, r)
				} else if a, err := ParseClockAnswer(body); err == nil {
					again = AppendClockAnswer(nil, a)
				}
			case FrameGoodbye:
				if err := ParseGoodbye(body); !errors.Is(err, ErrRefused) && !errors.Is(err, ErrFrame) {
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
