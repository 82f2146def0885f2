package api_test

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"vitalseal/internal/hub/access"
	"vitalseal/internal/hub/signin"
	"vitalseal/internal/view/api"
)

// TestSameOrigin: what a page of another site causes is refused, whatever its method; programs and
// our own pages are not.
func TestSameOrigin(t *testing.T) {
	const own = "http://127.0.0.1:8443"
	for _, c := range []struct {
		name, method string
		headers      []string
		foreign      bool
	}{
		{"a program reads", "GET", nil, false},
		{"a program writes", "POST", []string{api.RequestHeader, "1"}, false},
		{"our page reads", "GET", []string{"Origin", own, "Sec-Fetch-Site", "same-origin"}, false},
		{"our page writes", "PUT", []string{"Origin", own, "Sec-Fetch-Site", "same-origin", api.RequestHeader, "1"}, false},
		{"an old browser writes", "DELETE", []string{"Origin", own, api.RequestHeader, "1"}, false},
		{"an address typed in", "GET", []string{"Sec-Fetch-Site", "none"}, false},
		{"head is a read", "HEAD", nil, false},

		{"without the header", "POST", nil, true},
		{"another value of the header", "POST", []string{api.RequestHeader, "true"}, true},
		{"our page without the header", "PATCH", []string{"Origin", own, "Sec-Fetch-Site", "same-origin"}, true},
		{"an unknown method", "OPTIONS", nil, true},
		{"another site reads", "GET", []string{"Origin", "https://evil.example"}, true},
		{"another site's picture", "GET", []string{"Sec-Fetch-Site", "cross-site"}, true},
		{"another site writes with the header", "POST", []string{"Origin", "https://evil.example", api.RequestHeader, "1"}, true},
		{"another port of this machine", "GET", []string{"Sec-Fetch-Site", "same-site"}, true},
		{"another port's origin", "GET", []string{"Origin", "http://127.0.0.1:1"}, true},
		{"an opaque origin", "GET", []string{"Origin", "null"}, true},
		{"an origin that is no address", "POST", []string{"Origin", "%", api.RequestHeader, "1"}, true},
		{"a longer name", "GET", []string{"Origin", own + ".evil.example"}, true},
		{"headers that contradict each other", "GET", []string{"Origin", "https://evil.example", "Sec-Fetch-Site", "same-origin"}, true},
	} {
		r := httptest.NewRequest(c.method, own+"/api/beds", nil)
		for i := 0; i < len(c.headers); i += 2 {
			r.Header.Set(c.headers[i], c.headers[i+1])
		}
		if err := api.SameOrigin(r); errors.Is(err, api.ErrForeign) != c.foreign || !c.foreign && err != nil {
			t.Errorf("%s: %v, want foreign %t", c.name, err, c.foreign)
		}
	}
}

// TestFaceRefusesForeignReads: a face's reads are not for pages of other sites either, and nothing
// is asked about them.
func TestFaceRefusesForeignReads(t *testing.T) {
	asked := 0
	f := &api.Face{Prefix: "/api/test/", MaxBody: 100, Routes: []api.Route{api.At("GET", "thing", access.ViewDelivery, nil)},
		Subject: func(*http.Request) (access.Subject, error) { asked++; return access.Subject{}, access.ErrNoSession },
		Fail: func(_ *http.Request, err error) (int, api.Problem) {
			return http.StatusUnauthorized, api.Problem{Error: "sign in", SignedOut: errors.Is(err, access.ErrNoSession)}
		}}
	for _, c := range []struct {
		path, origin string
		status       int
		body         string
		asked        int
	}{
		{"/api/test/thing", "https://evil.example", 403, `{"error":"request from another site"}`, 0},
		{"/api/test/thing", "", 401, `{"error":"sign in","signed_out":true}`, 1},
		{"/api/test/nothing", "", 404, `{"error":"no such path"}`, 1},
	} {
		r := httptest.NewRequest("GET", c.path, nil)
		if c.origin != "" {
			r.Header.Set("Origin", c.origin)
		}
		w := httptest.NewRecorder()
		f.Handler().ServeHTTP(w, r)
		if w.Code != c.status || strings.TrimSpace(w.Body.String()) != c.body || asked != c.asked {
			t.Errorf("%s from %q: %d %s, the subject asked %d times; want %d %s %d", c.path, c.origin, w.Code, w.Body, asked, c.status, c.body, c.asked)
		}
		if h := w.Header(); h.Get("Cache-Control") != "no-store" || h.Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s: headers %v", c.path, h)
		}
	}
}

// TestReadJSON: a body is one JSON object of known fields, each once, within the bound; an error
// repeats no value.
func TestReadJSON(t *testing.T) {
	for _, c := range []struct {
		name, media, body string
		fault             api.Fault
		text              string
	}{
		{"right", "application/json; charset=utf-8", `{"name":"x","count":2}`, 0, ""},
		{"a form", "application/x-www-form-urlencoded", `name=x`, api.FaultNotJSON, "Content-Type must be application/json"},
		{"no type", "", `{"name":"x"}`, api.FaultNotJSON, "Content-Type must be application/json"},
		{"empty", "application/json", ``, api.FaultMalformed, "the body is empty or cut off"},
		{"cut off", "application/json", `{"name":"secret`, api.FaultMalformed, "the body is empty or cut off"},
		{"no JSON", "application/json", `secret`, api.FaultMalformed, "the body is not JSON (at byte 1)"},
		{"another field", "application/json", `{"other":"secret"}`, api.FaultMalformed, `unknown field "other"`},
		{"twice", "application/json", `{"name":"x","name":"secret"}`, api.FaultTwice, ""},
		{"another type", "application/json", `{"count":"secret"}`, api.FaultMalformed, `field "count": must be a whole number, not a JSON string`},
		{"a list", "application/json", `["secret"]`, api.FaultMalformed, "the body must be a JSON object"},
		{"something behind", "application/json", `{"name":"x"} "secret"`, api.FaultTrailing, "the body has something after the JSON object"},
	} {
		r := httptest.NewRequest("POST", "/", strings.NewReader(c.body))
		r.Header.Set("Content-Type", c.media)
		api.Bound(httptest.NewRecorder(), r, 100)
		var in struct {
			Name  string `json:"name"`
			Count int    `json:"count"`
		}
		err := api.ReadJSON(r, &in)
		if c.name == "right" {
			if err != nil || in.Name != "x" || in.Count != 2 {
				t.Errorf("%s: %+v, %v", c.name, in, err)
			}
			continue
		}
		var bad *api.BadRequest
		if !errors.As(err, &bad) || bad.Fault != c.fault || c.text != "" && bad.Text != c.text || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v, want %d %q", c.name, err, c.fault, c.text)
		}
	}
	r := httptest.NewRequest("POST", "/", io.MultiReader(strings.NewReader(`{"name":"`), strings.NewReader(strings.Repeat("x", 200))))
	r.Header.Set("Content-Type", "application/json")
	api.Bound(httptest.NewRecorder(), r, 100)
	var large *http.MaxBytesError
	if err := api.ReadJSON(r, new(struct{})); !errors.As(err, &large) {
		t.Errorf("a body beyond the bound: %v", err)
	}
}

// TestPace: a workstation has ten seconds' worth at once and its rate from then on, and takes
// nothing of another's.
func TestPace(t *testing.T) {
	now, from := time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC), "a"
	g, err := api.NewGate(api.Config{SignIn: &signin.Service{}, Rate: 5, Now: func() time.Time { return now }, Workstation: func(*http.Request) string { return from }})
	if err != nil {
		t.Fatal(err)
	}
	allowed := func() (n int) {
		for range 1000 {
			if g.Pace(nil) == nil {
				n++
			}
		}
		return n
	}
	for _, c := range []struct {
		name, from string
		later      time.Duration
		want       int
	}{{"the burst", "a", 0, 50}, {"nothing more", "a", 0, 0}, {"a second later", "a", time.Second, 5}, {"another workstation", "b", 0, 50},
		{"the clock is set back", "a", -time.Hour, 0}, {"rested", "a", 2 * time.Hour, 50}} {
		now, from = now.Add(c.later), c.from
		if got := allowed(); got != c.want {
			t.Errorf("%s: %d requests, want %d", c.name, got, c.want)
		}
	}
	// However many workstations there are, each gets its due.
	for i := range 10_000 {
		from = "w" + strings.Repeat("x", i%100) + string(rune('a'+i/100))
		if err := g.Pace(nil); err != nil && i < 4096 {
			t.Fatalf("workstation %d: %v", i, err)
		}
	}
}
