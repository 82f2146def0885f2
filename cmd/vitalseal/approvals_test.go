package main_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
)

// testApprovals is two real persons, each signed in at a browser: an administrator switches approvals on, asks for a new nurse and may
// not approve that; an auditor approves it, and both halves of the password together let the nurse in; what is refused says why. At the
// end one administrator alone is enough again, by two persons.
func testApprovals(t *testing.T, d *demo) {
	w := d.ward(t)
	// Two who could approve from now on: the auditor below, and one of the staff.
	firstSignInAt(t, d.url(), d.newPerson(t, "staff", nil).signIn, &d.secrets)
	auditor := d.newPerson(t, "auditor", nil)
	b := openBrowser(t, d.url())
	b.signIn(auditor.signIn)
	b.ownPassword(d, auditor)
	a := openBrowser(t, d.url())
	a.signIn(w.signIn(t, "admin"))
	a.do(chromedp.WaitVisible(testid("two-persons-on")))
	a.is("who could approve", fmt.Sprintf(`document.querySelector('[data-testid="one-person"]').innerText.includes(%q)`, auditor.Login))
	a.axe()
	a.shot("one-person")
	a.do(chromedp.Click(testid("two-persons-on")))
	a.await("two persons from now on", `document.querySelector('[data-testid="one-person"]') === null`)

	ask := func(login string) string {
		t.Helper()
		a.do(chromedp.Click(testid("page-people")), chromedp.WaitVisible(testid("add-person")))
		// By the keyboard: a banner that comes a moment after the page moves what a pointer aims at.
		js[any](a, `(document.querySelector('[data-testid="add-person"]').focus(), null)`)
		a.do(chromedp.KeyEvent("\r"), chromedp.WaitVisible(testid("new-login")), chromedp.SendKeys(testid("new-login"), login), chromedp.SendKeys(testid("new-name"), "Nina Neu"),
			chromedp.WaitVisible(testid("pick-ward-a")), chromedp.Click(testid("pick-ward-a")), chromedp.Click(testid("person-save")),
			chromedp.WaitVisible(testid("first-half")))
		half := js[string](a, `document.querySelector('[data-testid="first-half"]').textContent`)
		d.secrets.add("first half of a password", half)
		a.is("that nothing has changed yet, and who could approve", fmt.Sprintf(`/Nothing has changed yet/.test(document.querySelector('[data-testid="asked"]').innerText) &&
			document.querySelector('[data-testid="asked"]').innerText.includes(%q)`, auditor.Login))
		a.do(chromedp.Click(testid("asked-kept")))
		return half
	}
	login := strings.Replace(auditor.Login, "auditor", "nina", 1)
	first := ask(login)
	a.do(chromedp.Click(testid("page-approvals")), chromedp.WaitVisible(testid("approval")))
	a.is("no button for one's own request, and why", `!document.querySelector('[data-testid="approve"]') && /You asked for this/.test(document.querySelector('[data-testid="approval"]').innerText)`)
	a.shot("approvals-own")
	a.is("nor a way around the page", `fetch('/api/admin/approvals').then(r => r.json()).then(l => fetch('/api/admin/approvals/' + l.find(x => x.outcome === 'waiting').id + '/approve',
		{ method: 'POST', headers: { 'Content-Type': 'application/json', 'X-Vitalseal-Request': '1' }, body: '{}' })).then(r => r.status === 403)`, chromedp.EvalAwaitPromise)

	b.do(chromedp.Click(testid("page-approvals")), chromedp.WaitVisible(testid("approve")))
	b.is("exactly what it will change", fmt.Sprintf(`(t => t.includes('"Nina Neu" (login %s) a nurse') && t.includes('ward-a is the ward Cardiology'))(document.querySelector('[data-testid="approval"]').innerText)`, login))
	b.axe()
	b.shot("approvals")
	b.narrow("approvals-390")
	js[any](b, `(document.querySelector('[data-testid="approve"]').focus(), null)`)
	b.do(chromedp.KeyEvent("\r"), chromedp.WaitVisible(testid("second-half")))
	second := js[string](b, `document.querySelector('[data-testid="second-half"]').textContent`)
	d.secrets.add("second half of a password", second)
	b.shot("approved")
	b.do(chromedp.Click(testid("approved-kept")), chromedp.WaitVisible(testid("no-approvals")))
	a.await("the requester's page says so by itself", `/approved and carried out by New auditor/.test(document.querySelector('[data-testid="approvals-over"]')?.innerText ?? '')`)

	n := openBrowser(t, d.url())
	made := person{signIn: signIn{Login: login, Password: first + "-" + second}}
	n.signIn(made.signIn)
	n.ownPassword(d, made)
	n.do(chromedp.WaitVisible(testid("bed-a-1")))

	ask(login + "-2")
	b.do(chromedp.WaitVisible(testid("refuse")), chromedp.Click(testid("refuse")), chromedp.WaitVisible(testid("refuse-reason")),
		chromedp.SendKeys(testid("refuse-reason"), "not known on the ward"))
	b.german(`true`)
	b.do(chromedp.Click(testid("refuse-now")), chromedp.WaitVisible(testid("no-approvals")))
	b.await("German", `/abgelehnt von New auditor/.test(document.querySelector('[data-testid="approvals-over"]').innerText) && /Freigaben/.test(document.querySelector('h1').innerText)`)
	b.shot("approvals-de")
	a.do(chromedp.Click(testid("page-approvals")))
	a.await("why it was refused", `/refused by New auditor: not known on the ward/.test(document.querySelector('[data-testid="approvals-over"]')?.innerText ?? '')`)

	admin := d.as(t, "admin")
	var off struct{ Waiting struct{ ID string } }
	if err := admin.Do(t.Context(), http.MethodPut, "/api/admin/two-persons", map[string]bool{"on": false}, &off); err != nil || off.Waiting.ID == "" {
		t.Fatalf("%+v, %v", off, err)
	}
	b.do(chromedp.WaitVisible(testid("approve")), chromedp.Click(testid("approve")), chromedp.WaitVisible(testid("no-approvals")))
	a.do(chromedp.WaitVisible(testid("one-person")))
}
