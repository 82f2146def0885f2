package audit

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// errTail is what a visitor answers to a line that may be the torn tail.
var errTail = errors.New("audit: not a whole entry")

// segment is one file of consecutive entries, named by the number of its first.
type segment struct {
	first int64
	path  string
}

const segmentSuffix = ".jsonl"

func createSegment(dir string, first int64) (*os.File, error) {
	path := segmentPath(dir, first)
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL|os.O_APPEND, 0o600) // #nosec G304 -- our own name
	if err != nil {
		return nil, err
	}
	if err := syncDir(dir); err != nil {
		_ = f.Close()       // the first error is the one to report
		_ = os.Remove(path) // it is empty; the next try makes it again
		return nil, err
	}
	return f, nil
}

func segmentPath(dir string, first int64) string {
	return filepath.Join(dir, fmt.Sprintf("%019d%s", first, segmentSuffix))
}

// listSegments finds the segment files in order. A file that only looks like one is an error: only
// the log writes here.
func listSegments(dir string) ([]segment, error) {
	names, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("audit: list segments: %w", err)
	}
	var out []segment
	for _, n := range names {
		number, ok := strings.CutSuffix(n.Name(), segmentSuffix)
		if !ok {
			continue
		}
		first, err := strconv.ParseInt(number, 10, 64)
		if err != nil || len(number) != 19 || first < 0 {
			return nil, fmt.Errorf("%w: %s is not a segment's name", ErrTampered, n.Name())
		}
		out = append(out, segment{first, filepath.Join(dir, n.Name())})
	}
	slices.SortFunc(out, func(a, b segment) int { return int(min(1, max(-1, a.first-b.first))) })
	return out, nil
}

// read calls visit with each whole line of the segment. It returns how many bytes they are, and how
// many bytes of a torn tail follow.
func (s segment) read(visit func(line []byte) error) (good, torn int64, err error) {
	f, err := os.Open(s.path)
	if err != nil {
		return 0, 0, fmt.Errorf("audit: read: %w", err)
	}
	defer f.Close() // nothing was written
	good, torn, err = readLines(f, visit)
	if err != nil && !errors.Is(err, ErrTampered) {
		return 0, 0, fmt.Errorf("audit: read %s: %w", filepath.Base(s.path), err)
	}
	if err != nil {
		return 0, 0, fmt.Errorf("%w (segment %s)", err, filepath.Base(s.path))
	}
	return good, torn, nil
}

// readLines is read's body. What a kill or a power cut can leave behind is an unfinished last line,
// or one of zeros or rubbish: everything from the first line that is not an entry (visit says
// errTail). If a whole entry's worth of lines still follows such a line, it was not a kill.
func readLines(r io.Reader, visit func(line []byte) error) (good, torn int64, err error) {
	br := bufio.NewReaderSize(r, maxLine+1)
	for {
		line, err := br.ReadSlice('\n')
		switch {
		case err == nil:
		case errors.Is(err, io.EOF):
			return good, torn + int64(len(line)), nil
		case errors.Is(err, bufio.ErrBufferFull):
			if torn == 0 {
				torn = int64(len(line))
			} else {
				torn += int64(len(line))
			}
			if torn > tornLimit {
				return 0, 0, fmt.Errorf("%w: a line longer than an entry can be", ErrTampered)
			}
			continue
		default:
			return 0, 0, err
		}
		if torn > 0 {
			if torn += int64(len(line)); torn > tornLimit || looksWhole(line) {
				return 0, 0, fmt.Errorf("%w: unreadable bytes before the end", ErrTampered)
			}
			continue
		}
		switch err := visit(line[:len(line)-1]); {
		case errors.Is(err, errTail):
			torn = int64(len(line))
		case err != nil:
			return 0, 0, err
		default:
			good += int64(len(line))
		}
	}
}

// tornLimit is the most that one interrupted commit can leave behind.
const tornLimit = maxBatch * (maxLine + 1)

// looksWhole reports whether a line after rubbish has the frame of an entry.
func looksWhole(line []byte) bool {
	s := strings.TrimSuffix(string(line), "\n")
	return strings.HasPrefix(s, `{"seq":`) && strings.HasSuffix(s, `"}`)
}

func syncDir(dir string) error {
	d, err := os.Open(dir) // #nosec G304 -- the operator names the folder
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
