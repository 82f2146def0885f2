package legacy

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"vitalseal/internal/measurement/vitals"
	"vitalseal/internal/shared/form"
)

const (
	maxLegacyMessage    = 3000 // bytes of one message, as ThingSpeak has it
	maxLegacyBulk       = 256 << 10
	maxLegacyMessages   = 600 // of a bulk update: one chunk's
	maxLegacyParameters = 64
	maxLegacyValue      = 32 // bytes of a number; "-0.000000000000000001e+300" has fewer
)

// legacyMessage is one entry of a device: values in range, and the absence of those that are none.
type legacyMessage struct {
	at       time.Time // zero: it named none
	numerics []vitals.Numeric
	left     []error // why fields are absent, or left out because they mean nothing
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

// legacyForm reads parameters in the form of an address's query.
func legacyForm(s string) (form.Values, error) {
	v, err := form.Parse(s, maxLegacyParameters)
	return v, legacyError(err)
}

// legacyJSON flattens an object of texts and numbers.
func legacyJSON(b []byte) (form.Values, error) {
	p, err := form.JSON(b, maxLegacyParameters)
	return form.Values{Of: p}, legacyError(err)
}

// legacyError makes a mistake of package form one of a device.
func legacyError(err error) error {
	if m := (*form.Mistake)(nil); errors.As(err, &m) {
		return &legacyMistake{"", m.Text}
	}
	return err
}

// message reads one entry: field1 to field8 (or 1 to 8), created_at. Status and place are let through and not kept: a text in a
// patient's record would be whatever the device says, and whatever it looks like it costs no number. A field that is no value, or out of
// its kind's range, is absent and costs the others nothing either; a sketch whose SpO2 is not found yet sends -999 beside a good heart
// rate. A message of which nothing is a value is refused, as is one whose time cannot be read: stored now, it would be wrong.
func (d *legacyDevice) message(v form.Values) (m legacyMessage, err error) {
	total := 0
	var given [legacyFields]string
	var named, broken [legacyFields]bool
	names := make([]string, 0, len(v.Of))
	for name := range v.Of {
		names = append(names, name)
	}
	slices.Sort(names) // of "1" and "field1" the latter counts, and errors do not depend on chance
	for _, name := range names {
		x := v.Of[name]
		if total += len(name) + len(x); total > maxLegacyMessage {
			return legacyMessage{}, errLegacyLarge
		}
		switch i := fieldNumber(name); {
		case i > 0 && d.kinds[i-1] == 0:
			m.left = append(m.left, &legacyMistake{fmt.Sprintf("field%d", i), "means nothing for this device; it has " + d.fieldList() + "; name others in the gateway's configuration"})
		case i > 0 && x != "":
			given[i-1], named[i-1], broken[i-1] = x, true, v.Malformed[name] // #nosec G602 -- fieldNumber is at most legacyFields
		case i == 0 && looksLikeField(name):
			m.left = append(m.left, &legacyMistake{"", "there is a field that is not field1 to field8; this device has " + d.fieldList()})
		}
	}
	valued := false
	for i, x := range given {
		if !named[i] {
			continue
		}
		n, err := legacyNumber(d.kinds[i], x)
		if broken[i] && err == nil {
			n, err = vitals.Absent(d.kinds[i], vitals.DeviceFault), errors.New("is not well-formed: a percent sign or semicolon stands in it")
		}
		if err != nil {
			m.left = append(m.left, &legacyMistake{fmt.Sprintf("field%d", i+1), err.Error()})
		}
		valued = valued || n.Quality.HasValue()
		m.numerics = append(m.numerics, n)
	}
	if at := v.Of["created_at"]; at != "" {
		if m.at, err = legacyTime(at, v.Of["timezone"]); err != nil {
			return legacyMessage{}, err
		}
	}
	switch {
	case valued || len(m.left) == 0 && v.Of["status"] != "":
		return m, nil
	case len(m.left) > 0:
		return m, m.left[0]
	}
	return legacyMessage{}, &legacyMistake{"", "there is no value: send " + d.fieldList()}
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

// legacyNumber is a value that a device asserts: never better than asserted. With an error it is the absence of one, and why.
//
//defence:plausible what no body can have is no reading
//defence:asserted-mark what a legacy device says is asserted, whatever it claims
func legacyNumber(k vitals.Kind, s string) (vitals.Numeric, error) {
	low, high := k.Range()
	s = strings.TrimSpace(s)
	v, err := strconv.ParseFloat(s, 64)
	if len(s) > maxLegacyValue || err != nil && !errors.Is(err, strconv.ErrRange) || strings.ContainsAny(s, "xXpP_") {
		return vitals.Absent(k, vitals.DeviceFault), fmt.Errorf("is not a number; %s is %g to %g", k, low, high)
	}
	n := vitals.Checked(k, v, vitals.Asserted)
	switch {
	case math.IsNaN(v) || math.IsInf(v, 0):
		return n, fmt.Errorf("is not a number; %s is %g to %g", k, low, high)
	case !n.Quality.HasValue():
		return n, fmt.Errorf("is out of range; %s is %g to %g", k, low, high)
	}
	return n, nil
}

// legacyTime reads a time of day; one without an offset is in the named zone, UTC if there is none. Fractions are cut off: ThingSpeak's
// entries are whole seconds.
func legacyTime(s, zone string) (time.Time, error) {
	loc, ok := form.Zone(zone)
	if !ok {
		return time.Time{}, &legacyMistake{"timezone", "is not a zone such as America/New_York"}
	}
	t, err := form.Time(s, loc)
	if err != nil || !form.HasClock(s) {
		return time.Time{}, &legacyMistake{"created_at", form.ErrTime.Text}
	}
	return t.Truncate(time.Second), nil
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
func (d *legacyDevice) bulkCSV(v form.Values, now time.Time) ([]legacyMessage, error) {
	p := v.Of
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
		for j, x := range values[1:] {
			if x = form.Value(x); x != "" {
				one[legacyColumns[j]] = x
			}
		}
		if err := b.add(form.Values{Of: one}); err != nil {
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

// add reads one message. One without any value keeps its place among the times, and stands there as that.
func (b *legacyBulk) add(v form.Values) error {
	m, err := b.device.message(v)
	if err != nil && len(m.numerics) == 0 {
		return err
	}
	delta, relative := v.Of["delta_t"]
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
