package sealdb

import (
	"errors"
	"testing"
)

// TestCheckpointPasses: what is written while a log is moved beside the writer is moved there, too, until so little is left that the
// writer, for whom all others wait, may move it; a writer that is faster than the disk is not followed for ever.
func TestCheckpointPasses(t *testing.T) {
	broken := errors.New("broken")
	for name, c := range map[string]struct {
		moved []int // since the log began, after each pass; the last one again and again
		grows int   // what a pass more moves
		err   error
		want  int // passes
	}{
		"little":        {moved: []int{checkpointLeft}, want: 1},
		"nothing more":  {moved: []int{12_000, 12_000}, want: 2},
		"a bulk update": {moved: []int{12_000, 15_000, 15_700, 15_700 + checkpointLeft}, want: 4},
		"just too many": {moved: []int{12_000, 12_000 + checkpointLeft + 1, 12_000 + checkpointLeft + 1}, want: 3},
		"without end":   {moved: []int{12_000}, grows: 12_000, want: checkpointPasses},
		"broken":        {moved: []int{12_000}, err: broken, want: 1},
	} {
		n, last := 0, 0
		err := passes(func() (int, error) {
			n++
			if n <= len(c.moved) {
				last = c.moved[n-1]
			} else {
				last += c.grows
			}
			return last, c.err
		})
		if n != c.want || !errors.Is(err, c.err) {
			t.Errorf("%s: %d passes, %v; want %d, %v", name, n, err, c.want, c.err)
		}
	}
}
