package dashboard_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestOneGermanWord: one thing has one name on the German pages. A text that brings in another one is found here.
func TestOneGermanWord(t *testing.T) {
	files, err := filepath.Glob("../../../web/src/*.ts*")
	if err != nil || len(files) < 20 {
		t.Fatal(files, err)
	}
	for _, x := range []struct{ not, but string }{
		{`Audit-?[Ll]og|Auditprotokoll`, "Prüfprotokoll"},
		{`Messwerte[^'.]*(verschieb|verschoben|übertrag)|überträgt, `, "zuordnen (readings to a patient)"},
		{`Workstation [^i]|Wall-?[Ss]creen|Wand-?[Dd]isplay`, "Arbeitsplatz, Wandbildschirm"},
		{`Root-Key`, "Wurzelschlüssel"},
	} {
		re, found := regexp.MustCompile(x.not), false
		for _, file := range files {
			b, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			for n, line := range strings.Split(string(b), "\n") {
				if !strings.ContainsAny(line, "äöüßÄÖÜ") && !strings.Contains(line, "de: ") {
					continue // not German
				}
				german := line
				if _, after, ok := strings.Cut(line, "de: "); ok {
					german = after
				} else if _, after, ok := strings.Cut(line, "': '"); ok {
					german = after
				}
				if m := re.FindString(german); m != "" {
					t.Errorf("%s:%d: %q, where the other texts say %s", filepath.Base(file), n+1, m, x.but)
				}
				found = found || strings.Contains(german, strings.Fields(strings.TrimRight(x.but, ","))[0][:4])
			}
		}
		if !found {
			t.Errorf("%s stands in no German text: the search is broken", x.but)
		}
	}
}
