package audit_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"vitalseal/internal/shared/audit"
)

// TestTwiceInAStatement: what a witness, a hub or an auditor is told that says two things under one
// name is refused with the name; what was remembered before stays.
func TestTwiceInAStatement(t *testing.T) {
	h := newHome(t)
	l := grown(t, h, 0, 5, "p")
	first := statement(t, l, 0)
	closeLog(t, l)
	l = grown(t, h, 5, 11, "p")
	good := statement(t, l, 5)
	proof, err := l.Inclusion(3)
	if err != nil {
		t.Fatal(err)
	}
	closeLog(t, l)
	twice := func(b []byte, name string) []byte { // the wrong value stands in front: decoders take the last
		return bytes.Replace(b, []byte("{"), []byte(`{"`+strings.ToUpper(name)+`":null,`), 1)
	}
	path := filepath.Join(t.TempDir(), "w")
	w, err := audit.OpenWitness(path, "")
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Update(first); err != nil {
		t.Fatal(err)
	}
	named := func(what, name string, err error) {
		t.Helper()
		if err == nil || !strings.Contains(err.Error(), `"`+name+`" is given twice`) {
			t.Errorf("%s: %v, want the name %q", what, err, name)
		}
	}
	err = w.Update(twice(good, "checkpoint"))
	named("a statement", "checkpoint", err)
	if !errors.Is(err, audit.ErrInconsistent) || w.Size() != 5 {
		t.Errorf("a statement: %v; %d entries remembered", err, w.Size())
	}
	_, err = audit.ReadAsk([]byte(`{"from":3,"seen":[{"hub":"a","key":"k","checkpoint":"c","hub":"b"}]}`))
	named("a question", "hub", err)
	if !errors.Is(err, audit.ErrAsk) {
		t.Errorf("a question: %v", err)
	}
	_, err = audit.ParseInclusion(twice(encoded(t, proof), "entry"))
	named("a proof", "entry", err)
	if _, err = audit.ParseInclusion(encoded(t, proof)); err != nil {
		t.Error(err)
	}
	split := filepath.Join(t.TempDir(), "split")
	if err := os.WriteFile(split, []byte(`{"version":1,"key":"a","ours":"","theirs":"","key":"b"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err = audit.ReadSplit(split)
	named("evidence", "key", err)
}
