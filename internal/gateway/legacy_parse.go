package gateway

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"vitalseal/internal/vitals"
	"vitalseal/internal/weaken"
)

const (
	maxLegacyMessage    = 3000 // bytes of one message, as ThingSpeak has it
	maxLegacyBulk       = 256 << 10
	maxLegacyMessages   = 600 // of a bulk update: one chunk's
	maxLegacyParameters = 64
	maxLegacyValue      = 32 // bytes of a number; "-0.000000000000000001e+300" has fewer
)

// legacyMessage is one entry of a device, read and in range.
type legacyMessage struct {
	at       time.Time // zero: it named none
	numerics []vitals.Numeric
}

// legacyMistake is a mistake of a device that the text explains. It never repeats what the device sent.
type legacyMistake struct{ name, text string }

func (m *legacyMistake) Error() string { return strings.TrimSpace(m.name + " " + m.text) }

// inMessage says which message of a bulk update a mistake is in.
func inMessage(i int, bulk bool, err error) error {
	if m := (*legacyMistake)(nil); bulk && errors.As(err, &m) {
		return &legacyMistake{strings.TrimSpace(fmt.Sprintf("updates: message %d: %s", i+1, m.name)), m.text}
	}
	return err
}

// fieldNumber is the N of a parameter fieldN or N, of any N in one digit; 0 for another name.
func fieldNumber(name string) int {
	digit := strings.TrimPrefix(name, "field")
	if len(digit) != 1 || digit[0] < '1' || digit[0] > '0'+legacyFields {
		return 0
	}
	return int(digit[0] - '0')
}

// looksLikeField is a name that wants to be a field: field9 and 12 are mistakes, headers=false is another client's habit.
func looksLikeField(name string) bool {
	rest := strings.TrimPrefix(name, "field")
	if rest == "" {
		return true
	}
	return strings.Trim(rest, "0123456789") == ""
}

// legacyForm reads parameters in the form of an address's query. Of a name given twice the first counts.
func legacyForm(s string) (map[string]string, error) {
	if strings.Count(s, "&") >= maxLegacyParameters {
		return nil, &legacyMistake{"", fmt.Sprintf("there are more than %d parameters", maxLegacyParameters)}
	}
	values, err := url.ParseQuery(s)
	if err != nil {
		return nil, &legacyMistake{"", "the parameters are not well-formed; they look like field1=72&field2=97"}
	}
	p := make(map[string]string, len(values))
	for name, v := range values {
		p[name] = v[0]
	}
	return p, nil
}

// legacyJSON flattens an object of texts and numbers. Numbers keep their spelling; null is not given.
func legacyJSON(b []byte) (map[string]string, error) {
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	var body map[string]any
	if err := d.Decode(&body); err != nil || body == nil {
		return nil, &legacyMistake{"", "the body is not a JSON object"}
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, &legacyMistake{"", "the body has something after its JSON object"}
	}
	if len(body) > maxLegacyParameters {
		return nil, &legacyMistake{"", fmt.Sprintf("there are more than %d parameters", maxLegacyParameters)}
	}
	p := make(map[string]string, len(body))
	for name, v := range body {
		switch v := v.(type) {
		case string:
			p[name] = v
		case json.Number:
			p[name] = v.String()
		case bool: // headers: false
			p[name] = strconv.FormatBool(v)
		case nil:
		default:
			return nil, &legacyMistake{"", "a value is neither text nor number"}
		}
	}
	return p, nil
}

// message reads one entry: field1 to field8 (or 1 to 8), created_at. Status and place are let through and not kept: a text in a
// patient's record would be whatever the device says. Any value that is wrong refuses the whole message.
func (d *legacyDevice) message(p map[string]string) (m legacyMessage, err error) {
	total := 0
	var given [legacyFields]string
	names := make([]string, 0, len(p))
	for name := range p {
		names = append(names, name)
	}
	slices.Sort(names) // of "1" and "field1" the latter counts, and errors do not depend on chance
	for _, name := range names {
		v := p[name]
		if total += len(name) + len(v); total > maxLegacyMessage {
			return m, errLegacyLarge
		}
		if !utf8.ValidString(name) || !utf8.ValidString(v) {
			return m, &legacyMistake{"", "the message is not UTF-8"}
		}
		switch i := fieldNumber(name); {
		case i > 0 && d.kinds[i-1] == 0:
			return m, &legacyMistake{fmt.Sprintf("field%d", i), "means nothing for this device; it has " + d.fieldList()}
		case i > 0 && v != "":
			given[i-1] = v // #nosec G602 -- fieldNumber is at most legacyFields
		case i == 0 && looksLikeField(name):
			return m, &legacyMistake{"", "there is a field that is not field1 to field8; this device has " + d.fieldList()}
		}
	}
	for i, v := range given {
		if v == "" {
			continue
		}
		n, err := legacyNumber(d.kinds[i], v)
		if err != nil {
			return m, &legacyMistake{fmt.Sprintf("field%d", i+1), err.Error()}
		}
		m.numerics = append(m.numerics, n)
	}
	if len(m.numerics) == 0 && p["status"] == "" {
		return m, &legacyMistake{"", "there is no value: send " + d.fieldList()}
	}
	if at := p["created_at"]; at != "" {
		m.at, err = legacyTime(at, p["timezone"])
	}
	return m, err
}

// fieldList names the fields that a device has.
func (d *legacyDevice) fieldList() string {
	var list []string
	for i, k := range d.kinds {
		if k != 0 {
			list = append(list, fmt.Sprintf("field%d (%s)", i+1, k))
		}
	}
	return strings.Join(list, ", ")
}

// legacyNumber is a value that a device asserts: never better than asserted.
func legacyNumber(k vitals.Kind, s string) (vitals.Numeric, error) {
	low, high := k.Range()
	v, err := strconv.ParseFloat(strings.TrimSpace(s), 64)
	if len(s) > maxLegacyValue || err != nil || math.IsNaN(v) || math.IsInf(v, 0) || strings.ContainsAny(s, "xXpP_") {
		return vitals.Numeric{}, fmt.Errorf("is not a number; %s is %g to %g", k, low, high)
	}
	if weaken.Skip(weaken.Plausible) {
		return vitals.Numeric{Kind: k, Value: v, Quality: vitals.Asserted}, nil
	}
	n := vitals.Checked(k, v, vitals.Asserted)
	if !n.Quality.HasValue() {
		return n, fmt.Errorf("is out of range; %s is %g to %g", k, low, high)
	}
	return n, nil
}

// legacyLayouts are ThingSpeak's spellings of a time, and RFC 3339.
var legacyLayouts = []string{time.RFC3339, time.DateTime, "2006-01-02T15:04:05", "2006-01-02 15:04:05 -0700", "2006-01-02 15:04:05-07:00", "2006-01-02 15:04:05 UTC"}

// legacyTime reads a time; one without a zone is in the named one, UTC if there is none. Fractions are cut off: ThingSpeak's entries are
// whole seconds.
func legacyTime(s, zone string) (time.Time, error) {
	loc := time.UTC
	if zone != "" {
		var err error
		if loc, err = time.LoadLocation(zone); err != nil || len(zone) > 64 || strings.EqualFold(zone, "local") {
			return time.Time{}, &legacyMistake{"timezone", "is not a zone such as America/New_York"}
		}
	}
	if len(s) <= 64 {
		for _, layout := range legacyLayouts {
			if t, err := time.ParseInLocation(layout, s, loc); err == nil && t.UTC().Year() >= 1970 && t.UTC().Year() <= 9999 {
				return t.UTC().Truncate(time.Second), nil
			}
		}
	}
	return time.Time{}, &legacyMistake{"created_at", "is not a time such as 2026-01-31T08:15:00Z"}
}

// bulkJSON reads the updates of {"write_api_key": ..., "updates": [...]}; the key has been looked at.
func (d *legacyDevice) bulkJSON(updates []json.RawMessage, now time.Time) ([]legacyMessage, error) {
	b := legacyBulk{device: d}
	for i, u := range updates {
		if i >= maxLegacyMessages {
			break // settle says that it is too many
		}
		p, err := legacyJSON(u)
		if err == nil {
			err = b.add(p)
		}
		if err != nil {
			return nil, inMessage(i, true, err)
		}
	}
	return b.settle(len(updates), now)
}

// legacyColumns are the places of a message of bulk_update.csv after its time.
var legacyColumns = []string{"field1", "field2", "field3", "field4", "field5", "field6", "field7", "field8", "latitude", "longitude", "elevation", "status"}

// bulkCSV reads ThingSpeak's time_format=absolute|relative and updates=time,field1,...|...
func (d *legacyDevice) bulkCSV(p map[string]string, now time.Time) ([]legacyMessage, error) {
	name, ok := map[string]string{"absolute": "created_at", "relative": "delta_t"}[p["time_format"]]
	if !ok {
		return nil, &legacyMistake{"time_format", "is neither absolute nor relative"}
	}
	b := legacyBulk{device: d}
	text := strings.TrimSuffix(strings.TrimSpace(p["updates"]), "|")
	if text == "" {
		return b.settle(0, now)
	}
	if n := strings.Count(text, "|") + 1; n > maxLegacyMessages {
		return b.settle(n, now)
	}
	messages := strings.Split(text, "|")
	for i, m := range messages {
		values := strings.Split(m, ",")
		if len(values) > 1+len(legacyColumns) {
			return nil, inMessage(i, true, &legacyMistake{"", "there are more than 13 columns"})
		}
		one := map[string]string{name: strings.TrimSpace(values[0]), "timezone": p["timezone"]}
		for j, v := range values[1:] {
			if v != "" {
				one[legacyColumns[j]] = v
			}
		}
		if err := b.add(one); err != nil {
			return nil, inMessage(i, true, err)
		}
	}
	return b.settle(len(messages), now)
}

// legacyBulk gives each message its time: the one that it has, or, where messages say how many seconds after the one before they were
// taken, counted back from now, when the last one is sent.
type legacyBulk struct {
	device   *legacyDevice
	messages []legacyMessage
	deltas   []time.Duration
}

func (b *legacyBulk) add(p map[string]string) error {
	m, err := b.device.message(p)
	if err != nil {
		return err
	}
	delta, relative := p["delta_t"]
	if relative == !m.at.IsZero() {
		return &legacyMistake{"", "it needs either created_at or delta_t"}
	}
	b.messages = append(b.messages, m)
	if !relative {
		return nil
	}
	seconds, err := strconv.ParseUint(delta, 10, 32)
	if err != nil || seconds == 0 && len(b.deltas) > 0 || seconds > 1e9 {
		return &legacyMistake{"delta_t", "is not a number of whole seconds, from 1 after the first message"}
	}
	b.deltas = append(b.deltas, time.Duration(seconds)*time.Second) // #nosec G115 -- at most 1e9
	return nil
}

// settle checks the number of messages, fills in the times of relative ones and brings them into order.
func (b *legacyBulk) settle(n int, now time.Time) ([]legacyMessage, error) {
	switch {
	case n == 0:
		return nil, &legacyMistake{"updates", "is empty or missing"}
	case n > maxLegacyMessages:
		return nil, &legacyMistake{"updates", fmt.Sprintf("has more than %d messages", maxLegacyMessages)}
	case len(b.deltas) > 0 && len(b.deltas) < n:
		return nil, &legacyMistake{"updates", "has both created_at and delta_t"}
	}
	at := now.UTC().Truncate(time.Second)
	for i := len(b.deltas) - 1; i >= 0; i-- {
		b.messages[i].at = at
		at = at.Add(-b.deltas[i])
	}
	slices.SortStableFunc(b.messages, func(x, y legacyMessage) int { return x.at.Compare(y.at) })
	for i := 1; i < len(b.messages); i++ {
		if b.messages[i].at.Equal(b.messages[i-1].at) {
			return nil, &legacyMistake{"updates", "has two messages of the same time, which is unique in a channel"}
		}
	}
	return b.messages, nil
}
