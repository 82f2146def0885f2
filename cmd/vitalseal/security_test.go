package main_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"testing"

	"github.com/chromedp/chromedp"
)

// testSecurity: guessed passwords stand on the auditor's page with where, since when and what to do, are acknowledged by the keyboard
// alone, and come back when it goes on; what concerns a bed is on its tile.
func testSecurity(t *testing.T, d *demo) {
	w := d.ward(t)
	victim := d.newPerson(t, "staff", nil)
	guess := func(n int) {
		t.Helper()
		for i := range n {
			body, err := json.Marshal(map[string]string{"login": victim.Login, "password": fmt.Sprintf("guess number %d", i)})
			if err != nil {
				t.Fatal(err)
			}
			r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, d.url()+"/api/session", bytes.NewReader(body))
			if err != nil {
				t.Fatal(err)
			}
			r.Header.Set("Content-Type", "application/json")
			r.Header.Set("X-Vitalseal-Request", "1")
			a, err := http.DefaultClient.Do(r)
			if err != nil {
				t.Fatal(err)
			}
			_ = a.Body.Close()
			if a.StatusCode != http.StatusUnauthorized && a.StatusCode != http.StatusTooManyRequests {
				t.Fatalf("a guess is answered %d", a.StatusCode)
			}
		}
	}
	guess(5)
	auditor := d.newPerson(t, "auditor", nil)
	p := openBrowser(t, d.url())
	p.signIn(auditor.signIn)
	p.ownPassword(d, auditor)
	const line = `document.querySelector('[data-testid="security-guessing"]')`
	p.await("the event", `!!`+line)
	p.is("what, whom, where, since when, what to do", `/being guessed/.test(`+line+`.innerText) && /New staff/.test(`+line+`.innerText) &&
		/workstation /.test(`+line+`.innerText) && /since 20\d\d-/.test(`+line+`.innerText) && /Ask the person/.test(`+line+`.innerText)`)
	p.is("no login in it", fmt.Sprintf(`!%s.innerText.includes(%q)`, line, victim.Login))
	p.axe()
	p.shot("security")
	p.narrow("security-390")
	p.german(`document.querySelector('[data-testid="security-guessing"]').innerText.includes('werden geraten')`)
	p.shot("security-de")

	js[any](p, `(document.querySelector('[data-testid="security-seen-guessing"]').focus(), null)`)
	p.do(chromedp.KeyEvent("\r"))
	p.await("the event gone", `!`+line)
	entries := []struct {
		Reason  string
		Allowed bool
	}{}
	found := false
	firstSignInAt(t, d.url(), d.newPerson(t, "auditor", nil).signIn, &d.secrets).get("/api/admin/audit?n=50", &entries)
	for _, e := range entries {
		found = found || e.Allowed && len(e.Reason) > 0 && bytes.Contains([]byte(e.Reason), []byte("acknowledge security event guessing"))
	}
	if !found {
		t.Errorf("no entry of the acknowledgement among %d", len(entries))
	}

	nurse := openBrowser(t, d.url())
	nurse.signIn(w.signIn(t, "nurse"))
	nurse.await("the tiles", `!!document.querySelector('[data-testid="bed-a-1"]')`)
	nurse.is("no banner for a nurse", `document.querySelector('[data-testid="security"]') === null`)
	// The demo's sensors are honest, so what the hub says of one is put into its mouth.
	js[any](nurse, `(() => {
		const real = window.fetch
		window.fetch = (to, how) => real(to, how).then(async (r) => String(to).endsWith('/api/security') ? new Response(JSON.stringify({ ...(await r.json()),
			events: [{ id: 'se-1', kind: 'nonce-reused', place: 'spiffe://d/sensor/x', person: '', detail: '', first: new Date().toISOString(), last: new Date().toISOString(), times: 1, lasts: false,
				beds: [{ bed: 'a-1', bed_name: 'Bed A-1', ward: 'a', ward_name: 'A' }] }] }), { status: 200 }) : r)
		return null
	})()`)
	nurse.await("the line on its tile", `/Another content/.test(document.querySelector('[data-testid="bed-security-a-1"]')?.innerText ?? '')`)
	nurse.is("on no other tile", `document.querySelectorAll('[data-testid^="bed-security-"]').length === 1`)
	nurse.is("no doubt about the audit log", `document.querySelector('[data-testid="security-audit-alarm"]') === null`)
	nurse.axe()
	nurse.shot("security-tile")
}

// narrow keeps a picture at 390 pixels, and fails if the page is wider than that.
func (p *page) narrow(name string) {
	p.t.Helper()
	p.do(chromedp.EmulateViewport(390, 844))
	p.await("a page of 390 pixels", `window.innerWidth === 390`)
	p.is("nothing is wider than the screen", `document.documentElement.scrollWidth <= 390`)
	p.shot(name)
	p.do(chromedp.EmulateViewport(1440, 900))
	p.await("a wide page", `window.innerWidth === 1440`)
}

// german has the page speak German, and awaits what it then says.
func (p *page) german(expression string) {
	p.t.Helper()
	js[any](p, `(document.documentElement.lang = 'de', null)`)
	p.await("the text in German", expression)
}

// axe fails on what axe-core finds wrong with the page, where $VITALSEAL_AXE names its axe.min.js.
func (p *page) axe() {
	p.t.Helper()
	file := os.Getenv("VITALSEAL_AXE")
	if file == "" {
		return
	}
	source, err := os.ReadFile(file)
	if err != nil {
		p.t.Fatal(err)
	}
	js[any](p, string(source)+`;null`)
	for _, found := range js[[]string](p, `axe.run(document, { runOnly: ['wcag2a', 'wcag2aa', 'wcag21aa', 'best-practice'] }).then(r =>
		r.violations.map(v => v.id + ': ' + v.nodes.map(n => n.target.join(' ')).join(', ')))`, chromedp.EvalAwaitPromise) {
		p.t.Errorf("axe: %s", found)
	}
}
