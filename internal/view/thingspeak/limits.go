package thingspeak

import (
	"fmt"
	"sync"
	"time"
)

// Limits are how often and how much a channel may be written. What bounds the hub's memory does not depend on them.
type Limits struct {
	UpdateEvery  time.Duration // least time between two updates of a channel; 0: none
	BulkEvery    time.Duration // least time between two bulk updates of a channel; 0: none
	BulkMessages int           // most entries of one bulk update
	QoS          byte          // greatest of MQTT: 0 or 1; with 0 a client must ask for a clean session as well
}

// Generous is the default: as much as the hub can take.
func Generous() Limits { return Limits{BulkMessages: 14_400, QoS: 1} }

// Free are the limits of ThingSpeak's free accounts, Paid those of its paid ones.
func Free() Limits {
	return Limits{UpdateEvery: 15 * time.Second, BulkEvery: 15 * time.Second, BulkMessages: 960}
}

// Paid are the limits of ThingSpeak's paid accounts.
func Paid() Limits {
	return Limits{UpdateEvery: time.Second, BulkEvery: 15 * time.Second, BulkMessages: 14_400}
}

// Profile is the limits of this name: "" or "generous", "thingspeak" (its free accounts), "thingspeak-paid".
func Profile(name string) (Limits, error) {
	switch name {
	case "", "generous":
		return Generous(), nil
	case "thingspeak":
		return Free(), nil
	case "thingspeak-paid":
		return Paid(), nil
	}
	return Limits{}, fmt.Errorf("thingspeak: profile %q is none of generous, thingspeak, thingspeak-paid", name)
}

// mostPaced bounds the channels remembered.
const mostPaced = 16_384

// pace remembers when channels were written last.
type pace struct {
	mu   sync.Mutex // guards last
	last map[paced]time.Time
}

type paced struct {
	channel int64
	bulk    bool
}

func newPace() *pace { return &pace{last: map[paced]time.Time{}} }

// take reports whether a write may happen now, and notes it if so.
func (p *pace) take(channel int64, bulk bool, every time.Duration, now time.Time) bool {
	if every <= 0 {
		return true
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	k := paced{channel, bulk}
	if at, ok := p.last[k]; ok && now.Sub(at) < every && !now.Before(at) {
		return false
	}
	if len(p.last) >= mostPaced {
		for old, at := range p.last {
			if now.Sub(at) >= time.Minute {
				delete(p.last, old)
			}
		}
		if len(p.last) >= mostPaced { // all of them within a minute: rather too early than without bound
			clear(p.last)
		}
	}
	p.last[k] = now
	return true
}

// undo forgets a write that was refused after all.
func (p *pace) undo(channel int64, bulk bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.last, paced{channel, bulk})
}
