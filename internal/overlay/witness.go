package overlay

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
)

// maxWitness bounds a statement about the audit log: a signed checkpoint and a proof of at most 2 x 63 hashes.
const maxWitness = 32 << 10

// CheckpointSource answers what the audit log can state about itself to somebody who remembers its first from entries:
// a signed checkpoint and the proof that those entries are still its beginning. This package does not look into it. An
// answer is one JSON value of at most 32 KiB and holds no entry of the log.
type CheckpointSource func(ctx context.Context, from int64) (json.RawMessage, error)

// FetchCheckpoint asks a hub for its audit log's checkpoint over ServiceRenew, for a component that remembers the first entries of that
// hub's log: from says how many (0: none). It gives the hub that answered. Errors: ErrRefused, ErrUnavailable, ErrPeer, the context's.
func FetchCheckpoint(ctx context.Context, ep Endpoint, from func(hub ID) (int64, error)) (hub ID, statement json.RawMessage, err error) {
	ctx, cancel := context.WithTimeout(ctx, enrolTimeout)
	defer cancel()
	c, err := ep.Dial(ctx, ServiceRenew)
	if err != nil {
		return hub, nil, fmt.Errorf("overlay: checkpoint: %w", err)
	}
	defer func() { _ = c.Close() }()
	hub = c.Peer()
	size, err := from(hub)
	if err != nil {
		return hub, nil, fmt.Errorf("overlay: checkpoint: %w", err)
	}
	stop := context.AfterFunc(ctx, func() { _ = c.Close() })
	defer stop()
	if err := writeFrame(c, renewRequest{Version: 1, Kind: frameWitness, From: size}); err != nil {
		return hub, nil, fmt.Errorf("overlay: checkpoint: %w: %w", ErrUnavailable, err)
	}
	var response renewResponse
	if err := readFrame(c, &response); err != nil {
		return hub, nil, fmt.Errorf("overlay: checkpoint: %w: %w", ErrUnavailable, err)
	}
	if err := codeError(response.Error); err != nil {
		return hub, nil, fmt.Errorf("overlay: checkpoint: %w", err)
	}
	if len(response.Witness) == 0 || len(response.Witness) > maxWitness {
		return hub, nil, fmt.Errorf("overlay: checkpoint: %w: an answer of %d bytes; 1 to %d are allowed", ErrPeer, len(response.Witness), maxWitness)
	}
	return hub, response.Witness, nil
}

// answer is the hub's side of FetchCheckpoint, for a peer that was found enabled.
func (source CheckpointSource) answer(ctx context.Context, request renewRequest) (json.RawMessage, error) {
	if source == nil {
		return nil, errors.New("overlay: checkpoint: this hub has no audit log to witness")
	}
	if request.From < 0 {
		return nil, fmt.Errorf("%w: checkpoint from entry %d", ErrRefused, request.From)
	}
	b, err := source(ctx, request.From)
	if err != nil {
		return nil, fmt.Errorf("overlay: checkpoint: %w", err)
	}
	if len(b) > maxWitness {
		return nil, fmt.Errorf("overlay: checkpoint: an answer of %d bytes; %d are allowed", len(b), maxWitness)
	}
	return b, nil
}
