// Package accuracy measures how near the system's vital signs come to the truth, on a folder of recordings of people:
// `vitalseal accuracy DIR`.
//
// It reads the recordings (cuff deflations, finger and camera pulses, treadmill runs, intensive care), gives them to the
// very algorithms that a gateway runs, and compares what those say with each recording's own reference. A cuff's pressure
// goes through the simulated bridge, amplifier and 10-bit MCP3008 and their drivers, 1,000 conversions a second averaged to
// 100 Hz; light goes into package signal at the rate it was recorded with, scaled to a converter's codes.
//
// It hides file forms and how values and references are brought to one time. It guarantees that a recording it cannot read
// is named, with file and line, and counted, and never ends the run; that a value that was refused is counted as refused and
// never as right; that the figures depend on the recordings alone (but for the CPU time); that memory is bounded by the
// largest recordings that are read at once. Run may be called from several goroutines.
//
// It does not judge what the recordings do not hold: twelve cuffs are not the 85 that ISO 81060-2 asks for, and a good figure
// here is no approval. It trusts the references.
package accuracy
