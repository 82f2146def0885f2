package sink

import (
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"time"

	"vitalseal/internal/hub/channel"
	"vitalseal/internal/measurement/vitals"
	"vitalseal/internal/way/seal"
)

// An envelope is one field of a channel: base64url of 189 bytes, which is 252 characters; 255 are
// allowed. doc/formats/cloud.md has the layout.
const (
	envelopeVersion = 1
	envelopeBytes   = 189
	// EnvelopeChars is the length of every envelope.
	EnvelopeChars = 252

	headBytes  = 1 + 8   // version, key id
	sealBytes  = 12 + 16 // nonce, tag
	plainBytes = envelopeBytes - headBytes - sealBytes

	maxRecords  = 64
	perHundred  = 100 // a vital sign is kept in hundredths of its unit
	fieldMarker = 0xf0
)

// ErrEnvelope means that a field is no envelope, or was changed, or belongs to another channel;
// which one does not show.
var ErrEnvelope = errors.New("sink: not an envelope of this channel")

var text64 = base64.RawURLEncoding.Strict()

func associated(head []byte) []byte { return append([]byte("vitalseal cloud envelope\x00"), head...) }

// sealEnvelope seals text, which is padded: all envelopes have one length.
func sealEnvelope(key seal.Key, id channel.KeyID, text []byte) string {
	head := append([]byte{envelopeVersion}, id[:]...)
	padded := make([]byte, plainBytes)
	copy(padded, text)
	return text64.EncodeToString(append(head, key.Seal(padded, associated(head))...))
}

// envelopeKeyID is the id of the key that an envelope names.
func envelopeKeyID(envelope string) (id channel.KeyID, raw []byte, err error) {
	if len(envelope) != EnvelopeChars {
		return id, nil, ErrEnvelope
	}
	raw, err = text64.DecodeString(envelope)
	if err != nil || len(raw) != envelopeBytes || raw[0] != envelopeVersion {
		return id, nil, ErrEnvelope
	}
	copy(id[:], raw[1:])
	return id, raw, nil
}

// openEnvelope is the inverse of sealEnvelope and appendRecords.
func openEnvelope(key seal.Key, raw []byte) ([]Record, error) {
	text, err := key.Open(raw[headBytes:], associated(raw[:headBytes]))
	if err != nil {
		return nil, ErrEnvelope
	}
	return decodeRecords(text)
}

// fits reports whether records fit into one envelope.
func fits(records []Record) bool {
	_, ok := appendRecords(nil, records)
	return ok
}

// appendRecords is the compact form of records that ascend by time: how many; the first's time;
// then of each the seconds since the one before, how many values, and the values. ok is false if
// that is more than an envelope holds.
func appendRecords(b []byte, records []Record) (_ []byte, ok bool) {
	if len(records) == 0 || len(records) > maxRecords {
		return nil, false
	}
	b = append(b, byte(len(records)))                         // #nosec G115 -- at most maxRecords
	b = binary.AppendUvarint(b, uint64(records[0].At.Unix())) // #nosec G115 -- after 1970: the store has no other times
	last := records[0].At.Unix()
	for _, r := range records {
		b = binary.AppendUvarint(b, uint64(r.At.Unix()-last)) // #nosec G115 -- ascending
		last = r.At.Unix()
		at, n := len(b), 0
		b = append(b, 0)
		for _, v := range r.Numerics {
			b = append(b, byte(v.Quality)<<4|byte(v.Kind))
			if v.Quality.HasValue() {
				b = binary.AppendVarint(b, int64(math.Round(v.Value*perHundred)))
			}
			n++
		}
		for i, f := range r.Fields {
			if f != nil {
				b = append(b, fieldMarker|byte(i)) // #nosec G115 -- 0 to 7
				b = binary.LittleEndian.AppendUint64(b, math.Float64bits(*f))
				n++
			}
		}
		b[at] = byte(n) // #nosec G115 -- at most 17
	}
	return b, len(b) <= plainBytes
}

// decodeRecords is the inverse of appendRecords with padding. It believes nothing: an envelope may
// have been made by an attacker who once had its key.
func decodeRecords(b []byte) ([]Record, error) {
	bad := func(what string) ([]Record, error) { return nil, fmt.Errorf("%w: %s", ErrEnvelope, what) }
	if len(b) < 1 || b[0] == 0 || b[0] > maxRecords {
		return bad("number of records")
	}
	count := int(b[0])
	base, n := binary.Uvarint(b[1:])
	if n <= 0 || base > 253402300799 { // the end of the year 9999
		return bad("time")
	}
	b = b[1+n:]
	at := int64(base) // #nosec G115 -- checked
	records := make([]Record, 0, count)
	for i := range count {
		dt, n := binary.Uvarint(b)
		if n <= 0 || dt > math.MaxInt32 || (i == 0) != (dt == 0) || len(b) <= n {
			return bad("time between records")
		}
		at += int64(dt) // #nosec G115 -- checked
		r := Record{At: time.Unix(at, 0).UTC()}
		items := int(b[n])
		b = b[n+1:]
		for range items {
			var err error
			if b, err = r.decodeItem(b); err != nil {
				return nil, err
			}
		}
		records = append(records, r)
	}
	for _, pad := range b {
		if pad != 0 {
			return bad("padding")
		}
	}
	return records, nil
}

// decodeItem takes one value off the front of b.
func (r *Record) decodeItem(b []byte) ([]byte, error) {
	if len(b) == 0 {
		return nil, fmt.Errorf("%w: cut off", ErrEnvelope)
	}
	tag := b[0]
	b = b[1:]
	if tag&fieldMarker == fieldMarker {
		i := tag &^ fieldMarker
		if i > 7 || len(b) < 8 || r.Fields[i] != nil {
			return nil, fmt.Errorf("%w: field", ErrEnvelope)
		}
		f := math.Float64frombits(binary.LittleEndian.Uint64(b))
		if math.IsNaN(f) || math.IsInf(f, 0) {
			return nil, fmt.Errorf("%w: field", ErrEnvelope)
		}
		r.Fields[i] = &f
		return b[8:], nil
	}
	n := vitals.Numeric{Kind: vitals.Kind(tag & 0x0f), Quality: vitals.Quality(tag >> 4)}
	if !n.Kind.Valid() || n.Quality > vitals.MaxQuality {
		return nil, fmt.Errorf("%w: value", ErrEnvelope)
	}
	for _, have := range r.Numerics {
		if have.Kind == n.Kind {
			return nil, fmt.Errorf("%w: value given twice", ErrEnvelope)
		}
	}
	if n.Quality.HasValue() {
		v, size := binary.Varint(b)
		n.Value = float64(v) / perHundred
		if low, high := n.Kind.Range(); size <= 0 || n.Value < low || n.Value > high {
			return nil, fmt.Errorf("%w: value", ErrEnvelope)
		}
		b = b[size:]
	}
	r.Numerics = append(r.Numerics, n)
	return b, nil
}
