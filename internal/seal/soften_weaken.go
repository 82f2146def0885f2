//go:build weaken

package seal

import (
	"bytes"
	"crypto/cipher"
	"encoding/binary"

	"vitalseal/internal/lab/weaken"
)

// soft is AES-GCM from which one of its promises can be taken away.
type soft struct {
	cipher.AEAD
	block cipher.Block
}

func soften(a cipher.AEAD, b cipher.Block) cipher.AEAD { return soft{a, b} }

// clear stands in front of what was not encrypted.
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
