package dashboard_test

import (
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"vitalseal/internal/hub/archive"
	"vitalseal/internal/measurement/vitals"
)

// fill sets an input of a time, as a person types it.
func (p *page) fill(id, value string) {
	p.t.Helper()
	js[bool](p, `(e => { e.value = '`+value+`'; return e.dispatchEvent(new Event('input', {bubbles: true})) })(document.querySelector('[data-testid="`+id+`"]'))`)
}

// whose is the whole way from "no, another patient" to readings under the right one, by the nurse alone: where the sensor is, since when,
// what would be moved, moved. Then readings that stand under the wrong patient, without a question before.
func (s *stage) whose(t *testing.T) {
	s.t = t
	past := time.Now().Add(-30 * time.Hour)
	words := english(t)
	for _, x := range []struct {
		name, language   string
		width            int
		bed, right       string
		wrong, whose     string
		stands, none     string
		long, moved, own string
	}{
		{"en", "en", 1280, "a-7", "a-8", "Gerd Ohm", "Hanna Pohl", "Values that stand under Gerd Ohm (Bett a-7): ", "has no other values of this kind of that time",
			"at most 24 hours are moved at once", "moved here from another patient", "has values of their own of that time"},
		{"de-390", "de", 390, "a-17", "a-18", "Ida Rau", "Jan Sol", "Werte, die bei Ida Rau (Bett a-17) stehen: ", "hat keine anderen Werte dieser Art aus dieser Zeit",
			"Höchstens 24 Stunden werden auf einmal zugeordnet", "wurden diesem zugeordnet", "hat eigene Werte aus dieser Zeit"},
	} {
		s.bedded(x.bed, x.wrong)
		s.bedded(x.right, x.whose)
		sensor := "oxi-" + x.bed
		s.sensor(sensor, "MAX30100", x.bed, past)
		s.say(sensor, time.Now().Add(-100*time.Minute), archive.Clock{}, beat(66, 98)...)
		for m := 20; m > 0; m-- { // it speaks again, on another patient
			s.say(sensor, time.Now().Add(-time.Duration(m)*30*time.Second), archive.Clock{}, beat(float64(80+m%3), 96)...)
		}
		s.keepBeating(sensor)
		asks := `[data-testid="asks-` + s.patients[x.bed] + `"]`
		p := s.open("nurse", x.language, x.width)
		p.do(chromedp.WaitVisible(chromedp.CSS(asks+` [data-testid="asks-no"]`)), chromedp.Click(chromedp.CSS(asks+` [data-testid="asks-no"]`)))
		p.do(chromedp.WaitVisible(testid("asks-whose-" + sensor)))
		p.fits("whose-asked-" + x.name)
		p.do(chromedp.Focus(testid("asks-whose-" + sensor)))
		p.do(chromedp.KeyEvent("\r"))
		p.do(chromedp.WaitVisible(testid("move-sensor-dialog")))
		p.is("the time since when it speaks is filled in", `document.querySelector('[data-testid="since"]').value.length === 19`)
		p.is("the keyboard is in the dialog", `document.querySelector('[data-testid="move-sensor-dialog"]').contains(document.activeElement)`)
		p.is("its own bed cannot be chosen", `document.querySelector('[data-testid="to-`+x.bed+`"] input').disabled`)
		p.is("no bed of another ward", `document.querySelector('[data-testid="to-b-1"]') === null`)
		p.fits("whose-where-" + x.name)
		p.do(chromedp.Focus(chromedp.CSS(`[data-testid="to-` + x.right + `"] input`)))
		p.do(chromedp.KeyEvent(" "))
		p.await("the button names the bed", `document.querySelector('[data-testid="place-sensor"]').innerText.includes('Bett `+x.right+`')`)
		if got := s.bedOf(sensor); got != x.bed {
			t.Fatalf("moved to %q before it was said", got)
		}
		p.do(chromedp.Focus(testid("place-sensor")))
		p.do(chromedp.KeyEvent("\r"))
		p.await("what would be moved, and what the other has", `(e => e?.innerText.includes('`+x.stands+`') && e.innerText.includes('`+x.none+`'))(document.querySelector('[data-testid="whose-readings"] [data-testid="preview"]'))`)
		if got := s.bedOf(sensor); got != x.right {
			t.Errorf("the sensor is at %q", got)
		}
		p.fits("whose-readings-" + x.name)
		if x.language == "de" {
			p.onlyGerman("whose-readings", words)
		}
		p.do(chromedp.Focus(testid("readings-move")))
		p.do(chromedp.KeyEvent("\r"))
		p.await("it is said to be done", `document.querySelector('[data-testid="whose-readings"]') === null && document.querySelector('[data-testid="sensors-done"]').innerText.includes('`+x.whose+`')`)
		p.await("the list follows", `document.querySelector('[data-testid="sensor-`+sensor+`"]').innerText.includes('`+x.whose+`')`)
		p.fits("whose-done-" + x.name)
		if x.language == "de" {
			p.onlyGerman("whose-done", words)
		}

		// The other way round, without a question: first a span that is too long, then the last minute, which is in part the patient's own.
		p.choose("wrong-from", s.patients[x.right])
		p.choose("wrong-to", s.patients[x.bed])
		now := time.Now()
		p.fill("wrong-end", now.Local().Format("2006-01-02T15:04:05"))
		p.fill("wrong-begin", now.Add(-30*time.Hour).Local().Format("2006-01-02T15:04:05"))
		p.do(chromedp.Click(testid("readings-look")))
		p.await("the error in words", `document.querySelector('[data-testid="readings-failed"]').innerText.includes('`+x.long+`')`)
		p.fill("wrong-begin", now.Add(-3*time.Hour).Local().Format("2006-01-02T15:04:05"))
		p.do(chromedp.Click(testid("readings-look")), chromedp.WaitVisible(testid("preview")))
		p.fits("whose-form-" + x.name)
		p.do(chromedp.Click(testid("readings-move")))
		p.await("the question, in names", `(t => t?.includes('`+x.wrong+`') && t.includes('`+x.own+`'))(document.querySelector('[data-testid="questions"]')?.innerText)`)
		p.fits("whose-meant-" + x.name)
		if x.language == "de" {
			p.onlyGerman("whose-meant", words)
		}
		p.do(chromedp.Navigate(s.url+"/patient/"+s.patients[x.right]), chromedp.WaitVisible(testid("monitor")))
		p.await("the chart says that readings came", `document.querySelector('[data-testid="trends"]').innerText.includes('`+x.moved+`')`)
		p.is("the readings are the right patient's", `fetch('/api/patients/`+s.patients[x.right]+`/trends?kind=heart_rate_bpm&minutes=60', {headers: {'X-Vitalseal-Request': '1'}}).then(r => r.json())
			.then(t => t.series[0].points.reduce((n, p) => n + p.count, 0) >= 20)`, chromedp.EvalAwaitPromise)
		p.is("and no longer the wrong one's", `fetch('/api/patients/`+s.patients[x.bed]+`/trends?kind=heart_rate_bpm&minutes=60', {headers: {'X-Vitalseal-Request': '1'}}).then(r => r.json())
			.then(t => t.series[0].points.reduce((n, p) => n + p.count, 0) === 0)`, chromedp.EvalAwaitPromise)
	}
	// Who sees no patient moves sensors, and no readings.
	staff := s.open("staff", "en", 1280)
	staff.do(chromedp.WaitVisible(testid("page-sensors")), chromedp.Click(testid("page-sensors")), chromedp.WaitVisible(testid("sensor-move-oxi-b-1")))
	staff.is("no readings, no name", `document.querySelector('[data-testid="move-readings"]') === null && !document.body.innerText.includes('Bela Novak')`)
	staff.fits("sensors-staff")
	// Where a move takes two persons, the page says that nothing has changed, and for whom it waits.
	js[bool](staff, `(real => { window.fetch = (u, o) => o?.method === 'POST' && u.endsWith('/bed') ? Promise.resolve(new Response(JSON.stringify({approvers: ['auditor'],
		waiting: {what: ['moves oxi-b-1'], expires: '2026-03-01T08:00:00Z'}}), {status: 202})) : real(u, o); return true })(window.fetch)`)
	staff.do(chromedp.Click(testid("sensor-move-oxi-b-1")), chromedp.WaitVisible(testid("to-a-3")), chromedp.Click(testid("to-a-3")), chromedp.Click(testid("place-sensor")))
	staff.await("it waits for a second person", `(t => t?.includes('Nothing has changed yet.') && t.includes('auditor'))(document.querySelector('[data-testid="asked"]')?.innerText)`)
	staff.do(chromedp.Click(testid("asked-kept")))
	staff.await("the page says so", `document.querySelector('[data-testid="sensors-done"]').innerText === 'Waits for a second person'`)
}

// whoseExactly: the times of the preview, typed as they are shown, move each of the values that the preview counted; what is left in the
// seconds around is said.
func (s *stage) whoseExactly(t *testing.T) {
	s.t = t
	for _, x := range []struct {
		language, bed, right, wrong, whose string
		width                              int
		left                               string
	}{
		{"en", "a-27", "a-28", "Olaf Kern", "Pia Lund", 1280, "values that still stand under Olaf Kern (Bett a-27): 1, measured from"},
		{"de", "a-37", "a-38", "Rita Voss", "Sven Thal", 390, "Werte, die noch bei Rita Voss (Bett a-37) stehen: 1, gemessen von"},
	} {
		s.bedded(x.bed, x.wrong)
		s.bedded(x.right, x.whose)
		sensor := "oxi-" + x.bed
		s.sensor(sensor, "MAX30100", x.bed, time.Now().Add(-30*time.Hour))
		base := time.Now().Add(-10 * time.Minute).Truncate(time.Second)
		for i := range 20 {
			s.say(sensor, base.Add(time.Duration(i)*time.Second+300*time.Millisecond), archive.Clock{}, beat(80, 96)...)
		}
		s.say(sensor, base.Add(22*time.Second), archive.Clock{}, beat(80, 96)...)
		s.sensor("cuff-"+x.right, "MPS20N0040D", x.right, time.Now().Add(-30*time.Hour)) // the right patient's own, of another kind
		s.say("cuff-"+x.right, base.Add(5*time.Second), archive.Clock{}, vitals.Checked(vitals.Systolic, 121, vitals.Good), vitals.Checked(vitals.Diastolic, 79, vitals.Good))
		p := s.open("nurse", x.language, x.width)
		p.do(chromedp.WaitVisible(testid("page-sensors")), chromedp.Click(testid("page-sensors")))
		p.choose("wrong-from", s.patients[x.bed])
		p.choose("wrong-to", s.patients[x.right])
		p.choose("wrong-sensor", sensor)
		last := base.Add(19 * time.Second).Local()
		p.fill("wrong-begin", base.Local().Format("2006-01-02T15:04:05"))
		p.fill("wrong-end", last.Format("2006-01-02T15:04:05"))
		p.is("the end that was typed is shown", `document.querySelector('[data-testid="wrong-end"]').value === '`+last.Format("2006-01-02T15:04:05")+`'`)
		p.do(chromedp.Click(testid("readings-look")), chromedp.WaitVisible(testid("preview")))
		p.await("all of the last second is counted", `(t => t.includes(': 20, ') && t.includes('`+last.Format("15:04:05")+`'))(document.querySelector('[data-testid="preview"]').innerText)`)
		p.is("the cuff is not compared with an oximeter", `document.querySelector('[data-testid="preview"] .preview-two') === null`)
		p.do(chromedp.Click(testid("readings-move")))
		p.await("what is left is said", `document.querySelector('[data-testid="sensors-done"]').innerText.includes('`+x.left+`')`)
		p.fits("whose-left-" + x.language)
		if x.language == "de" {
			p.onlyGerman("whose-left", english(t))
		}
		for bed, want := range map[string]string{x.bed: "1", x.right: "20"} {
			p.is("values of "+bed, `fetch('/api/patients/`+s.patients[bed]+`/trends?kind=heart_rate_bpm&minutes=60', {headers: {'X-Vitalseal-Request': '1'}}).then(r => r.json())
				.then(t => t.series[0].points.reduce((n, p) => n + p.count, 0) === `+want+`)`, chromedp.EvalAwaitPromise)
		}
	}
}
