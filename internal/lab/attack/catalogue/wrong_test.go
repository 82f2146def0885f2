package catalogue

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"testing"

	"vitalseal/internal/lab/attack"
	"vitalseal/internal/lab/attack/faces"
	"vitalseal/internal/lab/attack/rogue"
	"vitalseal/internal/way/overlay"
)

// TestEveryAttackNoticesAWrongRefusal feeds every attack refusals that it is not to be refused
// with: an attack that takes them for its own would show nothing.
func TestEveryAttackNoticesAWrongRefusal(t *testing.T) {
	wrong := [][]attack.Seen{
		nil,
		{{}},
		attack.Failure(nil),
		attack.Failure(context.DeadlineExceeded), attack.Failure(io.ErrUnexpectedEOF), attack.Failure(errors.New("connection refused")), attack.Failure(fmt.Errorf("attack: %w", overlay.ErrUnavailable)),
		attack.Word("something else"), attack.Word("%s", rogue.Acked(rogue.OutcomeRetry, 1)), attack.Word("%s", rogue.Acked(rogue.OutcomeAccepted, 0)), attack.Word("%s", faces.MQTTCode(0)), attack.Word("frame 7"),
	}
	for _, s := range []int{200, 201, 204, 302, 307, 405, 410, 500, 501, 502, 503, 504} {
		wrong = append(wrong, attack.Status(attack.Answer{Status: s}))
	}
	for _, a := range All() {
		if !a.Right.Named() {
			t.Errorf("%s does not name what it must be refused with", a.ID)
			continue
		}
		for _, seen := range wrong {
			if out, _ := a.Refusal(attack.Result{Seen: seen}, false); out != attack.WrongReason {
				t.Errorf("%s takes %v for its refusal, which is %s", a.ID, seen, a.Right)
			}
		}
	}
}

// TestSelfTest: with every refusal replaced by a wrong one, no attack that runs in this process may
// say that it was refused.
func TestSelfTest(t *testing.T) {
	rep, err := attack.Run(t.Context(), attack.Config{Attacks: All(), Data: filepath.Join(t.TempDir(), "self"), Fast: true, Wrong: true, Progress: io.Discard, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	if rep.WrongReason != rep.Attacks || rep.Attacks < 20 {
		t.Errorf("%d of %d attacks noticed", rep.WrongReason, rep.Attacks)
	}
	for _, l := range rep.Lines {
		if l.Outcome != attack.WrongReason {
			t.Errorf("%s: %s: %s", l.ID, l.Outcome, l.Observed)
		}
	}
}
