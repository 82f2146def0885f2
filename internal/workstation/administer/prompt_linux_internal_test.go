package administer

import (
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"
	"unsafe"
)

// terminal is a pseudo-terminal: the side of the user and the side of the program.
func terminal(t *testing.T) (user, program *os.File) {
	t.Helper()
	user, err := os.OpenFile("/dev/ptmx", os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Skipf("no pseudo-terminals here: %v", err)
	}
	t.Cleanup(func() { _ = user.Close() })
	var unlock, number int32
	control(t, user, syscall.TIOCSPTLCK, unsafe.Pointer(&unlock))
	control(t, user, syscall.TIOCGPTN, unsafe.Pointer(&number))
	program, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = program.Close() })
	return user, program
}

func control(t *testing.T, f *os.File, request uintptr, arg unsafe.Pointer) {
	t.Helper()
	if _, _, errno := syscall.Syscall(syscall.SYS_IOCTL, f.Fd(), request, uintptr(arg)); errno != 0 {
		t.Fatalf("ioctl %x: %v", request, errno)
	}
}

func echoes(t *testing.T, f *os.File) bool {
	t.Helper()
	var s syscall.Termios
	control(t, f, syscall.TCGETS, unsafe.Pointer(&s))
	return s.Lflag&syscall.ECHO != 0
}

// asked notes at the first byte of a question whether the terminal echoed then, and answers.
type asked struct {
	t       *testing.T
	program *os.File
	answer  func()
	text    strings.Builder
	echoed  bool
}

func (a *asked) Write(p []byte) (int, error) {
	if a.text.Len() == 0 {
		a.echoed = echoes(a.t, a.program)
		a.answer()
	}
	return a.text.Write(p)
}

// TestNoEchoBeforeTheQuestion: when a question for a password appears, the terminal shows nothing of what is typed any more.
func TestNoEchoBeforeTheQuestion(t *testing.T) {
	user, program := terminal(t)
	if !echoes(t, program) {
		t.Fatal("the terminal does not echo to begin with: this test shows nothing")
	}
	out := &asked{t: t, program: program, answer: func() {
		if _, err := user.WriteString("s3cret word\r"); err != nil {
			t.Error(err)
		}
	}}
	got, err := askHidden(program, out, "password of admin: ")
	if err != nil || got != "s3cret word" {
		t.Errorf("%q, %v", got, err)
	}
	if out.echoed {
		t.Error("the question appeared while the terminal still echoed")
	}
	if !strings.Contains(out.text.String(), "password of admin: ") || strings.Contains(out.text.String(), "s3cret") {
		t.Errorf("shown: %q", out.text.String())
	}
	if !echoes(t, program) {
		t.Error("the terminal does not echo afterwards")
	}
}
