package outbox

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

const (
	// idBlock is how many ids are reserved on disk at once: one fsync for so many records, and so
	// many ids skipped at most by a crash.
	idBlock = 1 << 20
	idFile  = "ids"
)

// recover reads what is on disk. It never appends to a file it found: a torn end stays torn and is
// passed over.
func (q *Queue) recover() error {
	names, err := filepath.Glob(filepath.Join(q.dir, "*.seg"))
	if err != nil {
		return err
	}
	slices.Sort(names) // by first id
	acked, err := q.loadAcks()
	if err != nil {
		return err
	}
	for _, path := range names {
		if err := q.recoverSegment(path, acked); err != nil {
			return err
		}
	}
	q.sortLanes()
	reserved, err := q.loadReserved()
	if err != nil {
		return err
	}
	q.next = max(q.next, reserved)
	for id := range acked { // should the ids be damaged: a number that counts as acknowledged must not be given out again
		q.next = max(q.next, id+1)
	}
	q.reserved = q.next
	for _, s := range slices.Clone(q.segments) {
		q.sweep(s)
	}
	// What was acknowledged in vain lives on in the list; the log begins anew with the first
	// acknowledgement.
	if _, err := os.Stat(filepath.Join(q.dir, ackLogFile)); err == nil {
		if err := q.renewAcks(); err != nil {
			q.opt.Logger.Warn("outbox: acknowledgements not written; after a crash these records will be sent again", "err", err)
		}
	}
	// The bound may have been made smaller.
	if _, err := q.makeRoom(0, Event); err != nil {
		return err
	}
	return nil
}

func (q *Queue) recoverSegment(path string, acked map[uint64]bool) error {
	first, class, ok := parseSegmentName(filepath.Base(path))
	if !ok {
		q.opt.Logger.Warn("outbox: file left alone, its name is not ours", "file", filepath.Base(path))
		return nil
	}
	f, err := os.Open(path) // #nosec G304 -- found in our own folder
	if err != nil {
		return err
	}
	b, err := io.ReadAll(io.LimitReader(f, maxChecked))
	if err != nil {
		return errors.Join(err, f.Close())
	}
	s := &segment{class: class, first: first, file: f, size: int64(len(b))}
	q.segments = append(q.segments, s)
	q.bytes += s.size
	if len(b) < fileHeader || string(b[:len(fileMagic)]) != fileMagic || b[len(fileMagic)] != byte(class) {
		q.opt.Logger.Warn("outbox: file's beginning is damaged; whatever is whole in it is kept", "file", s.name())
		q.stats.Corrupt++
	}
	damaged := scan(b[min(fileHeader, len(b)):], func(r Record, offset int64, length int) {
		q.next = max(q.next, r.ID+1)
		if acked[r.ID] {
			s.gone = append(s.gone, r.ID)
		}
		if acked[r.ID] || q.entries[r.ID] != nil {
			return
		}
		e := &entry{id: r.ID, lane: q.lane(r.Lane), seg: s, offset: int64(fileHeader) + offset, length: length}
		q.remember(e)
	})
	if damaged > 0 {
		// One at the end is what a crash in the middle of a write leaves: its writer was never told
		// that it is stored.
		q.opt.Logger.Warn("outbox: damaged stretches passed over", "file", s.name(), "stretches", damaged)
		q.stats.Corrupt += uint64(damaged)
		q.damaged(s, b)
	}
	return nil
}

// damaged tells of what is whole in a damaged file, whose bytes are b.
func (q *Queue) damaged(s *segment, b []byte) {
	var whole []Record
	scan(b[min(fileHeader, len(b)):], func(r Record, _ int64, _ int) {
		r.Class = s.class
		whole = append(whole, r)
	})
	q.opt.OnDamage(whole)
}

func parseSegmentName(name string) (first uint64, c Class, ok bool) {
	base, ok := strings.CutSuffix(name, ".seg")
	id, class, found := strings.Cut(base, "-")
	if !ok || !found || len(id) != 16 || len(class) != 1 {
		return 0, 0, false
	}
	first, err := strconv.ParseUint(id, 16, 64)
	c = Class(class[0] - '0')
	return first, c, err == nil && c >= Waveform && c <= Control
}

// takeID gives the next record's id; ids are never used twice, whatever files have gone since.
func (q *Queue) takeID() (uint64, error) {
	if q.next >= q.reserved {
		if err := q.writeChecked(idFile, binary.BigEndian.AppendUint64(nil, q.next+idBlock)); err != nil {
			return 0, err
		}
		q.reserved = q.next + idBlock
	}
	q.next++
	return q.next - 1, nil
}

func (q *Queue) loadReserved() (uint64, error) {
	b, err := q.readChecked(idFile)
	if err != nil || len(b) != 8 {
		return 1, err // none yet, or damaged: what the files say has to do
	}
	return binary.BigEndian.Uint64(b), nil
}

// writeChecked writes a small file with a checksum so that it is there whole or not at all,
// durably.
func (q *Queue) writeChecked(name string, data []byte) (err error) {
	path := filepath.Join(q.dir, name)
	if err := q.disk.Remove(path + ".new"); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	f, err := q.disk.Create(path + ".new")
	if err != nil {
		return err
	}
	_, err = f.WriteAt(append(binary.BigEndian.AppendUint32(nil, crc32.Checksum(data, castagnoli)), data...), 0)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := q.disk.Rename(path+".new", path); err != nil {
		return err
	}
	return q.disk.SyncDir(q.dir)
}

// maxChecked bounds what is read of one file.
const maxChecked = 64 << 20

// readChecked gives nil for a file that is absent or damaged; the latter is reported.
func (q *Queue) readChecked(name string) ([]byte, error) {
	b, err := readBounded(filepath.Join(q.dir, name))
	if err != nil || b == nil {
		return nil, err
	}
	if len(b) < 4 || crc32.Checksum(b[4:], castagnoli) != binary.BigEndian.Uint32(b) {
		q.opt.Logger.Warn("outbox: file is damaged and ignored", "file", name)
		q.stats.Corrupt++
		return nil, nil
	}
	return b[4:], nil
}

// readBounded gives nil for a file that is absent.
func readBounded(path string) ([]byte, error) {
	f, err := os.Open(path) // #nosec G304 -- our own name
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	b, err := io.ReadAll(io.LimitReader(f, maxChecked))
	if b == nil {
		b = []byte{}
	}
	return b, errors.Join(err, f.Close())
}
