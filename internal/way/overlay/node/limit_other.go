//go:build !linux

package node

import "errors"

// limitData bounds this process's private writable memory.
func limitData(uint64) error { return errors.New("not on this system") }
