package recording

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// ErrRecording says that a recording could not be read; the message names file, line and what is wrong.
var ErrRecording = errors.New("recording: bad recording")

// Bounds on one recording: what is larger is refused.
const (
	maxBytes   = 128 << 20 // after decompression
	MaxSamples = 8 << 20
	maxLine    = 1 << 16
)

// Text is a recording's lines, with what an error needs to name one.
type Text struct {
	name   string
	Line   int // number of the line read last; 1 is the first
	scan   *bufio.Scanner
	failed error
}

// NewText reads plain text or gzip; which one is told by the first bytes.
func NewText(name string, r io.Reader) *Text {
	t := &Text{name: name}
	br := bufio.NewReader(r)
	if magic, _ := br.Peek(2); bytes.Equal(magic, []byte{0x1f, 0x8b}) {
		z, err := gzip.NewReader(br)
		if err != nil {
			t.failed = err
			z = new(gzip.Reader)
		}
		br = bufio.NewReader(z)
	}
	t.scan = bufio.NewScanner(&bounded{br, maxBytes})
	t.scan.Buffer(make([]byte, 0, 4096), maxLine)
	return t
}

// bounded fails instead of ending early as io.LimitReader does: half a recording is not a recording.
type bounded struct {
	r    io.Reader
	left int
}

func (b *bounded) Read(p []byte) (int, error) {
	if b.left <= 0 {
		return 0, fmt.Errorf("more than %d MiB", maxBytes>>20)
	}
	n, err := b.r.Read(p[:min(len(p), b.left)])
	b.left -= n
	return n, err
}

// Next is the next line without its end; false at the end or at an error, see End.
func (t *Text) Next() (string, bool) {
	if t.failed != nil || !t.scan.Scan() {
		return "", false
	}
	t.Line++
	return strings.TrimRight(t.scan.Text(), "\r"), true
}

// End is the error that stopped Next, if it was one.
func (t *Text) End() error {
	err := t.failed
	if err == nil {
		err = t.scan.Err()
	}
	if err != nil {
		t.Line++
		return t.Bad(0, "%w", err)
	}
	return nil
}

// Bad is an error at the current line and a column (1 is the first; 0 means the whole line).
func (t *Text) Bad(column int, format string, args ...any) error {
	what := fmt.Errorf(format, args...)
	if column > 0 {
		return fmt.Errorf("%w: %s:%d: column %d: %w", ErrRecording, t.name, t.Line, column, what)
	}
	return fmt.Errorf("%w: %s:%d: %w", ErrRecording, t.name, t.Line, what)
}

// Number is a field's value. An empty field, "-" and NaN are holes: NaN.
func (t *Text) Number(f []string, column int) (float64, error) {
	if column >= len(f) {
		return 0, t.Bad(column+1, "missing, the line has %d columns", len(f))
	}
	s := strings.Trim(f[column], " \t\"")
	if s == "" || s == "-" || strings.EqualFold(s, "nan") {
		return math.NaN(), nil
	}
	v, err := strconv.ParseFloat(s, 64)
	if err != nil || math.Abs(v) > 1e15 {
		return 0, t.Bad(column+1, "%.40q is not a number", s)
	}
	return v, nil
}

// Room refuses more samples than a recording may have.
func (t *Text) Room(n int) error {
	if n >= MaxSamples {
		return t.Bad(0, "more than %d samples", MaxSamples)
	}
	return nil
}

// Fields splits a line at commas, without quotes and blanks.
func Fields(line string) []string {
	f := strings.Split(line, ",")
	for i := range f {
		f[i] = strings.Trim(f[i], " \t\"")
	}
	return f
}

// IsNumber reports whether s is a number, NaN and infinities included.
func IsNumber(s string) bool {
	_, err := strconv.ParseFloat(s, 64)
	return err == nil
}

// Load opens a file for one of the readers.
func Load[T any](path string, read func(name string, r io.Reader) (T, error)) (T, error) {
	f, err := os.Open(filepath.Clean(path))
	if err != nil {
		var none T
		return none, fmt.Errorf("%w: %w", ErrRecording, err)
	}
	defer func() { _ = f.Close() }()
	return read(path, f)
}

// Table is a CSV file with named columns.
type Table struct {
	Names   []string
	Columns [][]float64
}

// ReadTable reads a whole table. The first column of some forms is filled on the first row only, so holes are allowed
// everywhere; a row that is shorter than the header is not.
func ReadTable(name string, r io.Reader) (*Table, error) {
	t := NewText(name, r)
	head, ok := t.Next()
	if !ok {
		if err := t.End(); err != nil {
			return nil, err
		}
		t.Line = 1
		return nil, t.Bad(0, "the file is empty")
	}
	tab := &Table{Names: Fields(strings.ToLower(head))}
	if len(tab.Names) < 2 || len(tab.Names) > 64 {
		return nil, t.Bad(0, "%d columns, allowed are 2 to 64", len(tab.Names))
	}
	for i, n := range tab.Names {
		if IsNumber(n) {
			return nil, t.Bad(i+1, "the first line must name the columns, it has the number %s", n)
		}
	}
	tab.Columns = make([][]float64, len(tab.Names))
	for {
		line, ok := t.Next()
		if !ok {
			break
		}
		if strings.TrimSpace(line) == "" {
			continue
		}
		if err := t.Room(len(tab.Columns[0]) * len(tab.Names) / 4); err != nil {
			return nil, err
		}
		f := strings.Split(line, ",")
		for i := range tab.Names {
			v, err := t.Number(f, i)
			if err != nil {
				return nil, err
			}
			tab.Columns[i] = append(tab.Columns[i], v)
		}
	}
	if err := t.End(); err != nil {
		return nil, err
	}
	if len(tab.Columns[0]) == 0 {
		return nil, t.Bad(0, "no rows after the names of the columns")
	}
	return tab, nil
}

// Column is the first column with one of the names, or nil.
func (tab *Table) Column(names ...string) []float64 {
	for _, want := range names {
		for i, n := range tab.Names {
			if n == want {
				return tab.Columns[i]
			}
		}
	}
	return nil
}

// Need is Column, or an error that says which are missing.
func (tab *Table) Need(file string, names ...string) ([]float64, error) {
	if c := tab.Column(names...); c != nil {
		return c, nil
	}
	return nil, fmt.Errorf("%w: %s:1: no column %s; there are %.200q", ErrRecording, file, strings.Join(names, " or "), strings.Join(tab.Names, ", "))
}
