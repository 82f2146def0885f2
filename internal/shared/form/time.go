package form

import (
	"regexp"
	"strconv"
	"strings"
	"time"
)

// moment is a date, and perhaps a time of day with an offset: what RFC 3339, ThingSpeak's exports,
// its Arduino library ("...54-05") and strftime's %z ("...-0500") write. A blank where the sign
// belongs is a plus that was not escaped in a form.
var moment = regexp.MustCompile(`^(\d{4})-(\d{2})-(\d{2})(?:(?:[Tt]| +)(\d{2}):(\d{2})(?::(\d{2})(?:[.,](\d{1,9}))?)?(?: *(Z|z|UTC|GMT)| *([+-])(\d{2})(?::?(\d{2}))?| (\d{2}):?(\d{2}))?)?$`)

const maxMoment = 64

// ErrTime says that a text is no time. Callers name the parameter in front.
var ErrTime = &Mistake{"is not a time such as 2026-01-31T08:15:00Z or 2026-01-31 08:15:00 -0500"}

// Time reads a time in UTC, with its fraction; one without an offset is in loc. A date alone is its
// midnight there (see HasClock). A zone by name other than UTC is not taken, because what it means
// is not sure. ErrTime for all else, and for years outside 1970 to 9999.
func Time(s string, loc *time.Location) (time.Time, error) {
	s = strings.TrimSpace(s)
	if len(s) > maxMoment {
		return time.Time{}, ErrTime
	}
	m := moment.FindStringSubmatch(s)
	if m == nil {
		return time.Time{}, ErrTime
	}
	n := func(i int) int {
		v, _ := strconv.Atoi(m[i]) // digits, or empty for 0
		return v
	}
	nanos := 0
	if m[7] != "" {
		nanos, _ = strconv.Atoi(m[7] + strings.Repeat("0", 9-len(m[7])))
	}
	switch sign, hours, minutes := m[9], n(10), n(11); {
	case m[8] != "":
		loc = time.UTC
	case sign != "" || m[12] != "":
		if m[12] != "" {
			sign, hours, minutes = "+", n(12), n(13)
		}
		if hours > 14 || minutes > 59 {
			return time.Time{}, ErrTime
		}
		offset := (hours*60 + minutes) * 60
		if sign == "-" {
			offset = -offset
		}
		loc = time.FixedZone("", offset)
	}
	if n(2) < 1 || n(2) > 12 || n(3) < 1 || n(4) > 23 || n(5) > 59 || n(6) > 59 {
		return time.Time{}, ErrTime
	}
	t := time.Date(n(1), time.Month(n(2)), n(3), n(4), n(5), n(6), nanos, loc)
	if t.Day() != n(3) { // 30 February
		return time.Time{}, ErrTime
	}
	if t = t.UTC(); t.Year() < 1970 || t.Year() > 9999 {
		return time.Time{}, ErrTime
	}
	return t, nil
}

// HasClock reports whether a time has a time of day, and is not a date alone.
func HasClock(s string) bool { return strings.Contains(s, ":") }

// Zone is the location of a name of the IANA's database; UTC for an empty one. false for what is
// none.
func Zone(name string) (*time.Location, bool) {
	if name == "" {
		return time.UTC, true
	}
	if len(name) > 64 || strings.EqualFold(name, "local") { // this machine's own zone is not the sender's
		return nil, false
	}
	loc, err := time.LoadLocation(name)
	return loc, err == nil
}
