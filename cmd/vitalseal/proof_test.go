package main_test

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/chromedp/chromedp"
)

// lyingHub stands between a browser and the workstation's address, and changes what the hub says of its audit log.
type lyingHub struct {
	url string

	mu     sync.Mutex // guards what follows
	change func(map[string]any)
	kept   []byte // an honest answer
	replay bool
}

func newLyingHub(t *testing.T, d *demo) *lyingHub {
	t.Helper()
	target, err := url.Parse(d.url())
	if err != nil {
		t.Fatal(err)
	}
	l := &lyingHub{}
	proxy := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(target)
			r.Out.Host = target.Host
			r.Out.Header.Del("Accept-Encoding")
			if r.Out.Header.Get("Origin") != "" {
				r.Out.Header.Set("Origin", d.url())
			}
		},
		ModifyResponse: func(r *http.Response) error {
			if r.Request.URL.Path != "/api/admin/audit/proven" || r.StatusCode != http.StatusOK {
				return nil
			}
			b, err := io.ReadAll(r.Body)
			if err != nil {
				return err
			}
			if b, err = l.answer(b); err != nil {
				return err
			}
			r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(b)), int64(len(b))
			r.Header.Set("Content-Length", strconv.Itoa(len(b)))
			return nil
		},
	}
	server := httptest.NewServer(proxy)
	t.Cleanup(server.Close)
	l.url = server.URL
	return l
}

func (l *lyingHub) answer(b []byte) ([]byte, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.replay {
		return l.kept, nil
	}
	if l.change == nil {
		l.kept = b
		return b, nil
	}
	var m map[string]any
	if err := json.Unmarshal(b, &m); err != nil {
		return nil, err
	}
	l.change(m)
	return json.Marshal(m)
}

func (l *lyingHub) lies(change func(map[string]any), replay bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.change, l.replay = change, replay
}

// testProof lets an auditor look at an honest hub, then at one that changes an entry, cuts the end off, and shows the log of some time ago; the page
// says each time what it found, and does not forget it.
func testProof(t *testing.T, d *demo) {
	hub := newLyingHub(t, d)
	auditor := d.newPerson(t, "auditor", nil)
	p := openBrowser(t, hub.url)
	p.signIn(auditor.signIn)
	p.ownPassword(d, auditor)
	state := func(want string) string {
		return `document.querySelector('[data-testid="proof"]')?.dataset.state === '` + want + `'`
	}
	failed := func(what string) string {
		return state("failed") + ` && document.querySelector('[data-testid="proof"]').dataset.what === '` + what + `' && document.querySelector('[data-testid="proof"]').role === 'alert'`
	}
	says := func(text string) string {
		return `document.querySelector('[data-testid="proof"]').innerText.includes('` + text + `')`
	}
	reload := chromedp.Reload()

	p.await("the proof", state("proven"))
	p.is("the entries", `document.querySelectorAll('[data-testid="audit"] tbody tr').length > 5`)
	p.is("what was proven", says("none was changed, left out or cut off")+` && `+says("vitalseal connect"))
	p.shot("audit-proven")
	p.do(reload)
	p.await("the proof against what the browser saw", state("proven")+` && `+says("that this browser saw before")+` && `+says("own program (vitalseal connect) has seen"))
	p.do(chromedp.EmulateViewport(390, 844))
	p.is("nothing wider than a telephone", `document.documentElement.scrollWidth <= 390`)
	p.shot("audit-proven-390")
	p.do(chromedp.EmulateViewport(1440, 900))

	lines := func(m map[string]any) []any { return m["entries"].([]any) }
	hub.lies(func(m map[string]any) {
		all := lines(m)
		all[len(all)-2] = strings.Replace(all[len(all)-2].(string), `"role":"`, `"role":"x`, 1)
	}, false)
	p.do(reload)
	p.await("a changed entry in red", failed("entries"))
	p.is("what to do", says("Tell the security officer now"))
	p.shot("audit-changed")
	p.do(chromedp.EmulateViewport(390, 844))
	p.is("nothing wider than a telephone", `document.documentElement.scrollWidth <= 390`)
	p.shot("audit-changed-390")
	p.do(chromedp.EmulateViewport(1440, 900))

	hub.lies(func(m map[string]any) { m["entries"] = lines(m)[:len(lines(m))-1] }, false)
	p.do(reload)
	p.await("a cut end in red", failed("entries"))

	// An honest answer, kept; then another, which the browser remembers; then the first again: rightly signed, and older.
	hub.lies(nil, false)
	p.do(reload)
	p.await("proven again, and the failure not forgotten", state("proven")+` && !!document.querySelector('[data-testid="proof-before"]')`)
	hub.mu.Lock()
	old := hub.kept
	hub.mu.Unlock()
	d.newPerson(t, "staff", nil) // an act: looks that repeat themselves are one entry
	p.do(reload)
	p.await("a later state", state("proven"))
	hub.mu.Lock()
	hub.kept = old
	hub.mu.Unlock()
	hub.lies(nil, true)
	p.do(reload)
	p.await("the log of before in red", failed("browser"))
	p.shot("audit-cut")

	hub.lies(nil, false)
	p.do(reload)
	p.await("the note", `!!document.querySelector('[data-testid="proof-reported"]')`)
	p.do(chromedp.Focus(testid("proof-reported")), chromedp.SendKeys(testid("proof-reported"), "\r"))
	p.await("the note taken away by the keyboard", `!document.querySelector('[data-testid="proof-before"]')`)

	js[string](p, `document.documentElement.lang = 'de'`)
	p.await("German", `document.querySelector('[data-testid="proof"]').innerText.includes('In diesem Browser bewiesen')`)
	p.shot("audit-german")
}
