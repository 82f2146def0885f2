package dashboard_test

import (
	"testing"
	"time"

	"github.com/chromedp/chromedp"
)

// discharged: when a patient goes whose oximeter sends on, the station and the patient's page say that, and of whom, and not that the
// nurse's own ward has changed.
func (s *stage) discharged(t *testing.T) {
	s.t = t
	past := time.Now().Add(-30 * time.Hour)
	for _, x := range []struct {
		name, language    string
		width             int
		bed, patient      string
		notice, title, no string
	}{
		{"en", "en", 1280, "a-41", "Otto Heim", "Otto Heim (Bett a-41) was discharged.", "This patient was discharged", "care team"},
		{"de-390", "de", 390, "a-42", "Paula Kur", "Entlassen: Paula Kur (Bett a-42).", "Dieser Patient wurde entlassen", "Team"},
	} {
		s.bedded(x.bed, x.patient)
		s.sensor("oxi-"+x.bed, "MAX30100", x.bed, past)
		s.keepBeating("oxi-" + x.bed)
		station, page := s.open("nurse", x.language, x.width), s.open("nurse", x.language, x.width)
		page.do(chromedp.WaitVisible(testid("bed-"+x.bed)), chromedp.Click(testid("bed-"+x.bed)), chromedp.WaitVisible(testid("monitor")))
		page.await("the page is live", `document.querySelector('[data-testid="monitor"] [data-testid="hr"]')?.dataset.state === 'live'`)
		station.await("the station is live", `document.querySelector('[data-testid="bed-`+x.bed+`"] [data-testid="hr"]')?.dataset.state === 'live'`)
		if err := s.store.Discharge(t.Context(), s.patients[x.bed], time.Now()); err != nil {
			t.Fatal(err)
		}
		station.await("the station says who was discharged", `document.querySelector('[data-testid="changed"]')?.innerText.includes('`+x.notice+`')`)
		station.is("nothing about the nurse's own ward", `!document.querySelector('[data-testid="changed"]').innerText.includes('`+x.no+`')`)
		station.await("the bed is empty", `!document.querySelector('[data-testid="bed-`+x.bed+`"]')?.innerText.includes('`+x.patient+`')`)
		station.fits("discharged-station-" + x.name)
		page.await("the patient's page says so", `document.querySelector('[data-testid="refused"]')?.innerText.includes('`+x.title+`') && !!document.querySelector('[data-testid="ended-discharged"]')`)
		page.fits("discharged-page-" + x.name)
		if x.language == "de" {
			station.onlyGerman("discharged", english(t))
			page.onlyGerman("discharged page", english(t))
		}
	}
}
