package main

import (
	"os"
	"runtime/debug"
)

// What a process does about garbage, in per cent of what is in use: a server has memory and lacks CPU, a gateway the other way
// round. Whoever sets GOGC knows better.
const (
	serverGarbage  = 400
	gatewayGarbage = 60
)

func collectAt(percent int) {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(percent)
	}
}
