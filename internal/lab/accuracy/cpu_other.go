//go:build !unix

package accuracy

import "time"

var began = time.Now()

// cpuSeconds is the time since the process began: where the system does not tell the processor's.
func cpuSeconds() float64 { return time.Since(began).Seconds() }
