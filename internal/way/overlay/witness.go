package overlay

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

const (
	// maxWitness bounds a statement about the audit log: a signed checkpoint, proofs of at most 2 x
	// 63 hashes, and what others saw.
	maxWitness = 32 << 10
	// maxSaid bounds what a witness says when it asks.
	maxSaid = 20 << 10
	// waitPatience is how long a witness that waits is kept, or waits, for one answer.
	waitPatience = time.Minute
)

// ErrNoWait means that a hub does not show its log to witnesses that wait: it is of before that, or
// too many wait.
var ErrNoWait = errors.New("overlay: the hub shows no checkpoints before it answers")

// WitnessQuestion is what a component that remembers the first From entries of a hub's audit log
// asks the hub. This package does not look into what else it says.
type WitnessQuestion struct {
	Witness ID // as the connection proved it; set by ServeRenew
	From    int64
	Said    json.RawMessage // at most 20 KiB; empty from a component of before this
}

// CheckpointSource answers what the audit log can state about itself to a component that remembers
// its beginning: a signed checkpoint and the proof that those entries are still its beginning. This
// package does not look into it. An answer is one JSON value of at most 32 KiB and holds no entry
// of the log.
type CheckpointSource func(ctx context.Context, q WitnessQuestion) (json.RawMessage, error)

// FetchCheckpoint asks a hub for its audit log's checkpoint over ServiceRenew. ask says what to ask
// the hub that answers, which is returned. Errors: ErrRefused, ErrUnavailable, ErrPeer, the
// context's.
func FetchCheckpoint(ctx context.Context, ep Endpoint, ask func(hub ID) (WitnessQuestion, error)) (hub ID, statement json.RawMessage, err error) {
	ctx, cancel := context.WithTimeout(ctx, enrolTimeout)
	defer cancel()
	c, err := ep.Dial(ctx, ServiceRenew)
	if err != nil {
		return hub, nil, fmt.Errorf("overlay: checkpoint: %w", err)
	}
	defer func() { _ = c.Close() }()
	stop := context.AfterFunc(ctx, func() { _ = c.Close() })
	defer stop()
	hub = c.Peer()
	q, err := ask(hub)
	if err != nil {
		return hub, nil, fmt.Errorf("overlay: checkpoint: %w", err)
	}
	response, err := askWitness(c, q, false)
	return hub, response.Witness, err
}

// FollowCheckpoints waits at a hub for each checkpoint that it shows before it answers a dangerous
// act, over one connection to a service (ServiceRenew, or one hub's: At), and gives each answer to
// take. Asking for the next tells the hub that this one is kept. It returns the first error:
// ErrNoWait, ErrRefused, ErrUnavailable, ErrPeer, take's, the context's.
func FollowCheckpoints(ctx context.Context, ep Endpoint, service string, ask func(hub ID) (WitnessQuestion, error), take func(hub ID, statement json.RawMessage) error) error {
	dialling, cancel := context.WithTimeout(ctx, enrolTimeout)
	defer cancel()
	c, err := ep.Dial(dialling, service)
	if err != nil {
		return fmt.Errorf("overlay: checkpoint: %w", err)
	}
	defer func() { _ = c.Close() }()
	stop := context.AfterFunc(ctx, func() { _ = c.Close() })
	defer stop()
	hub := c.Peer()
	for ctx.Err() == nil {
		q, err := ask(hub)
		if err != nil {
			return fmt.Errorf("overlay: checkpoint: %w", err)
		}
		late := time.AfterFunc(waitPatience, func() { _ = c.Close() })
		response, err := askWitness(c, q, true)
		late.Stop()
		if err != nil {
			return err
		}
		if err := take(hub, response.Witness); err != nil {
			return err
		}
		if !response.Waits {
			return ErrNoWait
		}
	}
	return fmt.Errorf("overlay: checkpoint: %w", ctx.Err())
}

// askWitness is one question and its answer.
func askWitness(c *Conn, q WitnessQuestion, wait bool) (response renewResponse, err error) {
	if len(q.Said) > maxSaid {
		return response, fmt.Errorf("overlay: checkpoint: %d bytes to say; %d are allowed", len(q.Said), maxSaid)
	}
	if err := writeFrame(c, renewRequest{Version: 1, Kind: frameWitness, From: q.From, Said: q.Said, Wait: wait}); err != nil {
		return response, fmt.Errorf("overlay: checkpoint: %w: %w", ErrUnavailable, err)
	}
	if err := readFrame(c, &response); err != nil {
		return response, fmt.Errorf("overlay: checkpoint: %w: %w", ErrUnavailable, err)
	}
	if err := codeError(response.Error); err != nil {
		return response, fmt.Errorf("overlay: checkpoint: %w", err)
	}
	if len(response.Witness) == 0 || len(response.Witness) > maxWitness {
		return response, fmt.Errorf("overlay: checkpoint: %w: an answer of %d bytes; 1 to %d are allowed", ErrPeer, len(response.Witness), maxWitness)
	}
	return response, nil
}

// answer is the hub's side of FetchCheckpoint, for a peer that was found enabled.
func (source CheckpointSource) answer(ctx context.Context, peer ID, request renewRequest) (json.RawMessage, error) {
	if source == nil {
		return nil, errors.New("overlay: checkpoint: this hub has no audit log to witness")
	}
	if request.From < 0 || len(request.Said) > maxSaid {
		return nil, fmt.Errorf("%w: checkpoint from entry %d, with %d bytes", ErrRefused, request.From, len(request.Said))
	}
	b, err := source(ctx, WitnessQuestion{peer, request.From, request.Said})
	if err != nil {
		return nil, fmt.Errorf("overlay: checkpoint: %w", err)
	}
	if len(b) > maxWitness {
		return nil, fmt.Errorf("overlay: checkpoint: an answer of %d bytes; %d are allowed", len(b), maxWitness)
	}
	return b, nil
}
