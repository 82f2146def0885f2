package chart

import (
	"bufio"
	"encoding/xml"
	"fmt"
	"image/color"
	"io"
	"strings"
)

// svgCanvas writes elements as they come; the writer keeps its first error until the end.
type svgCanvas struct{ w *bufio.Writer }

func (c Chart) svg(w io.Writer) error {
	b := bufio.NewWriter(w)
	v := svgCanvas{b}
	fmt.Fprintf(b, `<svg xmlns="http://www.w3.org/2000/svg" width="%.0f" height="%.0f" viewBox="0 0 %.0f %.0f" font-family="Go, Helvetica, Arial, sans-serif" role="img" aria-label="%s">`+"\n",
		width, c.height(), width, c.height(), escaped(c.Title))
	c.draw(v)
	_, _ = b.WriteString("</svg>\n")
	if err := b.Flush(); err != nil {
		return fmt.Errorf("chart: %w", err)
	}
	return nil
}

func escaped(s string) string {
	var b strings.Builder
	_ = xml.EscapeText(&b, []byte(s)) // a Builder never fails
	return b.String()
}

func hex(c color.NRGBA) string { return fmt.Sprintf("#%02x%02x%02x", c.R, c.G, c.B) }

func (v svgCanvas) rectangle(x, y, w, h float64, c color.NRGBA) {
	fmt.Fprintf(v.w, `<rect x="%.2f" y="%.2f" width="%.2f" height="%.2f" fill="%s"/>`+"\n", x, y, w, h, hex(c))
}

func (v svgCanvas) line(p []point, w float64, c color.NRGBA) {
	_, _ = v.w.WriteString(`<polyline fill="none" stroke-linejoin="round" stroke-linecap="round" points="`)
	for i, q := range p {
		if i > 0 {
			_ = v.w.WriteByte(' ')
		}
		fmt.Fprintf(v.w, "%.1f,%.1f", q.x, q.y)
	}
	fmt.Fprintf(v.w, `" stroke="%s" stroke-width="%.1f"/>`+"\n", hex(c), w)
}

func (v svgCanvas) dot(x, y, r float64, c color.NRGBA) {
	fmt.Fprintf(v.w, `<circle cx="%.1f" cy="%.1f" r="%.1f" fill="%s"/>`+"\n", x, y, r, hex(c))
}

func (v svgCanvas) text(x, y float64, s string, size float64, bold bool, c color.NRGBA, a anchor) {
	weight := ""
	if bold {
		weight = ` font-weight="bold"`
	}
	fmt.Fprintf(v.w, `<text x="%.1f" y="%.1f" font-size="%.1f" fill="%s" text-anchor="%s"%s>%s</text>`+"\n",
		x, y, size, hex(c), [...]string{"start", "middle", "end"}[a], weight, escaped(s))
}

func (v svgCanvas) textWidth(s string, size float64, bold bool) float64 {
	return textWidth(s, size, bold)
}
