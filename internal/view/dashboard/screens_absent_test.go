package dashboard_test

import (
	"errors"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"vitalseal/internal/hub/archive"
	"vitalseal/internal/hub/directory"
	"vitalseal/internal/measurement/vitals"
)

// absent is what TestAbsentScreens expects in one language.
type absent struct {
	name, language string
	width          int
	attempt        string // the blood pressure of a-51, with the last value
	attemptOnly    string // of a-52
	chart          string
	moved, away    string // a-53, whose oximeter is at another bed of the ward, and a-54
	silent         string // the badge of a-55
	silentLine     string
	gateway        string // a-56
	off            string // a-57
	since          string // a-58, whose probe was off before the page was opened
	beds, link     string // the header: how many beds have live numbers, and apart from them the connection
	oneBed         string // the header of a-58's page
	noCuff         string
	hub, wait      string
	gone, unknown  string // the header and a number while the hub is not reached
	none           string // the move dialog
}

// TestAbsentScreens: where a bed has no number, the tile, the patient's page and the wall name what is
// silent, since when, and what to do: a cuff's attempt without a result beside the last value, an
// oximeter that is at another bed, one that fell silent beside a cuff that measures, a gateway that is
// not heard, a hub that is not reached.
func TestAbsentScreens(t *testing.T) {
	s := newStage(t)
	ctx, past := t.Context(), time.Now().Add(-30*time.Hour)
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(s.store.CreateDevice(ctx, directory.Device{ID: spiffe("workstation/wall"), Kind: "workstation", State: directory.DeviceActive, Mode: directory.ModeDisplay, Wards: []string{"a"}}))
	must(s.store.CreateDevice(ctx, directory.Device{ID: spiffe("gateway/gw-dead"), Kind: "gateway", State: directory.DeviceActive}))
	for bed, name := range map[string]string{"a-51": "Abel Eins", "a-52": "Berta Zwei", "a-53": "Cleo Drei", "a-54": "Dirk Vier", "a-55": "Edda Fünf", "a-56": "Falk Sechs", "a-57": "Gila Sieben", "a-58": "Hilda Acht"} {
		s.bedded(bed, name)
		s.sensor("oxi-"+bed, "MAX30100", bed, past)
	}
	for _, bed := range []string{"a-51", "a-52", "a-55"} {
		s.sensor("cuff-"+bed, "MPS20N0040D", bed, past)
	}
	nurse := ""
	persons, err := s.store.Persons(ctx)
	must(err)
	for _, p := range persons {
		if p.Login == "nurse" {
			nurse = p.ID
		}
	}
	now := time.Now()
	pressure := func(q vitals.Quality) []vitals.Numeric {
		return []vitals.Numeric{vitals.Absent(vitals.Systolic, q), vitals.Absent(vitals.Diastolic, q), vitals.Absent(vitals.MeanArterial, q)}
	}
	measured, tried := now.Add(-31*time.Minute), now.Add(-4*time.Minute)
	s.say("cuff-a-51", measured, archive.Clock{}, vitals.Checked(vitals.Systolic, 128, vitals.Good), vitals.Checked(vitals.Diastolic, 79, vitals.Good), vitals.Checked(vitals.MeanArterial, 95, vitals.Good))
	s.say("cuff-a-51", tried, archive.Clock{}, pressure(vitals.Motion)...)
	s.say("cuff-a-52", tried, archive.Clock{}, vitals.CauseTooFast.Numerics()...)
	left := now.Add(-20 * time.Minute)
	for _, bed := range []string{"a-53", "a-54"} {
		s.say("oxi-"+bed, left.Add(-time.Minute), archive.Clock{}, beat(66, 98)...)
	}
	must(errors.Join(s.store.PlaceDeviceBy(ctx, spiffe("sensor/oxi-a-53"), "a-3", nurse, left), s.store.PlaceDeviceBy(ctx, spiffe("sensor/oxi-a-54"), "b-1", nurse, left)))
	last := now.Add(-9 * time.Minute)
	s.say("oxi-a-58", last, archive.Clock{}, beat(66, 98)...)
	silent := now.Add(-13 * time.Minute)
	s.say("oxi-a-55", silent, archive.Clock{}, beat(66, 98)...)
	// A sensor of a gateway that was killed 10 minutes ago, by the hub's clock of then.
	dead := directory.Device{ID: spiffe("sensor/oxi-dead"), Kind: "sensor", Model: "MAX30100", Gateway: spiffe("gateway/gw-dead"), State: directory.DeviceActive}
	must(errors.Join(s.store.CreateDevice(ctx, dead), s.store.PlaceDevice(ctx, dead.ID, "a-56", past), s.store.PlaceDevice(ctx, spiffe("sensor/oxi-a-56"), "", past.Add(time.Hour))))
	killed := now.Add(-10 * time.Minute)
	s.say("oxi-dead", killed, archive.Clock{}, beat(66, 98)...)
	s.behind.Store(int64(10 * time.Minute))
	must(s.store.TouchDevice(ctx, spiffe("gateway/gw-dead")))
	s.behind.Store(0)
	gateway, err := s.store.Device(ctx, spiffe("gateway/gw-dead"))
	must(err)
	heard := gateway.LastSeen
	s.eachSecond(func(int) {
		if err := s.store.TouchDevice(ctx, spiffe("gateway/gw-a1")); err != nil && ctx.Err() == nil {
			t.Error(err)
		}
		at := time.Now()
		for _, bed := range []string{"a-51", "a-52"} {
			s.say("oxi-"+bed, at, archive.Clock{}, beat(70, 97)...)
			s.say("cuff-"+bed, at, archive.Clock{}, vitals.Checked(vitals.CuffPressure, 0, vitals.Good))
		}
		s.say("cuff-a-55", at, archive.Clock{}, vitals.Checked(vitals.CuffPressure, 16, vitals.Good))
		s.say("oxi-a-57", at, archive.Clock{}, vitals.Absent(vitals.HeartRate, vitals.ProbeOff), vitals.Absent(vitals.SpO2, vitals.Settling))
		s.say("oxi-a-58", at, archive.Clock{}, vitals.Absent(vitals.HeartRate, vitals.ProbeOff), vitals.Absent(vitals.SpO2, vitals.ProbeOff))
	})
	hm := func(at time.Time) string { return at.Local().Format("15:04") }
	hms := func(at time.Time) string { return at.Local().Format("15:04:05") }
	for _, x := range []absent{
		{"en", "en", 1280, "too much movement: attempt " + hm(tried) + " without result; hold the arm still and measure again; last value " + hm(measured) + ", 3",
			"the cuff deflated too fast: attempt " + hm(tried) + " without result; look for a leak in cuff, tube and valve, then measure again; no value in the last 4 hours",
			"Blood pressure, " + hm(tried) + ": an attempt without result (too much movement), by cuff-a-51.",
			"No oximeter at this bed: oxi-a-53 was moved to Bett a-3, Kardiologie A at " + hm(left) + ", by Tomas Ek. Look at the bedside.",
			"No oximeter at this bed: oxi-a-54 was moved away at " + hm(left) + ". Look at the bedside.",
			"Oximeter oxi-a-55: no data for 1", "Oximeter oxi-a-55 is silent since " + hms(silent) + ". Look at the bedside",
			"Gateway gw-dead is not heard since " + hms(heard) + ". Look at the bedside, then at the gateway", "probe off", "probe off, since " + hm(last), "2 of 10 patients with live numbers", "Connection live", "No live number from this bed", "no cuff at this bed",
			"The hub is not reached since ", "please wait", "Hub not reached", "not known: the hub is not reached", "Bett a-57 will have no oximeter left"},
		{"de-390", "de", 390, "zu viel Bewegung: Versuch " + hm(tried) + " ohne Ergebnis; Arm ruhig halten und erneut messen; letzter Wert " + hm(measured) + ", vor 3",
			"Manschette zu schnell entleert: Versuch " + hm(tried) + " ohne Ergebnis; Manschette, Schlauch und Ventil auf Undichtigkeit prüfen, dann erneut messen; kein Wert in den letzten 4 Stunden",
			"Blutdruck, " + hm(tried) + ": ein Versuch ohne Ergebnis (zu viel Bewegung), von cuff-a-51.",
			"Kein Oximeter an diesem Bett: oxi-a-53 ist seit " + hm(left) + " an Bett a-3, Kardiologie A, umgesetzt von Tomas Ek. Sehen Sie am Bett nach.",
			"Kein Oximeter an diesem Bett: oxi-a-54 wurde um " + hm(left) + " an ein anderes Bett umgesetzt. Sehen Sie am Bett nach.",
			"Oximeter oxi-a-55: keine Daten seit 1", "Oximeter oxi-a-55 sendet nicht mehr seit " + hms(silent) + ". Sehen Sie am Bett nach",
			"Gateway gw-dead meldet sich seit " + hms(heard) + " nicht. Sehen Sie am Bett nach, prüfen Sie danach", "Sensor ab", "Sensor ab, seit " + hm(last), "2 von 10 Patienten mit aktuellen Werten", "Verbindung steht", "Kein aktueller Wert von diesem Bett", "keine Manschette an diesem Bett",
			"Der Hub ist seit ", "bitte warten", "Hub nicht erreichbar", "nicht bekannt: Der Hub ist nicht erreichbar", "Bett a-57 hat danach kein Oximeter mehr"},
	} {
		s.absentOn(t, x)
	}
}

// absentOn looks at the tiles, a patient's page, the wall and the move dialog in one language.
func (s *stage) absentOn(t *testing.T, x absent) {
	t.Helper()
	s.t = t
	words := english(t)
	p := s.open("", x.language, x.width)
	road := newSlowRoad(t, s.url)
	p.url = road.url
	p.do(chromedp.Navigate(p.url), chromedp.WaitVisible(testid("signin-form")), chromedp.SendKeys(testid("login"), "nurse"),
		chromedp.SendKeys(testid("password"), password), chromedp.Click(testid("signin")))
	in := func(bed, id string) string {
		return `document.querySelector('[data-testid="bed-` + bed + `"] [data-testid="` + id + `"]')?.innerText.replaceAll('\n', ' ')`
	}
	p.await("an attempt, and the last value", in("a-51", "bp")+`.includes('`+x.attempt+`') && `+in("a-51", "bp-value")+`.includes('128/79')`)
	p.is("the last value is not as of now", `document.querySelector('[data-testid="bed-a-51"] [data-testid="bp"]').classList.contains('is-stale')`)
	p.await("an attempt alone", in("a-52", "bp")+`.includes('`+x.attemptOnly+`')`)
	p.await("where the oximeter is, since when, by whom", in("a-53", "bed-line")+`.includes('`+x.moved+`')`)
	p.await("moved to a bed that the nurse does not know of", in("a-54", "bed-line")+`.includes('`+x.away+`')`)
	p.is("that bed is not named, nor who did it", `!/b-1|Chirurgie|Tomas Ek/.test(`+in("a-54", "bed-line")+`)`)
	p.await("the badge names the sensor that is silent", in("a-55", "age")+`.includes('`+x.silent+`') && `+in("a-55", "bed-line")+`.includes('`+x.silentLine+`')`)
	p.await("the cuff beside it measures", in("a-55", "cuff")+`?.includes('120 mmHg')`)
	p.await("the gateway that is not heard", in("a-56", "bed-line")+`.includes('`+x.gateway+`')`)
	p.await("a probe that is off", in("a-57", "bed-line")+`.includes('`+x.off+`') && `+in("a-57", "bp")+`.includes('`+x.noCuff+`')`)
	p.await("since when a probe is off, on a page that was opened later", in("a-58", "hr")+`.includes('`+x.since+`') && `+in("a-58", "bed-line")+`.includes('`+x.since+`.')`)
	header := func(id string) string { return `document.querySelector('[data-testid="` + id + `"]')?.innerText` }
	p.await("the header counts beds with live numbers, apart from the connection", header("beds-live")+` === '`+x.beds+`' && `+header("link")+` === '`+x.link+`'`)
	p.is("a bed whose probe is off does not look live", `['a-57', 'a-58'].every(b => !document.querySelector('[data-testid="bed-' + b + '"]').classList.contains('tile-live') &&
		!document.querySelector('[data-testid="bed-' + b + '"] [data-testid="age"]').classList.contains('age-live'))`)
	p.is("nothing is said where all is well", `document.querySelector('[data-testid="bed-a-51"] [data-testid="bed-line"]') === null`)
	p.fits("absent-station-" + x.name)
	if x.language == "de" {
		p.onlyGerman("absent-station", words)
	}
	p.do(chromedp.Navigate(p.url+"/patient/"+s.patients["a-58"]), chromedp.WaitVisible(testid("monitor")))
	p.await("one bed, whose probe is off", header("beds-live")+` === '`+x.oneBed+`' && `+header("link")+` === '`+x.link+`' &&
		document.querySelector('[data-testid="beds-live"]').dataset.beds === 'none' && document.querySelector('[data-testid="monitor"] [data-testid="hr"]').innerText.includes('`+x.since+`')`)
	p.fits("absent-off-" + x.name)
	p.do(chromedp.Navigate(p.url+"/patient/"+s.patients["a-51"]), chromedp.WaitVisible(testid("monitor")))
	p.await("the attempt on the patient's page and its chart", `document.querySelector('[data-testid="monitor"] [data-testid="bp"]').innerText.replaceAll('\n', ' ').includes('`+x.attempt+`') &&
		document.querySelector('[data-testid="attempts"]')?.innerText.includes('`+x.chart+`')`)
	p.fits("absent-patient-" + x.name)
	p.do(chromedp.Navigate(p.url+"/sensors"), chromedp.WaitVisible(testid("sensor-move-oxi-a-57")), chromedp.Click(testid("sensor-move-oxi-a-57")), chromedp.WaitVisible(testid("to-a-3")))
	p.is("nothing is said before a bed is chosen", `document.querySelector('[data-testid="none-left"]') === null`)
	p.do(chromedp.Click(testid("to-a-3")))
	p.await("the old bed will have none left", `document.querySelector('[data-testid="none-left"]')?.innerText.includes('`+x.none+`')`)
	p.fits("absent-move-" + x.name)

	w := s.open("", x.language, x.width)
	w.do(chromedp.Navigate(s.wallURL+"/display"), chromedp.WaitVisible(testid("wall-Bett a-51")))
	on := func(bed string) string {
		return `document.querySelector('[data-testid="wall-Bett ` + bed + `"]')?.innerText.replaceAll('\n', ' ')`
	}
	w.await("the attempt on the wall", on("a-51")+`.includes('`+x.attempt+`') && `+on("a-51")+`.includes('128/79')`)
	w.await("the reasons on the wall", on("a-52")+`.includes('`+x.attemptOnly+`') && `+on("a-55")+`.includes('`+x.silentLine+`') && `+on("a-56")+`.includes('`+x.gateway+`') && `+on("a-57")+`.includes('`+x.noCuff+`') && `+on("a-58")+`.includes('`+x.since+`')`)
	w.is("a bed whose probe is off does not look live on the wall", `['a-57', 'a-58'].every(b => document.querySelector('[data-testid="wall-Bett ' + b + '"]').dataset.state === 'absent')`)
	w.is("no person is named on the wall", `!/Tomas Ek|Abel|Cleo/.test(document.body.innerText)`)
	w.fits("absent-wall-" + x.name)
	if x.language == "de" {
		w.onlyGerman("absent-wall", words)
	}

	// The hub is gone: nothing is said to be measured, or silent, as of now.
	p.do(chromedp.Navigate(p.url))
	p.await("a sensor that begins to measure", in("a-57", "spo2")+`?.includes('`+x.wait+`') && document.querySelector('[data-testid="link"]').dataset.link === 'live'`)
	road.delay.Store(int64(time.Hour))
	p.await("the hub is named, and the bedside", in("a-57", "bed-line")+`.includes('`+x.hub+`') && `+in("a-51", "bed-line")+`.includes('`+x.hub+`')`)
	p.is("nothing is said to be measured now", `!document.querySelector('main').innerText.includes('`+x.wait+`') && document.querySelector('[data-testid="cuff"]') === null`)
	p.is("one text for it", `document.querySelector('[data-testid="lost"]').innerText.includes(`+in("a-57", "bed-line")+`.split('. ')[0]) && `+header("link")+` === '`+x.gone+`' &&
		[...document.querySelectorAll('[data-testid="age"]')].every(e => e.innerText.toLowerCase() === '`+x.gone+`'.toLowerCase())`)
	p.is("what is not heard is not known, and no finding", in("a-1", "hr")+`.includes('`+x.unknown+`')`)
	p.is("no sensor is said to be silent", `!`+in("a-55", "age")+`.includes('oxi-a-55')`)
	p.fits("absent-lost-" + x.name)
	if x.language == "de" {
		p.onlyGerman("absent-lost", words)
	}
}
