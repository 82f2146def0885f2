// Package records are the attacks on what is kept: sealed chunks (chunk-), disks, databases and
// backups (disk-), and the audit log with its witnesses (audit-).
//
// The attacker holds a copy and no running part: an attack makes what is stored with the product's
// own code, changes or searches its bytes, and opens it again. Only the backup is of a running hub.
package records

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"time"

	"vitalseal/internal/lab/attack"
	"vitalseal/internal/lab/weaken"
	"vitalseal/internal/measurement/vitals"
	"vitalseal/internal/way/seal"
)

// Where the fields of an envelope stand (doc/formats/envelope.md).
const (
	atSignal  = 1
	atEpoch   = 2
	atNumber  = 18
	atSeq     = 26
	atStart   = 34
	atSealed  = 42
	tagLength = 16
)

// stream is one stream of a sensor that seals to a hub, and the hub's opener of it.
type stream struct {
	key    *seal.RecipientKey
	sealer *seal.Sealer
	said   []byte // the announcement
	opener *seal.Opener
}

const victimSensor = "spiffe://demo.vitalseal.internal/sensor/victim"

func newStream(sensor string, signal vitals.Signal) (*stream, error) {
	key, err := seal.GenerateRecipientKey()
	if err != nil {
		return nil, err
	}
	s := &stream{key: key}
	if s.sealer, s.said, err = seal.NewSealer(key.Recipient(), sensor, uint8(signal), 1); err != nil {
		return nil, err
	}
	s.opener, err = seal.OpenAnnouncement(key, s.said, sensor, uint8(signal))
	return s, err
}

var secretReading = []byte("heart rate 71, spo2 97, of somebody")

// capture is an envelope as an attacker on the way sees it.
func (s *stream) capture() ([]byte, error) {
	b, _, err := s.sealer.Seal(time.Now(), secretReading)
	return b, err
}

// changed is an attack that changes captured envelopes and shows them to the hub's opener.
func changed(id, threat, does string, control weaken.Defence, change func(s *stream, a, b []byte) ([][]byte, error)) attack.Attack {
	return attack.Attack{ID: id, Threat: threat, Position: "the network, or a gateway's disk", Does: does, Expected: "does not open", Right: attack.Fails(seal.ErrOpen).Or(attack.Fails(seal.ErrMalformed)), Control: control, Fast: true,
		Run: func(context.Context, *attack.Target) (attack.Result, error) {
			s, err := newStream(victimSensor, vitals.Numerics)
			if err != nil {
				return attack.Result{}, err
			}
			first, err := s.capture()
			if err != nil {
				return attack.Result{}, err
			}
			second, err := s.capture()
			if err != nil {
				return attack.Result{}, err
			}
			if _, plain, err := s.opener.Open(first); err != nil || !bytes.Equal(plain, secretReading) {
				return attack.Result{}, fmt.Errorf("the unchanged envelope does not open: %w", err)
			}
			tries, err := change(s, first, second)
			if err != nil {
				return attack.Result{}, err
			}
			opened := 0
			var seen []attack.Seen
			for _, t := range tries {
				if _, _, err := s.opener.Open(t); err == nil {
					opened++
				} else {
					seen = append(seen, attack.Failure(err)...)
				}
			}
			return attack.Judge(opened > 0, seen, "a changed envelope opened", "none opened", "%d of %d changed envelopes opened", opened, len(tries))
		}}
}

// Chunks are the attacks on sealed chunks.
func Chunks() []attack.Attack {
	return []attack.Attack{
		changed("chunk-bit-flip", "change a reading", "every single bit of a sealed chunk is flipped in turn", weaken.SealTag,
			func(_ *stream, a, _ []byte) (out [][]byte, err error) {
				for i := range len(a) * 8 {
					b := bytes.Clone(a)
					b[i/8] ^= 1 << (i % 8)
					out = append(out, b)
				}
				return out, nil
			}),
		changed("chunk-truncate", "cut a reading off", "a sealed chunk is cut at every byte", weaken.SealTag,
			func(_ *stream, a, _ []byte) (out [][]byte, err error) {
				for i := range a {
					out = append(out, a[:i])
				}
				return out, nil
			}),
		changed("chunk-reorder", "exchange two readings", "the sequence numbers of two sealed chunks are exchanged", weaken.SealTag,
			func(_ *stream, a, b []byte) ([][]byte, error) {
				a, b = bytes.Clone(a), bytes.Clone(b)
				n := binary.BigEndian.Uint64(a[atSeq:])
				copy(a[atSeq:], b[atSeq:atStart])
				binary.BigEndian.PutUint64(b[atSeq:], n)
				return [][]byte{a, b}, nil
			}),
		changed("chunk-move-in-time", "show an old reading as a new one", "the start time of a sealed chunk is moved by an hour", weaken.SealHeader,
			func(_ *stream, a, _ []byte) ([][]byte, error) {
				a = bytes.Clone(a)
				t := binary.BigEndian.Uint64(a[atStart:])
				binary.BigEndian.PutUint64(a[atStart:], t+uint64(time.Hour/time.Microsecond))
				return [][]byte{a}, nil
			}),
		changed("chunk-splice-stream", "pass one signal off as another", "a chunk of numbers is relabelled as a waveform of the same sensor", weaken.SealHeader,
			func(_ *stream, a, _ []byte) ([][]byte, error) {
				a = bytes.Clone(a)
				a[atSignal] = uint8(vitals.PPG)
				return [][]byte{a}, nil
			}),
		changed("chunk-splice-epoch", "carry a reading into another epoch", "a chunk of another epoch is relabelled as one of this epoch", weaken.SealTag,
			func(s *stream, a, _ []byte) ([][]byte, error) {
				other, _, err := seal.NewSealer(s.key.Recipient(), victimSensor, uint8(vitals.Numerics), 2)
				if err != nil {
					return nil, err
				}
				b, _, err := other.Seal(time.Now(), secretReading)
				if err != nil {
					return nil, err
				}
				copy(b[atEpoch:atSeq], a[atEpoch:atSeq])
				return [][]byte{b}, nil
			}),
		changed("chunk-swap-body", "put one reading under another's name", "the sealed bodies of two chunks of one epoch are exchanged", weaken.SealTag,
			func(_ *stream, a, b []byte) ([][]byte, error) {
				return [][]byte{append(bytes.Clone(a[:atSealed]), b[atSealed:]...), append(bytes.Clone(b[:atSealed]), a[atSealed:]...)}, nil
			}),
		{ID: "chunk-other-sensor", Threat: "speak for another sensor", Position: "an enrolled device with captured bytes of another",
			Does:     "a victim's announcement and chunk are captured and shown as the attacker's own sensor",
			Expected: "neither opens under another sensor's name", Right: attack.Fails(seal.ErrOpen), Control: weaken.SealSensor, Fast: true,
			Run: func(context.Context, *attack.Target) (attack.Result, error) {
				s, err := newStream(victimSensor, vitals.Numerics)
				if err != nil {
					return attack.Result{}, err
				}
				b, err := s.capture()
				if err != nil {
					return attack.Result{}, err
				}
				o, err := seal.OpenAnnouncement(s.key, s.said, "spiffe://demo.vitalseal.internal/sensor/attacker", uint8(vitals.Numerics))
				if err != nil {
					return attack.RefusedWith(attack.Failure(err), "the announcement does not open", "%v", err)
				}
				_, _, err = o.Open(b)
				return attack.Judge(err == nil, attack.Failure(err), "it opened as the attacker's", "the chunk does not open", "%v", err)
			}},
		{ID: "chunk-announce-forged", Threat: "make the hub take a key of the attacker's", Position: "the network",
			Does:     "every byte of an announcement is changed in turn, and its epoch's number raised",
			Expected: "does not open", Right: attack.Fails(seal.ErrOpen).Or(attack.Fails(seal.ErrMalformed)), Control: weaken.None, Fast: true,
			Run: func(context.Context, *attack.Target) (attack.Result, error) {
				s, err := newStream(victimSensor, vitals.Numerics)
				if err != nil {
					return attack.Result{}, err
				}
				opened := 0
				var seen []attack.Seen
				for i := range s.said {
					b := bytes.Clone(s.said)
					b[i] ^= 0x55
					if _, err := seal.OpenAnnouncement(s.key, b, victimSensor, uint8(vitals.Numerics)); err == nil {
						opened++
					} else {
						seen = append(seen, attack.Failure(err)...)
					}
				}
				return attack.Judge(opened > 0, seen, "a forged announcement opened", "none opened", "%d of %d opened", opened, len(s.said))
			}},
		{ID: "chunk-eavesdrop", Threat: "read a measurement on the way", Position: "the network below the inner TLS, or a gateway's memory of what it sent",
			Does: "sealed chunks are searched for the reading in them", Expected: "nothing of it is there", Right: attack.Reads("0 of 64 in clear"), Control: weaken.SealChunks, Fast: true,
			Run: func(context.Context, *attack.Target) (attack.Result, error) {
				s, err := newStream(victimSensor, vitals.Numerics)
				if err != nil {
					return attack.Result{}, err
				}
				found := 0
				for range 64 {
					b, err := s.capture()
					if err != nil {
						return attack.Result{}, err
					}
					if bytes.Contains(b, secretReading[:8]) {
						found++
					}
				}
				return attack.Judge(found > 0, attack.Word("%d of 64 in clear", found), "the reading stands there in clear", "only sealed bytes", "%d of 64 envelopes hold it", found)
			}},
	}
}
