package mutate_test

import (
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"vitalseal/internal/lab/mutate"
)

// toy is a module of its own with every form of a mark.
var toy = map[string]string{
	"go.mod": "module toy\n\ngo 1.24\n",
	"main.go": `package main

import (
	"fmt"

	"toy/door"
)

func main() {
	fmt.Println(door.Enter("forged"), door.Kind(9), len(door.Bounded("12345")), door.Who("claimed"), door.At())
}
`,
	"door/door.go": `// Package door has defences.
package door

import (
	"errors"
	"runtime"
)

func Enter(token string) error {
	//defence:signature tokens are verified
	//defence:everything the front door
	if n := len(token); n > 0 && token != "signed" || n > 99 {
		return errors.New("refused")
	}
	return nil
}

func Kind(k int) string {
	switch {
	case k == 1:
		return "one"
	//defence:kinds only known kinds are served
	case k > 5, k < 0:
		return "unknown"
	}
	return "served"
}

func Bounded(s string) string {
	//defence:bound texts are bounded
	s = s[:3]
	return s
}

type guest struct{ name string }

// Who is the guest.
//
//defence:proof a name is proven
func (g *guest) who() string { return "proven" }

func Who(claimed string) string { return (&guest{claimed}).who() }

// At is the line that it says, in the copy too.
func At() bool { _, _, line, _ := runtime.Caller(0); return line == 45 }
`,
	"lab/list.go": `package lab

import (
	"os"
	"strings"
)

type Defence string

const None Defence = ""

const (
	Signature  Defence = "signature"
	Everything Defence = "everything"
	Kinds      Defence = "kinds"
	Bound      Defence = "bound"
	Proof      Defence = "proof"
)

var Several = map[Defence]int{}

func Skip(d Defence) bool {
	return os.Getenv("OFF") != "" && strings.Contains(","+os.Getenv("OFF")+",", ","+string(d)+",")
}
`,
	"lab/_replaced/door/who.go": `package door

import weaken "toy/lab"

func (g *guest) who() string {
	if weaken.Skip(weaken.Proof) {
		return g.name
	}
	return g.strictWho()
}
`,
}

// write writes the toy, with other files in the place of some, and says where everything is.
func write(t *testing.T, instead map[string]string) mutate.Config {
	t.Helper()
	root := t.TempDir()
	files := maps.Clone(toy)
	maps.Copy(files, instead)
	for name, text := range files {
		if err := os.MkdirAll(filepath.Join(root, filepath.Dir(name)), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(root, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return mutate.Config{Root: root, Product: []string{"."}, Except: []string{"lab"}, List: "lab/list.go", Replaced: "lab/_replaced", Weaken: "toy/lab"}
}

// build builds the toy and returns what it says with defences off.
func build(t *testing.T, root string, flags ...string) func(off string) string {
	t.Helper()
	bin := filepath.Join(t.TempDir(), "toy")
	c := exec.CommandContext(t.Context(), "go", append(append([]string{"build", "-o", bin}, flags...), ".")...)
	c.Dir = root
	c.Env = append(os.Environ(), "GOFLAGS=-trimpath", "GOWORK=off", "CGO_ENABLED=0")
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return func(off string) string {
		c := exec.CommandContext(t.Context(), bin)
		c.Env = []string{"OFF=" + off}
		out, err := c.CombinedOutput()
		if err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		return strings.TrimSpace(string(out))
	}
}

// TestSwitches: each form is switched by its own name only, in the weakened build only, and the
// sources stay as they are.
func TestSwitches(t *testing.T) {
	cfg := write(t, nil)
	out := filepath.Join(t.TempDir(), "weakened")
	if err := mutate.Write(cfg, out); err != nil {
		t.Fatal(err)
	}
	const whole = "refused unknown 3 proven true"
	strict, weakened := build(t, cfg.Root), build(t, cfg.Root, "-overlay", filepath.Join(out, "overlay.json"))
	for off, want := range map[string]string{
		"":           whole,
		"nosuch":     whole,
		"signature":  "<nil> unknown 3 proven true",
		"everything": "<nil> unknown 3 proven true",
		"kinds":      "refused served 3 proven true",
		"bound":      "refused unknown 5 proven true",
		"proof":      "refused unknown 3 claimed true",

		"signature,everything,kinds,bound,proof": "<nil> served 5 claimed true",
	} {
		if got := weakened(off); got != want {
			t.Errorf("without %q: %q, want %q", off, got, want)
		}
		if got := strict(off); got != whole {
			t.Errorf("the product without %q: %q, want %q", off, got, whole)
		}
	}
	for name, text := range toy {
		if b, err := os.ReadFile(filepath.Join(cfg.Root, name)); err != nil || string(b) != text {
			t.Errorf("%s was changed: %v", name, err)
		}
	}
}

// TestMistakes: what would skip nothing, or another thing than is said, is named with file and
// line.
func TestMistakes(t *testing.T) {
	door, list, who := toy["door/door.go"], toy["lab/list.go"], toy["lab/_replaced/door/who.go"]
	swap := func(text, old, with string) string {
		t.Helper()
		if strings.Count(text, old) != 1 {
			t.Fatalf("%q is there %d times", old, strings.Count(text, old))
		}
		return strings.Replace(text, old, with, 1)
	}
	const doorFile, listFile, whoFile = "door/door.go", "lab/list.go", "lab/_replaced/door/who.go"
	for name, c := range map[string]struct{ file, text, want string }{
		"in front of a return": {doorFile, swap(door, "	return s\n", "	//defence:bound x\n	return s\n"),
			"door/door.go:32: the mark of bound stands in front of no if, case, call, assignment or function"},
		"in front of nothing":     {doorFile, door + "\n//defence:bound x\n", "door/door.go:47: the mark of bound stands in front of no if"},
		"a blank line between":    {doorFile, swap(door, "bounded\n	s =", "bounded\n\n	s ="), "door/door.go:30: the mark of bound stands in front of no if"},
		"in front of a type":      {doorFile, swap(door, "type guest", "//defence:bound x\ntype guest"), "door/door.go:35: the mark of bound stands in front of no if"},
		"behind code":             {doorFile, swap(door, "	s = s[:3]", "	s = s[:3] //defence:bound x"), "door/door.go:31: the mark of bound stands behind code"},
		"in front of a new name":  {doorFile, swap(door, "	s = s[:3]", "	t := s[:3]\n	s = t"), "door/door.go:30: the mark of bound stands in front of a declaration of variables"},
		"in front of a default":   {doorFile, swap(door, "case k > 5, k < 0", "default"), "door/door.go:22: the mark of kinds stands in front of a default"},
		"a case of a value":       {doorFile, swap(swap(door, "	switch {", "	switch k {"), "case k > 5, k < 0:\n		return \"unknown\"\n	}", "case 2:\n		return \"unknown\"\n	}"), "door/door.go:22: the mark of kinds stands in front of a case whose switch compares values"},
		"says nothing":            {doorFile, swap(door, "//defence:bound texts are bounded", "//defence:bound"), "door/door.go:30: no mark: it is //defence:NAME and what is defended"},
		"with a space in front":   {doorFile, swap(door, "//defence:bound", "// defence:bound"), "door/door.go:30: no mark"},
		"a name of no list":       {doorFile, swap(door, "//defence:bound", "//defence:bounds"), "door/door.go:30: bounds is not in the list of defences, lab/list.go"},
		"no mark for a name":      {doorFile, swap(door, "//defence:bound", "//defence:bounds"), "lab/list.go:16: no mark in the sources has the name bound"},
		"twice":                   {doorFile, swap(door, "//defence:kinds", "//defence:bound"), "lab/list.go:16: bound must be marked 1 times and is marked 2 times: door/door.go:22, door/door.go:30"},
		"too seldom":              {listFile, swap(list, "map[Defence]int{}", "map[Defence]int{Bound: 2}"), "lab/list.go:16: bound must be marked 2 times and is marked 1 times: door/door.go:30"},
		"several of nothing":      {listFile, swap(list, "map[Defence]int{}", "map[Defence]int{None: 2}"), "lab/list.go:20: Several has pairs of a constant of this list and a number"},
		"several is one":          {listFile, swap(list, "map[Defence]int{}", "map[Defence]int{Bound: 1}"), "lab/list.go:20: several is 2 or more"},
		"listed twice":            {listFile, swap(list, "\"bound\"\n", "\"bound\"\n	Bounds Defence = \"bound\"\n"), "lab/list.go:17: bound is in the list twice"},
		"nothing replaces it":     {whoFile, swap(who, "(g *guest) who", "(g *guest) whom"), "door/door.go:39: lab/_replaced/door has no function guest.who"},
		"the function asks not":   {whoFile, swap(who, "weaken.Skip(weaken.Proof)", "g.name == \"\""), "door/door.go:39: no function of lab/_replaced/door asks for proof"},
		"asks what is not marked": {whoFile, swap(who, "weaken.Skip(weaken.Proof)", "weaken.Skip(weaken.Proof) || weaken.Skip(weaken.Nosuch)"), "lab/_replaced/door/who.go:6:34: Nosuch is not marked in door"},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := write(t, map[string]string{c.file: c.text})
			out := filepath.Join(t.TempDir(), "weakened")
			err := mutate.Write(cfg, out)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v\nwant %s", err, c.want)
			}
			if _, err := os.Stat(out); err == nil {
				t.Error("something was written")
			}
		})
	}
}

// TestVitalseal: the marks, the list and the replaced functions of this repository agree.
func TestVitalseal(t *testing.T) {
	if _, err := mutate.Check(mutate.Vitalseal(filepath.Join("..", "..", ".."))); err != nil {
		t.Error(err)
	}
}
