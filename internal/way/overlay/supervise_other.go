//go:build !linux

package overlay

import "syscall"

// childAttributes has nothing to add here: the child watches its parent's process id.
func childAttributes() *syscall.SysProcAttr { return nil }
