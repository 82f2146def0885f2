// Package mutate makes the sources of the weakened build out of those of the product: copies in
// which single defences can be switched off, for the controls of `vitalseal attack`.
//
// # Marks
//
// In the product a comment says where a defence stands, and nothing else does:
//
//	//defence:token-signature access tokens are verified
//	if !valid(signature) {
//		return claims{}, ErrNoSession
//	}
//
// What it stands in front of decides what the copy does while the defence is off:
//
//   - an if, or a case of a switch without a tag: its condition does not hold:
//     `(cond) && !weaken.Skip("token-signature")`;
//   - a call or an assignment: it is not carried out:
//     `if !weaken.Skip("token-signature") { ... }`;
//   - a function: a function of the same name in the folder of replaced functions takes its place.
//     It asks Skip itself and may call the original, which is then called strictName.
//
// # What it guarantees
//
// Only marked places change, no line moves, and the product's own files are only read: the copies
// go to the compiler by `go build -overlay`. A mark in front of anything else, a mark that the list
// of defences does not have, a name of the list without a mark, and a name that is marked more or
// less often than the list says are errors with file and line. It cannot see that a mark stands in
// front of the wrong condition: the attack's control, which then does not get through, shows that.
package mutate

import (
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// Config says where everything is. Files and folders are relative to Root, with slashes.
type Config struct {
	Root     string   // folder of go.mod
	Product  []string // folders whose files, and those of the folders below, may have marks
	Except   []string // folders in these that are not searched
	List     string   // Go file with one constant of type Defence for each name, and the map Several
	Replaced string   // folder of replaced functions: each package's in a folder of the same path
	Weaken   string   // import path of the package with Skip
}

// Vitalseal is where this repository has everything; root is the folder of its go.mod.
func Vitalseal(root string) Config {
	return Config{Root: root, Product: []string{"internal", "cmd"}, Except: []string{"internal/lab", "cmd/vitalseal-lab"},
		List: "internal/lab/weaken/weaken.go", Replaced: "internal/lab/weaken/_replaced", Weaken: "vitalseal/internal/lab/weaken"}
}

// Form is what a mark stands in front of.
type Form string

// The forms.
const (
	If        Form = "if"
	Case      Form = "case"
	Statement Form = "statement"
	Function  Form = "function"
)

// Mark is one place where a defence stands.
type Mark struct {
	Name string // of the defence
	What string // is defended, in a few words
	Form Form
	File string // relative to Config.Root, with slashes
	Line int    // of the comment, from 1

	function string // Function: its name, with its receiver's type in front
	edits    []edit
}

// edit replaces the bytes from..to of a file.
type edit struct {
	from, to int
	text     string
}

var markText = regexp.MustCompile(`^//defence:([a-z0-9]+(?:-[a-z0-9]+)*) (\S.*)$`)

// markLike is what can only be meant as a mark.
var markLike = regexp.MustCompile(`^/[/*]\s*defence:`)

// Marks are all marks of the product, by file and line. The error names every mark that stands in
// front of nothing that can be switched off.
func Marks(cfg Config) ([]Mark, error) {
	var all []Mark
	var errs []error
	err := cfg.files(func(file string, src []byte) {
		marks, err := marksIn(file, src)
		all, errs = append(all, marks...), append(errs, err)
	})
	return all, errors.Join(append(errs, err)...)
}

// files calls f with each file of the product that is no test, by name.
func (cfg Config) files(f func(file string, src []byte)) error {
	for _, folder := range cfg.Product {
		err := filepath.WalkDir(filepath.Join(cfg.Root, folder), func(path string, d fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			rel, err := filepath.Rel(cfg.Root, path)
			if err != nil {
				return err
			}
			rel = filepath.ToSlash(rel)
			if d.IsDir() {
				if rel == "." {
					return nil
				}
				if strings.HasPrefix(d.Name(), "_") || strings.HasPrefix(d.Name(), ".") || d.Name() == "testdata" || slices.Contains(cfg.Except, rel) {
					return filepath.SkipDir
				}
				return nil
			}
			if !strings.HasSuffix(rel, ".go") || strings.HasSuffix(rel, "_test.go") {
				return nil
			}
			src, err := os.ReadFile(path) // #nosec G122 G304 -- our own sources
			if err == nil {
				f(rel, src)
			}
			return err
		})
		if err != nil {
			return fmt.Errorf("mutate: %w", err)
		}
	}
	return nil
}

// marksIn are the marks of one file, with the edits that switch them.
func marksIn(file string, src []byte) (marks []Mark, err error) {
	if !strings.Contains(string(src), "defence:") {
		return nil, nil
	}
	set := token.NewFileSet()
	tree, err := parser.ParseFile(set, file, src, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		return nil, fmt.Errorf("mutate: %w", err)
	}
	var errs []error
	for _, group := range tree.Comments {
		var here []Mark
		for _, c := range group.List {
			at := set.Position(c.Pos())
			bad := func(format string, args ...any) {
				errs = append(errs, fmt.Errorf("%s:%d: %s", file, at.Line, fmt.Sprintf(format, args...)))
			}
			m := markText.FindStringSubmatch(c.Text)
			switch {
			case m != nil && strings.TrimSpace(string(src[at.Offset-at.Column+1:at.Offset])) != "":
				bad("the mark of %s stands behind code; it belongs in the line in front of it", m[1])
			case m != nil:
				here = append(here, Mark{Name: m[1], What: m[2], File: file, Line: at.Line})
			case markLike.MatchString(c.Text):
				bad("no mark: it is //defence:NAME and what is defended, in a few words")
			}
		}
		if len(here) == 0 {
			continue
		}
		node, tagless := startingAt(set, tree, set.Position(group.End()).Line+1)
		for _, m := range here {
			if err := m.place(set, node, tagless); err != nil {
				errs = append(errs, fmt.Errorf("%s:%d: %w", file, m.Line, err))
				continue
			}
			marks = append(marks, m)
		}
	}
	return marks, errors.Join(errs...)
}

// startingAt is the outermost declaration, statement or case that begins in a line, nil if there is
// none, and whether it is a case of a switch without a tag.
func startingAt(set *token.FileSet, tree *ast.File, line int) (found ast.Node, tagless bool) {
	conditions := map[ast.Node]bool{}
	ast.Inspect(tree, func(n ast.Node) bool {
		if n == nil || found != nil {
			return false
		}
		if s, ok := n.(*ast.SwitchStmt); ok && s.Tag == nil {
			for _, c := range s.Body.List {
				conditions[c] = true
			}
		}
		switch n.(type) {
		case ast.Stmt, ast.Decl: // a case is an ast.Stmt
			if set.Position(n.Pos()).Line == line {
				found = n
				return false
			}
		}
		return true
	})
	return found, conditions[found]
}

// place says what the mark stands in front of, and how that is switched.
func (m *Mark) place(set *token.FileSet, node ast.Node, tagless bool) error {
	at := func(p token.Pos) int { return set.Position(p).Offset }
	around := func(n ast.Node, before, after string) {
		m.edits = append(m.edits, edit{at(n.Pos()), at(n.Pos()), before}, edit{at(n.End()), at(n.End()), after})
	}
	but := fmt.Sprintf(") && !%s.Skip(%q)", alias, m.Name)
	switch n := node.(type) {
	case *ast.IfStmt:
		m.Form = If
		around(n.Cond, "(", but)
	case *ast.CaseClause:
		m.Form = Case
		if len(n.List) == 0 {
			return fmt.Errorf("the mark of %s stands in front of a default", m.Name)
		}
		if !tagless {
			return fmt.Errorf("the mark of %s stands in front of a case whose switch compares values", m.Name)
		}
		for _, x := range n.List {
			around(x, "(", but)
		}
	case *ast.ExprStmt:
		m.Form = Statement
		around(n, fmt.Sprintf("if !%s.Skip(%q) { ", alias, m.Name), " }")
	case *ast.AssignStmt:
		if n.Tok == token.DEFINE {
			return fmt.Errorf("the mark of %s stands in front of a declaration of variables", m.Name)
		}
		m.Form = Statement
		around(n, fmt.Sprintf("if !%s.Skip(%q) { ", alias, m.Name), " }")
	case *ast.FuncDecl:
		m.Form = Function
		m.function = functionName(n)
		m.edits = []edit{{at(n.Name.Pos()), at(n.Name.End()), strict(n.Name.Name)}}
	default:
		return fmt.Errorf("the mark of %s stands in front of no if, case, call, assignment or function", m.Name)
	}
	return nil
}

// strict is what the original of a replaced function is called in the weakened build.
func strict(name string) string { return "strict" + strings.ToUpper(name[:1]) + name[1:] }

// functionName is a function's name, behind its receiver's type if it has one.
func functionName(f *ast.FuncDecl) string {
	if f.Recv == nil || len(f.Recv.List) != 1 {
		return f.Name.Name
	}
	t := f.Recv.List[0].Type
	if p, ok := t.(*ast.StarExpr); ok {
		t = p.X
	}
	if x, ok := t.(*ast.IndexExpr); ok {
		t = x.X
	}
	if id, ok := t.(*ast.Ident); ok {
		return id.Name + "." + f.Name.Name
	}
	return f.Name.Name
}
