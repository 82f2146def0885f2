package admin_test

import (
	"archive/tar"
	"compress/gzip"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"vitalseal/internal/hub/access"
)

// unpackOld puts a store that commit 20c4590 made into dir: one administrator, one auditor, a doctor with a one-time password, a
// nurse, and a patient with two logins.
func unpackOld(t *testing.T, dir string) {
	t.Helper()
	f, err := os.Open("testdata/store-20c4590.tar.gz")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	for r := tar.NewReader(z); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(dir, filepath.Clean("/"+h.Name))
		if h.FileInfo().IsDir() {
			err = os.MkdirAll(path, 0o700)
		} else {
			var b []byte
			if b, err = io.ReadAll(io.LimitReader(r, 8<<20)); err == nil {
				err = os.WriteFile(path, b, 0o600)
			}
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// TestOldStore: a deployment that commit 20c4590 made, with too few approvers, goes on as before and says so, and is switched by one
// act once there are enough. The second login that the patient had stays, and no third is made.
func TestOldStore(t *testing.T) {
	dir := t.TempDir()
	unpackOld(t, dir)
	w := openWorld(t, dir)
	w.must(w.engine.BeginTwoPersons(t.Context()))
	if !strings.Contains(w.logged.String(), "too few who could approve") {
		t.Error("the log does not say that one administrator alone is enough, and why")
	}
	in, err := w.signin.SignIn(t.Context(), "admin", password, station)
	w.must(err)
	w.tokens[access.RoleAdmin] = in.Tokens.Access
	var s struct {
		On        bool
		Approvers []string
	}
	w.get("admin", "GET", "two-persons", "", 200, &s)
	if s.On || len(s.Approvers) != 1 || s.Approvers[0] != "auditor" {
		t.Errorf("%+v", s)
	}
	ada, _, err := w.store.PersonByLogin(t.Context(), "ada")
	w.must(err)
	if !ada.Created.IsZero() || ada.Self == "" {
		t.Errorf("%+v", ada)
	}
	w.get("admin", "POST", "persons", `{"login":"before","display_name":"B","role":"nurse","wards":["ward-a"]}`, 201, nil)
	w.get("admin", "POST", "persons", `{"login":"ada3","display_name":"A","role":"patient","self":"`+ada.Self+`"}`, 409, nil)
	w.get("admin", "PUT", "two-persons", `{"on":true}`, 409, nil)
	w.sign(access.RoleStaff, "")
	w.must(w.engine.BeginTwoPersons(t.Context())) // another start switches nothing
	w.get("admin", "GET", "two-persons", "", 200, &s)
	if s.On || len(s.Approvers) != 2 {
		t.Errorf("%+v", s)
	}
	w.get("admin", "PUT", "two-persons", `{"on":true}`, 200, nil)
	asked := w.request("POST", "persons", `{"login":"after","display_name":"A","role":"nurse","wards":["ward-a"]}`)
	w.get("staff", "POST", "approvals/"+asked.Waiting.ID+"/approve", `{}`, 201, nil)
}
