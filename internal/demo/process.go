package demo

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// process is one part of the deployment, started as its users would start it.
type process struct {
	name string
	cmd  *exec.Cmd
	log  string // path of the file that holds its stderr

	done chan struct{} // closed once it has ended
	err  error         // why it ended; read only after done
}

// supervisor starts and stops the processes. One goroutine calls start and stop; done and resident may be called by any.
type supervisor struct {
	exe, logs string

	mu    sync.Mutex // guards procs
	procs []*process

	ended chan *process // a process that ended, wanted or not
}

func newSupervisor(exe, logs string) (*supervisor, error) {
	if err := os.MkdirAll(logs, 0o700); err != nil {
		return nil, err
	}
	return &supervisor{exe: exe, logs: logs, ended: make(chan *process, 64)}, nil
}

// start runs the command line and waits until the process says that it is ready, ends, or ctx is done.
func (s *supervisor) start(ctx context.Context, name string, args ...string) (*process, error) {
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

	p := &process{name: name, log: filepath.Join(s.logs, name+".log"), done: make(chan struct{})}
	out, err := os.OpenFile(p.log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	// #nosec G204 -- our own binary with arguments made here
	p.cmd = exec.CommandContext(context.WithoutCancel(ctx), s.exe, args...)
	p.cmd.Stdout, p.cmd.Stderr = out, out
	p.cmd.Env = append(os.Environ(), "NOTIFY_SOCKET="+filepath.Join(dir, "ready"))
	// Its own group, so that Ctrl-C at the terminal reaches only the demo, which stops the parts in order; and no
	// part outlives a demo that was killed.
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
	started := make(chan error, 1)
	go func() {
		// The parent-death signal is sent when the starting *thread* ends, so this one stays for as long as the child.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := p.cmd.Start()
		started <- err
		if err == nil {
			p.err = p.cmd.Wait()
		}
		_ = out.Close()
		close(p.done)
		select {
		case s.ended <- p:
		default: // nobody reads any more; the process is reaped either way
		}
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("demo: start %s: %w", name, err)
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
	case <-p.done:
		return nil, fmt.Errorf("demo: %s ended at its start: %w\n%s(whole log: %s)", name, p.err, lastLines(p.log, 5), p.log)
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// run executes one of our commands to its end, for instance an enrolment.
func (s *supervisor) run(ctx context.Context, args ...string) error {
	// #nosec G204 -- our own binary with arguments made here
	cmd := exec.CommandContext(ctx, s.exe, args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
	runtime.LockOSThread() // as in start: the signal is the thread's
	defer runtime.UnlockOSThread()
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("demo: vitalseal %s: %w\n%s", args[0], err, out)
	}
	return nil
}

// stop asks p to end and waits; it kills it after the grace time and says so.
func (s *supervisor) stop(p *process, grace time.Duration) error {
	if p == nil {
		return nil
	}
	select {
	case <-p.done:
		return nil
	default:
	}
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("demo: stop %s: %w", p.name, err)
	}
	timer := time.NewTimer(grace)
	defer timer.Stop()
	select {
	case <-p.done:
		return nil
	case <-timer.C:
		_ = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL) // the whole group: children too
		<-p.done
		return fmt.Errorf("demo: %s did not stop within %v and was killed (log: %s)", p.name, grace, p.log)
	}
}

// stopAll ends whatever is still running, newest first.
func (s *supervisor) stopAll(grace time.Duration) error {
	s.mu.Lock()
	procs := append([]*process(nil), s.procs...)
	s.mu.Unlock()
	var errs []error
	for i := len(procs) - 1; i >= 0; i-- {
		errs = append(errs, s.stop(procs[i], grace))
	}
	return errors.Join(errs...)
}

// residentMiB is the memory each running process holds, children (the overlay's node) included.
func (s *supervisor) residentMiB() map[string]float64 {
	children := childrenOf()
	s.mu.Lock()
	defer s.mu.Unlock()
	m := map[string]float64{"demo": residentMiB(os.Getpid())}
	for _, p := range s.procs {
		select {
		case <-p.done:
			continue
		default:
		}
		var sum func(pid int) float64
		sum = func(pid int) float64 {
			mib := residentMiB(pid)
			for _, c := range children[pid] {
				mib += sum(c)
			}
			return mib
		}
		m[p.name] = sum(p.cmd.Process.Pid)
	}
	return m
}

// residentMiB reads VmRSS of one process, rounded to a tenth; 0 when it cannot be known.
func residentMiB(pid int) float64 {
	f, err := os.Open(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0
	}
	defer f.Close()
	sc := bufio.NewScanner(f)
	for sc.Scan() {
		if rest, ok := strings.CutPrefix(sc.Text(), "VmRSS:"); ok {
			kib, err := strconv.ParseFloat(strings.Fields(rest)[0], 64)
			if err != nil {
				return 0
			}
			return float64(int(kib/1024*10+0.5)) / 10
		}
	}
	return 0
}

// childrenOf maps a process to its children, from /proc.
func childrenOf() map[int][]int {
	m := map[int][]int{}
	dirs, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return m
	}
	for _, path := range dirs {
		b, err := os.ReadFile(path) // #nosec G304 -- a path that the glob found in /proc
		if err != nil {
			continue
		}
		// pid (name, which may hold spaces and brackets) state ppid ...
		s := string(b)
		end := strings.LastIndexByte(s, ')')
		if end < 0 {
			continue
		}
		rest := strings.Fields(s[end+1:])
		pid, err1 := strconv.Atoi(strings.Fields(s)[0])
		if len(rest) < 2 || err1 != nil {
			continue
		}
		if ppid, err := strconv.Atoi(rest[1]); err == nil {
			m[ppid] = append(m[ppid], pid)
		}
	}
	return m
}

// lastLines gives the end of a log file for an error message.
func lastLines(path string, n int) string {
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
