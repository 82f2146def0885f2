package main

import (
	"os"
	"runtime/debug"
)

// What a process does about garbage, in per cent of what is in use. OpenZiti's node makes much of it and keeps little: there memory
// buys CPU, a tenth of all. A gateway has little memory. Whoever sets GOGC knows better.
const (
	serverGarbage  = 400
	gatewayGarbage = 60
)

func collectAt(percent int) {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(percent)
	}
}
