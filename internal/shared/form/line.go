package form

import (
	"bytes"
	"errors"
	"net"
	"strconv"
	"strings"
)

// Listener accepts HTTP/1 connections whose request lines may be as careless as those of common
// sketches: without a version, with blanks or control characters in the address, without the slash
// before the path, or without a Host. They are put right before the server reads them; all other
// bytes pass unchanged. refused, unless it is nil, is told each reason for which the server itself
// refuses a request, before any handler sees it; it must be safe for concurrent use.
func Listener(ln net.Listener, refused func(reason string)) net.Listener {
	return &listener{ln, refused}
}

type listener struct {
	net.Listener
	refused func(string)
}

// Accept waits for a connection.
func (l *listener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &conn{Conn: c, host: l.Addr().String(), refused: l.refused}, nil
}

// maxLine is the longest line that is looked at; what is longer passes as it is, and the server
// refuses it.
const maxLine = 32 << 10

// where a conn is in its stream of requests.
type where int

const (
	inLine where = iota // the request line
	inHead              // the lines of the head
	inBody              // so many bytes of body
	past                // no more requests that could be told apart: all passes
	ended               // the one request of this connection has been read: the rest is dropped
)

// conn rewrites what its reader reads. Reading is for one goroutine at a time, as net/http does it.
type conn struct {
	net.Conn
	host    string
	refused func(string)

	at     where
	line   []byte // the line so far
	ready  []byte // to be read
	err    error  // after ready
	body   int64  // bytes left of it
	length int64  // of the next body; -1: said twice, or not to be read
	named  bool   // the head has a Host
	opaque bool   // the head has a Transfer-Encoding or an Upgrade
	needs  bool   // a Host, being HTTP/1.1
	buffer [4096]byte
}

// Read gives out requests with their lines put right.
func (c *conn) Read(p []byte) (int, error) {
	for len(c.ready) == 0 {
		if c.err != nil {
			return 0, c.err
		}
		if len(p) == 0 {
			return 0, nil
		}
		n, err := c.Conn.Read(c.buffer[:])
		c.take(c.buffer[:n])
		if err != nil {
			var timeout net.Error
			if errors.As(err, &timeout) && timeout.Timeout() {
				return 0, err // the line so far is kept: the server may read on with another deadline
			}
			c.ready = append(c.ready, c.line...)
			c.line, c.err = nil, err
		}
	}
	n := copy(p, c.ready)
	c.ready = c.ready[n:]
	return n, nil
}

func (c *conn) take(b []byte) {
	for len(b) > 0 {
		switch c.at {
		case past:
			c.ready = append(c.ready, b...)
			return
		case ended:
			return
		case inBody:
			n := int(min(c.body, int64(len(b))))
			c.ready, b = append(c.ready, b[:n]...), b[n:]
			if c.body -= int64(n); c.body == 0 {
				c.at = inLine
			}
		case inLine, inHead:
			i := bytes.IndexByte(b, '\n')
			if i < 0 {
				i = len(b) - 1
			}
			c.line, b = append(c.line, b[:i+1]...), b[i+1:]
			switch {
			case c.line[len(c.line)-1] == '\n':
				line := string(c.line)
				c.line = c.line[:0]
				if c.at == inLine {
					c.first(line)
				} else {
					c.head(line)
				}
			case len(c.line) > maxLine:
				c.ready, c.line, c.at = append(c.ready, c.line...), nil, past
			}
		}
	}
}

// first is a request line.
func (c *conn) first(line string) {
	if strings.Trim(line, "\r\n") == "" {
		return // a line end behind the body before
	}
	fixed, method, version := requestLine(line)
	c.length, c.named, c.opaque, c.needs = 0, false, false, version == "HTTP/1.1"
	switch {
	case fixed == "": // no request at all: the server says so
		c.ready, c.at = append(c.ready, line...), past
	case version == "" && method == "GET": // HTTP/0.9: it ends with its line
		c.ready = append(c.ready, fixed+" HTTP/1.0\r\nHost: "+c.host+"\r\nConnection: close\r\n\r\n"...)
		c.at = ended
	case version == "":
		c.ready, c.at, c.needs = append(c.ready, fixed+" HTTP/1.0\r\n"...), inHead, true
	default:
		c.ready, c.at = append(c.ready, fixed+" "+version+"\r\n"...), inHead
	}
}

// head is one line of a request's head, or the empty one behind it.
func (c *conn) head(line string) {
	name, value, _ := strings.Cut(strings.TrimRight(line, "\r\n"), ":")
	switch strings.ToLower(name) {
	case "":
		if c.needs && !c.named {
			c.ready = append(c.ready, "Host: "+c.host+"\r\n"...)
		}
		switch c.body = c.length; {
		case c.opaque || c.length < 0:
			c.at = past
		case c.length > 0:
			c.at = inBody
		default:
			c.at = inLine
		}
	case "host":
		c.named = true
	case "transfer-encoding", "upgrade":
		c.opaque = true
	case "content-length":
		n, err := strconv.ParseInt(strings.TrimSpace(value), 10, 64)
		if err != nil || n < 0 || c.length != 0 && c.length != n {
			n = -1
		}
		c.length = n
	}
	c.ready = append(c.ready, line...)
}

// requestLine takes a request line apart and puts its address right: fixed is method and address;
// all empty for what is no request.
func requestLine(line string) (fixed, method, version string) {
	line = strings.TrimRight(line, "\r\n\t ")
	method, target, ok := strings.Cut(line, " ")
	if !ok || method == "" || strings.Trim(method, "ABCDEFGHIJKLMNOPQRSTUVWXYZ") != "" {
		return "", "", ""
	}
	const length = len("HTTP/1.1")
	if n := len(target) - length; n >= 0 && isVersion(target[n:]) { // with or without a blank before it
		target, version = target[:n], strings.ToUpper(target[n:])
	}
	if target = strings.Trim(target, " \t"); target == "" {
		return "", "", ""
	}
	if target[0] != '/' && target != "*" && method != "CONNECT" && !strings.Contains(target, "://") {
		target = "/" + target
	}
	var b strings.Builder
	for i := 0; i < len(target); i++ {
		if x := target[i]; x <= ' ' || x == 0x7f {
			const digits = "0123456789ABCDEF"
			b.WriteByte('%')
			b.WriteByte(digits[x>>4])
			b.WriteByte(digits[x&15])
		} else {
			b.WriteByte(x)
		}
	}
	return method + " " + b.String(), method, version
}

func isVersion(s string) bool {
	return strings.EqualFold(s[:5], "HTTP/") && s[5] >= '0' && s[5] <= '9' && s[6] == '.' && s[7] >= '0' && s[7] <= '9'
}

// Write passes an answer on. What net/http refuses by itself no handler sees; its answers have a
// form of their own.
func (c *conn) Write(b []byte) (int, error) {
	if c.refused != nil && bytes.HasPrefix(b, []byte("HTTP/1.1 4")) {
		const head = "\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\n\r\n"
		if i := bytes.Index(b, []byte(head)); i >= 0 && i < 256 {
			c.refused(string(b[i+len(head):]))
		}
	}
	return c.Conn.Write(b)
}
