package audit

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/mod/sumdb/tlog"
)

// frontier is the right edge of a Merkle tree: the roots of the complete subtrees that the entries
// so far fall into, largest first. It is all that is needed to add a leaf and to know the root:
// log2(size) hashes.
type frontier struct {
	size int64
	tops []top
}

type top struct {
	level int // 2^level leaves
	hash  tlog.Hash
}

// add adds a leaf. When it completes a subtree of 2^tileHeight leaves, tile is that subtree's root.
func (t *frontier) add(line []byte) (tile tlog.Hash, complete bool) {
	n := top{0, tlog.RecordHash(line)}
	for len(t.tops) > 0 && t.tops[len(t.tops)-1].level == n.level {
		n = top{n.level + 1, tlog.NodeHash(t.tops[len(t.tops)-1].hash, n.hash)}
		t.tops = t.tops[:len(t.tops)-1]
		if n.level == tileHeight {
			tile, complete = n.hash, true
		}
	}
	t.tops = append(t.tops, n)
	t.size++
	return tile, complete
}

// root is what RFC 6962 calls the Merkle tree hash; of an empty tree here the zero hash, as in
// tlog.
func (t *frontier) root() tlog.Hash {
	if len(t.tops) == 0 {
		return tlog.Hash{}
	}
	h := t.tops[len(t.tops)-1].hash
	for i := len(t.tops) - 2; i >= 0; i-- {
		h = tlog.NodeHash(t.tops[i].hash, h)
	}
	return h
}

const (
	tileHeight = 8
	tileSize   = 1 << tileHeight
)

// place is where an entry's line starts.
type place struct {
	segment int64 // number of the segment's first entry, which names the file
	offset  int64 // bytes into it
}

// index is what a log remembers of its entries to prove things about them: of each tile of 256
// entries where it starts and, once it is complete, its root and its times; a quarter byte an
// entry. What lies below is read again from the segments. Its slices only ever grow at their ends,
// so that a copy of an index stays as it is while the original goes on.
type index struct {
	frontier
	starts []place
	roots  []tlog.Hash
	times  []times
	newest times // of the tile that is not complete
}

func (x *index) clone() index {
	return index{frontier{x.size, slices.Clone(x.tops)}, x.starts, x.roots, x.times, x.newest}
}

func (x *index) add(line []byte, at place) {
	if x.size%tileSize == 0 {
		x.starts = append(x.starts, at)
		x.newest = timeOf(line)
	} else {
		x.newest = x.newest.with(timeOf(line))
	}
	if root, complete := x.frontier.add(line); complete {
		x.roots = append(x.roots, root)
		x.times = append(x.times, x.newest)
	}
}

// hashReader gives tlog the hashes of the tree over the first size entries of the log in dir, which
// x indexes. It is for one proof, by one goroutine: it keeps the few tiles that it has read.
type hashReader struct {
	dir    string
	size   int64
	starts []place
	roots  []tlog.Hash
	leaves map[int64][]tlog.Hash // by tile
}

func newHashReader(dir string, size int64, x index) *hashReader {
	return &hashReader{dir: dir, size: size, starts: x.starts, roots: x.roots, leaves: map[int64][]tlog.Hash{}}
}

// ReadHashes implements tlog.HashReader.
func (r *hashReader) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	out := make([]tlog.Hash, len(indexes))
	for i, x := range indexes {
		level, n := tlog.SplitStoredHashIndex(x)
		if n < 0 || (n+1)<<level > r.size {
			return nil, fmt.Errorf("audit: proof: no hash %d of level %d among %d entries", n, level, r.size)
		}
		var err error
		if out[i], err = r.node(level, n); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// node is the root of the n-th complete subtree of 2^level entries.
func (r *hashReader) node(level int, n int64) (tlog.Hash, error) {
	if level >= tileHeight {
		span := int64(1) << (level - tileHeight)
		return subtree(r.roots[n*span : (n+1)*span]), nil
	}
	first := n << level
	leaves, err := r.tile(first / tileSize)
	if err != nil {
		return tlog.Hash{}, err
	}
	return subtree(leaves[first%tileSize : first%tileSize+1<<level]), nil
}

// subtree is the root over a power of two of hashes.
func subtree(h []tlog.Hash) tlog.Hash {
	if len(h) == 1 {
		return h[0]
	}
	return tlog.NodeHash(subtree(h[:len(h)/2]), subtree(h[len(h)/2:]))
}

// tile reads the leaves of a tile, those of the first size entries.
func (r *hashReader) tile(n int64) ([]tlog.Hash, error) {
	if have, ok := r.leaves[n]; ok {
		return have, nil
	}
	var out []tlog.Hash
	err := r.lines(n, func(line []byte) { out = append(out, tlog.RecordHash(line)) })
	if err != nil {
		return nil, err
	}
	r.leaves[n] = out
	return out, nil
}

// line is the entry with this number, as it was written.
func (r *hashReader) line(seq int64) (line []byte, err error) {
	n := seq / tileSize * tileSize
	err = r.lines(seq/tileSize, func(b []byte) {
		if n == seq {
			line = slices.Clone(b)
		}
		n++
	})
	return line, err
}

// lines visits a tile's entries.
func (r *hashReader) lines(tile int64, visit func(line []byte)) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("audit: proof: entries from %d: %w", tile*tileSize, err)
		}
	}()
	seq, last, at := tile*tileSize, min((tile+1)*tileSize, r.size), r.starts[tile]
	for seq < last {
		f, err := os.Open(segmentPath(r.dir, at.segment))
		if err != nil {
			return err
		}
		before := seq
		err = func() error {
			defer f.Close() // nothing was written
			if _, err := f.Seek(at.offset, io.SeekStart); err != nil {
				return err
			}
			br := bufio.NewReaderSize(f, maxLine+1)
			for seq < last {
				line, err := br.ReadSlice('\n')
				if errors.Is(err, io.EOF) && len(line) == 0 {
					return nil // the next segment is named by the next entry
				}
				if err != nil {
					return fmt.Errorf("%w: %w", ErrTampered, err)
				}
				visit(line[:len(line)-1])
				seq++
			}
			return nil
		}()
		if err != nil {
			return err
		}
		if seq == before && at.offset == 0 {
			return fmt.Errorf("%w: segment %s is empty", ErrTampered, filepath.Base(f.Name()))
		}
		at = place{segment: seq}
	}
	return nil
}
