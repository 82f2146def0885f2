package administer

import (
	"bytes"
	"errors"
	"os"
	"strings"
	"testing"

	"vitalseal/internal/shared/cli"
)

// TestConfirmation: an act that ends something is done only after its name was typed, or with --yes.
func TestConfirmation(t *testing.T) {
	for said, sure := range map[string]bool{"p-1\n": true, " p-1 \n": true, "Ada Brandt\n": true, "p-1": true, "y\n": false, "yes\n": false, "p-2\n": false, "\n": false, "": false} {
		var asked bytes.Buffer
		err := typed(strings.NewReader(said), &asked, "Ada Brandt (p-1): the key will be destroyed", "p-1", "Ada Brandt")
		if (err == nil) != sure {
			t.Errorf("%q: %v", said, err)
		}
		if !strings.Contains(asked.String(), "the key will be destroyed") || !strings.Contains(asked.String(), "Type p-1") {
			t.Errorf("asked: %q", asked.String())
		}
	}
	if err := typed(strings.NewReader("\n"), &bytes.Buffer{}, "x", "p-1", ""); err == nil {
		t.Error("an empty line was taken for an empty name")
	}
	in := os.Stdin
	defer func() { os.Stdin = in }()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(w.Close()); err != nil {
		t.Fatal(err)
	}
	os.Stdin = r
	var usage *cli.UsageError
	if err := (&confirmation{}).ask("it ends", "p-1"); !errors.As(err, &usage) || !strings.Contains(usage.Hint, "--yes") {
		t.Errorf("a script without --yes: %v", err)
	}
	if err := (&confirmation{yes: true}).ask("it ends", "p-1"); err != nil {
		t.Errorf("a script with --yes: %v", err)
	}
}

// TestNamesStandOnce: an error names a layer once, and loses nothing else.
func TestNamesStandOnce(t *testing.T) {
	for in, want := range map[string]string{
		"hub: store: open: store: in use by another process": "hub: store: open: in use by another process",
		"overlay: enrol: overlay: ticket expired":            "overlay: enrol: ticket expired",
		"store: a: b: store":                                 "store: a: b: store",
		"check: 2 problems":                                  "check: 2 problems",
	} {
		if got := cli.OnceNamed(in); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}
