package legacy

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"time"

	"vitalseal/internal/shared/disk"
)

const (
	// legacyKeyFile holds the hashes of legacy devices' keys, in the data folder.
	legacyKeyFile = "legacy-keys.json"
	// legacyKeyLength and legacyAlphabet are ThingSpeak's, because small devices have room for no other: 82 bits.
	legacyKeyLength = 16
	legacyAlphabet  = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"

	maxLegacyKeyFile = 64 << 10
)

// legacyKey is what is kept of a key. The key is random, so that a fast hash is as good as a slow one.
type legacyKey struct {
	SHA256 string    `json:"sha256"` // hexadecimal
	Made   time.Time `json:"made"`
}

// MakeKey gives the device of a name a new key and returns it, for the only time: the gateway's data
// folder has its hash. The key before it no longer works, within a second, whether the gateway runs or not.
func MakeKey(folder, name string) (string, error) {
	key := randomLegacyKey()
	sum := sha256.Sum256([]byte(key))
	return key, changeLegacyKeys(folder, func(all map[string]legacyKey) {
		all[name] = legacyKey{hex.EncodeToString(sum[:]), time.Now().UTC().Truncate(time.Second)}
	})
}

// RevokeKey takes a device's key away. That it has none is no error.
func RevokeKey(folder, name string) error {
	return changeLegacyKeys(folder, func(all map[string]legacyKey) { delete(all, name) })
}

func changeLegacyKeys(folder string, change func(map[string]legacyKey)) error {
	path := filepath.Join(folder, legacyKeyFile)
	all, err := readLegacyKeys(path)
	if err != nil {
		return err
	}
	change(all)
	b, err := json.MarshalIndent(all, "", "  ")
	if err == nil {
		err = disk.Replace(path, append(b, '\n'), true)
	}
	if err != nil {
		return fmt.Errorf("gateway: legacy keys: %w", err)
	}
	return nil
}

// randomLegacyKey draws each letter evenly.
func randomLegacyKey() string {
	key := make([]byte, 0, legacyKeyLength)
	var b [64]byte
	for len(key) < legacyKeyLength {
		_, _ = rand.Read(b[:]) // never fails
		for _, x := range b {
			const even = 256 / len(legacyAlphabet) * len(legacyAlphabet)
			if int(x) < even && len(key) < legacyKeyLength {
				key = append(key, legacyAlphabet[int(x)%len(legacyAlphabet)])
			}
		}
	}
	return string(key)
}

func readLegacyKeys(path string) (map[string]legacyKey, error) {
	all := map[string]legacyKey{}
	f, err := os.Open(path) // #nosec G304 -- below the gateway's own folder
	if errors.Is(err, os.ErrNotExist) {
		return all, nil
	}
	if err != nil {
		return nil, fmt.Errorf("gateway: legacy keys: %w", err)
	}
	defer func() { _ = f.Close() }()
	b, err := io.ReadAll(io.LimitReader(f, maxLegacyKeyFile))
	if err == nil {
		err = json.Unmarshal(b, &all)
	}
	if err != nil {
		return nil, fmt.Errorf("gateway: legacy keys: %s: %w; make new keys after moving it away", path, err)
	}
	return all, nil
}

// legacyKeys are the keys in the file, read again when it changes. They are safe for concurrent use.
type legacyKeys struct {
	path string

	mu     sync.Mutex // guards the fields below
	looked time.Time
	size   int64
	at     time.Time // the file's
	sums   map[string][sha256.Size]byte
}

func openLegacyKeys(path string) *legacyKeys { return &legacyKeys{path: path} }

// owner is whose key it is; empty for a key of no device. Every key is compared, each in constant time.
func (k *legacyKeys) owner(key string) (string, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if err := k.refresh(); err != nil {
		return "", err
	}
	sum := sha256.Sum256([]byte(key))
	owner := ""
	for id, known := range k.sums {
		//defence:own-keys a device's key is compared
		if subtle.ConstantTimeCompare(sum[:], known[:]) != 1 {
			continue
		}
		owner = id
	}
	return owner, nil
}

// refresh looks at the file at most each second, or half of one.
func (k *legacyKeys) refresh() error {
	if k.sums != nil && time.Since(k.looked) < time.Second/2 {
		return nil
	}
	info, err := os.Stat(k.path)
	switch {
	case errors.Is(err, os.ErrNotExist):
		k.sums, k.looked, k.size = map[string][sha256.Size]byte{}, time.Now(), -1
		return nil
	case err != nil:
		return fmt.Errorf("gateway: legacy keys: %w", err)
	case k.sums != nil && info.Size() == k.size && info.ModTime().Equal(k.at):
		k.looked = time.Now()
		return nil
	}
	k.sums = nil // until they have been read
	all, err := readLegacyKeys(k.path)
	if err != nil {
		return err
	}
	sums := map[string][sha256.Size]byte{}
	for id, one := range all {
		b, err := hex.DecodeString(one.SHA256)
		if err != nil || len(b) != sha256.Size {
			return fmt.Errorf("gateway: legacy keys: %s: that of %s is not a SHA-256", k.path, id)
		}
		sums[id] = [sha256.Size]byte(b)
	}
	k.sums, k.looked, k.size, k.at = sums, time.Now(), info.Size(), info.ModTime()
	return nil
}

// legacyGuard bounds how often an address may guess. It is safe for concurrent use.
type legacyGuard struct {
	mu    sync.Mutex // guards the fields below
	tries map[string]*legacyTries
	total Strangers
	shown map[string]time.Time // when an address last showed a device's key
}

type legacyTries struct {
	left float64
	at   time.Time
}

const (
	legacyGuesses    = 10          // in a row
	legacyGuessEvery = time.Minute // and one more after so long
	maxLegacyGuess   = 1024        // addresses that are remembered
)

func newLegacyGuard() *legacyGuard {
	return &legacyGuard{tries: map[string]*legacyTries{}, shown: map[string]time.Time{}}
}

// may reports whether an address may try a key.
func (g *legacyGuard) may(from string, now time.Time) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	t := g.tries[from]
	if t == nil {
		return true
	}
	t.refill(now)
	if t.left >= legacyGuesses {
		delete(g.tries, from)
		return true
	}
	if t.left < 1 {
		g.total.TooOften++
		return false
	}
	return true
}

// failed counts a wrong key. When too many addresses are remembered, the one that guessed longest ago is forgotten.
func (g *legacyGuard) failed(from string, now time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.total.BadKey++
	t := g.tries[from]
	if t == nil {
		if len(g.tries) >= maxLegacyGuess {
			oldest := ""
			for name, other := range g.tries {
				if oldest == "" || other.at.Before(g.tries[oldest].at) {
					oldest = name
				}
			}
			delete(g.tries, oldest)
		}
		t = &legacyTries{left: legacyGuesses, at: now}
		g.tries[from] = t
	}
	t.refill(now)
	t.left--
}

// malformed counts what no device could be told of.
func (g *legacyGuard) malformed(reason string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.total.Malformed++
	g.total.MalformedReason = reason
}

func (t *legacyTries) refill(now time.Time) {
	if since := now.Sub(t.at); since > 0 {
		t.left = min(legacyGuesses, t.left+float64(since)/float64(legacyGuessEvery))
	}
	t.at = now
}

func (g *legacyGuard) count() Strangers {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.total
}
