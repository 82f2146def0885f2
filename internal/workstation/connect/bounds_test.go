package connect_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"vitalseal/internal/workstation/client"
	"vitalseal/internal/workstation/connect"
)

// TestSlowClients: heads and bodies that do not come are waited for only so long, and others are
// served meanwhile.
func TestSlowClients(t *testing.T) {
	p := open(t, plain, impatient)
	for what, sent := range map[string]string{
		"no head":   "GET / HT",
		"half head": "GET / HTTP/1.1\r\nHost: " + p.addr + "\r\n",
		"no body":   "PUT /api/x HTTP/1.1\r\nHost: " + p.addr + "\r\nContent-Length: 10\r\n\r\n1",
		"nothing":   "",
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			c, err := net.Dial("tcp", p.addr)
			must(t, err)
			_, err = c.Write([]byte(sent))
			must(t, err)
			must(t, c.SetReadDeadline(time.Now().Add(time.Minute)))
			if _, err := io.ReadAll(c); err != nil && strings.Contains(err.Error(), "timeout") {
				t.Error("still waited for after a minute")
			}
			must(t, c.Close())
		})
	}
}

// TestLiveViewOutlivesThePatience keeps a WebSocket open through TLS for much longer than a request
// may take.
func TestLiveViewOutlivesThePatience(t *testing.T) {
	const wait = 3 * time.Second // a handshake on a busy machine must not take as long
	p := open(t, waiting(wait))
	p.answerWith(func(w http.ResponseWriter, r *http.Request) {
		conn, err := websocket.Accept(w, r, nil)
		if err != nil {
			return
		}
		defer func() { _ = conn.CloseNow() }()
		for {
			kind, b, err := conn.Read(r.Context())
			if err != nil {
				return
			}
			if conn.Write(r.Context(), kind, b) != nil {
				return
			}
		}
	})
	c, err := client.FromFile(connect.FilePath(p.data))
	must(t, err)
	u := c.Base()
	u.Path = "/api/live"
	conn, res, err := websocket.Dial(t.Context(), u.String(), &websocket.DialOptions{HTTPHeader: c.Cookies(), HTTPClient: c.HTTP()})
	must(t, err)
	_ = res.Body
	defer func() { _ = conn.CloseNow() }()
	began := time.Now()
	for i := 0; time.Since(began) < 2*wait; i++ {
		pause, cancel := context.WithTimeout(t.Context(), wait+wait/5)
		if i == 1 {
			<-pause.Done() // says nothing for longer than the patience
		}
		cancel()
		want := fmt.Sprint(i)
		must(t, conn.Write(t.Context(), websocket.MessageText, []byte(want)))
		_, b, err := conn.Read(t.Context())
		must(t, err)
		if string(b) != want {
			t.Fatalf("%q came back as %q", want, b)
		}
	}
	// Without the secret there is no live view.
	if conn, res, err := websocket.Dial(t.Context(), u.String(), &websocket.DialOptions{HTTPClient: c.HTTP()}); err == nil {
		_ = conn.CloseNow()
		t.Error("a live view for nobody")
	} else if res == nil || res.StatusCode != http.StatusForbidden {
		t.Errorf("%v, %v", res, err)
	}
}

func TestBounds(t *testing.T) {
	p := open(t, plain)
	t.Run("body", func(t *testing.T) {
		res, err := http.Post("http://"+p.addr+"/api/x", "text/plain", bytes.NewReader(make([]byte, 2<<20)))
		if err == nil { // or the connection was closed while it was sent
			_ = res.Body.Close()
			if res.StatusCode != http.StatusRequestEntityTooLarge {
				t.Errorf("two MiB: %d", res.StatusCode)
			}
		}
		if p.last() != nil {
			t.Error("the hub was bothered with a body that is too large")
		}
		took := make(chan int64, 1)
		p.answerWith(func(_ http.ResponseWriter, r *http.Request) {
			if r.URL.Path != "/api/x" {
				return
			}
			n, _ := io.Copy(io.Discard, r.Body)
			took <- n
		})
		if res, err := http.Post("http://"+p.addr+"/api/x", "text/plain", io.LimitReader(zeros{}, 2<<20)); err == nil {
			_ = res.Body.Close()
		}
		if n := <-took; n > 1<<20 {
			t.Errorf("the hub took %d bytes of a body without a length", n)
		}
		p.answerWith(nil)
	})
	t.Run("head", func(t *testing.T) {
		got := p.ask(p.browser(), "GET", "http://"+p.addr+"/", "X-Long", strings.Repeat("x", 60<<10))
		if got.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
			t.Errorf("60 KiB: %d", got.StatusCode)
		}
	})
	t.Run("connections", func(t *testing.T) {
		var conns []net.Conn
		defer func() {
			for _, c := range conns {
				_ = c.Close()
			}
		}()
		for range connect.MaxConns {
			c, err := net.Dial("tcp", p.addr)
			must(t, err)
			conns = append(conns, c)
		}
		// One more is closed at once; which one of them came last is the kernel's to say.
		extra, err := net.Dial("tcp", p.addr)
		must(t, err)
		conns = append(conns, extra)
		must(t, extra.SetReadDeadline(time.Now().Add(time.Minute)))
		if _, err := extra.Read(make([]byte, 1)); err == nil || strings.Contains(err.Error(), "timeout") {
			t.Errorf("one too many is let in: %v", err)
		}
		for _, c := range conns[:4] {
			must(t, c.Close())
		}
		end := time.Now().Add(time.Minute)
		for {
			res, err := http.Get("http://" + p.addr + "/")
			if err == nil {
				_ = res.Body.Close()
				break
			}
			if time.Now().After(end) {
				t.Fatalf("places that were left are not given again: %v", err)
			}
		}
	})
}

type zeros struct{}

func (zeros) Read(b []byte) (int, error) { clear(b); return len(b), nil }

func TestPace(t *testing.T) {
	now := time.Unix(0, 0)
	p := connect.NewPace(now)
	took := 0
	for p.Take(now) {
		took++
	}
	if took != connect.RequestBurst {
		t.Errorf("%d at once, want %d", took, connect.RequestBurst)
	}
	now = now.Add(time.Second)
	for took = 0; p.Take(now); took++ {
	}
	if took != 100 {
		t.Errorf("%d after a second, want 100", took)
	}
}
