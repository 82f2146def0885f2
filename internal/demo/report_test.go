package demo

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
)

// TestAccount: the report adds up what gateways and the hub say, loses no hole in a stream, and names the chunks of a run
// that was killed apart, so that "stored" above "acknowledged" has its reason beside it.
func TestAccount(t *testing.T) {
	gateway := func(produced, acked, pending, backlog int) string {
		b, err := json.Marshal(map[string]any{"backlog_acked": backlog,
			"streams": []any{map[string]int{"produced": produced, "acked": acked, "pending": pending}}})
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	hub := func(chunks, doubled, missing int) string {
		b, err := json.Marshal(map[string]any{
			"streams": []any{map[string]int{"chunks": chunks, "doubled": doubled, "missing": missing}}})
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	for name, c := range map[string]struct {
		gateways                                      []string
		before, after                                 string
		sent, stored, backlog, pending, lost, doubled int64
		says                                          string
	}{
		"all arrived": {[]string{gateway(10, 10, 0, 0), gateway(5, 5, 0, 0)}, hub(100, 0, 0), hub(115, 0, 0), 15, 15, 0, 0, 0, 0, ""},
		"one of a killed run": {[]string{gateway(10, 10, 0, 1)}, hub(100, 0, 0), hub(111, 0, 0), 10, 11, 1, 0, 0, 0,
			"and 1 of an earlier run acknowledged"},
		"some wait":                   {[]string{gateway(10, 7, 3, 0)}, hub(0, 0, 0), hub(7, 0, 0), 10, 7, 0, 3, 0, 0, "3 waiting"},
		"one vanished":                {[]string{gateway(10, 10, 0, 0)}, hub(0, 0, 0), hub(9, 0, 0), 10, 9, 0, 0, 1, 0, "1 lost"},
		"a hole, hidden by a backlog": {[]string{gateway(10, 10, 0, 1)}, hub(0, 0, 0), hub(10, 0, 1), 10, 10, 1, 0, 1, 0, "1 lost"},
		"one stored twice":            {[]string{gateway(10, 10, 0, 0)}, hub(0, 0, 0), hub(10, 1, 0), 10, 10, 0, 0, 0, 1, "1 doubled"},
	} {
		t.Run(name, func(t *testing.T) {
			gateways := make([]gatewayStatus, len(c.gateways))
			for i, s := range c.gateways {
				if err := json.Unmarshal([]byte(s), &gateways[i]); err != nil {
					t.Fatal(err)
				}
			}
			var before, after delivery
			for s, to := range map[string]*delivery{c.before: &before, c.after: &after} {
				if err := json.Unmarshal([]byte(s), to); err != nil {
					t.Fatal(err)
				}
			}
			var r report
			r.account(gateways, before, after)
			got := [6]int64{r.ChunksSent, r.ChunksStored, r.ChunksBacklog, r.ChunksPending, r.ChunksLost, r.ChunksDoubled}
			if want := [6]int64{c.sent, c.stored, c.backlog, c.pending, c.lost, c.doubled}; got != want {
				t.Errorf("sent, stored, backlog, pending, lost, doubled = %v, want %v", got, want)
			}
			var text bytes.Buffer
			r.print(&text)
			if !strings.Contains(text.String(), c.says) || c.backlog == 0 && strings.Contains(text.String(), "earlier run") {
				t.Errorf("the report does not say %q:\n%s", c.says, text.String())
			}
		})
	}
}
