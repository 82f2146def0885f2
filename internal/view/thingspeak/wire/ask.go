package wire

import (
	"math"
	"regexp"
	"slices"
	"strconv"
	"time"
)

// Ask is what a read asks for.
type Ask struct {
	Span
	Low, High int64 // ids, both included; 0 for no bound
	Loc       *time.Location

	least, most *float64 // values outside are null
	digits      int      // to round to; -1: as they are
	Bucket      string   // "", or which of the ways to sum entries up
	minutes     int      // of a bucket

	Status, Location, Metadata bool // what an answer shows beside the fields
	Callback, Prepend, Append  string
}

// Span is the newest results entries in [from, to).
type Span struct {
	From, To time.Time
	Results  int
	Given    bool // results was given
	Newest   bool // nothing can be newer than To
}

// lengths are ThingSpeak's lengths of a bucket in minutes, ways its four ways to fill one, in their
// precedence.
var (
	lengths = []string{"10", "15", "20", "30", "60", "240", "720", "1440", "daily"}
	ways    = []string{"timescale", "sum", "average", "median"}
)

const dayMinutes = 1440

var callbackName = regexp.MustCompile(`^[A-Za-z_$][A-Za-z0-9_$.]{0,99}$`)

// ParseAsk reads all that a read may have for parameters. A value that cannot be is refused: to
// ignore it would answer another question than was asked.
func ParseAsk(p Parameters, now time.Time) (a Ask, err error) {
	if a.Loc, err = p.Location(); err != nil {
		return a, err
	}
	if a.Span, err = parseSpan(p, a.Loc, now); err != nil {
		return a, err
	}
	for _, t := range []struct {
		name string
		to   *int64
	}{{"start_entry_id", &a.Low}, {"end_entry_id", &a.High}} {
		if p[t.name] == "" {
			continue
		}
		if *t.to, err = strconv.ParseInt(p[t.name], 10, 64); err != nil || *t.to < 1 {
			return a, &BadRequest{t.name + " is not a whole number from 1."}
		}
	}
	if a.High != 0 && a.Low > a.High {
		return a, &BadRequest{"start_entry_id is after end_entry_id."}
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
			return a, &BadRequest{t.name + " is not a number."}
		}
		*t.to = &v
	}
	a.digits = -1
	if s := p["round"]; s != "" {
		if a.digits, err = strconv.Atoi(s); err != nil || a.digits < 0 || a.digits > 15 {
			return a, &BadRequest{"round is not a whole number from 0 to 15."}
		}
	}
	for _, way := range ways {
		s := p[way]
		if s == "" {
			continue
		}
		if !slices.Contains(lengths, s) {
			return a, &BadRequest{way + " is none of 10, 15, 20, 30, 60, 240, 720, 1440, daily."}
		}
		if a.Bucket == "" {
			a.SetBucket(way, s)
		}
	}
	a.Status, a.Location, a.Metadata = p["status"] == "true", p["location"] == "true", p["metadata"] == "true"
	a.Callback, a.Prepend, a.Append = p["callback"], p["prepend"], p["append"]
	if a.Callback != "" && !callbackName.MatchString(a.Callback) {
		return a, &BadRequest{"callback is not the name of a function."}
	}
	if len(a.Prepend) > MaxFieldBytes || len(a.Append) > MaxFieldBytes {
		return a, ErrTooLarge
	}
	return a, nil
}

// SetBucket asks for buckets of a length, a number of minutes or "daily", filled in one of the ways
// of ThingSpeak.
func (a *Ask) SetBucket(way, length string) {
	a.Bucket, a.minutes = way, dayMinutes
	if n, err := strconv.Atoi(length); err == nil {
		a.minutes = n
	}
}

// parseSpan reads results, days, minutes, start and end. Without any of them: the last 24 hours, at
// most 100. start and end are inclusive and meant to the second.
func parseSpan(p Parameters, loc *time.Location, now time.Time) (Span, error) {
	s := Span{Results: defaultResults, Newest: true}
	// An entry is a whole second: a span that began within one would show half of it.
	second := now.UTC().Truncate(time.Second)
	s.To = second.Add(MaxAhead) // a sensor's clock may be ahead
	anchor, bounded := second, false
	if v := p["end"]; v != "" {
		end, err := ParseTime("end", v, loc)
		if err != nil {
			return s, err
		}
		s.To, anchor, s.Newest, s.Results = end.Add(time.Second), end, false, MaxResults
	}
	s.From = anchor.Add(-24 * time.Hour)
	days, given, err := p.Number("days", 36_500)
	if err != nil {
		return s, err
	}
	if given {
		s.From, bounded = anchor.AddDate(0, 0, -days), true
	}
	minutes, given, err := p.Number("minutes", 1440)
	if err != nil {
		return s, err
	}
	if given {
		s.From, bounded = anchor.Add(-time.Duration(minutes)*time.Minute), true
	}
	if v := p["start"]; v != "" {
		if s.From, err = ParseTime("start", v, loc); err != nil {
			return s, err
		}
		bounded = true
	}
	if bounded { // a span alone asks for all that is in it
		s.Results = MaxResults
	}
	results, given, err := p.Number("results", MaxResults)
	if err != nil {
		return s, err
	}
	if given {
		s.Given = true
		if s.Results = results; !bounded {
			s.From = time.Unix(0, 0) // the newest, however old
		}
	}
	if !s.From.Before(s.To) {
		return s, &BadRequest{"start is after end."}
	}
	return s, nil
}

// mostResults is the most entries in one answer, as ThingSpeak has it; defaultResults is what a
// request without parameters gets.
const (
	MaxResults     = 8000
	defaultResults = 100
)

// MaxAhead is how far a sender's clock may be ahead of ours.
const MaxAhead = 5 * time.Minute
