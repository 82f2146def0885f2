package thingspeak

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

	"vitalseal/internal/form"
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

// parseForm refuses parameters that are not well-formed, but for a status: a text is kept as it stands, and costs the numbers beside it
// nothing (ThingSpeak's own library sends statuses unescaped).
func parseForm(s string) (parameters, error) {
	v, err := form.Parse(s, maxParameters)
	if err != nil {
		return nil, mistaken(err)
	}
	for name := range v.Malformed {
		if name != "status" {
			return nil, &badRequest{"The parameters are not well-formed."}
		}
	}
	return v.Of, nil
}

// mistaken makes a mistake of package form one of ours.
func mistaken(err error) error {
	if m := (*form.Mistake)(nil); errors.As(err, &m) {
		return &badRequest{m.Sentence()}
	}
	return err
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

// parseJSON flattens an object of texts, numbers and truth values.
func parseJSON(b []byte) (parameters, error) {
	p, err := form.JSON(b, maxParameters)
	return p, mistaken(err)
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

// parseTime reads a time; one without a zone is in loc. Fractions are cut off.
func parseTime(name, s string, loc *time.Location) (time.Time, error) {
	t, err := form.Time(s, loc)
	if err != nil {
		return time.Time{}, &badRequest{name + " " + form.ErrTime.Text + "."}
	}
	return t.Truncate(time.Second), nil
}

// location is the zone that the client wants: timezone, a name of the IANA's database, or offset, hours from UTC. UTC if
// neither is given.
func (p parameters) location() (*time.Location, error) {
	if name := p["timezone"]; name != "" {
		loc, ok := form.Zone(name)
		if !ok {
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
