// Package persons are the attacks of and on the persons of a hub: what takes two persons, second
// factors and the moving of patients (persons-), and the rules that decide (policy-).
//
// All of them run on a hub's inside in this process, with the product's rules and its faces of the
// administration; how a person signs in is package sessions' subject.
package persons

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"

	"vitalseal/internal/hub/access"
	"vitalseal/internal/hub/directory"
	"vitalseal/internal/lab/attack"
	"vitalseal/internal/lab/attack/office"
	"vitalseal/internal/lab/weaken"
)

// alone is an attack of an administrator who asks for what takes two persons, and approves of it
// alone.
func alone(id, threat, does, path, body string) attack.Attack {
	return office.InBureau(attack.Attack{ID: id, Threat: threat, Position: "the administrator", Does: does + ", and approves that alone",
		Expected: "it waits for a second person; 403 for the approval", Right: attack.Answers(http.StatusForbidden), Control: weaken.TwoPersons},
		func(ctx context.Context, o *office.Bureau) (attack.Result, error) {
			return askAlone(ctx, o, path, strings.ReplaceAll(body, "{patient}", o.Patient))
		})
}

func waitingID(a attack.Answer) (string, error) {
	var w struct{ Waiting struct{ ID string } }
	if err := json.Unmarshal(a.Body, &w); err != nil || w.Waiting.ID == "" {
		return "", fmt.Errorf("no request that waits: %s", a)
	}
	return w.Waiting.ID, nil
}

// Alone are the attacks of one administrator on what takes two persons.
func Alone() []attack.Attack {
	return []attack.Attack{
		alone("persons-ghost-doctor", "see a patient as a person who does not exist", "makes a doctor who treats the patient", "/api/admin/persons",
			`{"login":"ghost","display_name":"Ghost","role":"doctor","patients":["{patient}"]}`),
		alone("persons-ghost-auditor", "judge one's own acts as a person who does not exist", "makes an auditor", "/api/admin/persons",
			`{"login":"ghost","display_name":"Ghost","role":"auditor"}`),
		alone("persons-ghost-display", "see live numbers without a person", "makes a wall display of the ward", "/api/admin/workstations",
			`{"id":"wall","mode":"display","wards":["ward"]}`),
		alone("persons-display-enable", "see live numbers without a person", "lets a disabled wall display of the ward in again", "/api/admin/identities/workstation/old-wall/enable", `{}`),
		alone("persons-takeover", "become an auditor", "makes a one-time password for the auditor", "/api/admin/persons/auditor/password", `{}`),
		office.InBureau(attack.Attack{ID: "persons-many-emergencies", Threat: "read one patient after the other as an emergency", Position: "a doctor",
			Does: "opens four patients in emergencies within an hour, each in a session of its own", Expected: "three are opened, the fourth is refused", Right: attack.Fails(access.ErrEmergencyRate), Control: weaken.GlassRate},
			func(ctx context.Context, o *office.Bureau) (attack.Result, error) {
				for i := range 4 {
					patient, err := o.Store.CreatePatient(ctx, "Somebody else")
					if err != nil {
						return attack.Result{}, err
					}
					now := time.Now()
					s := access.Subject{Person: access.Person{ID: "doctor"}, Workstation: office.BureauDesk, Session: fmt.Sprint("s", i), SessionStarted: now, Proven: now}
					_, err = o.Engine.BreakGlass(ctx, s, patient, "no reason at all but curiosity")
					if i == 3 {
						return attack.Judge(err == nil, attack.Failure(err), "opened", "refused", "%v", err)
					}
					if err != nil {
						return attack.Result{}, err
					}
				}
				return attack.Result{}, nil
			}),
		office.InBureau(attack.Attack{ID: "persons-second-login", Threat: "consent in a patient's name", Position: "the administrator, with any second person",
			Does: "makes a second login of a patient who has one", Expected: "refused by the store", Right: attack.Fails(directory.ErrSecondLogin), Control: weaken.OneLogin},
			func(ctx context.Context, o *office.Bureau) (attack.Result, error) {
				err := o.AddPerson(ctx, access.Person{ID: "second", Role: access.RolePatient, Self: o.Patient})
				return attack.Judge(err == nil, attack.Failure(err), "made", "refused", "%v", err)
			}),
		office.InBureau(attack.Attack{ID: "persons-late-approver", Threat: "approve one's own request as another", Position: "the administrator, with a doctor made after the request",
			Does: "asks for a doctor; a doctor who was made after that approves", Expected: "403: the approver was made after the request", Right: attack.Answers(http.StatusForbidden), Control: weaken.SecondPerson},
			func(ctx context.Context, o *office.Bureau) (attack.Result, error) {
				asked := o.Ask(ctx, o.Admin, "admin", "POST", "/api/admin/persons", `{"login":"ghost","display_name":"Ghost","role":"doctor"}`)
				request, err := waitingID(asked)
				if err != nil {
					return attack.Result{}, err
				}
				if err := o.AddPerson(ctx, access.Person{ID: "late", Role: access.RoleDoctor}); err != nil {
					return attack.Result{}, err
				}
				got := o.Ask(ctx, o.Admin, "late", "POST", "/api/admin/approvals/"+request+"/approve", "{}")
				return attack.Judge(got.OK(), attack.Status(got), "approved", "does not count", "%s", got)
			}),
		office.InBureau(attack.Attack{ID: "persons-forward-ghost", Threat: "have a patient's values in a cloud in plain text", Position: "the administrator, with a doctor made after the request",
			Does: "asks for plain forwarding; a doctor who was made for it approves", Expected: "403: the approver was made after the request", Right: attack.Answers(http.StatusForbidden), Control: weaken.SecondPerson},
			func(ctx context.Context, o *office.Bureau) (attack.Result, error) {
				path := fmt.Sprintf("/api/cloud/channels/%d", o.Channel)
				asked := o.Ask(ctx, o.Cloud, "admin", "PUT", path, `{"server":"https://cloud.example","remote_channel":1,"write_key":"K","mode":"plain"}`)
				var k struct {
					Requested time.Time `json:"requested"`
				}
				if err := json.Unmarshal(asked.Body, &k); err != nil || k.Requested.IsZero() {
					return attack.Result{}, fmt.Errorf("asked for: %s", asked)
				}
				if err := o.AddPerson(ctx, access.Person{ID: "late", Role: access.RoleDoctor, Patients: []string{o.Patient}}); err != nil {
					return attack.Result{}, err
				}
				got := o.Ask(ctx, o.Cloud, "late", "POST", path+"/approve", `{"requested":"`+k.Requested.Format(time.RFC3339Nano)+`"}`)
				return attack.Judge(got.OK(), attack.Status(got), "approved", "does not count", "%s", got)
			}),
	}
}
