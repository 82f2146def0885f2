package admin_test

import (
	"strings"
	"testing"

	"vitalseal/internal/hub/access"
	"vitalseal/internal/hub/directory"
)

// TestWhoKeepsAComponentOut: the administration says since when a component is disabled, and who did
// that; once it is enabled, neither.
func TestWhoKeepsAComponentOut(t *testing.T) {
	w := newWorld(t)
	w.sign(access.RoleAdmin, "")
	id := "spiffe://demo.vitalseal.internal/sensor/oxi"
	w.must(w.store.CreateDevice(t.Context(), directory.Device{ID: id, Kind: "sensor", State: directory.DeviceActive}))
	says := func(want bool) {
		t.Helper()
		for _, path := range []string{"identities/sensor/oxi", "inventory"} {
			text := w.get(access.RoleAdmin, "GET", path, "", 200, nil)
			if strings.Contains(text, `"kept_out_since":"20`) != want || strings.Contains(text, `"kept_out_by_login":"admin"`) != want {
				t.Errorf("%s: kept out %v is not what is said: %s", path, want, text)
			}
		}
	}
	says(false)
	w.get(access.RoleAdmin, "POST", "identities/sensor/oxi/disable", "", 204, nil)
	says(true)
	w.must(w.store.SetDeviceState(t.Context(), id, directory.DeviceActive))
	says(false)
}
