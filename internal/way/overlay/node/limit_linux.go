package node

import "syscall"

// rlimitData is RLIMIT_DATA, which package syscall does not name on every architecture: it counts
// private writable memory, and so not the database's map, nor the address space that Go sets aside.
const rlimitData = 2

// limitData bounds this process's private writable memory.
func limitData(limit uint64) error {
	var now syscall.Rlimit
	if err := syscall.Getrlimit(rlimitData, &now); err != nil {
		return err
	}
	return syscall.Setrlimit(rlimitData, &syscall.Rlimit{Cur: min(limit, now.Max), Max: min(limit, now.Max)})
}
