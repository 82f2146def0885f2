package overlay

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"
)

// What can be wrong with this machine, and put right on it, is found before a ticket or one of its
// tokens is used up.
var (
	// ErrClock says that this machine's clock is not the hub's: a certificate that is issued now
	// would not be valid here.
	ErrClock = errors.New("overlay: this machine's clock is wrong")
	// ErrNoRoom says that the folder for the identities cannot be written to: a full disk, or a
	// folder of another user.
	ErrNoRoom = errors.New("overlay: the folder cannot be written to")
	// ErrTicketSpent says that the ticket was redeemed, but this machine has no identity of it.
	ErrTicketSpent = errors.New("overlay: the ticket has been used up")
)

const (
	// maxClockError is how far the clock of an enrolling machine may be from the hub's: less than a
	// certificate is backdated.
	maxClockError = backdate - time.Minute
	// reserveBytes is what a component's pending and final identity take on disk, several times
	// over.
	reserveBytes = 64 << 10
	reserveFile  = ".enrol.reserve"
)

// Clock is a Network whose one-time tokens lead to a machine that can be asked for the time before
// they are used.
type Clock interface {
	// Time is the time at the network's controller. It trusts the controller as Enrol does, by the
	// token's signature.
	Time(ctx context.Context, token string) (time.Time, error)
}

// CheckMachine is what Enrol finds out about this machine before it uses up a ticket, for those
// that enrol with a token alone: that one component's keys have room in dir, which is made if need
// be, and that the clock is right. Errors: ErrNoRoom, ErrClock.
func CheckMachine(ctx context.Context, n Network, dir, token string, log *slog.Logger) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("%w: %w", ErrNoRoom, err)
	}
	release, err := reserve(dir, 1)
	if err != nil {
		return fmt.Errorf("%w; the ticket was not used", err)
	}
	release()
	if err := compareClocks(ctx, n, token, log); err != nil {
		return fmt.Errorf("%w; the ticket was not used", err)
	}
	return nil
}

// compareClocks is ErrClock if this machine's clock and the controller's differ too much. Where the
// time cannot be had, the hub compares later.
func compareClocks(ctx context.Context, n Network, token string, log *slog.Logger) error {
	c, ok := n.(Clock)
	if !ok {
		return nil
	}
	asked := time.Now()
	there, err := c.Time(ctx, token)
	if err != nil {
		log.Debug("the overlay does not tell the time", "err", err)
		return nil
	}
	here := time.Now()
	// The answer was made between the two, and is rounded down to a second.
	return clockError(here.Add(-here.Sub(asked)/2), there.Add(500*time.Millisecond))
}

// clockError is ErrClock if two readings of the same moment differ too much.
func clockError(here, there time.Time) error {
	behind := there.Sub(here)
	if behind.Abs() <= maxClockError {
		return nil
	}
	direction := "behind"
	if behind < 0 {
		direction = "ahead of"
	}
	return fmt.Errorf("%w: it is %s %s the overlay's", ErrClock, behind.Abs().Round(time.Second), direction)
}

// reserve takes the room that n components' identities need, as a file, so that a full disk is
// found now. release gives it back; it may be called again.
func reserve(dir string, n int) (release func(), err error) {
	path := filepath.Join(dir, reserveFile)
	release = func() { _ = os.Remove(path) }
	f, err := os.OpenFile(path, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600) // #nosec G304 -- the operator names the folder
	if err == nil {
		_, err = f.Write(make([]byte, n*reserveBytes))
		if err == nil {
			err = f.Sync()
		}
		err = errors.Join(err, f.Close())
	}
	if err != nil {
		release()
		return func() {}, fmt.Errorf("%w: %w", ErrNoRoom, err)
	}
	return release, nil
}
