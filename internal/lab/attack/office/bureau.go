package office

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"time"

	"vitalseal/internal/hub/access"
	"vitalseal/internal/hub/directory"
	"vitalseal/internal/hub/signin"
	"vitalseal/internal/hub/sink"
	"vitalseal/internal/hub/store"
	"vitalseal/internal/lab/attack"
	"vitalseal/internal/shared/audit"
	"vitalseal/internal/view/admin"
	"vitalseal/internal/view/cloud"
	"vitalseal/internal/way/seal"
)

// Bureau is a hub's administration in this process: an administrator, a doctor, an auditor and a
// patient, where what gives access takes two persons. Who asks is said in a header: the attacks are
// a signed-in person's.
type Bureau struct {
	Store   *store.Store
	Trail   *audit.Log
	Engine  *access.Engine
	SignIn  *signin.Service
	Admin   http.Handler
	Cloud   http.Handler
	Patient string
	Channel int64
}

// BureauDesk is the workstation at which the persons of a [Bureau] work.
const BureauDesk = "spiffe://attack.test/workstation/desk"

func newBureau(ctx context.Context, t *attack.Target) (*Bureau, error) {
	dir, err := os.MkdirTemp(t.Dir, "bureau-")
	if err != nil {
		return nil, err
	}
	keys, _, err := seal.OpenFileKeyStore(filepath.Join(dir, "root.key"))
	if err != nil {
		return nil, err
	}
	o := &Bureau{}
	if o.Store, err = store.Open(ctx, filepath.Join(dir, "store"), keys, attack.Quiet); err != nil {
		return nil, err
	}
	if o.Trail, err = audit.Open(filepath.Join(dir, "audit"), filepath.Join(dir, "audit.key"), attack.Quiet); err != nil {
		return nil, errors.Join(err, o.Store.Close())
	}
	if err := o.furnish(ctx); err != nil {
		return nil, errors.Join(err, o.close())
	}
	return o, nil
}

func (o *Bureau) furnish(ctx context.Context) (err error) {
	if o.Engine, err = access.New(o.Store, o.Trail, nil, attack.Quiet, access.WithApprovals(o.Store, true)); err != nil {
		return err
	}
	if o.SignIn, err = signin.New(o.Engine, o.Store, attack.Quiet); err != nil {
		return err
	}
	if err = o.Store.CreateWard(ctx, directory.Ward{ID: "ward", Name: "Ward"}); err != nil {
		return err
	}
	if o.Patient, err = o.Store.CreatePatient(ctx, "Somebody"); err != nil {
		return err
	}
	channel, err := o.Store.ChannelOf(ctx, o.Patient)
	if err != nil {
		return err
	}
	o.Channel = channel.ID
	for _, p := range []access.Person{{ID: "admin", Role: access.RoleAdmin}, {ID: "doctor", Role: access.RoleDoctor, Patients: []string{o.Patient}},
		{ID: "auditor", Role: access.RoleAuditor}, {ID: "own", Role: access.RolePatient, Self: o.Patient}} {
		if err := o.AddPerson(ctx, p); err != nil {
			return err
		}
	}
	old := directory.Device{ID: "spiffe://attack.test/workstation/old-wall", Kind: "workstation", Mode: directory.ModeDisplay, Wards: []string{"ward"}, State: directory.DeviceInvited}
	if err := errors.Join(o.Store.CreateDevice(ctx, old), o.Store.SetDeviceState(ctx, old.ID, directory.DeviceDisabled)); err != nil {
		return err
	}
	if err := o.Engine.BeginTwoPersons(ctx); err != nil { // on: there are two who can approve
		return err
	}
	subject := func(r *http.Request) (access.Subject, error) {
		now := time.Now()
		return access.Subject{Person: access.Person{ID: r.Header.Get("X-Who")}, Workstation: BureauDesk, Session: "s", SessionStarted: now, Proven: now}, nil
	}
	o.Admin = admin.New(admin.Config{Store: o.Store, Access: o.Engine, SignIn: o.SignIn, Audit: o.Trail, Subject: subject, Domain: "attack.test", Log: attack.Quiet,
		Invite: func(context.Context, string, []directory.Device) (json.RawMessage, error) {
			return json.RawMessage(`{"secret":"x"}`), nil
		}, Reissue: func(context.Context, string, string) (json.RawMessage, error) {
			return json.RawMessage(`{"secret":"y"}`), nil
		}, Enable: func(context.Context, string) error { return nil }})
	forward, err := sink.New(sink.Config{Store: o.Store, Access: o.Engine, Log: attack.Quiet,
		Dial: func(context.Context, string) (net.Conn, error) { return nil, errors.New("attack: no way out") }})
	if err != nil {
		return err
	}
	o.Cloud = cloud.New(cloud.Config{Store: o.Store, Access: o.Engine, Engine: forward, Subject: subject, Log: attack.Quiet})
	return nil
}

// AddPerson makes a person whose login and name are the id. The person has no password.
func (o *Bureau) AddPerson(ctx context.Context, p access.Person) error {
	p.Login, p.DisplayName = p.ID, p.ID
	_, err := o.Store.CreatePerson(ctx, p, "none")
	return err
}

func (o *Bureau) close() error { return errors.Join(o.Store.Close(), o.Trail.Close()) }

// Ask sends a request as a person.
func (o *Bureau) Ask(ctx context.Context, face http.Handler, who, method, path, body string) attack.Answer {
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
		return attack.Answer{}
	}
	return attack.Answer{Status: res.StatusCode, Header: res.Header, Body: b}
}

// InBureau is an attack in a bureau.
func InBureau(a attack.Attack, run func(context.Context, *Bureau) (attack.Result, error)) attack.Attack {
	a.Fast = true
	a.Run = func(ctx context.Context, t *attack.Target) (attack.Result, error) {
		o, err := newBureau(ctx, t)
		if err != nil {
			return attack.Result{}, err
		}
		res, err := run(ctx, o)
		return res, errors.Join(err, o.close())
	}
	return a
}
