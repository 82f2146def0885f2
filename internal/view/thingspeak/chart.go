package thingspeak

import (
	"crypto/rand"
	"fmt"
	"math"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"vitalseal/internal/hub/channel"
	"vitalseal/internal/view/thingspeak/wire"
)

// look is how a chart is to look.
type look struct {
	title, xaxis, yaxis  string
	color, background    string
	kind                 string // line, spline, step, bar, column
	width, height        int    // of the frame, in pixels
	dynamic, export      bool
	low, high            *float64
	channelName, measure string
}

// refreshSeconds is how often a dynamic chart draws itself anew, as ThingSpeak's do.
const refreshSeconds = 15

var colour = regexp.MustCompile(`^(#?([0-9A-Fa-f]{3}|[0-9A-Fa-f]{6})|[A-Za-z]{3,20})$`)

// parseLook reads a chart's own parameters. Colours are checked rather than escaped: they end up in a style.
func parseLook(p wire.Parameters) (l look, err error) {
	l = look{title: p["title"], xaxis: p["xaxis"], yaxis: p["yaxis"], color: "#d62020", background: "#ffffff", kind: "line", width: 450, height: 250,
		dynamic: p["dynamic"] == "true", export: p["export"] == "true"}
	for _, s := range []string{l.title, l.xaxis, l.yaxis} {
		if len(s) > wire.MaxFieldBytes {
			return l, wire.ErrTooLarge
		}
	}
	for name, to := range map[string]*string{"color": &l.color, "bgcolor": &l.background} {
		s := p[name]
		if s == "" {
			continue
		}
		if !colour.MatchString(s) {
			return l, wire.Bad(name + " is not a colour such as #d62020.")
		}
		if s[0] != '#' && strings.Trim(s, "0123456789abcdefABCDEF") == "" {
			s = "#" + s
		}
		*to = s
	}
	if s := p["type"]; s != "" {
		if !slices.Contains([]string{"line", "spline", "step", "bar", "column"}, s) {
			return l, wire.Bad("type is none of line, spline, step, bar, column.")
		}
		l.kind = s
	}
	if p["step"] == "true" {
		l.kind = "step"
	}
	for name, to := range map[string]*int{"width": &l.width, "height": &l.height} {
		s := strings.TrimSuffix(p[name], "px")
		if s == "" || s == "auto" {
			continue
		}
		n, err := strconv.Atoi(s)
		if err != nil || n < 100 || n > 4000 {
			return l, wire.Bad(name + " is not a number of pixels from 100 to 4000.")
		}
		*to = n
	}
	for name, to := range map[string]**float64{"yaxismin": &l.low, "yaxismax": &l.high} {
		if p[name] == "" {
			continue
		}
		v, err := strconv.ParseFloat(p[name], 64)
		if err != nil || math.IsNaN(v) || math.Abs(v) > 1e15 {
			return l, wire.Bad(name + " is not a number.")
		}
		*to = &v
	}
	if l.low != nil && l.high != nil && *l.low >= *l.high {
		return l, wire.Bad("yaxismin is not below yaxismax.")
	}
	return l, nil
}

// chart answers with a page for an iframe that shows one field as a drawing. The drawing is made here, so that the page needs no
// script at all, loads nothing and works under the strictest content policy; a dynamic one is loaded again.
func (f *face) chart(q *request) error {
	rd, err := f.open(q)
	if err != nil {
		return err
	}
	l, err := parseLook(q.p)
	if err != nil {
		return err
	}
	list, err := f.list(q, &rd)
	if err != nil {
		return err
	}
	c := rd.channel
	l.channelName, l.measure = c.Name, wire.FieldName(c, rd.field)
	if l.title == "" {
		l.title = l.channelName
	}
	if l.xaxis == "" {
		l.xaxis = "Date"
	}
	if l.yaxis == "" {
		l.yaxis = l.measure
	}
	nonce := rand.Text()
	frames := "'self'"
	if c.Public && c.Patient == "" {
		frames = "*" // what is public may be shown anywhere
	}
	h := q.w.Header()
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'nonce-"+nonce+"'; base-uri 'none'; form-action 'none'; frame-ancestors "+frames)
	var b strings.Builder
	b.WriteString("<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n")
	if l.dynamic {
		fmt.Fprintf(&b, "<meta http-equiv=\"refresh\" content=\"%d\">\n", refreshSeconds)
	}
	fmt.Fprintf(&b, "<title>%s</title>\n<style nonce=\"%s\">html,body{margin:0;background:%s}svg{display:block;font:11px sans-serif}a{position:absolute;right:4px;bottom:2px;font:11px sans-serif}</style>\n</head>\n<body>\n",
		wire.Escape(l.title), nonce, l.background)
	l.draw(&b, rd, list)
	if l.export {
		fmt.Fprintf(&b, "<a href=\"%s\" download>CSV</a>\n", wire.Escape(exportAddress(q, rd)))
	}
	b.WriteString("</body>\n</html>\n")
	write(q.w, http.StatusOK, mediaHTML, []byte(b.String()))
	return nil
}

// exportAddress leads to the same values as CSV, with the parameters that were given, the key among them.
func exportAddress(q *request, rd reading) string {
	values := url.Values{}
	for name, v := range q.p {
		values.Set(name, v)
	}
	return fmt.Sprintf("/channels/%d/fields/%d.csv?%s", rd.channel.ID, rd.field, values.Encode())
}

// The margins around the drawing's plane, in pixels.
const left, right, top, bottom = 56, 14, 30, 44

type mark struct {
	at    time.Time
	value float64
	ok    bool // false: a hole
}

// draw writes the chart as SVG. Holes stay holes.
func (l look) draw(b *strings.Builder, rd reading, list []channel.Entry) {
	var marks []mark
	low, high := math.Inf(1), math.Inf(-1)
	for _, e := range list {
		m := mark{at: e.Created}
		if m.value, m.ok = rd.Value(e.Fields[rd.field-1]); m.ok {
			low, high = min(low, m.value), max(high, m.value)
		}
		marks = append(marks, m)
	}
	fmt.Fprintf(b, "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" height=\"%d\" viewBox=\"0 0 %[1]d %[2]d\" role=\"img\" aria-label=\"%s\">\n",
		l.width, l.height, wire.Escape(l.title))
	fmt.Fprintf(b, "<text x=\"%d\" y=\"18\" text-anchor=\"middle\" font-size=\"14\">%s</text>\n", l.width/2, wire.Escape(l.title))
	fmt.Fprintf(b, "<text x=\"%d\" y=\"%d\" text-anchor=\"middle\">%s</text>\n", l.width/2, l.height-6, wire.Escape(l.xaxis))
	fmt.Fprintf(b, "<text x=\"12\" y=\"%d\" text-anchor=\"middle\" transform=\"rotate(-90 12 %[1]d)\">%s</text>\n", l.height/2, wire.Escape(l.yaxis))
	if marked(rd, list) {
		fmt.Fprintf(b, "<text x=\"%d\" y=\"%d\" text-anchor=\"end\" fill=\"#b00000\" font-weight=\"bold\">%s</text>\n", l.width-right, top+10, NotConfirmed)
	}
	if math.IsInf(low, 0) {
		fmt.Fprintf(b, "<text x=\"%d\" y=\"%d\" text-anchor=\"middle\" fill=\"#666\">no values</text>\n</svg>\n", l.width/2, l.height/2)
		return
	}
	if l.kind == "bar" || l.kind == "column" {
		low, high = min(low, 0), max(high, 0)
	}
	if low == high {
		low, high = low-1, high+1
	}
	if l.low != nil {
		low = *l.low
	}
	if l.high != nil {
		high = *l.high
	}
	if low >= high { // one bound was given, and all values are beyond it
		high = low + 1
	}
	first, last := marks[0].at, marks[len(marks)-1].at
	if !last.After(first) {
		first, last = first.Add(-time.Minute), last.Add(time.Minute)
	}
	w, h := float64(l.width-left-right), float64(l.height-top-bottom)
	x := func(t time.Time) float64 { return left + w*float64(t.Sub(first))/float64(last.Sub(first)) }
	y := func(v float64) float64 { return top + h - h*(min(max(v, low), high)-low)/(high-low) }
	l.axes(b, rd, low, high, first, last, x, y)
	switch l.kind {
	case "bar", "column":
		wide := max(1, w/float64(len(marks))*0.8)
		for _, m := range marks {
			if m.ok {
				from, to := y(m.value), y(min(max(0, low), high))
				fmt.Fprintf(b, "<rect x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\" fill=\"%s\"/>\n", x(m.at)-wide/2, min(from, to), wide, max(math.Abs(from-to), 0.5), l.color)
			}
		}
	default:
		l.lines(b, marks, x, y)
	}
	b.WriteString("</svg>\n")
}

func (l look) axes(b *strings.Builder, rd reading, low, high float64, first, last time.Time, x func(time.Time) float64, y func(float64) float64) {
	const ticks = 4
	for i := range ticks + 1 {
		v := low + (high-low)*float64(i)/ticks
		fmt.Fprintf(b, "<path d=\"M%d %.1fH%d\" stroke=\"#ddd\"/><text x=\"%d\" y=\"%.1f\" text-anchor=\"end\">%s</text>\n",
			left, y(v), l.width-right, left-4, y(v)+4, strconv.FormatFloat(v, 'g', 4, 64))
	}
	layout := "15:04"
	switch span := last.Sub(first); {
	case span > 48*time.Hour:
		layout = "2 Jan"
	case span < 10*time.Minute:
		layout = "15:04:05"
	}
	for i := range ticks + 1 {
		t := first.Add(last.Sub(first) * time.Duration(i) / ticks)
		fmt.Fprintf(b, "<text x=\"%.1f\" y=\"%d\" text-anchor=\"middle\">%s</text>\n", x(t), l.height-bottom+16, t.In(rd.Loc).Format(layout))
	}
}

// lines joins what follows one another; a hole ends a line.
func (l look) lines(b *strings.Builder, marks []mark, x func(time.Time) float64, y func(float64) float64) {
	var path strings.Builder
	var before *mark
	for i, m := range marks {
		switch {
		case !m.ok:
			before = nil
			continue
		case before == nil:
			fmt.Fprintf(&path, "M%.1f %.1f", x(m.at), y(m.value))
			fmt.Fprintf(&path, "h.1") // a lone value shows too
		case l.kind == "step":
			fmt.Fprintf(&path, "H%.1fV%.1f", x(m.at), y(m.value))
		case l.kind == "spline":
			middle := (x(before.at) + x(m.at)) / 2
			fmt.Fprintf(&path, "C%.1f %.1f %.1f %.1f %.1f %.1f", middle, y(before.value), middle, y(m.value), x(m.at), y(m.value))
		default:
			fmt.Fprintf(&path, "L%.1f %.1f", x(m.at), y(m.value))
		}
		before = &marks[i]
	}
	fmt.Fprintf(b, "<path d=\"%s\" fill=\"none\" stroke=\"%s\" stroke-width=\"1.5\" stroke-linecap=\"round\"/>\n", path.String(), l.color)
}
