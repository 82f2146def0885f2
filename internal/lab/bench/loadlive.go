package bench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/coder/websocket"

	"vitalseal/internal/patient/gateway"
)

// screen watches patients as a nurse's browser does, and measures how old their newest samples are when they arrive.
type screen struct {
	cancel context.CancelFunc
	done   chan struct{}

	mu       sync.Mutex // guards what follows
	counting bool
	waves    []time.Duration // from a chunk's oldest sample
	numbers  []time.Duration // from a bundle's time
	lagged   int
}

// watch opens the live view.
func (l *load) watch(ctx context.Context) (*screen, error) {
	c, err := l.signIn(ctx, l.fleet.Nurse.Login, l.fleet.Nurse.Password)
	if err != nil {
		return nil, err
	}
	q := url.Values{}
	for _, p := range l.fleet.Patients[:min(observed, l.cfg.Patients)] {
		q.Add("patient", p.ID)
	}
	u := c.Base()
	u.Scheme, u.Path, u.RawQuery = "ws", "/api/live", q.Encode()
	ctx, cancel := context.WithCancel(ctx)
	conn, _, err := websocket.Dial(ctx, u.String(), &websocket.DialOptions{HTTPHeader: c.Cookies()}) //nolint:bodyclose // the library closes it
	if err != nil {
		cancel()
		return nil, fmt.Errorf("measure: live view: %w", err)
	}
	conn.SetReadLimit(1 << 20)
	s := &screen{cancel: cancel, done: make(chan struct{})}
	go func() {
		defer close(s.done)
		defer func() { _ = conn.CloseNow() }()
		refresh := time.NewTicker(2 * time.Minute)
		defer refresh.Stop()
		go func() { // watching is no use of a session
			for {
				select {
				case <-ctx.Done():
					return
				case <-refresh.C:
					c.Refresh(ctx)
				}
			}
		}()
		for {
			_, b, err := conn.Read(ctx)
			if err != nil {
				return
			}
			s.took(b, time.Now())
		}
	}()
	return s, nil
}

// took judges one message.
func (s *screen) took(b []byte, now time.Time) {
	var m struct {
		Type     string    `json:"type"`
		Start    time.Time `json:"start"`
		Numerics map[string]struct {
			At time.Time `json:"at"`
		} `json:"numerics"`
	}
	if json.Unmarshal(b, &m) != nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.counting {
		return
	}
	switch m.Type {
	case "waveform":
		s.waves = append(s.waves, now.Sub(m.Start))
	case "numerics":
		for _, r := range m.Numerics {
			s.numbers = append(s.numbers, now.Sub(r.At))
			break
		}
	case "lagged", "ended":
		s.lagged++
	}
}

func (s *screen) begin() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.counting, s.waves, s.numbers = true, nil, nil
}

func (s *screen) end() *screen {
	s.mu.Lock()
	s.counting = false
	s.mu.Unlock()
	s.cancel()
	<-s.done
	return s
}

// statuses are the gateways' own accounts.
func (l *load) statuses() ([]gateway.Status, error) {
	var all []gateway.Status
	for _, g := range l.fleet.Gateways[:l.gatewayCount()] {
		b, err := os.ReadFile(l.path(g.Name, "status.json"))
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		var st gateway.Status
		if err == nil {
			err = json.Unmarshal(b, &st)
		}
		if err != nil {
			return nil, fmt.Errorf("measure: %s: %w", g.Name, err)
		}
		if st.Time.After(l.began) { // not an earlier run's
			all = append(all, st)
		}
	}
	return all, nil
}

// connected waits until every sensor is connected.
func (l *load) connected(ctx context.Context) error {
	last := -1
	for {
		all, err := l.statuses()
		if err != nil {
			return err
		}
		n := 0
		for _, st := range all {
			for _, s := range st.Sensors {
				if s.Connected {
					n++
				}
			}
		}
		if n >= l.cfg.Patients {
			return nil
		}
		if n/50 != last/50 || last < 0 {
			l.say("%d of %d sensors connected", n, l.cfg.Patients)
			last = n
		}
		if err := l.wait(ctx, time.Second); err != nil {
			return err
		}
	}
}

// diskBytes is what the files below a folder take, sizes rounded up to blocks as the file system has them.
func diskBytes(dir string) (total int64, err error) {
	err = filepath.WalkDir(dir, func(_ string, e os.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		info, err := e.Info()
		if errors.Is(err, os.ErrNotExist) { // a journal that has just gone
			return nil
		}
		if err == nil {
			total += info.Size()
		}
		return err
	})
	return total, err
}

// loopbackBytes is what went over the loopback interface since boot; 0 if it cannot be known.
func loopbackBytes() int64 {
	b, err := os.ReadFile("/proc/net/dev")
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(b)) {
		if rest, ok := strings.CutPrefix(strings.TrimSpace(line), "lo:"); ok {
			if f := strings.Fields(rest); len(f) > 0 {
				n, err := strconv.ParseInt(f[0], 10, 64)
				if err != nil {
					return 0
				}
				return n
			}
		}
	}
	return 0
}
