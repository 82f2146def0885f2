package access

import (
	"context"
	"time"
)

// Explained is a decision without its audit entry, for the benchmark.
func (e *Engine) Explained(ctx context.Context, s Subject, a Action, r Resource) (allowed bool, err error) {
	_, v, err := e.weigh(ctx, s, a, r, time.Now())
	return v.allowed, err
}
