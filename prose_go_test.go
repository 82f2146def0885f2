package vitalseal_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// proseWords and proseColumns name the packages whose comments name who acts, and fit 100 columns.
// A package is meant wherever a folder of its name stands, with its sub-packages. The lists may
// only grow.
var (
	proseWords   = strings.Fields("seal outbox uplink delivery signal sensor sink audit vitals form disk process yamlfile connect overlay hub store sealdb directory channel archive ingest gateway demo lab vitalseal access signin view fleet administer cli recording vitalseal-lab scripts .")
	proseColumns = strings.Fields("seal outbox uplink delivery signal sensor sink audit vitals form disk process yamlfile connect attack cloud wire mutate weaken api")
)

// TestProseOfComments holds Go comments to the rules of TestProse.
func TestProseOfComments(t *testing.T) {
	checked := 0
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() && (strings.HasPrefix(d.Name(), ".") && path != "." || d.Name() == "node_modules") {
			return filepath.SkipDir
		}
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") {
			return err
		}
		folders := strings.Split(filepath.ToSlash(filepath.Dir(path)), "/")
		in := func(names []string) bool {
			return slices.ContainsFunc(folders, func(f string) bool { return slices.Contains(names, f) })
		}
		if !in(proseWords) {
			return nil
		}
		src, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		problems, n := commentProblems(t, path, src, in(proseColumns))
		checked += n
		for _, p := range problems {
			t.Errorf("%s:%s", path, p)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if checked < 1000 {
		t.Errorf("only %d comments found: the walk is broken", checked)
	}
}

// quoted is a name that a comment speaks about.
var quoted = regexp.MustCompile(`"[^"]*"`)

// commentProblems is what the rules find in a file's comments, and how many comments there are. A
// comment behind code is bound to the words only, and so is a directive.
func commentProblems(t *testing.T, path string, src []byte, columns bool) (problems []string, n int) {
	t.Helper()
	set := token.NewFileSet()
	file, err := parser.ParseFile(set, path, src, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(string(src), "\n")
	each := func(c *ast.Comment) {
		n++
		at := set.Position(c.Pos()).Line
		for _, word := range pronouns.FindAllString(quoted.ReplaceAllString(c.Text, ""), -1) {
			problems = append(problems, strconv.Itoa(at)+": say who instead of "+word)
		}
		line := lines[at-1]
		width := len([]rune(strings.ReplaceAll(line, "\t", "    ")))
		if columns && width > 100 && strings.HasPrefix(strings.TrimSpace(line), "// ") {
			problems = append(problems, strconv.Itoa(at)+": "+strconv.Itoa(width)+" columns; 100 is the limit")
		}
	}
	for _, group := range file.Comments {
		for _, c := range group.List {
			each(c)
		}
	}
	return problems, n
}

// TestProseOfCommentsFinds keeps the checker honest.
func TestProseOfCommentsFinds(t *testing.T) {
	long := strings.Repeat("word ", 21)
	for src, want := range map[string]int{
		"// Nobody reads it, whoever asks.\nvar x = 1":      2,
		"// The user \"nobody\" reads it.\nvar nobody = 1":  0,
		"var x = 1 // for somebody":                         1,
		"// " + long + "\nvar x = 1":                        1,
		"var x = 1 // " + long:                              0,
		"//go:generate " + long + "\nvar x = \"// nobody\"": 0,
	} {
		problems, n := commentProblems(t, "x.go", []byte("package x\n\n"+src+"\n"), true)
		if len(problems) != want || n == 0 {
			t.Errorf("%q: %q of %d comments, want %d", src, problems, n, want)
		}
	}
}
