package vitalseal_test

import (
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// rooms are the folders below internal/ that say where a package stands on the way of a reading. A package is named without
// its room in the tables below, so that a rule does not change when a package moves; internal/hub is a package too.
var rooms = strings.Fields("measurement patient way hub workstation shared")

// named is a package's name in the tables: its folder below internal/, without the room.
func named(folder string) string {
	if room, rest, inside := strings.Cut(folder, "/"); inside && slices.Contains(rooms, room) {
		return rest
	}
	return folder
}

// allowed is the import table of doc/architecture.md: for each package below internal/, the packages below
// internal/ it may import. A sub-package follows the rule of the longest prefix listed. Anything absent is forbidden.
var allowed = map[string]string{
	"vitals":    "",
	"form":      "",
	"yamlfile":  "",
	"sensor":    "vitals yamlfile",
	"signal":    "vitals form",
	"seal":      "",
	"outbox":    "",
	"overlay":   "form disk",
	"audit":     "form disk",
	"access":    "audit",
	"signin":    "form access",
	"sealdb":    "seal access disk",
	"channel":   "seal access sealdb",
	"directory": "vitals seal delivery access sealdb channel",
	// Whose a reading is, and the tables of a day, are parts of the archive.
	"archive":              "vitals seal delivery access sealdb directory",
	"archive/attribution":  "vitals seal delivery access sealdb directory",
	"archive/days":         "vitals seal delivery sealdb archive/attribution",
	"store":                "seal delivery access sealdb directory channel archive",
	"delivery":             "vitals seal",
	"uplink":               "delivery seal outbox overlay",
	"ingest":               "vitals seal delivery directory channel archive store overlay access audit",
	"view/api":             "form access signin",
	"view/dashboard":       "vitals form directory channel archive store access signin view/api",
	"view/thingspeak":      "vitals form channel archive store access signin",
	"view/thingspeak/wire": "form channel",
	"view/admin":           "vitals form delivery directory channel archive store access signin view/api",
	"view/cloud":           "channel store access sink view/api",
	"client":               "disk",
	"store/storetest":      "vitals seal delivery audit access directory channel archive store",
	"connect":              "overlay audit form disk",
	"sink":                 "vitals form seal channel archive store access",
	"sink/egress":          "overlay",
	"gateway":              "vitals sensor signal seal outbox overlay delivery uplink audit disk process gateway/legacy",
	"gateway/legacy":       "vitals form delivery disk",
	"fleet":                "overlay audit access directory store",
	"hub":                  "vitals seal overlay audit access signin directory channel archive store delivery ingest fleet view sink disk process",
	"process":              "",
	"demo":                 "sensor gateway client process",
	"disk":                 "",
	"recording":            "vitals signal",
	"administer":           "access channel sink connect client cli",
	"cli":                  "overlay client process",
	// The laboratory: no product package imports it.
	"lab/weaken":   "",
	"lab/mutate":   "",
	"lab/accuracy": "vitals sensor signal recording",
	// What all attacks share, then the attacks by subject.
	"lab/attack":           "overlay client lab/weaken",
	"lab/attack/load":      "lab/attack",
	"lab/attack/office":    "seal audit access signin directory store sink view/admin view/cloud lab/attack",
	"lab/attack/rogue":     "vitals seal overlay lab/attack",
	"lab/attack/faces":     "vitals connect gateway process client view/thingspeak lab/attack lab/weaken",
	"lab/attack/flood":     "overlay access channel store view/api view/dashboard lab/attack lab/weaken",
	"lab/attack/network":   "overlay audit access directory store hub lab/attack lab/weaken",
	"lab/attack/persons":   "audit access signin directory store lab/attack lab/weaken",
	"lab/attack/records":   "vitals seal outbox overlay delivery audit access directory channel archive store lab/attack lab/weaken",
	"lab/attack/sessions":  "access signin lab/attack lab/weaken",
	"lab/attack/wire":      "vitals sensor seal outbox overlay delivery uplink audit access directory archive store ingest lab/attack lab/weaken",
	"lab/attack/catalogue": "lab/attack",
	"lab/bench":            "vitals sensor signal seal outbox overlay audit access directory archive store delivery uplink ingest fleet view client connect gateway hub process demo lab/weaken",
	"lab/peers":            "vitals sensor signal gateway process lab/bench",
}

// only names who alone may import a module from outside.
var only = []struct{ module, packages string }{
	{"github.com/openziti/", "overlay lab/attack/rogue"},
	{"periph.io/", "sensor gateway lab/attack/wire"},
	{"github.com/ncruces/go-sqlite3", "sealdb"},
	{"github.com/jackc/pgx", "sealdb store/storetest lab/peers"},
	{"github.com/cedar-policy/", "access"},
}

// never is what a package may not reach, over any number of imports: packages below internal/, and modules.
var never = map[string]string{
	// What is at the patient holds nothing of the hub: neither its store nor what decides who sees it.
	"gateway": "store sealdb directory channel archive access signin ingest hub fleet view sink overlay/manage overlay/node github.com/cedar-policy/ github.com/ncruces/ github.com/jackc/",
	// A workstation administers no network that it uses.
	"connect": "store sealdb directory channel archive access signin ingest hub fleet overlay/manage overlay/node github.com/cedar-policy/ github.com/ncruces/ github.com/jackc/",
	// What a hospital installs holds no attack tool, and nothing to measure or compare with.
	"cmd/vitalseal": "lab/attack lab/bench lab/peers lab/accuracy",
}

// apart are packages of which none reaches another: what two of them share is a package of its own.
var apart = strings.Fields("lab/attack/faces lab/attack/flood lab/attack/network lab/attack/persons lab/attack/records lab/attack/sessions lab/attack/wire")

// TestImports parses every file itself instead of asking the go command, whose answer the test cache would keep.
func TestImports(t *testing.T) {
	checked := 0
	for from, files := range imports(t) {
		for path, tos := range files {
			for _, to := range tos {
				checked++
				if why := forbidden(from, to); why != "" {
					t.Errorf("%s imports %s: %s", path, to, why)
				}
			}
		}
	}
	if checked < 100 {
		t.Errorf("only %d imports found: the walk is broken", checked)
	}
}

// TestNeverReached follows imports to their end.
func TestNeverReached(t *testing.T) {
	all := imports(t)
	for from, what := range never {
		if all[from] == nil {
			t.Errorf("%s is no package", from)
		}
		if at := reached(all, from, strings.Fields(what)); at != "" {
			t.Errorf("%s reaches %s", from, at)
		}
	}
	for i, from := range apart {
		if all[from] == nil {
			t.Errorf("%s is no package", from)
		}
		if at := reached(all, from, slices.Concat(apart[:i], apart[i+1:])); at != "" {
			t.Errorf("%s reaches %s", from, at)
		}
	}
	// The hub does reach its store, over another package too: the walk works.
	if at := reached(all, "demo", []string{"outbox"}); at == "" {
		t.Error("demo does not reach the outbox: the walk is broken")
	}
}

// reached is the way, if there is one, from a package to one whose name begins with one of the prefixes.
func reached(all map[string]map[string][]string, from string, prefixes []string) string {
	type step struct{ pkg, way string }
	seen := map[string]bool{from: true}
	for queue := []step{{from, ""}}; len(queue) > 0; queue = queue[1:] {
		for _, tos := range all[queue[0].pkg] {
			for _, to := range tos {
				to, ours := strings.CutPrefix(to, "vitalseal/internal/")
				to = named(to)
				way := queue[0].way + " -> " + to
				for _, p := range prefixes {
					if ours && within(to, []string{p}) || !ours && strings.HasPrefix(to, p) {
						return to + ":" + way
					}
				}
				if ours && !seen[to] {
					seen[to] = true
					queue = append(queue, step{to, way})
				}
			}
		}
	}
	return ""
}

// imports is what each package imports, by the package's folder below internal/ and by file; tests are left out.
func imports(t *testing.T) map[string]map[string][]string {
	t.Helper()
	all := map[string]map[string][]string{}
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (strings.HasPrefix(d.Name(), ".") && path != "." || strings.HasPrefix(d.Name(), "_") || d.Name() == "node_modules" || d.Name() == "testdata") {
			return filepath.SkipDir
		}
		if d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return nil
		}
		src, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		f, err := parser.ParseFile(token.NewFileSet(), path, src, parser.ImportsOnly)
		if err != nil {
			return err
		}
		from := named(strings.TrimPrefix(filepath.ToSlash(filepath.Dir(path)), "internal/"))
		if all[from] == nil {
			all[from] = map[string][]string{}
		}
		for _, spec := range f.Imports {
			to, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				return err
			}
			all[from][path] = append(all[from][path], to)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func forbidden(from, to string) string {
	if to == "unsafe" || to == "C" {
		return "not in this project"
	}
	for _, o := range only {
		if strings.HasPrefix(to, o.module) && !within(from, strings.Fields(o.packages)) {
			return "only " + o.packages + " may"
		}
	}
	inner, ours := strings.CutPrefix(to, "vitalseal/internal/")
	if !ours {
		return ""
	}
	inner = named(inner)
	if strings.HasPrefix(from, "cmd/") {
		return ""
	}
	rule := ""
	for name := range allowed {
		if (from == name || strings.HasPrefix(from, name+"/")) && len(name) > len(rule) {
			rule = name
		}
	}
	if rule == "" {
		return "the package is not in the import table"
	}
	if !within(inner, append(strings.Fields(allowed[rule]), rule)) {
		return "not in the import table's row of " + rule
	}
	return ""
}

func within(pkg string, prefixes []string) bool {
	for _, p := range prefixes {
		if pkg == p || strings.HasPrefix(pkg, p+"/") {
			return true
		}
	}
	return false
}

// TestTableCatchesViolations keeps the checker honest.
func TestTableCatchesViolations(t *testing.T) {
	for _, c := range []struct {
		from, to string
		ok       bool
	}{
		{"outbox", "vitalseal/internal/measurement/vitals", false},
		{"store", "vitalseal/internal/way/seal", true},
		{"store", "vitalseal/internal/way/overlay", false},
		{"channel", "vitalseal/internal/hub/archive", false},
		{"directory", "vitalseal/internal/hub/archive/days", false},
		{"archive/days", "vitalseal/internal/hub/archive", false},
		{"archive", "vitalseal/internal/hub/archive/days", true},
		{"sealdb", "vitalseal/internal/hub/directory", false},
		{"view/dashboard", "vitalseal/internal/hub/sealdb", false},
		{"sensor/bench", "vitalseal/internal/patient/sensor", true},
		{"sensor", "vitalseal/internal/patient/signal", false},
		{"view/dashboard", "vitalseal/internal/view/admin", false},
		{"view/dashboard", "github.com/openziti/sdk-golang/ziti", false},
		{"overlay/openziti", "github.com/openziti/sdk-golang/ziti", true},
		{"overlay", "vitalseal/internal/way/seal", false},
		{"nowhere", "vitalseal/internal/way/seal", false},
		{"vitals", "unsafe", false},
		{"vitals", "time", true},
	} {
		if got := forbidden(c.from, c.to) == ""; got != c.ok {
			t.Errorf("%s -> %s: allowed = %v, want %v", c.from, c.to, got, c.ok)
		}
	}
}

// TestPackageComments demands a comment that teaches from every package.
func TestPackageComments(t *testing.T) {
	comments := map[string]int{}
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (strings.HasPrefix(d.Name(), "_") || d.Name() == "node_modules" || d.Name() == "testdata" || d.Name() == ".git") {
			return filepath.SkipDir
		}
		if d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return nil
		}
		src, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		f, err := parser.ParseFile(token.NewFileSet(), path, src, parser.PackageClauseOnly|parser.ParseComments)
		if err != nil {
			return err
		}
		comments[filepath.Dir(path)] += len(f.Doc.Text())
		if lines := strings.Count(string(src), "\n"); lines > 800 {
			t.Errorf("%s has %d lines; split it (800 is the limit)", path, lines)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for dir, n := range comments {
		if n < 150 {
			t.Errorf("package %s: comment of %d characters; say what it does, hides, guarantees and does not protect against", dir, n)
		}
	}
}

// TestSecurityPageNamesRealTests: doc/security.md may promise nothing that is not tested.
func TestSecurityPageNamesRealTests(t *testing.T) {
	page, err := os.ReadFile("doc/security.md")
	if err != nil {
		t.Fatal(err)
	}
	known := map[string]bool{}
	declared := regexp.MustCompile(`(?m)^func (Test[A-Za-z0-9_]+)\(`)
	err = filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (strings.HasPrefix(d.Name(), "_") || d.Name() == "node_modules" || d.Name() == ".git") {
			return filepath.SkipDir
		}
		if !strings.HasSuffix(path, "_test.go") {
			return nil
		}
		b, err := os.ReadFile(path)
		for _, m := range declared.FindAllSubmatch(b, -1) {
			known[string(m[1])] = true
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	named := regexp.MustCompile("`(Test[A-Za-z0-9_]+)`").FindAllSubmatch(page, -1)
	if len(named) < 30 {
		t.Fatalf("the page names %d tests; that is not the page", len(named))
	}
	for _, m := range named {
		if !known[string(m[1])] {
			t.Errorf("doc/security.md names %s, which does not exist", m[1])
		}
	}
}
