package peers

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	"vitalseal/internal/lab/bench"
	"vitalseal/internal/shared/process"
)

// MissingProgram says that a program to compare with is not installed.
type MissingProgram struct{ Program, Package string }

func (e *MissingProgram) Error() string {
	return fmt.Sprintf("measure: %s is not installed", e.Program)
}

// findProgram looks where Debian puts programs, beside the path.
func findProgram(name, pkg string, elsewhere ...string) (string, error) {
	for _, at := range append([]string{name}, elsewhere...) {
		if path, err := exec.LookPath(at); err == nil {
			return path, nil
		}
	}
	return "", &MissingProgram{name, pkg}
}

// program is a third party's, running.
type program struct {
	name string
	cmd  *exec.Cmd
	log  string
	done chan struct{}
	err  error // once done is closed
}

// startProgram starts it with its output in a file; it does not outlive us.
func startProgram(log string, as *syscall.Credential, path string, args ...string) (*program, error) {
	p := &program{name: filepath.Base(path), log: log, done: make(chan struct{})}
	out, err := os.OpenFile(log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600) // #nosec G304 -- in the measurement's own folder
	if err != nil {
		return nil, fmt.Errorf("measure: %w", err)
	}
	p.cmd = exec.Command(path, args...) // #nosec G204 -- found by findProgram, with arguments made here
	p.cmd.Stdout, p.cmd.Stderr = out, out
	p.cmd.Dir = "/" // another user could not enter ours
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL, Credential: as}
	started := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // the parent-death signal is the thread's
		defer runtime.UnlockOSThread()
		err := p.cmd.Start()
		started <- err
		if err == nil {
			p.err = p.cmd.Wait()
		}
		_ = out.Close()
		close(p.done)
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("measure: %s: %w", p.name, err)
	}
	return p, nil
}

// up waits until try succeeds.
func (p *program) up(ctx context.Context, try func() error) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for {
		err := try()
		if err == nil {
			return nil
		}
		select {
		case <-p.done:
			return fmt.Errorf("measure: %s ended at its start: %w\n%s", p.name, p.err, process.LastLines(p.log, 5))
		case <-ctx.Done():
			return fmt.Errorf("measure: %s is not up: %w\n%s", p.name, err, process.LastLines(p.log, 5))
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// usage is what it took so far, and holds.
func (p *program) usage() process.Usage { return process.Of(p.cmd.Process.Pid) }

// stop ends it with the signal that it likes, and then by force.
func (p *program) stop(sig syscall.Signal) error {
	select {
	case <-p.done:
		return nil
	default:
	}
	if err := p.cmd.Process.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("measure: %s: %w", p.name, err)
	}
	select {
	case <-p.done:
		return nil
	case <-time.After(30 * time.Second):
		return errors.Join(fmt.Errorf("measure: %s did not end by itself", p.name), p.cmd.Process.Kill())
	}
}

// firstLine is what a program prints first when it is asked for its version, whatever it ends with.
func firstLine(ctx context.Context, path string, args ...string) string {
	out, _ := exec.CommandContext(ctx, path, args...).CombinedOutput() // #nosec G204 -- found by findProgram; some end with an error after their version
	line, _, _ := strings.Cut(strings.TrimSpace(string(out)), "\n")
	return line
}

// settledSize is what folders take once they have not changed for so long; background work may still do that.
func settledSize(ctx context.Context, unchanged time.Duration, dirs ...string) (int64, error) {
	until := time.Now().Add(2 * time.Minute)
	last, same := int64(-1), 0
	for {
		var total int64
		for _, dir := range dirs {
			n, err := allocatedBytes(dir)
			if err != nil {
				return 0, fmt.Errorf("measure: %w", err)
			}
			total += n
		}
		if total != last {
			last, same = total, 0
		} else {
			same++
		}
		if same >= int(unchanged.Seconds()) || time.Now().After(until) {
			return total, nil
		}
		if err := bench.Wait(ctx, time.Second); err != nil {
			return 0, err
		}
	}
}

// allocatedBytes is what the files below a folder have of the disk: some programs make files with holes in them.
func allocatedBytes(dir string) (total int64, err error) {
	err = filepath.WalkDir(dir, func(_ string, e os.DirEntry, err error) error {
		if errors.Is(err, os.ErrNotExist) { // gone since its folder was listed
			return nil
		}
		if err != nil || e.IsDir() {
			return err
		}
		info, err := e.Info()
		if errors.Is(err, os.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		if st, ok := info.Sys().(*syscall.Stat_t); ok {
			total += st.Blocks * 512
		}
		return nil
	})
	return total, err
}
