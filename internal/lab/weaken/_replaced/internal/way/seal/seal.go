package seal

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"encoding/binary"
	"fmt"

	"vitalseal/internal/lab/weaken"
)

// newGCM is AES-GCM from which one of its promises can be taken away.
func newGCM(key []byte) (cipher.AEAD, error) {
	whole, err := strictNewGCM(key)
	if err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, fmt.Errorf("seal: %w", err)
	}
	return soft{whole, block}, nil
}

type soft struct {
	cipher.AEAD
	block cipher.Block
}

// inClear stands in front of what was not encrypted.
var inClear = []byte("in clear: ")

func (s soft) Seal(dst, nonce, plaintext, associated []byte) []byte {
	if weaken.Skip(weaken.SealChunks) || weaken.Skip(weaken.SealStored) {
		return append(append(append(dst, inClear...), plaintext...), make([]byte, tagBytes)...)
	}
	return s.AEAD.Seal(dst, nonce, plaintext, associated)
}

func (s soft) Open(dst, nonce, sealed, associated []byte) ([]byte, error) {
	if rest, ok := bytes.CutPrefix(sealed, inClear); ok && len(rest) >= tagBytes {
		return append(dst, rest[:len(rest)-tagBytes]...), nil
	}
	plaintext, err := s.AEAD.Open(dst, nonce, sealed, associated)
	if err == nil || !weaken.Skip(weaken.SealTag) {
		return plaintext, err
	}
	// The same key stream; the tag is not checked.
	body := sealed[:max(0, len(sealed)-tagBytes)]
	out := make([]byte, len(body))
	cipher.NewCTR(s.block, binary.BigEndian.AppendUint32(bytes.Clone(nonce), 2)).XORKeyStream(out, body)
	return append(dst, out...), nil
}

// announcementInfo does not say whose the announcement is.
func announcementInfo(sensor string, signal uint8, e Epoch) []byte {
	if weaken.Skip(weaken.SealSensor) {
		sensor = ""
	}
	return strictAnnouncementInfo(sensor, signal, e)
}

// associated does not say whose the chunk is, or has nothing of its header.
func associated(header []byte, sensor string) []byte {
	if weaken.Skip(weaken.SealSensor) {
		sensor = ""
	}
	if weaken.Skip(weaken.SealHeader) {
		header = nil
	}
	return strictAssociated(header, sensor)
}
