package ingest

import (
	"context"
	"sync"
	"time"

	"vitalseal/internal/hub/archive"
	"vitalseal/internal/way/delivery"
)

// clockStore is what the server needs of a store that keeps what waits for a clock; *store.Store is one.
type clockStore interface {
	NoteClock(ctx context.Context, sensor string, c archive.Clock) error
	Waiting(ctx context.Context, sensor string) (archive.WaitingChunks, error)
	SettleClock(ctx context.Context, sensor string, x archive.Settlement) (released int, err error)
}

// judgeClock notes what is known of the gateway's clock, says when it is wrong and when it is right again, and settles what waits once
// it is right. It runs in the goroutine that reads; what takes time is done beside it.
func (x *receiver) judgeClock(ctx context.Context, wg *sync.WaitGroup) {
	now := x.clock.now()
	if !now.Known {
		return
	}
	switch wrong := !now.Sure(); {
	case wrong && !x.wrong:
		x.log.Warn(delivery.ClockWords(now.Offset)+"; its readings are shown live, and wait for the chart until the clock is set right or a person settles it",
			"identity", x.sensor, "offset", now.Offset.Round(time.Millisecond).String(), "within", now.Error.Round(time.Millisecond).String())
		x.wrong = true
	case !wrong && x.wrong:
		x.log.Info("the gateway's clock is right again", "identity", x.sensor)
		x.wrong = false
	}
	keeper, ok := x.s.c.Store.(clockStore)
	if !ok || !x.settle.CompareAndSwap(false, true) {
		return
	}
	clock := x.clock
	clock.measured = x.clock.measured.Clone()
	wg.Go(func() {
		defer x.settle.Store(false)
		if err := x.settleClock(ctx, keeper, now, &clock); err != nil && ctx.Err() == nil {
			x.log.Error("what waits for the gateway's clock was not settled; trying again", "identity", x.sensor, "err", err)
		}
	})
}

func (x *receiver) settleClock(ctx context.Context, keeper clockStore, now archive.Clock, clock *peerClock) error {
	if err := keeper.NoteClock(ctx, x.sensor, now); err != nil {
		return err
	}
	if !now.Sure() || !clock.measures {
		return nil
	}
	w, err := keeper.Waiting(ctx, x.sensor)
	if err != nil || w.Chunks == 0 {
		return err
	}
	for _, settlement := range clock.settlements(w.Low, w.High) {
		n, err := keeper.SettleClock(ctx, x.sensor, settlement)
		if err != nil {
			return err
		}
		if n > 0 {
			x.log.Info("the gateway's record of its clock says when these were measured; they are on the chart", "identity", x.sensor, "chunks", n,
				"ahead", settlement.Ahead.Round(time.Millisecond).String())
		}
	}
	return nil
}
