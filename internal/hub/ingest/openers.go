package ingest

import (
	"bytes"
	"container/list"
	"context"
	"errors"
	"sync"

	"vitalseal/internal/hub/directory"
	"vitalseal/internal/hub/store"
	"vitalseal/internal/measurement/vitals"
	"vitalseal/internal/way/delivery"
	"vitalseal/internal/way/seal"
)

// keptOpeners bounds the epochs whose keys are in memory, about 1 KiB each; the others are read again from the store.
const keptOpeners = 16384

// maxStarted is how far a gateway's counter may be above that of the connection, for a moment, before what it sends is a forgery.
const maxStarted = 1024

type openerKey struct {
	sensor string
	epoch  seal.EpochID
}

type keptOpener struct {
	key    openerKey
	signal uint8
	opener *seal.Opener
}

// openers keeps the keys of epochs.
type openers struct {
	s *Server

	mu   sync.Mutex // guards the fields below
	kept map[openerKey]*list.Element
	used *list.List // of *keptOpener, the most recently used in front
}

func newOpeners(s *Server) *openers {
	return &openers{s: s, kept: map[openerKey]*list.Element{}, used: list.New()}
}

// get is the opener of an epoch that was announced, for its stream. Errors: store.ErrNotFound, seal.ErrOpen (also for
// another stream's epoch), the store's.
func (o *openers) get(ctx context.Context, sensor string, id seal.EpochID, signal uint8) (*seal.Opener, error) {
	key := openerKey{sensor, id}
	o.mu.Lock()
	if e, ok := o.kept[key]; ok {
		o.used.MoveToFront(e)
		k := e.Value.(*keptOpener)
		o.mu.Unlock()
		if k.signal != signal {
			return nil, seal.ErrOpen
		}
		return k.opener, nil
	}
	o.mu.Unlock()
	a, err := o.s.c.Store.Announcement(ctx, sensor, id)
	if err != nil {
		return nil, err
	}
	opener, err := seal.OpenAnnouncement(o.s.c.Recipient, a, sensor, signal)
	if err != nil {
		return nil, err
	}
	o.put(key, signal, opener)
	return opener, nil
}

func (o *openers) put(key openerKey, signal uint8, opener *seal.Opener) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if _, ok := o.kept[key]; ok {
		return
	}
	o.kept[key] = o.used.PushFront(&keptOpener{key, signal, opener})
	if o.used.Len() > keptOpeners {
		delete(o.kept, o.used.Remove(o.used.Back()).(*keptOpener).key)
	}
}

// forget drops the keys of a sensor.
func (o *openers) forget(sensor string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for key, e := range o.kept {
		if key.sensor == sensor {
			o.used.Remove(e)
			delete(o.kept, key)
		}
	}
}

// announce takes an epoch's announcement, step by step. err explains a rejection or retry, for the log.
func (o *openers) announce(ctx context.Context, sensor string, of delivery.Start, announcement []byte) (delivery.Reason, delivery.Outcome, error) {
	info, err := seal.ParseAnnouncement(announcement)
	if err != nil || !vitals.Signal(info.Signal).Valid() {
		return delivery.Malformed, delivery.Rejected, err
	}
	// It was sealed to us, for this sensor and stream.
	opener, err := seal.OpenAnnouncement(o.s.c.Recipient, announcement, sensor, info.Signal)
	if err != nil {
		return delivery.DoesNotOpen, delivery.Rejected, err
	}
	if opener.Epoch() != info.Epoch {
		return delivery.DoesNotOpen, delivery.Rejected, nil
	}
	// One that the store has already is answered so, however old: its backlog may still be on the way.
	old, err := o.s.c.Store.Announcement(ctx, sensor, info.Epoch.ID)
	if err == nil && bytes.Equal(old, announcement) {
		o.put(openerKey{sensor, info.Epoch.ID}, info.Signal, opener)
		return delivery.NoReason, delivery.Duplicate, nil
	}
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return delivery.Unavailable, delivery.Retry, err
	}
	// The store takes a new one only if its number can be: of this start or an earlier one, or else above all before it.
	switch err := o.s.c.Store.SaveAnnouncement(ctx, sensor, of, info.Epoch, info.Signal, announcement); {
	case errors.Is(err, directory.ErrEpochJump) && of.Boot != 0 && info.Epoch.Boot()-of.Boot <= maxStarted:
		// A gateway that was told a number to exceed connects anew with it; this was sealed a moment before.
		return delivery.EpochJump, delivery.Retry, err
	case errors.Is(err, directory.ErrEpochJump):
		return delivery.EpochJump, delivery.Rejected, err
	case errors.Is(err, store.ErrConflict):
		return delivery.EpochReused, delivery.Rejected, err
	case err != nil:
		return delivery.Unavailable, delivery.Retry, err
	}
	o.put(openerKey{sensor, info.Epoch.ID}, info.Signal, opener)
	return delivery.NoReason, delivery.Accepted, nil
}
