package vitalseal_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// pronouns are words that hide who acts: "user", "client" or "administrator" says it.
var pronouns = regexp.MustCompile(`(?i)\b(whoever|nobody|somebody|anybody|everybody)('s)?\b`)

// TestProse: the pages name who acts, and fit a terminal of 100 columns. Code, tables, links and
// pictures may be wider.
func TestProse(t *testing.T) {
	pages, err := filepath.Glob("doc/*.md")
	if err != nil {
		t.Fatal(err)
	}
	pages = append(pages, "README.md", "SECURITY.md", "CONTRIBUTING.md", "CHANGELOG.md")
	if len(pages) < 15 {
		t.Fatalf("%d pages found: the walk is broken", len(pages))
	}
	for _, page := range pages {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range proseProblems(string(text)) {
			t.Errorf("%s:%s", page, p)
		}
	}
}

var link = regexp.MustCompile(`\]\([^)]*\)`)

// proseProblems is what the rules find in a page, each with its line.
func proseProblems(page string) (problems []string) {
	code := false
	for i, line := range strings.Split(page, "\n") {
		if strings.HasPrefix(strings.TrimSpace(line), "```") {
			code = !code
			continue
		}
		if code || strings.HasPrefix(line, "    ") && !strings.HasPrefix(strings.TrimSpace(line), "- ") {
			continue
		}
		at := strconv.Itoa(i+1) + ": "
		for _, word := range pronouns.FindAllString(line, -1) {
			problems = append(problems, at+"say who instead of "+word)
		}
		if n := len([]rune(link.ReplaceAllString(line, "]"))); n > 100 && !strings.HasPrefix(line, "|") {
			problems = append(problems, at+strconv.Itoa(n)+" columns; 100 is the limit")
		}
	}
	return problems
}

// TestProseFinds keeps the checker honest.
func TestProseFinds(t *testing.T) {
	long := strings.Repeat("word ", 21)
	for page, want := range map[string]int{
		"A user opens it.":                          0,
		"Nobody opens it, whoever asks.":            2,
		"Anybody's guess.":                          1,
		"| a table | somebody |":                    1,
		"| " + long + "|":                           0,
		long:                                        1,
		"```\nnobody " + long + "\n```\nEnd":        0,
		"[a](" + strings.Repeat("x", 99) + ") link": 0,
		strings.Repeat("ä", 100):                    0,
	} {
		if got := proseProblems(page); len(got) != want {
			t.Errorf("%q: %q, want %d", page, got, want)
		}
	}
}
