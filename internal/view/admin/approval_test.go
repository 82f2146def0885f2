package admin_test

import (
	"errors"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"vitalseal/internal/hub/access"
	"vitalseal/internal/hub/directory"
	"vitalseal/internal/hub/signin"
	"vitalseal/internal/shared/audit"
)

type waits struct {
	Waiting struct {
		ID, Outcome string
		What        []string
	}
	Approvers []string
	First     string `json:"password_first_half"`
}

// request sends what must wait, and gives the request.
func (w *world) request(method, path, body string) waits {
	w.t.Helper()
	var out waits
	w.get(access.RoleAdmin, method, path, body, 202, &out)
	if out.Waiting.ID == "" || out.Waiting.Outcome != "waiting" || len(out.Waiting.What) == 0 {
		w.t.Fatalf("%s %s: %+v", method, path, out)
	}
	return out
}

// twoPersons is a world with an administrator, a doctor, an auditor and a patient, where acts take two persons.
func twoPersons(t *testing.T) (w *world, patient, doctor, auditor string) {
	t.Helper()
	w = newWorld(t)
	w.sign(access.RoleAdmin, "")
	w.get("admin", "POST", "wards", `{"id":"ward-a","name":"A"}`, 201, nil)
	var p struct{ ID string }
	w.get("admin", "POST", "patients", `{"name":"Ada"}`, 201, &p)
	w.must(w.engine.BeginTwoPersons(t.Context()))
	w.get("admin", "PUT", "two-persons", `{"on":true}`, 409, nil)
	doctor, auditor = w.sign(access.RoleDoctor, ""), w.sign(access.RoleAuditor, "")
	if !strings.Contains(w.logged.String(), "ONE ADMINISTRATOR ALONE") {
		t.Error("the log does not say that one administrator alone is enough")
	}
	if got := w.get("admin", "GET", "two-persons", "", 200, nil); !strings.Contains(got, `"on":false`) || !strings.Contains(got, `["auditor","doctor"]`) {
		t.Error(got)
	}
	w.get("admin", "PUT", "two-persons", `{"on":true}`, 200, nil)
	return w, p.ID, doctor, auditor
}

// TestTwoPersons: what one administrator could do alone waits for a second person of another duty, and is then done once, as asked.
func TestTwoPersons(t *testing.T) {
	w, patient, doctor, _ := twoPersons(t)
	for name, x := range map[string]struct{ method, path, body string }{
		"a ghost doctor":    {"POST", "persons", `{"login":"ghost-d","display_name":"G","role":"doctor","patients":["` + patient + `"]}`},
		"a ghost auditor":   {"POST", "persons", `{"login":"ghost-a","display_name":"G","role":"auditor"}`},
		"a ghost patient":   {"POST", "persons", `{"login":"ghost-p","display_name":"G","role":"patient","self":"` + patient + `"}`},
		"a relationship":    {"PUT", "persons/" + doctor + "/patients", `{"patients":["` + patient + `"]}`},
		"a role":            {"PUT", "persons/" + doctor + "/role", `{"role":"auditor"}`},
		"a password":        {"POST", "persons/" + doctor + "/password", `{}`},
		"second factors":    {"POST", "persons/" + doctor + "/reset-factors", `{}`},
		"one of few":        {"POST", "persons/" + doctor + "/disable", `{}`},
		"a display":         {"POST", "workstations", `{"id":"wall","mode":"display","wards":["ward-a"]}`},
		"switching it off":  {"PUT", "two-persons", `{"on":false}`},
		"a nurse of a ward": {"POST", "persons", `{"login":"ghost-n","display_name":"G","role":"nurse","wards":["ward-a"]}`},
	} {
		asked := w.request(x.method, x.path, x.body)
		w.get("admin", "POST", "approvals/"+asked.Waiting.ID+"/approve", `{}`, 403, nil) // the one who asked
		if name == "switching it off" || name == "one of few" {
			w.get("admin", "POST", "approvals/"+asked.Waiting.ID+"/refuse", `{}`, 204, nil)
			w.get("auditor", "POST", "approvals/"+asked.Waiting.ID+"/approve", `{}`, 409, nil)
		}
	}
	for _, login := range []string{"ghost-d", "ghost-a", "ghost-p", "ghost-n"} {
		if _, _, err := w.store.PersonByLogin(t.Context(), login); !errors.Is(err, access.ErrNotFound) {
			t.Errorf("%s exists without a second person: %v", login, err)
		}
	}
	if p, err := w.store.Person(t.Context(), doctor); err != nil || len(p.Patients) > 0 || p.Role != access.RoleDoctor || p.Disabled || p.MustChangePassword {
		t.Errorf("%+v %v", p, err)
	}

	// What the approver reads cannot be forged by a name, and a reason of two lines is one.
	for _, name := range []string{`A\u202eB`, `\u001b[2J`, `Ghost\nDoctor`, `A\u2066B`} {
		w.get("admin", "POST", "persons", `{"login":"ghost-x","display_name":"`+name+`","role":"auditor"}`, 400, nil)
	}
	forged := w.request("POST", "persons", `{"login":"ghost-x","display_name":"Ann (login ann) a nurse who may sign in; the rest","role":"auditor"}`)
	if want := `makes "Ann (login ann) a nurse who may sign in; the rest" (login ghost-x) a auditor`; !strings.Contains(forged.Waiting.What[0], want) {
		t.Errorf("a name that reads as a sentence: %q", forged.Waiting.What)
	}
	w.get("auditor", "POST", "approvals/"+forged.Waiting.ID+"/refuse", `{"reason":"no,\nask the ward first"}`, 204, nil)
	w.get("auditor", "POST", "approvals/"+forged.Waiting.ID+"/approve", `{}`, 409, nil)

	asked := w.request("POST", "persons", `{"login":"new","display_name":"New Doctor","role":"doctor","patients":["`+patient+`"]}`)
	if !strings.Contains(strings.Join(asked.Waiting.What, "\n"), "treats the patients "+patient) {
		t.Errorf("the approver does not see what changes: %q", asked.Waiting.What)
	}
	if !strings.Contains(strings.Join(asked.Waiting.What, "\n"), patient+" is a patient who lies at no bed now") {
		t.Errorf("the approver does not see who that is: %q", asked.Waiting.What)
	}
	if moved := w.request("PUT", "persons/"+doctor+"/role", `{"role":"nurse","wards":["ward-a"]}`); !strings.Contains(strings.Join(moved.Waiting.What, "\n"), "ward-a is the ward A") {
		t.Errorf("the approver does not see which ward that is: %q", moved.Waiting.What)
	}
	var made struct {
		ID     string
		Second string `json:"password_second_half"`
	}
	text := w.get("auditor", "POST", "approvals/"+asked.Waiting.ID+"/approve", `{}`, 201, &made)
	if strings.Contains(text, asked.First) {
		t.Error("the approver is told the first half of the password")
	}
	w.get("auditor", "POST", "approvals/"+asked.Waiting.ID+"/approve", `{}`, 409, nil) // once
	p, err := w.store.Person(t.Context(), made.ID)
	if err != nil || p.Role != access.RoleDoctor || len(p.Patients) != 1 || !p.MustChangePassword {
		t.Fatalf("%+v %v", p, err)
	}
	for _, half := range []string{asked.First, made.Second} {
		if _, err := w.signin.SignIn(t.Context(), "new", half, station+"-new"); !errors.Is(err, signin.ErrSignIn) {
			t.Errorf("half a password: %v", err)
		}
	}
	if _, err := w.signin.SignIn(t.Context(), "new", asked.First+"-"+made.Second, station+"-new"); err != nil {
		t.Error(err)
	}
	found := false
	entries, err := w.trail.Recent(t.Context(), 1000)
	w.must(err)
	for _, e := range entries {
		found = found || e.Resource == "person:"+made.ID && strings.Contains(e.Reason, "patients: [] -> ["+patient+"]") && strings.Contains(e.Reason, "approved by")
	}
	if !found {
		t.Error("the log does not say what was done, and by whom it was asked for and approved")
	}
	// Fewer is done at once.
	w.get("admin", "PUT", "persons/"+made.ID+"/patients", `{"patients":[]}`, 204, nil)
}

// TestWhoCounts: an approver who was made or changed for the purpose, or has the same duty, or is the one concerned, does not count.
func TestWhoCounts(t *testing.T) {
	w, patient, doctor, _ := twoPersons(t)
	asked := w.request("PUT", "persons/"+doctor+"/patients", `{"patients":["`+patient+`"]}`)
	id := asked.Waiting.ID
	if _, text := w.do("doctor", "POST", "approvals/"+id+"/approve", `{}`); !strings.Contains(text, "concerns this person") {
		t.Error(text)
	}
	w.sign(access.RoleStaff, "") // after the request
	if code, text := w.do("staff", "POST", "approvals/"+id+"/approve", `{}`); code != 403 || !strings.Contains(text, "made after the request") {
		t.Error(code, text)
	}
	auditor, _, err := w.store.PersonByLogin(t.Context(), "auditor")
	w.must(err)
	w.must(w.store.PersonChanged(t.Context(), auditor.ID))
	if code, text := w.do("auditor", "POST", "approvals/"+id+"/approve", `{}`); code != 403 || !strings.Contains(text, "changed after the request") {
		t.Error(code, text)
	}
	if e := w.last(); e.Allowed || e.Action != string(access.GiveApproval) || !strings.Contains(e.Reason, "changed after the request") {
		t.Errorf("the refusal in the log: %+v", e)
	}
	// Nor is what has waited for too long.
	late, err := w.store.Approval(t.Context(), id)
	w.must(err)
	late.ID, late.Requested, late.Expires = "ap-late", late.Requested.Add(-25*time.Hour), late.Expires.Add(-25*time.Hour)
	w.must(w.store.SaveApproval(t.Context(), late))
	if code, text := w.do("auditor", "POST", "approvals/ap-late/approve", `{}`); code != 409 || !strings.Contains(text, "expired") {
		t.Error(code, text)
	}
	if got := w.get("auditor", "GET", "approvals", "", 200, nil); !strings.Contains(got, `"outcome":"expired"`) {
		t.Error(got)
	}
	// What changed between request and approval is not approved.
	id = w.request("PUT", "persons/"+doctor+"/patients", `{"patients":["`+patient+`"]}`).Waiting.ID
	w.must(w.store.SetRelations(t.Context(), access.Person{ID: doctor, Role: access.RoleDoctor}, access.RoleStaff, nil, nil))
	w.get("auditor", "POST", "approvals/"+id+"/approve", `{}`, 409, nil)
	if got := w.get("auditor", "GET", "approvals", "", 200, nil); !strings.Contains(got, `"outcome":"failed"`) {
		t.Error(got)
	}
	if p, err := w.store.Person(t.Context(), doctor); err != nil || len(p.Patients) > 0 {
		t.Errorf("%+v %v", p, err)
	}
}

// TestOneLogin: a patient has one login, no matter who asks for a second, and learns of what happens to it.
func TestOneLogin(t *testing.T) {
	w := newWorld(t)
	w.sign(access.RoleAdmin, "")
	var p, own struct{ ID string }
	w.get("admin", "POST", "patients", `{"name":"Ada"}`, 201, &p)
	w.get("admin", "POST", "persons", `{"login":"ada","display_name":"Ada","role":"patient","self":"`+p.ID+`"}`, 201, &own)
	if _, text := w.do("admin", "POST", "persons", `{"login":"ada2","display_name":"Ada","role":"patient","self":"`+p.ID+`"}`); !strings.Contains(text, "has a login already") {
		t.Error(text)
	}
	w.get("admin", "POST", "persons", `{"login":"ada2","display_name":"Ada","role":"patient","self":"`+p.ID+`"}`, 409, nil)
	w.get("admin", "POST", "persons/"+own.ID+"/disable", `{}`, 204, nil)
	w.get("admin", "POST", "persons", `{"login":"ada3","display_name":"Ada","role":"patient","self":"`+p.ID+`"}`, 409, nil)
	w.get("admin", "POST", "persons/"+own.ID+"/enable", `{}`, 204, nil)
	w.get("admin", "POST", "persons", `{"login":"doc","display_name":"D","role":"doctor","patients":["`+p.ID+`"]}`, 201, nil)
	notices, err := w.store.Notices(t.Context(), p.ID)
	w.must(err)
	var kinds []string
	for _, n := range notices {
		kinds = append(kinds, n.Kind)
	}
	if got := strings.Join(kinds, " "); got != "treats login-reset login" {
		t.Errorf("the patient is told of %q", got)
	}
}

// TestOldAndNew: an entry says what was and what is, ward by ward, however long the list.
func TestOldAndNew(t *testing.T) {
	w := newWorld(t)
	w.sign(access.RoleAdmin, "")
	var ids []string
	for _, c := range strings.Split("abcdefghijklmnopqrst", "") {
		id := "ward-" + strings.Repeat(c, 50)
		w.get("admin", "POST", "wards", `{"id":"`+id+`","name":"W"}`, 201, nil)
		ids = append(ids, id)
	}
	var nurse struct{ ID string }
	w.get("admin", "POST", "persons", `{"login":"nora","display_name":"N","role":"nurse","wards":["`+ids[0]+`"]}`, 201, &nurse)
	w.get("admin", "PUT", "persons/"+nurse.ID+"/wards", `{"wards":["`+strings.Join(ids, `","`)+`"]}`, 204, nil)
	all, err := w.trail.Recent(t.Context(), 5)
	w.must(err)
	said := ""
	for i := len(all) - 1; i >= 0; i-- {
		if all[i].Resource == "person:"+nurse.ID {
			said += all[i].Reason
		}
	}
	if !strings.Contains(said, "wards: ["+ids[0]+"] -> ["+ids[0]) {
		t.Error(said)
	}
	for _, id := range ids {
		if !strings.Contains(said, id) {
			t.Errorf("the log does not name %s", id)
		}
	}
	w.get("admin", "PUT", "persons/"+nurse.ID+"/wards", `{"wards":[]}`, 204, nil)
	w.get("admin", "PUT", "persons/"+nurse.ID+"/role", `{"role":"staff"}`, 204, nil)
	if e := w.last(); e.Reason != "role: nurse -> staff" {
		t.Errorf("%+v", e)
	}
	// What was not done does not stand as done.
	w.get("admin", "PUT", "persons/"+nurse.ID+"/wards", `{"wards":["ward-z"]}`, 400, nil)
	if e := w.last(); e.Allowed || !strings.HasPrefix(e.Reason, "not done: PUT ") {
		t.Errorf("%+v", e)
	}
}

// TestDisplaysTakeTwo: every way to a wall screen that shows live numbers waits for a second person, is then done as it was asked for
// if the screen is still what it was, and is a security event; taking a screen away takes one person.
func TestDisplaysTakeTwo(t *testing.T) {
	w, _, _, _ := twoPersons(t)
	wall := "spiffe://demo.vitalseal.internal/workstation/wall"
	state := func(s string) {
		t.Helper()
		if _, err := w.store.Device(t.Context(), wall); err != nil {
			w.must(w.store.CreateDevice(t.Context(), directory.Device{ID: wall, Kind: "workstation", Mode: directory.ModeDisplay, Wards: []string{"ward-a"}, State: directory.DeviceInvited}))
		}
		w.must(w.store.SetDeviceState(t.Context(), wall, s))
	}
	decide := func(asked waits, code int, out any) {
		t.Helper()
		w.get("auditor", "POST", "approvals/"+asked.Waiting.ID+"/approve", `{}`, code, out)
	}
	paths := func(change string) []string {
		return []string{"identities/workstation/wall/" + change, "identities/" + url.PathEscape(wall) + "/" + change}
	}
	changes := func() string { w.mu.Lock(); defer w.mu.Unlock(); return strings.Join(w.changes, "; ") }
	for _, x := range []struct{ change, state, done string }{
		{"ticket", directory.DeviceActive, "reissue " + wall},
		{"ticket", directory.DeviceDisabled, "reissue " + wall},
		{"enable", directory.DeviceDisabled, "enable " + wall},
	} {
		for _, path := range paths(x.change) {
			state(x.state)
			before, events := changes(), len(w.events(access.EventDisplay))
			asked := w.request("POST", path, `{}`)
			if what := strings.Join(asked.Waiting.What, "\n"); !strings.Contains(what, wall) || !strings.Contains(what, "ward-a is the ward A") {
				t.Errorf("%s of a display that is %s: the approver reads %q", x.change, x.state, asked.Waiting.What)
			}
			w.get("admin", "POST", "approvals/"+asked.Waiting.ID+"/approve", `{}`, 403, nil)
			if got := changes(); got != before {
				t.Errorf("%s of a display that is %s was done by one person: %s", x.change, x.state, strings.TrimPrefix(got, before))
			}
			var ticket struct{ Secret string }
			decide(asked, 201, &ticket)
			if got := changes(); !strings.Contains(strings.TrimPrefix(got, before), x.done) || (x.change == "ticket") != (ticket.Secret != "") {
				t.Errorf("%s, approved: %s", x.change, got)
			}
			told := w.events(access.EventDisplay)[events:]
			if len(told) != 1 || told[0].Where != wall || !strings.Contains(told[0].Detail, "approved by a second person") {
				t.Errorf("%s, approved: the events are %+v", x.change, told)
			}
			entries, err := w.trail.Recent(t.Context(), 5)
			w.must(err)
			if !slices.ContainsFunc(entries, func(e audit.Entry) bool {
				return e.Resource == "identity:"+wall && strings.Contains(e.Reason, "asked for by") && strings.Contains(e.Reason, "approved by")
			}) {
				t.Errorf("%s: the log does not say who asked and who approved: %+v", x.change, entries)
			}
		}
	}
	// What changed meanwhile fails.
	state(directory.DeviceDisabled)
	asked := w.request("POST", paths("enable")[0], `{}`)
	state(directory.DeviceActive)
	decide(asked, 409, nil)
	w.get("admin", "POST", paths("enable")[0], `{}`, 409, nil) // it is not disabled
	// Taking away is one person's, and so is a ticket for what shows nothing without a person.
	before := changes()
	w.get("admin", "POST", paths("disable")[0], `{}`, 204, nil)
	w.get("admin", "POST", paths("delete")[0], `{}`, 204, nil)
	desk := "spiffe://demo.vitalseal.internal/workstation/desk"
	w.must(w.store.CreateDevice(t.Context(), directory.Device{ID: desk, Kind: "workstation", State: directory.DeviceInvited}))
	w.get("admin", "POST", "identities/workstation/desk/ticket", `{}`, 201, nil)
	if got, want := strings.TrimPrefix(changes(), before), "; disable "+wall+"; delete "+wall+"; reissue "+desk+" for "; !strings.HasPrefix(got, want) {
		t.Errorf("one person's acts: %q, not %q", got, want)
	}
}

// TestDisplaysOfOnePerson: where one administrator is enough, a wall screen that is let in is still a security event.
func TestDisplaysOfOnePerson(t *testing.T) {
	w := newWorld(t)
	w.sign(access.RoleAdmin, "")
	w.get("admin", "POST", "wards", `{"id":"ward-a","name":"A"}`, 201, nil)
	w.get("admin", "POST", "workstations", `{"id":"wall","mode":"display","wards":["ward-a"]}`, 201, nil)
	w.get("admin", "POST", "identities/workstation/wall/ticket", `{}`, 201, nil)
	w.must(w.store.SetDeviceState(t.Context(), "spiffe://demo.vitalseal.internal/workstation/wall", directory.DeviceDisabled))
	w.get("admin", "POST", "identities/workstation/wall/enable", `{}`, 204, nil)
	var got []string
	for _, e := range w.events(access.EventDisplay) {
		got = append(got, e.Where+" "+e.Detail)
	}
	wall := "spiffe://demo.vitalseal.internal/workstation/wall "
	want := []string{wall + "a ticket for a new display; one person was enough", wall + "a new ticket for the display, which ends the old keys; one person was enough",
		wall + "the display was disabled and is let in again; one person was enough"}
	if !slices.Equal(got, want) {
		t.Errorf("the events are %q", got)
	}
}
