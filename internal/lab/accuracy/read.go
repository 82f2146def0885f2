package accuracy

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
var ErrRecording = errors.New("accuracy: bad recording")

// Bounds on one recording: what is larger is refused.
const (
	maxBytes   = 128 << 20 // after decompression
	maxSamples = 8 << 20
	maxLine    = 1 << 16
)

// text is a recording's lines, with what an error needs to name one.
type text struct {
	name   string
	line   int // number of the line read last; 1 is the first
	scan   *bufio.Scanner
	failed error
}

// newText reads plain text or gzip; which one is told by the first bytes.
func newText(name string, r io.Reader) *text {
	t := &text{name: name}
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

// next is the next line without its end; false at the end or at an error, see end.
func (t *text) next() (string, bool) {
	if t.failed != nil || !t.scan.Scan() {
		return "", false
	}
	t.line++
	return strings.TrimRight(t.scan.Text(), "\r"), true
}

// end is the error that stopped next, if it was one.
func (t *text) end() error {
	err := t.failed
	if err == nil {
		err = t.scan.Err()
	}
	if err != nil {
		t.line++
		return t.bad(0, "%w", err)
	}
	return nil
}

// bad is an error at the current line and a column (1 is the first; 0 means the whole line).
func (t *text) bad(column int, format string, args ...any) error {
	what := fmt.Errorf(format, args...)
	if column > 0 {
		return fmt.Errorf("%w: %s:%d: column %d: %w", ErrRecording, t.name, t.line, column, what)
	}
	return fmt.Errorf("%w: %s:%d: %w", ErrRecording, t.name, t.line, what)
}

// number is a field's value. An empty field, "-" and NaN are holes: NaN.
func (t *text) number(f []string, column int) (float64, error) {
	if column >= len(f) {
		return 0, t.bad(column+1, "missing, the line has %d columns", len(f))
	}
	s := strings.Trim(f[column], " \t\"")
	if s == "" || s == "-" || strings.EqualFold(s, "nan") {
		return math.NaN(), nil
	}
	v, err := strconv.ParseFloat(s, 64)
	if err != nil || math.Abs(v) > 1e15 {
		return 0, t.bad(column+1, "%.40q is not a number", s)
	}
	return v, nil
}

// room refuses more samples than a recording may have.
func (t *text) room(n int) error {
	if n >= maxSamples {
		return t.bad(0, "more than %d samples", maxSamples)
	}
	return nil
}

// fields splits a line at commas, without quotes and blanks.
func fields(line string) []string {
	f := strings.Split(line, ",")
	for i := range f {
		f[i] = strings.Trim(f[i], " \t\"")
	}
	return f
}

func isNumber(s string) bool {
	_, err := strconv.ParseFloat(s, 64)
	return err == nil
}

// load opens a file for one of the readers.
func load[T any](path string, read func(name string, r io.Reader) (T, error)) (T, error) {
	f, err := os.Open(filepath.Clean(path))
	if err != nil {
		var none T
		return none, fmt.Errorf("%w: %w", ErrRecording, err)
	}
	defer func() { _ = f.Close() }()
	return read(path, f)
}

// table is a CSV file with named columns.
type table struct {
	names   []string
	columns [][]float64
}

// readTable reads a whole table. The first column of some forms is filled on the first row only, so holes are allowed
// everywhere; a row that is shorter than the header is not.
func readTable(name string, r io.Reader) (*table, error) {
	t := newText(name, r)
	head, ok := t.next()
	if !ok {
		if err := t.end(); err != nil {
			return nil, err
		}
		t.line = 1
		return nil, t.bad(0, "the file is empty")
	}
	tab := &table{names: fields(strings.ToLower(head))}
	if len(tab.names) < 2 || len(tab.names) > 64 {
		return nil, t.bad(0, "%d columns, allowed are 2 to 64", len(tab.names))
	}
	for i, n := range tab.names {
		if isNumber(n) {
			return nil, t.bad(i+1, "the first line must name the columns, it has the number %s", n)
		}
	}
	tab.columns = make([][]float64, len(tab.names))
	for {
		line, ok := t.next()
		if !ok {
			break
		}
		if strings.TrimSpace(line) == "" {
			continue
		}
		if err := t.room(len(tab.columns[0]) * len(tab.names) / 4); err != nil {
			return nil, err
		}
		f := strings.Split(line, ",")
		for i := range tab.names {
			v, err := t.number(f, i)
			if err != nil {
				return nil, err
			}
			tab.columns[i] = append(tab.columns[i], v)
		}
	}
	if err := t.end(); err != nil {
		return nil, err
	}
	if len(tab.columns[0]) == 0 {
		return nil, t.bad(0, "no rows after the names of the columns")
	}
	return tab, nil
}

// column is the first column with one of the names, or nil.
func (tab *table) column(names ...string) []float64 {
	for _, want := range names {
		for i, n := range tab.names {
			if n == want {
				return tab.columns[i]
			}
		}
	}
	return nil
}

// need is column, or an error that says which are missing.
func (tab *table) need(file string, names ...string) ([]float64, error) {
	if c := tab.column(names...); c != nil {
		return c, nil
	}
	return nil, fmt.Errorf("%w: %s:1: no column %s; there are %.200q", ErrRecording, file, strings.Join(names, " or "), strings.Join(tab.names, ", "))
}
