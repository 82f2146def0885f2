package gateway

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"vitalseal/internal/patient/uplink"
)

// maxAside bounds how many rejected messages are kept, each at most delivery.MaxFrame bytes.
const maxAside = 100

// aside keeps what the hub rejected for good, still sealed, for the engineer who looks into it. The first ones are kept: they show
// how it began.
type aside struct {
	dir string
	log *slog.Logger

	mu   sync.Mutex // guards kept
	kept int        // -1: not counted yet
}

func newAside(dir string, log *slog.Logger) *aside { return &aside{dir: dir, log: log, kept: -1} }

func (a *aside) keep(x uplink.Settled) {
	if !x.Rejected() {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if err := a.write(x); err != nil {
		a.log.Error("rejected message not set aside", "sensor", x.Record.Lane, "err", err)
	}
}

func (a *aside) write(x uplink.Settled) error {
	if a.kept < 0 {
		if err := os.MkdirAll(a.dir, 0o700); err != nil {
			return err
		}
		old, err := os.ReadDir(a.dir)
		if err != nil {
			return err
		}
		a.kept = len(old)
	}
	if a.kept >= maxAside {
		return nil
	}
	a.kept++
	name := fmt.Sprintf("%s-%s-%d-%d.msg", time.Now().UTC().Format("20060102T150405"), x.Record.Lane, x.Record.ID, x.Reason)
	return os.WriteFile(filepath.Join(a.dir, name), x.Record.Data, 0o600)
}
