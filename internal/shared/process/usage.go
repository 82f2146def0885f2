package process

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// Usage is what a process and its descendants have taken so far (CPU) and hold now (memory).
type Usage struct {
	CPU         time.Duration // user and system
	ResidentMiB float64       // rounded to a tenth
}

// ticksPerSecond is USER_HZ, in which Linux gives CPU times to user space on every architecture
// that we build for.
const ticksPerSecond = 100

// Usage of every process that runs, by name, and of this one as "self". What cannot be known is
// zero. CPU that a descendant took counts only while it, or a process that waited for it, lives.
func (s *Supervisor) Usage() map[string]Usage {
	children := childrenOf()
	m := map[string]Usage{"self": usageOf(os.Getpid())}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range s.procs {
		select {
		case <-p.Done:
			continue
		default:
		}
		var sum func(pid int) Usage
		sum = func(pid int) Usage {
			u := usageOf(pid)
			for _, c := range children[pid] {
				below := sum(c)
				u.CPU += below.CPU
				u.ResidentMiB += below.ResidentMiB
			}
			return u
		}
		m[p.Name] = sum(p.cmd.Process.Pid)
	}
	return m
}

// ResidentMiB is the memory that each running process holds, descendants included.
func (s *Supervisor) ResidentMiB() map[string]float64 {
	m := map[string]float64{}
	for name, u := range s.Usage() {
		m[name] = u.ResidentMiB
	}
	return m
}

func usageOf(pid int) (u Usage) {
	if f := statFields(fmt.Sprintf("/proc/%d/stat", pid)); len(f) > 14 {
		for _, ticks := range f[11:15] { // user, system, and those of children that it waited for
			n, err := strconv.ParseInt(ticks, 10, 64)
			if err != nil {
				break
			}
			u.CPU += time.Duration(n) * time.Second / ticksPerSecond
		}
	}
	u.ResidentMiB = residentMiB(pid)
	return u
}

// residentMiB reads VmRSS.
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

// statFields are the fields of a stat file after the process's name, which may hold spaces and
// brackets.
func statFields(path string) []string {
	b, err := os.ReadFile(path) // #nosec G304 -- in /proc
	if err != nil {
		return nil
	}
	s := string(b)
	return strings.Fields(s[strings.LastIndexByte(s, ')')+1:])
}

// childrenOf maps a process to its children.
func childrenOf() map[int][]int {
	m := map[int][]int{}
	paths, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return m
	}
	for _, path := range paths {
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(path)))
		f := statFields(path)
		if err != nil || len(f) < 2 {
			continue
		}
		if parent, err := strconv.Atoi(f[1]); err == nil {
			m[parent] = append(m[parent], pid)
		}
	}
	return m
}
