package dashboard_test

import (
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"vitalseal/internal/hub/archive"
)

// chartOfTwo: where two oximeters at one bed gave values, the chart says "two sensors", shows the
// line of one of them and the range of the other, and names both. No mean of the two is said.
func (s *stage) chartOfTwo(t *testing.T) {
	s.t = t
	past := time.Now().Add(-30 * time.Hour)
	s.bedded("a-33", "Clara Kurve")
	s.sensor("oxi-a-33", "MAX30100", "a-33", past)
	s.sensor("new-a-33", "MAX30100", "a-33", past)
	begin := time.Now().Truncate(time.Minute).Add(-30 * time.Minute)
	for i := range 20 { // the first alone for ten minutes, then both
		at := begin.Add(time.Duration(i) * time.Minute)
		s.say("oxi-a-33", at, archive.Clock{}, beat(70+float64(i%2), 97)...)
		if i >= 10 {
			s.say("new-a-33", at.Add(time.Second), archive.Clock{}, beat(104+float64(i%2), 97)...)
		}
	}
	for _, x := range []struct {
		name, language, two, differ string
		width                       int
		said                        []string
	}{
		{"en", "en", "two sensors", "the sensors disagree", 1280, []string{"The chart shows new-a-33 (104 to 105), and in grey oxi-a-33 (70 to 71)."}},
		{"de-390", "de", "zwei Sensoren", "die Sensoren widersprechen sich", 390, []string{"Das Diagramm zeigt new-a-33 (104 bis 105) und in Grau oxi-a-33 (70 bis 71)."}},
	} {
		p := s.open("nurse", x.language, x.width)
		p.do(chromedp.WaitVisible(testid("bed-a-33")), chromedp.Click(testid("bed-a-33")))
		row := `document.querySelector('[data-testid="chart-sensors"] [data-kind="heart_rate_bpm"]')?.innerText`
		p.await("the chart says that there are two", row+`?.includes('`+x.two+`') && document.querySelector('[data-testid="trends"] .hr [role="img"]').ariaLabel.includes('`+x.two+`')`)
		for _, said := range x.said {
			p.is("it names both: "+said, row+`.includes('`+said+`')`)
		}
		p.is("that they disagree", row+`.includes('`+x.differ+`')`)
		p.is("two that agree are no disagreement", `(e => e.includes('`+x.two+`') && !e.includes('`+x.differ+`'))(document.querySelector('[data-testid="chart-sensors"] [data-kind="spo2_percent"]').innerText)`)
		p.is("one span of each kind", `document.querySelectorAll('[data-testid="chart-sensors"] li').length === 2`)
		// On the canvas: the line's colour stands at both heights, and nowhere at the mean of the two (88).
		p.await("no line at the mean", `(() => {
			const c = document.querySelector('[data-testid="trends"] .hr canvas'), over = document.querySelector('[data-testid="trends"] .hr .u-over').getBoundingClientRect(), box = c.getBoundingClientRect()
			const k = c.width / box.width, g = c.getContext('2d')
			const height = v => Math.round((over.top - box.top + over.height * (110 - v) / 60) * k)
			const green = v => { const y = height(v), d = g.getImageData(0, y - 3, c.width, 7).data; let n = 0
				for (let i = 0; i < d.length; i += 4) if (d[i+3] > 200 && Math.abs(d[i] - 61) < 12 && Math.abs(d[i+1] - 220) < 12 && Math.abs(d[i+2] - 132) < 12) n++
				return n }
			return green(70.5) > 0 && green(104.5) > 0 && green(88) === 0 })()`)
		p.fits("chart-two-sensors-" + x.name)
		if x.language == "de" {
			p.onlyGerman("chart", english(t))
		}
	}
}
