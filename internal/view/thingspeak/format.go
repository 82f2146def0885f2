package thingspeak

import (
	"encoding/csv"
	"encoding/json"
	"encoding/xml"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"vitalseal/internal/channel"
)

// shape is what of an entry an answer shows, and how.
type shape struct {
	fields                     []int // from 1; ascending
	status, location, metadata bool
	channel                    int64 // not 0: an answer to a write, which names the channel
	noID                       bool  // buckets have none
	loc                        *time.Location
}

func fieldName(c channel.Channel, i int) string {
	if c.Patient != "" {
		return PatientFields()[i-1]
	}
	return c.Fields[i-1]
}

// nameless reports whether a channel has no name for any field. It has all eight then: a value that was taken is seen.
func nameless(c channel.Channel) bool { return c.Patient == "" && c.Fields == [8]string{} }

// unnamed lists the fields of entries that their channel has no name for, and that its feeds therefore leave out.
func unnamed(c channel.Channel, entries ...channel.Entry) (fields []string) {
	if nameless(c) {
		return nil
	}
	for i, name := range fieldNames {
		if fieldName(c, i+1) == "" && slices.ContainsFunc(entries, func(e channel.Entry) bool { return e.Fields[i] != nil }) {
			fields = append(fields, name)
		}
	}
	return fields
}

// tellUnnamed says which values of a write are stored and yet in no feed.
func tellUnnamed(w http.ResponseWriter, c channel.Channel, entries ...channel.Entry) {
	if fields := unnamed(c, entries...); len(fields) > 0 {
		told(w, "the channel has no "+strings.Join(fields, ", ")+": stored, but in no feed until the channel's settings name it")
	}
}

// shapeOf shows one field, or for 0 those that the channel has a name for.
func shapeOf(c channel.Channel, a ask, field int) shape {
	s := shape{status: a.status, location: a.location, metadata: a.metadata, loc: a.loc, noID: a.bucket != ""}
	for i := 1; i <= 8; i++ {
		if i == field || field == 0 && (fieldName(c, i) != "" || nameless(c)) {
			s.fields = append(s.fields, i)
		}
	}
	return s
}

// written is the shape of an answer to a write: all of the entry.
func written(channel int64) shape {
	return shape{fields: []int{1, 2, 3, 4, 5, 6, 7, 8}, status: true, location: true, channel: channel, loc: time.UTC}
}

// cell is one value of an entry or a channel. number: it is a whole number, not a text; at: it is a time.
type cell struct {
	name   string
	value  *string // nil: null
	number bool
	at     time.Time
}

var fieldNames = [8]string{"field1", "field2", "field3", "field4", "field5", "field6", "field7", "field8"}

// cells are an entry's in the order of every format.
func (s shape) cells(to []cell, e channel.Entry) []cell {
	if s.channel != 0 {
		to = append(to, whole("channel_id", s.channel))
	}
	to = append(to, cell{name: "created_at", at: e.Created})
	if !s.noID {
		to = append(to, whole("entry_id", e.ID))
	}
	for _, i := range s.fields {
		to = append(to, cell{name: fieldNames[i-1], value: e.Fields[i-1]})
	}
	if s.location {
		to = append(to, cell{name: "latitude", value: given(e.Latitude)}, cell{name: "longitude", value: given(e.Longitude)},
			cell{name: "elevation", value: given(e.Elevation)})
	}
	if s.status {
		to = append(to, cell{name: "status", value: given(e.Status)})
	}
	return to
}

// head are the cells of a channel's description as it stands before its entries.
func (s shape) head(c channel.Channel, last int64) []cell {
	all := []cell{whole("id", c.ID), {name: "name", value: &c.Name}, {name: "description", value: &c.Description},
		{name: "latitude", value: given(c.Latitude)}, {name: "longitude", value: given(c.Longitude)}}
	if s.location && c.Elevation != "" {
		all = append(all, cell{name: "elevation", value: &c.Elevation})
	}
	if s.metadata {
		all = append(all, cell{name: "metadata", value: &c.Metadata})
	}
	for _, i := range s.fields {
		if name := fieldName(c, i); name != "" {
			all = append(all, cell{name: fieldNames[i-1], value: &name})
		}
	}
	all = append(all, cell{name: "created_at", at: c.Created}, cell{name: "updated_at", at: c.Updated})
	if last == 0 {
		return append(all, cell{name: "last_entry_id", number: true})
	}
	return append(all, whole("last_entry_id", last))
}

func whole(name string, n int64) cell {
	s := strconv.FormatInt(n, 10)
	return cell{name: name, value: &s, number: true}
}

func given(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

// stamp is ThingSpeak's spelling of a time: no fraction; with its offset, unless that is UTC.
func (s shape) stamp(t time.Time) string { return t.In(s.loc).Format("2006-01-02T15:04:05Z07:00") }

// columnStamp is how a CSV spells it.
func (s shape) columnStamp(t time.Time) string {
	if t = t.In(s.loc); s.loc == time.UTC {
		return t.Format("2006-01-02 15:04:05 UTC")
	}
	return t.Format("2006-01-02 15:04:05 -0700")
}

// feed is a whole answer: a channel, unless it is nil, and its entries; or one entry.
type feed struct {
	shape
	channel *channel.Channel
	last    int64
	entries []channel.Entry
}

// encode writes the answer in a format.
func (d feed) encode(ext string) []byte {
	switch ext {
	case "xml":
		return d.xml()
	case "csv":
		return d.csv(true)
	}
	b := make([]byte, 0, 512+len(d.entries)*(64+32*len(d.fields)))
	var cells []cell
	if d.channel == nil {
		return d.appendObject(b, d.cells(nil, d.entries[0]))
	}
	b = append(b, `{"channel":`...)
	b = append(d.appendObject(b, d.head(*d.channel, d.last)), `,"feeds":[`...)
	for i, e := range d.entries {
		if i > 0 {
			b = append(b, ',')
		}
		cells = d.cells(cells[:0], e)
		b = d.appendObject(b, cells)
	}
	return append(b, "]}"...)
}

func (s shape) appendObject(b []byte, cells []cell) []byte {
	b = append(b, '{')
	for i, c := range cells {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(append(append(b, '"'), c.name...), `":`...)
		switch {
		case !c.at.IsZero():
			b = append(append(append(b, '"'), s.stamp(c.at)...), '"')
		case c.value == nil:
			b = append(b, "null"...)
		case c.number:
			b = append(b, *c.value...)
		default:
			b = appendQuoted(b, *c.value)
		}
	}
	return append(b, '}')
}

func appendQuoted(b []byte, v string) []byte {
	quoted, err := json.Marshal(v)
	if err != nil { // a string always can
		return append(b, "null"...)
	}
	return append(b, quoted...)
}

// escape makes text fit for XML and HTML.
func escape(v string) string {
	var b strings.Builder
	_ = xml.EscapeText(&b, []byte(v)) // a Builder takes everything
	return b.String()
}

func (d feed) xml() []byte {
	b := []byte(xmlHead)
	if d.channel == nil {
		return append(d.appendElements(append(b, "<feed>\n"...), "  ", d.cells(nil, d.entries[0])), "</feed>\n"...)
	}
	b = d.appendElements(append(b, "<channel>\n"...), "  ", d.head(*d.channel, d.last))
	b = append(b, "  <feeds type=\"array\">\n"...)
	var cells []cell
	for _, e := range d.entries {
		cells = d.cells(cells[:0], e)
		b = append(d.appendElements(append(b, "    <feed>\n"...), "      ", cells), "    </feed>\n"...)
	}
	return append(b, "  </feeds>\n</channel>\n"...)
}

func (s shape) appendElements(b []byte, indent string, cells []cell) []byte {
	for _, c := range cells {
		name := strings.ReplaceAll(c.name, "_", "-")
		b = append(append(append(b, indent...), '<'), name...)
		text := ""
		switch {
		case !c.at.IsZero():
			b, text = append(b, ` type="dateTime"`...), s.stamp(c.at)
		case c.value == nil:
			b = append(b, " nil=\"true\"/>\n"...)
			continue
		case c.number:
			b, text = append(b, ` type="integer"`...), *c.value
		case c.name == "latitude" || c.name == "longitude":
			b, text = append(b, ` type="decimal"`...), escape(*c.value)
		default:
			text = escape(*c.value)
		}
		b = append(append(append(append(append(append(b, '>'), text...), "</"...), name...), '>'), '\n')
	}
	return b
}

// csv is the entries alone, with the names of the columns in front if head.
func (d feed) csv(head bool) []byte {
	var b strings.Builder
	w := csv.NewWriter(&b)
	var cells []cell
	var row []string
	if head {
		for _, c := range d.cells(nil, channel.Entry{}) {
			row = append(row, c.name)
		}
		_ = w.Write(row) // a Builder takes everything
	}
	for _, e := range d.entries {
		cells, row = d.cells(cells[:0], e), row[:0]
		for _, c := range cells {
			switch {
			case !c.at.IsZero():
				row = append(row, d.columnStamp(c.at))
			case c.value == nil:
				row = append(row, "")
			default:
				row = append(row, textCell(*c.value))
			}
		}
		_ = w.Write(row)
	}
	w.Flush()
	return []byte(b.String())
}
