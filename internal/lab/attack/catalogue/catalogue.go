// Package catalogue is the one list of all attacks, in the order in which they are carried out.
//
// An attack is found by the beginning of its id, up to the first dash:
//
//	audit, chunk, disk                             records
//	persons, policy                                persons
//	clock, fence, sensor, wire                     wire
//	cloud, http, key, legacy, mqtt, station        faces
//	session                                        sessions
//	overlay, recover, revoke                       network
//	flood                                          flood
//
// The packages of attacks import what they share, [attack] and its packages office, rogue and load,
// and never each other.
package catalogue

import (
	"slices"

	"vitalseal/internal/lab/attack"
	"vitalseal/internal/lab/attack/faces"
	"vitalseal/internal/lab/attack/flood"
	"vitalseal/internal/lab/attack/network"
	"vitalseal/internal/lab/attack/persons"
	"vitalseal/internal/lab/attack/records"
	"vitalseal/internal/lab/attack/sessions"
	"vitalseal/internal/lab/attack/wire"
)

// Family is the attacks that one function of a package makes.
type Family struct {
	// Package is its folder below internal/lab/attack.
	Package string
	Attacks func() []attack.Attack
}

// Families are all families, in the order in which they are carried out: those that take something
// away for good come last.
func Families() []Family {
	return []Family{
		{"records", records.Chunks},
		{"records", records.Audit},
		{"records", records.Witness},
		{"records", records.SplitView},
		{"persons", persons.Alone},
		{"persons", persons.Leave},
		{"persons", persons.Codes},
		{"persons", persons.Moves},
		{"persons", persons.Policy},
		{"wire", wire.Sensors},
		{"records", records.Disk},
		{"records", records.Full},
		{"wire", wire.Fence},
		{"faces", faces.HTTP},
		{"faces", faces.Browser},
		{"faces", faces.Keys},
		{"faces", faces.MQTT},
		{"faces", faces.Cloud},
		{"sessions", sessions.Tokens},
		{"sessions", sessions.Guesses},
		{"sessions", sessions.Spray},
		{"sessions", sessions.Passkeys},
		{"faces", faces.Stations},
		{"wire", wire.Frames},
		{"faces", faces.Legacy},
		{"network", network.Overlay},
		{"network", network.Revoke},
		{"network", network.Recover},
		{"flood", flood.Attacks},
	}
}

// All are the attacks of all families.
func All() []attack.Attack {
	var all [][]attack.Attack
	for _, f := range Families() {
		all = append(all, f.Attacks())
	}
	return slices.Concat(all...)
}
