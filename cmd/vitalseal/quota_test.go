package main_test

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
)

// testQuotas: an administrator sees what is used and sets a limit, by keyboard alone, on a phone and in German; the command line
// shows the same and takes it back.
func testQuotas(t *testing.T, d *demo) {
	w := d.ward(t)
	p := openBrowser(t, d.url())
	p.signIn(w.signIn(t, "admin"))
	p.do(chromedp.WaitVisible(testid("page-quotas")), chromedp.Click(testid("page-quotas")), chromedp.WaitVisible(testid("quota-persons")))
	nurse := w.signIn(t, "nurse").Login
	change := `[data-testid="quota-` + nurse + `"]`
	p.await("the login in place of the id", `!!document.querySelector('`+change+`')`)
	p.shot("quotas")
	js[any](p, `(document.querySelector('`+change+`').focus(), null)`)
	p.do(chromedp.SendKeys(chromedp.CSS(change), "\r"), chromedp.WaitVisible(testid("quota")))
	p.is("the dialog has the focus", `document.querySelector('[data-testid="quota"]').contains(document.activeElement)`)
	typed := func(text string) { // in place of what is there
		t.Helper()
		js[any](p, `(document.querySelector("#quota-limit").select(), null)`)
		p.do(chromedp.SendKeys(chromedp.CSS("#quota-limit"), text))
	}
	typed("many\r")
	p.await("what is no number is refused in words", `document.querySelector('[data-testid="quota-failed"]').textContent.includes('whole number')`)
	typed("5000")
	p.shot("quota-change")
	p.do(chromedp.SendKeys(chromedp.CSS("#quota-limit"), "\r"))
	p.await("it is said", `document.querySelector('[data-testid="quotas-done"]').textContent.includes('5,000')`)
	row := `document.querySelector('` + change + `').closest('tr').innerText`
	p.await("it is shown", row+`.includes('5,000') && `+row+`.includes('set here')`)

	p.do(chromedp.EmulateViewport(390, 844, chromedp.EmulateScale(1)))
	js[any](p, `(document.documentElement.lang = 'de', null)`)
	p.do(chromedp.Click(testid("page-people")), chromedp.WaitVisible(testid("people")), chromedp.Click(testid("page-quotas")), chromedp.WaitVisible(testid("quota-persons")))
	p.await("German", `document.body.innerText.includes('Kontingente') && document.body.innerText.includes('5.000 hier gesetzt')`)
	p.is("no wider than a phone", `document.documentElement.scrollWidth <= 390`)
	p.shot("quotas-390")
	js[any](p, `(document.querySelector('`+change+`').click(), null)`)
	p.do(chromedp.WaitVisible(testid("quota-default")))
	p.shot("quota-change-390")

	cli := func(args ...string) string {
		t.Helper()
		c := exec.Command(vitalseal(t), append(append([]string{"quota"}, args...), "--url", d.url(), "--login", w.Admin.Login)...)
		c.Env = append(os.Environ(), "VITALSEAL_PASSWORD="+w.Admin.Password)
		out, err := c.CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %v\n%s", args, err, out)
		}
		return string(out)
	}
	line := func() string {
		t.Helper()
		for l := range strings.Lines(cli("show")) {
			if strings.HasPrefix(l, nurse+" ") {
				return l
			}
		}
		t.Fatal("the nurse is not shown")
		return ""
	}
	if l := line(); !strings.Contains(l, "/5000 (set)") {
		t.Errorf("%q", l)
	}
	if out := cli("set", "person", nurse, "entries", "0"); !strings.Contains(out, "configuration's limit again") {
		t.Errorf("%q", out)
	}
	if l := line(); strings.Contains(l, "(set)") {
		t.Errorf("%q", l)
	}
}
