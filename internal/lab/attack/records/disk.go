package records

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"vitalseal/internal/hub/access"
	"vitalseal/internal/hub/store"
	"vitalseal/internal/lab/attack"
	"vitalseal/internal/lab/attack/office"
	"vitalseal/internal/lab/attack/rogue"
	"vitalseal/internal/lab/weaken"
	"vitalseal/internal/measurement/vitals"
	"vitalseal/internal/shared/audit"
	"vitalseal/internal/way/outbox"
	"vitalseal/internal/way/seal"
)

// Disk are the attacks of the holder of a disk, a database or a backup.
func Disk() []attack.Attack {
	return []attack.Attack{
		{ID: "disk-gateway", Threat: "read a gateway's backlog", Position: "a stolen gateway, powered off", Fast: true,
			Does: "an outbox full of undelivered chunks is searched for the readings in it", Expected: "only sealed bytes", Right: attack.Reads("not in any file"), Control: weaken.SealChunks, Run: gatewayDisk},
		{ID: "disk-database", Threat: "read names and readings", Position: "a stolen hub database, without the root key", Fast: true,
			Does: "a hub's files are copied without root.key and opened with another; names are asked for", Expected: "nothing opens", Right: attack.Fails(seal.ErrOpen), Control: weaken.SealStored, Run: hubDatabase},
		{ID: "disk-backup", Threat: "read names and secrets", Position: "an attacker who holds a backup of a running hub", Does: "a patient and a person are made, and every file of the hub's is searched for name, password and session",
			Expected: "in none of them", Right: attack.Reads("not in any file"), Control: weaken.SealStored, Run: backup},
		{ID: "disk-no-grant", Threat: "read past the decision", Position: "a face with a bug", Fast: true, Does: "the store is asked for a patient's values and name with no grant, and with one for another patient",
			Expected: "refused by the store itself", Right: attack.Fails(store.ErrNotAllowed), Control: weaken.GrantCheck, Run: office.In(noGrant)},
		{ID: "disk-root-key-readable", Threat: "read the root key", Position: "another user of the hub's machine", Fast: true, Does: "the root key file is made readable for others; the hub is started",
			Expected: "it refuses to start with such a key", Right: attack.Says("others can read it"), Control: weaken.None, Run: readableKey},
	}
}

func gatewayDisk(ctx context.Context, t *attack.Target) (attack.Result, error) {
	dir, err := os.MkdirTemp(t.Dir, "outbox-")
	if err != nil {
		return attack.Result{}, err
	}
	q, err := outbox.Open(dir, outbox.Options{Logger: attack.Quiet})
	if err != nil {
		return attack.Result{}, err
	}
	s, err := newStream(victimSensor, vitals.Numerics)
	if err != nil {
		return attack.Result{}, errors.Join(err, q.Close())
	}
	for range 50 {
		b, err := s.capture()
		if err == nil {
			err = q.Append(ctx, outbox.Record{Lane: victimSensor, Class: outbox.Numeric, Data: append([]byte{rogue.FrameEnvelope}, b...)})
		}
		if err != nil {
			return attack.Result{}, errors.Join(err, q.Close())
		}
	}
	if err := q.Close(); err != nil {
		return attack.Result{}, err
	}
	found, looked, err := attack.Search(dir, string(secretReading))
	if err != nil {
		return attack.Result{}, err
	}
	if looked == 0 {
		return attack.Result{}, errors.New("the outbox left no file")
	}
	return attack.Judge(found != "", attack.Word("not in any file"), "readings in clear", "only sealed bytes", "%d files, 50 chunks%s", looked, found)
}

func hubDatabase(ctx context.Context, t *attack.Target) (_ attack.Result, err error) {
	o, err := office.New(ctx, t)
	if err != nil {
		return attack.Result{}, err
	}
	const name = "Zacharias Quellmalz"
	id, err := o.Store.CreatePatient(ctx, name)
	if err := errors.Join(err, o.Close()); err != nil {
		return attack.Result{}, err
	}
	stolen, err := os.MkdirTemp(t.Dir, "stolen-")
	if err != nil {
		return attack.Result{}, err
	}
	if err := os.CopyFS(filepath.Join(stolen, "store"), os.DirFS(filepath.Join(o.Dir, "store"))); err != nil {
		return attack.Result{}, err
	}
	found, looked, err := attack.Search(stolen, name, strings.Fields(name)[1])
	if err != nil {
		return attack.Result{}, err
	}
	if found != "" {
		return attack.Through("the name stands there", "%s", strings.TrimPrefix(found, "; "))
	}
	keys, _, err := seal.OpenFileKeyStore(filepath.Join(stolen, "root.key"))
	if err != nil {
		return attack.Result{}, err
	}
	st, err := store.Open(ctx, filepath.Join(stolen, "store"), keys, attack.Quiet)
	if err != nil {
		return attack.RefusedWith(attack.Failure(err), "it does not open with another root key", "%v; %d files searched", err, looked)
	}
	defer func() { err = errors.Join(err, st.Close()) }()
	grant, end, err := allPowerful(t, st)
	if err != nil {
		return attack.Result{}, err
	}
	defer end()
	got, err := st.PatientName(ctx, grant, id)
	return attack.Judge(err == nil && got == name, attack.Failure(err), "the name opened", "nothing opens", "%v; %d files searched", err, looked)
}

// allPowerful is a grant that a thief's own engine gives: the store must not open for that alone.
func allPowerful(t *attack.Target, st *store.Store) (access.Grant, func(), error) {
	dir, err := os.MkdirTemp(t.Dir, "thief-")
	if err != nil {
		return access.Grant{}, nil, err
	}
	trail, err := audit.Open(filepath.Join(dir, "audit"), filepath.Join(dir, "key"), attack.Quiet)
	if err != nil {
		return access.Grant{}, nil, err
	}
	end := func() { _ = trail.Close() }
	engine, err := access.New(st, trail, []byte(`@id("thief") permit(principal is Engine, action == Action::"patient:view", resource is Patient);`), attack.Quiet)
	if err != nil {
		end()
		return access.Grant{}, nil, err
	}
	return engine.Standing("thief", access.ViewPatient), end, nil
}

func backup(ctx context.Context, t *attack.Target) (attack.Result, error) {
	admin, err := t.Admin(ctx)
	if err != nil {
		return attack.Result{}, err
	}
	name := "Quirinus Xaverfels" + t.Name("")
	if err := admin.Do(ctx, http.MethodPost, "/api/admin/patients", map[string]string{"name": name}, nil); err != nil {
		return attack.Result{}, err
	}
	_, who, err := t.Person(ctx, "nurse", map[string]any{"display_name": "Walburga Yttersdotter"})
	if err != nil {
		return attack.Result{}, err
	}
	s, err := t.Front().SignIn(ctx, who)
	if err != nil {
		return attack.Result{}, err
	}
	found, looked, err := attack.Search(t.Path("hub"), name, "Walburga Yttersdotter", who.Password, s.Access, s.Refresh)
	if err != nil {
		return attack.Result{}, err
	}
	return attack.Judge(found != "", attack.Word("not in any file"), "it stands there in clear", "in no file", "%d files%s", looked, found)
}

func noGrant(ctx context.Context, o *office.Office) (_ attack.Result, err error) {
	id, err := o.Store.CreatePatient(ctx, "Somebody Else")
	if err != nil {
		return attack.Result{}, err
	}
	_, numbers := o.Store.Numerics(ctx, access.Grant{}, id, time.Now().Add(-time.Hour), time.Now(), 10)
	_, name := o.Store.PatientName(ctx, access.Grant{}, id)
	_, wave := o.Store.Waveform(ctx, access.Grant{}, id, vitals.PPG, time.Now().Add(-time.Second), time.Now())
	return attack.Judge(numbers == nil || name == nil || wave == nil, attack.Failure(numbers, name, wave), "opened without a decision", "refused by the store", "%v", name)
}

func readableKey(_ context.Context, t *attack.Target) (attack.Result, error) {
	dir, err := os.MkdirTemp(t.Dir, "key-")
	if err != nil {
		return attack.Result{}, err
	}
	file := filepath.Join(dir, "root.key")
	if _, _, err := seal.OpenFileKeyStore(file); err != nil {
		return attack.Result{}, err
	}
	if err := os.Chmod(file, 0o644); err != nil { // #nosec G302 -- the attack
		return attack.Result{}, err
	}
	_, _, err = seal.OpenFileKeyStore(file)
	return attack.Judge(err == nil, attack.Failure(err), "taken as it is", "refused", "%s", strings.ReplaceAll(fmt.Sprint(err), dir, "DIR"))
}
