package catalogue_test

import (
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"vitalseal/internal/lab/attack"
	"vitalseal/internal/lab/attack/catalogue"
	"vitalseal/internal/lab/mutate"
	"vitalseal/internal/lab/weaken"
)

// TestTheTableIsWhole: every attack says who, what and why, and nearly every one has a control.
func TestTheTableIsWhole(t *testing.T) {
	all := catalogue.All()
	if len(all) < 50 {
		t.Errorf("only %d attacks", len(all))
	}
	seen, controls := map[string]bool{}, 0
	for _, a := range all {
		if seen[a.ID] {
			t.Errorf("%s is there twice", a.ID)
		}
		seen[a.ID] = true
		if !regexp.MustCompile(`^[a-z]+(-[a-z0-9]+)+$`).MatchString(a.ID) || a.Threat == "" || a.Position == "" || a.Does == "" || a.Expected == "" || (a.Run == nil) == (a.Begin == nil) {
			t.Errorf("%q is not complete", a.ID)
		}
		if a.Control != weaken.None {
			controls++
		}
	}
	if controls*10 < len(all)*9 {
		t.Errorf("%d of %d attacks have a control, want 90 %%", controls, len(all))
	}
}

// TestThreatModelNamesEveryAttack: the page may name no attack that does not exist, and must name
// each that does.
func TestThreatModelNamesEveryAttack(t *testing.T) {
	page, err := os.ReadFile(filepath.Join("..", "..", "..", "..", "doc", "threat-model.md"))
	if err != nil {
		t.Fatal(err)
	}
	exists, kinds := map[string]bool{}, map[string]bool{}
	for _, a := range catalogue.All() {
		exists[a.ID] = true
		kind, _, _ := strings.Cut(a.ID, "-")
		kinds[kind] = true
		if !strings.Contains(string(page), "`"+a.ID+"`") {
			t.Errorf("doc/threat-model.md does not name %s", a.ID)
		}
	}
	// A name of a kind that there is not any more is one as well: each name of this form is an
	// attack's, or stands here as something else.
	other := map[string]bool{"no-store": true}
	for _, m := range regexp.MustCompile("`([a-z]+(?:-[a-z0-9]+)+)`").FindAllStringSubmatch(string(page), -1) {
		if kind, _, _ := strings.Cut(m[1], "-"); !exists[m[1]] && (kinds[kind] || !other[m[1]]) {
			t.Errorf("doc/threat-model.md names %s, which does not exist", m[1])
		}
	}
}

// TestEveryDefence: what is marked in the product's sources is what the laboratory can take away,
// and an attack's control takes each away. TestThreatModelNamesEveryAttack has a row for each
// attack.
func TestEveryDefence(t *testing.T) {
	cfg := mutate.Vitalseal(filepath.Join("..", "..", "..", ".."))
	if _, err := mutate.Check(cfg); err != nil { // marks and list
		t.Error(err)
	}
	names, err := mutate.Names(cfg)
	if err != nil {
		t.Fatal(err)
	}
	// What `vitalseal bench cost` takes away and no attack: without it every attack below it would
	// get through.
	measured := []string{string(weaken.InnerTLS), string(weaken.Network)}
	controls := map[string]string{}
	for _, a := range catalogue.All() {
		controls[string(a.Control)] = a.ID
	}
	for _, name := range names {
		if (controls[name] == "") != slices.Contains(measured, name) {
			t.Errorf("%s: attacked by %q; for measuring only: %v", name, controls[name], slices.Contains(measured, name))
		}
	}
	for name, id := range controls {
		if name != string(weaken.None) && !slices.Contains(names, name) {
			t.Errorf("%s takes away %s, which is not in the list", id, name)
		}
	}
}

// TestFast carries out the attacks that need no deployment.
func TestFast(t *testing.T) {
	rep, err := attack.Run(t.Context(), attack.Config{Attacks: catalogue.All(), Data: filepath.Join(t.TempDir(), "fast"), Fast: true, Progress: io.Discard, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range rep.Lines {
		if l.Outcome != attack.Refused {
			t.Errorf("%s: %s: %s (%s)", l.ID, l.Outcome, l.Observed, l.Evidence)
		}
	}
	if rep.Attacks < 20 || rep.Refused+rep.GotThrough+rep.NotRun != rep.Attacks {
		t.Errorf("%+v", rep)
	}
}

// TestBadConfig: nothing is tried where the command line is wrong.
func TestBadConfig(t *testing.T) {
	cfg := attack.Config{Attacks: catalogue.All(), Data: t.TempDir(), Only: []string{"nosuch"}, Progress: io.Discard, Log: slog.New(slog.DiscardHandler)}
	if _, err := attack.Run(t.Context(), cfg); !errors.Is(err, attack.ErrNothing) {
		t.Errorf("an attack that does not exist: %v", err)
	}
	cfg.Only, cfg.Fast = nil, true
	if err := os.WriteFile(filepath.Join(cfg.Data, "x"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := attack.Run(t.Context(), cfg); err == nil || !strings.Contains(err.Error(), "not empty") {
		t.Errorf("a folder with something in it: %v", err)
	}
	cfg.Data, cfg.Controls = t.TempDir(), true
	if _, err := attack.Run(t.Context(), cfg); err == nil && !weaken.Build {
		t.Error("controls in a binary with all its defences")
	}
}

// TestEveryIdHasItsPackage: the beginning of an id, up to the first dash, leads to one package, as
// the package comment says, and the id stands in that package's sources.
func TestEveryIdHasItsPackage(t *testing.T) {
	comment, err := os.ReadFile("catalogue.go")
	if err != nil {
		t.Fatal(err)
	}
	said := map[string]string{} // by the beginning of an id
	for _, m := range regexp.MustCompile(`(?m)^//\t([a-z, ]+?) {2,}([a-z]+)$`).FindAllStringSubmatch(string(comment), -1) {
		for beginning := range strings.SplitSeq(m[1], ", ") {
			said[beginning] = m[2]
		}
	}
	used := map[string]bool{}
	for _, f := range catalogue.Families() {
		var src strings.Builder
		files, err := filepath.Glob(filepath.Join("..", f.Package, "*.go"))
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			b, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			src.Write(b)
		}
		for _, a := range f.Attacks() {
			beginning, _, _ := strings.Cut(a.ID, "-")
			used[beginning] = true
			if said[beginning] != f.Package {
				t.Errorf("%s is in package %s; the comment says %q", a.ID, f.Package, said[beginning])
			}
			if !strings.Contains(src.String(), `"`+a.ID+`"`) {
				t.Errorf("%s is not in the sources of package %s", a.ID, f.Package)
			}
		}
	}
	for beginning := range said {
		if !used[beginning] {
			t.Errorf("the comment names %s-, which no attack begins with", beginning)
		}
	}
}
