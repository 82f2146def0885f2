package delivery

import (
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
	"time"

	"vitalseal/internal/measurement/vitals"
	"vitalseal/internal/way/seal"
)

// Gap says of consecutive chunks of one epoch that they will never arrive: a record made at the
// gateway, sealed and delivered as an event of the same sensor, so that a chart shows the hole with
// its reason and the hub's account closes.
type Gap struct {
	Signal      vitals.Signal
	Epoch       seal.EpochID
	First, Last uint64 // sequence numbers
	// From and To are the starts of the first and the last chunk, to the second; To is zero if not
	// known.
	From, To time.Time
	Reason   string // one of the constants
}

// The reasons of a gap.
const (
	GapOutboxFull = "outbox_full" // dropped: the hub was away for longer than the disk share lasts
	GapDiskDamage = "disk_damage" // what was on disk could not be read again
)

// gapCode is the event's code, which simpler gaps (samples lost at the chip) have too.
const gapCode = "gap"

// Count is how many chunks are missing.
func (g Gap) Count() uint64 { return g.Last - g.First + 1 }

// Event is the gap as an event, at its beginning.
func (g Gap) Event() vitals.Event {
	return vitals.Event{At: g.From, Code: gapCode, Detail: fmt.Sprintf("%s %s epoch=%x seq=%d-%d count=%d from=%s to=%s", g.Reason, g.Signal, g.Epoch[:],
		g.First, g.Last, g.Count(), g.From.UTC().Format(time.RFC3339), g.To.UTC().Format(time.RFC3339))}
}

// ParseGap reads an event that Gap.Event made; ok is false for any other.
func ParseGap(e vitals.Event) (g Gap, ok bool) {
	f := strings.Split(e.Detail, " ")
	if e.Code != gapCode || len(f) != 7 || f[0] != GapOutboxFull && f[0] != GapDiskDamage {
		return Gap{}, false
	}
	g.Reason = f[0]
	for s := vitals.Signal(1); s <= vitals.MaxSignal; s++ {
		if s.String() == f[1] {
			g.Signal = s
		}
	}
	keys := [...]string{"epoch=", "seq=", "count=", "from=", "to="}
	for i, k := range keys {
		v, found := strings.CutPrefix(f[2+i], k)
		if !found {
			return Gap{}, false
		}
		f[2+i] = v
	}
	id, err := hex.DecodeString(f[2])
	if err != nil || len(id) != len(g.Epoch) || !g.Signal.Valid() {
		return Gap{}, false
	}
	copy(g.Epoch[:], id)
	first, last, _ := strings.Cut(f[3], "-")
	var errs [5]error
	var count uint64
	g.First, errs[0] = strconv.ParseUint(first, 10, 63)
	g.Last, errs[1] = strconv.ParseUint(last, 10, 63)
	count, errs[2] = strconv.ParseUint(f[4], 10, 64)
	g.From, errs[3] = time.Parse(time.RFC3339, f[5])
	g.To, errs[4] = time.Parse(time.RFC3339, f[6])
	for _, err := range errs {
		if err != nil {
			return Gap{}, false
		}
	}
	if g.Last > seal.MaxSequence || g.First > g.Last || count != g.Count() {
		return Gap{}, false
	}
	return g, true
}
