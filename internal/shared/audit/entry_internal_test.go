package audit

import (
	"errors"
	"strings"
	"testing"
	"time"
)

// TestNewerEntryIsNamed: a line with a member that this version does not know is refused by that
// member's name; one that is changed otherwise is refused as before.
func TestNewerEntryIsNamed(t *testing.T) {
	line, err := Entry{Seq: 7, Time: time.Unix(1, 0).UTC(), Action: "x", Allowed: true}.encode()
	if err != nil {
		t.Fatal(err)
	}
	newer := strings.Replace(string(line), `"allowed"`, `"devices":["d"],"allowed"`, 1)
	if _, err := decode([]byte(newer), 7); !errors.Is(err, ErrTampered) || !strings.Contains(err.Error(), `"devices"`) || !strings.Contains(err.Error(), "newer vitalseal") {
		t.Errorf("%v", err)
	}
	spaced := strings.Replace(string(line), `"allowed":`, `"allowed": `, 1)
	if _, err := decode([]byte(spaced), 7); !errors.Is(err, ErrTampered) || strings.Contains(err.Error(), "newer") {
		t.Errorf("%v", err)
	}
	if _, err := decode(line, 7); err != nil {
		t.Error(err)
	}
}
