package process

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"testing"
	"time"
)

// TestStalls: a process that stood still says so once, with how long, and a late tick of a busy
// machine is none. A tick that was made before the process stood still, and is taken after it, does
// not hide it.
func TestStalls(t *testing.T) {
	var logged bytes.Buffer
	begin := time.Now()
	at := begin
	ticks, took := make(chan time.Time), make(chan struct{})
	ctx, stop := context.WithCancel(t.Context())
	type stall struct{ from, d time.Duration }
	var got []stall
	now := func() time.Time { // asked at the start and for each tick
		defer func() { took <- struct{}{} }()
		return at
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		watchStalls(ctx, ticks, now, slog.New(slog.NewTextHandler(&logged, nil)), func(from time.Time, d time.Duration) {
			got = append(got, stall{from.Sub(begin), d})
		})
	}()
	<-took
	for _, d := range []time.Duration{time.Second, 4 * time.Second, time.Second, 31 * time.Second, time.Second} {
		tick := at
		at = at.Add(d)
		ticks <- tick // of before
		<-took
	}
	stop()
	<-done
	if len(got) != 1 || got[0] != (stall{6 * time.Second, 31 * time.Second}) {
		t.Errorf("stood still: %v", got)
	}
	if text := logged.String(); strings.Count(text, "\n") != 1 || !strings.Contains(text, "stood still") || !strings.Contains(text, "for=31s") {
		t.Errorf("log: %s", text)
	}
}
