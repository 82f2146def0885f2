package dashboard_test

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"vitalseal/internal/hub/access"
	"vitalseal/internal/hub/archive"
	"vitalseal/internal/hub/directory"
	"vitalseal/internal/measurement/vitals"
	"vitalseal/internal/view/api"
	"vitalseal/internal/way/seal"
)

var update = flag.Bool("update", false, "write the golden files")

// golden compares an answer with testdata/name, after ids and times have been given stable names.
func golden(t *testing.T, w *ward, name, body string) {
	t.Helper()
	for id, stable := range map[string]string{w.ada: "PATIENT-ADA", w.emil: "PATIENT-EMIL", w.bela: "PATIENT-BELA"} {
		body = strings.ReplaceAll(body, `"`+id+`"`, `"`+stable+`"`)
	}
	body = regexp.MustCompile(`"20\d\d-[^"]*Z"`).ReplaceAllString(body, `"TIME"`)
	var v any
	if err := json.Unmarshal([]byte(body), &v); err != nil {
		t.Fatalf("%v in %s", err, body)
	}
	pretty, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	got := string(pretty) + "\n"
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", name, diff)
	}
}

func TestGolden(t *testing.T) {
	w := newWard(t)
	now := time.Now()
	w.append("a-1", numerics(now.Add(-90*time.Minute), good(vitals.Systolic, 121), good(vitals.Diastolic, 78), good(vitals.MeanArterial, 92)))
	for _, ago := range []time.Duration{70 * time.Minute, 45 * time.Minute, 20 * time.Minute} { // not silent for so long that it is questioned
		w.append("a-1", numerics(now.Add(-ago), good(vitals.HeartRate, 68)))
	}
	w.append("a-1", numerics(now.Add(-2*time.Second), good(vitals.HeartRate, 70), good(vitals.SpO2, 97)))
	w.append("a-1", numerics(now.Add(-time.Second), good(vitals.HeartRate, 72.5), vitals.Absent(vitals.SpO2, vitals.Unavailable),
		vitals.Checked(vitals.PerfusionIndex, 1.5, vitals.Questionable), good(vitals.DieTemperature, 31)))
	w.append("a-2", numerics(now.Add(-10*time.Minute), good(vitals.HeartRate, 58), good(vitals.SpO2, 95)))
	w.append("b-1", numerics(now.Add(-time.Second), vitals.Absent(vitals.HeartRate, vitals.ProbeOff)))

	for login, names := range map[string][]string{"nurse": {"beds", "patient", "waveform"}, "doctor": {"beds"}, "patient": {"beds", "session"},
		"staff": {"beds"}} {
		b := w.signedIn(login)
		for _, name := range names {
			path := map[string]string{"beds": "/api/beds", "patient": "/api/patients/" + w.ada, "session": "/api/session",
				"waveform": "/api/patients/" + w.ada + "/waveform?seconds=60"}[name]
			if name == "waveform" { // only now: what is asked for are the last seconds, and all before may have taken longer
				w.append("a-1", ppg(time.Now(), 0, 1000, 65535))
			}
			status, body := b.do("GET", path, nil, nil)
			if status != http.StatusOK {
				t.Fatalf("%s as %s: %d %s", path, login, status, body)
			}
			golden(t, w, login+"-"+name+".json", body)
		}
	}
}

func TestTrends(t *testing.T) {
	w := newWard(t)
	minute := time.Now().Truncate(time.Minute)
	for _, back := range []int{30, 29, 10} {
		at := minute.Add(-time.Duration(back)*time.Minute + 5*time.Second)
		w.append("a-1", numerics(at, good(vitals.HeartRate, 60), vitals.Absent(vitals.SpO2, vitals.Motion)))
		w.append("a-1", numerics(at.Add(time.Second), good(vitals.HeartRate, 64), vitals.Absent(vitals.SpO2, vitals.Motion)))
	}
	b := w.signedIn("nurse")
	type point struct {
		At             time.Time
		Min, Mean, Max float64
		Count          int
	}
	var got struct {
		StepSeconds int `json:"step_seconds"`
		Series      []struct {
			Kind, Unit string
			Points     []point
		}
	}
	b.get("/api/patients/"+w.ada+"/trends?kind=heart_rate_bpm&kind=spo2_percent&minutes=60", &got)
	if got.StepSeconds != 60 || len(got.Series) != 2 {
		t.Fatalf("%+v", got)
	}
	var want []point
	for _, back := range []int{30, 29, 10} {
		want = append(want, point{minute.Add(-time.Duration(back) * time.Minute).UTC(), 60, 62, 64, 2})
	}
	if diff := cmp.Diff(want, got.Series[0].Points); diff != "" {
		t.Errorf("heart rate: holes must stay holes (-want +got):\n%s", diff)
	}
	if len(got.Series[1].Points) != 0 {
		t.Errorf("SpO2 without a value has points: %v", got.Series[1].Points)
	}
	var gapped struct {
		StepSeconds int `json:"step_seconds"`
		Gaps        []struct {
			From, To       time.Time
			Signal, Reason string
		}
	}
	from := minute.Add(-20 * time.Minute)
	if err := w.store.SaveGaps(t.Context(), sensorOf("a-1"), []archive.Gap{{Signal: vitals.PPG, Epoch: seal.EpochID{9}, First: 3, Last: 7, From: from, To: from.Add(time.Minute), Reason: "outbox_full"}}); err != nil {
		t.Fatal(err)
	}
	for minutes, step := range map[int]int{60: 60, 7 * 24 * 60: 900, 30 * 24 * 60: 3600} {
		b.get(fmt.Sprintf("/api/patients/%s/trends?kind=heart_rate_bpm&minutes=%d", w.ada, minutes), &gapped)
		if gapped.StepSeconds != step || len(gapped.Gaps) != 1 || !gapped.Gaps[0].From.Equal(from) || gapped.Gaps[0].Signal != "ppg" || gapped.Gaps[0].Reason != "outbox_full" {
			t.Errorf("%d minutes: %+v", minutes, gapped)
		}
	}
	b.get("/api/patients/"+w.ada+"/trends?kind=heart_rate_bpm&minutes=15", &gapped)
	if len(gapped.Gaps) != 0 {
		t.Errorf("a gap of before: %+v", gapped.Gaps)
	}
	for _, query := range []string{"", "?kind=pulse", "?kind=heart_rate_bpm&minutes=0", "?kind=heart_rate_bpm&minutes=9999999", "?kind=heart_rate_bpm&minutes=x"} {
		if status, body := b.do("GET", "/api/patients/"+w.ada+"/trends"+query, nil, nil); status != http.StatusBadRequest {
			t.Errorf("trends%s: %d %s", query, status, body)
		}
	}
}

// TestWhoMaySeeWhat is every role at every endpoint about a patient.
func TestWhoMaySeeWhat(t *testing.T) {
	w := newWard(t)
	const ok, no = http.StatusOK, http.StatusForbidden
	for _, c := range []struct {
		login                          string
		ada, emil, bela, nobody, wards int
	}{
		{"nurse", ok, ok, no, no, ok},
		{"doctor", ok, no, ok, no, ok},
		{"patient", ok, no, no, no, ok},
		{"staff", no, no, no, no, ok},
		{"admin", no, no, no, no, ok},
		{"auditor", no, no, no, no, no},
	} {
		b := w.signedIn(c.login)
		if status, _ := b.do("GET", "/api/beds", nil, nil); status != c.wards {
			t.Errorf("%s: beds: %d, want %d", c.login, status, c.wards)
		}
		for id, want := range map[string]int{w.ada: c.ada, w.emil: c.emil, w.bela: c.bela, "nobody-at-all": c.nobody} {
			for _, path := range []string{"", "/trends?kind=heart_rate_bpm", "/waveform"} {
				before := len(w.refusals(access.ViewPatient))
				status, body := b.do("GET", "/api/patients/"+id+path, nil, nil)
				if status != want {
					t.Errorf("%s: %s: %d, want %d", c.login, path, status, want)
				}
				if want == no {
					if after := len(w.refusals(access.ViewPatient)); after != before+1 {
						t.Errorf("%s: refused read left %d audit entries", c.login, after-before)
					}
					if strings.Contains(body, "Brandt") || strings.Contains(body, "bpm") {
						t.Errorf("%s: refusal tells something: %s", c.login, body)
					}
				}
			}
			// A plain GET is enough to be refused: nothing is upgraded before the decision.
			if status, _ := b.do("GET", "/api/live?patient="+id, nil, nil); want == no && status != no {
				t.Errorf("%s: live: %d", c.login, status)
			}
		}
	}
	stranger := w.browser()
	for _, path := range []string{"/api/session", "/api/beds", "/api/patients/" + w.ada, "/api/patients/" + w.ada + "/waveform",
		"/api/patients/" + w.ada + "/trends?kind=heart_rate_bpm", "/api/live?patient=" + w.ada} {
		if status, _ := stranger.do("GET", path, nil, nil); status != http.StatusUnauthorized {
			t.Errorf("without a session: %s: %d", path, status)
		}
	}
}

func TestBedsWithoutValues(t *testing.T) {
	w := newWard(t)
	w.append("a-1", numerics(time.Now(), good(vitals.HeartRate, 72)))
	for _, login := range []string{"staff", "admin"} {
		_, body := w.signedIn(login).do("GET", "/api/beds", nil, nil)
		for _, never := range []string{"Brandt", w.ada, "heart_rate", `"value"`} { // "72" may be in a time
			if strings.Contains(body, never) {
				t.Errorf("%s sees %q in %s", login, never, body)
			}
		}
	}
}

// TestOneUnreadablePatient: a patient whose data cannot be read takes no other off the screen, and has no numbers.
func TestOneUnreadablePatient(t *testing.T) {
	w := newWard(t)
	w.lost.Store(&w.ada)
	w.append("a-2", numerics(time.Now(), good(vitals.HeartRate, 88)))
	for path, b := range map[string]*browser{"/api/beds": w.signedIn("nurse"), "/api/display": func() *browser {
		if err := w.store.CreateDevice(t.Context(), directory.Device{ID: elsewhere, Kind: "workstation", State: directory.DeviceActive,
			Mode: directory.ModeDisplay, Wards: []string{"ward-a"}}); err != nil {
			t.Fatal(err)
		}
		return w.browser()
	}()} {
		if path == "/api/display" {
			w.at(elsewhere)
		} else {
			w.at(station)
		}
		status, body := b.do("GET", path, nil, nil)
		var got struct {
			Beds []struct {
				Bed        string         `json:"bed"`
				Occupied   bool           `json:"occupied"`
				Numerics   map[string]any `json:"numerics"`
				Unreadable bool           `json:"unreadable"`
			} `json:"beds"`
		}
		if err := json.Unmarshal([]byte(body), &got); err != nil || status != 200 {
			t.Fatal(path, status, body)
		}
		numbers := map[string]int{}
		for _, b := range got.Beds {
			if b.Occupied {
				numbers[strings.ToLower(strings.TrimPrefix(b.Bed, "Bed "))] = len(b.Numerics)
				if b.Unreadable != (len(b.Numerics) == 0) {
					t.Errorf("%s: bed %s is said to be readable: %v", path, b.Bed, !b.Unreadable)
				}
			}
		}
		if d := cmp.Diff(map[string]int{"a-1": 0, "a-2": 1}, numbers); d != "" {
			t.Error(path, d)
		}
	}
	// A patient who was forgotten and is in a doctor's list all the same is in no list of beds.
	w.lost.Store(nil)
	if err := errors.Join(w.store.Discharge(t.Context(), w.bela, time.Now()), w.store.Forget(t.Context(), w.bela)); err != nil {
		t.Fatal(err)
	}
	w.at(station)
	persons, err := w.store.Persons(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range persons {
		if p.Login == "doctor" {
			if err := w.store.SetPatients(t.Context(), p.ID, []string{w.ada, w.bela}); err != nil {
				t.Fatal(err)
			}
		}
	}
	if status, body := w.signedIn("doctor").do("GET", "/api/beds", nil, nil); status != 200 || !strings.Contains(body, w.ada) || strings.Contains(body, w.bela) {
		t.Error(status, body)
	}
}

func TestSignIn(t *testing.T) {
	w := newWard(t)
	b := w.browser()
	var texts []string
	for _, in := range []map[string]string{{"login": "nurse", "password": "wrong"}, {"login": "nobody", "password": password},
		{"login": "", "password": ""}, {"login": "x'; DROP TABLE persons; --", "password": password}} {
		status, body := b.do("POST", "/api/session", in, nil)
		texts = append(texts, fmt.Sprint(status, body))
	}
	for _, text := range texts[1:] {
		if text != texts[0] || !strings.HasPrefix(text, "401") {
			t.Errorf("sign-in failures can be told apart: %q, %q", texts[0], text)
		}
	}
	for name, c := range map[string]struct {
		body   any
		edit   func(*http.Request)
		status int
	}{
		"unknown field": {map[string]string{"login": "nurse", "password": password, "role": "admin"}, nil, http.StatusBadRequest},
		"not an object": {[]int{1}, nil, http.StatusBadRequest},
		"form":          {map[string]string{}, func(r *http.Request) { r.Header.Set("Content-Type", "text/plain") }, http.StatusUnsupportedMediaType},
		"too large":     {map[string]string{"login": strings.Repeat("x", 70_000)}, nil, http.StatusRequestEntityTooLarge},
	} {
		if status, body := b.do("POST", "/api/session", c.body, c.edit); status != c.status {
			t.Errorf("%s: %d %s", name, status, body)
		}
	}

	nurse := w.signedIn("nurse")
	w.at(elsewhere)
	if status, _ := nurse.do("GET", "/api/session", nil, nil); status != http.StatusUnauthorized {
		t.Errorf("the token works at another workstation: %d", status)
	}
	w.at("")
	if status, _ := b.do("POST", "/api/session", map[string]string{"login": "nurse", "password": password}, nil); status != http.StatusUnauthorized {
		t.Errorf("signed in without a workstation: %d", status)
	}
	if strings.Contains(w.log.String(), password) {
		t.Error("a password is in the log")
	}
}

func TestCookie(t *testing.T) {
	w := newWard(t)
	body := `{"login":"nurse","password":"` + password + `"}`
	req, err := http.NewRequestWithContext(t.Context(), "POST", w.server.URL+"/api/session", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set(header, "1")
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	_ = res.Body.Close()
	set := res.Header.Get("Set-Cookie")
	for _, want := range []string{api.CookieName + "=", "HttpOnly", "SameSite=Strict", "Path=/"} {
		if !strings.Contains(set, want) {
			t.Errorf("cookie %q lacks %s", set, want)
		}
	}
	if res.Header.Get("Cache-Control") != "no-store" {
		t.Error("an answer of the interface may be cached")
	}
}

func TestSignOut(t *testing.T) {
	w := newWard(t)
	b := w.signedIn("nurse")
	cookies := b.client.Jar.Cookies(mustURL(t, w.server.URL))
	if status, body := b.do("DELETE", "/api/session", nil, nil); status != http.StatusNoContent {
		t.Fatalf("%d %s", status, body)
	}
	if status, _ := b.do("GET", "/api/beds", nil, nil); status != http.StatusUnauthorized {
		t.Errorf("after signing out: %d", status)
	}
	kept := w.browser()
	kept.client.Jar.SetCookies(mustURL(t, w.server.URL), cookies)
	if status, _ := kept.do("GET", "/api/beds", nil, nil); status != http.StatusUnauthorized {
		t.Errorf("a kept cookie still works: %d", status)
	}
	if status, _ := b.do("DELETE", "/api/session", nil, nil); status != http.StatusNoContent {
		t.Errorf("signing out twice: %d", status)
	}
}

// TestSignOutWhileAnotherTabRefreshes: a tab whose tokens another tab has just exchanged signs out all the same. It was answered "signed
// out", and the session went on in the other tab.
func TestSignOutWhileAnotherTabRefreshes(t *testing.T) {
	w := newWard(t)
	other := w.signedIn("nurse")
	at := mustURL(t, w.server.URL+"/api/session")
	var held []*http.Cookie // all but the access token, which has expired there
	for _, c := range other.client.Jar.Cookies(at) {
		if strings.Contains(c.Name, "refresh") {
			c.Path = at.Path
			held = append(held, c)
		}
	}
	if len(held) != 1 {
		t.Fatalf("refresh tokens held: %d", len(held))
	}
	tab := w.browser()
	tab.client.Jar.SetCookies(at, held)
	other.must("POST", "/api/session/refresh", nil, http.StatusOK)
	other.must("GET", "/api/beds", nil, http.StatusOK)
	tab.must("DELETE", "/api/session", nil, http.StatusNoContent)
	other.must("GET", "/api/beds", nil, http.StatusUnauthorized)
}

// TestForeignRequests are what another web page could make the browser send.
func TestForeignRequests(t *testing.T) {
	w := newWard(t)
	b := w.signedIn("nurse")
	for name, c := range map[string]struct {
		method, path string
		edit         func(*http.Request)
	}{
		"no header":             {"DELETE", "/api/session", func(r *http.Request) { r.Header.Del(header) }},
		"cross-site delete":     {"DELETE", "/api/session", func(r *http.Request) { r.Header.Set("Sec-Fetch-Site", "cross-site") }},
		"other port's page":     {"GET", "/api/beds", func(r *http.Request) { r.Header.Set("Sec-Fetch-Site", "same-site") }},
		"foreign origin":        {"GET", "/api/beds", func(r *http.Request) { r.Header.Set("Origin", "http://evil.example") }},
		"opaque origin":         {"GET", "/api/beds", func(r *http.Request) { r.Header.Set("Origin", "null") }},
		"foreign origin, live":  {"GET", "/api/live?patient=" + w.ada, func(r *http.Request) { r.Header.Set("Origin", "http://127.0.0.1:1") }},
		"foreign origin, login": {"POST", "/api/session", func(r *http.Request) { r.Header.Set("Origin", "http://evil.example") }},
	} {
		if status, body := b.do(c.method, c.path, nil, c.edit); status != http.StatusForbidden {
			t.Errorf("%s: %d %s", name, status, body)
		}
	}
	if status, _ := b.do("GET", "/api/beds", nil, func(r *http.Request) {
		r.Header.Set("Origin", w.server.URL)
		r.Header.Set("Sec-Fetch-Site", "same-origin")
	}); status != http.StatusOK {
		t.Errorf("the dashboard's own request: %d", status)
	}
}

func TestStatic(t *testing.T) {
	w := newWard(t)
	b := w.browser()
	for path, want := range map[string]int{
		"/": http.StatusOK, "/patient/p-1": http.StatusOK, "/patient/": http.StatusNotFound, "/patient/a/b": http.StatusNotFound,
		"/dashboard.go": http.StatusNotFound, "/dist/.keep": http.StatusNotFound, "/.keep": http.StatusNotFound,
		"/assets/": http.StatusNotFound, "/assets/../dashboard.go": http.StatusNotFound,
		"/%2e%2e/%2e%2e/go.mod": http.StatusNotFound, "/assets/..%2f..%2fgo.mod": http.StatusNotFound, `/..\go.mod`: http.StatusNotFound,
		"/api/": http.StatusNotFound, "/api/nothing": http.StatusNotFound,
	} {
		if status, body := b.do("GET", path, nil, nil); status != want {
			t.Errorf("%s: %d %.80s", path, status, body)
		}
	}
	if status, _ := b.do("POST", "/", nil, nil); status != http.StatusMethodNotAllowed {
		t.Errorf("POST /: %d", status)
	}
	res, err := http.Get(w.server.URL + "/")
	if err != nil {
		t.Fatal(err)
	}
	_ = res.Body.Close()
	for name, want := range map[string]string{"Content-Security-Policy": "default-src 'self'", "X-Content-Type-Options": "nosniff",
		"X-Frame-Options": "DENY", "Referrer-Policy": "no-referrer", "Content-Type": "text/html"} {
		if got := res.Header.Get(name); !strings.HasPrefix(got, want) {
			t.Errorf("%s: %q", name, got)
		}
	}
}
