package main_test

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// switchName is what no product may have in it: the variable that takes defences away in the test build.
const switchName = "VITALSEAL_WEAKEN"

type attacked struct {
	Matrix []struct {
		ID      string `json:"id"`
		Outcome string `json:"outcome"`
		Control string `json:"control_outcome"`
	} `json:"matrix"`
	Attacks    int     `json:"attacks"`
	Refused    int     `json:"refused"`
	GotThrough int     `json:"got_through"`
	Effective  float64 `json:"controls_effective"`
}

// attackWith runs an attack command, in an environment of its own where weak names a defence.
func attackWith(t *testing.T, bin, weak string, args ...string) (out attacked, errs string, code int) {
	t.Helper()
	c := exec.CommandContext(t.Context(), bin, append([]string{"attack", "--json"}, args...)...)
	var stdout, stderr bytes.Buffer
	c.Stdout, c.Stderr = &stdout, &stderr
	c.Env = os.Environ()
	if weak != "" {
		c.Env = append(c.Env, switchName+"="+weak)
	}
	_ = c.Run() // how it ended is in the exit code
	if err := json.Unmarshal(stdout.Bytes(), &out); err != nil {
		t.Fatalf("%v\n%s", err, stderr.String())
	}
	return out, stderr.String(), c.ProcessState.ExitCode()
}

// TestAttackSubset attacks a fresh demo with a chosen part of the suite, and shows that the controls get through.
func TestAttackSubset(t *testing.T) {
	weak, err := weakened()
	if err != nil {
		t.Fatal(err)
	}
	args := []string{"--weakened", weak}
	for _, id := range []string{"chunk-bit-flip", "audit-edit", "http-nurse-other-ward", "http-csrf-form", "session-stolen-access", "session-jwt", "wire-replay", "disk-backup"} {
		args = append(args, "--only", id)
	}
	out, errs, code := attackWith(t, vitalseal(t), "", args...)
	if code != 0 || out.Attacks < 11 || out.Refused != out.Attacks || out.GotThrough != 0 {
		t.Errorf("exit %d: %d attacks, %d refused, %d got through\n%s", code, out.Attacks, out.Refused, out.GotThrough, errs)
	}
	if out.Effective < 90 {
		t.Errorf("%.1f %% of the controls got through, want 90\n%s", out.Effective, errs)
	}
}

// TestRemovedDefenceIsNoticed: with one defence taken away on purpose the suite fails, and names the attack.
func TestRemovedDefenceIsNoticed(t *testing.T) {
	weak, err := weakened()
	if err != nil {
		t.Fatal(err)
	}
	for defence, attack := range map[string]string{"seal-tag": "chunk-bit-flip", "audit-tree": "audit-cut", "seal-stored": "disk-database"} {
		out, errs, code := attackWith(t, weak, defence, "--fast", "--no-controls", "--only", attack)
		through := slices.ContainsFunc(out.Matrix, func(l struct {
			ID      string `json:"id"`
			Outcome string `json:"outcome"`
			Control string `json:"control_outcome"`
		}) bool {
			return l.ID == attack && l.Outcome == "got through"
		})
		if code != 1 || out.GotThrough == 0 || !through || !strings.Contains(errs, attack) {
			t.Errorf("without %s: exit %d, %d got through, named: %v\n%s", defence, code, out.GotThrough, through, errs)
		}
	}
	out, errs, code := attackWith(t, weak, "", "--fast", "--no-controls", "--only", "chunk", "--only", "audit", "--only", "disk")
	if code != 0 || out.GotThrough != 0 {
		t.Errorf("with all defences the same binary fails: exit %d\n%s", code, errs)
	}
	// A defence of the running deployment, too.
	out, errs, code = attackWith(t, weak, "own-pages", "--only", "http-csrf", "--no-controls")
	if code != 1 || out.GotThrough != 2 || !strings.Contains(errs, "http-csrf-form") {
		t.Errorf("without own-pages: exit %d, %d got through\n%s", code, out.GotThrough, errs)
	}
}

// TestNoTraceOfWeakening: the product has no switch, and no name of one.
func TestNoTraceOfWeakening(t *testing.T) {
	weak, err := weakened()
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Dir(vitalseal(t))
	for bin, want := range map[string]bool{vitalseal(t): false, filepath.Join(dir, "vitalseal-lab"): false, weak: true,
		filepath.Join(filepath.Dir(weak), "vitalseal-lab-weakened"): true} {
		b, err := os.ReadFile(bin)
		if err != nil {
			t.Fatal(err)
		}
		if got := bytes.Contains(b, []byte(switchName)); got != want {
			t.Errorf("%s has the switch: %v, want %v", filepath.Base(bin), got, want)
		}
	}
	out, errs, code := attackWith(t, vitalseal(t), "seal-tag,audit-tree", "--fast", "--no-controls", "--only", "chunk", "--only", "audit")
	if code != 0 || out.GotThrough != 0 {
		t.Errorf("the product takes notice of %s: exit %d\n%s", switchName, code, errs)
	}
}
