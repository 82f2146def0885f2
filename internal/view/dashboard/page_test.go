package dashboard_test

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
)

// patience is how long a test waits for the page.
const patience = 90 * time.Second

// underRace is set in a build with the race detector.
var underRace bool

// page is one tab of a real browser.
type page struct {
	t   *testing.T
	ctx context.Context
	url string
}

func openBrowser(t *testing.T, url string, extra ...chromedp.ExecAllocatorOption) *page {
	t.Helper()
	if underRace {
		t.Fatal("a browser under the race detector takes minutes for nothing: add this test to UNRACED in the Makefile")
	}
	exe := ""
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if found, err := exec.LookPath(name); err == nil {
			exe = found
			break
		}
	}
	switch {
	case exe != "":
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

// shot keeps a picture of the page in $VITALSEAL_SHOTS, for people to look at.
func (p *page) shot(name string) {
	dir := os.Getenv("VITALSEAL_SHOTS")
	if dir == "" {
		return
	}
	b, err := chromedp.Run(p.ctx, chromedp.FullScreenshot(100))
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, name+".png"), b, 0o600)
	}
	if err != nil {
		p.t.Error(err)
	}
}
