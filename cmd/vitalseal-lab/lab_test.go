package main_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"vitalseal/internal/lab/mutate"
)

// folder holds the binaries under test, vitalseal and vitalseal-lab: that of $VITALSEAL_BIN (as `make test` has it), else built here,
// without the dashboard unless that was built before.
var folder = sync.OnceValues(func() (string, error) {
	if b := os.Getenv("VITALSEAL_BIN"); b != "" {
		return filepath.Dir(b), nil
	}
	return built()
})

// built makes both binaries, with the flags of go build, in a folder of its own.
func built(flags ...string) (string, error) {
	dir, err := os.MkdirTemp("", "vitalseal-bin-")
	if err != nil {
		return "", err
	}
	cmd := exec.Command("go", append(append([]string{"build"}, flags...), "-o", dir+string(filepath.Separator), "vitalseal/cmd/vitalseal", "vitalseal/cmd/vitalseal-lab")...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build: %w\n%s", err, out)
	}
	return dir, nil
}

// weakened is the binary for the controls: beside $VITALSEAL_BIN (as `make test` has it), else built here; vitalseal-lab-weakened lies
// beside it.
var weakened = sync.OnceValues(func() (string, error) {
	if b := os.Getenv("VITALSEAL_BIN"); b != "" {
		b = filepath.Join(filepath.Dir(b), "vitalseal-weakened")
		if _, err := os.Stat(b); err == nil {
			return b, nil
		}
	}
	overlay, err := os.MkdirTemp("", "vitalseal-weakened-")
	if err == nil {
		err = mutate.Write(mutate.Vitalseal(filepath.Join("..", "..")), overlay)
	}
	if err != nil {
		return "", err
	}
	dir, err := built("-tags", "weaken", "-overlay", filepath.Join(overlay, "overlay.json"))
	for _, name := range []string{"vitalseal", "vitalseal-lab"} {
		if err == nil {
			err = os.Rename(filepath.Join(dir, name), filepath.Join(dir, name+"-weakened"))
		}
	}
	return filepath.Join(dir, "vitalseal-weakened"), err
})

// vitalseal is the product: what the tests run is its alias of the laboratory's command.
func vitalseal(t *testing.T) string {
	t.Helper()
	dir, err := folder()
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Join(dir, "vitalseal")
}

// ran is how a command ended.
type ran struct {
	out, err string
	code     int
}

func command(t *testing.T, args ...string) ran {
	t.Helper()
	c := exec.CommandContext(t.Context(), vitalseal(t), args...)
	var out, errs bytes.Buffer
	c.Stdout, c.Stderr = &out, &errs
	_ = c.Run() // how it ended is in the exit code
	return ran{out.String(), errs.String(), c.ProcessState.ExitCode()}
}

func TestScripts(t *testing.T) {
	product := vitalseal(t)
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Setup: func(e *testscript.Env) error {
			e.Setenv("PATH", filepath.Dir(product)+string(os.PathListSeparator)+e.Getenv("PATH"))
			e.Setenv("PRODUCT", product)
			e.Setenv("LAB", filepath.Join(filepath.Dir(product), "vitalseal-lab"))
			return nil
		},
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){"exits": exits, "pulse": pulse},
	})
}

// exits CODE COMMAND... runs a command that must end with this exit code.
func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE COMMAND...")
	}
	err := ts.Exec(args[1], args[2:]...)
	code := 0
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		code = exit.ExitCode()
	} else {
		ts.Check(err)
	}
	if strconv.Itoa(code) != args[0] {
		ts.Fatalf("exit code %d, want %s", code, args[0])
	}
}

// TestProductHoldsNoLaboratory looks for the laboratory's functions in both binaries: the product has none, and the laboratory, in which
// they must be found, shows that they would be.
func TestProductHoldsNoLaboratory(t *testing.T) {
	product := vitalseal(t)
	for file, want := range map[string]bool{product: false, filepath.Join(filepath.Dir(product), "vitalseal-lab"): true} {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, pkg := range []string{"attack", "bench", "peers", "accuracy"} {
			if got := bytes.Contains(b, []byte("vitalseal/internal/lab/"+pkg+".")); got != want {
				t.Errorf("%s holds %s: %v, want %v", filepath.Base(file), pkg, got, want)
			}
		}
	}
}
