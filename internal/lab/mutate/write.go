package mutate

import (
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

const (
	alias       = "defences"     // what copies call the package with Skip
	overlayFile = "overlay.json" // what `go build -overlay` reads
	added       = "zz_replaced_" // in front of the names of files that the product does not have
)

// listed is one name of the list of defences.
type listed struct {
	constant string // the identifier
	line     int
	places   int // how many marks it must have
}

// readList reads the names, by name, and the constants' names.
func (cfg Config) readList() (names map[string]*listed, constants map[string]string, err error) {
	set := token.NewFileSet()
	tree, err := parser.ParseFile(set, filepath.Join(cfg.Root, cfg.List), nil, parser.SkipObjectResolution)
	if err != nil {
		return nil, nil, fmt.Errorf("mutate: %w", err)
	}
	names, constants = map[string]*listed{}, map[string]string{}
	var several *ast.CompositeLit
	ast.Inspect(tree, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok || len(spec.Names) != 1 || len(spec.Values) != 1 {
			return true
		}
		if m, ok := spec.Values[0].(*ast.CompositeLit); ok && spec.Names[0].Name == "Several" {
			several = m
		}
		id, ok := spec.Type.(*ast.Ident)
		value, isText := spec.Values[0].(*ast.BasicLit)
		if !ok || id.Name != "Defence" || !isText {
			return true
		}
		if name, uerr := strconv.Unquote(value.Value); uerr == nil && name != "" {
			line := set.Position(spec.Pos()).Line
			if names[name] != nil {
				err = errors.Join(err, fmt.Errorf("%s:%d: %s is in the list twice", cfg.List, line, name))
			}
			names[name] = &listed{spec.Names[0].Name, line, 1}
			constants[spec.Names[0].Name] = name
		}
		return true
	})
	if several != nil {
		for _, x := range several.Elts {
			pair, ok := x.(*ast.KeyValueExpr)
			if !ok {
				continue
			}
			key, isName := pair.Key.(*ast.Ident)
			value, isNumber := pair.Value.(*ast.BasicLit)
			line := set.Position(x.Pos()).Line
			if !isName || !isNumber || names[constants[key.Name]] == nil {
				err = errors.Join(err, fmt.Errorf("%s:%d: Several has pairs of a constant of this list and a number", cfg.List, line))
				continue
			}
			n, nerr := strconv.Atoi(value.Value)
			if nerr != nil || n < 2 {
				err = errors.Join(err, fmt.Errorf("%s:%d: several is 2 or more", cfg.List, line))
			}
			names[constants[key.Name]].places = n
		}
	}
	if len(names) == 0 {
		err = errors.Join(err, fmt.Errorf("%s:1: no constant of type Defence", cfg.List))
	}
	return names, constants, err
}

// Names are the names of the list of defences, sorted.
func Names(cfg Config) ([]string, error) {
	names, _, err := cfg.readList()
	var out []string
	for name := range names {
		out = append(out, name)
	}
	slices.Sort(out)
	return out, err
}

// Check holds marks, list and replaced functions against each other. The error names every
// difference, with file and line.
func Check(cfg Config) ([]Mark, error) {
	marks, err := Marks(cfg)
	names, constants, lerr := cfg.readList()
	if err := errors.Join(err, lerr); err != nil {
		return nil, err
	}
	var errs []error
	places := map[string][]Mark{}
	for _, m := range marks {
		places[m.Name] = append(places[m.Name], m)
		if names[m.Name] == nil {
			errs = append(errs, fmt.Errorf("%s:%d: %s is not in the list of defences, %s", m.File, m.Line, m.Name, cfg.List))
		}
	}
	for name, l := range names {
		switch have := places[name]; {
		case len(have) == 0:
			errs = append(errs, fmt.Errorf("%s:%d: no mark in the sources has the name %s", cfg.List, l.line, name))
		case len(have) != l.places:
			var where []string
			for _, m := range have {
				where = append(where, fmt.Sprintf("%s:%d", m.File, m.Line))
			}
			errs = append(errs, fmt.Errorf("%s:%d: %s must be marked %d times and is marked %d times: %s (if that is right, say so in the map Several)",
				cfg.List, l.line, name, l.places, len(have), strings.Join(where, ", ")))
		}
	}
	replaced, err := cfg.replaced()
	if err != nil {
		return nil, errors.Join(append(errs, err)...)
	}
	for _, m := range marks {
		if m.Form != Function {
			continue
		}
		r := replaced[path.Dir(m.File)]
		switch {
		case r == nil || r.functions[m.function] == "":
			errs = append(errs, fmt.Errorf("%s:%d: %s has no function %s in %s for the time when %s is off", m.File, m.Line,
				path.Join(cfg.Replaced, path.Dir(m.File)), m.function, cfg.Replaced, m.Name))
		case names[m.Name] != nil && r.asks[names[m.Name].constant] == "":
			errs = append(errs, fmt.Errorf("%s:%d: no function of %s asks for %s", m.File, m.Line, path.Join(cfg.Replaced, path.Dir(m.File)), m.Name))
		}
	}
	for dir, r := range replaced {
		for constant, at := range r.asks {
			if !slices.ContainsFunc(places[constants[constant]], func(m Mark) bool { return path.Dir(m.File) == dir }) {
				errs = append(errs, fmt.Errorf("%s: %s is not marked in %s", at, constant, dir))
			}
		}
	}
	slices.SortFunc(errs, func(a, b error) int { return strings.Compare(fmt.Sprint(a), fmt.Sprint(b)) })
	return marks, errors.Join(errs...)
}

// replacedFolder is what the folder of replaced functions has for one package.
type replacedFolder struct {
	files     []string          // relative to Root
	functions map[string]string // where each is, by its name with its receiver's type
	asks      map[string]string // where each defence is asked for, by the constant's name
}

// replaced reads the folder of replaced functions, by the package's folder.
func (cfg Config) replaced() (map[string]*replacedFolder, error) {
	out := map[string]*replacedFolder{}
	top := filepath.Join(cfg.Root, cfg.Replaced)
	if _, err := os.Stat(top); errors.Is(err, os.ErrNotExist) {
		return out, nil // nothing needs a body of its own
	}
	inner := cfg
	inner.Root, inner.Product, inner.Except = top, []string{"."}, nil
	var errs []error
	err := inner.files(func(file string, src []byte) {
		set := token.NewFileSet()
		name := path.Join(cfg.Replaced, file)
		tree, err := parser.ParseFile(set, name, src, parser.SkipObjectResolution)
		if err != nil {
			errs = append(errs, fmt.Errorf("mutate: %w", err))
			return
		}
		r := out[path.Dir(file)]
		if r == nil {
			r = &replacedFolder{functions: map[string]string{}, asks: map[string]string{}}
			out[path.Dir(file)] = r
		}
		r.files = append(r.files, name)
		ast.Inspect(tree, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.FuncDecl:
				r.functions[functionName(n)] = set.Position(n.Pos()).String()
			case *ast.CallExpr:
				if constant := skips(n); constant != "" {
					r.asks[constant] = set.Position(n.Pos()).String()
				}
			}
			return true
		})
	})
	return out, errors.Join(append(errs, err)...)
}

// skips is the constant that a call weaken.Skip(weaken.X) asks for; empty if it is another call.
func skips(call *ast.CallExpr) string {
	of := func(x ast.Expr) string {
		s, ok := x.(*ast.SelectorExpr)
		if !ok {
			return ""
		}
		if id, ok := s.X.(*ast.Ident); !ok || id.Name != "weaken" {
			return ""
		}
		return s.Sel.Name
	}
	if of(call.Fun) != "Skip" || len(call.Args) != 1 {
		return ""
	}
	return of(call.Args[0])
}

// Write checks, and writes the copies and overlay.json into the folder out, which it empties first.
func Write(cfg Config, out string) (err error) {
	marks, err := Check(cfg)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = fmt.Errorf("mutate: %w", err)
		}
	}()
	if cfg.Root, err = filepath.Abs(cfg.Root); err != nil {
		return err
	}
	if out, err = filepath.Abs(out); err != nil {
		return err
	}
	if err := os.RemoveAll(out); err != nil {
		return err
	}
	if err := os.MkdirAll(out, 0o750); err != nil {
		return err
	}
	of := map[string][]edit{}
	for _, m := range marks {
		of[m.File] = append(of[m.File], m.edits...)
	}
	overlay := struct{ Replace map[string]string }{map[string]string{}}
	for file, edits := range of {
		src := filepath.Join(cfg.Root, file)
		b, err := os.ReadFile(src) // #nosec G304 -- our own source
		if err != nil {
			return err
		}
		to := filepath.Join(out, strings.ReplaceAll(file, "/", "__"))
		if err := os.WriteFile(to, cfg.mutated(b, edits), 0o600); err != nil { // #nosec G703 -- a name of our own tree, without its slashes
			return err
		}
		overlay.Replace[src] = to
	}
	replaced, err := cfg.replaced()
	if err != nil {
		return err
	}
	for dir, r := range replaced {
		for _, file := range r.files {
			overlay.Replace[filepath.Join(cfg.Root, dir, added+path.Base(file))] = filepath.Join(cfg.Root, file)
		}
	}
	b, err := json.MarshalIndent(overlay, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(out, overlayFile), append(b, '\n'), 0o600)
}

// mutated is a file with the edits and the import that they need; each line keeps its number.
func (cfg Config) mutated(src []byte, edits []edit) []byte {
	tree, err := parser.ParseFile(token.NewFileSet(), "", src, parser.PackageClauseOnly)
	if err == nil && slices.ContainsFunc(edits, func(e edit) bool { return strings.Contains(e.text, alias) }) {
		at := int(tree.Name.End()) - 1
		edits = append(edits, edit{at, at, fmt.Sprintf("; import %s %q", alias, cfg.Weaken)})
	}
	slices.SortStableFunc(edits, func(a, b edit) int { return a.from - b.from })
	var out []byte
	done := 0
	for _, e := range edits {
		if e.from < done {
			continue // two marks in front of one function: it is renamed once
		}
		out = append(append(out, src[done:e.from]...), e.text...)
		done = e.to
	}
	return append(out, src[done:]...)
}
