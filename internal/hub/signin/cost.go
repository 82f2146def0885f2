//go:build !cheaphash

package signin

// The cost of a password hash: argon2id, 64 MiB, 2 passes, 1 lane (RFC 9106; OWASP asks for at least 19 MiB at 2).
const (
	hashMemoryKiB = 64 << 10
	hashPasses    = 2
)
