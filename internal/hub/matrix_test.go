package hub_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"vitalseal/internal/view/admin"
	"vitalseal/internal/view/cloud"
	"vitalseal/internal/workstation/client"
)

// matrixRoles are the columns of testdata/faces.txt. "nobody" is a user who has not signed in, at an enrolled workstation.
var matrixRoles = []string{"patient", "nurse", "doctor", "staff", "auditor", "admin", "nobody"}

// TestEveryRoleAtEveryEndpoint asks everything of every face, in every role, about patients of every relationship, over HTTP
// through the overlay, and compares with a table that people can read.
func TestEveryRoleAtEveryEndpoint(t *testing.T) {
	lines := readMatrix(t)
	d := newDeployment(t)
	w := newMatrixWorld(t, d)
	for _, l := range lines {
		for i, role := range matrixRoles {
			got := w.ask(role, l)
			if want := l.want[i]; got != want {
				t.Errorf("faces.txt:%d: %s %s as %s: %d, want %d", l.number, l.method, l.path, role, got, want)
			}
		}
	}
}

// TestTheMatrixIsWhole: an endpoint that the table does not know was not thought about.
func TestTheMatrixIsWhole(t *testing.T) {
	var covered []string
	for _, l := range readMatrix(t) {
		path, _, _ := strings.Cut(l.path, "?")
		covered = append(covered, l.method+" "+path)
	}
	placeholder := regexp.MustCompile(`\{[^}]*\}`)
	for _, route := range endpoints(t) {
		var pattern strings.Builder
		rest := route
		for _, p := range placeholder.FindAllString(route, -1) {
			fixed, after, _ := strings.Cut(rest, p)
			pattern.WriteString(regexp.QuoteMeta(fixed) + "[^/]+")
			rest = after
		}
		match := regexp.MustCompile("^" + pattern.String() + regexp.QuoteMeta(rest) + "$")
		if !slices.ContainsFunc(covered, match.MatchString) {
			t.Errorf("%s has no line in testdata/faces.txt", route)
		}
	}
}

// endpoints are the methods and paths that the faces' sources register.
func endpoints(t *testing.T) []string {
	t.Helper()
	var out []string
	files, err := filepath.Glob("../view/*/*.go")
	must(t, err)
	pattern := regexp.MustCompile(`^(GET|POST|PUT|PATCH|DELETE) /`)
	methods := map[string]string{"get": "GET", "post": "POST", "put": "PUT", "del": "DELETE", "patch": "PATCH"}
	prefixes, tables := map[string]string{"../view/admin": admin.Prefix, "../view/cloud": cloud.Prefix}, map[string]int{}
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
		must(t, err)
		ast.Inspect(file, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.BasicLit:
				if s, err := strconv.Unquote(n.Value); err == nil && pattern.MatchString(s) {
					out = append(out, s)
				}
			case *ast.CallExpr: // at(get, "wards", ...), below the face's prefix
				if f, ok := n.Fun.(*ast.Ident); !ok || f.Name != "at" || len(n.Args) < 2 {
					break
				}
				method, ok1 := n.Args[0].(*ast.Ident)
				path, ok2 := n.Args[1].(*ast.BasicLit)
				if !ok1 || !ok2 || methods[method.Name] == "" || prefixes[filepath.Dir(name)] == "" {
					t.Errorf("%s: a route that this test does not understand", name)
					break
				}
				s, err := strconv.Unquote(path.Value)
				must(t, err)
				out = append(out, methods[method.Name]+" "+prefixes[filepath.Dir(name)]+s)
				tables[filepath.Dir(name)]++
			}
			return true
		})
	}
	for dir := range prefixes {
		if tables[dir] < 5 {
			t.Errorf("only %d routes found in %s: the search is broken", tables[dir], dir)
		}
	}
	if len(out) < 20 {
		t.Fatalf("only %d endpoints found: the search is broken", len(out))
	}
	return out
}

// matrixLine is one request and the status that each role gets.
type matrixLine struct {
	number       int
	method, path string
	body         string
	want         []int
}

// readMatrix reads testdata/faces.txt: METHOD PATH, seven statuses, and a body if there is one.
func readMatrix(t *testing.T) []matrixLine {
	t.Helper()
	f, err := os.Open("testdata/faces.txt")
	must(t, err)
	defer f.Close()
	var out []matrixLine
	s := bufio.NewScanner(f)
	for n := 1; s.Scan(); n++ {
		text := strings.TrimSpace(s.Text())
		if text == "" || strings.HasPrefix(text, "#") {
			continue
		}
		fields := strings.Fields(text)
		if fields[0] == "METHOD" {
			if !slices.Equal(fields[2:2+len(matrixRoles)], matrixRoles) {
				t.Fatalf("faces.txt:%d: columns are %v, want %v", n, fields[2:], matrixRoles)
			}
			continue
		}
		if len(fields) < 2+len(matrixRoles) {
			t.Fatalf("faces.txt:%d: %d columns, want at least %d", n, len(fields), 2+len(matrixRoles))
		}
		l := matrixLine{number: n, method: fields[0], path: fields[1], body: strings.Join(fields[2+len(matrixRoles):], " ")}
		for _, f := range fields[2 : 2+len(matrixRoles)] {
			status, err := strconv.Atoi(f)
			if err != nil {
				t.Fatalf("faces.txt:%d: %q is not a status", n, f)
			}
			l.want = append(l.want, status)
		}
		out = append(out, l)
	}
	must(t, s.Err())
	return out
}

// matrixWorld is a deployment with one person of each role and one patient of each relationship: own (ward 1, treated by
// the doctor, the patient herself), same (ward 1), other (ward 2), none (not admitted, without a doctor).
type matrixWorld struct {
	t      *testing.T
	desks  map[string]string // the address of each role's workstation: one alone may not ask so much at once
	people map[string]*client.Client
	names  *strings.Replacer // of {own} and the like in paths and bodies
}

func newMatrixWorld(t *testing.T, d *deployment) *matrixWorld {
	ctx := t.Context()
	work := t.TempDir()
	admin, _ := d.firstAdmin(work)
	w := &matrixWorld{t: t, people: map[string]*client.Client{"admin": admin}, desks: map[string]string{"admin": admin.Base().String()}}
	post := func(path string, in, out any) {
		t.Helper()
		must(t, admin.Do(ctx, http.MethodPost, "/api/admin/"+path, in, out))
	}
	for _, role := range matrixRoles {
		if role == "admin" {
			continue
		}
		var ticket json.RawMessage
		post("workstations", map[string]string{"id": "desk-" + role}, &ticket)
		file := filepath.Join(work, role+".ticket")
		must(t, os.WriteFile(file, ticket, 0o600))
		w.desks[role] = d.desk(d.enrol(file, filepath.Join(work, role))["desk-"+role])
	}
	var pairs []string
	for _, ward := range []string{"1", "2"} {
		post("wards", map[string]string{"id": "ward-" + ward, "name": "Ward " + ward}, nil)
	}
	patients := map[string]string{}
	for name, ward := range map[string]string{"own": "1", "same": "1", "other": "2", "none": ""} {
		in := map[string]string{"name": "Patient " + name}
		if ward != "" {
			in["bed"] = "bed-" + name
			post("beds", map[string]string{"id": in["bed"], "ward": "ward-" + ward, "name": in["bed"]}, nil)
		}
		var p struct {
			ID      string
			Channel int64
		}
		post("patients", in, &p)
		patients[name] = p.ID
		pairs = append(pairs, "{"+name+"}", p.ID, "{"+name+"-channel}", strconv.FormatInt(p.Channel, 10))
	}
	for role, body := range map[string]map[string]any{
		"patient": {"self": patients["own"]}, "nurse": {"wards": []string{"ward-1"}}, "doctor": {"patients": []string{patients["own"]}},
		"staff": {}, "auditor": {},
	} {
		body["login"], body["display_name"], body["role"] = role, "The "+role, role
		var p struct{ ID, Password string }
		post("persons", body, &p)
		pairs = append(pairs, "{"+role+"}", p.ID)
		w.people[role] = d.signIn(w.desks[role], role, p.Password)
	}
	w.names = strings.NewReplacer(pairs...)
	return w
}

// ask sends a line's request as role and gives the status.
func (w *matrixWorld) ask(role string, l matrixLine) int {
	w.t.Helper()
	var body io.Reader
	if l.body != "" {
		if !json.Valid([]byte(w.names.Replace(l.body))) {
			w.t.Fatalf("faces.txt:%d: body is not JSON", l.number)
		}
		body = bytes.NewReader([]byte(w.names.Replace(l.body)))
	}
	req, err := http.NewRequestWithContext(w.t.Context(), l.method, w.desks[role]+w.names.Replace(l.path), body)
	must(w.t, err)
	req.Header.Set("X-Vitalseal-Request", "1")
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if c := w.people[role]; c != nil {
		for k, v := range c.Cookies() {
			req.Header[k] = v
		}
	}
	res, err := (&http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}).Do(req)
	must(w.t, err)
	defer res.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(res.Body, 1<<20))
	must(w.t, err)
	if res.StatusCode >= 500 {
		w.t.Logf("%s %s as %s: %s", l.method, l.path, role, answer)
	}
	return res.StatusCode
}
