package overlay_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"vitalseal/internal/way/overlay"
)

// TestFolderOfAnotherComponent: a ticket for a workstation is not redeemed into a gateway's folder,
// nor a second gateway's, and before anything is irreversible; a sensor goes with its gateway.
func TestFolderOfAnotherComponent(t *testing.T) {
	id := func(kind, name string) overlay.ID {
		return overlay.ID{Domain: "test.vitalseal.internal", Kind: kind, Name: name}
	}
	for _, tc := range []struct {
		name   string
		there  []overlay.ID
		ticket []overlay.ID
		fits   bool
	}{
		{"empty", nil, []overlay.ID{id(overlay.KindGateway, "a"), id(overlay.KindSensor, "a-1")}, true},
		{"the same again", []overlay.ID{id(overlay.KindGateway, "a"), id(overlay.KindSensor, "a-1")}, []overlay.ID{id(overlay.KindGateway, "a"), id(overlay.KindSensor, "a-1")}, true},
		{"one sensor more", []overlay.ID{id(overlay.KindGateway, "a"), id(overlay.KindSensor, "a-1")}, []overlay.ID{id(overlay.KindSensor, "a-2")}, true},
		{"a workstation in a gateway's", []overlay.ID{id(overlay.KindGateway, "a")}, []overlay.ID{id(overlay.KindWorkstation, "w")}, false},
		{"a gateway in a workstation's", []overlay.ID{id(overlay.KindWorkstation, "w")}, []overlay.ID{id(overlay.KindGateway, "a"), id(overlay.KindSensor, "a-1")}, false},
		{"a second gateway", []overlay.ID{id(overlay.KindGateway, "a")}, []overlay.ID{id(overlay.KindGateway, "b")}, false},
		{"a second workstation", []overlay.ID{id(overlay.KindWorkstation, "w")}, []overlay.ID{id(overlay.KindWorkstation, "v")}, false},
		{"a hub in a workstation's", []overlay.ID{id(overlay.KindWorkstation, "w")}, []overlay.ID{id(overlay.KindHub, "h")}, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			dir := t.TempDir()
			for _, i := range tc.there {
				if err := os.WriteFile(overlay.IdentityPath(dir, i), nil, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			err := overlay.Fits(dir, tc.ticket)
			if tc.fits != (err == nil) || err != nil && !errors.Is(err, overlay.ErrFolder) {
				t.Errorf("%v", err)
			}
			if left, _ := filepath.Glob(filepath.Join(dir, "*")); len(left) != len(tc.there) {
				t.Errorf("the folder holds %v", left)
			}
		})
	}
}

// TestTheSameTicketAgain: a ticket that was redeemed into the folder says so; into another it is
// only used.
func TestTheSameTicketAgain(t *testing.T) {
	ids := []overlay.ID{{Domain: "test.vitalseal.internal", Kind: overlay.KindGateway, Name: "a"}, {Domain: "test.vitalseal.internal", Kind: overlay.KindSensor, Name: "a-1"}}
	dir := t.TempDir()
	again := func(cause error) string {
		err := overlay.UsedHere(cause, dir, ids)
		if !errors.Is(err, cause) {
			t.Errorf("%v is not %v", err, cause)
		}
		return err.Error()
	}
	for _, i := range ids {
		if got := again(overlay.ErrTicketUsed); got != overlay.ErrTicketUsed.Error() {
			t.Errorf("a folder without all identities: %s", got)
		}
		if err := os.WriteFile(overlay.IdentityPath(dir, i), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if got := again(overlay.ErrTicketUsed); !strings.HasSuffix(got, dir+" holds the identity of gateway-a: it is enrolled already") {
		t.Error(got)
	}
	if got := again(overlay.ErrUnavailable); got != overlay.ErrUnavailable.Error() {
		t.Error(got)
	}
}
