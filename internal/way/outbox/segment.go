package outbox

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
)

// A segment file holds records of one class, so that dropping a class's oldest records is deleting
// a file. It begins with fileMagic and the class; then frames: frameMagic 4, length of the rest 4,
// CRC-32C of the rest 4, id 8, length of the lane 1, lane, data. Big endian. Files are only ever
// appended to, by the process that made them.
const (
	fileMagic   = "VSOB\x01"
	fileHeader  = len(fileMagic) + 1
	frameMagic  = 0x56534652 // "VSFR", so that reading can go on behind a damaged stretch
	frameHeader = 12
	minRest     = 8 + 1 + 1
	maxRest     = 8 + 1 + MaxLaneBytes + MaxDataBytes
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

type segment struct {
	class  Class
	first  uint64 // smallest id it may hold; its name
	file   file
	size   int64
	index  []*entry // in the order of offsets; some may be forgotten already
	gone   []uint64 // ids of records that were acknowledged before Open
	live   int      // unacknowledged records in it
	staged int      // records written but not yet synced and indexed
	held   bool     // it is in memory only
}

// file is what a segment needs of an [os.File]. Tests put failing disks in its place.
type file interface {
	io.ReaderAt
	io.WriterAt
	io.Closer
	Name() string
	Sync() error
	Truncate(size int64) error
}

// disk is the file system, as far as it is written to.
type disk interface {
	Create(path string) (file, error) // a new file; it must not exist
	Remove(path string) error
	Rename(from, to string) error
	SyncDir(dir string) error
}

// osDisk is the operating system's.
type osDisk struct{}

func (osDisk) Create(path string) (file, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600) // #nosec G304 -- our own name
	if err != nil {
		return nil, err // a nil *os.File must not become a file that is not nil
	}
	return f, nil
}

func (osDisk) Remove(path string) error     { return os.Remove(path) }
func (osDisk) Rename(from, to string) error { return os.Rename(from, to) }
func (osDisk) SyncDir(dir string) error     { return syncDir(dir) }

func segmentName(c Class, first uint64) string { return fmt.Sprintf("%016x-%d.seg", first, c) }

func (s *segment) name() string { return segmentName(s.class, s.first) }

func (q *Queue) createSegment(c Class, first uint64) (*segment, error) {
	s := &segment{class: c, first: first, size: int64(fileHeader)}
	var err error
	if s.file, err = q.disk.Create(filepath.Join(q.dir, s.name())); err != nil {
		return nil, err
	}
	_, err = s.file.WriteAt(append([]byte(fileMagic), byte(c)), 0)
	if err == nil {
		err = q.disk.SyncDir(q.dir) // the name must survive before anything in it counts
	}
	if err != nil {
		return nil, errors.Join(err, s.file.Close(), q.disk.Remove(s.file.Name()))
	}
	return s, nil
}

func appendFrame(b []byte, r Record) []byte {
	start := len(b)
	b = append(b, make([]byte, frameHeader)...)
	b = binary.BigEndian.AppendUint64(b, r.ID)
	b = append(append(b, byte(len(r.Lane))), r.Lane...) // #nosec G115 -- Append checked it
	b = append(b, r.Data...)
	rest := b[start+frameHeader:]
	binary.BigEndian.PutUint32(b[start:], frameMagic)
	binary.BigEndian.PutUint32(b[start+4:], uint32(len(rest))) // #nosec G115 -- at most maxRest
	binary.BigEndian.PutUint32(b[start+8:], crc32.Checksum(rest, castagnoli))
	return b
}

func frameLen(r Record) int64 { return int64(frameHeader + 8 + 1 + len(r.Lane) + len(r.Data)) }

// parseFrame reads the frame at the front of b. n is its whole length.
func parseFrame(b []byte) (r Record, n int, ok bool) {
	if len(b) < frameHeader+minRest || binary.BigEndian.Uint32(b) != frameMagic {
		return r, 0, false
	}
	length := binary.BigEndian.Uint32(b[4:])
	if length < minRest || length > maxRest || int(length) > len(b)-frameHeader {
		return r, 0, false
	}
	rest := b[frameHeader : frameHeader+int(length)]
	if crc32.Checksum(rest, castagnoli) != binary.BigEndian.Uint32(b[8:]) {
		return r, 0, false
	}
	lane := int(rest[8])
	if lane == 0 || 9+lane > len(rest) {
		return r, 0, false
	}
	r = Record{ID: binary.BigEndian.Uint64(rest), Lane: string(rest[9 : 9+lane]), Data: rest[9+lane:]}
	return r, frameHeader + int(length), true
}

// scan finds every whole frame of a segment's bytes, and how many damaged stretches lie between and
// behind them.
func scan(b []byte, found func(r Record, offset int64, length int)) (damaged int) {
	within := false
	for at := 0; at < len(b); {
		r, n, ok := parseFrame(b[at:])
		if ok {
			found(r, int64(at), n)
			at += n
			within = false
			continue
		}
		if !within {
			within = true
			damaged++
		}
		at++
	}
	return damaged
}

func (s *segment) read(e *entry) (Record, error) {
	b := make([]byte, e.length)
	if _, err := s.file.ReadAt(b, e.offset); err != nil {
		return Record{}, err
	}
	r, _, ok := parseFrame(b)
	if !ok || r.ID != e.id {
		return Record{}, errors.New("checksum does not match")
	}
	r.Class = s.class
	return r, nil
}

func syncDir(dir string) error {
	d, err := os.Open(dir) // #nosec G304 -- the caller's folder
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
