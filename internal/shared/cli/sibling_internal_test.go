package cli

import "testing"

// TestSiblingName: the ending of a file's name, which says what it was built for, is the sibling's too.
func TestSiblingName(t *testing.T) {
	for _, c := range []struct{ own, from, to, want string }{
		{"vitalseal", "vitalseal", "vitalseal-lab", "vitalseal-lab"},
		{"vitalseal-weakened", "vitalseal", "vitalseal-lab", "vitalseal-lab-weakened"},
		{"vitalseal-lab-weakened", "vitalseal-lab", "vitalseal", "vitalseal-weakened"},
		{"vitalseal.exe", "vitalseal", "vitalseal-lab", "vitalseal-lab.exe"},
		{"renamed", "vitalseal-lab", "vitalseal", "vitalseal"},
	} {
		if got := siblingName(c.own, c.from, c.to); got != c.want {
			t.Errorf("beside %s: %s, want %s", c.own, got, c.want)
		}
	}
}
