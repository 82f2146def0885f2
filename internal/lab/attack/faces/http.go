// Package faces are the attacks on what answers requests: the dashboard and the administration
// (http-), ThingSpeak's face over REST (key-) and MQTT (mqtt-), the way to a cloud (cloud-), a
// workstation's own address (station-), and a gateway's address for legacy devices (legacy-).
//
// Each request is written by hand, so that it can be one that no client of the product sends. One
// attack uses a real browser, and one another user of this machine; both are left out, and the run
// says so, where this machine has neither.
package faces

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

	"vitalseal/internal/lab/attack"
	"vitalseal/internal/lab/attack/office"
	"vitalseal/internal/lab/weaken"
)

// asks is an attack by a signed-in person who asks for what is not theirs: every request must be
// refused.
func asks(id, threat, role, does string, requests func(t *attack.Target) []attack.Request) attack.Attack {
	return attack.Attack{ID: id, Threat: threat, Position: "a signed-in " + role, Does: does, Expected: "403 for each", Right: attack.Answers(http.StatusForbidden), Control: weaken.Policy,
		Run: func(ctx context.Context, t *attack.Target) (attack.Result, error) {
			s, err := t.As(ctx, role)
			if err != nil {
				return attack.Result{}, err
			}
			var last attack.Answer
			var seen []attack.Seen
			all := requests(t)
			for _, r := range all {
				r.Bearer = s.Access
				if last, err = t.Front().Send(ctx, r); err != nil {
					return attack.Result{}, err
				}
				if last.OK() {
					return attack.Through("answered", "%s %s: %d, %d bytes", r.Method, r.Path, last.Status, len(last.Body))
				}
				seen = append(seen, attack.Status(last)...)
			}
			return attack.RefusedWith(seen, "refused", "%d requests, the last: %s", len(all), last)
		}}
}

// values are the addresses of a patient's values.
func values(patient string) (out []attack.Request) {
	for _, p := range []string{"", "/trends?kind=heart_rate_bpm", "/waveform?seconds=2"} {
		out = append(out, attack.Request{Method: "GET", Path: "/api/patients/" + patient + p})
	}
	return out
}

// HTTP are the attacks on the faces of the dashboard and the administration.
func HTTP() []attack.Attack {
	return []attack.Attack{
		asks("http-patient-patient", "see another patient", "patient", "a patient asks for the values, trends and waves of another",
			func(t *attack.Target) []attack.Request { return values(t.Ward.Patients[1].ID) }),
		asks("http-nurse-other-ward", "see a patient without a relationship", "nurse", "a nurse asks for a patient of another ward",
			func(t *attack.Target) []attack.Request { return values(t.Ward.Patients[1].ID) }),
		asks("http-admin-vitals", "see a patient by administering", "admin", "an administrator asks for a patient's values",
			func(t *attack.Target) []attack.Request { return values(t.Ward.Patients[0].ID) }),
		{ID: "http-staff-vitals", Threat: "see values with a role for beds and devices", Position: "a signed-in staff member", Does: "staff ask for a patient's values, trends and waves",
			Expected: "403 for each", Right: attack.Answers(http.StatusForbidden), Control: weaken.Policy, Run: staffVitals},
		asks("http-escalate", "become an administrator", "nurse", "a nurse makes a person, changes her own role and invites a gateway",
			func(t *attack.Target) []attack.Request {
				return []attack.Request{
					{Method: "POST", Path: "/api/admin/persons", Body: map[string]any{"login": t.Name("evil-"), "role": "admin", "display_name": "E"}},
					{Method: "PUT", Path: "/api/admin/persons/nurse/role", Body: map[string]any{"role": "admin"}},
					{Method: "POST", Path: "/api/admin/gateways", Body: map[string]any{"id": t.Name("gw-evil-"), "sensors": []any{}}},
				}
			}),
		asks("http-read-audit", "watch who watches", "doctor", "a doctor reads the audit log and the inventory of persons",
			func(*attack.Target) []attack.Request {
				return []attack.Request{{Method: "GET", Path: "/api/admin/audit"}, {Method: "GET", Path: "/api/admin/persons"}}
			}),
		{ID: "http-consent-other", Threat: "lock colleagues out of a patient", Position: "a signed-in patient", Does: "a patient changes the consent of another patient",
			Expected: "403", Right: attack.Answers(http.StatusForbidden), Control: weaken.Policy, Run: consentOfOther},
		{ID: "http-mass-assignment", Threat: "become an administrator", Position: "a signed-in nurse", Does: "fields that the form does not have (role, person) are sent along with allowed requests",
			Expected: "400, naming the field; the role stays", Right: attack.Answers(http.StatusBadRequest), Control: weaken.StrictJSON, Run: massAssignment},
		{ID: "http-csrf-form", Threat: "act as the person at the workstation", Position: "a web page elsewhere, opened at a workstation",
			Does: "the page sends a form that changes something, with the browser's cookies", Expected: "403", Right: attack.Answers(http.StatusForbidden), Control: weaken.OwnPages,
			Run: forged(map[string]string{"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site", "X-Vitalseal-Request": ""})},
		{ID: "http-csrf-sibling", Threat: "act as the person at the workstation", Position: "another local server on the same host name",
			Does: "a page at another port of the same machine sends a request", Expected: "403", Right: attack.Answers(http.StatusForbidden), Control: weaken.OwnPages,
			Run: forged(map[string]string{"Origin": "http://127.0.0.1:9999", "Sec-Fetch-Site": "same-site"})},
		{ID: "http-rebinding", Threat: "read through the person's browser", Position: "a web page elsewhere that rebinds its name to loopback",
			Does: "a request with a foreign Host reaches the loopback address", Expected: "421", Right: attack.Answers(http.StatusMisdirectedRequest), Control: weaken.HostName, Run: rebinding},
		{ID: "http-xss", Threat: "run a script in a colleague's browser", Position: "a user who may fill in a text field",
			Does: "markup is written into every text field that there is and read back everywhere", Expected: "data, never a page: JSON, nosniff, a policy without inline scripts; nothing runs in a real browser", Right: attack.Reads(harmless), Control: weaken.SafeMarkup, Run: xss},
		{ID: "http-sql", Threat: "read the database", Position: "a signed-in nurse", Does: "SQL in ids, logins, query parameters and channel numbers",
			Expected: "answered like something that does not exist", Right: attack.Reads("like nothing"), Control: weaken.BoundQueries, Run: sqlInjection},
		{ID: "http-traversal", Threat: "read the hub's files", Position: "any user of a workstation", Does: "ways up out of the front end's folder, in six spellings, for the hub's own files",
			Expected: "no file: the front end's page, 404, or the way to the address without ways up in it", Right: attack.Reads("the front end's page", "404 ", "the plain address"), Control: weaken.KnownFiles, Run: traversal},
		{ID: "http-huge-body", Threat: "fill the hub's memory", Position: "any user of a workstation", Does: "a sign-in of 300 KiB", Expected: "413, before it is read", Right: attack.Answers(http.StatusRequestEntityTooLarge), Control: weaken.BodyBound, Run: hugeBody},
		{ID: "http-bomb", Threat: "fill the hub's memory", Position: "any user of a workstation", Does: "a gzip bomb (32 MiB in 32 KiB) as a request's body",
			Expected: "never inflated: 400, as no JSON", Right: attack.Answers(http.StatusBadRequest), Control: weaken.NoInflating, Run: bomb},
		{ID: "http-token-in-log", Threat: "take tokens out of a log", Position: "a user who reads the logs",
			Does: "tokens are sent in the address, as a cookie and as a bearer token; then all logs are searched", Expected: "not one of them is there", Right: attack.Reads("in no log"), Control: weaken.QuietLog, Run: tokenInLog},
	}
}

// oneAsk is a single request that must be refused.
func oneAsk(ctx context.Context, t *attack.Target, role string, r attack.Request) (attack.Result, error) {
	s, err := t.As(ctx, role)
	if err != nil {
		return attack.Result{}, err
	}
	r.Bearer = s.Access
	a, err := t.Front().Send(ctx, r)
	if err != nil {
		return attack.Result{}, err
	}
	return attack.Judge(a.OK(), attack.Status(a), "answered", "refused", "%s %s: %s", r.Method, r.Path, a)
}

// consentOfOther sends a change that the other patient herself could make: only who asks is wrong.
func consentOfOther(ctx context.Context, t *attack.Target) (attack.Result, error) {
	doctor, err := t.As(ctx, "doctor")
	if err != nil {
		return attack.Result{}, err
	}
	_, claims, err := office.OpenToken(doctor.Access)
	if err != nil {
		return attack.Result{}, err
	}
	return oneAsk(ctx, t, "patient", attack.Request{Method: "PUT", Path: "/api/patients/" + t.Ward.Patients[1].ID + "/consent", Body: map[string]any{"person": claims["sub"], "excluded": true}})
}

func staffVitals(ctx context.Context, t *attack.Target) (attack.Result, error) {
	_, who, err := t.Person(ctx, "staff", nil)
	if err != nil {
		return attack.Result{}, err
	}
	s, err := t.Front().SignIn(ctx, who)
	if err != nil {
		return attack.Result{}, err
	}
	var last attack.Answer
	var seen []attack.Seen
	for _, r := range values(t.Ward.Patients[0].ID) {
		r.Bearer = s.Access
		if last, err = t.Front().Send(ctx, r); err != nil {
			return attack.Result{}, err
		}
		if last.OK() {
			return attack.Through("answered", "%s: %d", r.Path, last.Status)
		}
		seen = append(seen, attack.Status(last)...)
	}
	return attack.RefusedWith(seen, "refused", "%s", last)
}

func massAssignment(ctx context.Context, t *attack.Target) (attack.Result, error) {
	_, who, err := t.Person(ctx, "nurse", nil)
	if err != nil {
		return attack.Result{}, err
	}
	s, err := t.Front().SignIn(ctx, who)
	if err != nil {
		return attack.Result{}, err
	}
	a, err := t.Front().Send(ctx, attack.Request{Method: "POST", Path: "/api/account/password", Bearer: s.Access,
		Body: map[string]any{"old": who.Password, "new": who.Password + "-2", "role": "admin", "person": "doctor"}})
	if err != nil {
		return attack.Result{}, err
	}
	return attack.Judge(a.OK(), attack.Status(a), "an unknown field was taken along", "refused whole", "%s", a)
}

// forged sends a signed-in person's browser request as another page would cause it.
func forged(header map[string]string) func(context.Context, *attack.Target) (attack.Result, error) {
	return func(ctx context.Context, t *attack.Target) (attack.Result, error) {
		_, who, err := t.Person(ctx, "nurse", nil)
		if err != nil {
			return attack.Result{}, err
		}
		c, err := t.Client(ctx, who)
		if err != nil {
			return attack.Result{}, err
		}
		h := map[string]string{"Cookie": strings.Join(c.Cookies()["Cookie"], "; ")}
		for k, v := range header {
			h[k] = v
		}
		a, err := t.Front().Send(ctx, attack.Request{Method: "POST", Path: "/api/account/password", Header: h, Body: map[string]string{"old": who.Password, "new": "Chosen-by-the-attacker-1"}})
		if err != nil {
			return attack.Result{}, err
		}
		return attack.Judge(a.OK(), attack.Status(a), "the password was changed", "refused", "%s", a)
	}
}

func rebinding(ctx context.Context, t *attack.Target) (attack.Result, error) {
	s, err := t.As(ctx, "doctor")
	if err != nil {
		return attack.Result{}, err
	}
	a, err := t.Front().Send(ctx, attack.Request{Method: "GET", Path: "/api/beds", Bearer: s.Access, Host: "evil.example:8420"})
	if err != nil {
		return attack.Result{}, err
	}
	return attack.Judge(a.OK(), attack.Status(a), "answered to a foreign name", "refused", "%s", a)
}

const harmless = "data only"

const markup = `<img src=x onerror=alert(1)><script>alert(1)</script>`

// xss writes markup wherever text goes and looks at how it comes back.
func xss(ctx context.Context, t *attack.Target) (attack.Result, error) {
	admin, err := t.As(ctx, "admin")
	if err != nil {
		return attack.Result{}, err
	}
	ward := t.Name("x-")
	taken := 0
	for _, r := range []attack.Request{
		{Method: "POST", Path: "/api/admin/wards", Body: map[string]any{"id": ward, "name": markup}},
		{Method: "POST", Path: "/api/admin/beds", Body: map[string]any{"id": ward + "-1", "ward": ward, "name": markup}},
		{Method: "POST", Path: "/api/admin/patients", Body: map[string]any{"name": markup, "bed": ward + "-1", "meant": true}},
		{Method: "POST", Path: "/api/admin/persons", Body: map[string]any{"login": ward, "role": "nurse", "display_name": markup, "wards": []string{ward}}},
		{Method: "POST", Path: "/api/admin/persons", Body: map[string]any{"login": markup, "role": "nurse", "display_name": "x"}},
		{Method: "POST", Path: "/api/admin/workstations", Body: map[string]any{"id": markup}},
		{Method: "POST", Path: "/api/admin/channels", Body: map[string]any{"name": markup, "fields": []string{markup}}},
	} {
		r.Bearer = admin.Access
		a, err := t.Front().Send(ctx, r)
		if err != nil {
			return attack.Result{}, err
		}
		if a.OK() {
			taken++
		}
	}
	if taken < 3 {
		return attack.Result{}, fmt.Errorf("only %d text fields took the markup; there is nothing to look at", taken)
	}
	looked := 0
	for _, path := range []string{"/api/admin/wards", "/api/admin/beds", "/api/admin/patients", "/api/admin/persons", "/api/admin/inventory", "/api/beds",
		"/patient/" + url.PathEscape(markup), "/api/patients/" + url.PathEscape(markup), "/channels/" + url.PathEscape(markup) + "/feeds.json", "/?q=" + url.QueryEscape(markup)} {
		a, err := t.Front().Send(ctx, attack.Request{Method: "GET", Path: path, Bearer: admin.Access})
		if err != nil {
			return attack.Result{}, err
		}
		looked++
		page := strings.Contains(a.Header.Get("Content-Type"), "html")
		policy := a.Header.Get("Content-Security-Policy")
		switch {
		case page && bytes.Contains(a.Body, []byte("<script>alert(1)")):
			return attack.Through("the markup came back in a page", "%s", path)
		case a.Header.Get("X-Content-Type-Options") != "nosniff":
			return attack.Through("an answer may be taken for a page", "%s has no nosniff, type %s", path, a.Header.Get("Content-Type"))
		case page && (policy == "" || strings.Contains(policy, "unsafe-inline")):
			return attack.Through("a page without a policy against scripts", "%s: %q", path, policy)
		}
	}
	return attack.RefusedWith(attack.Word(harmless), "came back as data only", "%d fields took it, %d answers looked at", taken, looked)
}

// sqlInjection compares what injected text answers with what something that does not exist answers.
func sqlInjection(ctx context.Context, t *attack.Target) (attack.Result, error) {
	s, err := t.As(ctx, "nurse")
	if err != nil {
		return attack.Result{}, err
	}
	tried := 0
	for _, to := range []struct{ before, after string }{
		{"/api/patients/", ""}, {"/api/patients/", "/trends?kind=heart_rate_bpm"}, {"/channels/", "/feeds.json?api_key=" + t.Ward.ReadKey},
		{"/api/admin/persons/", ""}, {"/api/admin/explain?action=patient:view&who=", "&resource=system"},
	} {
		ask := func(id string) (attack.Answer, error) {
			return t.Front().Send(ctx, attack.Request{Method: "GET", Path: to.before + url.PathEscape(id) + to.after, Bearer: s.Access})
		}
		nobody, err := ask("nosuchthing")
		if err != nil {
			return attack.Result{}, err
		}
		for _, inject := range []string{"nosuchthing' OR '1'='1", "nosuchthing' OR 1=1 -- ", "x' UNION SELECT id, 'ward-a', 'a-1', NULL FROM patients -- ", "1 OR 1=1"} {
			a, err := ask(inject)
			if err != nil {
				return attack.Result{}, err
			}
			tried++
			if a.Status != nobody.Status {
				return attack.Through("the injected text changed the answer", "%s%s: %d instead of %d", to.before, inject, a.Status, nobody.Status)
			}
		}
	}
	for _, login := range []string{"doctor' --", "' OR '1'='1", "nobody' UNION SELECT * FROM persons --"} {
		a, err := t.Front().Send(ctx, attack.Request{Method: "POST", Path: "/api/session", Body: map[string]string{"login": login, "password": "x"}})
		if err != nil {
			return attack.Result{}, err
		}
		tried++
		if a.OK() || a.Status >= 500 {
			return attack.Through("the sign-in noticed the text", "%s: %s", login, a)
		}
	}
	return attack.RefusedWith(attack.Word("like nothing"), "answered like nothing", "%d tries", tried)
}

func traversal(ctx context.Context, t *attack.Target) (attack.Result, error) {
	secret := t.Path("demo.json")
	index, err := t.Front().Send(ctx, attack.Request{Method: "GET", Path: "/"})
	if err != nil {
		return attack.Result{}, err
	}
	tried := 0
	var seen []attack.Seen
	for _, up := range []string{"..", "%2e%2e", "..%2f..", "....//", "..%5c", "%252e%252e"} {
		for _, at := range []string{"/" + strings.Repeat(up+"/", 12) + strings.TrimPrefix(secret, "/"), "/assets/" + strings.Repeat(up+"/", 12) + "etc/hostname", "/" + secret} {
			a, err := t.Front().Send(ctx, attack.Request{Method: "GET", Path: at})
			if err != nil {
				return attack.Result{}, err
			}
			tried++
			if a.OK() && bytes.Contains(a.Body, []byte("thingspeak_read_key")) {
				return attack.Through("a file of the machine was served", "GET %s", at)
			}
			switch {
			case a.Status == http.StatusTemporaryRedirect && plain(a.Header.Get("Location")):
				seen = append(seen, attack.Word("the plain address")...)
			case a.OK() && bytes.Equal(a.Body, index.Body):
				seen = append(seen, attack.Word("the front end's page")...)
			default:
				seen = append(seen, attack.Word("%d %s", a.Status, a.Header.Get("Location"))...)
			}
		}
	}
	return attack.RefusedWith(seen, "no file", "%d addresses", tried)
}

// plain reports whether an address is one of this server's own, without a way up in it.
func plain(location string) bool {
	to, err := url.Parse(location)
	return err == nil && to.Host == "" && strings.HasPrefix(to.Path, "/") && !strings.Contains(to.Path, "//") && !slices.Contains(strings.Split(to.Path, "/"), "..")
}

func hugeBody(ctx context.Context, t *attack.Target) (attack.Result, error) {
	body := `{"login":"` + strings.Repeat("a", 300<<10) + `","password":"x"}`
	a, err := t.Front().Send(ctx, attack.Request{Method: "POST", Path: "/api/session", Raw: strings.NewReader(body)})
	if err != nil {
		return attack.Result{}, err
	}
	// 401 means that it was read to the end and looked into.
	return attack.Judge(a.Status == http.StatusUnauthorized || a.OK(), attack.Status(a), "read to its end", "refused", "%s", a)
}

func bomb(ctx context.Context, t *attack.Target) (attack.Result, error) {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	_, err := io.Copy(z, io.MultiReader(strings.NewReader(`{"login":"x","password":"x"}`), io.LimitReader(spaces{}, 32<<20)))
	if err == nil {
		err = z.Close()
	}
	if err != nil {
		return attack.Result{}, err
	}
	began := time.Now()
	a, err := t.Front().Send(ctx, attack.Request{Method: "POST", Path: "/api/session", Raw: &b, Header: map[string]string{"Content-Encoding": "gzip"}})
	if err != nil {
		return attack.Result{}, err
	}
	return attack.Judge(a.Status == http.StatusUnauthorized || a.OK(), attack.Status(a), "inflated and understood", "not inflated", "%s after %v", a, time.Since(began).Round(time.Millisecond))
}

type spaces struct{}

func (spaces) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = ' '
	}
	return len(p), nil
}
