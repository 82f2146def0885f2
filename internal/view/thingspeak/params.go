package thingspeak

import (
	"encoding/json"
	"errors"
	"io"
	"maps"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	_ "time/tzdata" // zones that clients name, wherever the hub runs
)

const (
	maxQueryBytes = 16 << 10
	maxBodyBytes  = 20 << 10 // a message of maxMessage bytes, however it is escaped
	maxParameters = 64
	maxMessage    = 3000 // bytes of all parameters of a write, as ThingSpeak has it
	maxFieldBytes = 255
)

// parameters are a request's, by name. Of a name given twice the first counts.
type parameters map[string]string

// queryOf reads the address's parameters. Malformed ones are refused rather than dropped: a read with half of its
// bounds would answer something else than was asked.
func queryOf(r *http.Request) (parameters, error) {
	if len(r.URL.RawQuery) > maxQueryBytes {
		return nil, errTooLarge
	}
	return parseForm(r.URL.RawQuery)
}

func parseForm(s string) (parameters, error) {
	if strings.Count(s, "&") >= maxParameters {
		return nil, &badRequest{"There are more than 64 parameters."}
	}
	values, err := url.ParseQuery(s)
	if err != nil {
		return nil, &badRequest{"The parameters are not well-formed."}
	}
	p := parameters{}
	for name, v := range values {
		p[name] = v[0]
	}
	return p, nil
}

// writeParameters reads address and body (form or JSON) of a write; the body wins.
func writeParameters(w http.ResponseWriter, r *http.Request, most int64) (parameters, error) {
	p, err := queryOf(r)
	if err != nil || r.Method == http.MethodGet {
		return p, err
	}
	b, err := body(w, r, most)
	if err != nil {
		return nil, err
	}
	if len(b) == 0 {
		return p, nil
	}
	var given parameters
	kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	switch {
	case kind == "application/json" && err == nil:
		given, err = parseJSON(b)
	case kind == "application/x-www-form-urlencoded" && err == nil, r.Header.Get("Content-Type") == "":
		given, err = parseForm(string(b)) // small devices leave the type out
	default:
		err = &badRequest{"The body must be application/x-www-form-urlencoded or application/json."}
	}
	if err != nil {
		return nil, err
	}
	maps.Copy(p, given)
	return p, nil
}

// body is a request's, at most most bytes.
func body(w http.ResponseWriter, r *http.Request, most int64) ([]byte, error) {
	b, err := io.ReadAll(http.MaxBytesReader(w, r.Body, most))
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return nil, errTooLarge
	case err != nil:
		return nil, &badRequest{"The body could not be read."}
	}
	return b, nil
}

// parseJSON flattens an object of texts, numbers and truth values. Numbers keep their spelling; null is not given.
func parseJSON(b []byte) (parameters, error) {
	d := json.NewDecoder(strings.NewReader(string(b)))
	d.UseNumber()
	var body map[string]any
	if err := d.Decode(&body); err != nil || body == nil {
		return nil, &badRequest{"The body is not a JSON object."}
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, &badRequest{"The body has something after its JSON object."}
	}
	if len(body) > maxParameters {
		return nil, &badRequest{"There are more than 64 parameters."}
	}
	p := parameters{}
	for name, v := range body {
		switch v := v.(type) {
		case string:
			p[name] = v
		case json.Number:
			p[name] = v.String()
		case bool:
			p[name] = strconv.FormatBool(v)
		case nil:
		default:
			return nil, &badRequest{"A value is neither text nor number."}
		}
	}
	return p, nil
}

// first is the first of the names that is given and not empty.
func (p parameters) first(names ...string) string {
	for _, n := range names {
		if p[n] != "" {
			return p[n]
		}
	}
	return ""
}

// number is a whole number from 0, at most most; larger ones are cut to it.
func (p parameters) number(name string, most int) (n int, given bool, err error) {
	s := p[name]
	if s == "" {
		return 0, false, nil
	}
	n, err = strconv.Atoi(s)
	if errors.Is(err, strconv.ErrRange) && n > 0 {
		err = nil // Atoi gives the largest int
	}
	if err != nil || n < 0 {
		return 0, false, &badRequest{name + " is not a whole number from 0."}
	}
	return min(n, most), true, nil
}

// keyOf finds the API key: a header wins, then the parameters. Header names are matched by substring, as ThingSpeak
// does; with several, the first by name counts.
func keyOf(r *http.Request, p parameters) string {
	if key := headerKey(r); key != "" {
		return key
	}
	return p.first("key", "api_key", "apikey")
}

func headerKey(r *http.Request) string {
	for _, name := range slices.Sorted(maps.Keys(r.Header)) {
		if strings.Contains(strings.ToUpper(name), "THINGSPEAKAPIKEY") && r.Header.Get(name) != "" {
			return r.Header.Get(name)
		}
	}
	return ""
}

// timeLayouts are ThingSpeak's spellings of a time, and RFC 3339.
var timeLayouts = []string{time.RFC3339, time.DateTime, "2006-01-02T15:04:05", time.DateOnly, "2006-01-02 15:04:05 -0700", "2006-01-02 15:04:05-07:00",
	"2006-01-02 15:04:05 UTC", "2006-01-02 15:04"}

// parseTime reads a time; one without a zone is in loc. Fractions are cut off.
func parseTime(name, s string, loc *time.Location) (time.Time, error) {
	for _, layout := range timeLayouts {
		if t, err := time.ParseInLocation(layout, s, loc); err == nil && t.UTC().Year() >= 1970 && t.UTC().Year() <= 9999 {
			return t.UTC().Truncate(time.Second), nil
		}
	}
	return time.Time{}, &badRequest{name + " is not a time such as 2026-01-31T08:15:00Z."}
}

// location is the zone that the client wants: timezone, a name of the IANA's database, or offset, hours from UTC. UTC if
// neither is given.
func (p parameters) location() (*time.Location, error) {
	if name := p["timezone"]; name != "" {
		if len(name) > 64 || strings.EqualFold(name, "local") { // the hub's own zone is nobody's business
			return nil, &badRequest{"timezone is not a zone such as America/New_York."}
		}
		loc, err := time.LoadLocation(name)
		if err != nil {
			return nil, &badRequest{"timezone is not a zone such as America/New_York."}
		}
		return loc, nil
	}
	if s := p["offset"]; s != "" {
		hours, err := strconv.ParseFloat(s, 64)
		if err != nil || !(hours >= -14 && hours <= 14) {
			return nil, &badRequest{"offset is not a number of hours from -14 to 14."}
		}
		if seconds := int(hours * 3600); seconds != 0 {
			return time.FixedZone("", seconds), nil
		}
	}
	return time.UTC, nil
}
