package attack

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"vitalseal/internal/access"
	"vitalseal/internal/audit"
	"vitalseal/internal/lab/weaken"
	"vitalseal/internal/outbox"
	"vitalseal/internal/seal"
	"vitalseal/internal/store"
	"vitalseal/internal/vitals"
)

func diskAttacks() []Attack {
	return []Attack{
		{ID: "disk-gateway", Threat: "read a gateway's backlog", Position: "a stolen gateway, powered off", Fast: true,
			Does: "an outbox full of undelivered chunks is searched for the readings in it", Expected: "only sealed bytes", Right: reads("not in any file"), Control: weaken.SealChunks, Run: gatewayDisk},
		{ID: "disk-database", Threat: "read names and readings", Position: "a stolen hub database, without the root key", Fast: true,
			Does: "a hub's files are copied without root.key and opened with another; names are asked for", Expected: "nothing opens", Right: fails(seal.ErrOpen), Control: weaken.SealStored, Run: hubDatabase},
		{ID: "disk-backup", Threat: "read names and secrets", Position: "an attacker who holds a backup of a running hub", Does: "a patient and a person are made, and every file of the hub's is searched for name, password and session",
			Expected: "in none of them", Right: reads("not in any file"), Control: weaken.SealStored, Run: backup},
		{ID: "disk-no-grant", Threat: "read past the decision", Position: "a face with a bug", Fast: true, Does: "the store is asked for a patient's values and name with no grant, and with one for another patient",
			Expected: "refused by the store itself", Right: fails(store.ErrNotAllowed), Control: weaken.GrantCheck, Run: inOffice(noGrant)},
		{ID: "disk-root-key-readable", Threat: "read the root key", Position: "another user of the hub's machine", Fast: true, Does: "the root key file is made readable for others; the hub is started",
			Expected: "it refuses to start with such a key", Right: says("others can read it"), Control: weaken.None, Run: readableKey},
	}
}

func gatewayDisk(ctx context.Context, t *Target) (Result, error) {
	dir, err := os.MkdirTemp(t.dir, "outbox-")
	if err != nil {
		return Result{}, err
	}
	q, err := outbox.Open(dir, outbox.Options{Logger: quiet})
	if err != nil {
		return Result{}, err
	}
	s, err := newStream(victimSensor, vitals.Numerics)
	if err != nil {
		return Result{}, errors.Join(err, q.Close())
	}
	for range 50 {
		b, err := s.capture()
		if err == nil {
			err = q.Append(ctx, outbox.Record{Lane: victimSensor, Class: outbox.Numeric, Data: append([]byte{frameEnvelope}, b...)})
		}
		if err != nil {
			return Result{}, errors.Join(err, q.Close())
		}
	}
	if err := q.Close(); err != nil {
		return Result{}, err
	}
	found, looked, err := search(dir, string(secretReading))
	if err != nil {
		return Result{}, err
	}
	if looked == 0 {
		return Result{}, errors.New("the outbox left no file")
	}
	return judge(found != "", word("not in any file"), "readings in clear", "only sealed bytes", "%d files, 50 chunks%s", looked, found)
}

func hubDatabase(ctx context.Context, t *Target) (_ Result, err error) {
	o, err := newOffice(ctx, t)
	if err != nil {
		return Result{}, err
	}
	const name = "Zacharias Quellmalz"
	id, err := o.store.CreatePatient(ctx, name)
	if err := errors.Join(err, o.close()); err != nil {
		return Result{}, err
	}
	stolen, err := os.MkdirTemp(t.dir, "stolen-")
	if err != nil {
		return Result{}, err
	}
	if err := os.CopyFS(filepath.Join(stolen, "store"), os.DirFS(filepath.Join(o.dir, "store"))); err != nil {
		return Result{}, err
	}
	found, looked, err := search(stolen, name, strings.Fields(name)[1])
	if err != nil {
		return Result{}, err
	}
	if found != "" {
		return through("the name stands there", "%s", strings.TrimPrefix(found, "; "))
	}
	keys, _, err := seal.OpenFileKeyStore(filepath.Join(stolen, "root.key"))
	if err != nil {
		return Result{}, err
	}
	st, err := store.Open(ctx, filepath.Join(stolen, "store"), keys, quiet)
	if err != nil {
		return refused(failure(err), "it does not open with another root key", "%v; %d files searched", err, looked)
	}
	defer func() { err = errors.Join(err, st.Close()) }()
	grant, end, err := allPowerful(t, st)
	if err != nil {
		return Result{}, err
	}
	defer end()
	got, err := st.PatientName(ctx, grant, id)
	return judge(err == nil && got == name, failure(err), "the name opened", "nothing opens", "%v; %d files searched", err, looked)
}

// allPowerful is a grant that a thief's own engine gives: the store must not open for that alone.
func allPowerful(t *Target, st *store.Store) (access.Grant, func(), error) {
	dir, err := os.MkdirTemp(t.dir, "thief-")
	if err != nil {
		return access.Grant{}, nil, err
	}
	trail, err := audit.Open(filepath.Join(dir, "audit"), filepath.Join(dir, "key"), quiet)
	if err != nil {
		return access.Grant{}, nil, err
	}
	end := func() { _ = trail.Close() }
	engine, err := access.New(st, trail, []byte(`@id("thief") permit(principal is Engine, action == Action::"patient:view", resource is Patient);`), quiet)
	if err != nil {
		end()
		return access.Grant{}, nil, err
	}
	return engine.Standing("thief", access.ViewPatient), end, nil
}

func backup(ctx context.Context, t *Target) (Result, error) {
	admin, err := t.admin(ctx)
	if err != nil {
		return Result{}, err
	}
	name := "Quirinus Xaverfels" + t.name("")
	if err := admin.Do(ctx, http.MethodPost, "/api/admin/patients", map[string]string{"name": name}, nil); err != nil {
		return Result{}, err
	}
	_, who, err := t.person(ctx, "nurse", map[string]any{"display_name": "Walburga Yttersdotter"})
	if err != nil {
		return Result{}, err
	}
	s, err := t.front().signIn(ctx, who)
	if err != nil {
		return Result{}, err
	}
	found, looked, err := search(t.path("hub"), name, "Walburga Yttersdotter", who.Password, s.Access, s.Refresh)
	if err != nil {
		return Result{}, err
	}
	return judge(found != "", word("not in any file"), "it stands there in clear", "in no file", "%d files%s", looked, found)
}

func noGrant(ctx context.Context, o *office) (_ Result, err error) {
	id, err := o.store.CreatePatient(ctx, "Somebody Else")
	if err != nil {
		return Result{}, err
	}
	_, numbers := o.store.Numerics(ctx, access.Grant{}, id, time.Now().Add(-time.Hour), time.Now(), 10)
	_, name := o.store.PatientName(ctx, access.Grant{}, id)
	_, wave := o.store.Waveform(ctx, access.Grant{}, id, vitals.PPG, time.Now().Add(-time.Second), time.Now())
	return judge(numbers == nil || name == nil || wave == nil, failure(numbers, name, wave), "opened without a decision", "refused by the store", "%v", name)
}

func readableKey(_ context.Context, t *Target) (Result, error) {
	dir, err := os.MkdirTemp(t.dir, "key-")
	if err != nil {
		return Result{}, err
	}
	file := filepath.Join(dir, "root.key")
	if _, _, err := seal.OpenFileKeyStore(file); err != nil {
		return Result{}, err
	}
	if err := os.Chmod(file, 0o644); err != nil { // #nosec G302 -- the attack
		return Result{}, err
	}
	_, _, err = seal.OpenFileKeyStore(file)
	return judge(err == nil, failure(err), "taken as it is", "refused", "%s", strings.ReplaceAll(fmt.Sprint(err), dir, "DIR"))
}
