package attack

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// tokenInLog shows tokens wherever a request can hold one, and looks through every log.
func tokenInLog(ctx context.Context, t *Target) (Result, error) {
	s, err := t.as(ctx, "doctor")
	if err != nil {
		return Result{}, err
	}
	planted := "eyJhbGciOiJub25lIn0." + rand.Text() + "." + rand.Text()
	for _, r := range []request{
		{method: "GET", path: "/api/beds?token=" + s.Access, bearer: s.Access},
		{method: "GET", path: "/api/beds", header: map[string]string{"Cookie": "vitalseal_session=" + planted}},
		{method: "GET", path: "/api/patients/" + planted, bearer: planted},
		{method: "GET", path: "/update?api_key=" + planted + "&field1=1"},
		{method: "POST", path: "/api/session/refresh", body: map[string]string{"refresh_token": s.Refresh}},
		{method: "POST", path: "/api/session", body: map[string]string{"login": planted, "password": planted}},
	} {
		if _, err := t.front().send(ctx, r); err != nil {
			return Result{}, err
		}
	}
	time.Sleep(300 * time.Millisecond) // a log's writer may lag; nothing tells when it has caught up
	found, looked, err := search(t.path("logs"), s.Access, s.Refresh, planted, planted[20:46])
	if err != nil {
		return Result{}, err
	}
	return judge(found != "", word("in no log"), "a token stands in a log", "in no log", "%d files searched%s", looked, found)
}

// search looks for any of the needles in all files below a folder, and says where the first was.
func search(dir string, needles ...string) (found string, looked int, err error) {
	err = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // a running part has replaced it
		}
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		b, err := os.ReadFile(path) // #nosec G304 G122 -- below our own folder
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		looked++
		for _, n := range needles {
			if n != "" && found == "" && bytes.Contains(b, []byte(n)) {
				found = "; found in " + strings.TrimPrefix(path, dir)
			}
		}
		return nil
	})
	return found, looked, err
}
