package dashboard_test

import (
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"vitalseal/internal/hub/archive"
	"vitalseal/internal/measurement/vitals"
)

// twoOximeters: in the middle of a swap two oximeters at one bed both send. The tile, the patient's page and the wall say so; where they
// disagree both values stand, each with its sensor's name, and none as the number.
func (s *stage) twoOximeters(t *testing.T) {
	s.t = t
	past := time.Now().Add(-30 * time.Hour)
	for bed, name := range map[string]string{"a-31": "Vera Zwei", "a-32": "Willi Gleich"} {
		s.bedded(bed, name)
		s.sensor("oxi-"+bed, "MAX30100", bed, past)
		s.sensor("new-"+bed, "MAX30100", bed, past)
	}
	s.eachSecond(func(int) {
		for sensor, spo2 := range map[string]float64{"oxi-a-31": 97, "new-a-31": 84, "oxi-a-32": 97, "new-a-32": 96} {
			s.say(sensor, time.Now(), archive.Clock{}, beat(70, spo2)...)
		}
	})
	for _, x := range []struct {
		name, language     string
		width              int
		two, differ, agree string
	}{
		{"en", "en", 1280, "Two oximeters send: new-a-31 and oxi-a-31", "the sensors disagree", "Two oximeters send: new-a-32 and oxi-a-32"},
		{"de-390", "de", 390, "Zwei Oximeter senden: new-a-31 und oxi-a-31", "die Sensoren widersprechen sich", "Zwei Oximeter senden: new-a-32 und oxi-a-32"},
	} {
		p := s.open("nurse", x.language, x.width)
		rivals := `document.querySelector('[data-testid="rivals-` + s.patients["a-31"] + `"]')`
		equals := `document.querySelector('[data-testid="rivals-` + s.patients["a-32"] + `"]')`
		split := `(e => e?.innerText.includes('97') && e.innerText.includes('oxi-a-31') && e.innerText.includes('84') && e.innerText.includes('new-a-31'))(document.querySelector('`
		p.await("both values with their names", split+`[data-testid="bed-a-31"] [data-testid="spo2-value"]'))`)
		p.await("it says that both send, and that they differ", rivals+`?.innerText.includes('`+x.two+`') && `+rivals+`.dataset.state === 'differ'`)
		p.is("the number's note says so too", `document.querySelector('[data-testid="bed-a-31"] [data-testid="spo2"]').innerText.includes('`+x.differ+`')`)
		p.is("a heart rate on which they agree is one number", `document.querySelector('[data-testid="bed-a-31"] [data-testid="hr-value"]').innerText.trim() === '70'`)
		p.await("two that agree are named, with one number", equals+`?.innerText.includes('`+x.agree+`') && `+equals+`.dataset.state === 'agree' &&
			/^9[67]$/.test(document.querySelector('[data-testid="bed-a-32"] [data-testid="spo2-value"]').innerText.trim())`)
		p.is("one oximeter alone says nothing", `document.querySelectorAll('[data-testid^="rivals-p"]').length === 2`)
		p.fits("rivals-station-" + x.name)
		if x.language == "de" {
			p.onlyGerman("rivals", english(t))
		}
		p.do(chromedp.Click(testid("bed-a-31")), chromedp.WaitVisible(testid("monitor")))
		p.await("on the patient's page", split+`[data-testid="monitor"] [data-testid="spo2-value"]')) && `+rivals+`?.dataset.state === 'differ'`)
		p.fits("rivals-patient-" + x.name)
		p.do(chromedp.Focus(testid("rivals-sensors")))
		p.do(chromedp.KeyEvent("\r"))
		p.await("the keyboard leads to the sensors", `location.pathname === '/sensors' && document.body.innerText.includes('new-a-31')`)
	}
}

// silentRival: of two oximeters that disagreed one falls silent: its value stays beside the other,
// grey, with its name and since when, and the bed says so. Two cuffs that measured within the hour are
// both named beside the pressure.
func (s *stage) silentRival(t *testing.T) {
	s.t = t
	past := time.Now().Add(-30 * time.Hour)
	s.bedded("a-34", "Xaver Still")
	s.sensor("oxi-a-34", "MAX30100", "a-34", past)
	s.sensor("new-a-34", "MAX30100", "a-34", past)
	s.sensor("cuff-a-34", "MPS20N0040D", "a-34", past)
	s.sensor("kuff-a-34", "MPS20N0040D", "a-34", past)
	pressure := func(sensor string, ago time.Duration, sys, dia float64) {
		s.say(sensor, time.Now().Add(-ago), archive.Clock{}, vitals.Checked(vitals.Systolic, sys, vitals.Good), vitals.Checked(vitals.Diastolic, dia, vitals.Good))
	}
	pressure("cuff-a-34", 20*time.Minute, 109, 66)
	pressure("kuff-a-34", 10*time.Minute, 123, 77)
	last := time.Now().Add(-20 * time.Second)
	for i := range 10 {
		at := last.Add(-time.Duration(9-i) * time.Second)
		s.say("oxi-a-34", at, archive.Clock{}, beat(70, 97)...)
		s.say("new-a-34", at, archive.Clock{}, beat(70, 84)...)
	}
	s.keepBeating("oxi-a-34")
	since := last.Local().Format("15:04:05")
	for _, x := range []struct {
		name, language     string
		width              int
		silent, line, cuff string
	}{
		{"en", "en", 1280, "new-a-34, silent since " + since, "new-a-34 disagreed, and is silent since " + since, "two cuffs measure: cuff-a-34 and kuff-a-34"},
		{"de-390", "de", 390, "new-a-34, sendet nicht mehr seit " + since, "new-a-34 widersprach und sendet nicht mehr seit " + since, "zwei Manschetten messen: cuff-a-34 und kuff-a-34"},
	} {
		p := s.open("nurse", x.language, x.width)
		grey := func(in string) string {
			return `(e => e?.innerText.includes('84') && e.innerText.includes('` + x.silent + `') && getComputedStyle(e.querySelector('.split-value')).color !== getComputedStyle(e.parentElement.querySelector('.split-one:not(.is-silent) .split-value')).color)(document.querySelector('` + in + ` [data-testid="spo2-value"] .is-silent'))`
		}
		p.await("the silent one beside the other, grey, since when", grey(`[data-testid="bed-a-34"]`))
		p.await("the bed says so", `(e => e?.innerText.includes('`+x.line+`') && e.dataset.state === 'differ')(document.querySelector('[data-testid="rivals-`+s.patients["a-34"]+`"]'))`)
		p.await("both cuffs are named, the newest value stands", `(e => e?.innerText.includes('`+x.cuff+`') && e.querySelector('[data-testid="bp-value"]').innerText.includes('123/77'))(document.querySelector('[data-testid="bed-a-34"] [data-testid="bp"]'))`)
		p.fits("silent-rival-station-" + x.name)
		if x.language == "de" {
			p.onlyGerman("silent rival", english(t))
		}
		p.do(chromedp.Click(testid("bed-a-34")), chromedp.WaitVisible(testid("monitor")))
		p.await("on the patient's page", grey(`[data-testid="monitor"]`)+` && document.querySelector('[data-testid="monitor"] [data-testid="cuffs"]')?.innerText.includes('`+x.cuff+`')`)
		p.fits("silent-rival-patient-" + x.name)
	}
}
