package overlay

import (
	"io"
	"net"
	"os"
	"sync"
	"time"
)

// pipeBuffer is how much one direction of a pipe holds before the writer waits, as a socket's
// buffer would.
const pipeBuffer = 64 << 10

// newPipe returns the two ends of an in-memory connection. Unlike net.Pipe it buffers, as TLS
// expects of a network; unlike a socket it works inside a testing/synctest bubble.
func newPipe(service, dialler string) (dial, host net.Conn) {
	up, down := newStream(), newStream()
	return &pipeConn{in: down, out: up, local: addr(dialler), remote: addr(service)},
		&pipeConn{in: up, out: down, local: addr(service), remote: addr(dialler)}
}

type pipeConn struct {
	in, out       *stream
	local, remote addr
}

func (p *pipeConn) Read(b []byte) (int, error)  { return p.in.read(b) }
func (p *pipeConn) Write(b []byte) (int, error) { return p.out.write(b) }
func (p *pipeConn) LocalAddr() net.Addr         { return p.local }
func (p *pipeConn) RemoteAddr() net.Addr        { return p.remote }

func (p *pipeConn) Close() error {
	p.in.close(net.ErrClosed, io.ErrClosedPipe)
	p.out.close(io.EOF, net.ErrClosed)
	return nil
}

func (p *pipeConn) SetDeadline(t time.Time) error {
	p.in.readBy.set(p.in, t)
	p.out.writeBy.set(p.out, t)
	return nil
}

func (p *pipeConn) SetReadDeadline(t time.Time) error {
	p.in.readBy.set(p.in, t)
	return nil
}

func (p *pipeConn) SetWriteDeadline(t time.Time) error {
	p.out.writeBy.set(p.out, t)
	return nil
}

// stream is one direction. mu guards all of it.
type stream struct {
	mu       sync.Mutex
	changed  sync.Cond
	buf      []byte
	closed   bool
	readErr  error // what a reader gets once closed and drained
	writeErr error // what a writer gets once closed
	readBy   deadline
	writeBy  deadline
}

type deadline struct {
	passed bool
	timer  *time.Timer
}

func newStream() *stream {
	s := &stream{}
	s.changed.L = &s.mu
	return s
}

func (d *deadline) set(s *stream, t time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if d.timer != nil {
		d.timer.Stop()
	}
	d.passed, d.timer = false, nil
	if t.IsZero() {
		return
	}
	wait := time.Until(t)
	if wait <= 0 {
		d.passed = true
		s.changed.Broadcast()
		return
	}
	var timer *time.Timer
	timer = time.AfterFunc(wait, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if d.timer == timer { // not replaced meanwhile
			d.passed = true
			s.changed.Broadcast()
		}
	})
	d.timer = timer
}

func (s *stream) read(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		switch {
		case s.readBy.passed:
			return 0, os.ErrDeadlineExceeded
		case len(s.buf) > 0:
			n := copy(b, s.buf)
			s.buf = s.buf[n:]
			s.changed.Broadcast()
			return n, nil
		case s.closed:
			return 0, s.readErr
		case len(b) == 0:
			return 0, nil
		}
		s.changed.Wait()
	}
}

func (s *stream) write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	written := 0
	for {
		switch {
		case s.closed:
			return written, s.writeErr
		case s.writeBy.passed:
			return written, os.ErrDeadlineExceeded
		}
		n := min(len(b), pipeBuffer-len(s.buf))
		s.buf = append(s.buf, b[:n]...)
		b, written = b[n:], written+n
		if n > 0 {
			s.changed.Broadcast()
		}
		if len(b) == 0 {
			return written, nil
		}
		s.changed.Wait()
	}
}

// close ends the stream. A reader that closes throws away what is left; a writer that closes lets
// it be drained.
func (s *stream) close(readErr, writeErr error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if readErr != io.EOF { //nolint:errorlint // it is our own argument, not an error that was returned
		s.buf = nil
		s.readErr = readErr
	}
	if !s.closed {
		s.closed, s.readErr, s.writeErr = true, readErr, writeErr
	} else if writeErr == net.ErrClosed { //nolint:errorlint // as above
		s.writeErr = writeErr
	}
	for _, d := range []*deadline{&s.readBy, &s.writeBy} {
		if d.timer != nil {
			d.timer.Stop()
			d.timer = nil
		}
	}
	s.changed.Broadcast()
}

// cut breaks both directions at once, as a network that is torn down does: nothing buffered arrives
// any more.
func (p *pipeConn) cut() {
	p.in.close(io.ErrUnexpectedEOF, io.ErrClosedPipe)
	p.out.close(io.ErrUnexpectedEOF, io.ErrClosedPipe)
}
