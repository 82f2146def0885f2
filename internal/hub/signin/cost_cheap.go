//go:build cheaphash

package signin

// The least cost that a stored hash may have, for the tests under the race detector: there 64 MiB take as long as the test. No product has
// it: with this tag cmd/vitalseal does not compile.
const (
	hashMemoryKiB = 8 << 10
	hashPasses    = 1
)
