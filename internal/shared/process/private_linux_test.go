package process_test

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"vitalseal/internal/shared/process"
)

const privateEnv = "VITALSEAL_TEST_PRIVATE"

// TestKeepPrivate looks at a process of its own, from outside and from inside.
func TestKeepPrivate(t *testing.T) {
	if as := os.Getenv(privateEnv); as != "" {
		if as == "private" {
			if err := process.KeepPrivate(); err != nil {
				t.Fatal(err)
			}
		}
		dumpable, _, _ := syscall.RawSyscall(syscall.SYS_PRCTL, 3, 0, 0) // PR_GET_DUMPABLE
		fmt.Println("dumpable", dumpable)
		_, _ = bufio.NewReader(os.Stdin).ReadByte() // until the parent has looked
		return
	}
	for as, want := range map[string]struct {
		dumpable string
		owner    uint32
	}{"private": {"dumpable 0", 0}, "open": {"dumpable 1", uint32(os.Getuid())}} { // #nosec G115 -- a user's number
		cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestKeepPrivate$") // #nosec G204 -- this very test
		cmd.Env = append(os.Environ(), privateEnv+"="+as)
		in, err := cmd.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		line, err := bufio.NewReader(out).ReadString('\n')
		if err != nil || strings.TrimSpace(line) != want.dumpable {
			t.Errorf("%s: %q, %v; want %q", as, line, err, want.dumpable)
		}
		limits, err := os.ReadFile(fmt.Sprintf("/proc/%d/limits", cmd.Process.Pid))
		if none := regexp.MustCompile(`Max core file size +0 +0 `).Match(limits); err != nil || as == "private" && !none {
			t.Errorf("%s: %v\n%s", as, err, limits)
		}
		info, err := os.Stat(fmt.Sprintf("/proc/%d/environ", cmd.Process.Pid))
		if err != nil {
			t.Fatal(err)
		}
		if st, ok := info.Sys().(*syscall.Stat_t); !ok || st.Uid != want.owner {
			t.Errorf("%s: what /proc shows of it belongs to %d, want %d", as, st.Uid, want.owner)
		}
		_ = in.Close()
		_ = cmd.Wait() // what it found is judged above
	}
}
