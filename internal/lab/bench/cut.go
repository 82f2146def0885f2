// Package bench measures the running system with its real parts, for `vitalseal bench`: how long it takes until a
// revocation has cut what it must cut.
//
// It hides the deployment that it needs: the embedded overlay in a child process, a hub in this one, components and people.
// It guarantees that whatever it started has ended when a measurement returns, that nothing outside its folder is touched,
// and that it measures what happens from outside: the time at which a connection's other end sees it broken, and at which an
// attempt is refused, never what the hub believes. It is for a machine that does nothing else meanwhile; it does not protect
// against a busy one, which shows in the higher quantiles.
package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"

	"vitalseal/internal/way/overlay"
	"vitalseal/internal/way/overlay/manage"
	"vitalseal/internal/way/overlay/openziti"
)

const (
	domain = "measure.vitalseal.internal"
	// patience bounds waiting for something that must happen; a cut that takes longer is a failure.
	patience = 30 * time.Second
	// startPatience bounds the start of the overlay and the hub.
	startPatience = 90 * time.Second
)

// Config says what to measure with.
type Config struct {
	Exe      string   // the vitalseal binary, for the overlay's child process
	NodeArgs []string // its arguments before the folder
	Dir      string   // an empty folder
	Trials   int      // of each kind; at least 1
	Progress io.Writer
	Log      *slog.Logger
}

// ErrNoCut says that a revocation did not cut within half a minute.
var ErrNoCut = errors.New("measure: the revocation did not cut")

// bench is one run of Cut.
type bench struct {
	cfg     Config
	network *openziti.Network
	dir     string
	admin   *manage.Admin
	report  CutReport
}

// RunCut measures the time to cut for every kind of revocation. It takes some seconds for each ten trials.
func RunCut(ctx context.Context, cfg Config) (report CutReport, err error) {
	if cfg.Trials < 1 {
		return report, errors.New("measure: at least one trial")
	}
	ctx, cancel := context.WithCancel(ctx)
	b := &bench{cfg: cfg, network: openziti.NewNetwork(cfg.Log), dir: filepath.Join(cfg.Dir, "overlay"), report: CutReport{Trials: cfg.Trials}}
	ended := make(chan error, 1)
	go func() {
		ended <- overlay.Supervise(ctx, overlay.SuperviseConfig{Exe: cfg.Exe, Args: append(append([]string{}, cfg.NodeArgs...), b.dir), Dir: b.dir, Log: cfg.Log})
	}()
	defer func() {
		cancel()
		err = errors.Join(err, <-ended)
	}()
	b.say("starting the overlay")
	if err := os.MkdirAll(b.dir, 0o700); err != nil {
		return report, fmt.Errorf("measure: %w", err)
	}
	startCtx, started := context.WithTimeout(ctx, startPatience)
	err = overlay.WaitReady(startCtx, b.dir)
	started()
	if err != nil {
		return report, fmt.Errorf("measure: %w", err)
	}
	if err := b.withHub(ctx); err != nil {
		return b.report, err
	}
	return b.report, b.withoutHub(ctx)
}

func (b *bench) say(format string, args ...any) {
	if b.cfg.Progress != nil {
		fmt.Fprintf(b.cfg.Progress, format+"\n", args...)
	}
}

// trial is one revocation: what it cuts, and how it is taken back.
type trial struct {
	open   func() error // waits for the end of an open connection; nil: this kind has none
	dial   func() error // tries a new one; nil error: it got through
	revoke func(ctx context.Context) error
	// after takes the revocation back, and cleans up.
	after func(ctx context.Context) error
}

// measure runs a kind's trials.
func (b *bench) measure(ctx context.Context, name string, prepare func(ctx context.Context, n int) (trial, error)) error {
	var opens, dials, tolds []time.Duration
	for n := range b.cfg.Trials {
		if err := ctx.Err(); err != nil {
			return err
		}
		t, err := prepare(ctx, n)
		if err != nil {
			return fmt.Errorf("measure: %s, trial %d: prepare: %w", name, n+1, err)
		}
		open, dial, told, err := t.run(ctx)
		if t.after != nil {
			err = errors.Join(err, t.after(ctx))
		}
		if err != nil {
			return fmt.Errorf("measure: %s, trial %d: %w", name, n+1, err)
		}
		if t.open != nil {
			opens = append(opens, open)
		}
		if t.dial != nil {
			dials, tolds = append(dials, dial), append(tolds, told)
		}
	}
	c := newCut(name, opens, dials, tolds)
	b.report.Cuts = append(b.report.Cuts, c)
	b.say("%-34s open %s; new ones %s, told %s", name, say(c.Open), say(c.Dial), say(c.Told))
	return nil
}

func say(q *Quantile) string {
	if q == nil {
		return "-"
	}
	return fmt.Sprintf("p50 %s p99 %s", q.P50.Round(100*time.Microsecond), q.P99.Round(100*time.Microsecond))
}

// run revokes once and measures: the end of the open connection; the start of the first attempt at a new one that was
// refused; and when that attempt was told so.
func (t trial) run(ctx context.Context) (open, dial, told time.Duration, err error) {
	var wg sync.WaitGroup
	var openErr, dialErr error
	began := time.Now()
	if t.open != nil {
		wg.Go(func() {
			openErr = t.open()
			open = time.Since(began)
		})
	}
	if t.dial != nil {
		wg.Go(func() {
			for {
				started := time.Since(began)
				if started > patience {
					dialErr = fmt.Errorf("%w: new connections get through after %s", ErrNoCut, started)
					return
				}
				if t.dial() != nil {
					dial, told = started, time.Since(began)
					return
				}
			}
		})
	}
	revokeErr := t.revoke(ctx)
	wg.Wait()
	return open, dial, told, errors.Join(revokeErr, openErr, dialErr)
}

// ends waits until the other end of c is gone.
func ends(c net.Conn) error {
	if err := c.SetReadDeadline(time.Now().Add(patience)); err != nil {
		return nil //nolint:nilerr // it is closed already
	}
	var b [256]byte
	for {
		_, err := c.Read(b[:])
		var network net.Error
		if errors.As(err, &network) && network.Timeout() { // OpenZiti's time-outs are not os.ErrDeadlineExceeded
			return fmt.Errorf("%w: the open connection stays", ErrNoCut)
		}
		if err != nil {
			return nil //nolint:nilerr // that is what we wait for
		}
	}
}

// until tries until it works.
func until(ctx context.Context, what string, try func() error) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		err := try()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s: %w", what, err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}
