// Package legacy takes readings of devices that speak ThingSpeak, such as an Arduino, on the gateway's own network: over
// HTTP (/update, bulk_update) and MQTT (channels/ID/publish). doc/legacy.md describes what such a device may send.
//
// It hides the two protocols, the devices' keys, times and pace, and what became of each message ([Counts]). What it has
// accepted goes to a [Sink], which the gateway implements: nothing here knows of sealing, the outbox or the hub.
//
// It guarantees that a number is taken only from a device that shows its own key, for its own channel, once, in range, and
// never as better than vitals.Asserted; that a field that is no value is the absence of one; that what is refused is
// counted and told, to the device too; and that a flood of connections, guesses or messages is bounded and takes no place
// from a device that has shown its key. Nothing can be read through it.
//
// It does not protect against a listener on the devices' network: their protocols have no encryption, and a key that was
// read there is as good as the device's.
package legacy
