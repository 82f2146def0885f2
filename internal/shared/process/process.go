// Package process starts the commands of a deployment as child processes, for what runs a whole one
// on this machine: the demo and the measurements.
//
// It hides waiting for READY=1 (as systemd does), Pdeathsig, log files and /proc. It guarantees
// that a child does not outlive its parent, and that Stop ends a child, by force after the grace
// time, which is an error then. It does not restart anything.
package process

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Process is one part of a deployment, started as its users would start it. Err is valid once Done
// is closed.
type Process struct {
	Name string
	Log  string // path of the file that holds what it printed
	Done chan struct{}
	Err  error // why it ended

	cmd *exec.Cmd
}

// Supervisor starts and stops processes. One goroutine calls Start and Stop; the rest may be called
// by any.
type Supervisor struct {
	exe, logs string

	mu    sync.Mutex // guards procs
	procs []*Process

	// Ended tells of each process that ended, wanted or not.
	Ended chan *Process
}

// New makes a supervisor of commands of the binary exe, whose output goes to files in the folder
// logs.
func New(exe, logs string) (*Supervisor, error) {
	if err := os.MkdirAll(logs, 0o700); err != nil {
		return nil, err
	}
	return &Supervisor{exe: exe, logs: logs, Ended: make(chan *Process, 64)}, nil
}

// Start runs the command line and waits until the process says that it is ready, ends, or ctx is
// done.
func (s *Supervisor) Start(ctx context.Context, name string, args ...string) (*Process, error) {
	return s.StartProgram(ctx, s.exe, name, args...)
}

// StartProgram is Start with another binary than the supervisor's own.
func (s *Supervisor) StartProgram(ctx context.Context, exe, name string, args ...string) (*Process, error) {
	dir, err := os.MkdirTemp("", "vitalseal-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	ready, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: filepath.Join(dir, "ready"), Net: "unixgram"})
	if err != nil {
		return nil, err
	}
	defer ready.Close()

	p := &Process{Name: name, Log: filepath.Join(s.logs, name+".log"), Done: make(chan struct{})}
	out, err := os.OpenFile(p.Log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	// #nosec G204 -- our own binary with arguments made here
	p.cmd = exec.CommandContext(context.WithoutCancel(ctx), exe, args...)
	p.cmd.Stdout, p.cmd.Stderr = out, out
	p.cmd.Env = append(os.Environ(), "NOTIFY_SOCKET="+filepath.Join(dir, "ready"))
	// Its own group, so that Ctrl-C at the terminal reaches only the demo, which stops the parts in
	// order; and no part outlives a demo that was killed.
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
	started := make(chan error, 1)
	go func() {
		// The parent-death signal is sent when the starting *thread* ends, so this one stays for as
		// long as the child.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := p.cmd.Start()
		started <- err
		if err == nil {
			p.Err = p.cmd.Wait()
		}
		_ = out.Close()
		close(p.Done)
		select {
		case s.Ended <- p:
		default: // the output is not read any more; the process is reaped either way
		}
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	s.mu.Lock()
	s.procs = append(s.procs, p)
	s.mu.Unlock()

	told := make(chan error, 1)
	go func() {
		b := make([]byte, 256)
		for {
			n, err := ready.Read(b)
			if err != nil || strings.Contains(string(b[:n]), "READY=1") {
				told <- err
				return
			}
		}
	}()
	select {
	case err := <-told:
		return p, err
	case <-p.Done:
		return nil, fmt.Errorf("%s ended at its start: %w\n%s(whole log: %s)", name, p.Err, LastLines(p.Log, 5), p.Log)
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// Run executes one of our commands to its end, for instance an enrolment.
func (s *Supervisor) Run(ctx context.Context, args ...string) error {
	// #nosec G204 -- our own binary with arguments made here
	cmd := exec.CommandContext(ctx, s.exe, args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
	runtime.LockOSThread() // as in Start: the signal is the thread's
	defer runtime.UnlockOSThread()
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("vitalseal %s: %w\n%s", args[0], err, out)
	}
	return nil
}

// Stop asks p to end and waits; it kills it after the grace time and says so.
func (s *Supervisor) Stop(p *Process, grace time.Duration) error {
	if p == nil {
		return nil
	}
	select {
	case <-p.Done:
		return nil
	default:
	}
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("stop %s: %w", p.Name, err)
	}
	timer := time.NewTimer(grace)
	defer timer.Stop()
	select {
	case <-p.Done:
		return nil
	case <-timer.C:
		_ = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL) // the whole group: children too
		<-p.Done
		return fmt.Errorf("%s did not stop within %v and was killed (log: %s)", p.Name, grace, p.Log)
	}
}

// StopAll ends whatever is still running, newest first.
func (s *Supervisor) StopAll(grace time.Duration) error {
	s.mu.Lock()
	procs := append([]*Process(nil), s.procs...)
	s.mu.Unlock()
	var errs []error
	for i := len(procs) - 1; i >= 0; i-- {
		errs = append(errs, s.Stop(procs[i], grace))
	}
	return errors.Join(errs...)
}

// LastLines gives the end of a log file for an error message.
func LastLines(path string, n int) string {
	f, err := os.Open(path) // #nosec G304 -- a log file made here
	if err != nil {
		return ""
	}
	defer f.Close()
	if size, err := f.Seek(0, io.SeekEnd); err == nil {
		_, _ = f.Seek(max(0, size-8192), io.SeekStart)
	}
	b, err := io.ReadAll(f)
	if err != nil {
		return ""
	}
	lines := strings.Split(strings.TrimRight(string(b), "\n"), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n") + "\n"
}
