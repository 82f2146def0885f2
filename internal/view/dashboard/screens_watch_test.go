package dashboard_test

import (
	"errors"
	"strconv"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"vitalseal/internal/hub/access"
	"vitalseal/internal/hub/archive"
	"vitalseal/internal/hub/directory"
	"vitalseal/internal/hub/signin"
	"vitalseal/internal/measurement/vitals"
)

// watching: what those who watch over security and those who administer see, in both languages and widths: events that are rare, in words of
// the page's language, quotas, approvals.
func (s *stage) watching(t *testing.T) {
	s.t = t
	words := english(t)
	nurse := ""
	persons, err := s.store.Persons(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range persons {
		if p.Login == "nurse" {
			nurse = p.ID
		}
	}
	for _, e := range []directory.SecurityEvent{
		{Kind: access.EventSpray, Place: spiffe("workstation/desk"), Detail: "8 different logins failed here within an hour"},
		{Kind: access.EventGuessing, Place: spiffe("workstation/desk"), Person: nurse, Detail: "20 wrong proofs of identity"},
		{Kind: access.EventMany, Person: nurse, Detail: "6 in an hour"},
		{Kind: access.EventTheft, Person: nurse, Place: spiffe("workstation/desk"), Detail: "a used refresh token was shown again"},
	} {
		e.Last = time.Now()
		if err := s.store.NoteSecurity(t.Context(), e); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(s.store.CreateDevice(t.Context(), directory.Device{ID: spiffe("hub/hub"), Kind: "hub", State: directory.DeviceActive}),
		s.store.NoteTrouble(t.Context(), spiffe("hub/hub"), "nearly full", time.Now())); err != nil {
		t.Fatal(err)
	}
	for _, x := range []struct {
		name, language string
		width          int
		disk, spray    string
		detail         []string
	}{
		{"en", "en", 1280, "The hub’s own disk is full or nearly full", "A few passwords are being tried on many people", []string{"8 different logins failed here within an hour", "nearly full"}},
		{"de-390", "de", 390, "Die Platte des Hubs ist voll oder fast voll", "Wenige Passwörter werden bei vielen Personen probiert",
			[]string{"8 verschiedene Anmeldenamen scheiterten hier innerhalb einer Stunde", "fast voll", "20 falsche Identitätsnachweise", "6 in einer Stunde", "erneut vorgezeigt"}},
	} {
		for _, login := range []string{"admin", "auditor"} {
			p := s.open(login, x.language, x.width)
			p.do(chromedp.WaitVisible(testid("security-all")), chromedp.Click(testid("security-all")))
			p.await("both events", `document.querySelector('[data-testid="security-hub-disk"]')?.innerText.includes('`+x.disk+`') && document.querySelector('[data-testid="security-password-spray"]')?.innerText.includes('`+x.spray+`')`)
			for _, d := range x.detail {
				p.is("the detail: "+d, `document.querySelector('[data-testid="security"]').innerText.includes('`+d+`')`)
			}
			p.fits("security-" + login + "-" + x.name)
			p.is("the hub is named once", `!/hub hub/.test(document.querySelector('[data-testid="security-hub-disk"]').innerText)`)
			if x.language == "de" {
				p.onlyGerman("security", words)
				p.is("no English detail", `document.querySelector('[data-testid="security"] [lang="en"]') === null`)
			}
			if login == "admin" {
				for _, page := range []string{"quotas", "people", "approvals"} {
					p.do(chromedp.Navigate(s.url+"/"+page), chromedp.WaitVisible(testid("page-"+page)))
					p.await(page, `document.querySelector('main').innerText.trim().length > 60 && !/Fetching|Wird geladen/.test(document.querySelector('main').innerText)`)
					p.fits(page + "-" + x.name)
					if x.language == "de" {
						p.onlyGerman(page, words)
					}
				}
			}
		}
	}
}

// approvals: what waits is said to the approver in the language of the page: who, what, and what ids mean.
func (s *stage) approvals(t *testing.T) {
	s.t = t
	admin := s.open("admin", "en", 1280)
	admin.do(chromedp.WaitVisible(testid("inventory")))
	send := func(method, path, body string) string {
		return `fetch('/api/admin/` + path + `', {method: '` + method + `', headers: {'Content-Type': 'application/json', 'X-Vitalseal-Request': '1'}, body: JSON.stringify(` + body + `)}).then(r => r.status)`
	}
	for _, x := range []struct {
		method, path, body string
		status             int
	}{
		{"PUT", "two-persons", `{on: true}`, 200},
		{"POST", "persons", `{login: 'neu', display_name: 'Nora "Neu"', role: 'doctor', patients: ['` + s.patients["a-1"] + `']}`, 202},
		{"POST", "workstations", `{id: 'wand', mode: 'display', wards: ['a']}`, 202},
		{"PUT", "two-persons", `{on: false}`, 202},
		{"POST", "readings/move", `{from: '` + s.patients["a-1"] + `', to: '` + s.patients["b-1"] + `', begin: new Date(Date.now() - 3600e3).toISOString(), end: new Date(Date.now() - 60e3).toISOString(), meant: true}`, 202},
	} {
		if got := js[int](admin, send(x.method, x.path, x.body), chromedp.EvalAwaitPromise); got != x.status {
			t.Fatalf("%s: %d", x.path, got)
		}
	}
	for _, x := range []struct {
		name, language string
		width          int
		says           []string
	}{
		{"en", "en", 1280, []string{`makes "Nora \"Neu\"" (login neu) a doctor`, "is the patient at bed a-1 now", "makes the wall display", "from then on one administrator alone"}},
		{"de-390", "de", 390, []string{`legt "Nora \"Neu\"" (Anmeldename neu) an, mit Anmeldung als: Arzt`, s.patients["a-1"] + " ist der Patient, der jetzt an Bett a-1 liegt", "behandelt die Patienten " + s.patients["a-1"],
			"erzeugt den Wandbildschirm workstation/wand", "a ist die Station Kardiologie A", "von da an legt eine Administratorin oder ein Administrator allein"}},
	} {
		p := s.open("auditor", x.language, x.width)
		p.do(chromedp.WaitVisible(testid("page-approvals")), chromedp.Click(testid("page-approvals")))
		p.await("all requests", `document.querySelectorAll('[data-testid="approval"]').length === 4`)
		for _, said := range x.says {
			p.is(said, `document.querySelector('main').innerText.includes(`+strconv.Quote(said)+`)`)
		}
		p.fits("approvals-waiting-" + x.name)
		if x.language == "de" {
			p.onlyGerman("approvals", english(t))
			p.is("no English sentence", `document.querySelector('main [lang="en"]') === null`)
		}
		p.is("an auditor reads no patient's name", `!/Ada Brandt|Bela Novak/.test(document.querySelector('main').innerText)`)
		p.is("no name of the interface", `!/spiffe:|heart_rate_bpm|spo2_percent|readings\.move/.test(document.querySelector('main').innerText)`)
	}
	// A doctor reads the name of the patient in their care, and of no other; the decision says what it was about.
	p := s.open("doctor", "en", 1280)
	p.do(chromedp.WaitVisible(testid("page-approvals")), chromedp.Click(testid("page-approvals")))
	p.await("the name of a patient in care", `document.querySelector('main').innerText.includes('`+s.patients["a-1"]+` is the patient') === false && document.querySelector('main').innerText.includes('("Ada Brandt")')`)
	p.is("not another patient's", `!document.querySelector('main').innerText.includes('Bela Novak')`)
	p.fits("approvals-doctor")
	js[bool](p, `(([...document.querySelectorAll('[data-testid="approval"]')].find(e => e.innerText.includes('from the patient'))?.querySelector('[data-testid="refuse"]')).click(), true)`)
	p.do(chromedp.WaitVisible(testid("refuse-now")), chromedp.Click(testid("refuse-now")))
	p.await("what was refused, and of whom", `(t => t.includes('Refused.') && t.includes('"`+s.patients["a-1"]+`" ("Ada Brandt")') && t.includes('`+s.patients["b-1"]+`'))(document.querySelector('[data-testid="approval-done"]')?.innerText ?? '')`)
}

// wall: a wall screen has numbers by bed and no name; what is old, uncertain or of a legacy device says so.
func (s *stage) wall(t *testing.T) {
	s.t = t
	if err := s.store.CreateDevice(t.Context(), directory.Device{ID: spiffe("workstation/wall"), Kind: "workstation", State: directory.DeviceActive, Mode: directory.ModeDisplay, Wards: []string{"a", "b"}}); err != nil {
		t.Fatal(err)
	}
	past := time.Now().Add(-30 * time.Hour)
	for bed, name := range map[string]string{"a-71": "Theo Streit", "a-72": "Ute Einig", "a-73": "Veit Still"} {
		s.bedded(bed, name)
		s.sensor("oxi-"+bed, "MAX30100", bed, past)
		s.sensor("new-"+bed, "MAX30100", bed, past)
	}
	for i := range 10 { // both fall silent
		at := time.Now().Add(-time.Duration(30-i) * time.Second)
		s.say("oxi-a-73", at, archive.Clock{}, beat(70, 97)...)
		s.say("new-a-73", at, archive.Clock{}, beat(70, 84)...)
	}
	s.eachSecond(func(i int) {
		for sensor, spo2 := range map[string]float64{"oxi-a-71": 97, "new-a-71": 84, "oxi-a-72": 97, "new-a-72": 96} {
			s.say(sensor, time.Now(), archive.Clock{}, beat(70, spo2)...)
		}
		s.say("oxi-a-2", time.Now(), archive.Clock{}, beat(float64(70+i%3), 97)...)
		s.say("oxi-b-1", time.Now(), archive.Clock{}, vitals.Checked(vitals.HeartRate, 88, vitals.Questionable), vitals.Absent(vitals.SpO2, vitals.Motion))
	})
	for _, x := range []struct {
		name, language string
		width          int
		uncertain, why string
		two, equal     string // oximeters that disagree, and that do not: with what to do
		gone           string // of what to do when those that disagreed fell silent
	}{{"en", "en", 1280, "uncertain", "no value: motion", "Two oximeters send: new-a-71 and oxi-a-71 Their values differ too much for both to be right. Look at the patient, and take the sensor off the bed that is not on this patient.",
		"Two oximeters send: new-a-72 and oxi-a-72 The numbers are those of the sensor named under them. After a swap, take the other off this bed.",
		"a number that is left may be of another patient. See which sensor is on this patient, put that one right, and take only the other off this bed."},
		{"de-390", "de", 390, "unsicher", "kein Wert: Bewegung", "Zwei Oximeter senden: new-a-71 und oxi-a-71 Die Werte liegen so weit auseinander, dass nicht beide stimmen können. Sehen Sie nach dem Patienten und nehmen Sie den Sensor vom Bett, der nicht an diesem Patienten ist.",
			"Zwei Oximeter senden: new-a-72 und oxi-a-72 Die Werte sind von dem Sensor, der darunter steht. Nehmen Sie nach einem Wechsel den anderen von diesem Bett.",
			"Ein Wert, der noch kommt, kann von einem anderen Patienten sein. Sehen Sie nach, welcher Sensor an diesem Patienten ist, bringen Sie den in Ordnung und nehmen Sie nur den anderen von diesem Bett."}} {
		p := s.open("", x.language, x.width)
		p.do(chromedp.Navigate(s.wallURL+"/display"), chromedp.WaitVisible(testid("wall-Bett a-2")))
		p.await("live numbers", `document.querySelector('[data-testid="wall-Bett a-2"]')?.dataset.state === 'live'`)
		p.await("an uncertain one, and one that is absent with its reason", `(t => t?.includes('88?') && t.includes('`+x.uncertain+`') && t.includes('`+x.why+`'))(document.querySelector('[data-testid="wall-Bett b-1"]')?.innerText.replaceAll('\n', ''))`)
		rivals := func(bed string) string {
			return `document.querySelector('[data-testid="wall-Bett ` + bed + `"] [data-testid="wall-rivals"]')?.innerText`
		}
		p.await("two that disagree, and two that do not, with what to do", rivals("a-71")+` === '`+x.two+`' && `+rivals("a-72")+` === '`+x.equal+`'`)
		p.await("what to do when both fall silent", rivals("a-73")+`.includes('`+x.gone+`')`)
		p.is("no name", `!/Brandt|Sørensen|Novak|Streit|Einig|Still/.test(document.body.innerText)`)
		p.fits("wall-" + x.name)
		if x.language == "de" {
			p.onlyGerman("wall", english(t))
		}
	}
}

// noEmergency: to who has every bed in care already the emergency dialog says so, and has a way on.
func (s *stage) noEmergency(t *testing.T) {
	s.t = t
	hash, err := signin.HashPassword(password)
	if err == nil {
		_, err = s.store.CreatePerson(t.Context(), access.Person{Login: "float", DisplayName: "Flo Springer", Role: access.RoleNurse, Wards: []string{"a", "b"}}, hash)
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, x := range []struct {
		name, language string
		width          int
		says           string
	}{{"en", "en", 1280, "is in your care already"}, {"de-390", "de", 390, "Ihnen schon zugeordnet"}} {
		p := s.open("float", x.language, x.width)
		p.do(chromedp.WaitVisible(testid("emergency")), chromedp.Click(testid("emergency")))
		p.await("it says why there is nothing to choose", `document.querySelector('[data-testid="glass-none"]')?.innerText.includes('`+x.says+`')`)
		p.is("nothing to fill in that leads nowhere", `document.querySelector('[data-testid="glass-open"]') === null && document.querySelector('[data-testid="glass-reason"]') === null`)
		p.fits("emergency-none-" + x.name)
		if x.language == "de" {
			p.onlyGerman("emergency-none", english(t))
		}
		p.do(chromedp.Focus(testid("glass-back")))
		p.do(chromedp.KeyEvent("\r"))
		p.await("back at the beds", `document.querySelector('[data-testid="break-glass"]') === null && document.querySelector('[data-testid="bed-a-1"]') !== null`)
	}
}
