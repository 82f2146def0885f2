package seal_test

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hpke"
	"encoding/binary"
	"testing"
	"time"

	"pgregory.net/rapid"

	"vitalseal/internal/way/seal"
)

// TestFormat opens what the package sealed with nothing but doc/formats/envelope.md, written out a
// second time here. It also has the data key then, and looks for it in all that leaves the sender.
func TestFormat(t *testing.T) {
	k, s, announcement := sealed(t)
	e := s.Epoch()
	head := binary.BigEndian.AppendUint64(append([]byte{1, 1}, e.ID[:]...), 7<<20)
	if len(announcement) != 1194 || !bytes.HasPrefix(announcement, head) {
		t.Fatalf("announcement of %d bytes begins %x, want %x", len(announcement), announcement[:26], head)
	}
	private, err := hpke.MLKEM768X25519().NewPrivateKey(k.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	info := append([]byte("vitalseal epoch v1\x00\x01"), head[2:]...)
	info = append(info, sensor...)
	key, err := hpke.Open(private, hpke.HKDFSHA256(), hpke.AES256GCM(), info, announcement[26:])
	if err != nil || len(key) != 32 {
		t.Fatalf("data key: %d bytes, %v", len(key), err)
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		t.Fatal(err)
	}
	gcm, err := cipher.NewGCM(block)
	if err != nil {
		t.Fatal(err)
	}
	stored := bytes.Clone(announcement)
	for seq := range uint64(3) {
		envelope, _, err := s.Seal(start, []byte("a chunk"))
		if err != nil {
			t.Fatal(err)
		}
		want := binary.BigEndian.AppendUint64(bytes.Clone(head), seq)
		want = binary.BigEndian.AppendUint64(want, uint64(start.UnixMicro()))
		if len(envelope) != 42+7+16 || !bytes.HasPrefix(envelope, want) {
			t.Fatalf("envelope of %d bytes begins %x, want %x", len(envelope), envelope[:42], want)
		}
		nonce := []byte{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, byte(seq)}
		b, err := gcm.Open(nil, nonce, envelope[42:], append(want, sensor...))
		if err != nil || string(b) != "a chunk" {
			t.Fatalf("chunk %d: %q, %v", seq, b, err)
		}
		stored = append(stored, envelope...)
	}
	for i := range len(key) - 7 { // not even a quarter of it
		if bytes.Contains(stored, key[i:i+8]) {
			t.Error("part of the data key is in what was sent")
		}
	}
	// Nor does another announcement of the same stream have the same key or epoch.
	other, second, err := seal.NewSealer(k.Recipient(), sensor, 1, 7<<20)
	if err != nil {
		t.Fatal(err)
	}
	if other.Epoch().ID == e.ID || bytes.Equal(second[26:], announcement[26:]) {
		t.Error("two epochs share an id or a key")
	}
}

func TestRoundTripProperty(t *testing.T) {
	k, err := seal.GenerateRecipientKey()
	if err != nil {
		t.Fatal(err)
	}
	rapid.Check(t, func(t *rapid.T) {
		name := rapid.String().Draw(t, "sensor")
		signal := rapid.Uint8().Draw(t, "signal")
		s, announcement, err := seal.NewSealer(k.Recipient(), name, signal, rapid.Uint64().Draw(t, "number"))
		if err != nil {
			t.Fatal(err)
		}
		if info, err := seal.ParseAnnouncement(announcement); err != nil || info.Epoch != s.Epoch() || info.Signal != signal {
			t.Fatalf("ParseAnnouncement = %+v, %v", info, err)
		}
		o, err := seal.OpenAnnouncement(k, announcement, name, signal)
		if err != nil {
			t.Fatal(err)
		}
		for range rapid.IntRange(1, 4).Draw(t, "chunks") {
			plaintext := rapid.SliceOf(rapid.Byte()).Draw(t, "plaintext")
			envelope, h, err := s.Seal(time.UnixMicro(rapid.Int64Range(0, 253402300799e6).Draw(t, "start")), plaintext)
			if err != nil {
				t.Fatal(err)
			}
			got, b, err := o.Open(envelope)
			if err != nil || got != h || !bytes.Equal(b, plaintext) {
				t.Fatalf("Open = %+v, %x, %v; want %+v, %x", got, b, err, h, plaintext)
			}
		}
	})
}

func FuzzAnnouncement(f *testing.F) {
	k, _, announcement := sealed(f)
	f.Add(announcement)
	f.Add(announcement[:26])
	f.Add(make([]byte, len(announcement)))
	f.Fuzz(func(t *testing.T, b []byte) {
		info, parseErr := seal.ParseAnnouncement(b)
		_, openErr := seal.OpenAnnouncement(k, b, sensor, info.Signal)
		if openErr == nil && !bytes.Equal(b, announcement) {
			t.Error("forged")
		}
		if parseErr != nil && openErr == nil {
			t.Error("opened what it could not read")
		}
	})
}
