// Package seal makes readings unreadable outside the hub: data keys sealed to the hub's public key,
// chunks sealed under the data key, and at the hub keys for what is stored, wrapped by a root key.
//
// It hides the cryptography: HPKE (RFC 9180) with ML-KEM-768 + X25519, HKDF-SHA256 and AES-256-GCM
// for data keys; AES-256-GCM with the sequence number as nonce for chunks; AES-256-GCM with random
// nonces for what is stored. It guarantees that a nonce is never used twice under a key, that a
// chunk opens only for the sensor, signal, epoch, sequence and start it was sealed for, that the
// sealing side has no way to open, and that whatever is wrong gives one indistinguishable error.
// All but [Sealer] is safe for concurrent use. Formats: doc/formats/envelope.md.
//
// It does not protect against an attacker who holds the recipient key or the root key file, nor
// hide how much is sent and when.
package seal

import (
	"crypto/hpke"
	"errors"
	"fmt"
	"time"
)

// Errors that callers tell apart.
var (
	// ErrOpen is the one answer to everything that does not open: damaged, forged, spliced, wrong
	// key.
	ErrOpen = errors.New("seal: does not open")
	// ErrMalformed says that bytes are no announcement or envelope at all.
	ErrMalformed = errors.New("seal: malformed")
	// ErrEpochExhausted says that a Sealer has sealed as many chunks as one key may; begin a new
	// epoch.
	ErrEpochExhausted = errors.New("seal: epoch exhausted")
)

// Bounds on foreign bytes.
const (
	MaxEnvelopeBytes = 80 << 10
	// MaxSequence is the last sequence number of an epoch; 2^32 chunks of 250 ms are 34 years.
	MaxSequence = 1<<32 - 1
)

// EpochID names a data key: 128 random bits.
type EpochID [16]byte

// String is the id in hexadecimal.
func (id EpochID) String() string { return fmt.Sprintf("%x", id[:]) }

// Epoch is the life of one data key. Number increases strictly with each new epoch of a sensor's
// stream, across restarts (boot counter << 20 | count), and so puts epochs in order and betrays a
// restored backup.
type Epoch struct {
	ID     EpochID
	Number uint64
}

// CountBits is how many low bits of an epoch's number count the epochs of one start; the bits above
// are the boot counter.
const CountBits = 20

// MaxBoot is the highest boot counter that a gateway counts to.
const MaxBoot = 1<<40 - 1

// Boot is the boot counter of the start that the epoch began in.
func (e Epoch) Boot() uint64 { return e.Number >> CountBits }

// Header is what a chunk is bound to; all of it is associated data.
type Header struct {
	Sensor string // SPIFFE id; not in the envelope: it is the peer that the connection proved
	Signal uint8
	Epoch  Epoch
	Seq    uint64    // from 0, without holes, within an epoch
	Start  time.Time // of the first sample, UTC, microseconds
}

// Recipient is a hub's public key. The zero Recipient is invalid.
type Recipient struct{ key hpke.PublicKey }

// ParseRecipient reads what Bytes wrote (1,216 bytes).
func ParseRecipient(b []byte) (Recipient, error) {
	k, err := hpke.MLKEM768X25519().NewPublicKey(b)
	if err != nil {
		return Recipient{}, fmt.Errorf("%w: recipient key: %w", ErrMalformed, err)
	}
	return Recipient{k}, nil
}

// Bytes is the key's encoding.
func (r Recipient) Bytes() []byte {
	if r.key == nil {
		return nil
	}
	return r.key.Bytes()
}

// RecipientKey is a hub's private key.
type RecipientKey struct{ key hpke.PrivateKey }

// GenerateRecipientKey makes a new key.
func GenerateRecipientKey() (*RecipientKey, error) {
	k, err := hpke.MLKEM768X25519().GenerateKey()
	if err != nil {
		return nil, fmt.Errorf("seal: recipient key: %w", err)
	}
	return &RecipientKey{k}, nil
}

// ParseRecipientKey reads what Bytes wrote.
func ParseRecipientKey(b []byte) (*RecipientKey, error) {
	k, err := hpke.MLKEM768X25519().NewPrivateKey(b)
	if err != nil {
		return nil, fmt.Errorf("%w: recipient key", ErrMalformed) // the cause could tell about the key
	}
	return &RecipientKey{k}, nil
}

// Bytes is the private key's seed (32 bytes): a secret.
func (k *RecipientKey) Bytes() []byte {
	b, err := k.key.Bytes()
	if err != nil {
		panic("seal: a recipient key has no seed: " + err.Error()) // ours always have
	}
	return b
}

// Recipient is the public half.
func (k *RecipientKey) Recipient() Recipient { return Recipient{k.key.PublicKey()} }
