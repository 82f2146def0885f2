package fleet

import (
	"errors"
	"fmt"
	"testing"

	"vitalseal/internal/hub/access"
	"vitalseal/internal/way/overlay"
)

// TestInventoryThatDoesNotAnswer: a component that the hub could not look up is not refused, neither
// to the component, which would take itself for disabled, nor in the log.
func TestInventoryThatDoesNotAnswer(t *testing.T) {
	away := fmt.Errorf("%w: the disk", access.ErrUndecided)
	if err := refusedBy(away); !errors.Is(err, access.ErrUndecided) || errors.Is(err, overlay.ErrRefused) {
		t.Errorf("not looked up: %v", err)
	}
	if err := refusedBy(errInactive); !errors.Is(err, overlay.ErrRefused) || !errors.Is(err, errInactive) {
		t.Errorf("not active: %v", err)
	}
	for err, want := range map[error]string{away: "workstation not let in yet: the hub could not decide about it", errInactive: "workstation refused", errNoRule: "workstation refused"} {
		if got := Refusal("workstation", err); got != want {
			t.Errorf("%v: %q", err, got)
		}
	}
}
