package demo

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
)

// TestAccountIsWhole: what is stored is what was acknowledged in this run, what an earlier run left and
// the hub did not have, and what lost its acknowledgement with a connection; nothing else.
func TestAccountIsWhole(t *testing.T) {
	type stream struct{ Produced, Acked, Pending int64 }
	for name, c := range map[string]struct {
		of                              stream
		backlog, backlogStored, records int64 // of the gateway
		stored                          int64
		unheard, unexplained, lost      int64
		says                            string
	}{
		"all arrived":                           {stream{10, 10, 0}, 0, 0, 0, 10, 0, 0, 0, "10 stored"},
		"two of a killed run":                   {stream{10, 10, 0}, 2, 2, 0, 12, 0, 0, 0, "and 2 of an earlier run acknowledged: 2 stored now, 0 before"},
		"the hub had one of them":               {stream{10, 10, 0}, 3, 2, 0, 12, 0, 0, 0, "2 stored now, 1 before"},
		"their acknowledgement was lost":        {stream{10, 10, 0}, 2, 0, 0, 12, 2, 0, 0, "2 of the stored ones lost their acknowledgement"},
		"one of this run, and it waits":         {stream{10, 9, 1}, 0, 0, 1, 10, 1, 0, 0, "1 of the stored ones lost"},
		"one of an earlier run, and it waits":   {stream{10, 10, 0}, 0, 0, 1, 11, 1, 0, 0, "1 of the stored ones lost"},
		"more than can be":                      {stream{10, 10, 0}, 1, 1, 0, 13, 2, 2, 0, "2 OF THE STORED ONES ARE NOT EXPLAINED"},
		"one vanished, a backlog does not hide": {stream{10, 10, 0}, 1, 1, 0, 10, 0, 0, 1, "1 lost"},
	} {
		t.Run(name, func(t *testing.T) {
			b, err := json.Marshal(map[string]any{"backlog_acked": c.backlog, "backlog_stored": c.backlogStored, "outbox_records": c.records,
				"streams": []stream{c.of}})
			if err != nil {
				t.Fatal(err)
			}
			var gateway gatewayStatus
			if err := json.Unmarshal(b, &gateway); err != nil {
				t.Fatal(err)
			}
			var after delivery
			if err := json.Unmarshal(fmt.Appendf(nil, `{"streams":[{"chunks":%d}]}`, c.stored), &after); err != nil {
				t.Fatal(err)
			}
			var r report
			r.account([]gatewayStatus{gateway}, delivery{}, after)
			if got, want := [3]int64{r.ChunksUnheard, r.ChunksUnexplained, r.ChunksLost}, [3]int64{c.unheard, c.unexplained, c.lost}; got != want {
				t.Errorf("unheard, unexplained, lost = %v, want %v", got, want)
			}
			if c.lost == 0 && r.ChunksStored != r.ChunksAcked+r.ChunksBacklogStored+r.ChunksUnheard {
				t.Errorf("the account is not whole: %+v", r)
			}
			var text bytes.Buffer
			r.print(&text)
			if !strings.Contains(text.String(), c.says) {
				t.Errorf("the report does not say %q:\n%s", c.says, text.String())
			}
		})
	}
}

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
