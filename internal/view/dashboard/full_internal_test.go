package dashboard

import (
	"fmt"
	"net/http"
	"strings"
	"syscall"
	"testing"
)

// TestFullDiskIsNamed: what a full disk refuses says so, and is no success.
func TestFullDiskIsNamed(t *testing.T) {
	err := fmt.Errorf("access: %w", fmt.Errorf("audit: append: %w", syscall.ENOSPC))
	if status, text := statusOf(err); status != http.StatusInsufficientStorage || !strings.HasPrefix(text, "The hub's disk is full.") {
		t.Errorf("%d %q", status, text)
	}
}
