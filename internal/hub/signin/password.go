package signin

import (
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"golang.org/x/crypto/argon2"
)

const (
	hashLanes = 1
	saltBytes = 16
	hashBytes = 32

	// MinPassword is how many characters a password has at least.
	MinPassword = 10
	// MaxPassword is how many bytes a password has at most.
	MaxPassword = 512
)

// ErrPassword means that a new password is too short, too long or not text.
var ErrPassword = fmt.Errorf("signin: a password has at least %d characters and at most %d bytes", MinPassword, MaxPassword)

// HashPassword is the argon2id hash of a new password as a PHC string ("$argon2id$v=19$m=65536,t=2,p=1$salt$hash"),
// or ErrPassword. It takes 64 MiB (hashMemoryKiB) while it runs; Engine.HashPassword bounds how many run at once.
func HashPassword(pw string) (string, error) {
	if utf8.RuneCountInString(pw) < MinPassword || len(pw) > MaxPassword || !utf8.ValidString(pw) {
		return "", ErrPassword
	}
	var salt [saltBytes]byte
	rand.Read(salt[:]) // never fails
	h := argon2.IDKey([]byte(pw), salt[:], hashPasses, hashMemoryKiB, hashLanes, hashBytes)
	return phc(salt[:], h), nil
}

func phc(salt, hash []byte) string {
	b64 := base64.RawStdEncoding
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version, hashMemoryKiB, hashPasses, hashLanes,
		b64.EncodeToString(salt), b64.EncodeToString(hash))
}

// unknownHash is a hash of the usual cost that no password is known to have.
func unknownHash() string {
	var salt [saltBytes]byte
	var hash [hashBytes]byte
	rand.Read(salt[:])
	rand.Read(hash[:])
	return phc(salt[:], hash[:])
}

// VerifyPassword reports whether pw is the password that phc was made from, in time that does not depend on where
// they differ. A string that is not such a hash, or one of absurd cost, matches no password.
func VerifyPassword(phc, pw string) bool {
	h, err := parsePHC(phc)
	if err != nil || len(pw) > MaxPassword {
		return false
	}
	got := argon2.IDKey([]byte(pw), h.salt, h.passes, h.memoryKiB, h.lanes, uint32(len(h.hash))) //nolint:gosec // at most 64
	return subtle.ConstantTimeCompare(got, h.hash) == 1
}

type parsedHash struct {
	memoryKiB, passes uint32
	lanes             uint8
	salt, hash        []byte
}

var errPHC = errors.New("signin: not an argon2id hash")

func parsePHC(s string) (parsedHash, error) {
	var h parsedHash
	var version int
	parts := strings.Split(s, "$")
	if len(s) > 256 || len(parts) != 6 || parts[0] != "" || parts[1] != "argon2id" {
		return h, errPHC
	}
	if _, err := fmt.Sscanf(parts[2], "v=%d", &version); err != nil || version != argon2.Version {
		return h, errPHC
	}
	if _, err := fmt.Sscanf(parts[3], "m=%d,t=%d,p=%d", &h.memoryKiB, &h.passes, &h.lanes); err != nil {
		return h, errPHC
	}
	var err1, err2 error
	h.salt, err1 = base64.RawStdEncoding.Strict().DecodeString(parts[4])
	h.hash, err2 = base64.RawStdEncoding.Strict().DecodeString(parts[5])
	// A hash from the database must not be able to ask for the whole memory, nor for next to no work.
	if err1 != nil || err2 != nil || len(h.salt) < 8 || len(h.salt) > 64 || len(h.hash) < 16 || len(h.hash) > 64 ||
		h.memoryKiB < 8<<10 || h.memoryKiB > 256<<10 || h.passes < 1 || h.passes > 8 || h.lanes < 1 || h.lanes > 8 {
		return h, errPHC
	}
	return h, nil
}
