package ingest

import (
	"bytes"
	"container/list"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/maphash"
	"sync"

	"vitalseal/internal/seal"
	"vitalseal/internal/store"
	"vitalseal/internal/vitals"
)

// keptOpeners bounds the epochs whose keys are in memory, about 1 KiB each; the others are read again from the store.
const keptOpeners = 16384

type openerKey struct {
	sensor string
	epoch  seal.EpochID
}

type keptOpener struct {
	key    openerKey
	signal uint8
	opener *seal.Opener
}

// openers keeps the keys of epochs, and the fence: the highest epoch of each stream, which never goes back.
type openers struct {
	s    *Server
	seed maphash.Seed
	// fence makes announcements of one sensor one after the other; sensors share locks.
	fence [64]sync.Mutex

	mu   sync.Mutex // guards the fields below
	kept map[openerKey]*list.Element
	used *list.List // of *keptOpener, the most recently used in front
}

func newOpeners(s *Server) *openers {
	return &openers{s: s, seed: maphash.MakeSeed(), kept: map[openerKey]*list.Element{}, used: list.New()}
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

// fenceName is where a stream's highest epoch is kept, with the store's other secrets: wrapped, so that nobody who can
// write files can lower it.
func fenceName(sensor string, signal uint8) string {
	sum := sha256.Sum256([]byte(sensor)) // ids are longer than names of secrets may be
	return fmt.Sprintf("ingest-epoch.%x.%d", sum[:16], signal)
}

// announce takes an epoch's announcement, step by step. err explains a rejection or retry, for the log.
func (o *openers) announce(ctx context.Context, sensor string, announcement []byte) (Reason, store.Outcome, error) {
	info, err := seal.ParseAnnouncement(announcement)
	if err != nil || !vitals.Signal(info.Signal).Valid() {
		return Malformed, store.Rejected, err
	}
	// It was sealed to us, for this sensor and stream.
	opener, err := seal.OpenAnnouncement(o.s.c.Recipient, announcement, sensor, info.Signal)
	if err != nil {
		return DoesNotOpen, store.Rejected, err
	}
	if opener.Epoch() != info.Epoch {
		return DoesNotOpen, store.Rejected, nil
	}
	lock := &o.fence[maphash.String(o.seed, sensor)%uint64(len(o.fence))]
	lock.Lock()
	defer lock.Unlock()
	// One that we have already is answered so, however old: its backlog may still be on the way.
	old, err := o.s.c.Store.Announcement(ctx, sensor, info.Epoch.ID)
	switch {
	case err == nil && bytes.Equal(old, announcement):
		o.put(openerKey{sensor, info.Epoch.ID}, info.Signal, opener)
		return NoReason, store.Duplicate, nil
	case err == nil:
		return EpochReused, store.Rejected, errors.New("another announcement has this epoch id")
	case !errors.Is(err, store.ErrNotFound):
		return Unavailable, store.Retry, err
	}
	// A new one must be above the highest. The fence is raised before the announcement is stored: if we die in between,
	// the same announcement comes again and finds its own id there.
	name := fenceName(sensor, info.Signal)
	b, err := o.s.c.Store.Secret(ctx, name)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return Unavailable, store.Retry, err
	}
	if err == nil {
		highest, err := parseFence(b)
		if err != nil {
			return Unavailable, store.Retry, err
		}
		if info.Epoch.Number <= highest.Number && info.Epoch != highest {
			return EpochReused, store.Rejected, fmt.Errorf("epoch %d, highest seen is %d", info.Epoch.Number, highest.Number)
		}
	}
	if err := o.s.c.Store.SaveSecret(ctx, name, encodeFence(info.Epoch)); err != nil {
		return Unavailable, store.Retry, err
	}
	if err := o.s.c.Store.SaveAnnouncement(ctx, sensor, info.Epoch, info.Signal, announcement); err != nil {
		return Unavailable, store.Retry, err
	}
	o.put(openerKey{sensor, info.Epoch.ID}, info.Signal, opener)
	return NoReason, store.Accepted, nil
}

func encodeFence(e seal.Epoch) []byte {
	return append(binary.BigEndian.AppendUint64(nil, e.Number), e.ID[:]...)
}

func parseFence(b []byte) (e seal.Epoch, err error) {
	if len(b) != 8+len(e.ID) {
		return e, fmt.Errorf("ingest: fence of %d bytes", len(b))
	}
	e.Number = binary.BigEndian.Uint64(b)
	copy(e.ID[:], b[8:])
	return e, nil
}
