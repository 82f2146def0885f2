package cli

import (
	"os"
	"runtime/debug"
)

// What a process does about garbage, in per cent of what is in use. OpenZiti's node makes much of it and keeps little: there memory
// buys CPU, a tenth of all. A gateway has little memory. The environment variable GOGC overrides both.
const (
	ServerGarbage  = 400
	GatewayGarbage = 60
)

// CollectAt sets the garbage collector to percent, unless GOGC is set.
func CollectAt(percent int) {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(percent)
	}
}
