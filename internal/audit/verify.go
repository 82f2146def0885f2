package audit

import (
	"fmt"
	"path/filepath"
	"time"
)

// Verify proves offline that the log in dir is whole: every entry readable, numbered without a hole, and the whole
// sequence what the owner of verifierKey signed. It returns nil, ErrTampered (with what and where), or ErrUnsigned. A
// log that is being written may be verified too.
func Verify(dir, verifierKey string) error {
	// While the log is being written, entries run ahead of the checkpoint. So it is enough that a later checkpoint
	// covers all that the first look saw.
	seen := int64(-1)
	for try := 0; ; try++ {
		signed, entries, torn, err := verifyOnce(dir, verifierKey)
		if err != nil {
			return err
		}
		if entries == signed && torn == 0 || seen >= 0 && signed >= seen {
			return nil
		}
		if try == 5 {
			return fmt.Errorf("%w: %d entries and %d more bytes after the %d signed ones", ErrUnsigned, entries-signed, torn, signed)
		}
		if seen < 0 {
			if seen = entries; torn > 0 {
				seen++
			}
		}
		time.Sleep(checkpointEvery)
	}
}

func verifyOnce(dir, verifierKey string) (signed, entries, torn int64, err error) {
	signed, root, err := readCheckpoint(dir, verifierKey)
	if err != nil {
		return 0, 0, 0, err
	}
	segments, err := listSegments(dir)
	if err != nil {
		return 0, 0, 0, err
	}
	var tree frontier
	if signed == 0 && tree.root() != root {
		return 0, 0, 0, fmt.Errorf("%w: the checkpoint's root does not fit an empty log", ErrTampered)
	}
	for i, s := range segments {
		if s.first != tree.size {
			return 0, 0, 0, fmt.Errorf("%w: segment %s where entry %d was expected", ErrTampered, filepath.Base(s.path), tree.size)
		}
		_, torn, err = s.read(func(line []byte) error {
			if _, err := decode(line, tree.size); err != nil {
				return err
			}
			tree.add(line)
			if tree.size == signed && tree.root() != root {
				return fmt.Errorf("%w: the first %d entries do not have the signed root", ErrTampered, signed)
			}
			return nil
		})
		if err != nil {
			return 0, 0, 0, err
		}
		if torn > 0 && i != len(segments)-1 {
			return 0, 0, 0, fmt.Errorf("%w: segment %s ends in the middle of an entry", ErrTampered, filepath.Base(s.path))
		}
	}
	if tree.size < signed {
		return 0, 0, 0, fmt.Errorf("%w: %d entries of the %d signed", ErrTampered, tree.size, signed)
	}
	return signed, tree.size, torn, nil
}
