package outbox

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"time"
)

const (
	// AckDelay is how long after an acknowledgement a crash may still bring the record back, unless
	// Options say otherwise: one more fsync in such a time.
	AckDelay = 5 * time.Second
	// maxAckLog is how large the log of acknowledgements may grow before it is replaced by a list
	// of what still matters.
	maxAckLog = 256 << 10
	// maxUnlogged bounds what waits for a disk that does not take it; the rest comes back after a
	// crash.
	maxUnlogged = 1 << 20

	ackFile    = "acks"
	ackLogFile = "acks.log"
	ackHeader  = 8 // length of the ids 4, CRC-32C of them 4
)

// ackLog is the file that acknowledgements are appended to, so that a crash does not bring back
// more than seconds' worth. It belongs to the queue's writer.
type ackLog struct {
	file    file // nil until there is something to write
	size    int64
	limit   int64
	failing bool
}

func (a *ackLog) close() error {
	if a.file == nil {
		return nil
	}
	err := a.file.Close()
	a.file = nil
	return err
}

// logAcks makes the acknowledgements so far durable. Failing is no disaster, the receiver
// recognises duplicates: it is logged once and tried again.
func (q *Queue) logAcks() {
	q.mu.Lock()
	ids := q.unlogged
	q.unlogged = nil
	q.mu.Unlock()
	if len(ids) == 0 {
		return
	}
	err := q.appendAcks(ids)
	if err == nil && q.log.size > q.log.limit {
		err = q.renewAcks()
	}
	if err == nil {
		q.log.failing = false
		return
	}
	if !q.log.failing {
		q.log.failing = true
		q.opt.Logger.Warn("outbox: acknowledgements not written; after a crash these records will be sent again", "err", err)
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	q.unlogged = append(ids, q.unlogged...)
	q.unlogged = q.unlogged[max(0, len(q.unlogged)-maxUnlogged):]
}

// appendAcks appends one frame and syncs it. After a failure the file is given up, as a segment is.
func (q *Queue) appendAcks(ids []uint64) (err error) {
	a := &q.log
	if a.file == nil {
		path := filepath.Join(q.dir, ackLogFile)
		if err := q.disk.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
		if a.file, err = q.disk.Create(path); err != nil {
			a.file = nil
			return err
		}
		a.size, a.limit = 0, max(a.limit, maxAckLog)
		if err := q.disk.SyncDir(q.dir); err != nil {
			return errors.Join(err, a.close())
		}
	}
	frame := make([]byte, ackHeader, ackHeader+8*len(ids))
	for _, id := range ids {
		frame = binary.BigEndian.AppendUint64(frame, id)
	}
	binary.BigEndian.PutUint32(frame, uint32(8*len(ids))) // #nosec G115 -- at most 8 MiB
	binary.BigEndian.PutUint32(frame[4:], crc32.Checksum(frame[ackHeader:], castagnoli))
	_, err = a.file.WriteAt(frame, a.size)
	if err = errors.Join(err, a.file.Sync()); err != nil {
		// What is in it now is unknown; what was synced before is put into the list.
		return errors.Join(err, q.renewAcks())
	}
	a.size += int64(len(frame))
	return nil
}

// renewAcks writes the list of what still matters and gives the log up.
func (q *Queue) renewAcks() error {
	err := q.log.close()
	q.mu.Lock()
	b := q.ackList()
	q.mu.Unlock()
	q.log.limit = max(maxAckLog, 2*int64(len(b)))
	if err := q.writeChecked(ackFile, b); err != nil {
		return errors.Join(err, fmt.Errorf("outbox: acknowledgements: %w", err))
	}
	if rerr := q.disk.Remove(filepath.Join(q.dir, ackLogFile)); rerr != nil && !errors.Is(rerr, os.ErrNotExist) {
		err = errors.Join(err, rerr)
	}
	return err
}

// ackList are the ids of records that were acknowledged but are in files that are still needed. mu
// is held.
func (q *Queue) ackList() (b []byte) {
	for _, s := range q.segments {
		if s.live == 0 {
			continue // it goes as a whole
		}
		for _, id := range s.gone {
			b = binary.BigEndian.AppendUint64(b, id)
		}
		for _, e := range s.index {
			if q.entries[e.id] != e {
				b = binary.BigEndian.AppendUint64(b, e.id)
			}
		}
	}
	return b
}

// saveAcks keeps, over a clean restart, which records of files that are still needed were
// acknowledged. mu is held.
func (q *Queue) saveAcks() error {
	for _, s := range q.segments {
		if s.live == 0 {
			if err := q.disk.Remove(s.file.Name()); err != nil {
				return fmt.Errorf("outbox: close: %w", err)
			}
		}
	}
	b := q.ackList()
	if len(b) > 0 {
		if err := q.writeChecked(ackFile, b); err != nil {
			return fmt.Errorf("outbox: close: %w", err)
		}
	}
	if err := q.disk.Remove(filepath.Join(q.dir, ackLogFile)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("outbox: close: %w", err)
	}
	return nil
}

// loadAcks reads what was acknowledged. Stale ids do no harm: ids are never used twice.
func (q *Queue) loadAcks() (map[uint64]bool, error) {
	b, err := q.readChecked(ackFile)
	if err != nil {
		return nil, err
	}
	acked := make(map[uint64]bool, len(b)/8)
	add := func(b []byte) {
		for ; len(b) >= 8; b = b[8:] {
			acked[binary.BigEndian.Uint64(b)] = true
		}
	}
	add(b)
	b, err = readBounded(filepath.Join(q.dir, ackLogFile))
	if err != nil {
		return nil, err
	}
	if rest := parseAckLog(b, add); rest > 0 {
		q.opt.Logger.Warn("outbox: the end of the acknowledgements is torn; what it named is sent again", "bytes", rest)
	}
	return acked, nil
}

// parseAckLog calls add with the ids of each whole frame, and returns how many bytes behind them
// are none.
func parseAckLog(b []byte, add func(ids []byte)) (rest int) {
	for len(b) >= ackHeader {
		n := binary.BigEndian.Uint32(b)
		if n == 0 || n%8 != 0 || int64(n) > int64(len(b)-ackHeader) {
			break
		}
		ids := b[ackHeader : ackHeader+int(n)]
		if crc32.Checksum(ids, castagnoli) != binary.BigEndian.Uint32(b[4:]) {
			break
		}
		add(ids)
		b = b[ackHeader+int(n):]
	}
	return len(b)
}
