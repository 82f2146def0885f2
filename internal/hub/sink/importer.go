package sink

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"vitalseal/internal/hub/channel"
	"vitalseal/internal/shared/form"
)

// MaxExportBytes bounds an export that is read.
const MaxExportBytes = 1 << 30

const maxFieldBytes = 255

// LineError says where an export is wrong.
type LineError struct {
	Line int // from 1
	What string
}

// Error is "line 7: ...".
func (e *LineError) Error() string { return "line " + strconv.Itoa(e.Line) + ": " + e.What }

// ReadCSV reads a channel's CSV export: a header that names created_at and field1 to field8, in any
// order, as ThingSpeak writes it. It calls each with every entry, also an Empty one, and the line
// that it begins at; entry_id is not taken over. Errors are *LineError or each's own.
func ReadCSV(r io.Reader, each func(line int, e channel.Entry) error) error {
	counted := &counter{r: io.LimitReader(r, MaxExportBytes+1)}
	c := csv.NewReader(counted)
	c.ReuseRecord, c.FieldsPerRecord = true, -1
	head, err := c.Read()
	if err != nil {
		return csvError(err, 1)
	}
	var columns []string
	seen := map[string]bool{}
	for i, name := range head {
		if i == 0 {
			name = strings.TrimPrefix(name, "\ufeff")
		}
		name = strings.ToLower(strings.TrimSpace(name))
		if !known(name) {
			return &LineError{1, fmt.Sprintf("unknown column %.40q; created_at, entry_id, field1 to field8, latitude, longitude, elevation and status are known", name)}
		}
		if seen[name] {
			return &LineError{1, fmt.Sprintf("column %q stands twice", name)}
		}
		seen[name] = true
		columns = append(columns, name)
	}
	if !seen["created_at"] {
		return &LineError{1, "no column created_at: this is not a channel's export"}
	}
	for {
		row, err := c.Read()
		if errors.Is(err, io.EOF) {
			return nil
		}
		line, _ := 0, 0
		if len(row) > 0 {
			line, _ = c.FieldPos(0)
		}
		if err != nil {
			return csvError(err, line)
		}
		if counted.n > MaxExportBytes {
			return &LineError{line, "the export is larger than 1 GiB; split it"}
		}
		if len(row) != len(columns) {
			return &LineError{line, fmt.Sprintf("%d values, but %d columns", len(row), len(columns))}
		}
		var e channel.Entry
		for i, v := range row {
			v = asWritten(v)
			if err := set(&e, columns[i], &v); err != nil {
				return &LineError{line, err.Error()}
			}
		}
		if err := whole(e); err != nil {
			return &LineError{line, err.Error()}
		}
		if err := each(line, e); err != nil {
			return err
		}
	}
}

func csvError(err error, line int) error {
	var p *csv.ParseError
	if errors.As(err, &p) {
		return &LineError{p.Line, p.Err.Error()}
	}
	if errors.Is(err, io.EOF) {
		return &LineError{1, "the file is empty"}
	}
	return &LineError{max(line, 1), err.Error()}
}

// ReadJSON reads a channel's JSON export, {"channel":{...},"feeds":[...]}, or the feeds alone. It
// is otherwise as ReadCSV.
func ReadJSON(r io.Reader, each func(line int, e channel.Entry) error) error {
	lines := &counter{r: io.LimitReader(r, MaxExportBytes+1)}
	d := json.NewDecoder(lines)
	fail := func(err error) error {
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return &LineError{lines.line(lines.n), "the file ends too early"}
		}
		var at *json.SyntaxError
		if errors.As(err, &at) {
			return &LineError{lines.line(at.Offset), "not JSON: " + at.Error()}
		}
		return &LineError{lines.line(d.InputOffset()), err.Error()}
	}
	first, err := d.Token()
	if err != nil {
		return fail(err)
	}
	switch first {
	case json.Delim('['):
		err = feeds(d, lines, fail, each)
	case json.Delim('{'):
		err = export(d, lines, fail, each)
	default:
		err = fail(errors.New("neither an object nor an array: this is not a channel's export"))
	}
	if err != nil {
		return err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return &LineError{lines.line(d.InputOffset()), "something stands behind the export"}
	}
	return nil
}

// export reads the members of an object that has begun: its feeds, and no name twice.
func export(d *json.Decoder, lines *counter, fail func(error) error, each func(int, channel.Entry) error) error {
	seen := map[string]bool{}
	for d.More() {
		t, err := d.Token()
		if err != nil {
			return fail(err)
		}
		name, _ := t.(string)
		folded := strings.ToLower(strings.ToUpper(name))
		if seen[folded] {
			return &LineError{lines.line(d.InputOffset()), fmt.Sprintf("the name %.40q is given twice", name)}
		}
		if len(seen) >= maxMembers {
			return &LineError{lines.line(d.InputOffset()), fmt.Sprintf("more than %d names: this is not a channel's export", maxMembers)}
		}
		seen[folded] = true
		if name != "feeds" {
			var skip json.RawMessage
			if err := d.Decode(&skip); err != nil {
				return fail(err)
			}
			continue
		}
		if t, err := d.Token(); err != nil || t != json.Delim('[') {
			return fail(errors.Join(err, errors.New("feeds is not an array")))
		}
		if err := feeds(d, lines, fail, each); err != nil {
			return err
		}
	}
	if _, err := d.Token(); err != nil {
		return fail(err)
	}
	if !seen["feeds"] {
		return fail(errors.New("no feeds: this is not a channel's export"))
	}
	return nil
}

// maxMembers bounds the names of an export's object; ThingSpeak's has two.
const maxMembers = 64

// feeds reads the entries of an array that has begun.
func feeds(d *json.Decoder, lines *counter, fail func(error) error, each func(int, channel.Entry) error) error {
	for d.More() {
		if d.InputOffset() > MaxExportBytes {
			return fail(errors.New("the export is larger than 1 GiB; split it"))
		}
		before := d.InputOffset()
		var raw json.RawMessage
		if err := d.Decode(&raw); err != nil {
			return fail(err)
		}
		line := lines.line(d.InputOffset())
		lines.forget(before)
		if twice := form.Twice(raw); twice != "" { // which of two values counts would be chance
			return &LineError{line, twice}
		}
		var in map[string]any
		one := json.NewDecoder(bytes.NewReader(raw))
		one.UseNumber()
		if err := one.Decode(&in); err != nil {
			return &LineError{line, "an entry is not a JSON object"}
		}
		var e channel.Entry
		for name, v := range in {
			name = strings.ToLower(name)
			if !known(name) {
				return &LineError{line, fmt.Sprintf("unknown name %.40q in an entry", name)}
			}
			var text string
			switch v := v.(type) {
			case nil:
				continue
			case string:
				text = v
			case json.Number:
				text = v.String()
			default:
				return &LineError{line, name + " is neither a text nor a number"}
			}
			if err := set(&e, name, &text); err != nil {
				return &LineError{line, err.Error()}
			}
		}
		if err := whole(e); err != nil {
			return &LineError{line, err.Error()}
		}
		if err := each(line, e); err != nil {
			return err
		}
	}
	if _, err := d.Token(); err != nil {
		return fail(err)
	}
	return nil
}

var fieldName = regexp.MustCompile(`^field[1-8]$`)

func known(name string) bool {
	switch name {
	case "created_at", "entry_id", "latitude", "longitude", "elevation", "status":
		return true
	}
	return fieldName.MatchString(name)
}

// set takes one value over. Empty is not given, as in ThingSpeak's exports.
func set(e *channel.Entry, name string, value *string) (err error) {
	v := form.Value(*value)
	switch {
	case v == "" || v == "null" && name != "status":
		return nil
	case name == "entry_id":
		if n, err := strconv.ParseInt(v, 10, 64); err != nil || n < 0 {
			return fmt.Errorf("entry_id %.40q is not a whole number", v)
		}
		return nil // ours are given anew
	case name == "created_at":
		e.Created, err = parseTime(v)
		return err
	case len(v) > maxFieldBytes || !utf8.ValidString(v):
		return fmt.Errorf("%s must be UTF-8 of at most %d bytes, not %d", name, maxFieldBytes, len(v))
	}
	switch name {
	case "latitude":
		e.Latitude = v
	case "longitude":
		e.Longitude = v
	case "elevation":
		e.Elevation = v
	case "status":
		e.Status = v
	default:
		e.Fields[name[len(name)-1]-'1'] = &v
	}
	return nil
}

// whole refuses an entry that says nothing about when.
func whole(e channel.Entry) error {
	if e.Created.IsZero() {
		return errors.New("created_at is missing")
	}
	return nil
}

// Empty reports whether an entry says nothing: exports have such rows, of a probe that was off or a
// device without a value.
func Empty(e channel.Entry) bool {
	for _, f := range e.Fields {
		if f != nil {
			return false
		}
	}
	return e.Status == "" && e.Latitude == "" && e.Longitude == "" && e.Elevation == ""
}

// Seconds tells entries of one second apart, which exports do not: each after the first is a
// microsecond later than the one before it. The same file always gives the same times, so that
// importing it again adds nothing. The zero Seconds begins a file.
type Seconds struct{ seen map[int64]int }

// Apart is an entry with a time of its own.
func (s *Seconds) Apart(e channel.Entry) channel.Entry {
	if s.seen == nil || len(s.seen) >= 1<<20 { // exports ascend: a second of a million entries ago does not come again
		s.seen = map[int64]int{}
	}
	at := e.Created.UnixMicro()
	e.Created = e.Created.Add(time.Duration(s.seen[at]) * time.Microsecond)
	s.seen[at]++
	return e
}

// parseTime is UTC.
func parseTime(s string) (time.Time, error) {
	t, err := form.Time(s, time.UTC)
	if err != nil {
		return time.Time{}, fmt.Errorf("created_at %.40q %w", s, err)
	}
	return t, nil
}

// counter counts bytes, and knows on which line an offset of what was read lately is.
type counter struct {
	r      io.Reader
	n      int64
	breaks []int64 // offsets of line breaks after base
	base   int     // line breaks before those
}

func (c *counter) Read(b []byte) (int, error) {
	n, err := c.r.Read(b)
	for i, x := range b[:n] {
		if x == '\n' {
			c.breaks = append(c.breaks, c.n+int64(i))
		}
	}
	c.n += int64(n)
	return n, err
}

// line is the line of an offset.
func (c *counter) line(offset int64) int {
	n := c.base + 1
	for _, at := range c.breaks {
		if at >= offset {
			break
		}
		n++
	}
	return n
}

// forget drops the breaks before an offset.
func (c *counter) forget(offset int64) {
	i := 0
	for i < len(c.breaks) && c.breaks[i] < offset {
		i++
	}
	c.base += i
	c.breaks = c.breaks[i:]
}
