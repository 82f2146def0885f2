package overlay_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"vitalseal/internal/way/overlay"
)

// logBuffer is written by several goroutines.
type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// TestSuperviseHopeless gives up on a child that never becomes ready, and logs what it said,
// redacted.
func TestSuperviseHopeless(t *testing.T) {
	var logged logBuffer
	err := overlay.Supervise(t.Context(), overlay.SuperviseConfig{Exe: "/bin/sh",
		Args: []string{"-c", `echo "port in use, token=abcdef123"; exit 7`}, Dir: t.TempDir(), Log: slog.New(slog.NewTextHandler(&logged, nil))})
	if err == nil || !strings.Contains(err.Error(), "exit status 7") {
		t.Errorf("supervise: %v", err)
	}
	text := logged.String()
	if !strings.Contains(text, "port in use") || strings.Contains(text, "abcdef123") {
		t.Errorf("log: %s", text)
	}
}

// TestMain is also a supervisor of its own, which TestSuperviseParentDies kills.
func TestMain(m *testing.M) {
	if dir := os.Getenv("VITALSEAL_TEST_SUPERVISE"); dir != "" {
		_ = overlay.Supervise(context.Background(), sleeper(dir))
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// sleeper is a child that says it is ready and does nothing.
func sleeper(dir string) overlay.SuperviseConfig {
	script := fmt.Sprintf(`echo "{\"version\":1,\"pid\":$$}" > %[1]s.tmp && mv %[1]s.tmp %[1]s && exec sleep 600`, filepath.Join(dir, overlay.NodeFile))
	return overlay.SuperviseConfig{Exe: "/bin/sh", Args: []string{"-c", script}, Dir: dir, Log: quiet}
}

// nextChild waits for a child that is not the one before.
func nextChild(t *testing.T, dir string, before int) int {
	t.Helper()
	for deadline := time.Now().Add(2 * time.Minute); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		if n, err := overlay.ReadNode(dir); err == nil && n.PID != before {
			return n.PID
		}
	}
	t.Fatal("no child became ready")
	return 0
}

// TestSuperviseParentDies kills a supervisor outright: its child does not stay behind.
func TestSuperviseParentDies(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("elsewhere the real node watches its parent; this child does not")
	}
	dir := t.TempDir()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "VITALSEAL_TEST_SUPERVISE="+dir)
	must(t, cmd.Start())
	child := nextChild(t, dir, 0)
	must(t, cmd.Process.Kill())
	_ = cmd.Wait()
	for deadline := time.Now().Add(2 * time.Minute); ; time.Sleep(5 * time.Millisecond) {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", child))
		if err != nil || bytes.Contains(stat, []byte(") Z ")) { // gone, or waiting for init to collect it
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("the child outlives its dead supervisor")
		}
	}
}

// TestSuperviseRestarts kills a child that was ready; another one takes its place, and ends with
// the context.
func TestSuperviseRestarts(t *testing.T) {
	dir := t.TempDir()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- overlay.Supervise(ctx, sleeper(dir)) }()
	first := nextChild(t, dir, 0)
	p, err := os.FindProcess(first)
	must(t, err)
	must(t, p.Kill())
	second := nextChild(t, dir, first)
	cancel()
	must(t, <-ended)
	if _, err := os.Stat(fmt.Sprintf("/proc/%d", second)); err == nil {
		t.Error("the child outlives its supervisor")
	}
}

func TestWaitReady(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := overlay.WaitReady(ctx, t.TempDir()); err == nil {
		t.Error("an empty directory is ready")
	}
}
