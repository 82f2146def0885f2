package disk_test

import (
	"errors"
	"fmt"
	"strings"
	"syscall"
	"testing"

	"vitalseal/internal/shared/disk"
)

func TestExplain(t *testing.T) {
	dir := t.TempDir()
	full := disk.Explain(fmt.Errorf("append: %w", syscall.ENOSPC), dir, false)
	if !errors.Is(full, disk.ErrFull) || !errors.Is(full, syscall.ENOSPC) || !strings.Contains(full.Error(), dir) || !strings.Contains(full.Error(), "delete") {
		t.Errorf("full: %v", full)
	}
	if again := disk.Explain(full, dir, false); again.Error() != full.Error() {
		t.Errorf("explained twice: %v", again)
	}
	for _, e := range []error{syscall.EROFS, syscall.EIO} {
		if got := disk.Explain(e, dir, false); !errors.Is(got, e) || !strings.Contains(got.Error(), dir) {
			t.Errorf("%v: %v", e, got)
		}
	}
	other := errors.New("something else")
	if got := disk.Explain(other, dir, true); got.Error() != other.Error() && !errors.Is(got, disk.ErrFull) {
		t.Errorf("%v", got)
	}
	if disk.Explain(nil, dir, true) != nil {
		t.Error("no error is explained")
	}
}
