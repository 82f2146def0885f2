package audit

import (
	"testing"
	"time"
)

// Dir is the log's folder.
func (l *Log) Dir() string { return l.dir }

// ReadAtMost changes how many tiles one Search reads.
func (l *Log) ReadAtMost(n int) { l.known.most = n }

// FuzzTimeOf: the time of a line is found whatever the line's texts are, and rubbish has every
// time.
func FuzzTimeOf(f *testing.F) {
	f.Add([]byte(`{"seq":0,"time":"2026-03-01T08:00:00.123456Z","person":"`), int64(0), "p")
	f.Add([]byte(`,"time":"`), int64(1<<40), `","time":"1999-01-01T00:00:00Z"`)
	f.Fuzz(func(t *testing.T, rubbish []byte, seq int64, text string) {
		if got := timeOf(rubbish); got.first > got.last {
			t.Fatalf("%q: %v", rubbish, got)
		}
		e := Entry{Seq: max(seq, 0), Time: time.Date(2026, 3, 1, 8, 0, 0, 5000, time.UTC).Add(time.Duration(seq % (1 << 50))), Person: text, Policies: []string{text}, Reason: text}
		e.Time = e.Time.Truncate(time.Microsecond)
		line, err := e.encode()
		if err != nil {
			return
		}
		if got := timeOf(line); got.first != e.Time.UnixMicro() || got.last != got.first {
			t.Fatalf("%s: %v, want %v", line, got, e.Time.UnixMicro())
		}
	})
}
