// Package peers measures the same patients through Vitalseal and through what would be used instead, for `vitalseal bench peers`:
// mosquitto with InfluxDB or VictoriaMetrics behind it, and rows in PostgreSQL.
//
// It hides how each of these programs is started and asked, and their gateways and subscriber, which are processes of the laboratory's
// binary. It guarantees that all of them get the same samples from the same simulated chips, and that each program that it started has
// ended when a measurement returns. It protects nothing: what the others carry is neither sealed nor decided.
package peers
