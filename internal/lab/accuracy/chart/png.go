package chart

import (
	"fmt"
	"image"
	"image/color"
	"image/draw"
	"image/png"
	"io"
	"math"
	"sync"

	"golang.org/x/image/font"
	"golang.org/x/image/font/gofont/gobold"
	"golang.org/x/image/font/gofont/goregular"
	"golang.org/x/image/font/opentype"
	"golang.org/x/image/math/fixed"
	"golang.org/x/image/vector"
)

// dense is how many pixels a point has: sharp on today's screens.
const dense = 2

type pngCanvas struct {
	image *image.NRGBA
	faces map[faceKey]font.Face
}

type faceKey struct {
	size float64
	bold bool
}

func (c Chart) png(w io.Writer) error {
	v := &pngCanvas{image: image.NewNRGBA(image.Rect(0, 0, int(width*dense), int(c.height()*dense))), faces: map[faceKey]font.Face{}}
	c.draw(v)
	if err := png.Encode(w, v.image); err != nil {
		return fmt.Errorf("chart: %w", err)
	}
	return nil
}

func (v *pngCanvas) rectangle(x, y, w, h float64, c color.NRGBA) {
	px := func(f float64) int { return int(math.Round(f * dense)) }
	draw.Draw(v.image, image.Rect(px(x), px(y), px(x+w), px(y+h)), image.NewUniform(c), image.Point{}, draw.Src)
}

// fill paints shapes that all turn the same way, so that where they overlap they do not cancel out.
func (v *pngCanvas) fill(c color.NRGBA, low, high point, shapes func(path func(p ...point))) {
	r := image.Rect(int(low.x*dense)-2, int(low.y*dense)-2, int(high.x*dense)+3, int(high.y*dense)+3).Intersect(v.image.Bounds())
	if r.Empty() {
		return
	}
	z := vector.NewRasterizer(r.Dx(), r.Dy())
	at := func(p point) (float32, float32) {
		return float32(p.x*dense - float64(r.Min.X)), float32(p.y*dense - float64(r.Min.Y))
	}
	shapes(func(p ...point) {
		z.MoveTo(at(p[0]))
		for _, q := range p[1:] {
			z.LineTo(at(q))
		}
		z.ClosePath()
	})
	z.Draw(v.image, r, image.NewUniform(c), image.Point{})
}

func (v *pngCanvas) line(p []point, w float64, c color.NRGBA) {
	low, high := p[0], p[0]
	for _, q := range p {
		low, high = point{min(low.x, q.x), min(low.y, q.y)}, point{max(high.x, q.x), max(high.y, q.y)}
	}
	r := w / 2
	v.fill(c, point{low.x - r, low.y - r}, point{high.x + r, high.y + r}, func(path func(...point)) {
		for i, q := range p {
			if len(p) > 2 || r > 1 { // round joints and ends
				path(circle(q, r)...)
			}
			if i == 0 {
				continue
			}
			a := p[i-1]
			length := math.Hypot(q.x-a.x, q.y-a.y)
			if length == 0 {
				continue
			}
			n := point{-(q.y - a.y) / length * r, (q.x - a.x) / length * r}
			path(point{a.x - n.x, a.y - n.y}, point{q.x - n.x, q.y - n.y}, point{q.x + n.x, q.y + n.y}, point{a.x + n.x, a.y + n.y})
		}
	})
}

// circle turns the same way as the strips of line.
func circle(c point, r float64) []point {
	const corners = 16
	p := make([]point, corners)
	for i := range p {
		a := 2 * math.Pi * float64(i) / corners
		p[i] = point{c.x + r*math.Cos(a), c.y + r*math.Sin(a)}
	}
	return p
}

func (v *pngCanvas) dot(x, y, r float64, c color.NRGBA) {
	v.fill(c, point{x - r, y - r}, point{x + r, y + r}, func(path func(...point)) { path(circle(point{x, y}, r)...) })
}

var fonts = sync.OnceValue(func() (f [2]*opentype.Font) {
	for i, ttf := range [][]byte{goregular.TTF, gobold.TTF} {
		parsed, err := opentype.Parse(ttf)
		if err != nil {
			panic("chart: the built-in font does not parse: " + err.Error())
		}
		f[i] = parsed
	}
	return f
})

func newFace(size float64, bold bool) font.Face {
	i := 0
	if bold {
		i = 1
	}
	face, err := opentype.NewFace(fonts()[i], &opentype.FaceOptions{Size: size * dense, DPI: 72, Hinting: font.HintingNone})
	if err != nil {
		panic("chart: the built-in font has no face: " + err.Error())
	}
	return face
}

func (v *pngCanvas) face(size float64, bold bool) font.Face {
	k := faceKey{size, bold}
	if v.faces[k] == nil {
		v.faces[k] = newFace(size, bold)
	}
	return v.faces[k]
}

func (v *pngCanvas) text(x, y float64, s string, size float64, bold bool, c color.NRGBA, a anchor) {
	d := font.Drawer{Dst: v.image, Src: image.NewUniform(c), Face: v.face(size, bold)}
	w := float64(d.MeasureString(s)) / 64
	d.Dot = fixed.Point26_6{X: fixed.Int26_6((x*dense - w*float64(a)/2) * 64), Y: fixed.Int26_6(y * dense * 64)}
	d.DrawString(s)
}

func (v *pngCanvas) textWidth(s string, size float64, bold bool) float64 {
	return float64(font.MeasureString(v.face(size, bold), s)) / 64 / dense
}

// textWidth is for a canvas that cannot measure: the built-in font's is near every other's.
func textWidth(s string, size float64, bold bool) float64 {
	return float64(font.MeasureString(newFace(size, bold), s)) / 64 / dense
}
