package dashboard_test

import (
	"sync/atomic"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"vitalseal/internal/hub/archive"
	"vitalseal/internal/hub/directory"
)

// TestSteppedScreens: a workstation whose clock is set by hours, and one that slept. What is old is
// never live meanwhile, ages are by the hub's time, and a screen is live again by itself.
func TestSteppedScreens(t *testing.T) {
	s := newStage(t)
	if err := s.store.CreateDevice(t.Context(), directory.Device{ID: spiffe("workstation/wall"), Kind: "workstation", State: directory.DeviceActive, Mode: directory.ModeDisplay, Wards: []string{"a"}}); err != nil {
		t.Fatal(err)
	}
	s.bedded("a-61", "Wanda Uhr")
	s.sensor("oxi-a-61", "MAX30100", "a-61", time.Now().Add(-30*time.Hour))
	var silent atomic.Bool
	s.eachSecond(func(int) {
		if !silent.Load() {
			s.say("oxi-a-61", time.Now(), archive.Clock{}, beat(70, 97)...)
		}
	})
	p := s.open("", "en", 1280)
	road := newSlowRoad(t, s.url)
	p.url = road.url
	p.do(chromedp.Navigate(p.url), chromedp.WaitVisible(testid("signin-form")), chromedp.SendKeys(testid("login"), "nurse"),
		chromedp.SendKeys(testid("password"), password), chromedp.Click(testid("signin")))
	tile := `document.querySelector('[data-testid="bed-a-61"]')`
	live := tile + `?.className.includes('tile-live') && document.querySelector('[data-testid="link"]').dataset.link === 'live'`
	p.await("a live tile", live)
	// stepped sets the workstation's clock, and awaits that the page says meanwhile that it does not
	// know the time, and is live again by itself.
	stepped := func(q *page, hours, state, unsure, live string) {
		t.Helper()
		js[bool](q, `((real) => { window.real = real; window.unsure = 0
			new MutationObserver(() => { if (`+state+` === '`+unsure+`') window.unsure++ }).observe(document.body, {subtree: true, childList: true, attributes: true, characterData: true})
			Date.now = () => real() + `+hours+` * 3600e3; return true })(window.real ?? Date.now.bind(Date))`)
		q.await("nothing is live while the time is not known, after "+hours+" hours", `window.unsure > 0`)
		q.await("live again by itself, after "+hours+" hours", live)
		q.await("its clock is the hub's, after "+hours+" hours", `(([h, m, s]) => { const d = new Date(window.real()); const off = Math.abs((h * 3600 + m * 60 + s) - (d.getHours() * 3600 + d.getMinutes() * 60 + d.getSeconds()))
			return Math.min(off, 86400 - off) <= 2 })(document.querySelector('.clock').innerText.split(':').map(Number))`)
	}
	stepped(p, "-3", `document.querySelector('[data-testid="link"]')?.dataset.link`, "connecting", live) // three hours on are as an hour of sleep: the session is over
	p.await("ages are right", `/^[0-4] s ago$/.test(`+tile+`.querySelector('[data-testid="age"]').innerText)`)
	w := s.open("", "en", 1280)
	bed := `document.querySelector('[data-testid="wall-Bett a-61"]')?.dataset.state === 'live'`
	w.do(chromedp.Navigate(s.wallURL + "/display"))
	w.await("a live bed on the wall", bed)
	for _, hours := range []string{"3", "-3"} {
		stepped(w, hours, `document.querySelector('[data-testid="wall"]')?.dataset.state`, "late", bed)
	}
	w.fits("stepped-wall-en")

	js[bool](p, `(Date.now = window.real, true)`)
	p.await("live", live)

	// Twenty minutes of sleep: the hub's clock and the workstation's have gone on, the steady one has not,
	// and the sensor has fallen silent. For three seconds nothing comes from the hub.
	silent.Store(true)
	road.delay.Store(int64(3 * time.Second))
	s.ahead.Store(int64(20 * time.Minute))
	js[bool](p, `(window.wasLive = 0, Date.now = () => window.real() + 1200e3, new MutationObserver(() => { if (`+tile+`.className.includes('tile-live')) window.wasLive++ })
		.observe(`+tile+`, {subtree: true, childList: true, attributes: true, characterData: true}), true)`)
	p.await("the age is that of the hub's time", tile+`.querySelector('[data-testid="age"]').innerText === 'connection late' &&
		/^not known: the connection to the hub is late; last heard [0-9:]+$/.test(`+tile+`.querySelector('[data-testid="hr"] .number-note').innerText)`)
	road.delay.Store(0)
	p.await("the hub is heard again, and the silent sensor named", `document.querySelector('[data-testid="link"]').dataset.link === 'live' && document.querySelector('[data-testid="beds-live"]').dataset.beds === 'none' && `+tile+`.querySelector('[data-testid="age"]').innerText === 'Oximeter oxi-a-61: no data for 20 min'`)
	p.is("no number of before the sleep was live after it", `window.wasLive === 0`)
	p.fits("stepped-slept-en")
}
