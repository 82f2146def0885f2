package audit_test

import (
	"context"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"vitalseal/internal/shared/audit"
)

// TestCopyWhileWritten: a copy that is made while entries come opens as a log that was never cut.
func TestCopyWhileWritten(t *testing.T) {
	h := newHome(t)
	l := h.open(t)
	fill(t, l, 20)
	ctx, stop := context.WithCancel(t.Context())
	written := make(chan struct{})
	go func() {
		defer close(written)
		for i := 0; i < 3000 && ctx.Err() == nil; i++ {
			_, _ = l.Append(ctx, entry(i)) // the last one is cut off by stop
		}
	}()
	root := t.TempDir()
	for i := range 5 {
		to := filepath.Join(root, strconv.Itoa(i))
		if err := audit.Copy(h.dir, to); err != nil {
			t.Fatal(err)
		}
		c, err := audit.OpenWith(to, h.key, quiet, 600, noSync)
		if err != nil {
			t.Fatal(err)
		}
		closeLog(t, c)
	}
	stop()
	<-written
	closeLog(t, l)
	if err := audit.Copy(h.dir, filepath.Join(root, "0")); err == nil {
		t.Error("over another log")
	}
	if err := audit.Copy(t.TempDir(), filepath.Join(root, "none")); err == nil {
		t.Error("a folder without a log")
	}
	info, err := os.Stat(filepath.Join(root, "0", "checkpoint"))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Error(info, err)
	}
}
