package thingspeak

import "time"

const (
	packetEvery = time.Millisecond // of one MQTT client, in the long run
	packetBurst = 2000             // at once
)

// tempo spaces what one MQTT client sends: a subscription is a decision and an audit entry, however small its packet. Its zero value
// is that of a client that has sent nothing yet. It belongs to the goroutine that reads from the client.
type tempo struct {
	next time.Time // when the next packet is due, had all come evenly
}

// wait counts a packet and says how long to wait before it is looked at; only the client's own buffers fill up meanwhile.
func (t *tempo) wait(now time.Time) time.Duration {
	if earliest := now.Add(-packetBurst * packetEvery); t.next.Before(earliest) {
		t.next = earliest
	}
	t.next = t.next.Add(packetEvery)
	return max(0, t.next.Sub(now))
}
