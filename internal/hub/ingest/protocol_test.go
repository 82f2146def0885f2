package ingest_test

import (
	"context"
	"errors"
	"io"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"vitalseal/internal/hub/access"
	"vitalseal/internal/hub/archive"
	"vitalseal/internal/hub/channel"
	"vitalseal/internal/hub/ingest"
	"vitalseal/internal/patient/uplink"
	"vitalseal/internal/way/delivery"
	"vitalseal/internal/way/outbox"
	"vitalseal/internal/way/overlay"
)

// outcomes counts how messages were settled.
func outcomes(settled []uplink.Settled) map[string]int {
	n := map[string]int{}
	for _, s := range settled {
		key := s.Outcome.String()
		if s.Reason != delivery.NoReason {
			key += ": " + s.Reason.String()
		}
		n[key]++
	}
	return n
}

func TestDelivers(t *testing.T) {
	h := newHub(t)
	d := newDevice(t, h, "oxi-1")
	d.announced(1).send(200)
	d.run()
	got := outcomes(d.awaitSettled(201))
	if diff := cmp.Diff(map[string]int{"accepted": 201}, got); diff != "" {
		t.Error(diff)
	}
	if n := h.store.count(); n != 200 {
		t.Errorf("%d chunks stored, want 200", n)
	}
	if n := d.q.Stats().Records; n != 0 {
		t.Errorf("%d records left in the outbox", n)
	}
}

// TestOutage breaks the network again and again while chunks are produced and sent.
func TestOutage(t *testing.T) {
	h := newHub(t)
	d := newDevice(t, h, "oxi-1")
	d.run()
	s := d.announced(1)
	const rounds, each = 5, 40
	for i := range rounds {
		s.send(each / 2)
		h.net.SetDown(true)
		s.send(each / 2)
		h.net.SetDown(false)
		h.store.await(t, (i+1)*each/2) // some progress, so that connections break in different states
	}
	d.awaitSettled(rounds*each + 1)
	if n := h.store.count(); n != rounds*each {
		t.Errorf("%d chunks stored, want %d", n, rounds*each)
	}
	if st := d.sender.Stats(); st.Connects < 2 || st.Rejected != 0 {
		t.Errorf("stats %+v: want several connections and nothing rejected", st)
	}
}

func TestRejects(t *testing.T) {
	flip := func(b []byte) []byte { b[len(b)-1] ^= 1; return b }
	for _, tc := range []struct {
		name string
		make func(d *device, s *stream) []byte
		want delivery.Reason
	}{
		{"flipped bit", func(_ *device, s *stream) []byte { return flip(s.next()) }, delivery.DoesNotOpen},
		{"not an envelope", func(*device, *stream) []byte { return delivery.EncodeEnvelope([]byte("hello")) }, delivery.Malformed},
		{"not a message", func(*device, *stream) []byte { return []byte{99, 1, 2} }, delivery.Malformed},
		{"not a chunk", func(d *device, s *stream) []byte {
			env, _, err := s.sealer.Seal(bundle(0).Start, []byte("not a chunk"))
			must(d.t, err)
			return delivery.EncodeEnvelope(env)
		}, delivery.Malformed},
		{"another start inside", func(d *device, s *stream) []byte {
			plain := mustEncode(d.t, bundle(1))
			env, _, err := s.sealer.Seal(bundle(2).Start, plain)
			must(d.t, err)
			return delivery.EncodeEnvelope(env)
		}, delivery.Mismatch},
		{"announcement for another sensor", func(d *device, _ *stream) []byte {
			return d.stream("spiffe://"+domain+"/sensor/other", 7).announcement
		}, delivery.DoesNotOpen},
		{"epoch number again", func(d *device, _ *stream) []byte { return d.stream(d.id.String(), 5).announcement }, delivery.EpochReused},
		{"epoch number back", func(d *device, _ *stream) []byte { return d.stream(d.id.String(), 4).announcement }, delivery.EpochReused},
		{"chunk of an epoch nobody can announce", func(d *device, _ *stream) []byte { return d.stream(d.id.String(), 9).next() }, delivery.NotAnnounced},
	} {
		t.Run(tc.name, func(t *testing.T) {
			h := newHub(t)
			d := newDevice(t, h, "oxi-1")
			d.run()
			s := d.announced(5)
			s.send(3)
			d.awaitSettled(4)
			d.append(outbox.Numeric, tc.make(d, s))
			s.send(3) // go on behind it
			got := d.awaitSettled(8)
			want := map[string]int{"accepted": 7, "rejected: " + tc.want.String(): 1}
			if diff := cmp.Diff(want, outcomes(got)); diff != "" {
				t.Error(diff)
			}
			if n := h.store.count(); n != 6 {
				t.Errorf("%d chunks stored, want 6", n)
			}
			hubSaw := tc.want != delivery.NotAnnounced && tc.name != "not a message" && tc.name != "not an envelope"
			entries, err := h.log.Recent(t.Context(), 10)
			must(t, err)
			if hubSaw && (len(entries) != 2 || entries[0].Allowed || entries[0].Reason != tc.want.String()) {
				t.Errorf("audit log has %+v, want the standing grant and the rejection", entries)
			}
		})
	}
}

// TestStolenChunk delivers one sensor's chunks as another sensor.
func TestStolenChunk(t *testing.T) {
	h := newHub(t)
	victim, thief := newDevice(t, h, "oxi-1"), newDevice(t, h, "oxi-2")
	victim.run()
	thief.run()
	s := victim.announced(1)
	s.send(1)
	victim.awaitSettled(2)
	thief.append(outbox.Control, s.announcement)
	thief.append(outbox.Numeric, s.next())
	got := outcomes(thief.awaitSettled(2))
	want := map[string]int{"rejected: " + delivery.DoesNotOpen.String(): 1, "rejected: " + delivery.NotAnnounced.String(): 1}
	if diff := cmp.Diff(want, got); diff != "" || h.store.count() != 1 {
		t.Errorf("%d chunks stored, want 1; settled: %s", h.store.count(), diff)
	}
}

func TestReplay(t *testing.T) {
	h := newHub(t)
	d := newDevice(t, h, "oxi-1")
	d.run()
	s := d.announced(1)
	chunk := s.next()
	d.append(outbox.Numeric, chunk, chunk)
	d.append(outbox.Control, s.announcement)
	if diff := cmp.Diff(map[string]int{"accepted": 2, "duplicate": 2}, outcomes(d.awaitSettled(4))); diff != "" {
		t.Error(diff)
	}
}

// TestOlderBacklog delivers an older epoch's chunks after a newer epoch was announced.
func TestOlderBacklog(t *testing.T) {
	h := newHub(t)
	d := newDevice(t, h, "oxi-1")
	d.run()
	old, young := d.announced(1), d.announced(2)
	young.send(2)
	old.send(2)
	d.append(outbox.Control, old.announcement)
	if diff := cmp.Diff(map[string]int{"accepted": 6, "duplicate": 1}, outcomes(d.awaitSettled(7))); diff != "" {
		t.Error(diff)
	}
}

// TestHubForgets makes the hub lose an announcement that it had acknowledged: it asks for it again.
func TestHubForgets(t *testing.T) {
	h := newHub(t)
	d := newDevice(t, h, "oxi-1")
	d.run()
	s := d.announced(1)
	d.awaitSettled(1)
	h.store.mu.Lock()
	clear(h.store.announcements)
	h.store.mu.Unlock()
	h.server.CutSensor(d.id.String()) // drops the key from the server's memory too
	s.send(3)
	if diff := cmp.Diff(map[string]int{"accepted": 4}, outcomes(d.awaitSettled(4))); diff != "" {
		t.Error(diff)
	}
}

func TestStoreFailsForAWhile(t *testing.T) {
	h := newHub(t)
	failures := 7
	h.store.answer = func(archive.Arrival) (delivery.Outcome, error) {
		if failures > 0 {
			failures--
			return delivery.Retry, errors.New("disk full")
		}
		return 0, nil
	}
	d := newDevice(t, h, "oxi-1")
	d.announced(1).send(5)
	d.run()
	if diff := cmp.Diff(map[string]int{"accepted": 6}, outcomes(d.awaitSettled(6))); diff != "" {
		t.Error(diff)
	}
	if st := d.sender.Stats(); st.Retries != 7 {
		t.Errorf("%d retries, want 7", st.Retries)
	}
}

func TestDisabledSensor(t *testing.T) {
	h := newHub(t)
	d, neighbour := newDevice(t, h, "oxi-1"), newDevice(t, h, "oxi-2")
	d.run()
	neighbour.run()
	s, other := d.announced(1), neighbour.announced(1)
	s.send(1)
	d.awaitSettled(2)
	h.mu.Lock()
	h.inactive[d.id] = true
	h.mu.Unlock()
	h.server.CutSensor(d.id.String())
	s.send(5)
	other.send(5)
	neighbour.awaitSettled(6)
	if n := h.store.count(); n > 6 {
		t.Errorf("%d chunks stored, want 6: the disabled sensor delivered", n)
	}
	if n := h.server.Stats().Connections; n > 1 {
		// The disabled one may be in the middle of being refused.
		deadline := time.Now().Add(patience)
		for h.server.Stats().Connections > 1 && time.Now().Before(deadline) {
			time.Sleep(5 * time.Millisecond)
		}
	}
	// Enabled again, its backlog arrives.
	h.mu.Lock()
	delete(h.inactive, d.id)
	h.mu.Unlock()
	d.awaitSettled(7)
}

func TestNewestConnectionWins(t *testing.T) {
	h := newHub(t)
	id := overlay.ID{Domain: domain, Kind: overlay.KindSensor, Name: "oxi-1"}
	ep, err := h.net.Endpoint(id)
	must(t, err)
	var conns []*overlay.Conn
	for range 2 {
		c, err := ep.Dial(t.Context(), overlay.ServiceIngest)
		must(t, err)
		t.Cleanup(func() { _ = c.Close() })
		_, err = c.Write(hello)
		must(t, err)
		_, err = io.ReadFull(c, make([]byte, len(hello)))
		must(t, err)
		conns = append(conns, c)
	}
	must(t, conns[0].SetReadDeadline(time.Now().Add(patience)))
	got, err := io.ReadAll(conns[0])
	if err != nil {
		t.Errorf("the older connection did not end: %v", err)
	}
	if diff := cmp.Diff([]byte{0, 0, 0, 2, 8, byte(delivery.Replaced)}, got); diff != "" {
		t.Error(diff)
	}
	_, err = conns[1].Write([]byte{0, 0, 0, 1, 6})
	must(t, err)
	pong := make([]byte, 5)
	_, err = io.ReadFull(conns[1], pong)
	must(t, err)
	if diff := cmp.Diff([]byte{0, 0, 0, 1, 7}, pong); diff != "" {
		t.Error(diff)
	}
}

// hello is version 1 with an idle timeout of 15 s; both ends send the same.
var hello = []byte{0, 0, 0, 10, 1, 'v', 's', 'i', 'n', 1, 0, 0, 0x3a, 0x98}

func TestRefuses(t *testing.T) {
	later := append([]byte(nil), hello...)
	later[9] = 2
	for _, tc := range []struct {
		name, kind string
		send       []byte
		want       delivery.Reason
	}{
		{"workstation", overlay.KindWorkstation, hello, delivery.WrongKind},
		{"another version", overlay.KindSensor, later, delivery.BadVersion},
		{"garbage", overlay.KindSensor, []byte("GET / HTTP/1.1\r\n\r\n"), delivery.BadFrame},
		{"huge frame after hello", overlay.KindSensor, append(append([]byte(nil), hello...), 0xff, 0xff, 0xff, 0xff), delivery.BadFrame},
		{"unknown frame after hello", overlay.KindSensor, append(append([]byte(nil), hello...), 0, 0, 0, 1, 77), delivery.BadFrame},
	} {
		t.Run(tc.name, func(t *testing.T) {
			h := newHub(t)
			ep, err := h.net.Endpoint(overlay.ID{Domain: domain, Kind: tc.kind, Name: "x"})
			must(t, err)
			c, err := ep.Dial(t.Context(), overlay.ServiceIngest)
			must(t, err)
			defer c.Close()
			_, _ = c.Write(tc.send) // it may be refused before it is read
			must(t, c.SetReadDeadline(time.Now().Add(patience)))
			got, err := io.ReadAll(c)
			must(t, err)
			if len(got) < 6 || got[len(got)-2] != 8 || delivery.Reason(got[len(got)-1]) != tc.want {
				t.Errorf("answer %v, want a goodbye with %v", got, tc.want)
			}
			for h.server.Stats().Ended[tc.want] == 0 {
				if t.Context().Err() != nil {
					t.Fatal("not counted")
				}
				time.Sleep(time.Millisecond)
			}
		})
	}
}

// TestUnknownIsNotInactive: a hub that cannot look an identity up says that it is busy, before the
// hello and on a connection that stands, and not that the identity is not active.
func TestUnknownIsNotInactive(t *testing.T) {
	for _, late := range []bool{false, true} {
		h := newHub(t)
		ep, err := h.net.Endpoint(overlay.ID{Domain: domain, Kind: overlay.KindSensor, Name: "x"})
		must(t, err)
		forget := func() {
			h.mu.Lock()
			h.unknown = true
			h.mu.Unlock()
		}
		if !late {
			forget()
		}
		c, err := ep.Dial(t.Context(), overlay.ServiceIngest)
		must(t, err)
		defer c.Close()
		must(t, c.SetReadDeadline(time.Now().Add(patience)))
		_, _ = c.Write(hello)
		if late {
			answer := make([]byte, len(hello))
			_, err = io.ReadFull(c, answer)
			must(t, err)
			forget()
		}
		got, err := io.ReadAll(c)
		must(t, err)
		if len(got) < 6 || got[len(got)-2] != 8 || delivery.Reason(got[len(got)-1]) != delivery.Busy {
			t.Errorf("late %t: answer %v, want a goodbye with %v", late, got, delivery.Busy)
		}
	}
}

// TestBrokenIsNoBadFrame: a connection that breaks before its hello is whole, or inside a frame, is
// counted and logged as that, and not as a peer that sent what is no frame.
func TestBrokenIsNoBadFrame(t *testing.T) {
	for _, tc := range []struct {
		name, where string
		send        []byte
	}{
		{"before its hello", "before its hello was whole", nil},
		{"inside its hello", "before its hello was whole", hello[:7]},
		{"inside a head", "inside a frame", append(append([]byte(nil), hello...), 0, 0)},
		{"inside a body", "inside a frame", append(append([]byte(nil), hello...), 0, 0, 0, 40, 4, 1)},
		{"before a body", "inside a frame", append(append([]byte(nil), hello...), 0, 0, 0, 40)},
	} {
		t.Run(tc.name, func(t *testing.T) {
			h := newHub(t)
			ep, err := h.net.Endpoint(overlay.ID{Domain: domain, Kind: overlay.KindSensor, Name: "x"})
			must(t, err)
			c, err := ep.Dial(t.Context(), overlay.ServiceIngest)
			must(t, err)
			if len(tc.send) > 0 {
				_, err = c.Write(tc.send)
				must(t, err)
			}
			must(t, c.Close())
			for h.server.Stats().Ended[delivery.Broken] == 0 {
				if t.Context().Err() != nil || h.server.Stats().Ended[delivery.BadFrame] > 0 {
					t.Fatalf("counted as %v", h.server.Stats().Ended)
				}
				time.Sleep(time.Millisecond)
			}
			if n := len(h.server.Stats().Ended); n != 1 {
				t.Errorf("counted as %v", h.server.Stats().Ended)
			}
		})
	}
}

func TestSubmit(t *testing.T) {
	h := newHub(t)
	long, ok := string(make([]byte, 256)), "21.5"
	for _, tc := range []struct {
		name  string
		entry channel.Entry
		want  error
	}{
		{"a field", channel.Entry{Fields: [8]*string{1: &ok}}, nil},
		{"nothing", channel.Entry{}, ingest.ErrEntry},
		{"too long", channel.Entry{Fields: [8]*string{&long}}, ingest.ErrEntry},
		{"status not UTF-8", channel.Entry{Status: "\xff"}, ingest.ErrEntry},
	} {
		t.Run(tc.name, func(t *testing.T) {
			e, err := h.server.Submit(context.Background(), access.Grant{}, 1, tc.entry)
			if !errors.Is(err, tc.want) || tc.want == nil && e.ID != 1 {
				t.Errorf("entry %d, error %v; want %v", e.ID, err, tc.want)
			}
		})
	}
}
