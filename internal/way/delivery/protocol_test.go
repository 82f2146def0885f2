package delivery

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"vitalseal/internal/way/seal"
)

// TestFrameBytes compares frames with doc/formats/ingest.md, written out by hand: both ends of one
// version agree even when both are wrong, two versions do not.
func TestFrameBytes(t *testing.T) {
	id := seal.EpochID{0: 0xaa, 15: 0xbb}
	idHex := "aa" + strings.Repeat("00", 14) + "bb"
	for _, tc := range []struct {
		name, want string
		frame      []byte
	}{
		{"hello", "0000000a 01 7673696e 01 00003a98", AppendHello(nil, Hello{Version: Version, Idle: IdleTimeout})},
		{"hello with its start", "00000022 01 7673696e 01 00003a98 0000000000000007" + idHex,
			AppendHello(nil, Hello{Version: Version, Idle: IdleTimeout, Start: Start{Boot: 7, Instance: id}})},
		{"hello with a clock", "00000033 01 7673696e 01 00003a98 0000000000000000" + strings.Repeat("00", 16) + "02 0000000000000005 0000000000000006",
			AppendHello(nil, Hello{Version: Version, Idle: IdleTimeout, Clock: HelloClock{Speaks: true, Times: [2]int64{5, 6}}})},
		{"announcement", "0000000c 02 0000000000000009 616263", AppendNumbered(nil, 9, EncodeAnnouncement([]byte("abc")))},
		{"envelope", "0000000b 03 0000000000000100 6465", AppendNumbered(nil, 256, EncodeEnvelope([]byte("de")))},
		{"accepted", "0000000b 04 0000000000000001 01 00", AppendAck(nil, Ack{1, Accepted, NoReason})},
		{"duplicate", "0000000b 04 0000000000000002 02 00", AppendAck(nil, Ack{2, Duplicate, NoReason})},
		{"retry", "0000000b 04 0000000000000003 03 02", AppendAck(nil, Ack{3, Retry, UnknownEpoch})},
		{"rejected", "0000000b 04 0000000000000004 04 13", AppendAck(nil, Ack{4, Rejected, OtherContent})},
		{"announce again", "00000012 05 01" + idHex, AppendReannounce(nil, id)},
		{"exceed", "0000000a 05 02 0000010000000000", AppendExceed(nil, 1<<40)},
		{"goodbye", "00000002 08 09", AppendGoodbye(nil, Replaced)},
		{"clock answer", "00000019 09 0000000000000001 0000000000000002 0000000000000003", AppendClockAnswer(nil, ClockAnswer{1, 2, 3})},
		{"clock report", "00000043 09 0000000000000001 0000000000000002 0000000000000003 0000000000000004 ffffffffffb3b4c0 01" +
			"0000000000000005 02 0000000000000007 00000000000f4240",
			AppendClockReport(nil, ClockReport{Sent: 1, Echo: 2, Heard: 3, Generation: 4, Stepped: -5 * time.Second,
				Spans: []ClockSpan{{From: 5, Kind: ClockMeasured, Value: 7 * time.Microsecond, Error: time.Second}}})},
	} {
		want, err := hex.DecodeString(strings.ReplaceAll(tc.want, " ", ""))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(tc.frame, want) {
			t.Errorf("%s:\n got %x\nwant %x", tc.name, tc.frame, want)
		}
		kind, body, err := ReadFrame(bytes.NewReader(append(tc.frame, 1)))
		if err != nil || kind != FrameType(want[4]) || !bytes.Equal(body, want[5:]) {
			t.Errorf("%s: read back as %d, %x, %v", tc.name, kind, body, err)
		}
	}
}

// TestFrameBounds: a length is refused before anything of it is allocated, and a body that ends
// early is an error.
func TestFrameBounds(t *testing.T) {
	head := func(n uint32) []byte { return binary.BigEndian.AppendUint32(nil, n) }
	for n, ok := range map[uint32]bool{0: false, 1: true, MaxFrame: true, MaxFrame + 1: false, 1<<32 - 1: false} {
		got, err := ReadHead(bytes.NewReader(head(n)))
		if ok && (err != nil || got != int(n)) || !ok && !errors.Is(err, ErrFrame) {
			t.Errorf("a body of %d bytes: %d, %v", n, got, err)
		}
	}
	if _, _, err := ReadFrame(bytes.NewReader([]byte{0, 0, 0})); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("half a head: %v", err)
	}
	if _, _, err := ReadFrame(bytes.NewReader(append(head(3), 4, 0))); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("half a body: %v", err)
	}
	if MaxMessage+numberBytes != MaxFrame || MaxFrame != seal.MaxEnvelopeBytes+16 {
		t.Errorf("the largest envelope fits no frame: message %d, frame %d", MaxMessage, MaxFrame)
	}
}

// TestBodiesOfWrongLength: every parser takes exactly its length; ErrFrame otherwise.
func TestBodiesOfWrongLength(t *testing.T) {
	report := AppendClockReport(nil, ClockReport{Sent: 1, Spans: []ClockSpan{{From: 1}}})[5:]
	for _, tc := range []struct {
		name  string
		body  []byte
		min   bool // longer ones are fine
		parse func([]byte) error
	}{
		{"numbered", AppendNumbered(nil, 1, []byte{2, 3})[5:], true, func(b []byte) error { _, err := ParseNumbered(FrameEnvelope, b); return err }},
		{"ack", AppendAck(nil, Ack{1, Accepted, NoReason})[5:], false, func(b []byte) error { _, err := ParseAck(b); return err }},
		{"announce again", AppendReannounce(nil, seal.EpochID{})[5:], false, func(b []byte) error { _, err := ParseDirective(b); return err }},
		{"exceed", AppendExceed(nil, 1)[5:], false, func(b []byte) error { _, err := ParseDirective(b); return err }},
		{"clock answer", AppendClockAnswer(nil, ClockAnswer{1, 2, 3})[5:], false, func(b []byte) error { _, err := ParseClockAnswer(b); return err }},
		{"clock report", report, false, func(b []byte) error { _, err := ParseClockReport(b); return err }},
		{"clock report without spans", AppendClockReport(nil, ClockReport{Sent: 1})[5:], false, func(b []byte) error { _, err := ParseClockReport(b); return err }},
		{"hello", AppendHello(nil, Hello{Version: Version})[5:], true, func(b []byte) error { _, err := ParseHello(FrameHello, b); return err }},
	} {
		if err := tc.parse(tc.body); err != nil {
			t.Errorf("%s: %v", tc.name, err)
		}
		if err := tc.parse(tc.body[:len(tc.body)-1]); !errors.Is(err, ErrFrame) {
			t.Errorf("%s, one byte short: %v", tc.name, err)
		}
		if err := tc.parse(append(bytes.Clone(tc.body), 0)); tc.min && err != nil || !tc.min && !errors.Is(err, ErrFrame) {
			t.Errorf("%s, one byte long: %v", tc.name, err)
		}
		if err := tc.parse(nil); !errors.Is(err, ErrFrame) {
			t.Errorf("%s, nothing: %v", tc.name, err)
		}
	}
	if err := ParseGoodbye(nil); !errors.Is(err, ErrFrame) {
		t.Errorf("empty goodbye: %v", err)
	}
	if _, err := ParseHello(FrameAck, AppendHello(nil, Hello{Version: Version})[5:]); !errors.Is(err, ErrFrame) {
		t.Errorf("a hello in another frame: %v", err)
	}
	if _, err := ParseHello(FrameHello, []byte("VSIN\x01\x00\x00\x00\x00")); !errors.Is(err, ErrFrame) {
		t.Errorf("another protocol's magic: %v", err)
	}
	if d, err := ParseDirective([]byte{77, 1, 2, 3}); err != nil || d != (Directive{}) {
		t.Errorf("a directive of a later version: %+v, %v", d, err)
	}
}

func TestParsed(t *testing.T) {
	h, err := ParseHello(FrameHello, []byte("vsin\x02\x00\x00\x00\x05"))
	if !errors.Is(err, ErrVersion) || h.Version != 2 || h.Idle != 5*time.Millisecond {
		t.Errorf("hello of version 2: %+v, %v", h, err)
	}
	for i, want := range []Outcome{0, Accepted, Duplicate, Retry, Rejected, 0} {
		a, err := ParseAck([]byte{0, 0, 0, 0, 0, 0, 1, 2, byte(i), 3})
		if want == 0 && !errors.Is(err, ErrFrame) || want != 0 && (err != nil || a != Ack{258, want, DoesNotOpen}) {
			t.Errorf("outcome %d: %+v, %v", i, a, err)
		}
	}
	for _, o := range []Outcome{Accepted, Duplicate, Retry, Rejected, 9} {
		want := map[Outcome]string{Accepted: "accepted", Duplicate: "duplicate", Retry: "retry", Rejected: "rejected", 9: "outcome(9)"}[o]
		if o.String() != want {
			t.Errorf("outcome %d is %q", uint8(o), o)
		}
	}
	d, err := ParseDirective(AppendExceed(nil, 9)[5:])
	if err != nil || d.Exceed != 9 || d.Reannounce != nil {
		t.Errorf("exceed: %+v, %v", d, err)
	}
	d, err = ParseDirective(AppendReannounce(nil, seal.EpochID{5})[5:])
	if err != nil || d.Reannounce == nil || *d.Reannounce != (seal.EpochID{5}) || d.Exceed != 0 {
		t.Errorf("announce again: %+v, %v", d, err)
	}
	n, err := ParseNumbered(FrameEnvelope, AppendNumbered(nil, 7, []byte{3, 8, 9})[5:])
	if err != nil || n.Kind != FrameEnvelope || n.Number != 7 || !bytes.Equal(n.Data, []byte{8, 9}) {
		t.Errorf("numbered: %+v, %v", n, err)
	}
	err = ParseGoodbye([]byte{byte(Replaced)})
	var r *Refusal
	if !errors.As(err, &r) || r.Reason != Replaced || !errors.Is(err, ErrRefused) || errors.Is(err, ErrFrame) {
		t.Errorf("goodbye: %v", err)
	}
	if err.Error() != "delivery: refused by the hub: replaced by a newer connection" {
		t.Errorf("goodbye reads %q", err)
	}
	if got := maxReason.String(); got == "" || got == "unknown reason" {
		t.Errorf("the last reason reads %q", got)
	}
	if got := (maxReason + 1).String(); got != "unknown reason" {
		t.Errorf("a later version's reason reads %q", got)
	}
}

// TestMessages: what is in the outbox can be told apart without a key, and what is neither is
// refused.
func TestMessages(t *testing.T) {
	k, err := seal.GenerateRecipientKey()
	if err != nil {
		t.Fatal(err)
	}
	s, announcement, err := seal.NewSealer(k.Recipient(), "spiffe://test.example/sensor/a", 3, 5<<20)
	if err != nil {
		t.Fatal(err)
	}
	at := time.Date(2026, 11, 30, 10, 0, 0, 0, time.UTC)
	_, _, _ = s.Seal(at, []byte("first"))
	envelope, _, err := s.Seal(at, []byte("second"))
	if err != nil {
		t.Fatal(err)
	}
	m, err := ParseMessage(EncodeAnnouncement(announcement))
	if want := (Message{Announcement: true, Signal: 3, Epoch: s.Epoch()}); err != nil || m != want {
		t.Errorf("announcement: %+v, %v", m, err)
	}
	m, err = ParseMessage(EncodeEnvelope(envelope))
	if want := (Message{Signal: 3, Epoch: s.Epoch(), Seq: 1, Start: at}); err != nil || m != want {
		t.Errorf("envelope: %+v, %v", m, err)
	}
	for _, data := range [][]byte{nil, {byte(FrameAnnouncement)}, EncodeAnnouncement(envelope), EncodeEnvelope(announcement[:20]), {77, 1}} {
		if m, err := ParseMessage(data); !errors.Is(err, ErrFrame) || m != (Message{}) {
			t.Errorf("%d bytes: %+v, %v", len(data), m, err)
		}
	}
}
