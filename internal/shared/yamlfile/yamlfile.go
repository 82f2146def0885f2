// Package yamlfile reads configuration files: one YAML document, strictly.
//
// It guarantees that a key that does not exist, a second document and a value of the wrong type are
// errors, that an error shows the line, and that a byte-order mark, which some editors write and no
// one sees, is no part of the first key. It bounds nothing; callers bound the bytes. It is safe for
// concurrent use.
package yamlfile

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
)

// ErrSecond says that something follows after the first document.
var ErrSecond = errors.New("something follows after the first document")

// Decode reads a file into what holds its defaults. io.EOF: the file is empty. Error texts have the
// line and the key.
func Decode(b []byte, into any) (err error) {
	defer func() {
		// Version 1.19.2 of the library panics on .nan and .inf for named number types.
		if r := recover(); r != nil {
			err = errors.New("a value has the wrong type, for its key")
		}
	}()
	b = bytes.TrimPrefix(b, []byte("\ufeff"))
	wrong := ""
	duration := yaml.CustomUnmarshaler(func(d *time.Duration, text []byte) error {
		s := string(bytes.Trim(bytes.TrimSpace(text), `"'`))
		v, err := time.ParseDuration(s)
		if err != nil && wrong == "" {
			wrong = s
		}
		*d = v
		return err
	})
	d := yaml.NewDecoder(bytes.NewReader(b), yaml.Strict(), duration)
	switch err := d.Decode(into); {
	case wrong != "":
		return fmt.Errorf("%s%q is not a duration such as 250ms, 5s, 10m or 24h", place(b, wrong), wrong)
	case errors.Is(err, io.EOF):
		return io.EOF
	case err != nil:
		return &shown{err, nearest(err, into)}
	}
	var more any
	if err := d.Decode(&more); !errors.Is(err, io.EOF) {
		return fmt.Errorf("%s%w: put all keys into one, without a line ---", second(b), ErrSecond)
	}
	return nil
}

// shown is an error of the library with the lines that it is about, and a hint on a line of its
// own.
type shown struct {
	err  error
	hint string
}

func (s *shown) Error() string {
	return strings.TrimRight(yaml.FormatError(s.err, false, true), "\n") + s.hint
}

func (s *shown) Unwrap() error { return s.err }

// place is the line and key of the first value that reads so, for the front of a message; empty if
// none is found.
func place(b []byte, value string) string {
	file, err := parser.ParseBytes(b, 0)
	if err != nil {
		return ""
	}
	found := ""
	for _, doc := range file.Docs {
		ast.Walk(walker(func(n ast.Node) {
			pair, ok := n.(*ast.MappingValueNode)
			if !ok || found != "" || pair.Value == nil || pair.Value.GetToken() == nil || pair.Value.GetToken().Value != value {
				return
			}
			found = fmt.Sprintf("line %d: %s: ", pair.Key.GetToken().Position.Line, pair.Key.GetToken().Value)
		}), doc.Body)
	}
	return found
}

// second is the line at which the second document begins, for the front of a message.
func second(b []byte) string {
	content := false
	for i, line := range bytes.Split(b, []byte("\n")) {
		line = bytes.TrimRight(line, " \t\r")
		switch {
		case bytes.HasPrefix(line, []byte("---")) && content:
			return fmt.Sprintf("line %d: ", i+1)
		case len(line) > 0 && line[0] != '#' && !bytes.HasPrefix(line, []byte("---")):
			content = true
		}
	}
	return ""
}

type walker func(ast.Node)

// Visit looks at each node.
func (w walker) Visit(n ast.Node) ast.Visitor {
	w(n)
	return w
}
