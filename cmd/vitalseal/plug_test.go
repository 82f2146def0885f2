package main_test

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
)

// testPulledPlugs stops a gateway and then the hub, as a pulled plug would: what was a number must not go on looking
// like one. Both come back.
func testPulledPlugs(t *testing.T, d *demo) {
	w := d.ward(t)
	p := openBrowser(t, d.url())
	p.signIn(w.signIn(t, "doctor"))
	const (
		live  = `[data-testid="hr"][data-state="live"]`
		wardA = `document.querySelectorAll('[data-testid^="bed-a-"] ` + live + `').length`
		wardB = `document.querySelectorAll('[data-testid^="bed-b-"] ` + live + `').length`
	)
	p.await("live numbers on both wards", wardA+` === 2 && `+wardB+` === 2`)

	gateway := d.part(t, filepath.Join("gw-b1", "gateway.yaml"))
	signal(t, gateway, syscall.SIGSTOP)
	p.await("no live number from a gateway that is silent", wardB+` === 0`)
	p.is("the age of what is shown", `/no data for \d+ s/i.test(document.querySelector('[data-testid="bed-b-1"]').innerText)`)
	p.is("the other ward goes on", wardA+` === 2`)
	p.await("beds without data beside the connection", `document.querySelector('[data-testid="beds-live"]').textContent === '2 of 4 patients with live numbers' &&
		document.querySelector('[data-testid="link"]').textContent === 'Connection live'`)
	p.shot("silent-gateway")
	signal(t, gateway, syscall.SIGCONT)
	p.await("live numbers again", wardB+` === 2`)

	hub := d.part(t, "hub.yaml")
	signal(t, hub, syscall.SIGSTOP)
	p.await("the lost connection", `!!document.querySelector('[data-testid="lost"]') && `+wardA+` === 0 && `+wardB+` === 0`)
	p.is("one text for it everywhere", `(since => !!since && document.querySelector('[data-testid="bed-b-1"] [data-testid="bed-line"]').innerText.startsWith(since) &&
		document.querySelector('[data-testid="link"]').textContent === 'Hub not reached')(document.querySelector('[data-testid="lost"] strong').innerText)`)
	p.shot("silent-hub")
	// What is opened or reloaded now must come up by itself afterwards.
	opened, wall := openBrowser(t, d.url()), openBrowser(t, d.url())
	for away, address := range map[*page]string{opened: d.url(), wall: d.url() + "/display", p: d.url()} {
		away.do(chromedp.Navigate(address))
		away.comes("a page that says that the hub is away", `/^The hub is not reached since [0-9:]+\.$/m.test(document.body.innerText) && document.body.innerText.includes('No number here is live. That says nothing about the patients. Look at the bedside.')`)
	}
	wall.shot("hub-away")
	signal(t, hub, syscall.SIGCONT)
	opened.comes("the sign-in after the hub came back", `!!document.querySelector('[data-testid="signin-form"]')`)
	wall.comes("the wall's own page after the hub came back", `!!document.querySelector('[data-testid="wall"]')`)
	p.comes("live numbers after the hub came back", wardA+` === 2 && `+wardB+` === 2 && !document.querySelector('[data-testid="lost"]')`)
	p.is("every bed is counted", `document.querySelector('[data-testid="beds-live"]').textContent === '4 of 4 patients with live numbers' && document.querySelector('[data-testid="link"]').textContent === 'Connection live'`)
}

// comes waits as await does, on a page that replaces itself: what is asked in between two pages fails, and is asked again.
func (p *page) comes(what, expression string) {
	p.t.Helper()
	for began := time.Now(); ; time.Sleep(100 * time.Millisecond) {
		there, err := chromedp.Run(p.ctx, chromedp.Evaluate[bool](expression))
		if err == nil && there {
			return
		}
		if time.Since(began) > patience {
			p.t.Fatalf("waited for %s: %v", what, err)
		}
	}
}

// part finds the process of the demo whose command line names file.
func (d *demo) part(t *testing.T, file string) int {
	t.Helper()
	for _, line := range processes(t, d.dir) {
		path, command, _ := strings.Cut(line, ": ")
		if !strings.Contains(command, " "+filepath.Join(d.dir, file)) {
			continue
		}
		pid, err := strconv.Atoi(filepath.Base(path))
		if err != nil {
			t.Fatal(err)
		}
		return pid
	}
	t.Fatalf("no process for %s", file)
	return 0
}

func signal(t *testing.T, pid int, s syscall.Signal) {
	t.Helper()
	if err := syscall.Kill(pid, s); err != nil {
		t.Fatal(err)
	}
	if s == syscall.SIGSTOP {
		t.Cleanup(func() { _ = syscall.Kill(pid, syscall.SIGCONT) }) // whatever fails in between
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
