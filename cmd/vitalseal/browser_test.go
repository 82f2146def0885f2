package main_test

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
)

// testBrowser signs in as each kind of person, in a real browser.
func testBrowser(t *testing.T, d *demo) {
	w := d.ward(t)
	t.Run("doctor", func(t *testing.T) {
		p := openBrowser(t, d.url())
		p.signIn(w.signIn(t, "doctor"))
		p.await("four beds", `document.querySelectorAll('[data-testid^="bed-"]').length === 4`)
		p.await("live numbers on every tile", `document.querySelectorAll('[data-testid^="bed-"] [data-testid="hr"][data-state="live"]').length === 4 &&
			document.querySelectorAll('[data-testid^="bed-"] [data-testid="spo2"][data-state="live"]').length === 4`)
		p.between("heart rate", `parseFloat(document.querySelector('[data-testid="bed-a-1"] [data-testid="hr-value"]').textContent)`, 40, 140)
		p.between("SpO2", `parseFloat(document.querySelector('[data-testid="bed-a-1"] [data-testid="spo2-value"]').textContent)`, 85, 100)

		p.do(chromedp.Click(testid("bed-a-1")))
		p.await("the patient page", fmt.Sprintf(`location.pathname === '/patient/%s' && !!document.querySelector('[data-testid="monitor"]')`, w.Patients[0].ID))
		p.waveMoves()
		p.between("heart rate", `parseFloat(document.querySelector('[data-testid="monitor"] [data-testid="hr-value"]').textContent)`, 40, 140)
		// A minute's trend is there while it grows; the page asks again each minute.
		p.await("the last hour's heart rate", `/^Heart rate, bpm: [0-9]/.test(document.querySelector('[data-testid="trends"] [role="img"]')?.ariaLabel ?? '')`)

		p.do(chromedp.Click(testid("back")), chromedp.WaitVisible(testid("bed-b-2")))
		p.do(chromedp.Click(testid("signout")), chromedp.WaitVisible(testid("signin-form")))
		p.is("an empty page after signing out", `document.querySelector('[data-testid^="bed-"], canvas') === null`)
		status := js[int](p, `fetch('/api/beds').then(r => r.status)`, chromedp.EvalAwaitPromise)
		if status != http.StatusUnauthorized {
			t.Errorf("beds after signing out: status %d", status)
		}
	})
	t.Run("nurse", func(t *testing.T) {
		p := openBrowser(t, d.url())
		p.signIn(w.signIn(t, "nurse"))
		p.await("live numbers", `document.querySelectorAll('[data-testid="hr"][data-state="live"]').length === 2`)
		beds := js[[]string](p, `[...document.querySelectorAll('[data-testid^="bed-"]')].map(e => e.dataset.testid)`)
		if strings.Join(beds, " ") != "bed-a-1 bed-a-2" {
			t.Errorf("a nurse of ward a sees %q", beds)
		}
	})
	t.Run("patient", func(t *testing.T) {
		p := openBrowser(t, d.url())
		p.signIn(w.signIn(t, "patient"))
		p.await("the own page", `!!document.querySelector('[data-testid="monitor"] [data-testid="hr"][data-state="live"]')`)
		p.is("no list of beds", `document.querySelector('[data-testid^="bed-"]') === null`)
		other := w.Patients[1].ID
		before := refusals(t, d, other)
		p.do(chromedp.Navigate(d.url()+"/patient/"+other), chromedp.WaitVisible(testid("refused")))
		p.is("nothing of the other patient", `document.querySelector('[data-testid="monitor"], canvas') === null`)
		if after := refusals(t, d, other); after <= before {
			t.Errorf("the audit log holds %d refusals on the other patient, %d before the attempt", after, before)
		}
	})
	t.Run("wrong password", func(t *testing.T) {
		p := openBrowser(t, d.url())
		p.signIn(signIn{Login: "doctor", Password: "not the password"})
		p.await("the refusal", `document.querySelector('[data-testid="signin-failed"]').textContent.trim() !== ''`)
		p.is("still the sign-in page", `!!document.querySelector('[data-testid="signin-form"]') && document.querySelector('[data-testid^="bed-"]') === null`)
	})
}

// refusals counts what the audit log holds against role patient on one patient, as an auditor reads it.
func refusals(t *testing.T, d *demo, patient string) (n int) {
	t.Helper()
	admin := d.as(t, "admin")
	var made signIn
	login := fmt.Sprintf("auditor-%d", time.Now().UnixNano())
	admin.post("/api/admin/persons", map[string]string{"login": login, "display_name": "Auditor", "role": "auditor"}, &made)
	d.secrets.add("password of the auditor", made.Password)
	var entries []struct {
		Role, Action, Patient, Reason string
		Allowed                       bool
		Policies                      []string
	}
	firstSignInAt(t, d.url(), made, &d.secrets).get("/api/admin/audit?n=1000", &entries)
	for _, e := range entries {
		if !e.Allowed && e.Role == "patient" && e.Patient == patient && e.Action == "patient:view" {
			n++
		}
	}
	return n
}

// page is one tab of a browser of its own, which ends with the test. A script error on the page fails the test, and so
// does what the content security policy had to stop.
type page struct {
	t   *testing.T
	ctx context.Context
	url string
}

func openBrowser(t *testing.T, url string, extra ...chromedp.ExecAllocatorOption) *page {
	t.Helper()
	exe := ""
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if found, err := exec.LookPath(name); err == nil {
			exe = found
			break
		}
	}
	switch {
	case exe != "":
	case os.Getenv("VITALSEAL_BIN") != "":
		t.Fatal("no Chromium in PATH\nhint: `make deps` installs it")
	default:
		t.Skip("no Chromium in PATH; `make test` installs it")
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(exe), chromedp.NoSandbox, chromedp.DisableGPU,
		chromedp.Flag("disable-quic", true), chromedp.Flag("disable-component-update", true),
		chromedp.UserDataDir(t.TempDir()), chromedp.WindowSize(1440, 900))
	allocated, end := chromedp.NewExecAllocator(context.Background(), append(options, extra...)...)
	t.Cleanup(end)
	ctx, closeTab := chromedp.NewContext(allocated)
	p := &page{t, ctx, url}
	p.do(chromedp.Navigate("about:blank")) // starts the browser, in its own time
	var wrong []string
	messages, listened := chromedp.Console(ctx), make(chan struct{})
	go func() {
		defer close(listened)
		for m, err := range messages {
			if err != nil {
				return
			}
			if m.IsException() || m.Source == "security" {
				wrong = append(wrong, m.String())
			}
		}
	}()
	t.Cleanup(func() {
		if t.Failed() {
			text, err := chromedp.Run(ctx, chromedp.Evaluate[string](`location.pathname + '\n' + document.body.innerText`))
			t.Logf("the page (%v): %s", err, text)
		}
		closeTab()
		<-listened
		for _, m := range wrong {
			t.Errorf("the page's console: %s", m)
		}
	})
	return p
}

func testid(id string) chromedp.CSS { return chromedp.CSS(`[data-testid="` + id + `"]`) }

func (p *page) do(steps ...chromedp.Action[chromedp.Void]) {
	p.t.Helper()
	ctx := p.ctx
	if chromedp.FromContext(ctx).Target != nil { // a time limit on the first call would be the browser's
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, patience)
		defer cancel()
	}
	if err := chromedp.Do(ctx, steps...); err != nil {
		p.t.Fatal(err)
	}
}

func js[T any](p *page, expression string, o ...chromedp.EvaluateOption) T {
	p.t.Helper()
	v, err := chromedp.Run(p.ctx, chromedp.Evaluate[T](expression, o...))
	if err != nil {
		p.t.Fatalf("%s: %v", expression, err)
	}
	return v
}

func (p *page) signIn(s signIn) {
	p.t.Helper()
	p.do(chromedp.Navigate(p.url), chromedp.WaitVisible(testid("signin-form")), chromedp.SendKeys(testid("login"), s.Login),
		chromedp.SendKeys(testid("password"), s.Password), chromedp.Click(testid("signin")))
}

// await polls in the page until the expression is true.
func (p *page) await(what, expression string) {
	p.t.Helper()
	// What the expression looks at may be off the page for a moment, while it fetches: then it is not so yet.
	expression = `(() => { try { return !!(` + expression + `) } catch (e) { if (e instanceof TypeError) return false; throw e } })()`
	if _, err := chromedp.Run(p.ctx, chromedp.Poll[bool](expression, chromedp.WithPollingInterval(50*time.Millisecond), chromedp.WithPollingTimeout(patience))); err != nil {
		p.t.Fatalf("waited for %s: %v", what, err)
	}
}

func (p *page) is(what, expression string, o ...chromedp.EvaluateOption) {
	p.t.Helper()
	if !js[bool](p, expression, o...) {
		p.t.Errorf("not so: %s", what)
	}
}

func (p *page) between(what, expression string, low, high float64) {
	p.t.Helper()
	if v := js[float64](p, expression); !(v >= low && v <= high) {
		p.t.Errorf("%s %v is not within %v to %v", what, v, low, high)
	}
}

// waveMoves waits until the canvas has shown three different pictures, none of them empty.
func (p *page) waveMoves() {
	p.t.Helper()
	p.await("a moving wave", `(() => {
		const c = document.querySelector('[data-testid="wave"]')
		const lit = c.width > 0 && c.getContext('2d').getImageData(0, 0, c.width, c.height).data.some(v => v > 0)
		if (!lit) return false
		const seen = window.seenWaves ??= new Set()
		seen.add(c.toDataURL())
		return seen.size >= 3
	})()`)
}
