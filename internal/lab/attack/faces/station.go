package faces

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"syscall"
	"time"

	"vitalseal/internal/lab/attack"
	"vitalseal/internal/lab/weaken"
	"vitalseal/internal/workstation/client"
	"vitalseal/internal/workstation/connect"
)

// Stations are the attacks on a workstation's own address, from the same machine.
func Stations() []attack.Attack {
	return []attack.Attack{
		{ID: "station-other-user", Threat: "use a colleague's workstation address", Position: "another local user or program that cannot read connect.json",
			Does: "the loopback address of a workstation is asked without the launch secret, with a wrong one, and with a made-up cookie", Expected: "403", Right: attack.Answers(http.StatusForbidden), Control: weaken.LaunchSecret, Run: otherUser},
		{ID: "station-link-twice", Threat: "get in with a link from the history", Position: "an attacker who reads the browser's history or the terminal's scroll-back",
			Does: "a launch link is opened a second time, by another browser", Expected: "403", Right: attack.Answers(http.StatusForbidden), Control: weaken.LaunchSecret, Run: linkTwice},
		{ID: "station-uid", Threat: "use a colleague's workstation address", Position: "another operating-system user of the machine",
			Does: "a connection is made as another user (only where the suite runs as root)", Expected: "closed before a byte is read", Right: attack.Fails(io.EOF).Or(attack.Fails(syscall.ECONNRESET)), Control: weaken.PeerUser, Needs: otherPossible, Run: foreignUser},
		{ID: "station-flood", Threat: "keep the workstation's own people out", Position: "a program on the workstation", Does: "200 connections to the loopback address at once",
			Expected: "128 at most; after them, people are served again", Right: attack.Reads("128 of 200 kept"), Control: weaken.ClientBound, Run: doorFlood},
	}
}

// door is a workstation's address in this process, with TLS and a launch secret, that leads to the
// hub.
type door struct {
	*connect.Door
	file client.ConnectFile
	end  func()
}

func newDoor(ctx context.Context, t *attack.Target) (*door, error) {
	s, err := t.Mine(ctx)
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp(t.Dir, "door-")
	if err != nil {
		return nil, err
	}
	ln, err := connect.Listen("127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	d, err := connect.New(ln, connect.Config{Data: dir, Log: t.Log})
	if err != nil {
		return nil, errors.Join(err, ln.Close())
	}
	running, stop := context.WithCancel(context.WithoutCancel(ctx))
	ended := make(chan error, 1)
	go func() { ended <- d.Run(running, s.Endpoint) }()
	out := &door{Door: d, end: func() { stop(); <-ended }}
	if out.file, err = client.ReadConnectFile(dir + "/connect.json"); err != nil {
		out.end()
		return nil, err
	}
	return out, nil
}

// browser is a client that talks TLS to the workstation's address and verifies no certificate.
func (d *door) browser() attack.Site {
	return attack.Site{Base: d.file.URL, HTTP: &http.Client{Timeout: 15 * time.Second, CheckRedirect: attack.NoRedirect, Transport: &http.Transport{
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, network, d.file.Address)
		},
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS13}}}} // #nosec G402 -- the attacker does not care
}

// reached reports whether an answer came from the hub: it says 401 to a client that is not signed
// in.
func reached(a attack.Answer) bool { return a.Status == http.StatusUnauthorized || a.OK() }

func otherUser(ctx context.Context, t *attack.Target) (attack.Result, error) {
	d, err := newDoor(ctx, t)
	if err != nil {
		return attack.Result{}, err
	}
	defer d.end()
	own, err := d.browser().Send(ctx, attack.Request{Method: "GET", Path: "/api/session", Header: map[string]string{"X-Vitalseal-Launch": d.file.Secret}})
	if err != nil || !reached(own) {
		return attack.Result{}, fmt.Errorf("its own user: %s: %w", own, err)
	}
	var last attack.Answer
	var seen []attack.Seen
	for _, h := range []map[string]string{nil, {"X-Vitalseal-Launch": strings.Repeat("A", 26)}, {"Cookie": "__Host-vitalseal_launch_1=AAAA"}} {
		if last, err = d.browser().Send(ctx, attack.Request{Method: "GET", Path: "/api/session", Header: h}); err != nil {
			return attack.Result{}, err
		}
		if reached(last) {
			return attack.Through("carried to the hub", "%s", last)
		}
		seen = append(seen, attack.Status(last)...)
	}
	return attack.RefusedWith(seen, "refused at the door", "%s", last)
}

func linkTwice(ctx context.Context, t *attack.Target) (attack.Result, error) {
	d, err := newDoor(ctx, t)
	if err != nil {
		return attack.Result{}, err
	}
	defer d.end()
	path := strings.TrimPrefix(d.LaunchURL(), d.URL())
	first, err := d.browser().Send(ctx, attack.Request{Method: "GET", Path: path})
	if err != nil || first.Status != http.StatusSeeOther {
		return attack.Result{}, fmt.Errorf("the first time: %s: %w", first, err)
	}
	again, err := d.browser().Send(ctx, attack.Request{Method: "GET", Path: path})
	if err != nil {
		return attack.Result{}, err
	}
	cookie, _, _ := strings.Cut(again.Header.Get("Set-Cookie"), ";")
	then, err := d.browser().Send(ctx, attack.Request{Method: "GET", Path: "/api/session", Header: map[string]string{"Cookie": cookie}})
	if err != nil {
		return attack.Result{}, err
	}
	return attack.Judge(cookie != "" || reached(then), attack.Status(again, then), "let in again", "refused", "the link: %d; then: %d", again.Status, then.Status)
}

// foreignUser connects as another user where this process may become one.
func foreignUser(ctx context.Context, t *attack.Target) (attack.Result, error) {
	d, err := newDoor(ctx, t)
	if err != nil {
		return attack.Result{}, err
	}
	defer d.end()
	c, err := dialAsOther(ctx, d.file.Address)
	if err != nil {
		return attack.Result{}, err
	}
	defer func() { _ = c.Close() }()
	_ = c.SetDeadline(time.Now().Add(5 * time.Second))
	tc := tls.Client(c, &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS13, ServerName: connect.Host}) // #nosec G402 -- as above
	err = tc.HandshakeContext(ctx)
	return attack.Judge(err == nil, attack.Failure(err), "another user gets a handshake", "closed at once", "%v", err)
}

func doorFlood(ctx context.Context, t *attack.Target) (attack.Result, error) {
	d, err := newDoor(ctx, t)
	if err != nil {
		return attack.Result{}, err
	}
	defer d.end()
	alive, err := held(ctx, d.file.Address, 200)
	if err != nil {
		return attack.Result{}, err
	}
	// All are gone again: the workstation's own user is served.
	err = attack.Await(ctx, func() error {
		a, err := d.browser().Send(ctx, attack.Request{Method: "GET", Path: "/api/session", Header: map[string]string{"X-Vitalseal-Launch": d.file.Secret}})
		if err == nil && !reached(a) {
			err = fmt.Errorf("%s", a)
		}
		return err
	})
	if err != nil {
		return attack.Through("no client is served afterwards", "%v", err)
	}
	return attack.Judge(alive > 128, attack.Word("%d of 200 kept", alive), "as many as wanted to", "bounded, and served afterwards", "%d of 200 connections were kept", alive)
}

// held opens n connections and counts those that are still open a moment later.
func held(ctx context.Context, address string, n int) (alive int, err error) {
	var conns []net.Conn
	defer func() {
		for _, c := range conns {
			_ = c.Close()
		}
	}()
	for range n {
		c, err := (&net.Dialer{Timeout: 5 * time.Second}).DialContext(ctx, "tcp", address)
		if err != nil {
			break // refused by the system: not held either
		}
		conns = append(conns, c)
	}
	time.Sleep(500 * time.Millisecond) // what is closed is closed at once; nothing tells about what stays
	for _, c := range conns {
		if err := c.SetReadDeadline(time.Now().Add(20 * time.Millisecond)); err != nil {
			return 0, err
		}
		_, err := c.Read(make([]byte, 1))
		var late net.Error
		if errors.As(err, &late) && late.Timeout() {
			alive++
		}
	}
	return alive, nil
}
