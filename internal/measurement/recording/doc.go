// Package recording reads recordings of people's light, in the forms of several boards, and gives them to the algorithms that a gateway
// runs: for `vitalseal calibrate`, which fits a sensor's own curve ([ReadPoints]), and for the laboratory, which judges the algorithms.
//
// It hides the files' forms (CSV, packets, plain or gzip) and how a recording's light becomes a chip's codes. It guarantees that a
// reader ends in samples within bounds or in an error that wraps [ErrRecording] and names file, line and column, and that a hole stays
// a hole. It judges nothing, and does not protect against a recording whose reference is wrong.
package recording
