package audit

import (
	"slices"

	"golang.org/x/mod/sumdb/tlog"
)

// frontier is the right edge of a Merkle tree: the roots of the complete subtrees that the entries so far fall into,
// largest first. It is all that is needed to add a leaf and to know the root: log2(size) hashes.
type frontier struct {
	size int64
	tops []top
}

type top struct {
	level int // 2^level leaves
	hash  tlog.Hash
}

func (t *frontier) clone() frontier { return frontier{t.size, slices.Clone(t.tops)} }

func (t *frontier) add(line []byte) {
	n := top{0, tlog.RecordHash(line)}
	for len(t.tops) > 0 && t.tops[len(t.tops)-1].level == n.level {
		n = top{n.level + 1, tlog.NodeHash(t.tops[len(t.tops)-1].hash, n.hash)}
		t.tops = t.tops[:len(t.tops)-1]
	}
	t.tops = append(t.tops, n)
	t.size++
}

// root is what RFC 6962 calls the Merkle tree hash; of an empty tree here the zero hash, as in tlog.
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
