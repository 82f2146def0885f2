package disk

import (
	"math"
	"os"
	"syscall"
)

func allocate(f *os.File, n int64) error {
	err := syscall.Fallocate(int(f.Fd()), 0, 0, n) // #nosec G115 -- a file descriptor
	if err == syscall.EOPNOTSUPP || err == syscall.ENOSYS {
		return fill(f, n)
	}
	return err
}

func size(dir string) (int64, bool) {
	var s syscall.Statfs_t
	if err := syscall.Statfs(dir, &s); err != nil || s.Bsize <= 0 {
		return 0, false
	}
	return int64(min(s.Blocks, math.MaxInt64/uint64(s.Bsize))) * s.Bsize, true // #nosec G115 -- bounded
}
