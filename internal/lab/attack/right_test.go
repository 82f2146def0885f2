package attack

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"testing"

	"vitalseal/internal/overlay"
	"vitalseal/internal/seal"
)

// TestEveryAttackNoticesAWrongRefusal feeds every attack refusals that it is not to be refused with: an attack that takes them for its
// own would show nothing.
func TestEveryAttackNoticesAWrongRefusal(t *testing.T) {
	wrong := [][]Seen{
		nil,
		{{}},
		failure(nil),
		failure(context.DeadlineExceeded), failure(io.ErrUnexpectedEOF), failure(errors.New("connection refused")), failure(fmt.Errorf("attack: %w", overlay.ErrUnavailable)),
		word("something else"), word("%s", acked(outcomeRetry, 1)), word("%s", acked(outcomeAccepted, 0)), word("%s", mqttCode(0)), word("frame 7"),
	}
	for _, s := range []int{200, 201, 204, 302, 307, 405, 410, 500, 501, 502, 503, 504} {
		wrong = append(wrong, status(answer{Status: s}))
	}
	for _, a := range All() {
		if a.Right.is == nil || a.Right.text == "" {
			t.Errorf("%s does not name what it must be refused with", a.ID)
			continue
		}
		for _, seen := range wrong {
			if out, _ := a.refusal(Result{Seen: seen}, false); out != WrongReason {
				t.Errorf("%s takes %v for its refusal, which is %s", a.ID, seen, a.Right)
			}
		}
	}
}

// TestRightAmongOthers: one wrong refusal among right ones is noticed, and the words say which.
func TestRightAmongOthers(t *testing.T) {
	a := Attack{ID: "x-y", Right: answers(403)}
	if out, _ := a.refusal(Result{Seen: status(answer{Status: 403}, answer{Status: 403})}, false); out != Refused {
		t.Errorf("the right refusals: %s", out)
	}
	out, why := a.refusal(Result{Observed: "refused", Seen: status(answer{Status: 403}, answer{Status: 404})}, false)
	if out != WrongReason || why != "refused: refused with 404 instead of 403" {
		t.Errorf("%s: %q", out, why)
	}
	b := Attack{ID: "x-z", Right: fails(seal.ErrOpen).or(says("tls: bad certificate"))}
	for _, err := range []error{fmt.Errorf("x: %w", seal.ErrOpen), errors.New("remote error: tls: bad certificate")} {
		if out, why := b.refusal(Result{Seen: failure(err)}, false); out != Refused {
			t.Errorf("%v: %s: %s", err, out, why)
		}
	}
}

// TestSelfTest: with every refusal replaced by a wrong one, no attack that runs in this process may say that it was refused.
func TestSelfTest(t *testing.T) {
	rep, err := Run(t.Context(), Config{Data: filepath.Join(t.TempDir(), "self"), Fast: true, Wrong: true, Progress: io.Discard, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	if rep.WrongReason != rep.Attacks || rep.Attacks < 20 {
		t.Errorf("%d of %d attacks noticed", rep.WrongReason, rep.Attacks)
	}
	for _, l := range rep.Lines {
		if l.Outcome != WrongReason {
			t.Errorf("%s: %s: %s", l.ID, l.Outcome, l.Observed)
		}
	}
}
