package peers

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"vitalseal/internal/lab/bench"
)

// peerTally is what a peer's process counts.
type peerTally struct {
	mu      sync.Mutex // guards what follows
	state   peerState
	latency [peerLongest]int64 // by milliseconds
}

// peerState is a peerTally as its process writes it, twice a second.
type peerState struct {
	At       time.Time    `json:"at"`
	Messages int64        `json:"messages"` // handed out by a gateway, or stored by the program that stores
	Acked    int64        `json:"acked"`    // of what a gateway handed out
	Points   int64        `json:"points"`   // samples (red and infrared are one) and numbers' moments
	Samples  int64        `json:"samples"`  // of these, samples
	Failed   int64        `json:"failed"`   // writes that the database refused
	Why      string       `json:"why,omitempty"`
	Latency  [][2]float64 `json:"latency,omitempty"`
	Ended    bool         `json:"ended"` // nothing will be added
}

// peerLongest in milliseconds is the latency that longer ones count as.
const peerLongest = 20_000

// sent counts a message that was handed out.
func (t *peerTally) sent(points, samples int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.state.Messages++
	t.state.Points += int64(points)
	t.state.Samples += int64(samples)
}

func (t *peerTally) acked() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.state.Acked++
}

// durable counts messages that the database said it has, by the time of their oldest sample.
func (t *peerTally) durable(oldest []time.Time, now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, at := range oldest {
		t.latency[min(max(now.Sub(at).Milliseconds(), 0), peerLongest-1)]++
	}
}

// stored counts messages that are durable.
func (t *peerTally) stored(points int, oldest []time.Time, now time.Time) {
	t.durable(oldest, now)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.state.Messages += int64(len(oldest))
	t.state.Points += int64(points)
}

func (t *peerTally) failed(err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.state.Failed++
	t.state.Why = err.Error()
}

// write puts the state into a file, whole or not at all.
func (t *peerTally) write(path string, ended bool) error {
	t.mu.Lock()
	s := t.state
	for ms, n := range t.latency {
		if n > 0 {
			s.Latency = append(s.Latency, [2]float64{float64(ms + 1), float64(n)})
		}
	}
	t.mu.Unlock()
	s.At, s.Ended = time.Now(), ended
	b, err := json.Marshal(s)
	if err == nil {
		err = os.WriteFile(path+".new", b, 0o600)
	}
	if err == nil {
		err = os.Rename(path+".new", path)
	}
	if err != nil {
		return fmt.Errorf("measure: %w", err)
	}
	return nil
}

// run writes the state until ctx ends.
func (t *peerTally) run(ctx context.Context, path string) error {
	for {
		if err := t.write(path, false); err != nil {
			return err
		}
		if bench.Wait(ctx, 500*time.Millisecond) != nil {
			return nil
		}
	}
}

func readPeerState(path string) (s peerState, err error) {
	b, err := os.ReadFile(path) // #nosec G304 -- below the measurement's own folder
	if errors.Is(err, os.ErrNotExist) {
		return s, nil
	}
	if err == nil {
		err = json.Unmarshal(b, &s)
	}
	if err != nil {
		err = fmt.Errorf("measure: %w", err)
	}
	return s, err
}
