// Package form reads what ThingSpeak's clients write: parameters in the form of an address's query,
// JSON objects, times, request lines and oversize MQTT packets. A gateway's address for legacy
// devices, the hub's ThingSpeak face and the import of exports use the same parsers, so that what
// one of them takes the others take.
//
// It hides the spellings of sketches and libraries that exist. It guarantees that nothing is
// dropped silently: a parameter that is not well-formed is named, and what to do about it is the
// caller's decision; that input is bounded as the caller says; and that no error repeats what was
// sent. Functions are safe for concurrent use. It authenticates nothing.
package form

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// Mistake is a mistake of the sender. Its text begins with a small letter and has no full stop.
type Mistake struct{ Text string }

// Error is the text.
func (m *Mistake) Error() string { return m.Text }

// Sentence is the text as a sentence.
func (m *Mistake) Sentence() string { return strings.ToUpper(m.Text[:1]) + m.Text[1:] + "." }

// Values are parameters by name. The zero Values has none.
type Values struct {
	Of map[string]string
	// Malformed are the names whose text has a percent sign that escapes nothing, or a semicolon,
	// which some take for a separator. Of has that text with what cannot be decoded as it stands.
	Malformed map[string]bool
}

// Parse reads parameters in the form of an address's query, at most most of them. Of a name given
// twice the first counts. Line ends behind a value are not part of it: sketches println() their
// bodies.
func Parse(s string, most int) (Values, error) {
	v := Values{Of: map[string]string{}, Malformed: map[string]bool{}}
	if strings.Count(s, "&") >= most {
		return v, &Mistake{fmt.Sprintf("there are more than %d parameters", most)}
	}
	for pair := range strings.SplitSeq(s, "&") {
		pair = strings.TrimRight(pair, "\r\n")
		if pair == "" {
			continue
		}
		name, text, _ := strings.Cut(pair, "=")
		name, goodName := unescape(name)
		text, goodText := unescape(text)
		name = strings.TrimSpace(name)
		if _, twice := v.Of[name]; twice {
			continue
		}
		v.Of[name] = Value(text)
		if !goodName || !goodText || strings.Contains(pair, ";") {
			v.Malformed[name] = true
		}
	}
	return v, nil
}

// Value is a value without the line ends behind it.
func Value(s string) string { return strings.TrimRight(s, "\r\n") }

// unescape decodes a name or value. A percent sign that escapes nothing stands for itself, and is
// not good.
func unescape(s string) (string, bool) {
	if !strings.ContainsAny(s, "%+") {
		return s, true
	}
	good := true
	b := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '+':
			b = append(b, ' ')
		case c != '%':
			b = append(b, c)
		case i+2 < len(s) && hex(s[i+1]) >= 0 && hex(s[i+2]) >= 0:
			b = append(b, byte(hex(s[i+1])<<4|hex(s[i+2]))) // #nosec G115 -- two digits
			i += 2
		default:
			b, good = append(b, c), false
		}
	}
	return string(b), good
}

func hex(c byte) int {
	switch {
	case c >= '0' && c <= '9':
		return int(c - '0')
	case c >= 'a' && c <= 'f':
		return int(c-'a') + 10
	case c >= 'A' && c <= 'F':
		return int(c-'A') + 10
	}
	return -1
}

// JSON flattens an object of texts, numbers and truth values, at most most of them. Numbers keep
// their spelling; null is not given. A nan or inf that stands where a number belongs, as small
// devices print it, is that text.
func JSON(b []byte, most int) (map[string]string, error) {
	body, err := object(b)
	if err != nil {
		if quoted := quoteNoNumbers(b); quoted != nil {
			body, err = object(quoted)
		}
	}
	switch {
	case err != nil:
		return nil, err
	case len(body) > most:
		return nil, &Mistake{fmt.Sprintf("there are more than %d parameters", most)}
	}
	p := make(map[string]string, len(body))
	for name, v := range body {
		switch v := v.(type) {
		case string:
			p[name] = Value(v)
		case json.Number:
			p[name] = v.String()
		case bool:
			p[name] = strconv.FormatBool(v)
		case nil:
		default:
			return nil, &Mistake{"a value is neither text nor number"}
		}
	}
	return p, nil
}

func object(b []byte) (map[string]any, error) {
	if twice := Twice(b); twice != "" {
		return nil, &Mistake{twice}
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	var body map[string]any
	if err := d.Decode(&body); err != nil || body == nil {
		return nil, &Mistake{"the body is not a JSON object"}
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, &Mistake{"the body has something after its JSON object"}
	}
	return body, nil
}

// quoteNoNumbers puts quotes around each nan, inf and infinity that stands outside of texts; nil if
// there is none.
func quoteNoNumbers(b []byte) []byte {
	var out []byte
	found, inText := false, false
	for i := 0; i < len(b); i++ {
		c := b[i]
		switch {
		case inText && c == '\\' && i+1 < len(b):
			out = append(out, c, b[i+1])
			i++
			continue
		case c == '"':
			inText = !inText
		case !inText && (c == '-' || c == '+' || letter(c)):
			n := i + 1
			for n < len(b) && letter(b[n]) {
				n++
			}
			switch word := strings.ToLower(strings.TrimLeft(string(b[i:n]), "+-")); word {
			case "nan", "inf", "infinity":
				out, found = append(append(append(out, '"'), b[i:n]...), '"'), true
				i = n - 1
				continue
			}
		}
		out = append(out, c)
	}
	if !found {
		return nil
	}
	return out
}

func letter(c byte) bool { return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' }

// Path is an address's path with each run of slashes as one: clients join a server's name that ends
// in a slash with a path that begins with one. A redirect would repeat the key that stands in the
// address.
func Path(p string) string {
	for strings.Contains(p, "//") {
		p = strings.ReplaceAll(p, "//", "/")
	}
	return p
}
