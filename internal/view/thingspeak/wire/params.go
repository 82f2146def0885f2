// Package wire is what ThingSpeak's clients write and read: parameters and API keys of requests,
// what a read asks for, MQTT topics and payloads, and entries as JSON, XML and CSV.
//
// It hides how ThingSpeak spells all of it, and how entries are summed up into buckets. It
// guarantees that what is read is bounded, that a value that cannot be is refused and never
// replaced by another, that an error never repeats what the client sent, and that no cell of a CSV
// is a formula to a spreadsheet. It decides nothing and stores nothing: whose a key is, and what an
// error becomes on the wire, is package thingspeak's.
package wire

import (
	"errors"
	"io"
	"maps"
	"mime"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
	_ "time/tzdata" // zones that clients name, wherever the hub runs

	"vitalseal/internal/shared/form"
)

const (
	maxQueryBytes = 16 << 10
	// MaxBodyBytes is room for a message of MaxMessage bytes, however it is escaped.
	MaxBodyBytes  = 20 << 10
	maxParameters = 64
	// MaxMessage bounds the bytes of all parameters of a write, as ThingSpeak does.
	MaxMessage = 3000
	// MaxFieldBytes bounds the bytes of one field or status.
	MaxFieldBytes = 255
)

// Parameters are a request's, by name. Of a name given twice the first counts.
type Parameters map[string]string

// QueryOf reads the address's parameters. Malformed ones are refused rather than dropped: a read
// with half of its bounds would answer something else than was asked.
func QueryOf(r *http.Request) (Parameters, error) {
	if len(r.URL.RawQuery) > maxQueryBytes {
		return nil, ErrTooLarge
	}
	return parseForm(r.URL.RawQuery)
}

// parseForm refuses parameters that are not well-formed, but for a status: a text is kept as it
// stands, and costs the numbers beside it nothing (ThingSpeak's own library sends statuses
// unescaped).
func parseForm(s string) (Parameters, error) {
	v, err := form.Parse(s, maxParameters)
	if err != nil {
		return nil, mistaken(err)
	}
	for name := range v.Malformed {
		if name != "status" {
			return nil, &BadRequest{"The parameters are not well-formed."}
		}
	}
	return v.Of, nil
}

// mistaken makes a mistake of package form one of ours.
func mistaken(err error) error {
	if m := (*form.Mistake)(nil); errors.As(err, &m) {
		return &BadRequest{m.Sentence()}
	}
	return err
}

// WriteParameters reads address and body (form or JSON) of a write; the body wins.
func WriteParameters(w http.ResponseWriter, r *http.Request, most int64) (Parameters, error) {
	p, err := QueryOf(r)
	if err != nil || r.Method == http.MethodGet {
		return p, err
	}
	b, err := ReadBody(w, r, most)
	if err != nil {
		return nil, err
	}
	if len(b) == 0 {
		return p, nil
	}
	var given Parameters
	kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	switch {
	case kind == "application/json" && err == nil:
		given, err = ParseJSON(b)
	case kind == "application/x-www-form-urlencoded" && err == nil, r.Header.Get("Content-Type") == "":
		given, err = parseForm(string(b)) // small devices leave the type out
	default:
		err = &BadRequest{"The body must be application/x-www-form-urlencoded or application/json."}
	}
	if err != nil {
		return nil, err
	}
	maps.Copy(p, given)
	return p, nil
}

// ReadBody reads a request's body of at most most bytes.
func ReadBody(w http.ResponseWriter, r *http.Request, most int64) ([]byte, error) {
	b, err := io.ReadAll(http.MaxBytesReader(w, r.Body, most))
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return nil, ErrTooLarge
	case err != nil:
		return nil, &BadRequest{"The body could not be read."}
	}
	return b, nil
}

// ParseJSON flattens an object of texts, numbers and truth values.
func ParseJSON(b []byte) (Parameters, error) {
	p, err := form.JSON(b, maxParameters)
	return p, mistaken(err)
}

// First is the first of the names that is given and not empty.
func (p Parameters) First(names ...string) string {
	for _, n := range names {
		if p[n] != "" {
			return p[n]
		}
	}
	return ""
}

// Number is a whole number from 0, at most most; larger ones are cut to it.
func (p Parameters) Number(name string, most int) (n int, given bool, err error) {
	s := p[name]
	if s == "" {
		return 0, false, nil
	}
	n, err = strconv.Atoi(s)
	if errors.Is(err, strconv.ErrRange) && n > 0 {
		err = nil // Atoi gives the largest int
	}
	if err != nil || n < 0 {
		return 0, false, &BadRequest{name + " is not a whole number from 0."}
	}
	return min(n, most), true, nil
}

// KeyOf finds the API key: a header wins, then the parameters. Header names are matched by
// substring, as ThingSpeak does; with several, the first by name counts.
func KeyOf(r *http.Request, p Parameters) string {
	if key := HeaderKey(r); key != "" {
		return key
	}
	return p.First("key", "api_key", "apikey")
}

// HeaderKey is the API key of the headers; empty if there is none.
func HeaderKey(r *http.Request) string {
	for _, name := range slices.Sorted(maps.Keys(r.Header)) {
		if strings.Contains(strings.ToUpper(name), "THINGSPEAKAPIKEY") && r.Header.Get(name) != "" {
			return r.Header.Get(name)
		}
	}
	return ""
}

// ParseTime reads a time; one without a zone is in loc. Fractions are cut off.
func ParseTime(name, s string, loc *time.Location) (time.Time, error) {
	t, err := form.Time(s, loc)
	if err != nil {
		return time.Time{}, &BadRequest{name + " " + form.ErrTime.Text + "."}
	}
	return t.Truncate(time.Second), nil
}

// Location is the zone that the client wants: timezone, a name of the IANA's database, or offset,
// hours from UTC. UTC if neither is given.
func (p Parameters) Location() (*time.Location, error) {
	if name := p["timezone"]; name != "" {
		loc, ok := form.Zone(name)
		if !ok {
			return nil, &BadRequest{"timezone is not a zone such as America/New_York."}
		}
		return loc, nil
	}
	if s := p["offset"]; s != "" {
		hours, err := strconv.ParseFloat(s, 64)
		if err != nil || !(hours >= -14 && hours <= 14) {
			return nil, &BadRequest{"offset is not a number of hours from -14 to 14."}
		}
		if seconds := int(hours * 3600); seconds != 0 {
			return time.FixedZone("", seconds), nil
		}
	}
	return time.UTC, nil
}

// ParseID reads an id: a plain number from 1, in its one spelling.
func ParseID(s string) (n int64, ok bool) {
	n, err := strconv.ParseInt(s, 10, 64)
	return n, err == nil && n > 0 && s[0] >= '1' && s[0] <= '9'
}
