package gateway

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"sync"

	"vitalseal/internal/measurement/vitals"
	"vitalseal/internal/shared/disk"
	"vitalseal/internal/way/delivery"
	"vitalseal/internal/way/outbox"
)

// maxGaps bounds what gapBook keeps of a sensor; a gateway comes near it only if the outbox takes no records for long.
const maxGaps = 512

// gapBook remembers which chunks will never arrive, from before they are dropped until a record of the gap is durable in the
// outbox, so that not even a kill in between loses the account. It is safe for concurrent use.
type gapBook struct {
	path string
	log  *slog.Logger
	led  *ledger

	mu      sync.Mutex // guards the fields below
	open    map[string][]delivery.Gap
	taken   map[string]int           // by lane: how many of its first gaps are being told, and do not grow any more
	wake    map[string]chan struct{} // by lane, holds a token when there may be something
	failing bool
}

// bookedGap is a gap in the file: as the event that will be sent.
type bookedGap struct {
	Lane  string       `json:"lane"`
	Event vitals.Event `json:"event"`
}

// openGapBook reads what an earlier start did not get to tell.
func openGapBook(path string, led *ledger, log *slog.Logger) (*gapBook, error) {
	b := &gapBook{path: path, log: log, led: led, open: map[string][]delivery.Gap{}, taken: map[string]int{}, wake: map[string]chan struct{}{}}
	text, err := os.ReadFile(path) // #nosec G304 -- below the gateway's own folder
	if errors.Is(err, os.ErrNotExist) {
		return b, nil
	}
	if err != nil {
		return nil, fmt.Errorf("gateway: gaps: %w", err)
	}
	booked, err := parseGapBook(text)
	if err != nil {
		// It is a convenience for the reader of a chart; measuring is more important.
		log.Error("gaps of an earlier start are lost: their file is damaged", "err", err)
	}
	for _, x := range booked {
		g, _ := delivery.ParseGap(x.Event)
		g.From = x.Event.At
		b.add(x.Lane, g)
	}
	return b, nil
}

// parseGapBook reads the file; all or nothing.
func parseGapBook(text []byte) (all []bookedGap, err error) {
	if err := json.Unmarshal(text, &all); err != nil {
		return nil, err
	}
	if len(all) > maxGaps*maxSensors {
		return nil, fmt.Errorf("%d gaps", len(all))
	}
	for _, x := range all {
		if _, ok := delivery.ParseGap(x.Event); !ok || x.Lane == "" || len(x.Lane) > outbox.MaxLaneBytes {
			return nil, errors.New("an entry is not a gap")
		}
	}
	return all, nil
}

// lane is where a lane's writer waits.
func (b *gapBook) lane(id string) <-chan struct{} {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.waker(id)
}

func (b *gapBook) waker(id string) chan struct{} {
	w := b.wake[id]
	if w == nil {
		w = make(chan struct{}, 1)
		b.wake[id] = w
		if len(b.open[id]) > 0 {
			w <- struct{}{}
		}
	}
	return w
}

// dropped is the outbox's OnDrop: consecutive records become one gap.
func (b *gapBook) dropped(recs []outbox.Record) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, r := range recs {
		m, err := delivery.ParseMessage(r.Data)
		if err != nil || m.Announcement {
			continue // damaged: what is whole around it tells
		}
		b.led.dropped(r.Lane, m)
		b.add(r.Lane, delivery.Gap{Signal: vitals.Signal(m.Signal), Epoch: m.Epoch.ID, First: m.Seq, Last: m.Seq, From: m.Start, To: m.Start, Reason: delivery.GapOutboxFull})
	}
	b.save()
}

// damaged is the outbox's OnDamage: what is missing between two chunks of one file is a gap.
func (b *gapBook) damaged(whole []outbox.Record) {
	type stream struct {
		lane   string
		signal uint8
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	last := map[stream]delivery.Message{}
	for _, r := range whole {
		m, err := delivery.ParseMessage(r.Data)
		if err != nil || m.Announcement || m.Signal == uint8(vitals.Events) { // events' gaps are in another file: no hole says anything
			continue
		}
		key := stream{r.Lane, m.Signal}
		if before, ok := last[key]; ok && before.Epoch.ID == m.Epoch.ID && m.Seq > before.Seq+1 {
			b.add(r.Lane, delivery.Gap{Signal: vitals.Signal(m.Signal), Epoch: m.Epoch.ID, First: before.Seq + 1, Last: m.Seq - 1,
				From: before.Start, To: m.Start, Reason: delivery.GapDiskDamage})
		}
		last[key] = m
	}
	b.save()
}

// add joins a gap to the one before it or begins another. mu is held, or b is not shared yet.
func (b *gapBook) add(lane string, g delivery.Gap) {
	list := b.open[lane]
	for i := b.taken[lane]; i < len(list); i++ {
		l := &list[i]
		if l.Signal == g.Signal && l.Epoch == g.Epoch && l.Reason == g.Reason && l.Last+1 == g.First {
			l.Last, l.To = g.Last, g.To
			return
		}
	}
	if len(list) >= maxGaps {
		b.log.Error("too many gaps at once; one is not told", "sensor", lane, "stream", g.Signal.String(), "chunks", g.Count())
		return
	}
	b.open[lane] = append(list, g)
	select {
	case b.waker(lane) <- struct{}{}:
	default:
	}
}

// take hands over a lane's gaps; what comes from now on begins others. They stay in the file until told is called.
func (b *gapBook) take(lane string) []delivery.Gap {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.taken[lane] = len(b.open[lane])
	return slices.Clone(b.open[lane])
}

func (b *gapBook) has(lane string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.open[lane]) > 0
}

// told says that what take gave last is durable in the outbox.
func (b *gapBook) told(lane string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	n := b.taken[lane]
	b.open[lane] = slices.Clone(b.open[lane][n:])
	delete(b.taken, lane)
	b.led.gap(uint64(n)) // #nosec G115 -- a count
	b.save()
}

// pending is how many gaps are not told yet.
func (b *gapBook) pending() (n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, list := range b.open {
		n += len(list)
	}
	return n
}

// save writes the file, durably. mu is held. On a disk that is full to the last byte it may fail; what is to be dropped makes
// room for the next attempt.
func (b *gapBook) save() {
	booked := []bookedGap{}
	for lane, list := range b.open {
		for _, g := range list {
			booked = append(booked, bookedGap{lane, g.Event()})
		}
	}
	text, err := json.Marshal(booked)
	if err == nil {
		err = disk.Replace(b.path, text, true)
	}
	if err != nil && !b.failing {
		b.log.Error("gaps not written down; if this gateway is killed now, they are lost from the record", "err", err)
	}
	b.failing = err != nil
}
