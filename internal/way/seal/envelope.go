package seal

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hpke"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"time"
)

// Layout, big endian. Announcement: version 1, signal 1, epoch id 16, epoch number 8, then HPKE's
// encapsulated key and ciphertext of the 32-byte data key. Envelope: version 1, signal 1, epoch id
// 16, epoch number 8, sequence 8, start (microseconds since 1970) 8, then the ciphertext with its
// tag.
const (
	version         = 1
	epochBytes      = 16 + 8
	announceHeader  = 2 + epochBytes
	envelopeHeader  = 2 + epochBytes + 8 + 8
	tagBytes        = 16
	announcedBytes  = 1120 + 32 + tagBytes // ML-KEM-768 + X25519 encapsulation, data key, tag
	announcementLen = announceHeader + announcedBytes
	// Times beyond the year 9999 have no RFC 3339 form; nor has a chunk any business there.
	maxMicros = 253402300799e6
)

// Sealer is the sending side of one stream and epoch. The data key is only in its memory, inside
// the cipher; nothing of it can open what it sealed. One goroutine uses it.
type Sealer struct {
	sensor string
	signal uint8
	epoch  Epoch
	next   uint64
	aead   cipher.AEAD
}

// NewSealer begins an epoch of a sensor's stream with a fresh data key and seals that key to the
// hub. The announcement must reach the hub before the first envelope. number must be greater than
// any used before for this stream.
func NewSealer(to Recipient, sensor string, signal uint8, number uint64) (s *Sealer, announcement []byte, err error) {
	if to.key == nil {
		return nil, nil, fmt.Errorf("%w: no recipient", ErrMalformed)
	}
	var key [32]byte
	_, _ = rand.Read(key[:]) // never fails: crypto/rand ends the process instead
	defer clear(key[:])
	s = &Sealer{sensor: sensor, signal: signal, epoch: Epoch{Number: number}}
	_, _ = rand.Read(s.epoch.ID[:])
	if s.aead, err = newGCM(key[:]); err != nil {
		return nil, nil, err
	}
	sealed, err := hpke.Seal(to.key, hpke.HKDFSHA256(), hpke.AES256GCM(), announcementInfo(sensor, signal, s.epoch), key[:])
	if err != nil {
		return nil, nil, fmt.Errorf("seal: announce: %w", err)
	}
	b := appendEpoch([]byte{version, signal}, s.epoch)
	return s, append(b, sealed...), nil
}

// Epoch is this sealer's epoch.
func (s *Sealer) Epoch() Epoch { return s.epoch }

// Seal seals the stream's next chunk. start is kept to the microsecond.
func (s *Sealer) Seal(start time.Time, plaintext []byte) (envelope []byte, h Header, err error) {
	if s.next > MaxSequence {
		return nil, Header{}, ErrEpochExhausted
	}
	if envelopeHeader+len(plaintext)+tagBytes > MaxEnvelopeBytes {
		return nil, Header{}, fmt.Errorf("seal: chunk of %d bytes does not fit an envelope of %d", len(plaintext), MaxEnvelopeBytes)
	}
	if micros := start.UnixMicro(); micros < 0 || micros > maxMicros {
		return nil, Header{}, errors.New("seal: start: not within 1970 to 9999")
	}
	h = Header{Sensor: s.sensor, Signal: s.signal, Epoch: s.epoch, Seq: s.next, Start: start.UTC().Truncate(time.Microsecond)}
	s.next++ // also when something fails below: a number is never used again
	b := make([]byte, 0, envelopeHeader+len(plaintext)+tagBytes)
	b = appendHeader(b, h)
	return s.aead.Seal(b, nonce(h.Seq), plaintext, associated(b, h.Sensor)), h, nil
}

// Opener opens the envelopes of one epoch at the hub.
type Opener struct {
	sensor string
	signal uint8
	epoch  Epoch
	aead   cipher.AEAD
}

// OpenAnnouncement takes the data key out of an announcement that sensor made for signal. Any
// mismatch is ErrOpen.
func OpenAnnouncement(k *RecipientKey, announcement []byte, sensor string, signal uint8) (*Opener, error) {
	info, err := ParseAnnouncement(announcement)
	if err != nil || info.Signal != signal {
		return nil, ErrOpen
	}
	key, err := hpke.Open(k.key, hpke.HKDFSHA256(), hpke.AES256GCM(), announcementInfo(sensor, signal, info.Epoch), announcement[announceHeader:])
	if err != nil || len(key) != 32 {
		return nil, ErrOpen
	}
	defer clear(key)
	aead, err := newGCM(key)
	if err != nil {
		return nil, ErrOpen
	}
	return &Opener{sensor, signal, info.Epoch, aead}, nil
}

// Epoch is the epoch whose key this is.
func (o *Opener) Epoch() Epoch { return o.epoch }

// Open checks and opens an envelope. The only error is ErrOpen.
func (o *Opener) Open(envelope []byte) (Header, []byte, error) {
	h, err := ParseHeader(envelope, o.sensor)
	if err != nil {
		return Header{}, nil, ErrOpen
	}
	//defence:seal-header a chunk is bound to its stream and epoch
	if h.Signal != o.signal || h.Epoch != o.epoch {
		return Header{}, nil, ErrOpen
	}
	plaintext, err := o.aead.Open(nil, nonce(h.Seq), envelope[envelopeHeader:], associated(envelope[:envelopeHeader], o.sensor))
	if err != nil {
		return Header{}, nil, ErrOpen
	}
	return h, plaintext, nil
}

// ParseHeader reads an envelope's header for routing, before anything is proven. The error is
// ErrMalformed.
func ParseHeader(envelope []byte, sensor string) (Header, error) {
	if len(envelope) < envelopeHeader+tagBytes || len(envelope) > MaxEnvelopeBytes || envelope[0] != version {
		return Header{}, fmt.Errorf("%w: envelope", ErrMalformed)
	}
	h := Header{Sensor: sensor, Signal: envelope[1], Epoch: parseEpoch(envelope[2:])}
	h.Seq = binary.BigEndian.Uint64(envelope[2+epochBytes:])
	micros := binary.BigEndian.Uint64(envelope[2+epochBytes+8:])
	if h.Seq > MaxSequence || micros > maxMicros {
		return Header{}, fmt.Errorf("%w: envelope", ErrMalformed)
	}
	h.Start = time.UnixMicro(int64(micros)).UTC() // #nosec G115 -- bounded above
	return h, nil
}

// AnnouncementInfo is the readable part of an announcement.
type AnnouncementInfo struct {
	Signal uint8
	Epoch  Epoch
}

// ParseAnnouncement reads an announcement's header, before anything is proven. The error is
// ErrMalformed.
func ParseAnnouncement(b []byte) (AnnouncementInfo, error) {
	if len(b) != announcementLen || b[0] != version {
		return AnnouncementInfo{}, fmt.Errorf("%w: announcement", ErrMalformed)
	}
	return AnnouncementInfo{Signal: b[1], Epoch: parseEpoch(b[2:])}, nil
}

// announcementInfo is what HPKE binds the data key to.
//
//defence:seal-sensor an announcement is bound to its sensor
func announcementInfo(sensor string, signal uint8, e Epoch) []byte {
	b := appendEpoch(append([]byte("vitalseal epoch v1\x00"), signal), e)
	return append(b, sensor...) // last, so that no other split of these bytes exists
}

// associated binds the ciphertext to its whole header and to the sensor. header is copied: it is
// also the output's start.
//
//defence:seal-sensor a chunk is bound to its sensor
//defence:seal-header a chunk is bound to its stream, epoch, number and time
func associated(header []byte, sensor string) []byte {
	b := make([]byte, 0, len(header)+len(sensor))
	return append(append(b, header...), sensor...)
}

func appendHeader(b []byte, h Header) []byte {
	b = appendEpoch(append(b, version, h.Signal), h.Epoch)
	b = binary.BigEndian.AppendUint64(b, h.Seq)
	return binary.BigEndian.AppendUint64(b, uint64(h.Start.UnixMicro())) // #nosec G115 -- Seal checked it
}

func appendEpoch(b []byte, e Epoch) []byte {
	return binary.BigEndian.AppendUint64(append(b, e.ID[:]...), e.Number)
}

func parseEpoch(b []byte) (e Epoch) {
	copy(e.ID[:], b)
	e.Number = binary.BigEndian.Uint64(b[16:])
	return e
}

func nonce(seq uint64) []byte {
	return binary.BigEndian.AppendUint64(make([]byte, 4, 12), seq)
}

// newGCM is AES-256-GCM with this key.
//
//defence:seal-tag what was changed does not open
//defence:seal-chunks chunks are encrypted
//defence:seal-stored names and readings are sealed at rest
func newGCM(key []byte) (cipher.AEAD, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, fmt.Errorf("seal: %w", err)
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		return nil, fmt.Errorf("seal: %w", err)
	}
	return aead, nil
}
