package demo

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/coder/websocket"

	"vitalseal/internal/patient/sensor/bench"
	"vitalseal/internal/workstation/client"
)

const (
	// settle is how long after its first value a patient's numbers are not judged: the first ones rest on few beats.
	settle = 5 * time.Second
	// lag is the middle of the window that a value sums up; the truth is taken there.
	lag = 4 * time.Second
)

// observer watches all patients as the doctor does and compares what he sees with the simulated truth.
type observer struct {
	client *client.Client
	url    string
	first  chan struct{} // closed at the first number

	doctor signIn
	truth  map[string]*bench.Patient // by patient id; absent for a replayed recording

	mu        sync.Mutex // guards what follows
	hr, spo2  map[string]*meanError
	firstSeen map[string]time.Time
}

// meanError gathers a mean absolute error.
type meanError struct {
	sum float64
	n   int
}

func (m *meanError) add(err float64) { m.sum += math.Abs(err); m.n++ }

// newObserver signs in as the doctor.
func newObserver(ctx context.Context, address string, w *ward, replay string, start time.Time) (*observer, error) {
	c, err := client.New(address)
	if err != nil {
		return nil, err
	}
	doctor := w.signIn("doctor")
	if err := c.SignIn(ctx, doctor.Login, doctor.Password); err != nil {
		return nil, err
	}
	o := &observer{client: c, doctor: doctor, first: make(chan struct{}), truth: map[string]*bench.Patient{},
		hr: map[string]*meanError{}, spo2: map[string]*meanError{}, firstSeen: map[string]time.Time{}}
	q := url.Values{"waveforms": {"none"}}
	for i, p := range w.Patients {
		q.Add("patient", p.ID)
		o.hr[p.ID], o.spo2[p.ID] = &meanError{}, &meanError{}
		if i == 0 && replay != "" {
			continue
		}
		if o.truth[p.ID], err = bench.NewPatient(demoProfile(i, start)); err != nil {
			return nil, fmt.Errorf("demo: %w", err)
		}
	}
	u := c.Base()
	u.Scheme, u.Path, u.RawQuery = "ws", "/api/live", q.Encode()
	o.url = u.String()
	return o, nil
}

// run watches until ctx ends. A lost live view is opened again: the demo's own eyes must not be what fails.
func (o *observer) run(ctx context.Context) error {
	for ctx.Err() == nil {
		if err := o.watch(ctx); err != nil && ctx.Err() == nil {
			select {
			case <-ctx.Done():
			case <-time.After(time.Second):
			}
			// Watching is no use of a session, so this one ends by itself now and then.
			if err := o.client.Do(ctx, http.MethodGet, "/api/session", nil, nil); err != nil {
				_ = o.client.SignIn(ctx, o.doctor.Login, o.doctor.Password) // else in a second
			}
		}
	}
	return o.client.SignOut(context.WithoutCancel(ctx))
}

func (o *observer) watch(ctx context.Context) error {
	conn, _, err := websocket.Dial(ctx, o.url, &websocket.DialOptions{HTTPHeader: o.client.Cookies()}) //nolint:bodyclose // the library closes it
	if err != nil {
		return err
	}
	defer func() { _ = conn.CloseNow() }()
	conn.SetReadLimit(1 << 20)
	for {
		_, b, err := conn.Read(ctx)
		if err != nil {
			return err
		}
		var m struct {
			Type     string `json:"type"`
			Patient  string `json:"patient"`
			Numerics map[string]struct {
				At      time.Time `json:"at"`
				Quality string    `json:"quality"`
				Value   *float64  `json:"value"`
			} `json:"numerics"`
		}
		if err := json.Unmarshal(b, &m); err != nil {
			return err
		}
		if m.Type != "numerics" {
			continue
		}
		for kind, r := range m.Numerics {
			if r.Value != nil && r.Quality == "good" {
				o.judge(m.Patient, kind, r.At, *r.Value)
			}
		}
	}
}

// judge compares one displayed value with the truth.
func (o *observer) judge(patient, kind string, at time.Time, value float64) {
	var sums map[string]*meanError
	o.mu.Lock()
	defer o.mu.Unlock()
	switch kind {
	case "heart_rate_bpm":
		sums = o.hr
	case "spo2_percent":
		sums = o.spo2
	default:
		return
	}
	select {
	case <-o.first:
	default:
		close(o.first)
	}
	if o.firstSeen[patient].IsZero() {
		o.firstSeen[patient] = at
	}
	p := o.truth[patient]
	if p == nil || at.Sub(o.firstSeen[patient]) < settle || sums[patient] == nil {
		return
	}
	truth := p.Truth(at.Add(-lag))
	if kind == "heart_rate_bpm" {
		sums[patient].add(value - float64(truth.HeartRate))
	} else {
		sums[patient].add(value - float64(truth.SpO2))
	}
}

// worst is the largest of the patients' mean absolute errors, and whether every simulated patient has one.
func (o *observer) worst(sums map[string]*meanError) (worst float64, all bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	all = true
	for patient := range o.truth {
		m := sums[patient]
		if m.n == 0 {
			all = false
			continue
		}
		worst = max(worst, m.sum/float64(m.n))
	}
	return worst, all
}
