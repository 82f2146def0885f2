package admin

import (
	"net/url"
	"strings"
	"testing"
)

// TestAsked: what was asked for stands in the audit log by ids, times and actions; a name never does, and
// two names are two questions.
func TestAsked(t *testing.T) {
	for query, want := range map[string]string{
		"": "",
		"patient=p-ncpllza3&person=u-oyz2g4hs&action=patient:view&answer=refused": " action=patient:view answer=refused patient=p-ncpllza3 person=u-oyz2g4hs",
		"from=p-a1&to=p-b2&begin=2026-11-30T08:15:00Z&n=10&size=7&who=":           " begin=2026-11-30T08:15:00Z from=p-a1 to=p-b2",
	} {
		q, err := url.ParseQuery(query)
		if err != nil {
			t.Fatal(err)
		}
		if got := asked(q); got != want {
			t.Errorf("%s: %q, want %q", query, got, want)
		}
	}
	seen := map[string]bool{}
	for _, name := range []string{"Ada Brandt", "ada", "Mira\nLang", strings.Repeat("9", 500), "Müller"} {
		got := asked(url.Values{"who": {name}, "Ada Brandt": {"1"}})
		if strings.Contains(got, name) || strings.Contains(got, "Ada") || strings.ContainsAny(got, "\n") || len(got) > 100 || seen[got] {
			t.Errorf("%.20q: %q", name, got)
		}
		seen[got] = true
	}
	many := url.Values{}
	for range 10_000 {
		many["on"] = append(many["on"], "12345678")
	}
	if got := asked(many); len(got) > 400 {
		t.Errorf("%d bytes", len(got))
	}
}
