package pgserver

import "runtime"

// lock keeps the goroutine on its thread.
func lock() { runtime.LockOSThread() }
