package main_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"syscall"
	"testing"
)

// TestNoCoreDumps: a process of ours leaves no core file, and no other process of its user reads its memory. Each command does it in
// the same place, so one that waits for a file to be written stands for all, child processes too, which are commands as well.
func TestNoCoreDumps(t *testing.T) {
	dir := t.TempDir()
	fifo := filepath.Join(dir, "policies.cedar")
	if err := syscall.Mkfifo(fifo, 0o666); err != nil { // #nosec G302 -- read by another user
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), vitalseal(t), "policy", "check", fifo)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	w, err := os.OpenFile(fifo, os.O_WRONLY, 0) // opens when the command has opened it to read: then it is past its start
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = w.Close(); _ = cmd.Wait() }()
	proc := fmt.Sprintf("/proc/%d/", cmd.Process.Pid)
	limits, err := os.ReadFile(proc + "limits")
	if err != nil || !regexp.MustCompile(`Max core file size +0 +0 `).Match(limits) {
		t.Errorf("%v: a core file may be written:\n%s", err, limits)
	}
	// What is not dumpable belongs to root in /proc, whichever user runs it. As root this says nothing; TestKeepPrivate asks the process itself.
	info, err := os.Stat(proc + "environ")
	if err != nil {
		t.Fatal(err)
	}
	if st, ok := info.Sys().(*syscall.Stat_t); !ok || st.Uid != 0 {
		t.Errorf("its memory can be read by others of its user: owner %d", st.Uid)
	}
}
