package admin_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"vitalseal/internal/hub/access"
	"vitalseal/internal/hub/directory"
	"vitalseal/internal/hub/signin"
	"vitalseal/internal/hub/store"
	"vitalseal/internal/shared/audit"
	"vitalseal/internal/view/admin"
	"vitalseal/internal/way/seal"
)

var _ access.Directory = (*store.Store)(nil)

const (
	station  = "spiffe://demo.vitalseal.internal/workstation/desk"
	password = "correct horse battery"
)

// world is a hub as far as this face needs one: real store, policies, sessions and audit log.
type world struct {
	t      *testing.T
	store  *store.Store
	engine *access.Engine
	signin *signin.Service
	trail  *audit.Log
	logged *syncBuffer
	url    string
	tokens map[access.Role]string

	mu      sync.Mutex
	invited []directory.Device
	changes []string // what was asked of the hub's functions
	told    []access.Event
	sought  admin.AuditQuestion
	fail    error // what they answer
}

func newWorld(t *testing.T) *world { return openWorld(t, t.TempDir()) }

// openWorld is a hub on the store in a folder.
func openWorld(t *testing.T, dir string) *world {
	t.Helper()
	w := &world{t: t, logged: &syncBuffer{}, tokens: map[access.Role]string{}}
	log := slog.New(slog.NewTextHandler(w.logged, &slog.HandlerOptions{Level: slog.LevelDebug}))
	ks, _, err := seal.OpenFileKeyStore(filepath.Join(dir, "root.key"))
	w.must(err)
	w.store, err = store.Open(t.Context(), filepath.Join(dir, "store"), ks, log)
	w.must(err)
	w.trail, err = audit.Open(filepath.Join(dir, "audit"), filepath.Join(dir, "audit.key"), log)
	w.must(err)
	w.engine, err = access.New(w.store, w.trail, nil, log, access.WithApprovals(w.store, true), access.WithEvents(w.tell))
	w.must(err)
	w.signin, err = signin.New(w.engine, w.store, log)
	w.must(err)
	t.Cleanup(func() {
		if err := errors.Join(w.store.Close(), w.trail.Close()); err != nil {
			t.Error(err)
		}
	})
	change := func(what string) func(context.Context, string) error {
		return func(_ context.Context, id string) error { return w.asked(what + " " + id) }
	}
	keepOut := func(what, state string) func(context.Context, string, string) error {
		return func(ctx context.Context, id, by string) error {
			return errors.Join(w.asked(what+" "+id), w.store.SetDeviceStateBy(ctx, id, state, by))
		}
	}
	server := httptest.NewServer(admin.New(admin.Config{
		Store: w.store, Access: w.engine, SignIn: w.signin, Audit: w.trail, Domain: "demo.vitalseal.internal", Log: log,
		Subject: func(r *http.Request) (access.Subject, error) {
			c, err := r.Cookie("session")
			if err != nil {
				return access.Subject{}, access.ErrNoSession
			}
			return w.signin.Authenticate(r.Context(), c.Value, stationOf(access.Role(r.Header.Get("X-Test-Role"))))
		},
		Invite: func(ctx context.Context, by string, devices []directory.Device) (json.RawMessage, error) {
			w.invited = append(w.invited, devices...)
			for _, d := range devices {
				d.State, d.EnrolledBy = "invited", by
				if err := w.store.CreateDevice(ctx, d); err != nil {
					return nil, err
				}
			}
			return json.RawMessage(`{"version":1,"secret":"TICKET-SECRET"}`), w.asked(fmt.Sprint("invite ", len(devices)))
		},
		Search: func(_ context.Context, q admin.AuditQuestion) (admin.AuditPage, error) {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.sought = q
			return admin.AuditPage{Entries: []admin.AuditFound{{Seq: 3, Line: `{"seq":3}`, Proof: []string{}}}, Next: 3}, w.fail
		},
		Disable: keepOut("disable", directory.DeviceDisabled), Enable: change("enable"), Delete: keepOut("delete", directory.DeviceDeleted),
		Reissue: func(_ context.Context, by, id string) (json.RawMessage, error) {
			return json.RawMessage(`{"version":1,"secret":"NEW-SECRET"}`), w.asked("reissue " + id + " for " + by)
		},
	}))
	t.Cleanup(server.Close)
	w.url = server.URL
	return w
}

func (w *world) asked(what string) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.changes = append(w.changes, what)
	return w.fail
}

func (w *world) tell(e access.Event) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.told = append(w.told, e)
}

// events are those of a kind.
func (w *world) events(kind string) (out []access.Event) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, e := range w.told {
		if e.Kind == kind {
			out = append(out, e)
		}
	}
	return out
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// stationOf is where a role sits: each at their own, so that the refusals of one do not make another's suspicious.
func stationOf(role access.Role) string {
	if role == access.RoleAdmin {
		return station
	}
	return station + "-" + string(role)
}

// sign signs in a fresh person of the role and remembers the token.
func (w *world) sign(role access.Role, self string) string {
	w.t.Helper()
	hash, err := signin.HashPassword(password)
	w.must(err)
	id, err := w.store.CreatePerson(w.t.Context(), access.Person{Login: string(role), DisplayName: "X", Role: role, Self: self}, hash)
	w.must(err)
	in, err := w.signin.SignIn(w.t.Context(), string(role), password, stationOf(role))
	w.must(err)
	w.tokens[role] = in.Tokens.Access
	return id
}

// do sends a request as a role ("" for a client that is not signed in) and returns status and body.
func (w *world) do(role access.Role, method, path, body string, headers ...string) (int, string) {
	w.t.Helper()
	r, err := http.NewRequestWithContext(w.t.Context(), method, w.url+admin.Prefix+path, strings.NewReader(body))
	w.must(err)
	r.Header.Set("X-Vitalseal-Request", "1")
	r.Header.Set("X-Test-Role", string(role))
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	if token := w.tokens[role]; token != "" {
		r.AddCookie(&http.Cookie{Name: "session", Value: token})
	}
	res, err := http.DefaultClient.Do(r)
	w.must(err)
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	w.must(err)
	if res.Header.Get("Cache-Control") != "no-store" {
		w.t.Errorf("%s %s may be cached", method, path)
	}
	return res.StatusCode, strings.TrimSpace(string(b))
}

// get decodes the answer to a request that must succeed with the status.
func (w *world) get(role access.Role, method, path, body string, status int, out any) string {
	w.t.Helper()
	got, text := w.do(role, method, path, body)
	if got != status {
		w.t.Fatalf("%s %s: %d %s, want %d", method, path, got, text, status)
	}
	if out != nil {
		w.must(json.Unmarshal([]byte(text), out))
	}
	return text
}

func (w *world) last() audit.Entry {
	w.t.Helper()
	got, err := w.trail.Recent(w.t.Context(), 1)
	w.must(err)
	return got[0]
}

func TestAWholeWard(t *testing.T) {
	w := newWorld(t)
	adminID := w.sign(access.RoleAdmin, "")
	const a = access.RoleAdmin
	w.get(a, "POST", "wards", `{"id":"ward-a","name":"Cardiology"}`, 201, nil)
	w.get(a, "POST", "beds", `{"id":"a-1","ward":"ward-a","name":"Bed 1"}`, 201, nil)
	var patient struct {
		ID      string
		Channel int64
	}
	w.get(a, "POST", "patients", `{"name":"Ada Brandt","bed":"a-1"}`, 201, &patient)
	if patient.ID == "" || patient.Channel == 0 {
		t.Fatalf("patient %+v", patient)
	}
	if e := w.last(); e.Person != adminID || e.Workstation != station || e.Resource != "patient:"+patient.ID || e.Reason != "created; bed: a-1" {
		t.Errorf("audited as %+v", e)
	}
	var nurse, doctor struct{ ID, Login, Password string }
	w.get(a, "POST", "persons", `{"login":"Nurse","display_name":"N","role":"nurse","wards":["ward-a"]}`, 201, &nurse)
	in, err := w.signin.SignIn(t.Context(), nurse.Login, nurse.Password, station)
	if err != nil || nurse.Login != "nurse" || !in.Subject.Person.MustChangePassword {
		t.Errorf("the one-time password: %+v %v", in.Subject, err)
	}
	w.get(a, "POST", "persons", `{"login":"doc","role":"doctor","display_name":"D"}`, 201, &doctor)
	for _, p := range []struct{ login, once string }{{"nurse", nurse.Password}, {"doc", doctor.Password}} { // as they do at first
		in, err := w.signin.SignIn(t.Context(), p.login, p.once, station)
		w.must(err)
		w.must(w.signin.ChangePassword(t.Context(), in.Subject, p.once, password))
	}
	may := func(id string) bool {
		_, err := w.engine.Decide(t.Context(), access.Subject{Person: access.Person{ID: id}, Workstation: station}, access.ViewPatient, access.OnPatient(patient.ID))
		return err == nil
	}
	if !may(nurse.ID) || may(doctor.ID) || may(adminID) {
		t.Error("relationships are wrong at first")
	}
	w.get(a, "PUT", "persons/"+nurse.ID+"/wards", `{"wards":[]}`, 204, nil)
	w.get(a, "PUT", "persons/"+doctor.ID+"/patients", `{"patients":["`+patient.ID+`"]}`, 204, nil)
	if may(nurse.ID) || !may(doctor.ID) {
		t.Error("relationships did not change")
	}
	// Whether a name may be opened with a grant for the directory is for the store to say.
	g, err := w.engine.Decide(t.Context(), access.Subject{Person: access.Person{ID: adminID}, Workstation: station}, access.ManageDirectory, access.OnSystem())
	w.must(err)
	shown := `"Ada Brandt"`
	if _, err := w.store.PatientName(t.Context(), g, patient.ID); err != nil {
		shown = "null"
	}
	want := fmt.Sprintf(`[{"id":%q,"name":%s,"ward":"ward-a","bed":"a-1","channel":%d}]`, patient.ID, shown, patient.Channel)
	if text := w.get(a, "GET", "patients", "", 200, nil); text != want {
		t.Errorf("patients %s, want %s", text, want)
	}
	if text := w.get(a, "GET", "wards", "", 200, nil) + w.get(a, "GET", "beds", "", 200, nil); text != `[{"id":"ward-a","name":"Cardiology"}][{"id":"a-1","ward":"ward-a","name":"Bed 1"}]` {
		t.Error(text)
	}
	if text := w.get(a, "GET", "delivery", "", 200, nil); !strings.Contains(text, `"streams":[]`) || !strings.Contains(text, "stored_latency_p99_ms") {
		t.Error(text)
	}

	if text := w.get(a, "POST", "channels", `{"name":"Fridge","fields":["temperature"]}`, 201, nil); strings.Contains(text, "key") {
		t.Errorf("a channel came with a key: %s", text)
	}

	for _, secret := range []string{nurse.Password, doctor.Password, password, "Ada", w.tokens[a]} {
		entries, _ := w.trail.Recent(t.Context(), 1000)
		if strings.Contains(w.logged.String(), secret) || strings.Contains(fmt.Sprint(entries), secret) {
			t.Errorf("a log has %q", secret)
		}
	}
}

func TestPersonsAreCutOff(t *testing.T) {
	w := newWorld(t)
	adminID := w.sign(access.RoleAdmin, "")
	nurse := w.sign(access.RoleNurse, "")
	live := func() bool {
		_, err := w.signin.Authenticate(t.Context(), w.tokens[access.RoleNurse], stationOf("nurse"))
		return err == nil
	}
	again := func(pw string) error {
		in, err := w.signin.SignIn(t.Context(), "nurse", pw, stationOf("nurse"))
		w.tokens[access.RoleNurse] = in.Tokens.Access
		return err
	}
	w.get("admin", "POST", "persons/"+nurse+"/disable", "", 204, nil)
	if live() || again(password) == nil {
		t.Error("a disabled nurse is signed in")
	}
	if text := w.get("admin", "GET", "persons", "", 200, nil); !strings.Contains(text, `"login":"nurse"`) || !strings.Contains(text, `"disabled":true`) || strings.Contains(text, "argon2") {
		t.Error(text)
	}
	w.get("admin", "POST", "persons/"+nurse+"/enable", "", 204, nil)
	w.must(again(password))
	w.get("admin", "POST", "persons/"+nurse+"/sign-out", "", 204, nil)
	if live() {
		t.Error("still signed in")
	}
	var fresh struct{ Password string }
	w.get("admin", "POST", "persons/"+nurse+"/password", "", 201, &fresh)
	if again(password) == nil {
		t.Error("the old password works")
	}
	w.must(again(fresh.Password))
	for _, change := range []string{"disable", "password", "reset-factors"} {
		w.get("admin", "POST", "persons/"+adminID+"/"+change, "", 400, nil)
	}
	w.get("admin", "POST", "persons/"+nurse+"/promote", "", 400, nil)
}

// TestRoleChange: the old role's relationships end with it, and no change makes or unmakes a patient.
func TestRoleChange(t *testing.T) {
	w := newWorld(t)
	adminID := w.sign(access.RoleAdmin, "")
	nurse := w.sign(access.RoleNurse, "")
	patient, err := w.store.CreatePatient(t.Context(), "P")
	w.must(err)
	self := w.sign(access.RolePatient, patient)
	w.get("admin", "POST", "wards", `{"id":"ward-a","name":"Cardiology"}`, 201, nil)
	w.get("admin", "PUT", "persons/"+nurse+"/wards", `{"wards":["ward-a"]}`, 204, nil)
	w.get("admin", "PUT", "persons/"+nurse+"/role", `{"role":"doctor","patients":["`+patient+`"]}`, 204, nil)
	p, err := w.store.Person(t.Context(), nurse)
	w.must(err)
	if p.Role != access.RoleDoctor || len(p.Wards) != 0 || len(p.Patients) != 1 {
		t.Errorf("%+v", p)
	}
	for id, body := range map[string]string{adminID: `{"role":"staff"}`, self: `{"role":"nurse"}`, nurse: `{"role":"patient"}`} {
		w.get("admin", "PUT", "persons/"+id+"/role", body, 400, nil)
	}
	w.get("admin", "PUT", "persons/"+nurse+"/role", `{"role":"nurse","patients":["`+patient+`"]}`, 400, nil)
	w.get("admin", "PUT", "persons/none/role", `{"role":"nurse"}`, 404, nil)
	if text := w.get("admin", "GET", "persons/"+nurse, "", 200, nil); !strings.Contains(text, `"role":"doctor"`) {
		t.Error(text)
	}
}

// TestStepUp: people and identities are administered with a fresh proof only; the directory without.
func TestStepUp(t *testing.T) {
	w := newWorld(t)
	id := w.sign(access.RoleAdmin, "")
	sessions, err := w.store.SessionsOf(t.Context(), id)
	w.must(err)
	w.must(w.store.ProveSession(t.Context(), sessions[0].ID, time.Now().Add(-10*time.Minute), false))
	for _, path := range []string{"persons", "workstations"} {
		if text := w.get("admin", "POST", path, `{}`, 403, nil); !strings.Contains(text, `"step_up":true`) {
			t.Errorf("%s: %s", path, text)
		}
	}
	w.get("admin", "POST", "wards", `{"id":"ward-a","name":"Cardiology"}`, 201, nil)
	w.must(w.store.ProveSession(t.Context(), sessions[0].ID, time.Now(), false))
	w.get("admin", "POST", "persons", `{"login":"n","display_name":"N","role":"staff"}`, 201, nil)
}

// TestReviews: an auditor judges an emergency once, and no other role reads the reason.
func TestReviews(t *testing.T) {
	w := newWorld(t)
	w.sign(access.RoleAdmin, "")
	nurse := w.sign(access.RoleNurse, "")
	w.sign(access.RoleAuditor, "")
	patient, err := w.store.CreatePatient(t.Context(), "Ada Brandt")
	w.must(err)
	in, err := w.signin.SignIn(t.Context(), "nurse", password, stationOf("nurse"))
	w.must(err)
	g, err := w.engine.BreakGlass(t.Context(), in.Subject, patient, "collapse in the corridor")
	w.must(err)
	text := w.get("auditor", "GET", "reviews?open=1", "", 200, nil)
	if !strings.Contains(text, g.ID) || !strings.Contains(text, "collapse in the corridor") || !strings.Contains(text, nurse) || strings.Contains(text, "Brandt") {
		t.Errorf("reviews: %s", text)
	}
	w.get("admin", "GET", "reviews", "", 403, nil)
	w.get("nurse", "POST", "reviews/"+g.ID, `{"outcome":"justified"}`, 403, nil)
	w.get("auditor", "POST", "reviews/"+g.ID, `{"outcome":"fine"}`, 400, nil)
	w.get("auditor", "POST", "reviews/"+g.ID, `{"outcome":"unjustified","note":"nobody was near"}`, 204, nil)
	w.get("auditor", "POST", "reviews/"+g.ID, `{"outcome":"justified"}`, 404, nil)
	if text := w.get("auditor", "GET", "reviews?open=1", "", 200, nil); text != "[]" {
		t.Errorf("still open: %s", text)
	}
	if text := w.get("auditor", "GET", "reviews", "", 200, nil); !strings.Contains(text, `"outcome":"unjustified"`) {
		t.Errorf("all: %s", text)
	}
}

func TestExplain(t *testing.T) {
	w := newWorld(t)
	w.sign(access.RoleAuditor, "")
	w.sign(access.RoleNurse, "")
	patient, err := w.store.CreatePatient(t.Context(), "Ada Brandt")
	w.must(err)
	var got struct {
		Allowed bool
		Rules   []struct {
			ID, Failed string
			Holds      bool
		}
	}
	w.get("auditor", "GET", "explain?who=nurse&what=patient:view&on=patient:"+patient, "", 200, &got)
	if got.Allowed || len(got.Rules) < 10 {
		t.Fatalf("%+v", got)
	}
	for _, r := range got.Rules {
		if r.ID == "nurse-on-ward" && (r.Holds || !strings.Contains(r.Failed, "ward")) {
			t.Errorf("%+v", r)
		}
	}
	if text := w.get("auditor", "GET", "explain/choices", "", 200, nil); !strings.Contains(text, patient) || strings.Contains(text, "Brandt") || strings.Contains(text, "vitals:append") {
		t.Errorf("choices: %s", text)
	}
	for query, status := range map[string]int{"who=nobody&what=patient:view&on=system": 400, "who=nurse&what=x&on=system": 400,
		"who=nurse&what=patient:view&on=x": 400, "who=nurse&what=patient:view&on=patient": 400, "who=nurse&what=patient:view&on=patient:none": 404} {
		w.get("auditor", "GET", "explain?"+query, "", status, nil)
	}
}

func TestIdentities(t *testing.T) {
	w := newWorld(t)
	w.sign(access.RoleAdmin, "")
	const a = access.RoleAdmin
	w.get(a, "POST", "wards", `{"id":"ward-a","name":"Cardiology"}`, 201, nil)
	w.get(a, "POST", "beds", `{"id":"a-1","ward":"ward-a","name":"Bed 1"}`, 201, nil)
	text := w.get(a, "POST", "gateways", `{"id":"gw-a","sensors":[{"id":"adc","model":"MCP3008","serial":"1"},{"id":"oxi","model":"MAX30100","serial":"2","bed":"a-1"}]}`, 201, nil)
	if text != `{"version":1,"secret":"TICKET-SECRET"}` {
		t.Error(text)
	}
	w.get(a, "POST", "workstations", `{"id":"desk"}`, 201, nil)
	w.get(a, "POST", "workstations", `{"id":"desk"}`, 409, nil)
	inventory := w.get(a, "GET", "inventory", "", 200, nil)
	for _, want := range []string{`"id":"spiffe://demo.vitalseal.internal/gateway/gw-a"`, `"id":"spiffe://demo.vitalseal.internal/sensor/oxi"`,
		`"gateway":"spiffe://demo.vitalseal.internal/gateway/gw-a"`, `"last_seen":null`, `"state":"invited"`, `"id":"` + station + `"`} {
		if !strings.Contains(inventory, want) {
			t.Errorf("%s is missing in %s", want, inventory)
		}
	}
	w.get(a, "POST", "identities/sensor/oxi/disable", "", 204, nil)
	w.get(a, "POST", "identities/"+url.PathEscape("spiffe://demo.vitalseal.internal/sensor/oxi")+"/enable", "", 204, nil)
	w.get(a, "POST", "identities/workstation/desk/delete", "", 204, nil)
	if e := w.last(); e.Resource != "identity:"+station || e.Reason != "state: invited -> deleted" {
		t.Errorf("audited as %+v", e)
	}
	want := "[invite 3 invite 1 disable spiffe://demo.vitalseal.internal/sensor/oxi enable spiffe://demo.vitalseal.internal/sensor/oxi delete " + station + "]"
	if got := fmt.Sprint(w.changes); got != want {
		t.Errorf("asked of the hub: %s", got)
	}
	w.fail = errors.New("SECRET-CAUSE")
	if text := w.get(a, "POST", "identities/sensor/oxi/disable", "", 500, nil); strings.Contains(text, "SECRET") || !strings.Contains(w.logged.String(), "SECRET-CAUSE") {
		t.Errorf("%s, logged %s", text, w.logged)
	}
}

// TestRolesAndEndpoints: who gets what, over HTTP.
func TestRolesAndEndpoints(t *testing.T) {
	w := newWorld(t)
	patient, err := w.store.CreatePatient(t.Context(), "P")
	w.must(err)
	for _, r := range access.Roles() {
		self := ""
		if r == access.RolePatient {
			self = patient
		}
		w.sign(r, self)
	}
	only := func(r ...access.Role) (out string) { return fmt.Sprint(r) }
	for _, c := range []struct{ method, path, allowed string }{
		{"POST", "wards", only("admin")}, {"POST", "beds", only("admin")}, {"POST", "patients", only("admin")},
		{"POST", "persons", only("admin")}, {"PUT", "persons/x/wards", only("admin")}, {"PUT", "persons/x/patients", only("admin")},
		{"POST", "persons/x/sign-out", only("admin")}, {"POST", "persons/x/disable", only("admin")}, {"POST", "persons/x/password", only("admin")},
		{"GET", "persons", only("admin")}, {"POST", "channels", only("admin")}, {"PUT", "persons/x/role", only("admin")}, {"GET", "persons/x", only("admin")},
		{"POST", "persons/x/reset-factors", only("admin")}, {"GET", "explain", only("auditor", "admin")}, {"GET", "explain/choices", only("auditor", "admin")},
		{"POST", "gateways", only("admin")}, {"POST", "workstations", only("admin")},
		{"POST", "identities/sensor/x/disable", only("admin")}, {"POST", "identities/sensor/x/enable", only("admin")}, {"POST", "identities/sensor/x/delete", only("admin")},
		{"GET", "patients", only("admin")}, {"GET", "wards", only("staff", "admin")}, {"GET", "beds", only("staff", "admin")},
		{"GET", "inventory", only("staff", "admin")}, {"GET", "delivery", only("staff", "admin")}, {"GET", "audit", only("auditor")},
		{"GET", "nothing", only()}, {"DELETE", "wards", only()},
	} {
		var allowed []access.Role
		for _, role := range append(access.Roles(), "") {
			status, text := w.do(role, c.method, c.path, "")
			switch {
			case status == 403 && text == `{"error":"not allowed"}` && role != "":
				if e := w.last(); e.Allowed || e.Role != string(role) || !strings.HasSuffix(e.Reason, c.method+" "+admin.Prefix+c.path) {
					t.Errorf("%s %s as %s: audited as %+v", c.method, c.path, role, e)
				}
			case status == 401 && role == "":
			case (c.path == "nothing" || c.method == "DELETE") && (status == 404 || status == 405):
			case status == 200 || status == 400 || status == 404: // let in; the bodies here are empty
				allowed = append(allowed, role)
			default:
				t.Errorf("%s %s as %q: %d %s", c.method, c.path, role, status, text)
			}
		}
		if fmt.Sprint(allowed) != c.allowed {
			t.Errorf("%s %s: allowed to %v, want %v", c.method, c.path, allowed, c.allowed)
		}
	}
	var entries []audit.Entry
	w.get("auditor", "GET", "audit?n=7", "", 200, &entries)
	if len(entries) != 7 || entries[0].Action != "audit:read" || entries[0].Seq <= entries[1].Seq {
		t.Errorf("%+v", entries)
	}
	for _, n := range []string{"0", "-1", "1001", "x"} {
		w.get("auditor", "GET", "audit?n="+n, "", 400, nil)
	}
}

func TestOtherSites(t *testing.T) {
	w := newWorld(t)
	w.sign(access.RoleAdmin, "")
	const body = `{"id":"w","name":"n"}`
	for name, headers := range map[string][]string{
		"no header":     {"X-Vitalseal-Request", ""},
		"other origin":  {"Origin", "https://evil.example"},
		"null origin":   {"Origin", "null"},
		"cross site":    {"Sec-Fetch-Site", "cross-site"},
		"same site":     {"Sec-Fetch-Site", "same-site"},
		"other, styled": {"Origin", w.url + ".evil.example"},
	} {
		if status, text := w.do("admin", "POST", "wards", body, headers...); status != 403 || text != `{"error":"request from another site"}` {
			t.Errorf("%s: %d %s", name, status, text)
		}
	}
	if status, text := w.do("admin", "POST", "wards", body, "Origin", w.url, "Sec-Fetch-Site", "same-origin"); status != 201 {
		t.Errorf("own page: %d %s", status, text)
	}
}

func TestBodiesAreStrict(t *testing.T) {
	w := newWorld(t)
	w.sign(access.RoleAdmin, "")
	patient, err := w.store.CreatePatient(t.Context(), "P")
	w.must(err)
	w.get("admin", "POST", "wards", `{"id":"w","name":"n"}`, 201, nil)
	w.get("admin", "POST", "beds", `{"id":"b","ward":"w","name":"n"}`, 201, nil)
	w.get("admin", "POST", "patients", `{"name":"A","bed":"b"}`, 201, nil)
	for _, c := range []struct {
		method, path, body string
		status             int
		want               string
	}{
		{"POST", "wards", `{"id":"x","name":"n","nmae":"s3cret"}`, 400, `unknown field \"nmae\"`},
		{"POST", "wards", `{"id":7}`, 400, `field \"id\": must be a string, not a JSON number`},
		{"POST", "wards", `{"id":"x"} {}`, 400, "after the JSON object"},
		{"POST", "wards", `{"id":"x"`, 400, "cut off"},
		{"POST", "wards", `[1]`, 400, "must be a JSON object"},
		{"POST", "wards", `{id}`, 400, "not JSON"},
		{"POST", "wards", `{"id":"","name":"n"}`, 400, "ward id must be 1 to 64 bytes"},
		{"POST", "wards", `{"id":"w","name":"n"}`, 409, "exists already"},
		{"POST", "wards", `{"id":"` + strings.Repeat("x", 70<<10) + `"}`, 413, "64 KiB"},
		{"POST", "wards", `{"id":"y","name":"n"}` + strings.Repeat(" ", 70<<10), 413, "64 KiB"},
		{"POST", "beds", `{"id":"b2","ward":"ww","name":"n"}`, 400, `field \"ward\": no ward \"ww\"`},
		{"POST", "patients", `{"name":"A","bed":"none"}`, 400, `field \"bed\"`},
		{"POST", "patients", `{"name":"B","bed":"b"}`, 409, "occupied"},
		{"POST", "persons", `{"login":"x","role":"boss"}`, 400, `field \"role\"`},
		{"POST", "persons", `{"login":"a b","role":"nurse"}`, 400, `field \"login\"`},
		{"POST", "persons", `{"login":"x","role":"nurse","patients":["` + patient + `"]}`, 400, `field \"patients\": only for role doctor`},
		{"POST", "persons", `{"login":"x","role":"doctor","wards":["w"]}`, 400, `field \"wards\": only for role nurse`},
		{"POST", "persons", `{"login":"x","role":"doctor","self":"` + patient + `"}`, 400, `field \"self\": only`},
		{"POST", "persons", `{"login":"x","role":"patient"}`, 400, `field \"self\": required`},
		{"POST", "persons", `{"login":"x","role":"nurse","wards":["ward-z"]}`, 400, `no ward`},
		{"POST", "persons", `{"login":"x","role":"doctor","patients":["z"]}`, 400, `no patient`},
		{"POST", "persons", `{"login":"x","display_name":"X","role":"nurse","password":"long enough"}`, 400, `unknown field \"password\"`},
		{"POST", "persons", `{"login":"admin","display_name":"X","role":"admin"}`, 409, "exists already"},
		{"PUT", "persons/none/wards", `{"wards":[]}`, 404, `\"none\" is not known`},
		{"POST", "channels", `{"name":"c","fields":["1","2","3","4","5","6","7","8","9"]}`, 400, `field \"fields\"`},
		{"POST", "gateways", `{"id":"Gateway 1"}`, 400, `field \"id\"`},
		{"POST", "gateways", `{"id":"gw","sensors":[{"id":"../x"}]}`, 400, `field \"sensors.id\"`},
		{"POST", "gateways", `{"id":"gw","sensors":[{"id":"a"},{"id":"a"}]}`, 400, "twice"},
		{"POST", "gateways", `{"id":"gw","sensors":[{"id":"a","bed":"none"}]}`, 400, `no bed`},
		{"POST", "identities/sensor/none/disable", ``, 404, "not known at this hub"},
		{"POST", "identities/sensor/none/explode", ``, 400, "disabled, enabled, rotated or deleted"},
		{"POST", "identities/" + url.PathEscape("spiffe://other/sensor/x") + "/disable", ``, 404, "not known at this hub"},
	} {
		status, text := w.do("admin", c.method, c.path, c.body)
		if status != c.status || !strings.Contains(text, c.want) || strings.Contains(text, "s3cret") {
			t.Errorf("%s %s %.60s: %d %.200s, want %d %s", c.method, c.path, c.body, status, text, c.status, c.want)
		}
	}
	if status, text := w.do("admin", "POST", "wards", `{}`, "Content-Type", "text/plain"); status != 400 || !strings.Contains(text, "application/json") {
		t.Errorf("as text/plain: %d %s", status, text)
	}
	if len(w.changes) != 0 {
		t.Errorf("something was done: %v", w.changes)
	}
}
