package ingest_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"vitalseal/internal/hub/access"
	"vitalseal/internal/hub/archive"
	"vitalseal/internal/hub/channel"
	"vitalseal/internal/hub/directory"
	"vitalseal/internal/hub/ingest"
	"vitalseal/internal/hub/store"
	"vitalseal/internal/measurement/vitals"
	"vitalseal/internal/patient/uplink"
	"vitalseal/internal/shared/audit"
	"vitalseal/internal/way/delivery"
	"vitalseal/internal/way/outbox"
	"vitalseal/internal/way/overlay"
	"vitalseal/internal/way/seal"
)

const domain = "test.vitalseal.internal"

// patience bounds waiting for something to happen; it is no measurement.
const patience = 2 * time.Minute

var quiet = slog.New(slog.DiscardHandler)

// memory is a store in memory that can be told to fail, and says what happened.
type memory struct {
	mu            sync.Mutex
	chunks        map[string]vitals.Chunk
	doubled       int
	announcements map[string][]byte
	newest        map[string]seal.Epoch
	starts        map[string]delivery.Start
	seen          time.Time // of every device
	troubles      []string
	gaps          []archive.Gap
	answer        func(archive.Arrival) (delivery.Outcome, error) // nil: stores
	changed       chan struct{}                                   // closed and renewed at each chunk
}

func newMemory() *memory {
	return &memory{chunks: map[string]vitals.Chunk{}, announcements: map[string][]byte{}, newest: map[string]seal.Epoch{}, starts: map[string]delivery.Start{}, changed: make(chan struct{})}
}

// Hand settles from another goroutine, as the real store does.
func (m *memory) Hand(_ context.Context, _ access.Grant, a archive.Arrival, settled func(delivery.Outcome, string, error)) {
	go func() { settled(m.take(a)) }()
}

func (m *memory) take(a archive.Arrival) (delivery.Outcome, string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.answer != nil {
		if o, err := m.answer(a); o != 0 {
			return o, "told so", err
		}
	}
	key := fmt.Sprintf("%s %d %s %d", a.Sensor, a.Header.Signal, a.Header.Epoch.ID, a.Header.Seq)
	if _, ok := m.chunks[key]; ok {
		return delivery.Duplicate, "", nil
	}
	m.chunks[key] = a.Chunk
	close(m.changed)
	m.changed = make(chan struct{})
	return delivery.Accepted, "", nil
}

func (m *memory) SaveAnnouncement(_ context.Context, sensor string, of delivery.Start, e seal.Epoch, _ uint8, a []byte) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	newest, seen := m.newest[sensor]
	if old, ok := m.announcements[sensor+e.ID.String()]; ok && bytes.Equal(old, a) {
		return nil
	} else if of.Boot != 0 && e.Boot() > of.Boot {
		return directory.ErrEpochJump
	} else if ok || of.Boot == 0 && seen && e != newest && e.Number <= newest.Number {
		return store.ErrConflict
	}
	if !seen || e.Number > newest.Number {
		m.newest[sensor] = e
	}
	m.announcements[sensor+e.ID.String()] = a
	return nil
}

// TakeStart lets the newest run in. What the real store does beyond that is tested with it.
func (m *memory) TakeStart(_ context.Context, sensor string, st delivery.Start, anyway bool) (directory.StartVerdict, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	newest := m.starts[sensor]
	v := directory.StartVerdict{Newest: newest, Highest: newest.Boot, Seen: m.seen}
	if older := st.Boot < newest.Boot || st.Boot == newest.Boot && st.Instance != newest.Instance; older && !anyway {
		return v, nil
	} else {
		v.Taken, v.Older, v.Newest = true, older, st
	}
	m.starts[sensor] = st
	return v, nil
}

func (m *memory) Announcement(_ context.Context, sensor string, id seal.EpochID) ([]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	a, ok := m.announcements[sensor+id.String()]
	if !ok {
		return nil, store.ErrNotFound
	}
	return a, nil
}

func (m *memory) NoteTrouble(_ context.Context, sensor, text string, _ time.Time) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.troubles = append(m.troubles, sensor+" "+text)
	return nil
}

func (m *memory) NoteAlert(context.Context, string, string, time.Time) error { return nil }

func (m *memory) TouchDevice(context.Context, string) error { return nil }

func (m *memory) AppendEntries(ctx context.Context, g access.Grant, channel int64, entries []channel.Entry) ([]channel.Entry, error) {
	for i := range entries {
		var err error
		if entries[i], err = m.AppendEntry(ctx, g, channel, entries[i]); err != nil {
			return nil, err
		}
	}
	return entries, nil
}

func (m *memory) AppendEntry(_ context.Context, _ access.Grant, _ int64, e channel.Entry) (channel.Entry, error) {
	e.ID = 1
	return e, nil
}

func (m *memory) SaveGaps(_ context.Context, sensor string, gaps []archive.Gap) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, g := range gaps {
		g.Sensor = sensor
		m.gaps = append(m.gaps, g)
	}
	return nil
}

func (m *memory) count() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.chunks)
}

// await waits until at least n chunks are stored.
func (m *memory) await(t *testing.T, n int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for {
		m.mu.Lock()
		got, changed := len(m.chunks), m.changed
		m.mu.Unlock()
		if got >= n {
			return
		}
		select {
		case <-changed:
		case <-ctx.Done():
			t.Fatalf("%d chunks stored, want %d", got, n)
		}
	}
}

// hub is a server on a loopback network.
type hub struct {
	net      *overlay.Loopback
	key      *seal.RecipientKey
	store    *memory
	server   *ingest.Server
	log      *audit.Log
	mu       sync.Mutex
	inactive map[overlay.ID]bool
	unknown  bool // the inventory does not answer
	alerts   []string
}

func newHub(t testing.TB) *hub {
	t.Helper()
	a, err := overlay.NewAuthority(domain)
	must(t, err)
	h := &hub{net: overlay.NewLoopback(a), store: newMemory(), inactive: map[overlay.ID]bool{}}
	h.key, err = seal.GenerateRecipientKey()
	must(t, err)
	dir := t.TempDir()
	h.log, err = audit.Open(dir, filepath.Join(dir, "key"), quiet)
	must(t, err)
	t.Cleanup(func() { must(t, h.log.Close()) })
	engine, err := access.New(nil, h.log, nil, quiet)
	must(t, err)
	h.server, err = ingest.NewServer(ingest.Config{Store: h.store, Recipient: h.key, Grant: engine.Standing("ingest", access.AppendVitals),
		Active: h.active, Audit: h.log, Log: quiet, Alert: func(sensor string, r delivery.Reason) {
			h.mu.Lock()
			defer h.mu.Unlock()
			h.alerts = append(h.alerts, sensor+" "+r.String())
		}})
	must(t, err)
	ep, err := h.net.Endpoint(overlay.ID{Domain: domain, Kind: overlay.KindHub, Name: "hub"})
	must(t, err)
	ln, err := ep.Listen(t.Context(), overlay.ServiceIngest)
	must(t, err)
	run(t, func(ctx context.Context) error { return h.server.Serve(ctx, ln) })
	return h
}

func (h *hub) active(_ context.Context, id overlay.ID) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.unknown {
		return fmt.Errorf("%w: no inventory", access.ErrUndecided)
	}
	if h.inactive[id] {
		return errors.New("not active")
	}
	return nil
}

// run runs f until the test ends and checks that it then returns nil.
func run(t testing.TB, f func(context.Context) error) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- f(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("ended with %v", err)
		}
	})
	t.Cleanup(stop)
	return stop
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// device is one sensor with its outbox.
type device struct {
	t       testing.TB
	h       *hub
	id      overlay.ID
	q       *outbox.Queue
	sender  *uplink.Sender
	mu      sync.Mutex
	settled []uplink.Settled
	news    chan struct{}
}

func newDevice(t testing.TB, h *hub, name string, options ...uplink.SenderOption) *device {
	t.Helper()
	d := &device{t: t, h: h, id: overlay.ID{Domain: domain, Kind: overlay.KindSensor, Name: name}, news: make(chan struct{}, 1)}
	ep, err := h.net.Endpoint(d.id)
	must(t, err)
	d.q, err = outbox.Open(t.TempDir(), outbox.Options{Logger: quiet})
	must(t, err)
	t.Cleanup(func() { must(t, d.q.Close()) })
	d.sender = uplink.NewSender(ep, d.q, d.q.Lane(name), quiet, append(options, uplink.OnSettled(func(s uplink.Settled) {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.settled = append(d.settled, s)
		select {
		case d.news <- struct{}{}:
		default:
		}
	}))...)
	return d
}

func (d *device) run() (stop func()) { return run(d.t, d.sender.Run) }

// awaitSettled waits until n messages have left the outbox and returns how.
func (d *device) awaitSettled(n int) []uplink.Settled {
	d.t.Helper()
	timeout := time.After(patience)
	for {
		d.mu.Lock()
		got := append([]uplink.Settled(nil), d.settled...)
		d.mu.Unlock()
		if len(got) >= n {
			return got
		}
		select {
		case <-d.news:
		case <-timeout:
			d.t.Fatalf("%d messages settled, want %d", len(got), n)
		}
	}
}

func (d *device) append(class outbox.Class, data ...[]byte) {
	d.t.Helper()
	for _, b := range data {
		must(d.t, d.q.Append(d.t.Context(), outbox.Record{Lane: d.id.Name, Class: class, Data: b}))
	}
}

// stream is an announced epoch.
type stream struct {
	d            *device
	sealer       *seal.Sealer
	announcement []byte
	n            int
}

func (d *device) stream(sensor string, number uint64) *stream {
	d.t.Helper()
	s, a, err := seal.NewSealer(d.h.key.Recipient(), sensor, uint8(vitals.Numerics), number)
	must(d.t, err)
	return &stream{d: d, sealer: s, announcement: delivery.EncodeAnnouncement(a)}
}

func (d *device) announced(number uint64) *stream {
	s := d.stream(d.id.String(), number)
	d.append(outbox.Control, s.announcement)
	return s
}

func bundle(i int) vitals.Chunk {
	at := time.UnixMicro(1_800_000_000_000_000 + int64(i)*1_000_000).UTC()
	return vitals.Chunk{Signal: vitals.Numerics, Start: at, Bundles: []vitals.Bundle{{At: at, Numerics: []vitals.Numeric{vitals.Checked(vitals.HeartRate, 70, vitals.Good)}}}}
}

func (s *stream) next() []byte {
	s.d.t.Helper()
	c := bundle(s.n)
	s.n++
	plain, err := vitals.Encode(c)
	must(s.d.t, err)
	env, _, err := s.sealer.Seal(c.Start, plain)
	must(s.d.t, err)
	return delivery.EncodeEnvelope(env)
}

func (s *stream) send(n int) {
	s.d.t.Helper()
	for range n {
		s.d.append(outbox.Numeric, s.next())
	}
}

func mustEncode(t testing.TB, c vitals.Chunk) []byte {
	t.Helper()
	b, err := vitals.Encode(c)
	must(t, err)
	return b
}
