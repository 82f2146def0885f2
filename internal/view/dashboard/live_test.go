package dashboard_test

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/google/go-cmp/cmp"

	"vitalseal/internal/hub/access"
	"vitalseal/internal/hub/channel"
	"vitalseal/internal/hub/store"
	"vitalseal/internal/measurement/vitals"
	"vitalseal/internal/view/api"
	"vitalseal/internal/view/dashboard"
)

func mustURL(t *testing.T, s string) *url.URL {
	t.Helper()
	u, err := url.Parse(s)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

// watch opens a live view as a browser would.
func (b *browser) watch(query string) *websocket.Conn {
	b.w.t.Helper()
	conn, res, err := websocket.Dial(b.w.t.Context(), b.w.server.URL+"/api/live?"+query,
		&websocket.DialOptions{HTTPClient: b.client, HTTPHeader: http.Header{"Origin": {b.w.server.URL}}})
	if err != nil {
		b.w.t.Fatalf("live view: %v (%v)", err, res)
	}
	if res.Body != nil {
		_ = res.Body.Close()
	}
	conn.SetReadLimit(1 << 20)
	b.w.t.Cleanup(func() { _ = conn.CloseNow() })
	return conn
}

type liveMessage struct {
	Type     string
	Reason   string
	Patient  string
	Sensor   string
	Patients []string
	Start    time.Time
	RateHz   float64 `json:"rate_hz"`
	Pulse    []int
	Numerics map[string]struct {
		Quality  string
		Value    *float64
		Disagree bool
		Attempt  *struct{ Why, Cause, Source string }
		Others   []struct {
			Source string
			Value  *float64
		}
	}
}

// next is the next message that is neither a sign of life nor says what is at a bed; ok is false when the connection has ended.
func next(t *testing.T, conn *websocket.Conn) (m liveMessage, ok bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for {
		_, b, err := conn.Read(ctx)
		if err != nil {
			if ctx.Err() != nil {
				t.Fatal("nothing came")
			}
			return liveMessage{}, false
		}
		m = liveMessage{}
		if err := json.Unmarshal(b, &m); err != nil {
			t.Fatal(err)
		}
		if m.Type != "alive" && m.Type != "bedside" {
			return m, true
		}
	}
}

func TestLive(t *testing.T) {
	w := newWard(t)
	conn := w.signedIn("nurse").watch("patient=" + w.ada + "&patient=" + w.emil)
	if m, _ := next(t, conn); m.Type != "hello" || len(m.Patients) != 2 {
		t.Fatalf("first message: %+v", m)
	}
	now := time.Now()
	w.append("b-1", ppg(now, 5, 6, 7)) // not hers
	w.append("a-1", ppg(now, 0, 1000, 65535))
	w.append("a-2", numerics(now, good(vitals.HeartRate, 61), vitals.Absent(vitals.SpO2, vitals.ProbeOff)))

	m, _ := next(t, conn)
	if m.Type != "waveform" || m.Patient != w.ada || m.RateHz != 100 || m.Sensor != sensorOf("a-1") || m.Start.IsZero() {
		t.Fatalf("wave: %+v", m)
	}
	if diff := cmp.Diff([]int{65535, 64535, 0}, m.Pulse); diff != "" {
		t.Errorf("a beat must be a peak (-want +got):\n%s", diff)
	}
	m, _ = next(t, conn)
	if m.Type != "numerics" || m.Patient != w.emil || *m.Numerics["heart_rate_bpm"].Value != 61 {
		t.Fatalf("numerics: %+v", m)
	}
	if r := m.Numerics["spo2_percent"]; r.Value != nil || r.Quality != "probe_off" {
		t.Errorf("absent value: %+v", r)
	}
}

func TestLiveWithoutWaves(t *testing.T) {
	w := newWard(t)
	conn := w.signedIn("nurse").watch("waveforms=none&patient=" + w.ada)
	next(t, conn) // hello
	w.append("a-1", ppg(time.Now(), 1, 2, 3))
	w.append("a-1", numerics(time.Now(), good(vitals.HeartRate, 61)))
	if m, _ := next(t, conn); m.Type != "numerics" {
		t.Errorf("%+v", m)
	}
}

func TestLiveBounds(t *testing.T) {
	w := newWard(t)
	b := w.signedIn("nurse")
	for _, query := range []string{"", "?patient=" + strings.Join(numbered(257), "&patient=")} {
		if status, _ := b.do("GET", "/api/live"+query, nil, nil); status != http.StatusBadRequest {
			t.Errorf("live%.20s: %d", query, status)
		}
	}
	for range 8 {
		b.watch("patient=" + w.ada)
	}
	if status, _ := b.do("GET", "/api/live?patient="+w.ada, nil, nil); status != http.StatusTooManyRequests {
		t.Errorf("ninth live view of one session: %d", status)
	}
	// One more than it may say ends a talkative client.
	conn := w.signedIn("doctor").watch("patient=" + w.ada)
	next(t, conn)
	if err := conn.Write(t.Context(), websocket.MessageText, make([]byte, 4096)); err == nil {
		if m, ok := next(t, conn); ok {
			t.Errorf("a talking client got %+v", m)
		}
	}
}

// TestLiveBoundsOfAWorkstation: one workstation cannot take all live views, no matter who signs in there; others can still watch.
func TestLiveBoundsOfAWorkstation(t *testing.T) {
	w := newWard(t)
	for _, login := range []string{"nurse", "doctor", "nurse", "doctor"} {
		b := w.signedIn(login)
		for range 8 {
			b.watch("waveforms=none&patient=" + w.ada)
		}
	}
	status, body := w.signedIn("nurse").do("GET", "/api/live?patient="+w.ada, nil, nil)
	if status != http.StatusTooManyRequests || !strings.Contains(string(body), "live views of a workstation") {
		t.Errorf("the 33rd live view of a workstation: %d %s", status, body)
	}
	if got := w.engine.QuotaRefusals(); len(got) != 1 || got[0].Quota != "live views of a workstation" || got[0].Count != 1 {
		t.Errorf("refusals: %+v", got)
	}
	w.at("spiffe://test/workstation/other")
	if m, _ := next(t, w.signedIn("nurse").watch("waveforms=none&patient="+w.ada)); m.Type != "hello" {
		t.Errorf("elsewhere: %+v", m)
	}
}

// TestListsAreOneEntry: a list of beds, and a live view of several patients, are one entry of the audit log each, which names them all.
func TestListsAreOneEntry(t *testing.T) {
	w := newWard(t)
	b := w.signedIn("nurse")
	count := func() (n int) {
		all, err := w.trail.Recent(t.Context(), 1000)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range all {
			if e.Action == string(access.ViewPatient) {
				n++
				if !e.Allowed || !slices.Contains(e.Patients, w.ada) || !slices.Contains(e.Patients, w.emil) {
					t.Errorf("%+v", e)
				}
			}
		}
		return n
	}
	if status, body := b.do("GET", "/api/beds", nil, nil); status != http.StatusOK || !strings.Contains(string(body), w.ada) || !strings.Contains(string(body), w.emil) {
		t.Fatal(status, string(body))
	}
	if n := count(); n != 1 {
		t.Errorf("%d entries for a list", n)
	}
	next(t, b.watch("patient="+w.ada+"&patient="+w.emil))
	if n := count(); n != 2 {
		t.Errorf("%d entries after a live view too", n)
	}
}

func numbered(n int) []string {
	out := make([]string, n)
	for i := range out {
		out[i] = strings.Repeat("p", i+1)
	}
	return out
}

func TestSignOutEndsLive(t *testing.T) {
	w := newWard(t)
	b := w.signedIn("nurse")
	conn := b.watch("patient=" + w.ada)
	next(t, conn) // hello
	if status, _ := b.do("DELETE", "/api/session", nil, nil); status != http.StatusNoContent {
		t.Fatal(status)
	}
	if m, _ := next(t, conn); m.Type != "ended" || m.Reason != "signed_out" {
		t.Errorf("%+v", m)
	}
	if m, ok := next(t, conn); ok {
		t.Errorf("goes on with %+v", m)
	}
	w.append("a-1", numerics(time.Now(), good(vitals.HeartRate, 61))) // and no view hears it
}

// TestLostPermissionEndsLive: what changes behind the dashboard's back counts too.
func TestLostPermissionEndsLive(t *testing.T) {
	for name, c := range map[string]struct {
		change func(w *ward) error
		reason string
	}{
		"nurse moved off the ward": {func(w *ward) error { return w.store.SetWards(w.t.Context(), w.nurse, []string{"ward-b"}) }, "permission"},
		"nurse becomes staff":      {func(w *ward) error { return w.store.SetRole(w.t.Context(), w.nurse, access.RoleStaff) }, "permission"},
		"patient discharged":       {func(w *ward) error { return w.store.Discharge(w.t.Context(), w.ada, time.Now()) }, "discharged"},
		"patient moved to a ward": {func(w *ward) error {
			return errors.Join(w.store.Discharge(w.t.Context(), w.bela, time.Now()), w.store.Admit(w.t.Context(), w.ada, "b-1", time.Now()))
		}, "moved"},
		"sessions ended elsewhere": {func(w *ward) error { return w.signin.SignOutAll(w.t.Context(), w.nurse) }, "signed_out"},
		"person disabled":          {func(w *ward) error { return w.store.SetPersonDisabled(w.t.Context(), w.nurse, true) }, "signed_out"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWard(t)
			conn := w.signedIn("nurse").watch("patient=" + w.ada)
			next(t, conn) // hello
			began := time.Now()
			if err := c.change(w); err != nil {
				t.Fatal(err)
			}
			if m, _ := next(t, conn); m.Type != "ended" || m.Reason != c.reason {
				t.Errorf("%+v", m)
			} else if about := c.reason == "discharged" || c.reason == "moved"; about != (m.Patient == w.ada) {
				t.Errorf("the end is said to be about patient %q", m.Patient)
			}
			t.Logf("ended after %v", time.Since(began))
		})
	}
}

// TestLagging: a client that does not read is dropped, and the rest of the ward does not notice.
func TestLagging(t *testing.T) {
	w := newWard(t, store.WithWatchQueue(4))
	slow := w.signedIn("nurse").watch("patient=" + w.ada)
	next(t, slow) // hello, and then nothing is read
	wave := make([]uint16, 4096)
	for i := range wave {
		wave[i] = uint16(i * 13)
	}
	start := time.Now().Add(-time.Hour)
	// Fill the sockets' buffers, however long that takes: either its queue at the store overflows first, and it is told, or a write
	// takes too long.
	for stuck := range 500 {
		w.append("a-1", ppg(start.Add(time.Duration(stuck)*41*time.Second/100), wave...))
	}
	last := ""
	for {
		m, ok := next(t, slow)
		if !ok {
			break
		}
		last = m.Type
	}
	if last != "lagged" && last != "waveform" {
		t.Errorf("the last thing that a slow client hears is %q", last)
	}
	brisk := w.signedIn("doctor").watch("patient=" + w.ada)
	next(t, brisk)
	w.append("a-1", numerics(time.Now(), good(vitals.HeartRate, 61)))
	if m, _ := next(t, brisk); m.Type != "numerics" {
		t.Errorf("%+v", m)
	}
}

// TestFirstLiveViewsOfAWorkstation: when others have taken all live views, a workstation still opens its first ones; and what an
// administrator has set for a workstation counts in place of the configuration.
func TestFirstLiveViewsOfAWorkstation(t *testing.T) {
	w := newWard(t)
	h, err := dashboard.New(dashboard.Config{Store: w.store, Access: w.engine, SignIn: w.signin, Log: slog.New(slog.DiscardHandler), Live: dashboard.LiveBounds{Total: 4},
		Gate: gateOf(t, api.Config{SignIn: w.signin, Workstation: func(*http.Request) string { return *w.station.Load() }})})
	if err != nil {
		t.Fatal(err)
	}
	w.handler, w.server = h, httptest.NewServer(h)
	t.Cleanup(w.server.Close)
	full := func(b *browser, bound string) {
		t.Helper()
		status, body := b.do("GET", "/api/live?patient="+w.ada, nil, nil)
		if status != http.StatusTooManyRequests || !strings.Contains(body, bound) {
			t.Errorf("one more: %d %s, want %s", status, body, bound)
		}
	}
	open := func(b *browser, n int) {
		t.Helper()
		for i := range n {
			if m, _ := next(t, b.watch("waveforms=none&patient="+w.ada)); m.Type != "hello" {
				t.Fatalf("view %d: %+v", i+1, m)
			}
		}
	}
	b := w.signedIn("nurse")
	open(b, 8)
	full(w.signedIn("doctor"), "live views of all")
	w.at("spiffe://test/workstation/ward")
	b = w.signedIn("nurse")
	open(b, 4)
	full(b, "live views of all")
	w.at("spiffe://test/workstation/small")
	if _, err := w.store.SetLimit(t.Context(), channel.Limit{Kind: channel.LimitStation, ID: "spiffe://test/workstation/small", Name: channel.LimitLive, Value: 1}); err != nil {
		t.Fatal(err)
	}
	b = w.signedIn("doctor")
	open(b, 1)
	full(b, "live views of a workstation")
	if persons, stations := h.LiveViews(); stations["spiffe://test/workstation/ward"] != 4 || persons[w.nurse] != 12 {
		t.Errorf("%v %v", persons, stations)
	}
}
