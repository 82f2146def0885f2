package dashboard_test

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"vitalseal/internal/hub/access"
	"vitalseal/internal/hub/archive"
	"vitalseal/internal/hub/directory"
	"vitalseal/internal/hub/signin"
	"vitalseal/internal/hub/store"
	"vitalseal/internal/measurement/vitals"
	"vitalseal/internal/shared/audit"
	"vitalseal/internal/view/admin"
	"vitalseal/internal/view/api"
	"vitalseal/internal/view/dashboard"
	"vitalseal/internal/way/delivery"
	"vitalseal/internal/way/seal"
)

// The screens are tested in a browser against the hub's faces and a store, without a network between: what a sensor said, and when, is
// then as each test needs it.

// stage is what the screens show: two beds on ward a and one on ward b, each with a patient and an oximeter.
type stage struct {
	t        *testing.T
	url      string
	wallURL  string // as the workstation "wall" sees the hub
	store    *store.Store
	trail    *audit.Log
	grant    access.Grant
	patients map[string]string // by bed
	mu       sync.Mutex        // guards seq
	seq      uint64
	ahead    atomic.Int64 // how far the faces' clock is ahead of this test's, in ns
	behind   atomic.Int64 // how far the store's is behind it
}

// now is the time that the faces go by, and storeNow the store's.
func (s *stage) now() time.Time      { return time.Now().Add(time.Duration(s.ahead.Load())) }
func (s *stage) storeNow() time.Time { return time.Now().Add(-time.Duration(s.behind.Load())) }

func newStage(t *testing.T) *stage {
	t.Helper()
	ctx, dir, log := t.Context(), t.TempDir(), slog.New(slog.DiscardHandler)
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	keys, _, err := seal.OpenFileKeyStore(filepath.Join(dir, "root.key"))
	must(err)
	s := &stage{t: t, patients: map[string]string{}}
	st, err := store.Open(ctx, filepath.Join(dir, "store"), keys, log, store.WithClock(s.storeNow))
	must(err)
	t.Cleanup(func() { _ = st.Close() })
	trail, err := audit.Open(filepath.Join(dir, "audit"), filepath.Join(dir, "audit.key"), log)
	must(err)
	t.Cleanup(func() { _ = trail.Close() })
	engine, err := access.New(st, trail, nil, log, access.WithApprovals(st, true))
	must(err)
	people, err := signin.New(engine, st, log)
	must(err)
	s.store, s.trail, s.grant = st, trail, engine.Standing("ingest", access.AppendVitals)
	past := time.Now().Add(-30 * time.Hour)
	must(st.CreateWard(ctx, directory.Ward{ID: "a", Name: "Kardiologie A"}))
	must(st.CreateWard(ctx, directory.Ward{ID: "b", Name: "Chirurgie B"}))
	must(st.CreateDevice(ctx, directory.Device{ID: spiffe("gateway/gw-a1"), Kind: "gateway", State: directory.DeviceActive}))
	for _, b := range []struct{ bed, ward, name string }{{"a-1", "a", "Ada Brandt"}, {"a-2", "a", "Emil Sørensen"}, {"a-3", "a", ""}, {"b-1", "b", "Bela Novak"}} {
		must(st.CreateBed(ctx, directory.Bed{ID: b.bed, Ward: b.ward, Name: "Bett " + b.bed}))
		if b.name == "" {
			continue
		}
		s.patients[b.bed], err = st.CreatePatient(ctx, b.name)
		must(err)
		must(st.Admit(ctx, s.patients[b.bed], b.bed, past))
		s.sensor("oxi-"+b.bed, "MAX30100", b.bed, past)
	}
	hash, err := signin.HashPassword(password)
	must(err)
	for _, p := range []access.Person{
		{Login: "nurse", DisplayName: "Tomas Ek", Role: access.RoleNurse, Wards: []string{"a"}},
		{Login: "doctor", DisplayName: "Dr. Mira Lang", Role: access.RoleDoctor, Patients: []string{s.patients["a-1"]}},
		{Login: "ada", DisplayName: "Ada Brandt", Role: access.RolePatient, Self: s.patients["a-1"]},
		{Login: "staff", DisplayName: "Sam Stone", Role: access.RoleStaff},
		{Login: "auditor", DisplayName: "Ana Audit", Role: access.RoleAuditor},
		{Login: "admin", DisplayName: "Adi Admin", Role: access.RoleAdmin},
	} {
		_, err := st.CreatePerson(ctx, p, hash)
		must(err)
	}
	desk := func(*http.Request) string { return spiffe("workstation/desk") }
	must(st.CreateDevice(ctx, directory.Device{ID: desk(nil), Kind: "workstation", State: directory.DeviceActive}))
	gate := gateOf(t, api.Config{SignIn: people, Workstation: desk})
	board, err := dashboard.New(dashboard.Config{Store: st, Access: engine, SignIn: people, Log: log, Gate: gate, PasskeyHost: "localhost", Now: s.now})
	must(err)
	none := func(context.Context, string) error { return errors.New("there is no overlay here") }
	noneBy := func(ctx context.Context, id, _ string) error { return none(ctx, id) }
	administer := admin.New(admin.Config{Store: st, Access: engine, SignIn: people, Audit: trail, Subject: gate.Subject, Domain: "ward.example", Log: log,
		Proven: s.proven, Search: s.searched,
		Invite: func(context.Context, string, []directory.Device) (json.RawMessage, error) {
			return json.RawMessage(`{"ticket":"of a test"}`), nil
		}, Disable: noneBy, Enable: none, Delete: noneBy, Rotate: none, ResetNumbers: none,
		Reissue: func(context.Context, string, string) (json.RawMessage, error) { return nil, none(nil, "") }})
	mux := http.NewServeMux()
	mux.Handle("/", board)
	mux.Handle(admin.Prefix, administer)
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	s.url = server.URL
	wall, err := dashboard.New(dashboard.Config{Store: st, Access: engine, SignIn: people, Log: log, Now: s.now,
		Gate: gateOf(t, api.Config{SignIn: people, Workstation: func(*http.Request) string { return spiffe("workstation/wall") }})})
	must(err)
	there := httptest.NewServer(wall)
	t.Cleanup(there.Close)
	s.wallURL = there.URL
	return s
}

func spiffe(rest string) string { return "spiffe://ward.example/" + rest }

// sensor makes one at a bed.
func (s *stage) sensor(name, model, bed string, since time.Time) {
	s.t.Helper()
	d := directory.Device{ID: spiffe("sensor/" + name), Kind: "sensor", Model: model, Serial: "S-" + name, Gateway: spiffe("gateway/gw-a1"), State: directory.DeviceActive}
	if err := errors.Join(s.store.CreateDevice(s.t.Context(), d), s.store.PlaceDevice(s.t.Context(), d.ID, bed, since)); err != nil {
		s.t.Fatal(err)
	}
}

// say has a sensor say something at a time, by a clock.
func (s *stage) say(sensor string, at time.Time, clock archive.Clock, n ...vitals.Numeric) {
	s.t.Helper()
	at = at.UTC().Truncate(time.Microsecond)
	s.mu.Lock()
	s.seq++
	seq := s.seq
	s.mu.Unlock()
	id := spiffe("sensor/" + sensor)
	c := vitals.Chunk{Signal: vitals.Numerics, Start: at, Bundles: []vitals.Bundle{{At: at, Numerics: n}}}
	a := archive.Arrival{Sensor: id, Chunk: c, Received: time.Now(), Clock: clock, Header: seal.Header{Sensor: id, Signal: uint8(c.Signal),
		Start: at, Seq: seq, Epoch: seal.Epoch{ID: seal.EpochID{1}, Number: 1}}}
	if outcome, why, err := s.store.Append(context.Background(), s.grant, a); err != nil || outcome != delivery.Accepted {
		s.t.Errorf("append: %v %s %v", outcome, why, err)
	}
}

// beat says a heart rate and a saturation.
func beat(hr, spo2 float64) []vitals.Numeric {
	return []vitals.Numeric{vitals.Checked(vitals.HeartRate, hr, vitals.Good), vitals.Checked(vitals.SpO2, spo2, vitals.Good)}
}

// keepBeating has sensors speak each second until the test ends, so that what is on the screen is live.
func (s *stage) keepBeating(sensors ...string) {
	s.eachSecond(func(i int) {
		for _, x := range sensors {
			s.say(x, time.Now(), archive.Clock{}, beat(float64(70+i%3), 97)...)
		}
	})
}

// eachSecond does something each second until the test ends.
func (s *stage) eachSecond(do func(i int)) {
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(time.Second)
		defer tick.Stop()
		for i := 0; ; i++ {
			do(i)
			select {
			case <-tick.C:
			case <-ctx.Done():
				return
			}
		}
	}()
	s.t.Cleanup(func() { stop(); <-done })
}

// open signs a person in, in a browser of a language and a width.
func (s *stage) open(login, language string, width int) *page {
	s.t.Helper()
	height := 900
	if width < 700 {
		height = 844
	}
	p := openBrowser(s.t, s.url, chromedp.Flag("lang", language), chromedp.Flag("accept-lang", language), chromedp.WindowSize(width, height))
	if width < 700 { // a window is never that narrow
		p.do(chromedp.EmulateViewport(int64(width), int64(height)))
	}
	if login != "" {
		p.do(chromedp.Navigate(p.url), chromedp.WaitVisible(testid("signin-form")), chromedp.SendKeys(testid("login"), login),
			chromedp.SendKeys(testid("password"), password), chromedp.Click(testid("signin")))
	}
	return p
}

// fits checks that nothing is wider than the screen, and what axe finds, where $VITALSEAL_AXE names its file.
func (p *page) fits(name string) {
	p.t.Helper()
	p.shot(name)
	p.is(name+": nothing is wider than the screen", `document.documentElement.scrollWidth <= window.innerWidth`)
	file := os.Getenv("VITALSEAL_AXE")
	if file == "" {
		return
	}
	script, err := os.ReadFile(file)
	if err != nil {
		p.t.Fatal(err)
	}
	js[bool](p, string(script)+"; true")
	// A tile's name is its bed and patient; the numbers in it change each second and are no part of the name.
	found := js[string](p, `axe.run(document, {resultTypes: ['violations'], rules: {'label-content-name-mismatch': {enabled: true}}}).then(r => JSON.stringify(r.violations
		.map(v => [v.id, v.nodes.map(n => n.html.slice(0, 200)).filter(h => v.id !== 'label-content-name-mismatch' || !/^<a [^>]*class="tile /.test(h))]).filter(v => v[1].length > 0)))`, chromedp.EvalAwaitPromise)
	if found != "[]" {
		p.t.Errorf("%s: axe: %s", name, found)
	}
}

// TestScreens shows the screens with what is rarely there.
func TestScreens(t *testing.T) {
	s := newStage(t)
	now := time.Now()
	for m := 300; m > 0; m -= 20 { // often enough to ask nothing, but for a-1 in the last 100 minutes
		for _, x := range []string{"oxi-a-1", "oxi-a-2", "oxi-b-1"} {
			if x != "oxi-a-1" || m > 100 {
				s.say(x, now.Add(-time.Duration(m)*time.Minute), archive.Clock{}, beat(66, 98)...)
			}
		}
	}
	t.Run("is this still the patient", s.whoseSensor)
	t.Run("another patient", s.anotherPatient)
	t.Run("whose is it", s.whose)
	t.Run("whose exactly", s.whoseExactly)
	t.Run("devices", s.devices)
	t.Run("audit", s.audit)
	t.Run("time and source", s.timeAndSource)
	t.Run("emergency and print", s.emergencyAndPrint)
	t.Run("no emergency", s.noEmergency)
	t.Run("watching", s.watching)
	t.Run("two oximeters", s.twoOximeters)
	t.Run("silent rival", s.silentRival)
	t.Run("chart of two sensors", s.chartOfTwo)
	t.Run("discharged", s.discharged)
	t.Run("the banner stays", s.bannerStays)
	t.Run("widths", s.widths)
	t.Run("wall", s.wall)
	t.Run("approvals", s.approvals)
}

// whoseSensor: the tile asks in words, the number stays with its mark; one press of a nurse takes it away, by the keyboard too.
func (s *stage) whoseSensor(t *testing.T) {
	s.t = t
	s.keepBeating("oxi-a-1", "oxi-a-2", "oxi-b-1")
	asks := "asks-" + s.patients["a-1"]
	p := s.open("nurse", "en", 1440)
	p.await("the question", `document.querySelector('[data-testid="`+asks+`"]')?.innerText.includes('Is this still Ada Brandt?')`)
	p.await("a live number with its mark", `/^[0-9]+\?$/.test(document.querySelector('[data-testid="bed-a-1"] [data-testid="hr-value"]').innerText.trim()) &&
		document.querySelector('[data-testid="bed-a-1"] [data-testid="hr"]').innerText.includes('patient not confirmed') && document.querySelector('[data-testid="bed-a-1"] [data-testid="hr"]').dataset.state === 'live'`)
	p.is("no question at the neighbour's bed", `document.querySelectorAll('[data-testid^="asks-p"]').length === 1`)
	p.fits("asks-station-en")
	phone := s.open("nurse", "de", 390)
	phone.await("the question in German", `document.querySelector('[data-testid="`+asks+`"]')?.innerText.includes('Ist das noch Ada Brandt?')`)
	phone.fits("asks-station-de-390")
	doctor := s.open("doctor", "en", 1440)
	doctor.do(chromedp.Click(testid("bed-a-1")), chromedp.WaitVisible(testid(asks)))
	doctor.is("a doctor cannot answer", `document.querySelector('[data-testid="asks-yes"]') === null`)
	doctor.await("the chart's words", `document.querySelector('[data-testid="not-confirmed"]')?.innerText.includes('oxi-a-1')`)
	doctor.fits("asks-patient-en")

	// The tile's link, then "yes": the next stops of the keyboard.
	p.do(chromedp.Focus(testid("bed-a-1")))
	p.do(chromedp.KeyEvent("\t"))
	p.is("the keyboard comes to yes after the tile", `document.activeElement?.dataset.testid === 'asks-yes'`)
	p.do(chromedp.KeyEvent("\r"))
	p.await("the question is gone", `document.querySelector('[data-testid="`+asks+`"]') === null`)
	p.await("the mark is gone", `/^[0-9]+$/.test(document.querySelector('[data-testid="bed-a-1"] [data-testid="hr-value"]').innerText.trim())`)
	phone.await("it is gone on the other screen", `document.querySelector('[data-testid="`+asks+`"]') === null`)
	doctor.await("and on the patient's page, whose chart tells it", `document.querySelector('[data-testid="`+asks+`"]') === null &&
		document.querySelector('[data-testid="not-confirmed"]')?.innerText.includes('Tomas Ek')`)
}

// english are the texts of the pages that have a German one that differs, from the two files that hold them.
func english(t *testing.T) []string {
	t.Helper()
	var out []string
	const pair = `en: '((?:[^'\\]|\\.)*)'(,)\s+de: '((?:[^'\\]|\\.)*)'`
	for file, pattern := range map[string]string{
		"german.ts":       `(?m)^  (?:'((?:[^'\\]|\\.)*)'|([A-Za-z]+)):\s+'((?:[^'\\]|\\.)*)',$`,
		"words.ts":        pair,
		"words-audit.ts":  pair,
		"words-ward.ts":   pair,
		"words-absent.ts": pair,
	} {
		text, err := os.ReadFile("../../../web/src/" + file)
		if err != nil {
			t.Fatal(err)
		}
		found := regexp.MustCompile(pattern).FindAllStringSubmatch(string(text), -1)
		if len(found) < 20 {
			t.Fatalf("%s: only %d texts found: the search is broken", file, len(found))
		}
		for _, f := range found {
			if said := strings.ReplaceAll(f[1]+strings.TrimSuffix(f[2], ","), `\'`, "'"); said != f[3] {
				out = append(out, said)
			}
		}
	}
	return out
}

// onlyGerman checks that no English text is on the page, neither as a text nor as a name, hint or placeholder.
func (p *page) onlyGerman(name string, english []string) {
	p.t.Helper()
	p.is(name+": the page says that it is German", `document.documentElement.lang === 'de'`)
	list, err := json.Marshal(english)
	if err != nil {
		p.t.Fatal(err)
	}
	found := js[[]string](p, `((texts) => {
		const said = new Set()
		const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT)
		for (let n = walk.nextNode(); n; n = walk.nextNode())
			if (!n.parentElement.closest('code, pre, script, noscript, [lang="en"]')) said.add(n.data.trim())
		for (const e of document.querySelectorAll('[aria-label], [placeholder], [title], [alt]'))
			for (const a of ['aria-label', 'placeholder', 'title', 'alt']) said.add((e.getAttribute(a) ?? '').trim())
		const found = texts.filter(t => {
			const parts = t.split(/\{\d\}/)
			if (parts.length === 1) return said.has(t)
			const own = parts.join('').replace(/[^A-Za-z]/g, '')
			if (own.length < 4) return false
			const like = new RegExp('^' + parts.map(x => x.replace(/[.*+?^${}()|[\]\\]/g, '\\$&')).join('.+') + '$')
			return [...said].some(s => like.test(s))
		})
		return found
	})(`+string(list)+`)`)
	for _, f := range found {
		p.t.Errorf("%s: %q is English", name, f)
	}
}

// TestGerman: a browser that prefers German gets the main pages of every role in German alone; what a person chooses is kept.
func TestGerman(t *testing.T) {
	s := newStage(t)
	now := time.Now()
	s.say("oxi-a-1", now.Add(-2*time.Hour), archive.Clock{}, beat(66, 98)...)
	s.say("oxi-a-1", now, archive.Clock{}, vitals.Checked(vitals.HeartRate, 70, vitals.Questionable), vitals.Absent(vitals.SpO2, vitals.Motion))
	s.say("oxi-a-2", now.Add(-time.Minute), archive.Clock{}, beat(66, 98)...)
	words := english(t)
	p := s.open("", "de-DE", 1440)
	p.do(chromedp.Navigate(s.url), chromedp.WaitVisible(testid("signin-form")))
	p.onlyGerman("sign-in", words)
	for _, x := range []struct {
		login string
		pages []string
	}{
		{"nurse", []string{"/", "/patient/" + s.patients["a-1"], "/account", "/patient/" + s.patients["b-1"]}},
		{"doctor", []string{"/", "/approvals"}}, {"ada", []string{"/"}}, {"staff", []string{"/"}},
		{"auditor", []string{"/", "/reviews", "/explain"}}, {"admin", []string{"/", "/people", "/approvals"}},
	} {
		p.do(chromedp.SendKeys(testid("login"), x.login), chromedp.SendKeys(testid("password"), password), chromedp.Click(testid("signin")),
			chromedp.WaitVisible(testid("who")))
		for _, path := range x.pages {
			p.do(chromedp.Navigate(s.url+path), chromedp.WaitVisible(testid("who")))
			p.await(x.login+" "+path, `document.querySelector('main').innerText.trim().length > 10 && !/Wird geladen|werden geladen|Wird geöffnet/.test(document.querySelector('main').innerText)`)
			p.shot("de-" + x.login + strings.ReplaceAll(path, "/", "-"))
			p.onlyGerman(x.login+" "+path, words)
		}
		p.do(chromedp.Click(testid("signout")), chromedp.WaitVisible(testid("signin-form")))
	}
	p.do(chromedp.Click(testid("lang-en")), chromedp.WaitVisible(chromedp.CSS(`[data-testid="lang-en"][aria-pressed="true"]`))) // the page is loaded anew
	p.do(chromedp.Navigate(s.url+"/account"), chromedp.WaitVisible(testid("signin-form")))
	p.is("English, once it is chosen", `document.documentElement.lang === 'en' && document.body.innerText.includes('Sign in to see the beds in your care.')`)
}
