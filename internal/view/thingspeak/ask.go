package thingspeak

import (
	"math"
	"regexp"
	"slices"
	"strconv"
	"time"
)

// ask is what a read asks for.
type ask struct {
	span
	low, high int64 // ids, both included; 0 for no bound
	loc       *time.Location

	least, most *float64 // values outside are null
	digits      int      // to round to; -1: as they are
	bucket      string   // "", or which of the ways to sum entries up
	minutes     int      // of a bucket

	status, location, metadata bool
	callback, prepend, append  string
}

// span is the newest results entries in [from, to).
type span struct {
	from, to time.Time
	results  int
	given    bool // results was
	newest   bool // nothing can be newer than to
}

// buckets are ThingSpeak's lengths of a bucket in minutes, ways its four ways to fill one, in their precedence.
var (
	lengths = []string{"10", "15", "20", "30", "60", "240", "720", "1440", "daily"}
	ways    = []string{"timescale", "sum", "average", "median"}
)

const dayMinutes = 1440

var callbackName = regexp.MustCompile(`^[A-Za-z_$][A-Za-z0-9_$.]{0,99}$`)

// parseAsk reads all that a read may have for parameters. A value that cannot be is refused: to ignore it would answer another
// question than was asked.
func parseAsk(p parameters, now time.Time) (a ask, err error) {
	if a.loc, err = p.location(); err != nil {
		return a, err
	}
	if a.span, err = parseSpan(p, a.loc, now); err != nil {
		return a, err
	}
	for _, t := range []struct {
		name string
		to   *int64
	}{{"start_entry_id", &a.low}, {"end_entry_id", &a.high}} {
		if p[t.name] == "" {
			continue
		}
		if *t.to, err = strconv.ParseInt(p[t.name], 10, 64); err != nil || *t.to < 1 {
			return a, &badRequest{t.name + " is not a whole number from 1."}
		}
	}
	if a.high != 0 && a.low > a.high {
		return a, &badRequest{"start_entry_id is after end_entry_id."}
	}
	for _, t := range []struct {
		name string
		to   **float64
	}{{"min", &a.least}, {"max", &a.most}} {
		if p[t.name] == "" {
			continue
		}
		v, err := strconv.ParseFloat(p[t.name], 64)
		if err != nil || math.IsNaN(v) || math.IsInf(v, 0) {
			return a, &badRequest{t.name + " is not a number."}
		}
		*t.to = &v
	}
	a.digits = -1
	if s := p["round"]; s != "" {
		if a.digits, err = strconv.Atoi(s); err != nil || a.digits < 0 || a.digits > 15 {
			return a, &badRequest{"round is not a whole number from 0 to 15."}
		}
	}
	for _, way := range ways {
		s := p[way]
		if s == "" {
			continue
		}
		if !slices.Contains(lengths, s) {
			return a, &badRequest{way + " is none of 10, 15, 20, 30, 60, 240, 720, 1440, daily."}
		}
		if a.bucket == "" {
			a.setBucket(way, s)
		}
	}
	a.status, a.location, a.metadata = p["status"] == "true", p["location"] == "true", p["metadata"] == "true"
	a.callback, a.prepend, a.append = p["callback"], p["prepend"], p["append"]
	if a.callback != "" && !callbackName.MatchString(a.callback) {
		return a, &badRequest{"callback is not the name of a function."}
	}
	if len(a.prepend) > maxFieldBytes || len(a.append) > maxFieldBytes {
		return a, errTooLarge
	}
	return a, nil
}

func (a *ask) setBucket(way, length string) {
	a.bucket, a.minutes = way, dayMinutes
	if n, err := strconv.Atoi(length); err == nil {
		a.minutes = n
	}
}

// parseSpan reads results, days, minutes, start and end. Without any of them: the last 24 hours, at most 100. start and
// end are inclusive and meant to the second.
func parseSpan(p parameters, loc *time.Location, now time.Time) (span, error) {
	s := span{results: DefaultResults, newest: true}
	// An entry is a whole second: a span that began within one would show half of it.
	second := now.UTC().Truncate(time.Second)
	s.to = second.Add(maxAhead) // a sensor's clock may be ahead
	anchor, bounded := second, false
	if v := p["end"]; v != "" {
		end, err := parseTime("end", v, loc)
		if err != nil {
			return s, err
		}
		s.to, anchor, s.newest, s.results = end.Add(time.Second), end, false, MaxResults
	}
	s.from = anchor.Add(-24 * time.Hour)
	days, given, err := p.number("days", 36_500)
	if err != nil {
		return s, err
	}
	if given {
		s.from, bounded = anchor.AddDate(0, 0, -days), true
	}
	minutes, given, err := p.number("minutes", 1440)
	if err != nil {
		return s, err
	}
	if given {
		s.from, bounded = anchor.Add(-time.Duration(minutes)*time.Minute), true
	}
	if v := p["start"]; v != "" {
		if s.from, err = parseTime("start", v, loc); err != nil {
			return s, err
		}
		bounded = true
	}
	if bounded { // a span alone asks for all that is in it
		s.results = MaxResults
	}
	results, given, err := p.number("results", MaxResults)
	if err != nil {
		return s, err
	}
	if given {
		s.given = true
		if s.results = results; !bounded {
			s.from = time.Unix(0, 0) // the newest, however old
		}
	}
	if !s.from.Before(s.to) {
		return s, &badRequest{"start is after end."}
	}
	return s, nil
}
