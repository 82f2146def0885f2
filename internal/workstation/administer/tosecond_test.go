package administer

import (
	"strings"
	"testing"
)

// TestTableShowsSeconds: a person reads times to the second; what is no time stays as it is.
func TestTableShowsSeconds(t *testing.T) {
	var b strings.Builder
	err := table(&b, []string{"id", "last_seen"}, []map[string]any{{"id": "sensor/oxi-1", "last_seen": "2026-03-01T08:00:00.123456789Z"}, {"id": "2026.5", "last_seen": nil}})
	if err != nil || !strings.Contains(b.String(), "2026-03-01T08:00:00Z") || strings.Contains(b.String(), "123456") || !strings.Contains(b.String(), "2026.5") {
		t.Errorf("%v: %s", err, b.String())
	}
}
