package dashboard_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"

	"vitalseal/internal/hub/archive"
	"vitalseal/internal/hub/directory"
	"vitalseal/internal/measurement/vitals"
)

// bedded makes one more bed on ward a, with a patient.
func (s *stage) bedded(bed, patient string) {
	s.t.Helper()
	ctx, past := s.t.Context(), time.Now().Add(-30*time.Hour)
	if err := s.store.CreateBed(ctx, directory.Bed{ID: bed, Ward: "a", Name: "Bett " + bed}); err != nil {
		s.t.Fatal(err)
	}
	id, err := s.store.CreatePatient(ctx, patient)
	if err == nil {
		err = s.store.Admit(ctx, id, bed, past)
	}
	if err != nil {
		s.t.Fatal(err)
	}
	s.patients[bed] = id
}

// bedOf is where the inventory has a sensor.
func (s *stage) bedOf(sensor string) string {
	s.t.Helper()
	d, err := s.store.Device(s.t.Context(), spiffe("sensor/"+sensor))
	if err != nil {
		s.t.Fatal(err)
	}
	return d.Bed
}

// choose picks an option of a select, as a person does.
func (p *page) choose(id, value string) {
	p.t.Helper()
	p.await("the option "+value, `[...(document.querySelector('[data-testid="`+id+`"]')?.options ?? [])].some(o => o.value === '`+value+`')`)
	js[bool](p, `(e => { e.value = '`+value+`'; return e.dispatchEvent(new Event('change', {bubbles: true})) })(document.querySelector('[data-testid="`+id+`"]'))`)
}

// anotherPatient: after "no" a nurse takes the sensor off the bed, from the tile; then nothing is asked, and nothing is shown.
func (s *stage) anotherPatient(t *testing.T) {
	s.t = t
	s.bedded("a-6", "Frieda Holm")
	s.sensor("oxi-a-6", "MAX30100", "a-6", time.Now().Add(-30*time.Hour))
	s.say("oxi-a-6", time.Now().Add(-100*time.Minute), archive.Clock{}, beat(66, 98)...)
	s.bedded("a-16", "Gina Lux")
	s.sensor("oxi-a-16", "MAX30100", "a-16", time.Now().Add(-30*time.Hour))
	s.say("oxi-a-16", time.Now().Add(-100*time.Minute), archive.Clock{}, beat(66, 98)...)
	s.keepBeating("oxi-a-6", "oxi-a-16", "oxi-a-2")
	s.sensor("cuff-a-6", "MPS20N0040D", "a-6", time.Now().Add(-time.Hour))
	s.eachSecond(func(int) {
		s.say("cuff-a-6", time.Now(), archive.Clock{}, vitals.Checked(vitals.CuffPressure, 21.2, vitals.Good))
	})
	asks := "asks-" + s.patients["a-6"]
	p, phone := s.open("nurse", "en", 1280), s.open("nurse", "de", 390)
	p.do(chromedp.WaitVisible(chromedp.CSS(`[data-testid="`+asks+`"] [data-testid="asks-no"]`)), chromedp.Click(chromedp.CSS(`[data-testid="`+asks+`"] [data-testid="asks-no"]`)))
	p.await("what can be done", `document.querySelector('[data-testid="`+asks+`"]')?.innerText.includes('Take oxi-a-6 off this bed')`)
	tile := `document.querySelector('[data-testid="bed-a-6"] [data-testid="hr"]')`
	const colour = `getComputedStyle(document.querySelector('[data-testid="bed-%s"] [data-testid="hr-value"]')).color`
	p.await("the cuff's pressure is in the tile's unit", `document.querySelector('[data-testid="bed-a-6"] [data-testid="cuff"]')?.innerText.includes('cuff 159 mmHg, measuring')`)
	p.await("the number is said not to be this patient's", tile+`.innerText.includes('not of Frieda Holm?') && !`+tile+`.innerText.includes('patient not confirmed')`)
	p.await("the neighbour's number is live", `document.querySelector('[data-testid="bed-a-2"] [data-testid="hr"]')?.dataset.state === 'live' && `+tile+`.dataset.state === 'live'`)
	p.is("not in the colour of a number", strings.ReplaceAll(colour, "%s", "a-6")+` !== `+strings.ReplaceAll(colour, "%s", "a-2"))
	p.is("the first button is not the one that takes the no back", `document.querySelector('[data-testid="`+asks+`"] button').dataset.testid === 'asks-whose-oxi-a-6'`)
	p.fits("asks-no-en")
	press := func(bed, button string) {
		p.do(chromedp.Click(chromedp.CSS(`[data-testid="asks-` + s.patients[bed] + `"] [data-testid="` + button + `"]`)))
	}
	press("a-6", "asks-yes")
	p.await("taking it back is asked once more", `document.activeElement?.dataset.testid === 'asks-back-no' && document.querySelector('[data-testid="asks-back"]').innerText.includes('Tomas Ek said no.')`)
	p.fits("asks-back-en")
	press("a-6", "asks-back-no")
	p.await("the no stands", `document.querySelector('[data-testid="asks-back"]') === null && `+tile+`.innerText.includes('not of Frieda Holm?')`)
	press("a-16", "asks-no")
	p.do(chromedp.WaitVisible(testid("asks-whose-oxi-a-16")))
	press("a-16", "asks-yes")
	press("a-16", "asks-back-yes")
	p.await("what is confirmed is taken back", `document.querySelector('[data-testid="asks-`+s.patients["a-16"]+`"]') === null`)
	phone.await("in German", tile+`?.innerText.includes('nicht von Frieda Holm?') && document.querySelector('[data-testid="bed-a-6"] [data-testid="cuff"]')?.innerText.includes('Manschette 159 mmHg')`)
	phone.await("what can be done, in German", `document.querySelector('[data-testid="asks-take-oxi-a-6"]')?.innerText === 'oxi-a-6 von diesem Bett nehmen'`)
	phone.fits("asks-no-de-390")
	phone.onlyGerman("asks-no", english(t))
	p.do(chromedp.Focus(testid("asks-take-oxi-a-6")))
	p.do(chromedp.KeyEvent("\r"))
	p.await("the question is gone", `document.querySelector('[data-testid="`+asks+`"]') === null`)
	if got := s.bedOf("oxi-a-6"); got != "" {
		t.Errorf("the sensor is still at %q", got)
	}
}

// devices: a sensor goes to another bed and is replaced; what looks like a mistake is asked, in the language of the page, and done by a
// second press.
func (s *stage) devices(t *testing.T) {
	s.t = t
	s.sensor("oxi-spare", "MAX30100", "", time.Now().Add(-time.Hour))
	words := english(t)
	for _, x := range []struct {
		name, language string
		width          int
		second, model  string
		serial, bed    string
	}{
		{"en", "en", 1280, "bed a-2 has sensor/oxi-a-2 already, a second oximeter", `the model "XYZ" is not known here`, "has the serial number", "a-2"},
		{"de-390", "de", 390, "An Bett a-2 ist schon sensor/oxi-a-2, ein zweites Oximeter", "Das Modell „XYZ“ ist hier nicht bekannt", "hat die Seriennummer", "a-2"},
	} {
		if err := s.store.PlaceDevice(t.Context(), spiffe("sensor/oxi-spare"), "", time.Now()); err != nil {
			t.Fatal(err)
		}
		p := s.open("admin", x.language, x.width)
		p.do(chromedp.WaitVisible(testid("device-sensor/oxi-spare")))
		p.fits("devices-" + x.name)
		p.do(chromedp.Focus(testid("device-sensor/oxi-spare")))
		p.do(chromedp.KeyEvent("\r"))
		p.do(chromedp.WaitVisible(testid("move-bed")))
		p.is("the keyboard is in the dialog", `document.querySelector('[data-testid="device"]').contains(document.activeElement)`)
		p.choose("move-bed", x.bed)
		p.await("the move may be pressed", `!document.querySelector('[data-testid="move-sensor"]').disabled`)
		p.fits("device-" + x.name)
		p.do(chromedp.Click(testid("move-sensor")))
		p.await("the question of a second oximeter", `document.querySelector('[data-testid="questions"]')?.innerText.includes('`+x.second+`')`)
		p.fits("device-second-" + x.name)
		if x.language == "de" {
			p.onlyGerman("device-second", words)
		}
		if got := s.bedOf("oxi-spare"); got != "" {
			t.Errorf("moved to %q before the question was answered", got)
		}
		p.do(chromedp.Focus(testid("move-sensor")))
		p.do(chromedp.KeyEvent("\r"))
		p.await("it is said to be done", `document.querySelector('[data-testid="devices-done"]').innerText.includes('a-2')`)
		if got := s.bedOf("oxi-spare"); got != "a-2" {
			t.Errorf("the sensor is at %q", got)
		}
		p.do(chromedp.Click(testid("device-sensor/oxi-spare")), chromedp.WaitVisible(testid("device-replace")), chromedp.Click(testid("device-replace")),
			chromedp.WaitVisible(testid("add-lines")), chromedp.SendKeys(testid("add-lines"), "oxi-new-"+x.name+" XYZ S-oxi-a-1"), chromedp.Click(testid("add-make")))
		p.await("the questions of an unknown model and of a serial number that is there", `(t => t?.includes('`+x.model+`') && t.includes('`+x.serial+`'))(document.querySelector('[data-testid="questions"]')?.innerText)`)
		p.fits("replace-" + x.name)
		if x.language == "de" {
			p.onlyGerman("replace", words)
		}
		p.do(chromedp.Click(testid("add-make")), chromedp.WaitVisible(testid("ticket")))
		p.fits("ticket-" + x.name)
		if x.language == "de" {
			p.onlyGerman("ticket", words)
		}
	}
}

// timeAndSource: a number of a gateway whose clock is wrong, and one of a legacy device, say so on the tile, the patient's page and the chart.
func (s *stage) timeAndSource(t *testing.T) {
	s.t = t
	past := time.Now().Add(-30 * time.Hour)
	s.bedded("a-4", "Carla Weiß")
	s.bedded("a-5", "Dora Lind")
	s.sensor("old-a-4", "legacy", "a-4", past)
	s.sensor("oxi-a-5", "MAX30100", "a-5", past)
	legacy := func(hr float64) []vitals.Numeric {
		return []vitals.Numeric{vitals.Checked(vitals.HeartRate, hr, vitals.Asserted), vitals.Checked(vitals.SpO2, 95, vitals.Asserted)}
	}
	for m := 50; m > 0; m -= 10 {
		s.say("old-a-4", time.Now().Add(-time.Duration(m)*time.Minute), archive.Clock{}, legacy(float64(60+m/10))...)
		s.say("oxi-a-5", time.Now().Add(-time.Duration(m)*time.Minute), archive.Clock{}, beat(66, 98)...)
	}
	s.eachSecond(func(i int) {
		s.say("old-a-4", time.Now(), archive.Clock{}, legacy(float64(80+i%3))...)
		s.say("oxi-a-5", time.Now().Add(time.Hour), archive.Clock{Judged: true, Known: true, Offset: time.Hour}, beat(float64(70+i%3), 97)...)
	})
	words := english(t)
	for _, x := range []struct {
		name, language string
		width          int
		unsure, says   string
	}{{"en", "en", 1280, "time not sure", "says a legacy device"}, {"de-390", "de", 390, "Zeit nicht sicher", "laut Altgerät"}} {
		p := s.open("nurse", x.language, x.width)
		said := func(bed, word string) string {
			return `(e => /^[0-9]+\?$/.test(e?.querySelector('[data-testid="hr-value"]')?.innerText.trim()) && e.querySelector('[data-testid="hr"]').innerText.includes('` + word + `') &&
				e.querySelector('[data-testid="hr"]').dataset.state === 'live')(` + bed + `)`
		}
		tile := func(bed string) string { return `document.querySelector('[data-testid="bed-` + bed + `"]')` }
		p.await("the tile says that the time is not sure", said(tile("a-5"), x.unsure))
		p.await("the tile says that a legacy device says it", said(tile("a-4"), x.says))
		p.fits("time-station-" + x.name)
		if x.language == "de" {
			p.onlyGerman("station", words)
		}
		p.do(chromedp.Click(testid("bed-a-5")))
		p.await("the patient's page says that the time is not sure", said(`document.querySelector('[data-testid="monitor"]')`, x.unsure))
		p.await("the words below the chart", `document.querySelector('[data-testid="trends"] [data-testid="chart-not-sure"]') !== null`)
		p.await("the chart", `document.querySelectorAll('[data-testid="trends"] .trend').length === 3`)
		p.fits("time-patient-" + x.name)
		p.do(chromedp.Click(testid("back")), chromedp.WaitVisible(testid("bed-a-4")), chromedp.Click(testid("bed-a-4")))
		p.await("the patient's page says that a legacy device says it", said(`document.querySelector('[data-testid="monitor"]')`, x.says))
		p.await("the chart says it", `document.querySelector('[data-testid="trends"] .hr')?.innerText.includes('`+x.says+`') &&
			document.querySelector('[data-testid="trends"] .hr [role="img"]').ariaLabel.includes('`+x.says+`')`)
		p.fits("legacy-patient-" + x.name)
		if x.language == "de" {
			p.onlyGerman("patient", words)
		}
	}
}

// medium is "print", or empty for the screen.
func (p *page) medium(name string) {
	p.t.Helper()
	p.do(chromedp.Func(func(ctx context.Context, t *chromedp.Target) error {
		_, err := cdp.Call(ctx, t, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Media: name})
		return err
	}))
}

// printed is the page as paper shows it.
func (p *page) printed(name string, has ...string) {
	p.t.Helper()
	p.medium("print")
	p.shot(name)
	for _, x := range has {
		p.is(name+" has "+x, `[...document.querySelectorAll('main *')].some(e => e.checkVisibility({visibilityProperty: true, opacityProperty: true}) && e.innerText?.includes('`+x+`') &&
			getComputedStyle(e).color === 'rgb(0, 0, 0)')`)
	}
	p.is(name+": no button is printed but the chart's span", `[...document.querySelectorAll('button')].every(e => !e.checkVisibility() || e.ariaPressed === 'true' && e.className === 'range')`)
	p.medium("")
}

// emergencyAndPrint: the dialog names the bed that it opens; what is printed has the name, the numbers and the blood pressure.
func (s *stage) emergencyAndPrint(t *testing.T) {
	s.t = t
	s.keepBeating("oxi-a-1", "oxi-a-2", "oxi-b-1")
	s.sensor("cuff-a-2", "MPS20N0040D", "a-2", time.Now().Add(-time.Hour))
	s.say("cuff-a-2", time.Now().Add(-time.Minute), archive.Clock{}, vitals.Checked(vitals.Systolic, 121, vitals.Good), vitals.Checked(vitals.Diastolic, 79, vitals.Good))
	words := english(t)
	for _, x := range []struct {
		name, language string
		width          int
	}{{"en", "en", 1280}, {"de-390", "de", 390}} {
		p := s.open("nurse", x.language, x.width)
		p.await("the blood pressure", `document.querySelector('[data-testid="bed-a-2"] [data-testid="bp-value"]')?.innerText.includes('121/79')`)
		p.printed("print-station-"+x.name, "Emil Sørensen", "121/79")
		p.do(chromedp.Click(testid("bed-a-2")))
		p.await("the patient's page", `document.querySelector('[data-testid="monitor"] [data-testid="bp-value"]')?.innerText.includes('121/79') && document.querySelectorAll('[data-testid="trends"] .trend').length === 3`)
		p.printed("print-patient-"+x.name, "Emil Sørensen", "Bett a-2", "121/79")
		p.do(chromedp.Click(testid("back")), chromedp.WaitVisible(testid("emergency")), chromedp.Click(testid("emergency")), chromedp.WaitVisible(testid("glass-bed-b-1")))
		p.is("the keyboard is in the dialog", `document.querySelector('[data-testid="break-glass"]').contains(document.activeElement)`)
		p.fits("emergency-" + x.name)
		p.do(chromedp.Navigate(s.url+"/patient/"+s.patients["b-1"]), chromedp.WaitVisible(testid("refused")), chromedp.Click(testid("emergency")))
		p.await("the dialog names bed and ward", `document.querySelector('[data-testid="glass-where"]')?.innerText === 'Bett b-1, Chirurgie B'`)
		p.fits("emergency-patient-" + x.name)
		if x.language == "de" {
			p.onlyGerman("emergency", words)
		}
		p.do(chromedp.SendKeys(testid("glass-reason"), strings.Repeat("crash call ", 2)))
		p.await("it may be opened", `!document.querySelector('[data-testid="glass-open"]').disabled`)
	}
}
