package accuracy

import (
	"bytes"
	"encoding/json"
	"math"
	"strconv"
)

// Figure is one number of a table, named with its unit as in the JSON. NaN is a figure that does not exist, as a mean of
// nothing: null.
type Figure struct {
	Name  string
	Value float64
}

// Row is what became of one recording.
type Row struct {
	// File is its path below the folder of recordings.
	File string
	// Figures of this recording; none if Err is set.
	Figures []Figure
	// Note says in words what the figures do not, such as why there is no value.
	Note string
	// Err says why the recording could not be read.
	Err error
}

// Set is what became of one folder of recordings.
type Set struct {
	// Name of the folder.
	Name string
	// Figures over all recordings that could be read; those that the issue of accuracy is judged by come first.
	Figures []Figure
	// Files is how many recordings there are, Unreadable how many of them could not be read.
	Files, Unreadable int
	// SecondsCPU is what reading and evaluating them took, on all cores together.
	SecondsCPU float64
	// Rows are the recordings, by name.
	Rows []Row
}

// Figure is a figure of the set by its name, NaN if there is none.
func (s Set) Figure(name string) float64 { return find(s.Figures, name) }

func find(figures []Figure, name string) float64 {
	for _, f := range figures {
		if f.Name == name {
			return f.Value
		}
	}
	return math.NaN()
}

// Report is all sets that a folder holds.
type Report struct{ Sets []Set }

// MarshalJSON is one object with an object for each set, named as its folder: its figures, files, unreadable, seconds_cpu, and
// per_file with the figures of each recording.
func (r Report) MarshalJSON() ([]byte, error) {
	var o object
	for _, s := range r.Sets {
		o.raw(s.Name, s.json())
	}
	return o.end(), nil
}

func (s Set) json() []byte {
	var o object
	o.figures(s.Figures)
	o.raw("files", strconv.AppendInt(nil, int64(s.Files), 10))
	o.raw("unreadable", strconv.AppendInt(nil, int64(s.Unreadable), 10))
	o.figures([]Figure{{"seconds_cpu", s.SecondsCPU}})
	var list bytes.Buffer
	list.WriteByte('[')
	for i, r := range s.Rows {
		if i > 0 {
			list.WriteByte(',')
		}
		list.Write(r.json())
	}
	list.WriteByte(']')
	o.raw("per_file", list.Bytes())
	return o.end()
}

func (r Row) json() []byte {
	var o object
	o.text("file", r.File)
	o.figures(r.Figures)
	if r.Note != "" {
		o.text("note", r.Note)
	}
	if r.Err != nil {
		o.text("error", r.Err.Error())
	}
	return o.end()
}

// object writes a JSON object whose members keep their order.
type object struct{ b bytes.Buffer }

func (o *object) raw(name string, value []byte) {
	if o.b.Len() == 0 {
		o.b.WriteByte('{')
	} else {
		o.b.WriteByte(',')
	}
	key, _ := json.Marshal(name) // a string never fails
	o.b.Write(key)
	o.b.WriteByte(':')
	o.b.Write(value)
}

func (o *object) text(name, value string) {
	v, _ := json.Marshal(value) // a string never fails
	o.raw(name, v)
}

func (o *object) figures(figures []Figure) {
	for _, f := range figures {
		if math.IsNaN(f.Value) || math.IsInf(f.Value, 0) {
			o.raw(f.Name, []byte("null"))
			continue
		}
		o.raw(f.Name, strconv.AppendFloat(nil, math.Round(f.Value*1000)/1000, 'f', -1, 64))
	}
}

func (o *object) end() []byte {
	if o.b.Len() == 0 {
		return []byte("{}")
	}
	o.b.WriteByte('}')
	return o.b.Bytes()
}
