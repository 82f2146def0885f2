// Package delivery is the protocol that brings sealed chunks from a gateway's outbox to the hub's
// store: what both ends say (doc/formats/ingest.md). Package uplink is the gateway's end, package
// ingest the hub's.
//
// It hides frames and their bytes. It keeps no connection, no clock and no state: bytes become
// values or ErrFrame, with bounds on all of them. What it parses is not authenticated: that the
// sensor of a chunk is the identity that its connection proved, and that the chunk opens, is for
// the hub's end to see.
package delivery

import (
	"errors"
	"time"

	"vitalseal/internal/way/seal"
)

// Version is the protocol version that both ends must speak. What came later is said behind the
// fields of its hello, so that either end may be older.
const Version = 1

// versionClock is the version from which on an end speaks of clocks.
const versionClock = 2

var (
	// ErrFrame means the other end sent bytes that are not a frame of the protocol; the connection
	// ends.
	ErrFrame = errors.New("delivery: bad frame")
	// ErrBroken means that the connection ended inside a frame: nothing says that the other end
	// sent a wrong one.
	ErrBroken = errors.New("delivery: connection broke inside a frame")
	// ErrVersion means the other end speaks another version of the protocol.
	ErrVersion = errors.New("delivery: protocol version not supported")
	// ErrRefused means the hub ended the connection for a reason it gave: not active, replaced,
	// busy.
	ErrRefused = errors.New("delivery: refused by the hub")
)

// Reason says why an outcome is what it is. The numbers are part of the protocol and never change.
type Reason uint8

// The closed set of reasons.
const (
	NoReason      Reason = 0  // accepted or duplicate: nothing to explain
	Unavailable   Reason = 1  // retry: the hub cannot store now
	UnknownEpoch  Reason = 2  // retry after announcing the epoch (again)
	DoesNotOpen   Reason = 3  // rejected: forged, changed, or sealed for another sensor or hub
	Malformed     Reason = 4  // rejected: opened, but not a chunk; or not an envelope at all
	Mismatch      Reason = 5  // rejected: sealed header and chunk disagree
	EpochReused   Reason = 6  // rejected: the epoch's number is not above the highest seen: a clone or restored backup?
	StoreRejected Reason = 7  // rejected by the store for good, such as an implausible time
	NotActive     Reason = 8  // connection refused: the identity is not active in the inventory
	Replaced      Reason = 9  // connection ended: the same identity connected anew
	Busy          Reason = 10 // connection refused: too many connections
	BadVersion    Reason = 11 // connection refused: protocol version
	BadFrame      Reason = 12 // connection ended: not a frame
	WrongKind     Reason = 13 // connection refused: only sensors and gateways deliver
	Stopping      Reason = 14 // connection ended: the hub stops
	NotAnnounced  Reason = 15 // set aside by the sender: the hub lacks the epoch and the sender no longer has its announcement
	Fenced        Reason = 16 // connection refused: the identity is in use by a newer start of its gateway: a clone or restored backup?
	EpochJump     Reason = 17 // rejected: the epoch's number is above what this start, or any gateway, can have counted to
	StartJump     Reason = 18 // connection refused: the boot counter is above what a gateway can have counted to
	OtherContent  Reason = 19 // rejected: another chunk is stored under this stream, epoch and sequence number
	OlderStart    Reason = 20 // never sent: an older start was let in, because the newest has not been seen
	Broken        Reason = 21 // never sent: the connection broke before the hello was whole, or inside a frame
	maxReason            = Broken
)

var reasonNames = [maxReason + 1]string{"none", "hub cannot store now", "unknown epoch", "does not open", "malformed",
	"header and chunk disagree", "epoch number reused (restored backup or clone?)", "rejected by the store", "identity not active",
	"replaced by a newer connection", "hub is busy", "protocol version", "bad frame", "kind of identity may not deliver", "hub stops",
	"announcement of its epoch is lost", "a newer start of this gateway delivers (restored backup or clone?)",
	"epoch number beyond what the gateway can have counted to", "boot counter beyond what the gateway can have counted to",
	"another chunk is stored under this number (snapshot started twice, or forged?)",
	"an older start delivers, because the newest was not seen (restored backup?); it was told the number to exceed",
	"the connection broke"}

// String is the reason in words, for logs.
func (r Reason) String() string {
	if r > maxReason {
		return "unknown reason"
	}
	return reasonNames[r]
}

// The codes of a sensor's events about its gateway's disk. The hub shows the detail of the first on
// the device view until the second comes.
const (
	EventStorageFailed = "storage_failed"
	EventStorageWorks  = "storage_works"
)

// EncodeAnnouncement makes the outbox record's data for an epoch's announcement, as seal.NewSealer
// returned it. Its class in the outbox is Control: it must outlive the chunks of its epoch.
func EncodeAnnouncement(announcement []byte) []byte {
	return append([]byte{byte(FrameAnnouncement)}, announcement...)
}

// EncodeEnvelope makes the outbox record's data for a sealed chunk, as Sealer.Seal returned it.
func EncodeEnvelope(envelope []byte) []byte {
	return append([]byte{byte(FrameEnvelope)}, envelope...)
}

// Message is what an outbox record holds, as far as it can be told without opening it.
type Message struct {
	Announcement bool
	Signal       uint8
	Epoch        seal.Epoch
	Seq          uint64    // zero for an announcement
	Start        time.Time // of the chunk; zero for an announcement
}

// ParseMessage looks at an outbox record's data. Nothing in it is authenticated. It wraps ErrFrame.
func ParseMessage(data []byte) (Message, error) {
	if len(data) < 1 {
		return Message{}, ErrFrame
	}
	switch FrameType(data[0]) {
	case FrameAnnouncement:
		info, err := seal.ParseAnnouncement(data[1:])
		if err != nil {
			return Message{}, errors.Join(ErrFrame, err)
		}
		return Message{Announcement: true, Signal: info.Signal, Epoch: info.Epoch}, nil
	case FrameEnvelope:
		h, err := seal.ParseHeader(data[1:], "")
		if err != nil {
			return Message{}, errors.Join(ErrFrame, err)
		}
		return Message{Signal: h.Signal, Epoch: h.Epoch, Seq: h.Seq, Start: h.Start}, nil
	}
	return Message{}, ErrFrame
}
