package dashboard_test

import (
	"os"
	"strings"
	"testing"
)

// TestDeletedForGood: beside the button the page says of a deleted device's name what the command line says, in both languages.
func TestDeletedForGood(t *testing.T) {
	for file, want := range map[string][]string{
		"devices.tsx": {"Delete it for good: its name cannot be used again once it has enrolled."},
		"german.ts":   {"'Delete it for good: its name cannot be used again once it has enrolled.", "Endgültig löschen: Sein Name ist nach einer Registrierung nicht wieder verwendbar."},
	} {
		text, err := os.ReadFile("../../../web/src/" + file)
		if err != nil {
			t.Fatal(err)
		}
		for _, w := range want {
			if !strings.Contains(string(text), w) {
				t.Errorf("%s does not say %q", file, w)
			}
		}
		if strings.Contains(string(text), "enrolled anew to come back") {
			t.Errorf("%s says that a deleted device can come back", file)
		}
	}
}
