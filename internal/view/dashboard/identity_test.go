package dashboard_test

import (
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"vitalseal/internal/hub/access"
	"vitalseal/internal/hub/directory"
	"vitalseal/internal/measurement/vitals"
	"vitalseal/internal/view/api"
	"vitalseal/internal/view/dashboard"
)

type tokens struct {
	AccessToken  string `json:"access_token"`
	RefreshToken string `json:"refresh_token"`
	ExpiresIn    int    `json:"expires_in"`
}

// problem is the body of an error answer.
type problem struct {
	Error      string
	StepUp     bool `json:"step_up"`
	SignedOut  bool `json:"signed_out"`
	RetryAfter int  `json:"retry_after"`
}

func decode[T any](t *testing.T, body string) (v T) {
	t.Helper()
	if err := json.Unmarshal([]byte(body), &v); err != nil {
		t.Fatalf("%v in %s", err, body)
	}
	return v
}

func bearer(token string) func(*http.Request) {
	return func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+token) }
}

// must sends a request that has to end with this status.
func (b *browser) must(method, path string, body any, status int) string {
	b.w.t.Helper()
	got, text := b.do(method, path, body, nil)
	if got != status {
		b.w.t.Fatalf("%s %s: %d %s, want %d", method, path, got, text, status)
	}
	return text
}

// TestTokens: a program may ask for its tokens instead of cookies; they are worth nothing at another workstation.
func TestTokens(t *testing.T) {
	w := newWard(t)
	b := w.browser()
	text := b.must("POST", "/api/session", map[string]any{"login": "nurse", "password": password, "tokens": true}, http.StatusOK)
	got := decode[tokens](t, text)
	if got.ExpiresIn < 200 || got.ExpiresIn > 300 || strings.Count(got.AccessToken, ".") != 2 {
		t.Fatalf("%s", text)
	}
	if status, _ := b.do("GET", "/api/session", nil, nil); status != http.StatusUnauthorized {
		t.Errorf("tokens came with a cookie as well: %d", status)
	}
	if status, body := b.do("GET", "/api/beds", nil, bearer(got.AccessToken)); status != http.StatusOK {
		t.Errorf("by bearer token: %d %s", status, body)
	}
	// A used refresh token ends the family, also for who holds the newer one.
	next := decode[tokens](t, b.must("POST", "/api/session/refresh", map[string]string{"refresh_token": got.RefreshToken}, http.StatusOK))
	if next.AccessToken == "" || next.RefreshToken == got.RefreshToken {
		t.Fatalf("%+v", next)
	}
	b.must("POST", "/api/session/refresh", map[string]string{"refresh_token": got.RefreshToken}, http.StatusConflict) // a second tab, perhaps
	last := decode[tokens](t, b.must("POST", "/api/session/refresh", map[string]string{"refresh_token": next.RefreshToken}, http.StatusOK))
	b.must("POST", "/api/session/refresh", map[string]string{"refresh_token": got.RefreshToken}, http.StatusUnauthorized) // no tab is that slow
	if status, body := b.do("GET", "/api/beds", nil, bearer(last.AccessToken)); status != http.StatusUnauthorized || !decode[problem](t, body).SignedOut {
		t.Errorf("after a reuse: %d %s", status, body)
	}
	for _, bad := range []string{"", "x", strings.Repeat("x", 5000)} {
		if status, _ := b.do("POST", "/api/session/refresh", map[string]string{"refresh_token": bad}, nil); status != http.StatusUnauthorized {
			t.Errorf("refresh with %.10q: %d", bad, status)
		}
	}
}

func TestRefreshByCookie(t *testing.T) {
	w := newWard(t)
	b := w.signedIn("nurse")
	if text := b.must("POST", "/api/session/refresh", nil, http.StatusOK); strings.Contains(text, "token") {
		t.Errorf("a script could read %s", text)
	}
	b.must("GET", "/api/session", nil, http.StatusOK)
	b.must("DELETE", "/api/session", nil, http.StatusNoContent)
	b.must("POST", "/api/session/refresh", nil, http.StatusUnauthorized)
}

// TestSecureCookies: over TLS, cookies have the names that browsers protect.
func TestSecureCookies(t *testing.T) {
	w := newWard(t)
	req, err := http.NewRequestWithContext(t.Context(), "POST", w.server.URL+"/api/session", strings.NewReader(`{"login":"nurse","password":"`+password+`"}`))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set(header, "1")
	req.Header.Set("X-Forwarded-Proto", "https")
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	_ = res.Body.Close()
	all := strings.Join(res.Header.Values("Set-Cookie"), "\n")
	for _, want := range []string{"__Host-vitalseal_session=", "; Path=/;", "__Secure-vitalseal_refresh=", "; Path=/api/session;"} {
		if !strings.Contains(all, want) {
			t.Errorf("%q lacks %s", all, want)
		}
	}
	if strings.Count(all, "; Secure") != 2 || strings.Count(all, "; HttpOnly") != 2 || strings.Count(all, "SameSite=Strict") != 2 {
		t.Error(all)
	}
}

// TestStepUp: a proof of identity that has grown old is not enough for a dangerous act, and a fresh one is.
func TestStepUp(t *testing.T) {
	w := newWard(t)
	b := w.signedIn("nurse")
	w.age(w.nurse)
	glass := map[string]string{"reason": "collapse in the corridor"}
	if p := decode[problem](t, b.must("POST", "/api/patients/"+w.bela+"/break-glass", glass, http.StatusForbidden)); !p.StepUp {
		t.Fatalf("%+v", p)
	}
	begun := decode[struct {
		ID      string
		Methods []string
	}](t, b.must("POST", "/api/session/step-up/begin", nil, http.StatusOK))
	if len(begun.Methods) != 1 || begun.Methods[0] != "password" {
		t.Fatalf("%+v", begun)
	}
	if p := decode[problem](t, b.must("POST", "/api/session/step-up", map[string]string{"id": begun.ID, "password": "wrong"}, http.StatusUnauthorized)); p.SignedOut {
		t.Error("a wrong password looks like the end of the session")
	}
	b.must("POST", "/api/patients/"+w.bela+"/break-glass", glass, http.StatusForbidden)
	b.must("POST", "/api/session/step-up", map[string]string{"id": begun.ID, "password": password}, http.StatusOK)
	b.must("POST", "/api/patients/"+w.bela+"/break-glass", glass, http.StatusCreated)
}

// age makes the proof of identity of all a person's sessions ten minutes old.
func (w *ward) age(person string) {
	w.t.Helper()
	sessions, err := w.store.SessionsOf(w.t.Context(), person)
	if err != nil || len(sessions) == 0 {
		w.t.Fatal(sessions, err)
	}
	for _, s := range sessions {
		if err := w.store.ProveSession(w.t.Context(), s.ID, time.Now().Add(-10*time.Minute), false); err != nil {
			w.t.Fatal(err)
		}
	}
}

// TestBreakGlass: who opens, who is told, and who is not.
func TestBreakGlass(t *testing.T) {
	w := newWard(t)
	nurse, doctor := w.signedIn("nurse"), w.signedIn("doctor") // the doctor treats Bela
	open := func(b *browser) (out struct {
		Open []struct {
			Patient, Person string
			Mine            bool
			Expires         time.Time
		}
	}) {
		b.get("/api/emergency", &out)
		return out
	}
	beds := nurse.must("GET", "/api/emergency/beds", nil, http.StatusOK)
	if !strings.Contains(beds, w.bela) || strings.Contains(beds, w.ada) || strings.Contains(beds, "Novak") {
		t.Errorf("beds to open: %s", beds)
	}
	for login, want := range map[string]string{"patient": "[]", "staff": "[]", "admin": "[]"} {
		if text := w.signedIn(login).must("GET", "/api/emergency/beds", nil, http.StatusOK); !strings.Contains(text, `"beds":`+want) {
			t.Errorf("%s: %s", login, text)
		}
	}
	if p := decode[problem](t, nurse.must("POST", "/api/patients/"+w.bela+"/break-glass", map[string]string{"reason": "short"}, http.StatusBadRequest)); !strings.Contains(p.Error, "10") {
		t.Error(p.Error)
	}
	nurse.must("GET", "/api/patients/"+w.bela, nil, http.StatusForbidden)
	nurse.must("POST", "/api/patients/"+w.bela+"/break-glass", map[string]string{"reason": "collapse in the corridor"}, http.StatusCreated)
	nurse.must("GET", "/api/patients/"+w.bela, nil, http.StatusOK)
	if got := open(nurse).Open; len(got) != 1 || !got[0].Mine || time.Until(got[0].Expires) > 15*time.Minute {
		t.Errorf("her own banner: %+v", got)
	}
	if got := open(doctor).Open; len(got) != 1 || got[0].Mine || got[0].Person != "Nurse Tomas Ek" {
		t.Errorf("the banner of who treats the patient: %+v", got)
	}
	if got := open(w.signedIn("patient")).Open; len(got) != 0 {
		t.Errorf("a stranger is told: %+v", got)
	}
	for _, login := range []string{"staff", "admin", "auditor", "patient"} {
		w.signedIn(login).must("POST", "/api/patients/"+w.bela+"/break-glass", map[string]string{"reason": "I should like to see it"}, http.StatusForbidden)
	}
	// In another session of the same person it is closed.
	w.signedIn("nurse").must("GET", "/api/patients/"+w.bela, nil, http.StatusForbidden)
}

// TestEmergencyEndsLive: the live view of an emergency ends with it, and says why.
func TestEmergencyEndsLive(t *testing.T) {
	w := newWard(t)
	b := w.signedIn("nurse")
	sessions, err := w.store.SessionsOf(t.Context(), w.nurse)
	if err != nil || len(sessions) != 1 {
		t.Fatal(sessions, err)
	}
	// The emergency must still last when the live view opens, so it lasts by how long that takes here.
	began := time.Now()
	next(t, b.watch("patient="+w.ada))
	lasting := 2*time.Second + 20*time.Since(began)
	now := time.Now().UTC()
	end := now.Add(lasting)
	if err := w.store.SaveEmergency(t.Context(), access.EmergencyAccess{ID: "bg-test", PersonID: w.nurse, PatientID: w.bela, Workstation: station, Session: sessions[0].ID,
		Reason: "collapse in the corridor", Opened: end.Add(-access.EmergencyLife), Expires: end}); err != nil {
		t.Fatal(err)
	}
	conn := b.watch("patient=" + w.bela)
	next(t, conn) // hello
	m, _ := next(t, conn)
	t.Logf("ended %v after the emergency", time.Since(end))
	if m.Type != "ended" || m.Reason != "emergency_over" {
		t.Errorf("%+v", m)
	}
}

// TestConsent: who is excluded loses the values at once, with the reason, and keeps the bed; the patient sees who looked in
// an emergency.
func TestConsent(t *testing.T) {
	w := newWard(t)
	nurse, patient := w.signedIn("nurse"), w.signedIn("patient")
	path := "/api/patients/" + w.ada
	var carers []struct {
		ID, Name string
		Excluded bool
	}
	patient.get(path+"/consent", &carers)
	if len(carers) != 2 || carers[0].Excluded || carers[1].Excluded {
		t.Fatalf("%+v", carers)
	}
	nurse.must("GET", path+"/consent", nil, http.StatusForbidden)
	nurse.must("PUT", path+"/consent", map[string]any{"person": w.nurse, "excluded": false}, http.StatusForbidden)
	conn := nurse.watch("patient=" + w.ada)
	next(t, conn) // hello
	patient.must("PUT", path+"/consent", map[string]any{"person": w.nurse, "excluded": true}, http.StatusNoContent)
	if m, _ := next(t, conn); m.Type != "ended" || m.Reason != "consent" {
		t.Errorf("%+v", m)
	}
	nurse.must("GET", path, nil, http.StatusForbidden)
	if beds := nurse.must("GET", "/api/beds", nil, http.StatusOK); !strings.Contains(beds, `"bed":"a-1"`) || strings.Contains(beds, "Brandt") {
		t.Errorf("beds: %s", beds)
	}
	nurse.must("POST", path+"/break-glass", map[string]string{"reason": "collapse in the corridor"}, http.StatusCreated)
	nurse.must("GET", path, nil, http.StatusOK)
	var accesses []struct{ Person, Reason string }
	patient.get(path+"/accesses", &accesses)
	if len(accesses) != 1 || accesses[0].Person != "Nurse Tomas Ek" || accesses[0].Reason != "collapse in the corridor" {
		t.Errorf("%+v", accesses)
	}
	patient.must("PUT", path+"/consent", map[string]any{"person": "nobody", "excluded": true}, http.StatusNotFound)
	patient.must("GET", "/api/patients/"+w.emil+"/consent", nil, http.StatusForbidden)
}

// TestDisplay: a wall screen shows the numbers of its wards while no user is signed in, and neither names nor ids; what is not one
// shows nothing, and a wall screen shows nothing else.
func TestDisplay(t *testing.T) {
	w := newWard(t)
	const wall = "spiffe://test.vitalseal.internal/workstation/wall"
	w.append("a-1", numerics(time.Now(), good(vitals.HeartRate, 72)))
	w.append("b-1", numerics(time.Now(), good(vitals.HeartRate, 99)))
	if err := w.store.CreateDevice(t.Context(), directory.Device{ID: wall, Kind: "workstation", State: directory.DeviceActive, Mode: directory.ModeDisplay, Wards: []string{"ward-a"}}); err != nil {
		t.Fatal(err)
	}
	b := w.browser()
	b.must("GET", "/api/display", nil, http.StatusForbidden) // a desk
	w.at("")
	b.must("GET", "/api/display", nil, http.StatusUnauthorized)
	w.at(wall)
	for range 30 {
		text := b.must("GET", "/api/display", nil, http.StatusOK)
		for _, never := range []string{w.ada, w.emil, "Brandt", "Surgery", `"value":99`} {
			if strings.Contains(text, never) {
				t.Fatalf("the wall shows %q: %s", never, text)
			}
		}
		if !strings.Contains(text, `"value":72`) || strings.Count(text, `"bed":`) != 3 {
			t.Fatal(text)
		}
	}
	for _, path := range []string{"/api/beds", "/api/patients/" + w.ada, "/api/live?patient=" + w.ada, "/api/session"} {
		b.must("GET", path, nil, http.StatusUnauthorized)
	}
	entries, err := w.trail.Recent(t.Context(), 1000)
	if err != nil {
		t.Fatal(err)
	}
	shown := 0
	for _, e := range entries {
		if e.Action == string(access.ViewDisplay) && e.Allowed {
			shown++
		}
	}
	if shown != 2 {
		t.Errorf("two patients on a wall for a while: %d audit entries", shown)
	}
}

// TestOwnAccount: one's own password, factors and keys, and no other person's.
func TestOwnAccount(t *testing.T) {
	w := newWard(t)
	nurse, other := w.signedIn("nurse"), w.signedIn("nurse")
	const fresh = "another horse battery"
	nurse.must("POST", "/api/account/password", map[string]string{"old": "wrong", "new": fresh}, http.StatusUnauthorized)
	nurse.must("POST", "/api/account/password", map[string]string{"old": password, "new": "short"}, http.StatusBadRequest)
	nurse.must("POST", "/api/account/password", map[string]string{"old": password, "new": fresh}, http.StatusNoContent)
	nurse.must("GET", "/api/session", nil, http.StatusOK)
	other.must("GET", "/api/session", nil, http.StatusUnauthorized)

	var channels []struct{ Channel int64 }
	nurse.get("/api/account/channels", &channels)
	if len(channels) != 2 {
		t.Fatalf("channels: %+v", channels)
	}
	made := decode[struct{ ID, Key string }](t, nurse.must("POST", "/api/account/keys", map[string]any{"channel": channels[0].Channel}, http.StatusCreated))
	if list := nurse.must("GET", "/api/account/keys", nil, http.StatusOK); !strings.Contains(list, made.ID) || strings.Contains(list, made.Key) {
		t.Errorf("keys: %s", list)
	}
	doctor := w.signedIn("doctor")
	doctor.must("DELETE", "/api/account/keys/"+made.ID, nil, http.StatusNotFound)
	doctor.must("DELETE", "/api/account/keys/zz", nil, http.StatusNotFound)
	c, err := w.store.ChannelOf(t.Context(), w.emil)
	if err != nil {
		t.Fatal(err)
	}
	doctor.must("POST", "/api/account/keys", map[string]any{"channel": c.ID}, http.StatusForbidden) // does not treat him
	nurse.must("DELETE", "/api/account/keys/"+made.ID, nil, http.StatusNoContent)

	if text := nurse.must("GET", "/api/account/factors", nil, http.StatusOK); text != "[]\n" {
		t.Errorf("factors: %s", text)
	}
	rows := decode[struct{ Rows []string }](t, nurse.must("POST", "/api/account/qr", map[string]string{"text": "otpauth://totp/x"}, http.StatusOK)).Rows
	if len(rows) < 21 || len(rows[0]) != len(rows) {
		t.Errorf("QR code of %d rows", len(rows))
	}
	nurse.must("POST", "/api/account/qr", map[string]string{"text": strings.Repeat("x", 3000)}, http.StatusBadRequest)

	nurse.must("DELETE", "/api/session/all", nil, http.StatusNoContent)
	nurse.must("GET", "/api/session", nil, http.StatusUnauthorized)
}

// TestFlood: one workstation that asks without end is slowed, at every face, and the others are not.
func TestFlood(t *testing.T) {
	w := newWard(t)
	from := station
	now := time.Now()
	gate := gateOf(t, api.Config{SignIn: w.signin, Rate: 10, Now: func() time.Time { return now }, Workstation: func(*http.Request) string { return from }})
	h, err := dashboard.New(dashboard.Config{Store: w.store, Access: w.engine, SignIn: w.signin, Log: slog.New(slog.DiscardHandler), Gate: gate})
	if err != nil {
		t.Fatal(err)
	}
	another := gate.Limited(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTeapot) }))
	ask := func(face http.Handler) *httptest.ResponseRecorder {
		rec := httptest.NewRecorder()
		face.ServeHTTP(rec, httptest.NewRequestWithContext(t.Context(), "GET", "/api/session", nil))
		return rec
	}
	for i := range 50 {
		if a, b := ask(h).Code, ask(another).Code; a != http.StatusUnauthorized || b != http.StatusTeapot {
			t.Fatalf("request %d: %d, %d", 2*i, a, b)
		}
	}
	for name, face := range map[string]http.Handler{"the dashboard": h, "another face": another} {
		rec := ask(face)
		if p := decode[problem](t, rec.Body.String()); rec.Code != http.StatusTooManyRequests || p.RetryAfter == 0 || rec.Header().Get("Retry-After") == "" {
			t.Errorf("%s: %d %+v", name, rec.Code, p)
		}
	}
	now = now.Add(time.Second)
	if code := ask(h).Code; code != http.StatusUnauthorized {
		t.Errorf("a second later: %d", code)
	}
	from = elsewhere
	if code := ask(another).Code; code != http.StatusTeapot {
		t.Errorf("another workstation: %d", code)
	}
}

// TestNoHospital: without a provider there is nothing to go to, and who comes back from nowhere is not signed in.
func TestNoHospital(t *testing.T) {
	w := newWard(t)
	b := w.browser()
	b.client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	b.must("GET", "/api/session/oidc", nil, http.StatusNotFound)
	for _, query := range []string{"", "?code=x&state=y", "?error=access_denied"} {
		status, _ := b.do("GET", "/api/session/oidc/callback"+query, nil, func(r *http.Request) { r.Header.Set("Sec-Fetch-Site", "cross-site") })
		if status != http.StatusSeeOther {
			t.Errorf("callback%s: %d", query, status)
		}
	}
	b.must("GET", "/api/session", nil, http.StatusUnauthorized)
	if keys := b.must("GET", "/.well-known/jwks.json", nil, http.StatusOK); !strings.Contains(keys, `"kty":"EC"`) || strings.Contains(keys, `"d":`) {
		t.Errorf("keys: %s", keys)
	}
	ways := b.must("GET", "/api/session/ways", nil, http.StatusOK)
	if !strings.Contains(ways, `"hospital":false`) || !strings.Contains(ways, `"display":false`) {
		t.Errorf("ways: %s", ways)
	}
}
