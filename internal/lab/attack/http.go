package attack

import (
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"vitalseal/internal/lab/weaken"
)

// asks is an attack by a signed-in person who asks for what is not theirs: every request must be refused.
func asks(id, threat, role, does string, requests func(t *Target) []request) Attack {
	return Attack{ID: id, Threat: threat, Position: "a signed-in " + role, Does: does, Expected: "403 for each", Right: answers(http.StatusForbidden), Control: weaken.Policy,
		Run: func(ctx context.Context, t *Target) (Result, error) {
			s, err := t.as(ctx, role)
			if err != nil {
				return Result{}, err
			}
			var last answer
			var seen []Seen
			all := requests(t)
			for _, r := range all {
				r.bearer = s.Access
				if last, err = t.front().send(ctx, r); err != nil {
					return Result{}, err
				}
				if last.ok() {
					return through("answered", "%s %s: %d, %d bytes", r.method, r.path, last.Status, len(last.Body))
				}
				seen = append(seen, status(last)...)
			}
			return refused(seen, "refused", "%d requests, the last: %s", len(all), last)
		}}
}

// values are the addresses of a patient's values.
func values(patient string) (out []request) {
	for _, p := range []string{"", "/trends?kind=heart_rate_bpm", "/waveform?seconds=2"} {
		out = append(out, request{method: "GET", path: "/api/patients/" + patient + p})
	}
	return out
}

func httpAttacks() []Attack {
	return []Attack{
		asks("http-patient-patient", "see another patient", "patient", "a patient asks for the values, trends and waves of another",
			func(t *Target) []request { return values(t.ward.Patients[1].ID) }),
		asks("http-nurse-other-ward", "see a patient without a relationship", "nurse", "a nurse asks for a patient of another ward",
			func(t *Target) []request { return values(t.ward.Patients[1].ID) }),
		asks("http-admin-vitals", "see a patient by administering", "admin", "an administrator asks for a patient's values",
			func(t *Target) []request { return values(t.ward.Patients[0].ID) }),
		{ID: "http-staff-vitals", Threat: "see values with a role for beds and devices", Position: "a signed-in staff member", Does: "staff ask for a patient's values, trends and waves",
			Expected: "403 for each", Right: answers(http.StatusForbidden), Control: weaken.Policy, Run: staffVitals},
		asks("http-escalate", "become an administrator", "nurse", "a nurse makes a person, changes her own role and invites a gateway",
			func(t *Target) []request {
				return []request{
					{method: "POST", path: "/api/admin/persons", body: map[string]any{"login": t.name("evil-"), "role": "admin", "display_name": "E"}},
					{method: "PUT", path: "/api/admin/persons/nurse/role", body: map[string]any{"role": "admin"}},
					{method: "POST", path: "/api/admin/gateways", body: map[string]any{"id": t.name("gw-evil-"), "sensors": []any{}}},
				}
			}),
		asks("http-read-audit", "watch who watches", "doctor", "a doctor reads the audit log and the inventory of persons",
			func(*Target) []request {
				return []request{{method: "GET", path: "/api/admin/audit"}, {method: "GET", path: "/api/admin/persons"}}
			}),
		{ID: "http-consent-other", Threat: "lock colleagues out of a patient", Position: "a signed-in patient", Does: "a patient changes the consent of another patient",
			Expected: "403", Right: answers(http.StatusForbidden), Control: weaken.Policy, Run: consentOfOther},
		{ID: "http-mass-assignment", Threat: "become an administrator", Position: "a signed-in nurse", Does: "fields that the form does not have (role, person) are sent along with allowed requests",
			Expected: "400, naming the field; the role stays", Right: answers(http.StatusBadRequest), Control: weaken.StrictJSON, Run: massAssignment},
		{ID: "http-csrf-form", Threat: "act as the person at the workstation", Position: "a web page elsewhere, opened at a workstation",
			Does: "the page sends a form that changes something, with the browser's cookies", Expected: "403", Right: answers(http.StatusForbidden), Control: weaken.OwnPages,
			Run: forged(map[string]string{"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site", "X-Vitalseal-Request": ""})},
		{ID: "http-csrf-sibling", Threat: "act as the person at the workstation", Position: "another local server on the same host name",
			Does: "a page at another port of the same machine sends a request", Expected: "403", Right: answers(http.StatusForbidden), Control: weaken.OwnPages,
			Run: forged(map[string]string{"Origin": "http://127.0.0.1:9999", "Sec-Fetch-Site": "same-site"})},
		{ID: "http-rebinding", Threat: "read through the person's browser", Position: "a web page elsewhere that rebinds its name to loopback",
			Does: "a request with a foreign Host reaches the loopback address", Expected: "421", Right: answers(http.StatusMisdirectedRequest), Control: weaken.HostName, Run: rebinding},
		{ID: "http-xss", Threat: "run a script in a colleague's browser", Position: "a user who may fill in a text field",
			Does: "markup is written into every text field that there is and read back everywhere", Expected: "data, never a page: JSON, nosniff, a policy without inline scripts; nothing runs in a real browser", Right: reads(harmless), Control: weaken.SafeMarkup, Run: xss},
		{ID: "http-sql", Threat: "read the database", Position: "a signed-in nurse", Does: "SQL in ids, logins, query parameters and channel numbers",
			Expected: "answered like something that does not exist", Right: reads("like nothing"), Control: weaken.BoundQueries, Run: sqlInjection},
		{ID: "http-traversal", Threat: "read the hub's files", Position: "any user of a workstation", Does: "ways up out of the front end's folder, in six spellings, for the hub's own files",
			Expected: "no file: the front end's page, 404, or the way to the address without ways up in it", Right: reads("the front end's page", "404 ", "the plain address"), Control: weaken.KnownFiles, Run: traversal},
		{ID: "http-huge-body", Threat: "fill the hub's memory", Position: "any user of a workstation", Does: "a sign-in of 300 KiB", Expected: "413, before it is read", Right: answers(http.StatusRequestEntityTooLarge), Control: weaken.BodyBound, Run: hugeBody},
		{ID: "http-bomb", Threat: "fill the hub's memory", Position: "any user of a workstation", Does: "a gzip bomb (32 MiB in 32 KiB) as a request's body",
			Expected: "never inflated: 400, as no JSON", Right: answers(http.StatusBadRequest), Control: weaken.NoInflating, Run: bomb},
		{ID: "http-token-in-log", Threat: "take tokens out of a log", Position: "a user who reads the logs",
			Does: "tokens are sent in the address, as a cookie and as a bearer token; then all logs are searched", Expected: "not one of them is there", Right: reads("in no log"), Control: weaken.QuietLog, Run: tokenInLog},
	}
}

// oneAsk is a single request that must be refused.
func oneAsk(ctx context.Context, t *Target, role string, r request) (Result, error) {
	s, err := t.as(ctx, role)
	if err != nil {
		return Result{}, err
	}
	r.bearer = s.Access
	a, err := t.front().send(ctx, r)
	if err != nil {
		return Result{}, err
	}
	return judge(a.ok(), status(a), "answered", "refused", "%s %s: %s", r.method, r.path, a)
}

// consentOfOther sends a change that the other patient herself could make: only who asks is wrong.
func consentOfOther(ctx context.Context, t *Target) (Result, error) {
	doctor, err := t.as(ctx, "doctor")
	if err != nil {
		return Result{}, err
	}
	_, claims, err := opened(doctor.Access)
	if err != nil {
		return Result{}, err
	}
	return oneAsk(ctx, t, "patient", request{method: "PUT", path: "/api/patients/" + t.ward.Patients[1].ID + "/consent", body: map[string]any{"person": claims["sub"], "excluded": true}})
}

func staffVitals(ctx context.Context, t *Target) (Result, error) {
	_, who, err := t.person(ctx, "staff", nil)
	if err != nil {
		return Result{}, err
	}
	s, err := t.front().signIn(ctx, who)
	if err != nil {
		return Result{}, err
	}
	var last answer
	var seen []Seen
	for _, r := range values(t.ward.Patients[0].ID) {
		r.bearer = s.Access
		if last, err = t.front().send(ctx, r); err != nil {
			return Result{}, err
		}
		if last.ok() {
			return through("answered", "%s: %d", r.path, last.Status)
		}
		seen = append(seen, status(last)...)
	}
	return refused(seen, "refused", "%s", last)
}

func massAssignment(ctx context.Context, t *Target) (Result, error) {
	_, who, err := t.person(ctx, "nurse", nil)
	if err != nil {
		return Result{}, err
	}
	s, err := t.front().signIn(ctx, who)
	if err != nil {
		return Result{}, err
	}
	a, err := t.front().send(ctx, request{method: "POST", path: "/api/account/password", bearer: s.Access,
		body: map[string]any{"old": who.Password, "new": who.Password + "-2", "role": "admin", "person": "doctor"}})
	if err != nil {
		return Result{}, err
	}
	return judge(a.ok(), status(a), "an unknown field was taken along", "refused whole", "%s", a)
}

// forged sends a signed-in person's browser request as another page would cause it.
func forged(header map[string]string) func(context.Context, *Target) (Result, error) {
	return func(ctx context.Context, t *Target) (Result, error) {
		_, who, err := t.person(ctx, "nurse", nil)
		if err != nil {
			return Result{}, err
		}
		c, err := t.client(ctx, who)
		if err != nil {
			return Result{}, err
		}
		h := map[string]string{"Cookie": strings.Join(c.Cookies()["Cookie"], "; ")}
		for k, v := range header {
			h[k] = v
		}
		a, err := t.front().send(ctx, request{method: "POST", path: "/api/account/password", header: h, body: map[string]string{"old": who.Password, "new": "Chosen-by-the-attacker-1"}})
		if err != nil {
			return Result{}, err
		}
		return judge(a.ok(), status(a), "the password was changed", "refused", "%s", a)
	}
}

func rebinding(ctx context.Context, t *Target) (Result, error) {
	s, err := t.as(ctx, "doctor")
	if err != nil {
		return Result{}, err
	}
	a, err := t.front().send(ctx, request{method: "GET", path: "/api/beds", bearer: s.Access, host: "evil.example:8420"})
	if err != nil {
		return Result{}, err
	}
	return judge(a.ok(), status(a), "answered to a foreign name", "refused", "%s", a)
}

const harmless = "data only"

const markup = `<img src=x onerror=alert(1)><script>alert(1)</script>`

// xss writes markup wherever text goes and looks at how it comes back.
func xss(ctx context.Context, t *Target) (Result, error) {
	admin, err := t.as(ctx, "admin")
	if err != nil {
		return Result{}, err
	}
	ward := t.name("x-")
	taken := 0
	for _, r := range []request{
		{method: "POST", path: "/api/admin/wards", body: map[string]any{"id": ward, "name": markup}},
		{method: "POST", path: "/api/admin/beds", body: map[string]any{"id": ward + "-1", "ward": ward, "name": markup}},
		{method: "POST", path: "/api/admin/patients", body: map[string]any{"name": markup, "bed": ward + "-1", "meant": true}},
		{method: "POST", path: "/api/admin/persons", body: map[string]any{"login": ward, "role": "nurse", "display_name": markup, "wards": []string{ward}}},
		{method: "POST", path: "/api/admin/persons", body: map[string]any{"login": markup, "role": "nurse", "display_name": "x"}},
		{method: "POST", path: "/api/admin/workstations", body: map[string]any{"id": markup}},
		{method: "POST", path: "/api/admin/channels", body: map[string]any{"name": markup, "fields": []string{markup}}},
	} {
		r.bearer = admin.Access
		a, err := t.front().send(ctx, r)
		if err != nil {
			return Result{}, err
		}
		if a.ok() {
			taken++
		}
	}
	if taken < 3 {
		return Result{}, fmt.Errorf("only %d text fields took the markup; there is nothing to look at", taken)
	}
	looked := 0
	for _, path := range []string{"/api/admin/wards", "/api/admin/beds", "/api/admin/patients", "/api/admin/persons", "/api/admin/inventory", "/api/beds",
		"/patient/" + url.PathEscape(markup), "/api/patients/" + url.PathEscape(markup), "/channels/" + url.PathEscape(markup) + "/feeds.json", "/?q=" + url.QueryEscape(markup)} {
		a, err := t.front().send(ctx, request{method: "GET", path: path, bearer: admin.Access})
		if err != nil {
			return Result{}, err
		}
		looked++
		page := strings.Contains(a.Header.Get("Content-Type"), "html")
		policy := a.Header.Get("Content-Security-Policy")
		switch {
		case page && bytes.Contains(a.Body, []byte("<script>alert(1)")):
			return through("the markup came back in a page", "%s", path)
		case a.Header.Get("X-Content-Type-Options") != "nosniff":
			return through("an answer may be taken for a page", "%s has no nosniff, type %s", path, a.Header.Get("Content-Type"))
		case page && (policy == "" || strings.Contains(policy, "unsafe-inline")):
			return through("a page without a policy against scripts", "%s: %q", path, policy)
		}
	}
	return refused(word(harmless), "came back as data only", "%d fields took it, %d answers looked at", taken, looked)
}

// sqlInjection compares what injected text answers with what something that does not exist answers.
func sqlInjection(ctx context.Context, t *Target) (Result, error) {
	s, err := t.as(ctx, "nurse")
	if err != nil {
		return Result{}, err
	}
	tried := 0
	for _, to := range []struct{ before, after string }{
		{"/api/patients/", ""}, {"/api/patients/", "/trends?kind=heart_rate_bpm"}, {"/channels/", "/feeds.json?api_key=" + t.ward.ReadKey},
		{"/api/admin/persons/", ""}, {"/api/admin/explain?action=patient:view&who=", "&resource=system"},
	} {
		ask := func(id string) (answer, error) {
			return t.front().send(ctx, request{method: "GET", path: to.before + url.PathEscape(id) + to.after, bearer: s.Access})
		}
		nobody, err := ask("nosuchthing")
		if err != nil {
			return Result{}, err
		}
		for _, inject := range []string{"nosuchthing' OR '1'='1", "nosuchthing' OR 1=1 -- ", "x' UNION SELECT id, 'ward-a', 'a-1', NULL FROM patients -- ", "1 OR 1=1"} {
			a, err := ask(inject)
			if err != nil {
				return Result{}, err
			}
			tried++
			if a.Status != nobody.Status {
				return through("the injected text changed the answer", "%s%s: %d instead of %d", to.before, inject, a.Status, nobody.Status)
			}
		}
	}
	for _, login := range []string{"doctor' --", "' OR '1'='1", "nobody' UNION SELECT * FROM persons --"} {
		a, err := t.front().send(ctx, request{method: "POST", path: "/api/session", body: map[string]string{"login": login, "password": "x"}})
		if err != nil {
			return Result{}, err
		}
		tried++
		if a.ok() || a.Status >= 500 {
			return through("the sign-in noticed the text", "%s: %s", login, a)
		}
	}
	return refused(word("like nothing"), "answered like nothing", "%d tries", tried)
}

func traversal(ctx context.Context, t *Target) (Result, error) {
	secret := t.path("demo.json")
	index, err := t.front().send(ctx, request{method: "GET", path: "/"})
	if err != nil {
		return Result{}, err
	}
	tried := 0
	var seen []Seen
	for _, up := range []string{"..", "%2e%2e", "..%2f..", "....//", "..%5c", "%252e%252e"} {
		for _, at := range []string{"/" + strings.Repeat(up+"/", 12) + strings.TrimPrefix(secret, "/"), "/assets/" + strings.Repeat(up+"/", 12) + "etc/hostname", "/" + secret} {
			a, err := t.front().send(ctx, request{method: "GET", path: at})
			if err != nil {
				return Result{}, err
			}
			tried++
			if a.ok() && bytes.Contains(a.Body, []byte("thingspeak_read_key")) {
				return through("a file of the machine was served", "GET %s", at)
			}
			switch {
			case a.Status == http.StatusTemporaryRedirect && plain(a.Header.Get("Location")):
				seen = append(seen, word("the plain address")...)
			case a.ok() && bytes.Equal(a.Body, index.Body):
				seen = append(seen, word("the front end's page")...)
			default:
				seen = append(seen, word("%d %s", a.Status, a.Header.Get("Location"))...)
			}
		}
	}
	return refused(seen, "no file", "%d addresses", tried)
}

// plain reports whether an address is one of this server's own, without a way up in it.
func plain(location string) bool {
	to, err := url.Parse(location)
	return err == nil && to.Host == "" && strings.HasPrefix(to.Path, "/") && !strings.Contains(to.Path, "//") && !slices.Contains(strings.Split(to.Path, "/"), "..")
}

func hugeBody(ctx context.Context, t *Target) (Result, error) {
	body := `{"login":"` + strings.Repeat("a", 300<<10) + `","password":"x"}`
	a, err := t.front().send(ctx, request{method: "POST", path: "/api/session", raw: strings.NewReader(body)})
	if err != nil {
		return Result{}, err
	}
	// 401 means that it was read to the end and looked into.
	return judge(a.Status == http.StatusUnauthorized || a.ok(), status(a), "read to its end", "refused", "%s", a)
}

func bomb(ctx context.Context, t *Target) (Result, error) {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	_, err := io.Copy(z, io.MultiReader(strings.NewReader(`{"login":"x","password":"x"}`), io.LimitReader(spaces{}, 32<<20)))
	if err == nil {
		err = z.Close()
	}
	if err != nil {
		return Result{}, err
	}
	began := time.Now()
	a, err := t.front().send(ctx, request{method: "POST", path: "/api/session", raw: &b, header: map[string]string{"Content-Encoding": "gzip"}})
	if err != nil {
		return Result{}, err
	}
	return judge(a.Status == http.StatusUnauthorized || a.ok(), status(a), "inflated and understood", "not inflated", "%s after %v", a, time.Since(began).Round(time.Millisecond))
}

type spaces struct{}

func (spaces) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = ' '
	}
	return len(p), nil
}
