package sink

import (
	"context"
	"time"
)

// Pass gives every channel that is due its turn, and says when the next one is.
func (e *Engine) Pass(ctx context.Context) time.Time { return e.pass(ctx) }
