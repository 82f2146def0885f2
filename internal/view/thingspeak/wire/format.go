package wire

import (
	"encoding/csv"
	"encoding/json"
	"encoding/xml"
	"slices"
	"strconv"
	"strings"
	"time"

	"vitalseal/internal/hub/channel"
)

// Shape is what of an entry an answer shows, and how.
type Shape struct {
	fields                     []int // from 1; ascending
	Status, Location, Metadata bool
	channel                    int64 // not 0: an answer to a write, which names the channel
	NoID                       bool  // buckets have none
	Loc                        *time.Location
}

// FieldName is the name of a channel's field, from 1; empty if it has none.
func FieldName(c channel.Channel, i int) string {
	if c.Patient != "" {
		return PatientFields()[i-1]
	}
	return c.Fields[i-1]
}

// nameless reports whether a channel has no name for any field. It has all eight then: a value that
// was taken is seen.
func nameless(c channel.Channel) bool { return c.Patient == "" && c.Fields == [8]string{} }

// UnnamedFields lists the fields of entries that their channel has no name for, and that its feeds
// therefore leave out.
func UnnamedFields(c channel.Channel, entries ...channel.Entry) (fields []string) {
	if nameless(c) {
		return nil
	}
	for i, name := range FieldNames {
		if FieldName(c, i+1) == "" && slices.ContainsFunc(entries, func(e channel.Entry) bool { return e.Fields[i] != nil }) {
			fields = append(fields, name)
		}
	}
	return fields
}

// ShapeOf shows one field, or for 0 those that the channel has a name for.
func ShapeOf(c channel.Channel, a Ask, field int) Shape {
	s := Shape{Status: a.Status, Location: a.Location, Metadata: a.Metadata, Loc: a.Loc, NoID: a.Bucket != ""}
	for i := 1; i <= 8; i++ {
		if i == field || field == 0 && (FieldName(c, i) != "" || nameless(c)) {
			s.fields = append(s.fields, i)
		}
	}
	return s
}

// WrittenShape is the shape of an answer to a write: all of the entry.
func WrittenShape(channel int64) Shape {
	return Shape{fields: []int{1, 2, 3, 4, 5, 6, 7, 8}, Status: true, Location: true, channel: channel, Loc: time.UTC}
}

// Cell is one value of an entry or a channel.
type Cell struct {
	Name   string
	Value  *string   // nil: null
	Number bool      // Value is a whole number, not a text
	At     time.Time // not zero: the cell is a time, and Value does not count
}

// FieldNames are the names of an entry's fields in every format.
var FieldNames = [8]string{"field1", "field2", "field3", "field4", "field5", "field6", "field7", "field8"}

// cells are an entry's in the order of every format.
func (s Shape) cells(to []Cell, e channel.Entry) []Cell {
	if s.channel != 0 {
		to = append(to, WholeCell("channel_id", s.channel))
	}
	to = append(to, Cell{Name: "created_at", At: e.Created})
	if !s.NoID {
		to = append(to, WholeCell("entry_id", e.ID))
	}
	for _, i := range s.fields {
		to = append(to, Cell{Name: FieldNames[i-1], Value: e.Fields[i-1]})
	}
	if s.Location {
		to = append(to, Cell{Name: "latitude", Value: OrNull(e.Latitude)}, Cell{Name: "longitude", Value: OrNull(e.Longitude)},
			Cell{Name: "elevation", Value: OrNull(e.Elevation)})
	}
	if s.Status {
		to = append(to, Cell{Name: "status", Value: OrNull(e.Status)})
	}
	return to
}

// head are the cells of a channel's description as it stands before its entries.
func (s Shape) head(c channel.Channel, last int64) []Cell {
	all := []Cell{WholeCell("id", c.ID), {Name: "name", Value: &c.Name}, {Name: "description", Value: &c.Description},
		{Name: "latitude", Value: OrNull(c.Latitude)}, {Name: "longitude", Value: OrNull(c.Longitude)}}
	if s.Location && c.Elevation != "" {
		all = append(all, Cell{Name: "elevation", Value: &c.Elevation})
	}
	if s.Metadata {
		all = append(all, Cell{Name: "metadata", Value: &c.Metadata})
	}
	for _, i := range s.fields {
		if name := FieldName(c, i); name != "" {
			all = append(all, Cell{Name: FieldNames[i-1], Value: &name})
		}
	}
	all = append(all, Cell{Name: "created_at", At: c.Created}, Cell{Name: "updated_at", At: c.Updated})
	if last == 0 {
		return append(all, Cell{Name: "last_entry_id", Number: true})
	}
	return append(all, WholeCell("last_entry_id", last))
}

// WholeCell is the cell of a whole number.
func WholeCell(name string, n int64) Cell {
	s := strconv.FormatInt(n, 10)
	return Cell{Name: name, Value: &s, Number: true}
}

// OrNull is nil for an empty text, which the formats write as null.
func OrNull(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

// Stamp is ThingSpeak's spelling of a time: no fraction; with its offset, unless that is UTC.
func (s Shape) Stamp(t time.Time) string { return t.In(s.Loc).Format("2006-01-02T15:04:05Z07:00") }

// columnStamp is how a CSV spells it.
func (s Shape) columnStamp(t time.Time) string {
	if t = t.In(s.Loc); s.Loc == time.UTC {
		return t.Format("2006-01-02 15:04:05 UTC")
	}
	return t.Format("2006-01-02 15:04:05 -0700")
}

// Feed is a whole answer: a channel, unless it is nil, and its entries; or one entry.
type Feed struct {
	Shape
	Channel *channel.Channel
	Last    int64
	Entries []channel.Entry
}

// Encode writes the answer in a format.
func (d Feed) Encode(ext string) []byte {
	switch ext {
	case "xml":
		return d.xml()
	case "csv":
		return d.CSV(true)
	}
	b := make([]byte, 0, 512+len(d.Entries)*(64+32*len(d.fields)))
	var cells []Cell
	if d.Channel == nil {
		return d.appendObject(b, d.cells(nil, d.Entries[0]))
	}
	b = append(b, `{"channel":`...)
	b = append(d.appendObject(b, d.head(*d.Channel, d.Last)), `,"feeds":[`...)
	for i, e := range d.Entries {
		if i > 0 {
			b = append(b, ',')
		}
		cells = d.cells(cells[:0], e)
		b = d.appendObject(b, cells)
	}
	return append(b, "]}"...)
}

func (s Shape) appendObject(b []byte, cells []Cell) []byte {
	b = append(b, '{')
	for i, c := range cells {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(append(append(b, '"'), c.Name...), `":`...)
		switch {
		case !c.At.IsZero():
			b = append(append(append(b, '"'), s.Stamp(c.At)...), '"')
		case c.Value == nil:
			b = append(b, "null"...)
		case c.Number:
			b = append(b, *c.Value...)
		default:
			b = appendQuoted(b, *c.Value)
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

// XMLHead begins every XML document.
const XMLHead = `<?xml version="1.0" encoding="UTF-8"?>` + "\n"

// Escape makes text fit for XML and HTML.
func Escape(v string) string {
	var b strings.Builder
	_ = xml.EscapeText(&b, []byte(v)) // a Builder takes everything
	return b.String()
}

func (d Feed) xml() []byte {
	b := []byte(XMLHead)
	if d.Channel == nil {
		return append(d.AppendElements(append(b, "<feed>\n"...), "  ", d.cells(nil, d.Entries[0])), "</feed>\n"...)
	}
	b = d.AppendElements(append(b, "<channel>\n"...), "  ", d.head(*d.Channel, d.Last))
	b = append(b, "  <feeds type=\"array\">\n"...)
	var cells []Cell
	for _, e := range d.Entries {
		cells = d.cells(cells[:0], e)
		b = append(d.AppendElements(append(b, "    <feed>\n"...), "      ", cells), "    </feed>\n"...)
	}
	return append(b, "  </feeds>\n</channel>\n"...)
}

// AppendElements appends cells as XML, one element a line.
func (s Shape) AppendElements(b []byte, indent string, cells []Cell) []byte {
	for _, c := range cells {
		name := strings.ReplaceAll(c.Name, "_", "-")
		b = append(append(append(b, indent...), '<'), name...)
		text := ""
		switch {
		case !c.At.IsZero():
			b, text = append(b, ` type="dateTime"`...), s.Stamp(c.At)
		case c.Value == nil:
			b = append(b, " nil=\"true\"/>\n"...)
			continue
		case c.Number:
			b, text = append(b, ` type="integer"`...), *c.Value
		case c.Name == "latitude" || c.Name == "longitude":
			b, text = append(b, ` type="decimal"`...), Escape(*c.Value)
		default:
			text = Escape(*c.Value)
		}
		b = append(append(append(append(append(append(b, '>'), text...), "</"...), name...), '>'), '\n')
	}
	return b
}

// CSV is the entries alone, with the names of the columns in front if head.
func (d Feed) CSV(head bool) []byte {
	var b strings.Builder
	w := csv.NewWriter(&b)
	var cells []Cell
	var row []string
	if head {
		for _, c := range d.cells(nil, channel.Entry{}) {
			row = append(row, c.Name)
		}
		_ = w.Write(row) // a Builder takes everything
	}
	for _, e := range d.Entries {
		cells, row = d.cells(cells[:0], e), row[:0]
		for _, c := range cells {
			switch {
			case !c.At.IsZero():
				row = append(row, d.columnStamp(c.At))
			case c.Value == nil:
				row = append(row, "")
			default:
				row = append(row, textCell(*c.Value))
			}
		}
		_ = w.Write(row)
	}
	w.Flush()
	return []byte(b.String())
}

// PatientFields are the field names of a patient's monitor, in ThingSpeak's order.
func PatientFields() [8]string {
	return [8]string{"heart rate bpm", "SpO2 %", "pressure kPa", "systolic mmHg", "diastolic mmHg", "mean mmHg", "respiratory rate /min", "early-warning score"}
}
