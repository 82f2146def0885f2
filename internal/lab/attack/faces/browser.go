package faces

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/coder/websocket"

	"vitalseal/internal/lab/attack"
	"vitalseal/internal/lab/weaken"
)

// browserNames are what Chromium is called.
var browserNames = []string{"chromium", "chromium-browser", "google-chrome"}

func findBrowser() (string, error) {
	for _, name := range browserNames {
		if path, err := exec.LookPath(name); err == nil {
			return path, nil
		}
	}
	return "", errors.New("no Chromium in PATH")
}

func browserPossible() error {
	_, err := findBrowser()
	return err
}

// browser is a real Chromium with one page, spoken to over its DevTools protocol
// (https://chromedevtools.github.io/devtools-protocol).
type browser struct {
	conn    *websocket.Conn
	session string
	serial  int
}

// openBrowser starts one without a window. It ends with the target.
func openBrowser(ctx context.Context, t *attack.Target) (*browser, error) {
	exe, err := findBrowser()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp(t.Dir, "browser-")
	if err != nil {
		return nil, err
	}
	// #nosec G204 -- a browser of this machine, with arguments made here
	cmd := exec.CommandContext(context.WithoutCancel(ctx), exe, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
		"--disable-background-networking", "--disable-component-update", "--disable-sync", "--remote-debugging-port=0", "--user-data-dir="+dir, "about:blank")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	t.AtEnd(func() error {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) // with all its processes
		_ = cmd.Wait()
		return os.RemoveAll(dir)
	})
	var address string
	if err := attack.Await(ctx, func() error { address, err = devTools(filepath.Join(dir, "DevToolsActivePort")); return err }); err != nil {
		return nil, err
	}
	//nolint:bodyclose // the library closes it, or has replaced it by one that needs no closing
	conn, _, err := websocket.Dial(ctx, address, nil)
	if err != nil {
		return nil, err
	}
	conn.SetReadLimit(8 << 20)
	t.AtEnd(conn.CloseNow)
	b := &browser{conn: conn}
	var made struct {
		TargetID string `json:"targetId"`
	}
	if err := b.call(ctx, "Target.createTarget", map[string]any{"url": "about:blank"}, &made); err != nil {
		return nil, err
	}
	var attached struct {
		SessionID string `json:"sessionId"`
	}
	err = b.call(ctx, "Target.attachToTarget", map[string]any{"targetId": made.TargetID, "flatten": true}, &attached)
	b.session = attached.SessionID
	return b, err
}

// devTools reads where a browser listens: the port and the path, a line each.
func devTools(file string) (string, error) {
	f, err := os.Open(file) // #nosec G304 -- in our own folder
	if err != nil {
		return "", err
	}
	defer f.Close()
	var lines []string
	for s := bufio.NewScanner(f); s.Scan(); {
		lines = append(lines, s.Text())
	}
	if len(lines) < 2 {
		return "", errors.New("the browser does not say where it listens")
	}
	return "ws://127.0.0.1:" + lines[0] + lines[1], nil
}

// call calls a method of the protocol and waits for its answer.
func (b *browser) call(ctx context.Context, method string, params map[string]any, out any) error {
	b.serial++
	id := b.serial
	ask := map[string]any{"id": id, "method": method, "params": params}
	if b.session != "" {
		ask["sessionId"] = b.session
	}
	raw, err := json.Marshal(ask)
	if err != nil {
		return err
	}
	if err := b.conn.Write(ctx, websocket.MessageText, raw); err != nil {
		return err
	}
	for { // events come between
		_, raw, err := b.conn.Read(ctx)
		if err != nil {
			return err
		}
		var got struct {
			ID     int             `json:"id"`
			Result json.RawMessage `json:"result"`
			Error  *struct {
				Message string `json:"message"`
			} `json:"error"`
		}
		if err := json.Unmarshal(raw, &got); err != nil {
			return err
		}
		switch {
		case got.ID != id:
			continue
		case got.Error != nil:
			return fmt.Errorf("%s: %s", method, got.Error.Message)
		case out == nil:
			return nil
		}
		return json.Unmarshal(got.Result, out)
	}
}

// eval evaluates an expression in the page, and waits for a promise.
func (b *browser) eval(ctx context.Context, expression string, out any) error {
	var got struct {
		Result struct {
			Value json.RawMessage `json:"value"`
		} `json:"result"`
		Exception *struct {
			Text string `json:"text"`
		} `json:"exceptionDetails"`
	}
	if err := b.call(ctx, "Runtime.evaluate", map[string]any{"expression": expression, "awaitPromise": true, "returnByValue": true}, &got); err != nil {
		return err
	}
	if got.Exception != nil {
		return fmt.Errorf("the page: %s", got.Exception.Text)
	}
	return json.Unmarshal(got.Result.Value, out)
}

// errNotShown says that a page has not become what was waited for.
var errNotShown = errors.New("attack: the page is another")

// open opens an address and waits until an expression is true there.
func (b *browser) open(ctx context.Context, address, until string) error {
	if err := b.call(ctx, "Page.navigate", map[string]any{"url": address}, nil); err != nil {
		return err
	}
	// A call that is cancelled ends the connection to the browser: only the waiting between calls
	// is bounded here.
	waiting, cancel := context.WithTimeout(ctx, 15*time.Second)
	defer cancel()
	return attack.Await(waiting, func() error {
		var there bool
		if err := b.eval(ctx, until, &there); err != nil {
			return err
		}
		if !there {
			return fmt.Errorf("%s does not show it: %w", address, errNotShown)
		}
		return nil
	})
}

// signInAt signs a person in at the page's own address, as the page does.
func (b *browser) signInAt(ctx context.Context, base string, who attack.Login) error {
	if err := b.open(ctx, base+"/", `document.readyState === 'complete' && location.protocol !== 'about:'`); err != nil {
		return err
	}
	body, err := json.Marshal(map[string]string{"login": who.Login, "password": who.Password})
	if err != nil {
		return err
	}
	var status int
	if err := b.eval(ctx, fmt.Sprintf(`fetch('/api/session', {method: 'POST', headers: {'Content-Type': 'application/json', 'X-Vitalseal-Request': '1'}, body: %q}).then(r => r.status)`, body), &status); err != nil {
		return err
	}
	if status != 200 {
		return fmt.Errorf("the sign-in in the browser: %d", status)
	}
	return nil
}

// active is markup that says so in the page if it runs, in the three ways in which text becomes a
// program.
func active(mark string) string {
	return `<img src=x onerror="window.` + mark + `=1"><svg onload="window.` + mark + `=1"></svg><script>window.` + mark + `=1</script>`
}

// Browser are the attacks that only a real browser can judge.
func Browser() []attack.Attack {
	return []attack.Attack{{ID: "http-xss-browser", Threat: "run a script in a colleague's browser", Position: "a user who may fill in a text field",
		Does: "markup that runs is the name of a ward, a bed, a patient and a person; the pages that show those names are opened in a real browser", Expected: "the markup stands there as text, and nothing ran",
		Right: attack.Reads("text on 3 pages, nothing ran"), Control: weaken.None, Needs: browserPossible, Run: xssInBrowser}}
}

func xssInBrowser(ctx context.Context, t *attack.Target) (attack.Result, error) {
	admin, err := t.As(ctx, "admin")
	if err != nil {
		return attack.Result{}, err
	}
	id := t.Name("xb")
	text := active(id)
	for _, r := range []attack.Request{
		{Method: "POST", Path: "/api/admin/wards", Body: map[string]any{"id": id, "name": text}},
		{Method: "POST", Path: "/api/admin/beds", Body: map[string]any{"id": id + "-1", "ward": id, "name": text}},
		{Method: "POST", Path: "/api/admin/patients", Body: map[string]any{"name": text, "bed": id + "-1", "meant": true}},
	} {
		r.Bearer = admin.Access
		if a, err := t.Front().Send(ctx, r); err != nil || !a.OK() {
			return attack.Result{}, fmt.Errorf("%s took no markup: %s, %w", r.Path, a, err)
		}
	}
	_, nurse, err := t.Person(ctx, "nurse", map[string]any{"display_name": text, "wards": []string{id}})
	if err != nil {
		return attack.Result{}, err
	}
	b, err := openBrowser(ctx, t)
	if err != nil {
		return attack.Result{}, err
	}
	shown := 0
	look := func(path string) (ran bool, err error) {
		if err := b.open(ctx, t.Base+path, fmt.Sprintf(`document.body.innerText.includes(%q)`, text)); err != nil {
			return false, err
		}
		shown++
		err = b.eval(ctx, fmt.Sprintf(`window.%s !== undefined || document.querySelector('img[src="x"], svg[onload]') !== null`, id), &ran)
		return ran, err
	}
	for _, at := range []struct {
		who   attack.Login
		paths []string
	}{{nurse, []string{"/", "/account"}}, {t.Ward.Admin, []string{"/people"}}} {
		if err := b.signInAt(ctx, t.Base, at.who); err != nil {
			return attack.Result{}, err
		}
		for _, path := range at.paths {
			ran, err := look(path)
			if err != nil {
				return attack.Result{}, err
			}
			if ran {
				return attack.Through("the markup became part of the page", "%s", path)
			}
		}
	}
	return attack.RefusedWith(attack.Word("text on %d pages, nothing ran", shown), "shown as text", "%s", strings.Join([]string{"/", "/account", "/people"}, " "))
}
