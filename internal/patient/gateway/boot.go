package gateway

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"vitalseal/internal/patient/uplink"
	"vitalseal/internal/shared/disk"
	"vitalseal/internal/way/seal"
)

// epochBits and maxBoot are how epochs are numbered.
const (
	epochBits = seal.CountBits
	maxBoot   = seal.MaxBoot
)

// numbering is the boot counter of this run. It is safe for concurrent use.
type numbering struct {
	path string
	run  *uplink.Run
	log  *slog.Logger
	now  atomic.Uint64

	mu     sync.Mutex // makes raises one after the other; guards told
	raised func(from, to uint64)
	told   bool // of a number that cannot be exceeded
}

// exceed raises the counter above a number that the hub names: another run of this gateway counted so far and is gone. It is durable
// before it is used. That it cannot be raised stops nothing: the hub takes this run as it is.
func (n *numbering) exceed(boot uint64) {
	n.mu.Lock()
	defer n.mu.Unlock()
	from := n.now.Load()
	if from > boot {
		return
	}
	if boot >= maxBoot {
		if !n.told {
			n.log.Error("the hub names a number of starts that no gateway can have; this one goes on with its own",
				"number", boot, "hint", "an administrator can repair it: vitalseal identity reset-numbers")
		}
		n.told = true
		return
	}
	if err := disk.Replace(n.path, []byte(strconv.FormatUint(boot+1, 10)+"\n"), true); err != nil {
		n.log.Error("the boot counter was not raised; this gateway goes on with its own", "file", n.path, "err", err)
		return
	}
	n.log.Error("THIS GATEWAY IS A COPY, OR WAS RESTORED FROM A BACKUP: another start with a higher counter has delivered before. It is not seen any more, so this one goes on",
		"boot", from, "now", boot+1, "hint", "make sure that the other one never starts again, and that the sensors are at the patient that the hub shows")
	n.now.Store(boot + 1)
	n.run.Raise(boot + 1)
	n.raised(from, boot+1)
}

// nextBoot raises the boot counter in a file and returns it once it is durable: no epoch may be numbered before. A file
// that does not hold a number is an error, because starting again at 1 would look like a restored backup to the hub.
func nextBoot(path string) (uint64, error) {
	var last uint64
	b, err := os.ReadFile(path) // #nosec G304 -- below the gateway's own folder
	switch {
	case errors.Is(err, os.ErrNotExist):
	case err != nil:
		return 0, fmt.Errorf("gateway: boot counter: %w", err)
	default:
		if last, err = strconv.ParseUint(strings.TrimSpace(string(b)), 10, 64); err != nil || last >= maxBoot {
			return 0, fmt.Errorf("gateway: boot counter: %s does not hold a number below %d; write one above the last it held", path, uint64(maxBoot))
		}
	}
	if err := disk.Replace(path, []byte(strconv.FormatUint(last+1, 10)+"\n"), true); err != nil {
		return 0, fmt.Errorf("gateway: boot counter: %w", err)
	}
	return last + 1, nil
}
