package attack

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"time"

	"vitalseal/internal/access"
	"vitalseal/internal/audit"
	"vitalseal/internal/directory"
	"vitalseal/internal/lab/weaken"
	"vitalseal/internal/seal"
	"vitalseal/internal/signin"
	"vitalseal/internal/sink"
	"vitalseal/internal/store"
	"vitalseal/internal/view/admin"
)

// bureau is a hub's administration in this process: an administrator, a doctor, an auditor and a patient, where what gives access
// takes two persons. Who asks is said in a header: the attacks are a signed-in person's.
type bureau struct {
	store   *store.Store
	trail   *audit.Log
	engine  *access.Engine
	signin  *signin.Service
	admin   http.Handler
	cloud   http.Handler
	patient string
	channel int64
}

const bureauDesk = "spiffe://attack.test/workstation/desk"

func newBureau(ctx context.Context, t *Target) (*bureau, error) {
	dir, err := os.MkdirTemp(t.dir, "bureau-")
	if err != nil {
		return nil, err
	}
	keys, _, err := seal.OpenFileKeyStore(filepath.Join(dir, "root.key"))
	if err != nil {
		return nil, err
	}
	o := &bureau{}
	if o.store, err = store.Open(ctx, filepath.Join(dir, "store"), keys, quiet); err != nil {
		return nil, err
	}
	if o.trail, err = audit.Open(filepath.Join(dir, "audit"), filepath.Join(dir, "audit.key"), quiet); err != nil {
		return nil, errors.Join(err, o.store.Close())
	}
	if err := o.furnish(ctx); err != nil {
		return nil, errors.Join(err, o.close())
	}
	return o, nil
}

func (o *bureau) furnish(ctx context.Context) (err error) {
	if o.engine, err = access.New(o.store, o.trail, nil, quiet, access.WithApprovals(o.store, true)); err != nil {
		return err
	}
	if o.signin, err = signin.New(o.engine, o.store, quiet); err != nil {
		return err
	}
	if err = o.store.CreateWard(ctx, directory.Ward{ID: "ward", Name: "Ward"}); err != nil {
		return err
	}
	if o.patient, err = o.store.CreatePatient(ctx, "Somebody"); err != nil {
		return err
	}
	channel, err := o.store.ChannelOf(ctx, o.patient)
	if err != nil {
		return err
	}
	o.channel = channel.ID
	for _, p := range []access.Person{{ID: "admin", Role: access.RoleAdmin}, {ID: "doctor", Role: access.RoleDoctor, Patients: []string{o.patient}},
		{ID: "auditor", Role: access.RoleAuditor}, {ID: "own", Role: access.RolePatient, Self: o.patient}} {
		if err := o.person(ctx, p); err != nil {
			return err
		}
	}
	old := directory.Device{ID: "spiffe://attack.test/workstation/old-wall", Kind: "workstation", Mode: directory.ModeDisplay, Wards: []string{"ward"}, State: directory.DeviceInvited}
	if err := errors.Join(o.store.CreateDevice(ctx, old), o.store.SetDeviceState(ctx, old.ID, directory.DeviceDisabled)); err != nil {
		return err
	}
	if err := o.engine.BeginTwoPersons(ctx); err != nil { // on: there are two who can approve
		return err
	}
	subject := func(r *http.Request) (access.Subject, error) {
		now := time.Now()
		return access.Subject{Person: access.Person{ID: r.Header.Get("X-Who")}, Workstation: bureauDesk, Session: "s", SessionStarted: now, Proven: now}, nil
	}
	o.admin = admin.New(admin.Config{Store: o.store, Access: o.engine, SignIn: o.signin, Audit: o.trail, Subject: subject, Domain: "attack.test", Log: quiet,
		Invite: func(context.Context, string, []directory.Device) (json.RawMessage, error) {
			return json.RawMessage(`{"secret":"x"}`), nil
		}, Reissue: func(context.Context, string, string) (json.RawMessage, error) {
			return json.RawMessage(`{"secret":"y"}`), nil
		}, Enable: func(context.Context, string) error { return nil }})
	forward, err := sink.New(sink.Config{Store: o.store, Access: o.engine, Log: quiet,
		Dial: func(context.Context, string) (net.Conn, error) { return nil, errors.New("attack: no way out") }})
	if err != nil {
		return err
	}
	o.cloud = sink.NewFace(sink.FaceConfig{Engine: forward, Subject: subject, Log: quiet})
	return nil
}

func (o *bureau) person(ctx context.Context, p access.Person) error {
	p.Login, p.DisplayName = p.ID, p.ID
	_, err := o.store.CreatePerson(ctx, p, "none")
	return err
}

func (o *bureau) close() error { return errors.Join(o.store.Close(), o.trail.Close()) }

// ask sends a request as a person.
func (o *bureau) ask(ctx context.Context, face http.Handler, who, method, path, body string) answer {
	r := httptest.NewRequestWithContext(ctx, method, path, strings.NewReader(body))
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("X-Vitalseal-Request", "1")
	r.Header.Set("X-Who", who)
	w := httptest.NewRecorder()
	face.ServeHTTP(w, r)
	res := w.Result()
	defer res.Body.Close()
	b, err := io.ReadAll(io.LimitReader(res.Body, 1<<20))
	if err != nil {
		return answer{}
	}
	return answer{Status: res.StatusCode, Header: res.Header, Body: b}
}

// inBureau is an attack in a bureau.
func inBureau(a Attack, run func(context.Context, *bureau) (Result, error)) Attack {
	a.Fast = true
	a.Run = func(ctx context.Context, t *Target) (Result, error) {
		o, err := newBureau(ctx, t)
		if err != nil {
			return Result{}, err
		}
		res, err := run(ctx, o)
		return res, errors.Join(err, o.close())
	}
	return a
}

// alone is an attack of an administrator who asks for what takes two persons, and approves of it alone.
func alone(id, threat, does, path, body string) Attack {
	return inBureau(Attack{ID: id, Threat: threat, Position: "the administrator", Does: does + ", and approves that alone",
		Expected: "it waits for a second person; 403 for the approval", Right: answers(http.StatusForbidden), Control: weaken.TwoPersons},
		func(ctx context.Context, o *bureau) (Result, error) {
			return o.askAlone(ctx, path, strings.ReplaceAll(body, "{patient}", o.patient))
		})
}

func waitingID(a answer) (string, error) {
	var w struct{ Waiting struct{ ID string } }
	if err := json.Unmarshal(a.Body, &w); err != nil || w.Waiting.ID == "" {
		return "", fmt.Errorf("no request that waits: %s", a)
	}
	return w.Waiting.ID, nil
}

func personAttacks() []Attack {
	return []Attack{
		alone("persons-ghost-doctor", "see a patient as a person who does not exist", "makes a doctor who treats the patient", "/api/admin/persons",
			`{"login":"ghost","display_name":"Ghost","role":"doctor","patients":["{patient}"]}`),
		alone("persons-ghost-auditor", "judge one's own acts as a person who does not exist", "makes an auditor", "/api/admin/persons",
			`{"login":"ghost","display_name":"Ghost","role":"auditor"}`),
		alone("persons-ghost-display", "see live numbers without a person", "makes a wall display of the ward", "/api/admin/workstations",
			`{"id":"wall","mode":"display","wards":["ward"]}`),
		alone("persons-display-enable", "see live numbers without a person", "lets a disabled wall display of the ward in again", "/api/admin/identities/workstation/old-wall/enable", `{}`),
		alone("persons-takeover", "become an auditor", "makes a one-time password for the auditor", "/api/admin/persons/auditor/password", `{}`),
		inBureau(Attack{ID: "persons-many-emergencies", Threat: "read one patient after the other as an emergency", Position: "a doctor",
			Does: "opens four patients in emergencies within an hour, each in a session of its own", Expected: "three are opened, the fourth is refused", Right: fails(access.ErrGlassRate), Control: weaken.GlassRate},
			func(ctx context.Context, o *bureau) (Result, error) {
				for i := range 4 {
					patient, err := o.store.CreatePatient(ctx, "Somebody else")
					if err != nil {
						return Result{}, err
					}
					now := time.Now()
					s := access.Subject{Person: access.Person{ID: "doctor"}, Workstation: bureauDesk, Session: fmt.Sprint("s", i), SessionStarted: now, Proven: now}
					_, err = o.engine.BreakGlass(ctx, s, patient, "no reason at all but curiosity")
					if i == 3 {
						return judge(err == nil, failure(err), "opened", "refused", "%v", err)
					}
					if err != nil {
						return Result{}, err
					}
				}
				return Result{}, nil
			}),
		inBureau(Attack{ID: "persons-second-login", Threat: "consent in a patient's name", Position: "the administrator, with any second person",
			Does: "makes a second login of a patient who has one", Expected: "refused by the store", Right: fails(directory.ErrSecondLogin), Control: weaken.OneLogin},
			func(ctx context.Context, o *bureau) (Result, error) {
				err := o.person(ctx, access.Person{ID: "second", Role: access.RolePatient, Self: o.patient})
				return judge(err == nil, failure(err), "made", "refused", "%v", err)
			}),
		inBureau(Attack{ID: "persons-late-approver", Threat: "approve one's own request as another", Position: "the administrator, with a doctor made after the request",
			Does: "asks for a doctor; a doctor who was made after that approves", Expected: "403: the approver was made after the request", Right: answers(http.StatusForbidden), Control: weaken.SecondPerson},
			func(ctx context.Context, o *bureau) (Result, error) {
				asked := o.ask(ctx, o.admin, "admin", "POST", "/api/admin/persons", `{"login":"ghost","display_name":"Ghost","role":"doctor"}`)
				request, err := waitingID(asked)
				if err != nil {
					return Result{}, err
				}
				if err := o.person(ctx, access.Person{ID: "late", Role: access.RoleDoctor}); err != nil {
					return Result{}, err
				}
				got := o.ask(ctx, o.admin, "late", "POST", "/api/admin/approvals/"+request+"/approve", "{}")
				return judge(got.ok(), status(got), "approved", "does not count", "%s", got)
			}),
		inBureau(Attack{ID: "persons-forward-ghost", Threat: "have a patient's values in a cloud in plain text", Position: "the administrator, with a doctor made after the request",
			Does: "asks for plain forwarding; a doctor who was made for it approves", Expected: "403: the approver was made after the request", Right: answers(http.StatusForbidden), Control: weaken.SecondPerson},
			func(ctx context.Context, o *bureau) (Result, error) {
				path := fmt.Sprintf("/api/cloud/channels/%d", o.channel)
				asked := o.ask(ctx, o.cloud, "admin", "PUT", path, `{"server":"https://cloud.example","remote_channel":1,"write_key":"K","mode":"plain"}`)
				var k struct {
					Requested time.Time `json:"requested"`
				}
				if err := json.Unmarshal(asked.Body, &k); err != nil || k.Requested.IsZero() {
					return Result{}, fmt.Errorf("asked for: %s", asked)
				}
				if err := o.person(ctx, access.Person{ID: "late", Role: access.RoleDoctor, Patients: []string{o.patient}}); err != nil {
					return Result{}, err
				}
				got := o.ask(ctx, o.cloud, "late", "POST", path+"/approve", `{"requested":"`+k.Requested.Format(time.RFC3339Nano)+`"}`)
				return judge(got.ok(), status(got), "approved", "does not count", "%s", got)
			}),
	}
}
