package load

import (
	"context"
	"errors"
	"net"
	"testing"
	"time"
)

// crowdServer ends a connection on which nothing is asked before the next one is opened, as one
// does that bounds the time of a header on a machine where opening takes long. It answers the first
// bound connections, ends the ones after them, and says nothing on the mute one.
type crowdServer struct {
	bound, mute int
	opened      int
	last        chan struct{} // closed when the last one was asked on
}

func (s *crowdServer) dial(ctx context.Context) (net.Conn, error) {
	if s.last != nil {
		select {
		case <-s.last:
		case <-ctx.Done():
			return nil, errors.New("nothing was asked on the connection before")
		}
	}
	s.opened++
	n, asked := s.opened, make(chan struct{})
	s.last = asked
	mine, theirs := net.Pipe()
	go func() {
		b := make([]byte, 1)
		_, err := theirs.Read(b)
		close(asked)
		switch {
		case err != nil:
		case n == s.mute:
			return
		case n <= s.bound:
			_, _ = theirs.Write(b)
			return // it stays open
		}
		_ = theirs.Close()
	}()
	return mine, nil
}

// TestCrowd: connections are asked on as soon as they are open, and counted when all are decided;
// what was not decided is no result.
func TestCrowd(t *testing.T) {
	for name, c := range map[string]struct {
		server crowdServer
		want   int
		bad    bool
	}{
		"bounded":         {crowdServer{bound: 3}, 3, false},
		"not bounded":     {crowdServer{bound: 8}, 8, false},
		"not decided":     {crowdServer{bound: 3, mute: 2}, 0, true},
		"the last is not": {crowdServer{bound: 3, mute: 8}, 0, true},
	} {
		t.Run(name, func(t *testing.T) {
			patience := 30 * time.Second
			if c.server.mute > 0 {
				patience = 50 * time.Millisecond // it is waited for
			}
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			answered, end, err := Crowd(ctx, 8, 3, c.server.dial, "x")
			end()
			if (err != nil) != c.bad || !c.bad && answered != c.want {
				t.Errorf("%d answered, %v; want %d, an error: %v", answered, err, c.want, c.bad)
			}
		})
	}
}
