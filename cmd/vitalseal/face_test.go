package main_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/webauthn"
	"github.com/chromedp/chromedp"
	"github.com/pquerna/otp/totp"
)

// testFaces is what people do with their identities, in a real browser: first passwords, second factors, passkeys,
// emergencies, and a wall screen without a sign-in.
func testFaces(t *testing.T, d *demo, wall string) {
	w := d.ward(t)
	t.Run("second factor", func(t *testing.T) {
		once := d.newPerson(t, "staff", nil)
		p := openBrowser(t, d.url())
		p.signIn(once.signIn)
		s := p.ownPassword(d, once)
		p.do(chromedp.WaitVisible(testid("beds")), chromedp.Click(testid("who")), chromedp.WaitVisible(testid("factors")),
			chromedp.Click(testid("add-totp")), chromedp.WaitVisible(testid("totp-secret")))
		p.await("the QR code", `!!document.querySelector('[data-testid="qr"] path')`)
		secret := js[string](p, `document.querySelector('[data-testid="totp-secret"]').textContent.trim()`)
		d.secrets.add("TOTP secret", secret)
		now := time.Now()
		p.do(chromedp.SendKeys(testid("totp-code"), codeAt(t, secret, now)), chromedp.Click(testid("totp-confirm")), chromedp.WaitVisible(testid("recovery-codes")))
		codes := js[[]string](p, `[...document.querySelectorAll('[data-testid="recovery-codes"] code')].map(e => e.textContent)`)
		if len(codes) != 10 {
			t.Fatalf("recovery codes: %q", codes)
		}
		for _, c := range codes {
			d.secrets.add("recovery code", c)
		}
		p.do(chromedp.Click(testid("recovery-kept")), chromedp.WaitVisible(testid("factor-totp")))
		p.shot("account")

		p.signOut()
		p.signIn(s)
		p.do(chromedp.WaitVisible(testid("prove-totp")))
		p.is("nothing before the second factor", `document.querySelector('[data-testid="beds"]') === null`)
		p.do(chromedp.SendKeys(testid("prove-totp"), codeAt(t, secret, now)), chromedp.Click(testid("prove")))
		p.await("a used code is refused", `document.querySelector('[data-testid="prove-failed"]').textContent.trim() !== ''`)
		later := now.Add(30 * time.Second) // the next code is good already, unless all of this took so long that it is over
		if n := time.Now(); n.After(later) {
			later = n
		}
		p.do(chromedp.SendKeys(testid("prove-totp"), codeAt(t, secret, later)), chromedp.Click(testid("prove")), chromedp.WaitVisible(testid("beds")))

		p.signOut()
		p.signIn(s)
		p.do(chromedp.WaitVisible(testid("other-recovery")), chromedp.Click(testid("other-recovery")),
			chromedp.SendKeys(testid("prove-recovery"), codes[0]), chromedp.Click(testid("prove")), chromedp.WaitVisible(testid("beds")))
	})
	t.Run("passkey", func(t *testing.T) {
		once := d.newPerson(t, "staff", nil)
		_, port, _ := strings.Cut(d.listen, ":")
		p := openBrowser(t, "http://vitalseal.localhost:"+port)
		_, err := chromedp.Run(p.ctx, func(ctx context.Context, tab *chromedp.Target) (chromedp.Void, error) {
			if _, err := cdp.Call(ctx, tab, webauthn.Enable, webauthn.EnableParams{}); err != nil {
				return chromedp.Void{}, err
			}
			_, err := cdp.Call(ctx, tab, webauthn.AddVirtualAuthenticator, webauthn.AddVirtualAuthenticatorParams{
				Options: &webauthn.VirtualAuthenticatorOptions{Protocol: webauthn.AuthenticatorProtocolCtap2,
					Transport: webauthn.AuthenticatorTransportInternal, HasResidentKey: true, HasUserVerification: true,
					IsUserVerified: true, AutomaticPresenceSimulation: true}})
			return chromedp.Void{}, err
		})
		if err != nil {
			t.Fatal(err)
		}
		p.signIn(once.signIn)
		p.ownPassword(d, once)
		p.do(chromedp.WaitVisible(testid("beds")), chromedp.Click(testid("who")), chromedp.WaitVisible(testid("add-passkey")),
			chromedp.SendKeys(testid("passkey-name"), "desk"), chromedp.Click(testid("add-passkey")), chromedp.WaitVisible(testid("factor-passkey")))
		p.signOut()
		p.do(chromedp.WaitVisible(testid("signin-passkey")), chromedp.Click(testid("signin-passkey")), chromedp.WaitVisible(testid("beds")))
		p.is("the person of the passkey", fmt.Sprintf(`document.querySelector('[data-testid="who"]').textContent.includes(%q)`, "New staff"))
	})
	t.Run("passkeys elsewhere", func(t *testing.T) {
		p := openBrowser(t, d.url())
		p.do(chromedp.Navigate(p.url), chromedp.WaitVisible(testid("signin-form")), chromedp.WaitVisible(testid("passkey-hint")))
		p.is("no button that could not work", `document.querySelector('[data-testid="signin-passkey"]') === null`)
		p.do(chromedp.Click(testid("passkey-hint")+" a"), chromedp.WaitVisible(testid("signin-passkey"))) // the same page, under the name that passkeys are bound to
	})
	t.Run("automatic sign-off", func(t *testing.T) {
		p := openBrowser(t, d.url())
		p.signIn(w.signIn(t, "nurse"))
		p.do(chromedp.WaitVisible(testid("bed-a-1")))
		unused := func(minutes float64) { // as if the screen had not been touched for so long
			t.Helper()
			js[any](p, fmt.Sprintf(`(localStorage.setItem('vitalseal.used', String(Date.now() - %f * 60_000)), null)`, minutes))
		}
		unused(28)
		p.do(chromedp.WaitVisible(testid("leaving")), chromedp.Click(testid("stay")))
		p.await("the warning gone", `document.querySelector('[data-testid="leaving"]') === null`)
		p.is("still signed in", `!!document.querySelector('[data-testid="bed-a-1"]')`)
		unused(31)
		p.do(chromedp.WaitVisible(testid("signin-form")))
		p.is("nothing of a patient", `document.querySelector('[data-testid^="bed-"], canvas') === null`)
		p.await("the session ended at the hub as well", `(window.ended ??= 0, fetch('/api/session').then(r => window.ended = r.status), window.ended === 401)`)
	})
	t.Run("emergency", func(t *testing.T) {
		colleague := openBrowser(t, d.url())
		colleague.signIn(w.signIn(t, "doctor")) // treats all patients
		colleague.do(chromedp.WaitVisible(testid("bed-b-1")))
		once := d.newPerson(t, "nurse", map[string]any{"wards": []string{"ward-a"}})
		p := openBrowser(t, d.url())
		p.signIn(once.signIn)
		own := p.ownPassword(d, once)
		p.do(chromedp.WaitVisible(testid("emergency")), chromedp.Click(testid("emergency")), chromedp.WaitVisible(testid("glass-bed-b-1")))
		p.is("only beds outside her care", `document.querySelector('[data-testid="glass-bed-a-1"]') === null`)
		p.is("no name in the list", `!document.querySelector('[data-testid="break-glass"]').innerText.includes('Novak')`)
		p.do(chromedp.Click(testid("glass-bed-b-1")), chromedp.SendKeys(testid("glass-reason"), "collapse in the corridor"))
		p.shot("emergency")
		// The proof of identity is minutes younger than it would have to be, so the hub's question for a fresh one is put into its
		// mouth; proof and repeated request are real.
		js[any](p, `(() => {
			const real = window.fetch
			let asked = false
			window.fetch = (to, how) => {
				if (asked || !String(to).endsWith('/break-glass')) return real(to, how)
				asked = true
				return Promise.resolve(new Response('{"error":"Prove again who you are.","step_up":true}', {status: 403}))
			}
			return null
		})()`)
		p.do(chromedp.Click(testid("glass-open")), chromedp.WaitVisible(testid("step-up")), chromedp.SendKeys(testid("prove-password"), "not it"),
			chromedp.Click(testid("prove")))
		p.await("the wrong password refused", `document.querySelector('[data-testid="prove-failed"]').textContent.trim() !== ''`)
		p.shot("step-up")
		p.do(chromedp.SendKeys(testid("prove-password"), own.Password), chromedp.Click(testid("prove")),
			chromedp.WaitVisible(testid("monitor")), chromedp.WaitVisible(testid("glass-mine")))
		p.await("live numbers", `!!document.querySelector('[data-testid="monitor"] [data-testid="hr"][data-state="live"]')`)
		left := `document.querySelector('[data-testid="glass-left"]').textContent`
		first := js[string](p, left)
		if !strings.HasPrefix(first, "14:") && first != "15:00" {
			t.Errorf("left of a quarter of an hour: %q", first)
		}
		p.await("a countdown", fmt.Sprintf(`%s !== %q`, left, first))
		colleague.do(chromedp.WaitVisible(testid("glass-other")))
		colleague.shot("emergency-of-another")

		auditor := d.newPerson(t, "auditor", nil)
		a := openBrowser(t, d.url())
		a.signIn(auditor.signIn)
		a.ownPassword(d, auditor)
		a.do(chromedp.WaitVisible(testid("audit")), chromedp.Click(testid("page-emergencies")), chromedp.WaitVisible(testid("review")))
		a.is("the reason", `document.querySelector('[data-testid="review"]').innerText.includes('collapse in the corridor')`)
		a.do(chromedp.SendKeys(testid("review-note"), "spoken with the ward"), chromedp.Click(testid("justified")), chromedp.WaitVisible(testid("no-reviews")))
		a.do(chromedp.Click(testid("page-explain")), chromedp.WaitVisible(testid("explain-ask")), chromedp.Click(testid("explain-ask")), chromedp.WaitVisible(testid("explained")))
	})
	t.Run("moved off the ward", func(t *testing.T) {
		once := d.newPerson(t, "nurse", map[string]any{"wards": []string{"ward-a"}})
		p := openBrowser(t, d.url())
		p.signIn(once.signIn)
		p.ownPassword(d, once)
		p.do(chromedp.WaitVisible(testid("bed-a-1")), chromedp.Click(testid("bed-a-1")), chromedp.WaitVisible(testid("monitor")))
		p.await("live numbers", `!!document.querySelector('[data-testid="monitor"] [data-testid="hr"][data-state="live"]')`)
		began := time.Now()
		if err := d.as(t, "admin").Do(context.Background(), http.MethodPut, "/api/admin/persons/"+once.ID+"/wards", map[string][]string{"wards": {}}, nil); err != nil {
			t.Fatal(err)
		}
		p.do(chromedp.WaitVisible(testid("refused")))
		t.Logf("off the screen %v after the request", time.Since(began).Round(time.Millisecond))
		p.is("nothing of the patient", `document.querySelector('[data-testid="monitor"], canvas') === null`)
		p.is("why, and what to do", `/no longer/.test(document.querySelector('[data-testid="refused"]').innerText)`)
		p.shot("moved-off-the-ward")
	})
	t.Run("consent", func(t *testing.T) {
		nurse := openBrowser(t, d.url())
		nurse.signIn(w.signIn(t, "nurse"))
		nurse.do(chromedp.WaitVisible(testid("bed-a-1")), chromedp.Click(testid("bed-a-1")), chromedp.WaitVisible(testid("monitor")))
		p := openBrowser(t, d.url())
		p.signIn(w.signIn(t, "patient"))
		p.do(chromedp.WaitVisible(testid("consent")))
		change := func(to string) {
			t.Helper()
			const find = `[...document.querySelectorAll('[data-testid="consent"] [role="switch"]')].find(e => e.ariaLabel.startsWith('Nurse'))`
			p.await("the switch", `!!`+find)
			js[any](p, find+`.click()`)
			p.await("it has switched", find+`.getAttribute('aria-checked') === '`+to+`'`)
		}
		change("false")
		nurse.do(chromedp.WaitVisible(testid("refused")))
		nurse.do(chromedp.Navigate(d.url()), chromedp.WaitVisible(testid("bed-a-1")))
		nurse.is("the bed without the patient", `!document.querySelector('[data-testid="bed-a-1"]').innerText.includes('Brandt')`)
		change("true")
	})
	t.Run("wall screen", func(t *testing.T) {
		p := openBrowser(t, wall)
		p.do(chromedp.Navigate(wall), chromedp.WaitVisible(testid("wall")))
		p.await("live beds", `document.querySelectorAll('[data-testid^="wall-"][data-state="live"]').length === 4`)
		p.is("no names", `!/Brandt|Novak|Okafor|Haddad/.test(document.body.innerText)`)
		p.is("no patient's id in what came", `fetch('/api/display').then(r => r.text()).then(t => !/p-[a-z0-9]{6}/.test(t))`, chromedp.EvalAwaitPromise)
		p.is("nothing else without a person", `fetch('/api/beds').then(r => r.status === 401)`, chromedp.EvalAwaitPromise)
		p.shot("wall")
		// A heart rate of ten minutes ago is none, however new the bed's saturation is; one of half a minute ago says so.
		for seconds, want := range map[int]string{600: "– –", 30: "old: "} {
			js[any](p, fmt.Sprintf(`{ const ask = window.honest ??= window.fetch; window.fetch = (to, how) => ask(to, how).then(async r => {
				if (!String(to).includes('/api/display')) return r
				const b = await r.json()
				for (const x of b.beds) if (x.numerics?.heart_rate_bpm) x.numerics.heart_rate_bpm.at = new Date(Date.parse(b.server_time) - %d000).toISOString()
				return new Response(JSON.stringify(b), { status: r.status, headers: r.headers }) }); null }`, seconds))
			p.await("heart rates of "+want, fmt.Sprintf(`[...document.querySelectorAll('[data-testid="wall-hr"]')].every(e => e.parentElement.innerText.includes(%q))`, want))
			p.is("saturations are live", `[...document.querySelectorAll('[data-testid="wall-spo2"]')].every(e => !e.parentElement.innerText.includes('old'))`)
		}
		desk := openBrowser(t, d.url())
		desk.do(chromedp.Navigate(d.url()+"/display"), chromedp.WaitVisible(testid("refused")))
	})
}

// person is a user who was just made, with a one-time password.
type person struct {
	ID string
	signIn
}

func (d *demo) newPerson(t *testing.T, role string, more map[string]any) person {
	t.Helper()
	body := map[string]any{"login": fmt.Sprintf("%s-%d", role, time.Now().UnixNano()), "display_name": "New " + role, "role": role}
	for k, v := range more {
		body[k] = v
	}
	var made person
	d.as(t, "admin").post("/api/admin/persons", body, &made)
	d.secrets.add("one-time password", made.Password)
	return made
}

// ownPassword goes through the form that stands before everything else after a first sign-in.
func (p *page) ownPassword(d *demo, s person) signIn {
	p.t.Helper()
	own := s.signIn
	own.Password = "chosen by " + s.Login
	d.secrets.add("own password", own.Password)
	p.do(chromedp.WaitVisible(testid("password-form")), chromedp.SendKeys(testid("old-password"), s.Password),
		chromedp.SendKeys(testid("new-password"), own.Password), chromedp.SendKeys(testid("again-password"), own.Password),
		chromedp.Click(testid("change-password")), chromedp.WaitVisible(testid("who")))
	return own
}

func (p *page) signOut() {
	p.t.Helper()
	p.do(chromedp.Click(testid("signout")), chromedp.WaitVisible(testid("signin-form")))
}

func codeAt(t *testing.T, secret string, at time.Time) string {
	t.Helper()
	code, err := totp.GenerateCode(secret, at)
	if err != nil {
		t.Fatal(err)
	}
	return code
}
