package attack

import (
	"errors"
	"fmt"
	"testing"

	"vitalseal/internal/way/seal"
)

// TestRightAmongOthers: one wrong refusal among right ones is noticed, and the words say which.
func TestRightAmongOthers(t *testing.T) {
	a := Attack{ID: "x-y", Right: Answers(403)}
	if out, _ := a.Refusal(Result{Seen: Status(Answer{Status: 403}, Answer{Status: 403})}, false); out != Refused {
		t.Errorf("the right refusals: %s", out)
	}
	out, why := a.Refusal(Result{Observed: "refused", Seen: Status(Answer{Status: 403}, Answer{Status: 404})}, false)
	if out != WrongReason || why != "refused: refused with 404 instead of 403" {
		t.Errorf("%s: %q", out, why)
	}
	b := Attack{ID: "x-z", Right: Fails(seal.ErrOpen).Or(Says("tls: bad certificate"))}
	for _, err := range []error{fmt.Errorf("x: %w", seal.ErrOpen), errors.New("remote error: tls: bad certificate")} {
		if out, why := b.Refusal(Result{Seen: Failure(err)}, false); out != Refused {
			t.Errorf("%v: %s: %s", err, out, why)
		}
	}
}
