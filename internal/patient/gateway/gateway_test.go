package gateway_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"vitalseal/internal/hub/access"
	"vitalseal/internal/hub/archive"
	"vitalseal/internal/hub/ingest"
	"vitalseal/internal/hub/store"
	"vitalseal/internal/measurement/vitals"
	"vitalseal/internal/patient/gateway"
	"vitalseal/internal/patient/sensor/bench"
	"vitalseal/internal/shared/audit"
	"vitalseal/internal/way/delivery"
	"vitalseal/internal/way/overlay"
	"vitalseal/internal/way/seal"
)

const domain = "test.vitalseal.internal"

const (
	oximeter, adc, cuff = "gw-a-oxi-1", "gw-a-adc-1", "gw-a-cuff-1"
	i2cBus, spiBus      = "bed-1/i2c", "adc-1/spi"
)

var quiet = slog.New(slog.DiscardHandler)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// counting is the real store that also remembers what it was given.
type counting struct {
	*store.Store
	mu       sync.Mutex
	accepted map[chunkKey]int
	chunks   []archive.Arrival
	delay    atomic.Int64 // ns that every chunk takes longer
}

func (c *counting) slow(by time.Duration) { c.delay.Store(int64(by)) }

type chunkKey struct {
	sensor string
	signal uint8
	epoch  seal.EpochID
	seq    uint64
}

func (c *counting) Hand(ctx context.Context, g access.Grant, a archive.Arrival, settled func(delivery.Outcome, string, error)) {
	hand := func() {
		c.Store.Hand(ctx, g, a, func(o delivery.Outcome, reason string, err error) {
			c.note(a, o)
			settled(o, reason, err)
		})
	}
	if d := c.delay.Load(); d > 0 {
		time.AfterFunc(time.Duration(d), hand)
		return
	}
	hand()
}

func (c *counting) note(a archive.Arrival, o delivery.Outcome) {
	c.mu.Lock()
	defer c.mu.Unlock()
	key := chunkKey{a.Sensor, a.Header.Signal, a.Header.Epoch.ID, a.Header.Seq}
	// A Duplicate may be the first that is heard of a chunk, if the connection broke during its commit.
	if o == delivery.Accepted || o == delivery.Duplicate && c.accepted[key] == 0 {
		c.accepted[key]++
		c.chunks = append(c.chunks, a)
	}
}

// arrivals are the accepted chunks of one stream, in the order of their arrival.
func (c *counting) arrivals(sensor string, s vitals.Signal) (got []vitals.Chunk) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, a := range c.chunks {
		if a.Sensor == spiffe(overlay.KindSensor, sensor).String() && a.Chunk.Signal == s {
			got = append(got, a.Chunk)
		}
	}
	return got
}

func spiffe(kind, name string) overlay.ID { return overlay.ID{Domain: domain, Kind: kind, Name: name} }

// ward is a hub with a real store, and a gateway enrolled into a folder.
type ward struct {
	authority *overlay.Authority
	key       *seal.RecipientKey
	store     *counting
	server    *ingest.Server
	restart   func(t *testing.T) // a new server, as after the hub's restart: what is in memory is lost
	grant     access.Grant       // to everything
	data      string
	profile   bench.Profile
}

func newWard(t *testing.T, profile bench.Profile) *ward {
	t.Helper()
	return newWardAt(t, profile, time.Now)
}

// newWardAt is newWard with a hub whose clock is another one than the gateway's.
func newWardAt(t *testing.T, profile bench.Profile, now func() time.Time) *ward {
	t.Helper()
	w := &ward{data: t.TempDir(), profile: profile}
	var err error
	w.authority, err = overlay.NewAuthority(domain)
	must(t, err)
	w.key, err = seal.GenerateRecipientKey()
	must(t, err)
	dir := t.TempDir()
	ks, _, err := seal.OpenFileKeyStore(filepath.Join(dir, "root.key"))
	must(t, err)
	st, err := store.Open(t.Context(), filepath.Join(dir, "store"), ks, quiet, store.WithClock(now))
	must(t, err)
	t.Cleanup(func() { must(t, st.Close()) })
	w.store = &counting{Store: st, accepted: map[chunkKey]int{}}
	trail, err := audit.Open(filepath.Join(dir, "audit"), filepath.Join(dir, "audit.key"), quiet)
	must(t, err)
	t.Cleanup(func() { must(t, trail.Close()) })
	engine, err := access.New(st, trail, nil, quiet)
	must(t, err)
	w.grant = engine.Standing("test", access.Actions()...)
	w.restart = func(t *testing.T) {
		t.Helper()
		w.server, err = ingest.NewServer(ingest.Config{Store: w.store, Recipient: w.key, Grant: engine.Standing("ingest", access.AppendVitals),
			Now: now, Active: func(context.Context, overlay.ID) error { return nil }, Log: quiet})
		must(t, err)
	}
	w.restart(t)
	for _, id := range []overlay.ID{spiffe(overlay.KindGateway, "gw-a"), spiffe(overlay.KindSensor, oximeter),
		spiffe(overlay.KindSensor, adc), spiffe(overlay.KindSensor, cuff)} {
		config, err := json.Marshal(map[string]string{"loopback": id.String()})
		must(t, err)
		identity, err := overlay.IssueIdentity(w.authority, id, config, w.key.Recipient().Bytes(), overlay.MaxSVIDLifetime)
		must(t, err)
		must(t, identity.Save(overlay.IdentityPath(w.data, id)))
	}
	return w
}

func (w *ward) config() gateway.Config {
	c := gateway.Default()
	c.Data = w.data
	c.Sensors = []gateway.Sensor{
		{ID: oximeter, Chip: gateway.ChipMAX30100, Bus: i2cBus},
		{ID: adc, Chip: gateway.ChipMCP3008, Bus: spiBus},
		{ID: cuff, Chip: gateway.ChipMPS20N0040D, ADC: adc, Calibration: w.profile.Calibration()},
	}
	return c
}

func newBench(p bench.Profile) (*bench.Bench, error) {
	return bench.New(bench.Ward(p), bench.Options{})
}

// serve hosts ingest on a network until the test ends or stop is called.
func (w *ward) serve(t *testing.T, ep overlay.Endpoint) (stop func()) {
	t.Helper()
	ln, err := ep.Listen(t.Context(), overlay.ServiceIngest)
	must(t, err)
	return background(t, func(ctx context.Context) error { return w.server.Serve(ctx, ln) })
}

// background runs f until stop is called or the test ends, and checks that it then returns nil.
func background(t *testing.T, f func(context.Context) error) (stop func()) {
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

func readStatus(dir string) (st gateway.Status, err error) {
	b, err := os.ReadFile(filepath.Join(dir, "status.json"))
	if err == nil {
		err = json.Unmarshal(b, &st)
	}
	return st, err
}

// account checks that nothing is doubled and that no sequence number is missing within an epoch.
func (w *ward) account(t *testing.T) (stored int) {
	t.Helper()
	w.store.mu.Lock()
	defer w.store.mu.Unlock()
	count, highest := map[chunkKey]uint64{}, map[chunkKey]uint64{}
	for k, n := range w.store.accepted {
		if n != 1 {
			t.Errorf("%v accepted %d times", k, n)
		}
		stream := k
		stream.seq = 0
		count[stream]++
		highest[stream] = max(highest[stream], k.seq)
	}
	for k, n := range count {
		if n != highest[k]+1 {
			t.Errorf("%s signal %d: %d chunks, but the last sequence number is %d", k.sensor, k.signal, n, highest[k])
		}
	}
	d, err := w.store.Delivery(t.Context())
	must(t, err)
	for _, s := range d.Streams {
		if s.Doubled != 0 || s.Missing != 0 {
			t.Errorf("store says of %s %s: %d doubled, %d missing", s.Sensor, s.Signal, s.Doubled, s.Missing)
		}
		stored += int(s.Chunks)
	}
	if stored != len(w.store.accepted) {
		t.Errorf("%d chunks in the store, %d accepted", stored, len(w.store.accepted))
	}
	return stored
}

// wire is a network over TCP on this machine, so that a gateway can be another process. It serves ingest only.
type wire struct{ address string }

func (w wire) Enrol(context.Context, string) ([]byte, error) { return nil, overlay.ErrTicketInvalid }

func (w wire) Open(context.Context, []byte) (overlay.Underlay, error) { return w, nil }

func (w wire) Dial(ctx context.Context, service string) (net.Conn, error) {
	if service != overlay.ServiceIngest {
		return nil, overlay.ErrUnavailable
	}
	c, err := (&net.Dialer{}).DialContext(ctx, "tcp", w.address)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", overlay.ErrUnavailable, err)
	}
	return c, nil
}

func (w wire) Listen(ctx context.Context, _ string) (net.Listener, error) {
	return (&net.ListenConfig{}).Listen(ctx, "tcp", w.address)
}

func (w wire) Close() error { return nil }

// eventually waits until f is true.
func eventually(t *testing.T, what string, f func() bool) {
	t.Helper()
	deadline := time.Now().Add(3 * time.Minute)
	for !f() {
		if time.Now().After(deadline) {
			t.Fatalf("not within three minutes: %s", what)
		}
		time.Sleep(10 * time.Millisecond)
	}
}
