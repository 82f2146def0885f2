package audit

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/maphash"
	"math"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/mod/sumdb/tlog"
)

const (
	// MaxFound is how many entries one answer of Search has at most.
	MaxFound = 100

	// maxRead bounds how many tiles one Search reads from disk: 131,072 entries, and searchFor how
	// long it takes.
	maxRead   = 512
	searchFor = 2 * time.Second
)

// Found is an entry as it stands in the log, with the proof (RFC 6962, 2.1.1) that it is in the log
// of the size that was asked about.
type Found struct {
	Seq   int64            `json:"seq"`
	Line  string           `json:"line"`
	Proof tlog.RecordProof `json:"proof"`
}

// Page is an answer of Search.
type Page struct {
	Entries []Found `json:"entries"` // newest first
	// Next is the number before which to go on: nothing from there on was left out. 0: the log's
	// first entry has been looked at.
	Next int64 `json:"next"`
	// Looked is the time of the oldest entry that was looked at or passed over; zero if none was.
	Looked time.Time `json:"looked"`
}

// Search finds the newest n entries (1 to MaxFound) that a filter chooses among those with a number
// below before, of the log's first size entries, which it proves to be in it; size -1 means all
// that are signed. What one call reads is bounded: it may find fewer, or none, and then says with
// Next where to go on. Parts of the log that have no such entry, by their times or by what an
// earlier Search read of them, are passed over. One Search runs at a time. Errors: ErrNoEntry for a
// size that the log does not have; ErrTampered.
func (l *Log) Search(ctx context.Context, size, before int64, n int, f Filter) (p Page, err error) {
	v := l.signedView()
	if size < 0 {
		size = v.Size
	}
	if size > v.Size {
		return p, fmt.Errorf("%w: the log has %d, not %d", ErrNoEntry, v.Size, size)
	}
	l.known.turn.Lock()
	defer l.known.turn.Unlock()
	p = Page{Entries: []Found{}, Next: max(min(before, size), 0)}
	n = min(max(n, 1), MaxFound)
	r := newHashReader(l.dir, size, v.index)
	end := time.Now().Add(searchFor)
	for read := 0; p.Next > 0 && len(p.Entries) < n; {
		tile := (p.Next - 1) / tileSize
		if tile < int64(len(v.index.times)) {
			t := v.index.times[tile]
			if t.outside(f) || !l.known.may(tile, f) {
				p.Next, p.Looked = tile*tileSize, t.oldest()
				continue
			}
		}
		if read++; read > l.known.most || time.Now().After(end) || ctx.Err() != nil {
			break
		}
		if err := l.searchTile(r, tile, n, f, &p, (tile+1)*tileSize <= v.Size); err != nil {
			return Page{}, err
		}
	}
	for i := range p.Entries {
		if p.Entries[i].Proof, err = tlog.ProveRecord(size, p.Entries[i].Seq, r); err != nil {
			return Page{}, fmt.Errorf("audit: search: %w", err)
		}
	}
	return p, ctx.Err()
}

// searchTile looks at a tile's entries below p.Next, newest first, and remembers what is in it,
// once it is whole.
func (l *Log) searchTile(r *hashReader, tile int64, n int, f Filter, p *Page, whole bool) error {
	var lines [][]byte
	if err := r.lines(tile, func(line []byte) { lines = append(lines, slices.Clone(line)) }); err != nil {
		return err
	}
	whole = whole && len(lines) == tileSize && !l.known.has(tile)
	var has bloom
	for i := len(lines) - 1; i >= 0; i-- {
		seq := tile*tileSize + int64(i)
		wanted := seq < p.Next && len(p.Entries) < n
		if !wanted && !whole {
			continue
		}
		var e Entry
		if err := json.Unmarshal(lines[i], &e); err != nil || e.Seq != seq {
			return fmt.Errorf("%w: entry %d is not readable", ErrTampered, seq)
		}
		if whole {
			l.known.add(&has, e)
		}
		if !wanted {
			continue
		}
		p.Next, p.Looked = seq, e.Time
		if f.Match(e) {
			p.Entries = append(p.Entries, Found{Seq: seq, Line: string(lines[i])})
		}
	}
	if whole {
		l.known.keep(tile, has)
	}
	return nil
}

// times are when the oldest and the newest entry of a tile were, µs since 1970.
type times struct{ first, last int64 }

// always covers every time, for what is not known.
var always = times{math.MinInt64, math.MaxInt64}

func (t times) with(o times) times { return times{min(t.first, o.first), max(t.last, o.last)} }

// outside reports whether no time of t is one that f chooses.
func (t times) outside(f Filter) bool {
	return !f.From.IsZero() && t.last < f.From.UnixMicro() || !f.To.IsZero() && t.first >= f.To.UnixMicro()
}

func (t times) oldest() time.Time {
	if t == always {
		return time.Time{}
	}
	return time.UnixMicro(t.first).UTC()
}

var timeMember = []byte(`,"time":"`)

// timeOf is the time of an entry's line, or always where it has none.
func timeOf(line []byte) times {
	_, rest, ok := bytes.Cut(line[:min(len(line), 120)], timeMember)
	text, _, ended := bytes.Cut(rest, []byte{'"'})
	if !ok || !ended {
		return always
	}
	t, err := time.Parse(time.RFC3339Nano, string(text))
	if err != nil {
		return always
	}
	return times{t.UnixMicro(), t.UnixMicro()}
}

// bloom says which persons, patients, actions and answers a tile's entries may have: never that
// there is none where there is one.
type bloom [32]uint64

// known is what searches remember of whole tiles, which never change: 256 bytes for 256 entries,
// once they have been read.
type known struct {
	turn sync.Mutex // one search runs at a time
	most int        // tiles that one search reads
	seed maphash.Seed

	mu    sync.Mutex // guards tiles
	tiles map[int64]bloom
}

func newKnown() known {
	return known{most: maxRead, seed: maphash.MakeSeed(), tiles: map[int64]bloom{}}
}

// bits are the places of a word in a bloom.
func (k *known) bits(kind, word string) (out [4]uint) {
	h := maphash.String(k.seed, kind+word)
	for i := range out {
		out[i] = uint(h>>(11*i)) % (64 * uint(len(bloom{})))
	}
	return out
}

func (k *known) set(b *bloom, kind, word string) {
	for _, at := range k.bits(kind, word) {
		b[at/64] |= 1 << (at % 64)
	}
}

func (k *known) add(b *bloom, e Entry) {
	k.set(b, "person ", e.Person)
	k.set(b, "action ", e.Action)
	k.set(b, "answer ", e.answer())
	for _, p := range append([]string{e.Patient}, e.Patients...) {
		k.set(b, "patient ", p)
	}
	if p, ok := strings.CutPrefix(e.Resource, onPatient); ok {
		k.set(b, "patient ", p)
	}
}

func (k *known) has(tile int64) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	_, ok := k.tiles[tile]
	return ok
}

func (k *known) keep(tile int64, b bloom) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.tiles[tile] = b
}

// may reports whether a tile may have an entry that f chooses.
func (k *known) may(tile int64, f Filter) bool {
	k.mu.Lock()
	b, ok := k.tiles[tile]
	k.mu.Unlock()
	if !ok {
		return true
	}
	for _, x := range [][2]string{{"person ", f.Person}, {"action ", f.Action}, {"answer ", f.Answer}, {"patient ", f.Patient}} {
		if x[1] == "" {
			continue
		}
		for _, at := range k.bits(x[0], x[1]) {
			if b[at/64]&(1<<(at%64)) == 0 {
				return false
			}
		}
	}
	return true
}

// ErrFilter means that a filter asks for what no entry has.
var ErrFilter = errors.New("audit: no such filter")

// Check refuses a filter of an answer that there is not, or of a span that ends before it begins:
// ErrFilter.
func (f Filter) Check() error {
	switch {
	case f.Answer != "" && f.Answer != Allowed && f.Answer != Refused && f.Answer != Undecided:
		return fmt.Errorf("%w: the answer is %s, %s or %s", ErrFilter, Allowed, Refused, Undecided)
	case !f.From.IsZero() && !f.To.IsZero() && !f.To.After(f.From):
		return fmt.Errorf("%w: the end is not after the beginning", ErrFilter)
	}
	return nil
}
