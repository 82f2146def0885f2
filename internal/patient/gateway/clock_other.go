//go:build !linux

package gateway

import "time"

// systemClock is one whose error is unknown.
type systemClock struct{}

func (systemClock) Now() time.Time       { return time.Now() }
func (systemClock) Error() time.Duration { return 0 }
