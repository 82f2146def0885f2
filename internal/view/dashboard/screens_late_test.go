package dashboard_test

import (
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"vitalseal/internal/hub/archive"
	"vitalseal/internal/hub/directory"
)

// slowRoad is a router between a browser and the hub that delays what the hub says, and not what
// the browser says.
type slowRoad struct {
	url   string
	delay atomic.Int64 // of the hub's bytes, in ns
}

// newSlowRoad makes one to the hub's address.
func newSlowRoad(t *testing.T, hub string) *slowRoad {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(l.Addr().String())
	s := &slowRoad{url: "http://localhost:" + port}
	over := make(chan struct{})
	var running sync.WaitGroup
	running.Go(func() {
		for {
			browser, err := l.Accept()
			if err != nil {
				return
			}
			running.Go(func() { s.carry(browser, strings.TrimPrefix(hub, "http://"), over) })
		}
	})
	t.Cleanup(func() { close(over); _ = l.Close(); running.Wait() })
	return s
}

// carry carries one connection's bytes until it ends.
func (s *slowRoad) carry(browser net.Conn, hub string, over <-chan struct{}) {
	server, err := net.Dial("tcp", hub)
	if err != nil {
		_ = browser.Close()
		return
	}
	type piece struct {
		b   []byte
		due time.Time
	}
	pieces, ended := make(chan piece, 1<<16), make(chan struct{})
	var both sync.WaitGroup
	both.Go(func() { // closes the pair when the test ends or one side does
		select {
		case <-over:
		case <-ended:
		}
		_, _ = browser.Close(), server.Close()
	})
	both.Go(func() { _, _ = io.Copy(server, browser); _ = server.Close() })
	both.Go(func() {
		defer close(pieces)
		for {
			b := make([]byte, 32<<10)
			n, err := server.Read(b)
			if err != nil {
				return
			}
			pieces <- piece{b[:n], time.Now().Add(time.Duration(s.delay.Load()))}
		}
	})
	func() {
		defer close(ended)
		for p := range pieces {
			select {
			case <-time.After(time.Until(p.due)):
			case <-over:
				return
			}
			if _, err := browser.Write(p.b); err != nil {
				return
			}
		}
	}()
	for range pieces { // the reader must not wait for room
	}
	both.Wait()
}

// TestLateScreens: a router delays what the hub says, more and more, or from the beginning. The
// screens say so; what is old is never live.
func TestLateScreens(t *testing.T) {
	s := newStage(t)
	if err := s.store.CreateDevice(t.Context(), directory.Device{ID: spiffe("workstation/wall"), Kind: "workstation", State: directory.DeviceActive, Mode: directory.ModeDisplay, Wards: []string{"a"}}); err != nil {
		t.Fatal(err)
	}
	s.bedded("a-41", "Nora Spät")
	s.sensor("oxi-a-41", "MAX30100", "a-41", time.Now().Add(-30*time.Hour))
	s.eachSecond(func(int) { s.say("oxi-a-41", time.Now(), archive.Clock{}, beat(70, 97)...) })
	tile := `document.querySelector('[data-testid="bed-a-41"]')`

	p := s.open("", "de", 1280)
	road := newSlowRoad(t, s.url)
	p.url = road.url
	p.do(chromedp.Navigate(p.url), chromedp.WaitVisible(testid("signin-form")), chromedp.SendKeys(testid("login"), "nurse"),
		chromedp.SendKeys(testid("password"), password), chromedp.Click(testid("signin")))
	p.await("a live tile", tile+`?.className.includes('tile-live')`)
	p.is("no word of a late connection", `!document.querySelector('[data-testid="late"]')`)

	// The delay grows slower than time: messages never pause for long. Each step is awaited on the
	// page: another alive message came.
	began := time.Now()
	grown := make(chan struct{})
	go func() {
		defer close(grown)
		tick := time.NewTicker(50 * time.Millisecond)
		defer tick.Stop()
		for d := time.Duration(0); d < 12*time.Second; {
			select {
			case <-tick.C:
				d = time.Since(began) * 7 / 10
				road.delay.Store(int64(d))
			case <-t.Context().Done():
				return
			}
		}
	}()
	t.Cleanup(func() { <-grown })
	p.await("the page says that the connection is late", `/^.*Die Verbindung zum Hub ist [0-9]+ s im Rückstand\./.test(document.querySelector('[data-testid="late"]')?.innerText.replaceAll('\n', ' '))`)
	p.is("the tile is not live", tile+`.className.includes('tile-stale')`)
	p.is("nothing says that it is", `document.querySelector('[data-testid="link"]').dataset.link === 'late' && !document.querySelector('.tile-live')`)
	p.fits("late-station-de")
	// From here on nothing may look live, whatever comes.
	js[bool](p, `(window.wasLive = 0, new MutationObserver(() => { if (document.querySelector('.tile-live')) window.wasLive++ }).observe(document.body, {subtree: true, childList: true, attributes: true, characterData: true}), true)`)
	<-grown
	p.await("the delay is said as it has grown", `(n => n >= 11 && n <= 16)(Number(/ist ([0-9]+) s/.exec(document.querySelector('[data-testid="late"]')?.innerText)?.[1]))`)
	p.is("no tile was live meanwhile", `window.wasLive === 0`)

	// A page that is opened when everything is late already has no time to compare with but how
	// long its own requests take.
	road.delay.Store(int64(4 * time.Second))
	p.do(chromedp.Navigate(p.url))
	p.await("the page opens late", tile+`?.innerText.includes('97') && !!document.querySelector('[data-testid="late"]')`)
	p.is("its tile is not live", `!document.querySelector('.tile-live')`)
	road.delay.Store(0)
	p.await("live again by itself once nothing is late", tile+`?.className.includes('tile-live') && !document.querySelector('[data-testid="late"]')`)

	wall := newSlowRoad(t, s.wallURL)
	w := s.open("", "en", 1280)
	bed := `document.querySelector('[data-testid="wall-Bett a-41"]')`
	w.do(chromedp.Navigate(wall.url + "/display"))
	w.await("a live bed on the wall", bed+`?.dataset.state === 'live'`)
	wall.delay.Store(int64(7 * time.Second))
	w.await("the wall says that it is late", bed+`?.dataset.state === 'stale' && /The connection to the hub is [0-9]+ s late\./.test(document.body.innerText)`)
	js[bool](w, `(window.wasLive = 0, window.seen = new Set(), new MutationObserver(() => { if (`+bed+`?.dataset.state === 'live') window.wasLive++; window.seen.add(performance.getEntriesByName(location.origin + '/api/display').length) }).observe(document.body, {subtree: true, childList: true, attributes: true, characterData: true}), true)`)
	w.await("two more answers that took 7 s", `window.seen.size > 2`)
	w.is("none of them was shown as live", `window.wasLive === 0`)
	w.fits("late-wall-en")
	wall.delay.Store(0)
	w.await("live again on the wall", bed+`?.dataset.state === 'live' && !document.querySelector('[data-testid="late"]')`)
}
