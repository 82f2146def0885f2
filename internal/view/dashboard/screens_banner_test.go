package dashboard_test

import (
	"strconv"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"vitalseal/internal/hub/access"
	"vitalseal/internal/hub/directory"
)

// bannerStays: what must be known about security comes while a person works, and moves nothing: the banner has its place from the first
// moment on, and keeps what stands in it from page to page.
func (s *stage) bannerStays(t *testing.T) {
	s.t = t
	const top = `Math.round(document.querySelector('main h1').getBoundingClientRect().top)`
	for i, x := range []struct {
		login, language string
		width           int
		link, page      string
	}{{"auditor", "en", 1280, "page-approvals", "/approvals"}, {"admin", "de", 390, "page-people", "/people"}} {
		p := s.open(x.login, x.language, x.width)
		p.do(chromedp.WaitVisible(testid("security")))
		p.await("the page", `!!document.querySelector('main h1')`)
		before := js[int](p, top)
		// The events that are there come, and one more.
		if err := s.store.NoteSecurity(t.Context(), directory.SecurityEvent{Kind: access.EventGuessing, Place: spiffe("workstation/late-" + x.login), Detail: "20 wrong proofs of identity", Last: time.Now().Add(time.Duration(i))}); err != nil {
			t.Fatal(err)
		}
		late := `[...document.querySelectorAll('[data-testid="security-guessing"]')].some(e => e.innerText.includes('late-` + x.login + `'))`
		p.await("the event", late)
		if after := js[int](p, top); after != before {
			t.Errorf("%s: the page moved from %d to %d when an event came", x.login, before, after)
		}
		p.fits("banner-" + x.login + "-" + x.language)
		// Another page, at which the hub does not answer about security: what was known stays, and the next page begins below it.
		js[bool](p, `(() => { const real = window.fetch; window.fetch = (to, how) => String(to).endsWith('/api/security') ? new Promise(() => {}) : real(to, how); return true })()`)
		p.do(chromedp.Click(testid(x.link)))
		p.await("the other page", `location.pathname === '`+x.page+`' && !!document.querySelector('main h1')`)
		p.is("the event is still there", late)
		// Show all, by the keyboard, and again less.
		p.do(chromedp.Focus(testid("security-all")))
		p.do(chromedp.KeyEvent("\r"))
		p.await("all of it", `document.querySelector('[data-testid="security-all"]').getAttribute('aria-expanded') === 'true'`)
		p.fits("banner-all-" + x.login + "-" + x.language)
		if x.language == "de" {
			p.onlyGerman("banner", english(t))
		}
		p.do(chromedp.KeyEvent("\r"))
		p.await("its place again", `document.querySelector('[data-testid="security-all"]').getAttribute('aria-expanded') === 'false'`)
	}
	nurse := s.open("nurse", "en", 1280)
	nurse.do(chromedp.WaitVisible(testid("bed-a-1")))
	nurse.is("no banner for a nurse", `document.querySelector('[data-testid="security"]') === null`)
}

// widths: no page of any role is wider than a tablet, in the language of the longer words too.
func (s *stage) widths(t *testing.T) {
	s.t = t
	for _, x := range []struct {
		login string
		pages []string
	}{
		{"admin", []string{"/", "/people", "/quotas", "/approvals", "/explain"}}, {"auditor", []string{"/", "/reviews", "/approvals", "/explain"}},
		{"nurse", []string{"/", "/sensors", "/account", "/patient/" + s.patients["a-1"]}}, {"doctor", []string{"/", "/approvals"}}, {"staff", []string{"/", "/sensors", "/approvals"}},
	} {
		p := s.open(x.login, "de", 1000)
		p.do(chromedp.WaitVisible(testid("who")))
		for _, path := range x.pages {
			p.do(chromedp.Navigate(s.url+path), chromedp.WaitVisible(testid("who")))
			p.await(path, `document.querySelector('main').innerText.trim().length > 10 && !/Wird geladen|werden geladen|Wird geöffnet/.test(document.querySelector('main').innerText)`)
			for w := 700; w <= 1000; w += 20 {
				p.do(chromedp.EmulateViewport(int64(w), 900))
				p.await("the width", `window.innerWidth === `+strconv.Itoa(w))
				if got := js[int](p, `document.documentElement.scrollWidth`); got > w {
					t.Errorf("%s of %s is %d px wide at %d px", path, x.login, got, w)
					p.shot("wide-" + x.login + "-" + strconv.Itoa(w))
				}
			}
			if path == "/" {
				p.do(chromedp.EmulateViewport(780, 900))
				p.shot("header-780-" + x.login)
			}
		}
	}
}
